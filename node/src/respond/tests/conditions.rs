//! What clients have or insist on: each condition, their order, and what a 304 and a 412 carry.

use super::*;

#[test]
fn one_condition_and_all_their_combinations() {
    use Field::{AcceptEncoding, IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince};
    let gzip = (AcceptEncoding, "gzip");
    for (fields, status) in [
        (&[(IfNoneMatch, "{identity}")][..], 304),
        (&[(IfNoneMatch, "W/{identity}")], 304),
        (&[(IfNoneMatch, "\"x\", {identity}")], 304),
        (&[(IfNoneMatch, "\"x\""), (IfNoneMatch, "{identity}")], 304),
        (&[(IfNoneMatch, "*")], 304),
        (&[(IfNoneMatch, "\"other\"")], 200),
        (&[(IfNoneMatch, "")], 200),
        // What the client has is compared with what it may get.
        (&[(IfNoneMatch, "{gzip}")], 200),
        (&[(IfNoneMatch, "{identity}"), gzip], 304),
        (&[(IfNoneMatch, "{identity}"), (AcceptEncoding, "gzip, identity;q=0")], 200),
        (&[(IfNoneMatch, "{gzip}"), gzip], 304),
        (&[(IfNoneMatch, "{br}"), gzip], 200),
        (&[(IfMatch, "{identity}")], 200),
        (&[(IfMatch, "\"x\", {identity}")], 200),
        (&[(IfMatch, "*")], 200),
        (&[(IfMatch, "\"x\"")], 412),
        (&[(IfMatch, "W/{identity}")], 412),
        (&[(IfMatch, "{gzip}")], 412),
        (&[(IfMatch, "{gzip}"), gzip], 200),
        (&[(IfModifiedSince, SAME)], 304),
        // After a rollback the client may hold something newer.
        (&[(IfModifiedSince, LATER)], 200),
        (&[(IfModifiedSince, EARLIER)], 200),
        (&[(IfModifiedSince, "yesterday")], 200),
        (&[(IfUnmodifiedSince, SAME)], 200),
        (&[(IfUnmodifiedSince, LATER)], 200),
        (&[(IfUnmodifiedSince, EARLIER)], 412),
        // If-Match hides If-Unmodified-Since.
        (&[(IfMatch, "{identity}"), (IfUnmodifiedSince, EARLIER)], 200),
        (&[(IfMatch, "\"x\""), (IfUnmodifiedSince, LATER)], 412),
        // If-None-Match hides If-Modified-Since.
        (&[(IfNoneMatch, "\"x\""), (IfModifiedSince, SAME)], 200),
        (&[(IfNoneMatch, "{identity}"), (IfModifiedSince, EARLIER)], 304),
        // What the client insists on comes before what it has.
        (&[(IfMatch, "\"x\""), (IfNoneMatch, "{identity}")], 412),
        (&[(IfMatch, "{identity}"), (IfNoneMatch, "{identity}")], 304),
        (&[(IfMatch, "{identity}"), (IfNoneMatch, "\"x\"")], 200),
        (&[(IfMatch, "{identity}"), (IfModifiedSince, SAME)], 304),
        (&[(IfUnmodifiedSince, EARLIER), (IfNoneMatch, "{identity}")], 412),
        (&[(IfUnmodifiedSince, EARLIER), (IfModifiedSince, SAME)], 412),
        (&[(IfUnmodifiedSince, SAME), (IfModifiedSince, SAME)], 304),
        (&[(IfUnmodifiedSince, SAME), (IfNoneMatch, "\"x\"")], 200),
        // Form, then conditions, then ranges.
        (&[(IfMatch, "\"x\""), (AcceptEncoding, "*;q=0")], 406),
        (&[(IfNoneMatch, "{identity}"), (Field::Range, "bytes=0-1")], 304),
        (&[(IfMatch, "\"x\""), (Field::Range, "bytes=0-1")], 412),
        (&[(IfMatch, "{identity}"), (Field::Range, "bytes=0-1")], 206),
        (&[(IfMatch, "{identity}"), (Field::Range, "bytes=999999-")], 416),
        (&[(IfUnmodifiedSince, EARLIER), (Field::Range, "bytes=999999-")], 412),
    ] {
        assert_eq!(USUAL.get("/", fields).status, status, "{fields:?}");
        let head = USUAL.ask(Method::Head, "/", fields).status;
        assert_eq!(head, if matches!(status, 206 | 416) { 200 } else { status }, "HEAD {fields:?}");
    }
    // There is nothing to have or to insist on where there is no file.
    for (path, status) in [("/nope", 404), ("/sub", 308)] {
        for field in [(IfNoneMatch, "*"), (IfMatch, "\"x\""), (IfModifiedSince, SAME), (IfUnmodifiedSince, EARLIER)] {
            assert_eq!(USUAL.get(path, &[field]).status, status, "{path} {field:?}");
        }
    }
}

#[test]
fn a_304_carries_what_the_200_would_and_nothing_of_the_body() {
    let kept = [
        "date",
        "cache-control",
        "vary",
        "etag",
        "last-modified",
        "difusor-cut",
        "access-control-allow-origin",
        "access-control-expose-headers",
    ];
    for path in ["/", "/data/large.csv", "/plain.zip", "/empty.txt", "/main.0a1b2c3d4e5f6a7b.js"] {
        for coding in ["identity", "gzip", "br", "zstd"] {
            let whole = USUAL.get(path, &[(Field::AcceptEncoding, coding)]);
            let tag = whole.field("etag").unwrap();
            for condition in [(Field::IfNoneMatch, tag), (Field::IfModifiedSince, SAME)] {
                let answer = USUAL.get(path, &[(Field::AcceptEncoding, coding), condition]);
                assert_eq!(answer.status, 304);
                assert_eq!(answer.some(&kept), whole.some(&kept), "{path} {coding}");
                let dropped =
                    ["content-length", "content-type", "content-encoding", "content-range", "content-security-policy"];
                assert_eq!(answer.some(&dropped), []);
            }
        }
    }
}

#[test]
fn a_412_is_not_kept() {
    let answer = USUAL.get("/", &[(Field::IfMatch, "\"x\"")]);
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.some(&["etag", "repr-digest", "content-encoding"]), []);
    assert!(answer.body.starts_with(b"<!doctype html>"));
}

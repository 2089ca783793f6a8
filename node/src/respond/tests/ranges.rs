//! Parts of files: single, several, none, and only of what the client has the rest of.

use super::*;

/// Fields that an answer with a part has as the one with the whole has them.
const SAME_AS_WHOLE: [&str; 13] = [
    "date",
    "cache-control",
    "vary",
    "etag",
    "last-modified",
    "difusor-cut",
    "content-encoding",
    "repr-digest",
    "accept-ranges",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "x-content-type-options",
    "alt-svc",
];

#[test]
fn parts_are_those_of_the_form() {
    for path in ["/", "/data/large.csv", "/plain.zip", "/stored.json"] {
        for coding in Coding::ALL.into_iter().filter(|coding| USUAL.entity(path).forms.get(*coding).is_some()) {
            let accept = (Field::AcceptEncoding, coding.name());
            let whole = USUAL.get(path, &[accept]);
            assert_eq!(whole.coding(), coding.name());
            let len = whole.body.len();
            let (last, beyond) = (format!("{}-", len - 1), format!("{}-{}", len - 3, len * 2));
            for (ranges, expected) in [
                ("0-0", &[(0, 1)][..]),
                ("0-", &[(0, len)]),
                ("7-106", &[(7, 107)]),
                (&last, &[(len - 1, len)]),
                (&beyond, &[(len - 3, len)]),
                ("-5", &[(len - 5, len)]),
                ("-99999999", &[(0, len)]),
                ("0-9,5-14", &[(0, 15)]),
                ("0-0,-1", &[(0, 1), (len - 1, len)]),
                ("-2, 10-19 ,0-3", &[(len - 2, len), (10, 20), (0, 4)]),
                ("0-0,99999999-", &[(0, 1)]),
            ] {
                let answer = USUAL.get(path, &[accept, (Field::Range, &format!("bytes={ranges}"))]);
                assert_eq!(answer.status, 206, "{path} {coding:?} {ranges}");
                let parts = answer.parts();
                assert_eq!(
                    parts.iter().map(|part| (part.range.start, part.range.end)).collect::<Vec<_>>(),
                    expected,
                    "{ranges}"
                );
                for part in parts {
                    assert_eq!(part.bytes, whole.body[part.range]);
                    assert_eq!((Some(part.media.as_str()), part.total), (whole.field("content-type"), len));
                }
                assert_eq!(answer.some(&SAME_AS_WHOLE), whole.some(&SAME_AS_WHOLE));
                if let [(start, end)] = expected {
                    let range = format!("bytes {start}-{}/{len}", end - 1);
                    assert_eq!(answer.field("content-range"), Some(range.as_str()));
                }
            }
        }
    }
}

#[test]
fn what_is_no_range_or_too_many_gives_the_whole() {
    let many = (0..20).map(|at| format!("{}-{}", at * 4, at * 4 + 1)).collect::<Vec<_>>().join(",");
    for ranges in ["bytes=", "bytes=x", "0-1", "lines=0-1", "bytes=5-2", "bytes=0-,0-,0-", &format!("bytes={many}")] {
        assert_eq!(USUAL.get("/", &[(Field::Range, ranges)]), USUAL.get("/", &[]), "{ranges}");
    }
    let twice = [(Field::Range, "bytes=0-1"), (Field::Range, "bytes=2-3")];
    assert_eq!(USUAL.get("/", &twice).status, 200);
    assert_eq!(USUAL.get("/empty.txt", &[(Field::Range, "bytes=-1")]).status, 200);
}

#[test]
fn nothing_of_what_is_asked_is_there() {
    for (path, ranges) in
        [("/", "99999-"), ("/", "-0"), ("/", "99999-,-0"), ("/data/large.csv", "9999999-"), ("/empty.txt", "0-0")]
    {
        let whole = USUAL.get(path, &[]);
        let answer = USUAL.get(path, &[(Field::Range, &format!("bytes={ranges}"))]);
        assert_eq!((answer.status, answer.body.len()), (416, 0), "{path} {ranges}");
        let range = format!("bytes */{}", whole.body.len());
        assert_eq!(answer.field("content-range"), Some(range.as_str()));
        let same = ["etag", "last-modified", "difusor-cut", "vary", "access-control-allow-origin"];
        assert_eq!(answer.some(&same), whole.some(&same));
        // A cache that kept it could give it to those who want the whole.
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
}

#[test]
fn a_part_follows_only_what_the_client_has_the_rest_of() {
    use Field::{AcceptEncoding, IfRange};
    let parts = (Field::Range, "bytes=2-5");
    for (path, fields, status) in [
        ("/", &[(IfRange, "{identity}")][..], 206),
        ("/", &[(IfRange, "W/{identity}")], 200),
        ("/", &[(IfRange, "{identity}, {identity}")], 200),
        ("/", &[(IfRange, "\"x\"")], 200),
        ("/", &[(IfRange, "*")], 200),
        ("/", &[(IfRange, "{gzip}"), (AcceptEncoding, "gzip")], 206),
        ("/", &[(IfRange, "{br}"), (AcceptEncoding, "br")], 206),
        ("/", &[(IfRange, "{zstd}"), (AcceptEncoding, "zstd")], 206),
        ("/", &[(IfRange, "{gzip}")], 200),
        ("/", &[(IfRange, "{br}"), (AcceptEncoding, "gzip")], 200),
        ("/", &[(IfRange, "{identity}"), (IfRange, "{identity}")], 200),
        // A date says nothing of the coding.
        ("/", &[(IfRange, SAME)], 200),
        ("/plain.zip", &[(IfRange, SAME)], 206),
        ("/plain.zip", &[(IfRange, LATER)], 200),
        ("/plain.zip", &[(IfRange, EARLIER)], 200),
        ("/plain.zip", &[(IfRange, "yesterday")], 200),
        ("/plain.zip", &[(IfRange, "{identity}")], 206),
    ] {
        let asked = [fields, &[parts]].concat();
        let answer = USUAL.get(path, &asked);
        assert_eq!(answer.status, status, "{path} {fields:?}");
        let accept: Vec<_> = fields.iter().filter(|(field, _)| *field == AcceptEncoding).copied().collect();
        if status == 200 {
            assert_eq!(answer, USUAL.get(path, &accept), "{path} {fields:?}");
        }
        // Without a range it says nothing, but which form is meant.
        assert_eq!(USUAL.get(path, fields).status, 200);
        assert_eq!(USUAL.ask(Method::Head, path, &asked).status, 200);
    }
    // A whole that is not there is not asked for.
    let beyond = [(IfRange, "\"x\""), (Field::Range, "bytes=99999-")];
    assert_eq!(USUAL.get("/", &beyond).status, 200);
}

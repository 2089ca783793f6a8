//! Which form is sent: what the client accepts most, the smallest of those, but before all what it says it has.

use super::*;

/// The smallest of the forms of the page in these codings.
fn smallest(codings: &[Coding]) -> Coding {
    let page = USUAL.entity("/");
    codings.iter().copied().min_by_key(|coding| page.forms.get(*coding).unwrap().content.len()).unwrap()
}

#[test]
fn what_is_accepted_decides() {
    use Coding::{Brotli, Gzip, Identity, Zstd};
    let (all, two) = (smallest(&[Gzip, Brotli, Zstd]), smallest(&[Gzip, Brotli]));
    assert_ne!(smallest(&[Identity, Gzip]), Identity);
    for (lines, expected) in [
        (&[][..], Some(Identity)),
        (&[""], Some(Identity)),
        (&["identity"], Some(Identity)),
        (&["gzip"], Some(Gzip)),
        (&["x-gzip"], Some(Gzip)),
        (&["BR"], Some(Brotli)),
        (&["zstd"], Some(Zstd)),
        (&["deflate"], Some(Identity)),
        (&["compress, nonsense;q=1"], Some(Identity)),
        (&["gzip, deflate, br, zstd"], Some(all)),
        (&["zstd, br, deflate, gzip"], Some(all)),
        (&["gzip, deflate, br"], Some(two)),
        (&["gzip", "br"], Some(two)),
        (&["*"], Some(all)),
        (&["zstd;q=0, *"], Some(two)),
        (&["gzip;q=1, br;q=0.5"], Some(Gzip)),
        (&["gzip;q=0.5, br;q=0.8, zstd;q=0.2"], Some(Brotli)),
        (&["gzip;q=0.001, br;q=0, zstd;q=0.002"], Some(Zstd)),
        (&["identity;q=0.5, gzip;q=0.2"], Some(Identity)),
        (&["identity, gzip, br, zstd"], Some(all)),
        (&["identity;q=0, gzip"], Some(Gzip)),
        (&["*;q=0, br"], Some(Brotli)),
        (&["gzip;q=0", "br;q=0.1"], Some(Brotli)),
        (&["gzip;q=x, br"], Some(Brotli)),
        (&["gzip;q=0"], Some(Identity)),
        (&["identity;q=0"], None),
        (&["*;q=0"], None),
        (&["identity;q=0, gzip;q=0"], None),
        (&["identity;q=0, compress"], None),
    ] {
        let fields: Vec<_> = lines.iter().map(|line| (Field::AcceptEncoding, *line)).collect();
        let answer = USUAL.get("/", &fields);
        match expected {
            Some(coding) => {
                assert_eq!((answer.status, answer.coding()), (200, coding.name()), "{lines:?}");
                assert_eq!(answer.field("etag"), Some(USUAL.tag("/", coding).as_str()));
            }
            None => assert_eq!((answer.status, answer.field("cache-control")), (406, Some("no-store")), "{lines:?}"),
        }
        assert_eq!(answer.field("vary"), Some("accept-encoding"), "{lines:?}");
    }
}

#[test]
fn what_has_one_form_is_sent_so_unless_that_is_refused() {
    for (accept, status) in [
        ("gzip", 200),
        ("gzip, deflate, br, zstd", 200),
        ("identity;q=0.001", 200),
        ("*;q=0, identity", 200),
        ("gzip, identity;q=0", 406),
        ("*;q=0", 406),
    ] {
        for path in ["/plain.zip", "/.well-known/difusor/root"] {
            let answer = USUAL.get(path, &[(Field::AcceptEncoding, accept)]);
            assert_eq!((answer.status, answer.field("content-encoding")), (status, None), "{path} {accept}");
        }
    }
}

#[test]
fn what_the_client_names_comes_before_what_is_smaller() {
    use Coding::{Brotli, Gzip, Identity, Zstd};
    use Field::{IfMatch, IfNoneMatch, IfRange};
    let all = smallest(&[Gzip, Brotli, Zstd]);
    let all_named = "{gzip}, {br}, {zstd}, {identity}";
    let browser = "gzip, deflate, br, zstd";
    for (accept, fields, status, expected) in [
        (browser, &[(IfNoneMatch, "{gzip}")][..], 304, Gzip),
        (browser, &[(IfNoneMatch, "{br}")], 304, Brotli),
        (browser, &[(IfNoneMatch, "{zstd}")], 304, Zstd),
        (browser, &[(IfNoneMatch, "W/{identity}")], 304, Identity),
        (browser, &[(IfNoneMatch, all_named)], 304, all),
        (browser, &[(IfNoneMatch, "\"x\"")], 200, all),
        (browser, &[(IfNoneMatch, "*")], 304, all),
        (browser, &[(IfMatch, "{gzip}")], 200, Gzip),
        (browser, &[(IfMatch, "\"x\", {identity}")], 200, Identity),
        (browser, &[(IfMatch, "*")], 200, all),
        (browser, &[(IfRange, "{gzip}")], 200, Gzip),
        (browser, &[(IfRange, "{identity}")], 200, Identity),
        (browser, &[(IfRange, "{br}"), (Field::Range, "bytes=0-3")], 206, Brotli),
        (browser, &[(IfRange, "{zstd}"), (Field::Range, "bytes=0-3")], 206, Zstd),
        (browser, &[(IfRange, "{gzip}"), (Field::Range, "bytes=0-3")], 206, Gzip),
        (browser, &[(IfRange, "{identity}"), (Field::Range, "bytes=0-3")], 206, Identity),
        // Named, but not acceptable.
        ("gzip", &[(IfNoneMatch, "{br}")], 200, Gzip),
        ("gzip", &[(IfRange, "{br}"), (Field::Range, "bytes=0-3")], 200, Gzip),
        ("br, gzip;q=0", &[(IfRange, "{gzip}"), (Field::Range, "bytes=0-3")], 200, Brotli),
        // Named, and accepted less than another.
        ("br, gzip;q=0.1", &[(IfNoneMatch, "{gzip}")], 304, Gzip),
        // `*` names none: it is what the client accepts most.
        ("identity, gzip;q=0.1", &[(IfMatch, "*")], 200, Identity),
        ("gzip, br;q=0.1, zstd;q=0.1", &[(IfNoneMatch, "*")], 304, Gzip),
        ("identity, gzip;q=0.1", &[(IfMatch, "\"x\", *")], 412, Identity),
        ("identity, gzip;q=0.1", &[(IfMatch, "\"x\""), (IfMatch, "*")], 200, Identity),
    ] {
        let fields = [&[(Field::AcceptEncoding, accept)], fields].concat();
        let answer = USUAL.get("/", &fields);
        assert_eq!(answer.status, status, "{fields:?}");
        if status != 412 {
            assert_eq!(answer.field("etag"), Some(USUAL.tag("/", expected).as_str()), "{fields:?}");
        }
        if status == 200 {
            assert_eq!(answer.coding(), expected.name());
        }
    }
}

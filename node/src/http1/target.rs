//! The target of a request, and the authority that it is asked of (RFC 9112 section 3.2, RFC 3986).
//!
//! Characters that no target can have are refused here: they are what gets decoded differently by whoever stands in
//! front. What a path means is not known here.

use crate::{
    head::{Head, Method},
    syntax::is_authority,
};

/// Puts `target` into `head`, whose method is known. `host` is the authority of the field, which the one of the target
/// replaces. `None` if it is not a target of this method.
pub(super) fn read<'a>(target: &'a [u8], connect: bool, host: &'a [u8], head: &mut Head<'a>) -> Option<()> {
    if !target.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'#') || !is_authority(host) {
        return None;
    }
    head.authority = (!host.is_empty()).then_some(host);
    match target {
        _ if connect => {
            head.path = target;
            return is_authority(target).then_some(());
        }
        [b'/', ..] => (head.path, head.query) = without_query(target),
        b"*" if head.method == Method::Options => head.path = target,
        _ => {
            let rest = without_scheme(target)?;
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at_checked(end)?;
            if authority.is_empty() || authority.starts_with(b":") || !is_authority(authority) {
                return None;
            }
            head.authority = Some(authority);
            (head.path, head.query) = without_query(rest);
            if head.path.is_empty() {
                // RFC 9112 section 3.2.4: a server as a whole, as a proxy is asked about it.
                head.path = if head.method == Method::Options && head.query.is_none() { b"*" } else { b"/" };
            }
        }
    }
    Some(())
}

fn without_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut halves = target.splitn(2, |byte| *byte == b'?');
    (halves.next().unwrap_or_default(), halves.next())
}

/// What follows `http://` or `https://`, in any case.
fn without_scheme(target: &[u8]) -> Option<&[u8]> {
    [b"http://".as_slice(), b"https://"].into_iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Path, query and authority, for a request to `host`.
    fn parsed<'a>(method: &str, target: &'a str, host: &'a str) -> Option<(&'a str, Option<&'a str>, Option<&'a str>)> {
        let mut head = Head { method: Method::from_name(method.as_bytes()), ..Head::default() };
        read(target.as_bytes(), method == "CONNECT", host.as_bytes(), &mut head)?;
        let text = |bytes| str::from_utf8(bytes).unwrap();
        Some((text(head.path), head.query.map(text), head.authority.map(text)))
    }

    #[test]
    fn targets() {
        for (method, target, expected) in [
            ("GET", "/", Some(("/", None, "h"))),
            ("GET", "/a/b%20c.html", Some(("/a/b%20c.html", None, "h"))),
            ("GET", "/a?b=c?d/e", Some(("/a", Some("b=c?d/e"), "h"))),
            ("GET", "/?", Some(("/", Some(""), "h"))),
            ("GET", "//x/y", Some(("//x/y", None, "h"))),
            ("GET", "/a\\b|c\"<>^`{}[]~!", Some(("/a\\b|c\"<>^`{}[]~!", None, "h"))),
            ("POST", "/http://x", Some(("/http://x", None, "h"))),
            ("GET", "http://x/y?z", Some(("/y", Some("z"), "x"))),
            ("GET", "HTTPS://x:443", Some(("/", None, "x:443"))),
            ("GET", "http://x?q", Some(("/", Some("q"), "x"))),
            ("GET", "http://[::1]:80/y", Some(("/y", None, "[::1]:80"))),
            ("OPTIONS", "*", Some(("*", None, "h"))),
            ("OPTIONS", "http://x:1", Some(("*", None, "x:1"))),
            ("OPTIONS", "http://x/", Some(("/", None, "x"))),
            ("OPTIONS", "http://x?q", Some(("/", Some("q"), "x"))),
            ("CONNECT", "x:443", Some(("x:443", None, "h"))),
            ("GET", "*", None),
            ("GET", "", None),
            ("GET", "a", None),
            ("GET", "?a", None),
            ("GET", "x:443", None),
            ("OPTIONS", "**", None),
            ("CONNECT", "/", None),
            ("GET", "/a b", None),
            ("GET", "/a#b", None),
            ("GET", "/?a#b", None),
            ("GET", "/\u{e9}", None),
            ("GET", "/?\u{e9}", None),
            ("GET", "/\u{7f}", None),
            ("GET", "/\u{0}", None),
            ("GET", "/\t", None),
            ("GET", "ftp://x/", None),
            ("GET", "http:/x/", None),
            ("GET", "http:x", None),
            ("GET", "http://", None),
            ("GET", "http:///y", None),
            ("GET", "http://:80/y", None),
            ("GET", "http://u@x/y", None),
            ("GET", "http://x:y/", None),
            ("GET", "http://x\\y/", None),
        ] {
            let expected = expected.map(|(path, query, authority)| (path, query, Some(authority)));
            assert_eq!(parsed(method, target, "h"), expected, "{method} {target:?}");
        }
        assert_eq!(parsed("GET", "/", ""), Some(("/", None, None)));
        // The field must be valid even where the target says more.
        assert_eq!(parsed("GET", "http://x/", "h@"), None);
    }

    proptest! {
        #[test]
        fn any_bytes(target in proptest::collection::vec(any::<u8>(), 0..40), host in proptest::collection::vec(any::<u8>(), 0..20), connect: bool) {
            let mut head = Head::default();
            read(&target, connect, &host, &mut head);
        }

        #[test]
        fn nearly_absolute(target in "https?://[a-z@:.\\[\\]/?#%0-9]{0,20}", host in "[a-z.]{0,5}(:[0-9]{0,6})?") {
            if let Some((path, _, authority)) = parsed("GET", &target, &host) {
                prop_assert!(path.starts_with('/') && !path.contains(['?', '#']));
                prop_assert!(authority.is_some_and(|authority| !authority.is_empty() && !authority.contains(['@', '/'])));
            }
        }
    }
}

//! What can be asked: reading, what could be read, and nothing else; and what is said before there is anything.

use super::*;

#[test]
fn head_is_get_without_the_body() {
    let mounted = Setting::under(Policy { mount: "/m/".into(), hosts: vec!["a".into()], ..Policy::default() });
    let empty = Setting::before_the_first_cut(Policy::default());
    for setting in [&*USUAL, &mounted, &empty] {
        for path in [
            "/",
            "/data/large.csv",
            "/sub",
            "/nope",
            "/empty.txt",
            "/acta.pdf",
            "/.well-known/difusor/cut.json",
            "/m/",
            "/m/sub",
            "/m",
        ] {
            for fields in [
                &[][..],
                &[(Field::AcceptEncoding, "gzip")],
                &[(Field::AcceptEncoding, "gzip, deflate, br, zstd")],
                &[(Field::AcceptEncoding, "identity;q=0, gzip;q=0")],
                &[(Field::IfNoneMatch, "*")],
                &[(Field::IfModifiedSince, SAME)],
                &[(Field::IfMatch, "\"x\"")],
                &[(Field::IfUnmodifiedSince, EARLIER)],
            ] {
                for authority in [None, Some(b"b".as_slice())] {
                    let mut head = Head { path: path.as_bytes(), authority, ..Head::default() };
                    fields.iter().for_each(|(field, value)| head.push(*field, value.as_bytes()));
                    let get = setting.answer(&head);
                    let head = setting.answer(&Head { method: Method::Head, ..head });
                    assert_eq!((get.status, get.fields), (head.status, head.fields), "{path} {fields:?}");
                }
            }
        }
    }
}

#[test]
fn lifetimes_agree_on_one_connection_and_vary_between_them() {
    let lives = (0..8).map(|seed| {
        let setting = Setting { seed, ..Setting::under(Policy::default()) };
        let get = setting.get("/", &[]);
        assert_eq!(get.fields, setting.ask(Method::Head, "/", &[]).fields);
        get.field("cache-control").unwrap().to_owned()
    });
    assert!(lives.collect::<std::collections::HashSet<_>>().len() > 2);
}

#[test]
fn only_reading_is_allowed() {
    for name in ["POST", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH", "PROPFIND", "get", "GETX", ""] {
        let method = Method::from_name(name.as_bytes());
        for setting in [&*USUAL, &Setting::before_the_first_cut(Policy::default())] {
            for path in ["/", "/nope", "/sub", "*", ""] {
                let answer = setting.ask(method, path, &[(Field::IfNoneMatch, "*")]);
                assert_eq!(answer.status, 405, "{name} {path}");
                let expected = [("allow", "GET, HEAD, OPTIONS"), ("cache-control", "no-store")];
                assert_eq!(answer.some(&["allow", "cache-control"]), expected);
                assert!(answer.body.starts_with(b"<!doctype html>"));
            }
        }
    }
}

#[test]
fn options_say_what_could_be_asked() {
    let allow = [("allow", "GET, HEAD, OPTIONS"), ("access-control-allow-origin", "*"), ("content-length", "0")];
    let preflight = [
        ("access-control-allow-methods", "GET, HEAD, OPTIONS"),
        (
            "access-control-allow-headers",
            "range, if-range, if-match, if-none-match, if-modified-since, if-unmodified-since, priority, want-repr-digest",
        ),
        ("access-control-max-age", "86400"),
    ];
    let names: Vec<_> = allow.iter().chain(&preflight).map(|(name, _)| *name).collect();
    for setting in [&*USUAL, &Setting::before_the_first_cut(Policy::default())] {
        for path in ["*", "/", "/nope", "/sub"] {
            let plain = setting.ask(Method::Options, path, &[(Field::Origin, "https://portal.example")]);
            assert_eq!((plain.status, plain.some(&names)), (200, allow.to_vec()), "{path}");
            for method in ["GET", "POST"] {
                let fields = [(Field::Origin, "https://portal.example"), (Field::RequestMethod, method)];
                let asked = setting.ask(Method::Options, path, &fields);
                assert_eq!((asked.status, asked.some(&names)), (200, [allow, preflight].concat()), "{path}");
                assert_eq!(asked.field("cache-control"), Some("no-store"));
            }
        }
    }
}

#[test]
fn before_the_first_cut() {
    let empty = Setting::before_the_first_cut(Policy::default());
    for path in ["/", "/nope", "/.well-known/difusor/root", "*"] {
        for method in [Method::Get, Method::Head] {
            let answer = empty.ask(method, path, &[(Field::IfNoneMatch, "*")]);
            let expected = [("retry-after", "5"), ("cache-control", "no-store")];
            assert_eq!(
                (answer.status, answer.some(&["retry-after", "cache-control", "difusor-cut"])),
                (503, expected.to_vec())
            );
            assert_eq!(answer.body.is_empty(), method == Method::Head);
        }
    }
}

//! Which addresses lead where: folders, mounts, names of hosts, addresses that an application makes up.

use super::*;
use crate::policy::Fallback;

#[test]
fn every_address_is_one_name_and_decoded_once() {
    for (path, expected) in [
        ("/", Some("index.html")),
        ("/index.html", Some("index.html")),
        ("/index%2Ehtml", Some("index.html")),
        ("/%69ndex.html", Some("index.html")),
        ("/sub/", Some("sub/index.html")),
        ("/a%20b/%c3%b1.json", Some("a b/\u{f1}.json")),
        ("/a b/\u{f1}.json", Some("a b/\u{f1}.json")),
        ("/100%25.txt", Some("100%.txt")),
        ("/100%2525.txt", None),
        ("/100%.txt", None),
        ("/data", None),
        ("/data/", None),
        ("/nope", None),
        ("/index.html/", None),
        ("/INDEX.html", None),
        ("//", None),
        ("//index.html", None),
        ("/%2e%2e/index.html", None),
        ("/sub/../index.html", None),
        ("/./index.html", None),
        ("/sub%2Findex.html", None),
        ("/sub%252Findex.html", None),
        ("/sub%5cindex.html", None),
        ("/sub\\index.html", None),
        ("/index.html%00", None),
        ("/index.html%0a", None),
        ("/%c0%ae%c0%ae/index.html", None),
        ("/%ff", None),
        ("/index.html?x", None),
        ("", None),
        ("*", None),
        ("index.html", None),
    ] {
        let answer = USUAL.get(path, &[]);
        match expected {
            Some(name) => assert_eq!((answer.status, answer.body), (200, WORLD.bytes(name)), "{path}"),
            None => assert_eq!(answer.status, 404, "{path}"),
        }
    }
}

#[test]
fn missing_files_say_so_in_both_languages() {
    for accept in ["gzip", "identity;q=0", "*;q=0"] {
        let fields = [(Field::AcceptEncoding, accept), (Field::IfNoneMatch, "*"), (Field::Range, "bytes=0-0")];
        let answer = USUAL.get("/nope", &fields);
        let text = std::str::from_utf8(&answer.body).unwrap();
        assert!(text.contains("<p>404:") && text.contains("lang=\"en\""));
        let expected = [
            ("difusor-cut", "20210606_2007/7"),
            ("cache-control", "public, max-age=5"),
            ("content-type", "text/html; charset=utf-8"),
        ];
        assert_eq!(answer.some(&["difusor-cut", "cache-control", "content-type"]), expected);
        assert_eq!((answer.status, answer.field("etag"), answer.field("last-modified")), (404, None, None));
    }
}

#[test]
fn a_folder_leads_to_its_slash_for_good() {
    for fields in [&[][..], &[(Field::IfNoneMatch, "*")], &[(Field::AcceptEncoding, "identity;q=0")]] {
        for path in ["/sub", "/s%75b"] {
            let answer = USUAL.get(path, fields);
            assert_eq!((answer.status, answer.field("location")), (308, Some("/sub/")), "{path}");
            assert_eq!(answer.field("content-length"), Some("0"));
            assert_eq!(answer.field("difusor-cut"), Some("20210606_2007/7"));
            assert!(answer.field("cache-control").unwrap().starts_with("public, max-age=1"));
        }
    }
}

#[test]
fn a_folder_keeps_the_query() {
    for (query, location) in [
        (&b""[..], "/sub/"),
        (b"casilla=12&x=%2F?/", "/sub/?casilla=12&x=%2F?/"),
        (b"a=\xc3\xb1\"<\\", "/sub/?a=%C3%B1%22%3C%5C"),
    ] {
        let answer = USUAL.answer(&Head { path: b"/sub", query: Some(query), ..Head::default() });
        assert_eq!((answer.status, answer.field("location")), (308, Some(location)));
    }
    let mounted = Setting::under(Policy { mount: "/m/".into(), ..Policy::default() });
    for (path, location) in [(&b"/m"[..], "/m/?q"), (b"/m/sub", "/m/sub/?q"), (b"/%6d", "/m/?q")] {
        let answer = mounted.answer(&Head { path, query: Some(b"q"), ..Head::default() });
        assert_eq!((answer.status, answer.field("location")), (308, Some(location)));
    }
}

#[test]
fn mounts_and_prefixes_are_compared_decoded() {
    let fallback = vec![Fallback { prefix: "/ñ/~a/".into(), page: "index.html".into() }];
    let setting = Setting::under(Policy { mount: "/méxico/".into(), fallback, ..Policy::default() });
    for path in ["/m%C3%A9xico/", "/m%c3%a9xic%6f/", "/m%C3%A9xico/%C3%B1/%7Ea/x", "/m%C3%A9xico/%c3%b1/~a/x"] {
        let answer = setting.get(path, &[]);
        assert_eq!((answer.status, answer.body), (200, WORLD.bytes("index.html")), "{path}");
    }
    for (path, location) in [("/m%c3%a9xico", "/m%C3%A9xico/"), ("/m%c3%a9xico/s%75b", "/m%C3%A9xico/sub/")] {
        let answer = setting.get(path, &[]);
        assert_eq!((answer.status, answer.field("location")), (308, Some(location)), "{path}");
    }
    for path in ["/mexico/", "/m%E9xico/", "/m%C3%A9xico%2F", "/m%C3%A9xico/n/~a/x", "/"] {
        assert_eq!(setting.get(path, &[]).status, 404, "{path}");
    }
}

#[test]
fn redirects_stay_on_the_site() {
    for path in ["//sub", "/%2fsub", "/\\sub", "//example.org/%2e%2e", "/sub%2f"] {
        assert_eq!(USUAL.get(path, &[]).status, 404, "{path}");
    }
}

#[test]
fn a_mounted_site_is_below_its_mount_only() {
    for mount in ["/prep2024/", "/a/b/"] {
        let mounted = Setting::under(Policy { mount: mount.into(), ..Policy::default() });
        let bare = mount.trim_end_matches('/');
        for (path, name) in [
            (mount.to_owned(), "index.html"),
            (format!("{mount}index.html"), "index.html"),
            (format!("{mount}sub/"), "sub/index.html"),
            (format!("{mount}a%20b/%C3%B1.json"), "a b/\u{f1}.json"),
        ] {
            let answer = mounted.answer(&Head { path: path.as_bytes(), ..Head::default() });
            assert_eq!((answer.status, answer.body), (200, WORLD.bytes(name)), "{path}");
        }
        for (path, location) in [(format!("{mount}sub"), format!("{mount}sub/")), (bare.to_owned(), mount.to_owned())] {
            for method in [Method::Get, Method::Head] {
                let answer = mounted.answer(&Head { method, path: path.as_bytes(), ..Head::default() });
                assert_eq!((answer.status, answer.field("location")), (308, Some(location.as_str())), "{path}");
            }
        }
        let twice = format!("{mount}{}", &mount[1..]);
        for path in ["/", "/index.html", "/sub", "/sub/", "", "*", &mount[1..], &format!("{bare}x/index.html"), &twice]
        {
            let answer = mounted.answer(&Head { path: path.as_bytes(), ..Head::default() });
            assert_eq!(answer.status, 404, "{path}");
        }
        let below =
            mounted.answer(&Head { path: format!("{mount}.well-known/difusor/root").as_bytes(), ..Head::default() });
        let above = mounted.get("/.well-known/difusor/root", &[]);
        assert_eq!(above.status, 200);
        assert_eq!(above, below);
        assert_eq!(mounted.get("/.well-known/difusor/nope", &[]).status, 404);
        assert_eq!(mounted.get("/.well-known/", &[]).status, 404);
    }
}

#[test]
fn other_names_of_hosts_are_misdirected() {
    let named = Setting::under(Policy { hosts: vec!["prep.example.org".into()], ..Policy::default() });
    let empty = Setting::before_the_first_cut(named.policy.clone());
    for (authority, is_ours) in [
        (Some("prep.example.org"), true),
        (Some("PREP.example.org:8443"), true),
        (None, true),
        (Some("other.example.org"), false),
        (Some("prep.example.org.example.net"), false),
        (Some(""), false),
    ] {
        for (path, ours) in [("/", 200), ("/nope", 404), ("/sub", 308), ("/.well-known/difusor/root", 200)] {
            let mut head = Head { path: path.as_bytes(), authority: authority.map(str::as_bytes), ..Head::default() };
            let answer = named.answer(&head);
            assert_eq!(answer.status, if is_ours { ours } else { 421 }, "{authority:?} {path}");
            assert_eq!(empty.answer(&head).status, if is_ours { 503 } else { 421 }, "{authority:?} {path}");
            if !is_ours {
                assert_eq!(answer.field("cache-control"), Some("no-store"));
            }
            // What could be asked is the same under any name.
            head.method = Method::Options;
            assert_eq!(named.answer(&head).status, 200);
            head.method = Method::Other;
            assert_eq!(named.answer(&head).status, 405);
        }
    }
    let open = USUAL.answer(&Head { path: b"/", authority: Some(b"anything"), ..Head::default() });
    assert_eq!(open.status, 200);
}

#[test]
fn pages_of_an_application_answer_for_what_it_makes_up() {
    let fallback = |prefix: &str, page: &str| Fallback { prefix: prefix.into(), page: page.into() };
    let fallbacks = vec![
        fallback("/app/", "app/index.html"),
        fallback("/gone/", "gone.html"),
        fallback("/gone/", "index.html"),
        fallback("/n/", "index.html"),
    ];
    for mount in ["/", "/prep2024/"] {
        let policy = Policy { mount: mount.into(), fallback: fallbacks.clone(), ..Policy::default() };
        let setting = Setting::under(policy);
        for (path, expected) in [
            ("app/", Some("app/index.html")),
            ("app/nacional/votos", Some("app/index.html")),
            ("app/nacional/votos/", Some("app/index.html")),
            ("app/v1.2/votos", Some("app/index.html")),
            ("n/a%20b", Some("index.html")),
            // What is there comes first.
            ("sub/", Some("sub/index.html")),
            // What looks like a file is one, however it is spelled.
            ("app/main.js", None),
            ("app/nacional/votos.json", None),
            ("app/main%2ejs", None),
            ("app/..", None),
            // What can be read in two ways is nothing.
            ("app/%zz", None),
            ("app/a%2fb", None),
            ("app/%00", None),
            ("appx/votos", None),
            ("nacional", None),
            // The page is not in this cut; the first prefix decides.
            ("gone/votos", None),
            (".well-known/difusor/nope", None),
        ] {
            let path = format!("{mount}{path}");
            let answer = setting.answer(&Head { path: path.as_bytes(), ..Head::default() });
            match expected {
                Some(name) => assert_eq!((answer.status, answer.body), (200, WORLD.bytes(name)), "{path}"),
                None => assert_eq!(answer.status, 404, "{path}"),
            }
        }
        let folder = setting.answer(&Head { path: format!("{mount}app").as_bytes(), ..Head::default() });
        assert_eq!(folder.status, 308);
    }
    let all = Setting::under(Policy { fallback: vec![fallback("/", "index.html")], ..Policy::default() });
    let index = all.get("/", &[]);
    assert_eq!(all.get("/anything", &[]), index);
    // The proofs are never made up.
    for path in ["/.well-known/difusor/nope", "/.well-known/difusor/", "/.well-known/difus%6fr/nope"] {
        assert_eq!(all.get(path, &[]).status, 404, "{path}");
    }
}

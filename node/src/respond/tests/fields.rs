//! The fields of answers, whole and one by one.

use std::time::Duration;

use difusor_proto::{Sha256, units::Span};

use super::*;
use crate::{digest_field::repr_digest, site::SiteOptions};

#[test]
fn a_page_with_all_its_fields() {
    let answer = USUAL.get("/", &[]);
    assert_eq!((answer.status, Digest::of(&answer.body)), (200, WORLD.digest("index.html")));
    let tag = format!("\"{}\"", WORLD.digest("index.html"));
    let length = answer.body.len().to_string();
    let digest = repr_digest(Sha256::of(&answer.body).as_bytes());
    let expected = [
        ("difusor-cut", "20210606_2007/7"),
        ("last-modified", SAME),
        ("accept-ranges", "bytes"),
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", "difusor-cut, repr-digest, etag, content-range, accept-ranges, date"),
        ("x-content-type-options", "nosniff"),
        ("vary", "accept-encoding"),
        ("content-type", "text/html"),
        ("content-security-policy", "frame-ancestors 'self'"),
        ("etag", tag.as_str()),
        ("repr-digest", digest.as_str()),
        ("content-length", length.as_str()),
        ("date", "Mon, 07 Jun 2021 03:40:00 GMT"),
        ("cache-control", "public, max-age=15, stale-while-revalidate=15, stale-if-error=86400"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(answer.fields, expected);
}

#[test]
fn caches_are_told_by_what_it_is() {
    let results = "results";
    let hashed = "public, max-age=31536000, immutable";
    for (path, expected) in [
        ("/", results),
        ("/sub/", results),
        ("/sub", results),
        ("/data/large.csv", results),
        ("/stored.json", results),
        ("/plain.zip", results),
        ("/main.js", results),
        ("/foto_20210606.png", results),
        ("/main.0a1b2c3d4e5f6a7b.js", hashed),
        ("/.well-known/difusor/cut.json", "no-cache"),
        ("/.well-known/difusor/manifest", "no-cache"),
        ("/.well-known/difusor/root", "no-cache"),
        ("/nope", "public, max-age=5"),
        ("/.well-known/difusor/nope", "public, max-age=5"),
    ] {
        let of_class = |answer: &Answer| {
            let value = answer.field("cache-control").unwrap_or_default().to_owned();
            // Four fifths of half a minute's half to the whole of it.
            let is_results = (12..=15).any(|life| {
                value == format!("public, max-age={life}, stale-while-revalidate=15, stale-if-error=86400")
            });
            if is_results { results.to_owned() } else { value }
        };
        assert_eq!(of_class(&USUAL.get(path, &[])), expected, "{path}");
        if USUAL.get(path, &[]).status == 200 {
            for (field, status) in [((Field::IfNoneMatch, "*"), 304), ((Field::Range, "bytes=0-1"), 206)] {
                let answer = USUAL.get(path, &[field]);
                assert_eq!((answer.status, of_class(&answer)), (status, expected.to_owned()), "{path}");
            }
        }
    }
}

#[test]
fn proofs_are_asked_for_each_time() {
    for (name, media) in
        [("cut.json", "application/json"), ("manifest", "application/octet-stream"), ("root", "text/plain")]
    {
        let path = format!("/.well-known/difusor/{name}");
        let answer = USUAL.get(&path, &[]);
        assert_eq!(
            answer.some(&["cache-control", "content-type"]),
            [("cache-control", "no-cache"), ("content-type", media)]
        );
        let tag = answer.field("etag").unwrap();
        assert_eq!(tag, format!("\"{}\"", Digest::of(&answer.body)));
        assert_eq!(USUAL.get(&path, &[(Field::IfNoneMatch, tag)]).status, 304);
        assert!(answer.field("repr-digest").is_some());
    }
}

#[test]
fn only_pages_say_who_may_embed_them() {
    let portals = Policy { embed: vec!["'self'".into(), "https://portal.example".into()], ..Policy::default() };
    let nobody = Policy { embed: Vec::new(), ..Policy::default() };
    let anyone = Policy { embed: vec!["*".into()], ..Policy::default() };
    for (policy, expected) in [
        (Policy::default(), Some("frame-ancestors 'self'")),
        (portals, Some("frame-ancestors 'self' https://portal.example")),
        (nobody, Some("frame-ancestors 'none'")),
        (anyone, None),
    ] {
        let setting = Setting::under(policy);
        for path in ["/", "/sub/", "/app/index.html"] {
            for accept in ["identity", "gzip"] {
                let answer = setting.get(path, &[(Field::AcceptEncoding, accept)]);
                assert_eq!(answer.field("content-security-policy"), expected, "{path}");
                let part = setting.get(path, &[(Field::AcceptEncoding, accept), (Field::Range, "bytes=0-1")]);
                assert_eq!(part.field("content-security-policy"), expected, "{path}");
            }
        }
        for path in ["/data/large.csv", "/stored.json", "/plain.zip", "/main.js", "/sub", "/nope", "/acta.pdf"] {
            assert_eq!(setting.get(path, &[]).field("content-security-policy"), None, "{path}");
        }
    }
}

#[test]
fn pages_of_any_origin_may_read() {
    for path in ["/", "/stored.json", "/sub", "/nope", "/.well-known/difusor/cut.json"] {
        for origin in [&[][..], &[(Field::Origin, "https://portal.example")], &[(Field::Origin, "null")]] {
            let answer = USUAL.get(path, origin);
            assert_eq!(answer.field("access-control-allow-origin"), Some("*"), "{path}");
            assert_eq!(answer.field("access-control-allow-credentials"), None);
            if answer.status == 200 || answer.status >= 400 {
                let exposed = answer.field("access-control-expose-headers").unwrap();
                for name in ["difusor-cut", "repr-digest", "etag", "content-range", "date"] {
                    assert!(exposed.split(", ").any(|exposed| exposed == name), "{name}");
                }
            }
        }
    }
}

#[test]
fn what_the_operator_turns_on() {
    let hsts = Policy { hsts: Span(Duration::from_secs(63_072_000)), ..Policy::default() };
    let with_hsts = Setting::under(hsts);
    let options = SiteOptions { http3: Some(8443), ..WORLD.fixture.options() };
    let with_h3 = Setting::of(WORLD.fixture.build(&WORLD.cut, &options, None).unwrap(), Policy::default());
    for (path, field) in [
        ("/", (Field::Range, "x")),
        ("/", (Field::IfNoneMatch, "*")),
        ("/", (Field::Range, "bytes=0-1")),
        ("/plain.zip", (Field::Range, "bytes=0-1")),
        ("/plain.zip", (Field::Range, "bytes=0-1,4-5")),
        ("/sub", (Field::Range, "x")),
        ("/.well-known/difusor/root", (Field::Range, "x")),
    ] {
        let names = ["strict-transport-security", "alt-svc"];
        let usual = USUAL.get(path, &[field]);
        assert_eq!(usual.some(&names), []);
        for (setting, expected) in [
            (&with_hsts, ("strict-transport-security", "max-age=63072000")),
            (&with_h3, ("alt-svc", "h3=\":8443\"; ma=86400")),
        ] {
            let answer = setting.get(path, &[field]);
            assert_eq!(answer.some(&names), [expected], "{path}");
            let others = answer.fields.into_iter().filter(|(name, _)| !names.contains(&name.as_str()));
            assert_eq!(others.collect::<Vec<_>>(), usual.fields, "{path}");
        }
    }
    // Pages about errors and what could be asked say it as well (RFC 6797 section 7.1).
    let methods = [(Method::Get, "/nope", 404), (Method::Other, "/", 405), (Method::Options, "/", 200)];
    for (method, path, status) in methods {
        let answer = with_hsts.ask(method, path, &[]);
        let said = (answer.status, answer.field("strict-transport-security"));
        assert_eq!(said, (status, Some("max-age=63072000")), "{path}");
    }
}

#[test]
fn lifetimes_follow_the_cadence_and_the_bounds() {
    let mut setting = Setting::under(Policy::default());
    for (since, expected) in [(0, "max-age=30,"), (180, "max-age=30,"), (200, "max-age=20,"), (300, "max-age=5,")] {
        let cadence = Cadence { since: Duration::from_secs(since), interval: Some(Duration::from_secs(240)) };
        setting.tick = Tick::new(NOW, &cadence, &setting.policy.fresh);
        let life = setting.get("/", &[]).field("cache-control").unwrap().to_owned();
        assert!(life.contains(expected), "{since}: {life}");
    }
}

#[test]
fn pages_of_the_site_are_told_apart() {
    let Setting { site, policy, tick, pages, seed } = &*USUAL;
    let scene = Scene {
        site: site.as_deref(),
        policy,
        tick,
        pages,
        superseded: false,
        gives_up: None,
        health: &WELL,
        seed: *seed,
    };
    for (path, field, is_page) in [
        ("/", None, true),
        ("/sub/", None, true),
        // The client has it: it is the page that it shows.
        ("/", Some((Field::IfNoneMatch, "*")), true),
        ("/", Some((Field::Range, "bytes=0-1")), false),
        ("/", Some((Field::Range, "bytes=0-1,5-6")), false),
        ("/", Some((Field::Range, "bytes=99999-")), false),
        ("/", Some((Field::IfMatch, "\"x\"")), false),
        ("/sub", None, false),
        ("/nope", None, false),
        ("/stored.json", None, false),
        ("/stored.json", Some((Field::IfNoneMatch, "*")), false),
    ] {
        let mut head = Head { path: path.as_bytes(), ..Head::default() };
        field.into_iter().for_each(|(field, value)| head.push(field, value.as_bytes()));
        let (_, outcome) = respond(&scene, &head, &mut Answer::default());
        let page = outcome.given.filter(|given| given.part == Part::Page);
        assert_eq!(page.is_some(), is_page, "{path} {field:?}");
    }
}

#[test]
fn what_draws_a_page_comes_first() {
    let Setting { site, policy, tick, pages, seed } = &*USUAL;
    let scene = Scene {
        site: site.as_deref(),
        policy,
        tick,
        pages,
        superseded: false,
        gives_up: None,
        health: &WELL,
        seed: *seed,
    };
    let urgency = |path: &str, range: &[u8]| {
        let mut head = Head { path: path.as_bytes(), ..Head::default() };
        head.push(Field::Range, range);
        respond(&scene, &head, &mut Answer::default()).0.urgency()
    };
    for range in [b"x".as_slice(), b"bytes=0-1", b"bytes=0-1,4-4"] {
        let paths = ["/", "/main.js", "/stored.json", "/foto_20210606.png", "/data/large.csv", "/plain.zip"];
        assert_eq!(paths.map(|path| urgency(path, range)), [1, 2, 2, 4, 6, 6]);
    }
}

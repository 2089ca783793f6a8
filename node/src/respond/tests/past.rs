//! Answers over several cuts: what only earlier ones have, and clients that are in the middle of a file at a flip.

use super::*;
use crate::site::SiteOptions;

/// Settings after each of these cuts, the next one built on the one before; each is accepted a minute later.
fn flips(fixture: &Fixture, policy: &Policy, cuts: &[&[(&str, &[u8])]]) -> Vec<Setting> {
    let options = SiteOptions { policy: Arc::new(policy.clone()), ..fixture.options() };
    let mut settings: Vec<Setting> = Vec::new();
    for (seq, files) in (1..).zip(cuts) {
        let previous = settings.last().and_then(|setting| setting.site.clone());
        let site = fixture.build(&fixture.later(seq, files), &options, previous.as_deref()).unwrap();
        settings.push(Setting::of(site, policy.clone()));
    }
    settings
}

#[test]
fn what_only_an_earlier_cut_has_comes_with_the_name_of_that_cut() {
    let fixture = Fixture::new();
    let settings = flips(
        &fixture,
        &Policy::default(),
        &[
            &[("index.html", b"1"), ("old.html", b"<p>old"), ("old/index.html", b"<p>folder"), ("both.csv", b"from 1")],
            &[("index.html", b"2"), ("both.csv", b"from 2"), ("assets/a.0a1b2c3d4e5f6a7b.js", b"a()")],
            &[("index.html", b"3")],
        ],
    );
    let (first, third) = (&settings[0], &settings[2]);
    let named = ["difusor-cut", "last-modified"];
    let of = |cut: usize, minute: usize| {
        [(named[0], format!("20210606_200{cut}/{cut}")), (named[1], format!("Mon, 07 Jun 2021 01:4{minute}:00 GMT"))]
    };
    for (path, bytes, cut) in [
        ("/", "3", 3),
        ("/index.html", "3", 3),
        ("/old.html", "<p>old", 1),
        ("/old/", "<p>folder", 1),
        ("/both.csv", "from 2", 2),
        ("/assets/a.0a1b2c3d4e5f6a7b.js", "a()", 2),
    ] {
        let answer = third.get(path, &[]);
        assert_eq!((answer.status, answer.body.as_slice()), (200, bytes.as_bytes()), "{path}");
        let of = of(cut, cut);
        assert_eq!(answer.some(&named), of.each_ref().map(|(name, value)| (*name, value.as_str())), "{path}");
        // In every other way it is the answer that that cut gave.
        assert_eq!(answer, settings[cut - 1].get(path, &[]), "{path}");
        let since = [(Field::IfModifiedSince, of[1].1.as_str())];
        assert_eq!(third.get(path, &since).status, 304, "{path}");
        let part = third.get(path, &[(Field::Range, "bytes=0-0")]);
        assert_eq!(part.some(&named), of.each_ref().map(|(name, value)| (*name, value.as_str())), "{path}");
        // So are the pages that say why it is not given.
        for (field, value, status) in [(Field::IfMatch, "\"x\"", 412), (Field::AcceptEncoding, "*;q=0", 406)] {
            let refused = third.get(path, &[(field, value)]);
            assert_eq!((refused.status, refused.field(named[0])), (status, Some(of[0].1.as_str())), "{path}");
        }
    }
    let folder = third.get("/old", &[]);
    assert_eq!((folder.status, folder.field("location")), (308, Some("/old/")));
    assert_eq!(folder.field("difusor-cut"), Some("20210606_2001/1"));
    // What is nowhere is missing from the current cut, and proofs are of no other.
    let missing = third.get("/nope", &[]);
    assert_eq!((missing.status, missing.field("difusor-cut")), (404, Some("20210606_2003/3")));
    assert_eq!(third.get("/.well-known/difusor/root", &[]).field("difusor-cut"), Some("20210606_2003/3"));
    assert_eq!(first.get("/old.html", &[]).status, 200);
}

#[test]
fn earlier_cuts_are_addressable_below_the_mount_and_before_fallbacks() {
    let fixture = Fixture::new();
    let fallback = crate::policy::Fallback { prefix: "/app/".into(), page: "index.html".into() };
    let policy = Policy { mount: "/m/".into(), fallback: vec![fallback], ..Policy::default() };
    let settings = flips(
        &fixture,
        &policy,
        &[&[("index.html", b"1"), ("app/old/index.html", b"old")], &[("index.html", b"2")], &[("other.html", b"3")]],
    );
    for (setting, path, expected) in [
        (&settings[1], "/m/app/old/", Some("old")),
        (&settings[1], "/m/app/new", Some("2")),
        (&settings[1], "/app/old/", None),
        // The page of an application is of the current cut, or there is none.
        (&settings[2], "/m/app/new", None),
        (&settings[2], "/m/", Some("2")),
    ] {
        let answer = setting.get(path, &[]);
        assert_eq!(
            (answer.status == 200).then(|| String::from_utf8(answer.body).unwrap()).as_deref(),
            expected,
            "{path}"
        );
    }
    let folder = settings[1].get("/m/app/old", &[]);
    assert_eq!((folder.status, folder.field("location")), (308, Some("/m/app/old/")));
}

#[test]
fn a_download_that_was_under_way_starts_over_and_never_mixes() {
    let fixture = Fixture::new();
    let (one, two) = (noise(1, 9_000), noise(2, 9_000));
    let (kept, zips) = (noise(3, 9_000), [noise(4, 9_000), noise(5, 9_000)]);
    let settings = flips(
        &fixture,
        &Policy::default(),
        &[
            &[("data.csv", &one), ("data.zip", &zips[0]), ("kept.csv", &kept), ("gone.csv", &one)],
            &[("data.csv", &two), ("data.zip", &zips[1]), ("kept.csv", &kept)],
        ],
    );
    let (before, after) = (&settings[0], &settings[1]);
    let rest = (Field::Range, "bytes=1000-");
    for (path, status) in [("/data.csv", 200), ("/data.zip", 200), ("/kept.csv", 206), ("/gone.csv", 206)] {
        for accept in ["identity", "gzip"] {
            let accept = (Field::AcceptEncoding, accept);
            let begun = before.get(path, &[accept]);
            let resumed = after.get(path, &[accept, rest, (Field::IfRange, begun.field("etag").unwrap())]);
            assert_eq!(resumed.status, status, "{path} {accept:?}");
            if status == 200 {
                assert!(resumed == after.get(path, &[accept]));
                assert_ne!(resumed.field("etag"), begun.field("etag"));
            } else {
                assert!([&begun.body[..1000], &resumed.body].concat() == begun.body);
                assert_eq!(resumed.field("etag"), begun.field("etag"));
            }
            // With `If-Match` instead, the client is told.
            let insisting = after.get(path, &[accept, rest, (Field::IfMatch, begun.field("etag").unwrap())]);
            assert_eq!(insisting.status, if status == 200 { 412 } else { 206 });
            // A date is the one of the cut.
            let modified = begun.field("last-modified").unwrap();
            let resumed = after.get(path, &[accept, rest, (Field::IfRange, modified)]);
            assert_eq!(resumed.status, 200, "{path}");
            let since = after.get(path, &[accept, (Field::IfUnmodifiedSince, modified)]);
            assert_eq!(since.status, if path == "/gone.csv" { 200 } else { 412 }, "{path}");
        }
    }
    // One form only, of the same cut: the date is as good as the tag.
    let begun = before.get("/data.zip", &[]);
    let date = (Field::IfRange, begun.field("last-modified").unwrap());
    assert!(before.get("/data.zip", &[rest, date]).body == begun.body[1000..]);
}

#[test]
fn after_a_rollback_nobody_is_told_that_the_newer_is_unchanged() {
    let fixture = Fixture::new();
    let settings = flips(&fixture, &Policy::default(), &[&[("a.html", b"1")], &[("a.html", b"2"), ("b.html", b"b")]]);
    let cut = fixture.later(1, &[("a.html", b"1")]);
    let site = fixture.build(&cut, &fixture.options(), settings[1].site.as_deref()).unwrap();
    let back = Setting::of(site, Policy::default());
    let newer = settings[1].get("/a.html", &[]);
    for condition in [
        (Field::IfNoneMatch, newer.field("etag").unwrap()),
        (Field::IfModifiedSince, newer.field("last-modified").unwrap()),
    ] {
        let answer = back.get("/a.html", &[condition]);
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"1".as_slice()));
        assert_eq!(answer.field("difusor-cut"), Some("20210606_2001/1"));
    }
    let only_newer = back.get("/b.html", &[]);
    assert_eq!((only_newer.status, only_newer.field("difusor-cut")), (200, Some("20210606_2002/2")));
}

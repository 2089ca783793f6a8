//! Snapshots: what they refuse, what they share, and what they publish as proof.

use std::collections::HashSet;

use difusor_proto::{
    VerifyingKey,
    digest::{decode_hex_vec, encode_hex},
    store::Form as AtRest,
};
use serde_json::Value;

use super::{
    fixture::{ACCEPTED_MS, Cut, Fixture, Package, noise},
    *,
};
use crate::{
    content::{Content, Place},
    negotiate::Coding,
    shelf::Form,
};

mod behind;
mod mending;
mod past;

/// What the path of a request leads to.
fn find<'a>(site: &'a Site, path: &str) -> Option<Found<'a>> {
    site.find(&address::decode(path.as_bytes())?)
}

fn entity<'a>(site: &'a Site, path: &str) -> &'a Entity {
    match find(site, path).map(|found| found.route) {
        Some(Route::File(entity)) => entity,
        other => panic!("{path}: {other:?}"),
    }
}

/// The form in this coding, which is there.
fn form<'a>(site: &'a Site, path: &str, coding: Coding) -> &'a Form {
    entity(site, path).forms.get(coding).unwrap_or_else(|| panic!("{path} in {coding:?}"))
}

fn read(content: &Content) -> Vec<u8> {
    content.pieces(0..content.len()).flatten().collect()
}

fn plain(site: &Site, path: &str) -> Vec<u8> {
    read(&entity(site, path).forms.identity().content)
}

/// Where the bytes lie, if that is in memory.
fn in_memory(site: &Site, path: &str, coding: Coding) -> Option<*const u8> {
    let content = &form(site, path, coding).content;
    (content.place() == Place::Memory)
        .then(|| content.pieces(0..content.len()).next().map_or(std::ptr::null(), |b| b.as_ptr()))
}

fn is_hot(site: &Site, path: &str) -> bool {
    in_memory(site, path, Coding::Identity).is_some()
}

#[test]
fn a_partial_cut_is_no_site() {
    for at_rest in [AtRest::Identity, AtRest::Deflate] {
        let fixture = Fixture::new();
        let page = noise(1, 50);
        let keep = |name: &str, form| (name, form) != ("b.html", at_rest);
        let cut =
            fixture.write(1, &[("a.html", b"a"), ("b.html", &page)], &Package { keep: &keep, ..Package::default() });
        let options = SiteOptions { coded: false, ..fixture.options() };
        match (at_rest, fixture.build(&cut, &options, None)) {
            (AtRest::Identity, Err(SiteError::Missing { path, digest })) => {
                assert_eq!((path.as_str(), digest), ("b.html", Digest::of(&page)));
            }
            // The gzip form is a convenience: without its stream the site is whole.
            (AtRest::Deflate, Ok(site)) => assert!(entity(&site, "/b.html").forms.coded().is_empty()),
            (form, other) => panic!("{form:?}: {other:?}"),
        }
    }
}

#[test]
fn a_manifest_of_another_cut_is_refused() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.cut(1, &[("a", b"1")]), fixture.cut(2, &[("a", b"2")]));
    let (mixed_bytes, mixed_list) = (
        Cut { signed: two.signed.clone(), ..one },
        Cut { signed: two.signed, manifest: fixture.cut(3, &[]).manifest, ..two },
    );
    for mixed in [mixed_bytes, mixed_list] {
        assert!(matches!(fixture.build(&mixed, &fixture.options(), None), Err(SiteError::OtherCut(_))));
    }
}

#[test]
fn a_media_type_that_cannot_stand_in_a_field_is_refused() {
    let fixture = Fixture::new();
    let mut cut = fixture.cut(1, &[("a.html", b"a")]);
    for name in ["", "text/html\r\nset-cookie: a", "text/\u{e1}", "text/\0"] {
        cut.manifest.entries[0].media = name.into();
        let refused = fixture.build(&cut, &fixture.options(), None);
        assert!(matches!(refused, Err(SiteError::Media(path)) if path.as_str() == "a.html"), "{name:?}");
    }
}

#[test]
fn folders_have_the_addresses_of_their_index() {
    let fixture = Fixture::new();
    let files: [(&str, &[u8]); 7] = [
        ("index.html", b"root"),
        ("a\u{f1}o/index.html", b"year"),
        ("a\u{f1}o/x.json", b"{}"),
        ("both", b"file"),
        ("both/index.html", b"folder"),
        ("deep/er/index.html", b"deeper"),
        ("noindex.html", b"not an index"),
    ];
    let site = fixture.site(&fixture.cut(1, &files));
    for (path, bytes) in [
        ("/", "root"),
        ("/index.html", "root"),
        ("/a%C3%B1o/", "year"),
        ("/a%c3%b1o/index.html", "year"),
        ("/both", "file"),
        ("/both/", "folder"),
        ("/deep/er/", "deeper"),
    ] {
        assert_eq!(plain(&site, path), bytes.as_bytes(), "{path}");
        assert!(is_hot(&site, path));
    }
    for (path, to) in [("/a%C3%B1o", "/a%C3%B1o/"), ("/deep/er", "/deep/er/")] {
        let Some(Route::Folder(location)) = find(&site, path).map(|found| found.route) else { panic!("{path}") };
        assert_eq!(&**location, to, "{path}");
    }
    for path in
        ["/deep", "/deep/", "/no", "//", "/both//", "/a%C3%B1o%2F", "/./", "/a\u{f1}o/../index.html", "index.html", ""]
    {
        assert!(find(&site, path).is_none(), "{path}");
    }
}

#[test]
fn memory_holds_pages_and_data_first_and_keeps_to_its_budget() {
    let fixture = Fixture::new();
    let files: [(&str, &[u8]); 6] = [
        ("a.png", &noise(1, 2)),
        ("b.css", &noise(2, 1)),
        ("c.json", &noise(3, 1)),
        ("d.html", &noise(4, 2)),
        ("e.json", &noise(5, 500)),
        ("f.zip", &noise(6, 1)),
    ];
    let keep = |_: &str, form| form == AtRest::Identity;
    let cut = fixture.write(1, &files, &Package { keep: &keep, ..Package::default() });
    let size = |name: &str| cut.manifest.entry(name).unwrap().size;
    let mut options = fixture.options();
    options.hot_bytes = 1000;
    options.hot_total = size("c.json") + size("d.html") + size("b.css") + size("f.zip");
    let site = fixture.build(&cut, &options, None).unwrap();
    let hot: HashSet<_> = files.iter().map(|(n, _)| *n).filter(|n| is_hot(&site, &format!("/{n}"))).collect();
    // The large document is above the one bound, the image above what the other leaves.
    assert_eq!(hot, HashSet::from(["c.json", "d.html", "b.css", "f.zip"]));
    assert_eq!(site.memory(), options.hot_total);
    options.hot_total = 0;
    let site = fixture.build(&cut, &options, None).unwrap();
    assert!(files.iter().all(|(name, _)| !is_hot(&site, &format!("/{name}"))));
    assert_eq!(site.memory(), 0);
}

#[test]
fn a_gzip_form_that_is_none_takes_nothing_from_the_budget() {
    let fixture = Fixture::new();
    // Too short for gzip to gain anything.
    let files: [(&str, &[u8]); 2] = [("a.html", b"<p>a"), ("b.html", b"<p>bc")];
    let cut = fixture.cut(1, &files);
    let options = SiteOptions { hot_total: 29, ..fixture.options() };
    let site = fixture.build(&cut, &options, None).unwrap();
    assert!(is_hot(&site, "/a.html") && is_hot(&site, "/b.html"));
    assert_eq!(site.memory(), 9);
}

#[test]
fn a_gzip_form_is_hot_before_the_bytes_it_stands_for() {
    let fixture = Fixture::new();
    let page = noise(1, 300);
    let cut = fixture.cut(1, &[("a.html", &page)]);
    let gzip = cut.manifest.entries[0].deflated.unwrap().len + crate::content::GZIP_FRAME;
    for (hot_total, expected) in
        [(gzip - 1, [false, false]), (gzip, [true, false]), (gzip + page.len() as u64, [true; 2])]
    {
        let options = SiteOptions { hot_total, coded: false, ..fixture.options() };
        let site = fixture.build(&cut, &options, None).unwrap();
        let is_hot = [Coding::Gzip, Coding::Identity].map(|coding| in_memory(&site, "/a.html", coding).is_some());
        assert_eq!(is_hot, expected, "{hot_total}");
        assert_eq!(plain(&site, "/a.html"), page);
    }
}

#[test]
fn snapshots_share_what_did_not_change() {
    let fixture = Fixture::new();
    let kept = noise(1, 100);
    // Deflated badly, so that every other coding is worth having.
    let badly = Package { level: 1, ..Package::default() };
    let one = fixture.write(1, &[("kept.html", &kept), ("moved.css", b"m"), ("new.html", b"one")], &badly);
    let two = fixture.write(2, &[("kept.html", &kept), ("there/moved.css", b"m"), ("new.html", b"two")], &badly);
    let one = fixture.site(&one);
    let two = fixture.build(&two, &fixture.options(), Some(&one)).unwrap();
    let at = |site, path| in_memory(site, path, Coding::Identity).unwrap();
    assert_eq!(at(&one, "/kept.html"), at(&two, "/kept.html"));
    assert_eq!(at(&one, "/moved.css"), at(&two, "/there/moved.css"));
    assert_eq!(plain(&two, "/new.html"), b"two");
    for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
        assert_eq!(in_memory(&one, "/kept.html", coding), in_memory(&two, "/kept.html", coding));
        assert!(in_memory(&one, "/kept.html", coding).is_some());
    }
    // What moved is at its old address only as a file of the cut before.
    assert!(two.route("moved.css").is_none());
    assert_eq!(find(&two, "/moved.css").unwrap().about.cut, one.cut());
}

#[test]
fn a_file_that_was_deflated_anew_has_one_tag_for_one_stream() {
    let fixture = Fixture::new();
    let page = noise(1, 300);
    let write = |seq, level| fixture.write(seq, &[("a.html", &page)], &Package { level, ..Package::default() });
    let options = SiteOptions { coded: false, ..fixture.options() };
    let one = fixture.build(&write(1, 1), &options, None).unwrap();
    let two = fixture.build(&write(2, 9), &options, Some(&one)).unwrap();
    let [(old_tag, old), (new_tag, new)] = [&one, &two].map(|site| {
        let form = form(site, "/a.html", Coding::Gzip);
        (form.tag.as_str(), read(&form.content))
    });
    // The store need not take a second stream of the same bytes.
    assert_eq!(old_tag == new_tag, old == new);
    for gzip in [old, new] {
        assert_eq!(fixture::gunzip(&gzip, page.len()), page);
    }
}

#[test]
fn one_content_deflated_in_two_ways_has_two_tags() {
    let page = noise(1, 200);
    let tag = |level| {
        let fixture = Fixture::new();
        let site = fixture.site(&fixture.write(1, &[("a.html", &page)], &Package { level, ..Package::default() }));
        (form(&site, "/a.html", Coding::Identity).tag.clone(), form(&site, "/a.html", Coding::Gzip).tag.clone())
    };
    let ((plain_1, gzip_1), (plain_9, gzip_9)) = (tag(1), tag(9));
    assert_eq!(plain_1, plain_9);
    assert_ne!(gzip_1, gzip_9);
}

#[test]
fn damage_at_rest_is_found_before_it_is_served() {
    let fixture = Fixture::new();
    let mut cut = fixture.cut(1, &[("a.html", b"true")]);
    // A blob under a name that its bytes do not have.
    let (pack, lie) = (fixture.store.begin().unwrap(), Digest::of(b"lies"));
    pack.blob(lie, difusor_proto::codec::Coding::Identity, 4, b"true").unwrap();
    fixture.store.commit_plain(&pack, &cut.key).unwrap();
    cut.manifest.entries[0].digest = lie;
    assert!(matches!(fixture.build(&cut, &fixture.options(), None), Err(SiteError::Damaged { .. })));
    cut.manifest.entries[0].digest = Digest::of(b"true");
    cut.manifest.entries[0].size = 5;
    assert!(matches!(fixture.build(&cut, &fixture.options(), None), Err(SiteError::Damaged { .. })));
}

#[test]
fn names_that_look_hashed_are_believed_until_they_change() {
    let fixture = Fixture::new();
    let name = "main.0a1b2c3d4e5f6a7b.js";
    let mut previous: Option<Site> = None;
    for (seq, bytes, expected) in [
        (1, b"a()".as_slice(), Class::Hashed),
        (2, b"a()", Class::Hashed),
        (3, b"b()", Class::Results),
        // Once it changed it may change again.
        (4, b"b()", Class::Results),
        (5, b"a()", Class::Results),
    ] {
        let files: [(&str, &[u8]); 3] = [(name, bytes), ("other.0a1b2c3d4e5f6a7b.js", b"o()"), ("main.js", b"m()")];
        let cut = fixture.cut(seq, &files);
        let site = fixture.build(&cut, &fixture.options(), previous.as_ref()).unwrap();
        assert_eq!(entity(&site, &format!("/{name}")).class, expected, "{seq}");
        assert_eq!(entity(&site, "/other.0a1b2c3d4e5f6a7b.js").class, Class::Hashed);
        assert_eq!(entity(&site, "/main.js").class, Class::Results);
        // The same cut again, as after a new policy, changes nothing.
        let again = fixture.build(&cut, &fixture.options(), Some(&site)).unwrap();
        assert_eq!(entity(&again, &format!("/{name}")).class, expected, "{seq}");
        previous = Some(site);
    }
}

#[test]
fn a_name_that_comes_back_with_other_bytes_is_not_believed() {
    let fixture = Fixture::new();
    let name = "main.0a1b2c3d4e5f6a7b.js";
    let one = fixture.site(&fixture.later(1, &[(name, b"a()")]));
    let two = fixture.build(&fixture.later(2, &[("b", b"b")]), &fixture.options(), Some(&one)).unwrap();
    let third = fixture.later(3, &[(name, b"c()")]);
    let three = fixture.build(&third, &fixture.options(), Some(&two)).unwrap();
    assert_eq!(entity(&three, &format!("/{name}")).class, Class::Results);
    // After a start, it is not known before the past is.
    let alone = fixture.site(&third);
    assert_eq!(entity(&alone, &format!("/{name}")).class, Class::Hashed);
    let told = alone.with_past(Some(&two), &fixture.store, &fixture.options()).unwrap();
    assert_eq!(entity(&told, &format!("/{name}")).class, Class::Results);
}

#[test]
fn anyone_can_check_the_cut() {
    let fixture = Fixture::new();
    let page = noise(1, 20);
    let forged: &[u8] = b"{\"cut\":99}";
    let cut = fixture.cut(
        7,
        &[("a.html", &page), (".well-known/difusor/cut.json", forged), (".well-known/difusor/index.html", forged)],
    );
    let site = fixture.site(&cut);
    for path in ["/.well-known/difusor/", "/.well-known/difusor", "/.well-known/difusor/index.html"] {
        assert!(find(&site, path).is_none(), "{path}");
    }
    let document = |name| plain(&site, &format!("/.well-known/difusor/{name}"));

    let json: Value = serde_json::from_slice(&document("cut.json")).unwrap();
    assert_eq!(json["cut"], 7);
    assert_eq!(json["label"], "20210606_2007");
    assert_eq!(json["accepted"], "2021-06-07T01:40:00.123Z");
    assert_eq!(json["mesh"], cut.manifest.mesh.to_string());
    assert_eq!(json["package"], serde_json::json!({ "sha256": cut.manifest.package.sha256.to_string(), "size": 3 }));
    let file = json["files"].as_array().unwrap().iter().find(|file| file["path"] == "a.html").unwrap();
    assert_eq!(file["blake3"], Digest::of(&page).to_string());
    assert_eq!(file["sha256"], difusor_proto::Sha256::of(&page).to_string());
    assert_eq!((&file["size"], &file["type"]), (&page.len().into(), &"text/html".into()));

    // Only what a stranger has: the manifest's bytes, the document, and the key known from elsewhere.
    let manifest = document("manifest");
    let root = Digest::of(&manifest);
    assert_eq!(json["root"], root.to_string());
    let key = VerifyingKey::from_hex(json["key"].as_str().unwrap()).unwrap();
    assert_eq!(key, fixture.key.verifying_key());
    let text = |field: &str| json[field].as_str().unwrap().to_owned();
    let message = [text("domain").as_bytes(), &[0], root.as_bytes()].concat();
    let signature = decode_hex_vec(&text("signature")).unwrap();
    let by_hand = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let ed25519 = by_hand.mapping.iter().find(|(scheme, _)| *scheme == rustls::SignatureScheme::ED25519).unwrap().1[0];
    let raw = decode_hex_vec(&text("key")).unwrap();
    ed25519.verify_signature(&raw, &message, &signature).unwrap();
    assert_eq!(encode_hex(cut.signed.signature()), text("signature"));

    let line = String::from_utf8(document("root")).unwrap();
    assert_eq!(line, format!("7 20210606_2007 {root}\n"));
    let modified = site.about().fields.fields().find(|(name, _)| *name == "last-modified").unwrap().1;
    assert_eq!(modified, "Mon, 07 Jun 2021 01:40:00 GMT");
    assert_eq!((http_date(ACCEPTED_MS).as_str(), site.about().modified), (modified, ACCEPTED_MS / 1000));
    assert_eq!(http_date(u64::MAX), "Thu, 01 Jan 1970 00:00:00 GMT");
}

//! Snapshots: what they refuse, what they share, and what they publish as proof.

use std::collections::HashSet;

use difusor_proto::{
    VerifyingKey,
    digest::{decode_hex_vec, encode_hex},
    store::Form,
};
use serde_json::Value;

use super::{
    fixture::{ACCEPTED_MS, Cut, Fixture, noise},
    *,
};
use crate::content::Content;

fn entity<'a>(site: &'a Site, path: &str) -> &'a Entity {
    match site.find(path) {
        Some(Route::File(entity)) => entity,
        other => panic!("{path}: {other:?}"),
    }
}

fn in_memory<'a>(site: &'a Site, path: &str) -> Option<&'a [u8]> {
    match &entity(site, path).forms.identity.content {
        Content::Memory(bytes) => Some(bytes),
        Content::Packed(_) => None,
    }
}

#[test]
fn a_partial_cut_is_no_site() {
    for form in [Form::Identity, Form::Deflate] {
        let fixture = Fixture::new();
        let page = noise(1, 50);
        let cut = fixture.write(1, &[("a.html", b"a"), ("b.html", &page)], 6, |name, f| (name, f) != ("b.html", form));
        match (form, fixture.build(&cut, &fixture.options(), None)) {
            (Form::Identity, Err(SiteError::Missing { path, digest })) => {
                assert_eq!((path.as_str(), digest), ("b.html", Digest::of(&page)));
            }
            // The gzip form is a convenience: without its stream the site is whole.
            (Form::Deflate, Ok(site)) => assert!(entity(&site, "/b.html").forms.gzip.is_none()),
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
fn folders_have_the_addresses_of_their_index() {
    let fixture = Fixture::new();
    let files: [(&str, &[u8]); 7] = [
        ("index.html", b"root"),
        ("año/index.html", b"year"),
        ("año/x.json", b"{}"),
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
        assert_eq!(in_memory(&site, path), Some(bytes.as_bytes()), "{path}");
    }
    for (path, to) in [("/a%C3%B1o", "/a%C3%B1o/"), ("/deep/er", "/deep/er/")] {
        assert!(matches!(site.find(path), Some(Route::Folder(location)) if location == to), "{path}");
    }
    for path in
        ["/deep", "/deep/", "/no", "//", "/both//", "/a%C3%B1o%2F", "/./", "/año/../index.html", "index.html", ""]
    {
        assert!(site.find(path).is_none(), "{path}");
    }
}

#[test]
fn memory_holds_pages_and_data_first_and_keeps_to_its_budget() {
    let fixture = Fixture::new();
    let files: [(&str, &[u8]); 6] = [
        ("a.png", &noise(1, 2)),
        ("b.css", &noise(2, 2)),
        ("c.json", &noise(3, 2)),
        ("d.html", &noise(4, 3)),
        ("e.json", &noise(5, 500)),
        ("f.zip", &noise(6, 1)),
    ];
    let cut = fixture.write(1, &files, 6, |_, form| form == Form::Identity);
    let size = |name: &str| cut.manifest.entry(name).unwrap().size;
    let mut options = fixture.options();
    options.hot_bytes = 1000;
    options.hot_total = size("c.json") + size("d.html") + size("b.css") + size("f.zip");
    let site = fixture.build(&cut, &options, None).unwrap();
    let hot: HashSet<_> =
        files.iter().map(|(n, _)| *n).filter(|n| in_memory(&site, &format!("/{n}")).is_some()).collect();
    // The large document is above the one bound, the image above what the other leaves.
    assert_eq!(hot, HashSet::from(["c.json", "d.html", "b.css", "f.zip"]));
    assert_eq!(site.memory(), options.hot_total);
    options.hot_total = 0;
    let site = fixture.build(&cut, &options, None).unwrap();
    assert!(files.iter().all(|(name, _)| in_memory(&site, &format!("/{name}")).is_none()));
}

#[test]
fn snapshots_share_what_did_not_change() {
    let fixture = Fixture::new();
    let kept = noise(1, 100);
    let one = fixture.site(&fixture.cut(1, &[("kept.html", &kept), ("moved.css", b"m"), ("new.html", b"one")]));
    let cut = fixture.cut(2, &[("kept.html", &kept), ("there/moved.css", b"m"), ("new.html", b"two")]);
    let two = fixture.build(&cut, &fixture.options(), Some(&one)).unwrap();
    let at = |site, path| in_memory(site, path).unwrap().as_ptr();
    assert_eq!(at(&one, "/kept.html"), at(&two, "/kept.html"));
    assert_eq!(at(&one, "/moved.css"), at(&two, "/there/moved.css"));
    assert_eq!(in_memory(&two, "/new.html"), Some(&b"two"[..]));
    let gzip = |site| match &entity(site, "/kept.html").forms.gzip.as_ref().unwrap().content {
        Content::Memory(bytes) => bytes.as_ptr(),
        Content::Packed(_) => panic!("not in memory"),
    };
    assert_eq!(gzip(&one), gzip(&two));
    assert!(two.find("/moved.css").is_none());
}

#[test]
fn one_content_deflated_in_two_ways_has_two_tags() {
    let page = noise(1, 200);
    let tag = |level| {
        let fixture = Fixture::new();
        let site = fixture.site(&fixture.write(1, &[("a.html", &page)], level, |_, _| true));
        let forms = &entity(&site, "/a.html").forms;
        (forms.identity.tag.clone(), forms.gzip.as_ref().unwrap().tag.clone())
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
fn anyone_can_check_the_cut() {
    let fixture = Fixture::new();
    let page = noise(1, 20);
    let forged: &[u8] = b"{\"cut\":99}";
    let cut = fixture.cut(
        7,
        &[("a.html", &page), (".well-known/difusor/cut.json", forged), (".well-known/difusor/index.html", forged)],
    );
    let site = fixture.site(&cut);
    assert!(site.find("/.well-known/difusor/").is_none() && site.find("/.well-known/difusor").is_none());
    let document = |name| in_memory(&site, &format!("/.well-known/difusor/{name}")).unwrap();

    let json: Value = serde_json::from_slice(document("cut.json")).unwrap();
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
    let root = Digest::of(manifest);
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

    let line = std::str::from_utf8(document("root")).unwrap();
    assert_eq!(line, format!("7 20210606_2007 {root}\n"));
    assert_eq!(site.modified(), "Mon, 07 Jun 2021 01:40:00 GMT");
    assert_eq!(modified(ACCEPTED_MS), site.modified());
    assert_eq!(modified(u64::MAX), "Thu, 01 Jan 1970 00:00:00 GMT");
}

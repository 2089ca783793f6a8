//! What the disk has spoiled: files move to where they are whole, or are withheld, and nobody is given wrong bytes.

use difusor_proto::codec::Coding as Coded;

use super::*;
use crate::site::fixture::deflate;

/// A site with a mapped file and one in memory, the next cut without the mapped one, and the mapped one's bytes.
fn two() -> (Fixture, Site, Site, SiteOptions, Vec<u8>) {
    let fixture = Fixture::new();
    let large = noise(1, 3_000);
    let one = fixture.cut(1, &[("large.csv", &large), ("small.json", b"{}")]);
    let two = fixture.later(2, &[("small.json", b"{}")]);
    let options = SiteOptions { hot_bytes: 100, ..fixture.options() };
    let before = fixture.build(&one, &options, None).unwrap();
    let after = fixture.build(&two, &options, Some(&before)).unwrap();
    (fixture, before, after, options, large)
}

fn withheld(site: &Site, path: &str) -> bool {
    matches!(find(site, path).unwrap().route, Route::Withheld(_))
}

#[test]
fn a_file_that_is_nowhere_is_withheld_and_comes_back() {
    let (fixture, before, after, _, large) = two();
    let digest = Digest::of(&large);
    let spoiled = HashSet::from([digest]);
    assert!(before.mended(&fixture.store, &HashSet::from([Digest::of(b"another")])).unwrap().is_none());
    for form in [AtRest::Identity, AtRest::Deflate] {
        fixture.store.forget(&digest, form).unwrap();
    }
    let [before, after] = [before, after].map(|site| site.mended(&fixture.store, &spoiled).unwrap().unwrap());
    // In the cut that has it, and as a file of an earlier cut in the one that has not.
    for site in [&before, &after] {
        assert!(withheld(site, "/large.csv"));
        assert_eq!(site.withheld(), spoiled);
        assert_eq!(plain(site, "/small.json"), b"{}");
        assert!(!site.is_finished());
    }
    assert!(!before.is_whole() && after.is_whole(), "the second cut has all of its own");

    // Fetched again, at first with other bytes under its name.
    let (cut, len) = (before.cut(), large.len() as u64);
    let enter = |bytes: &[u8], stream: Option<&[u8]>| {
        let pack = fixture.store.begin().unwrap();
        pack.blob(digest, Coded::Identity, len, bytes).unwrap();
        if let Some(stream) = stream {
            pack.blob(digest, Coded::Deflate, len, stream).unwrap();
        }
        fixture.store.commit_beside(&pack, &cut, None).unwrap();
    };
    enter(&noise(2, 3_000), None);
    assert!(withheld(&before.mended(&fixture.store, &spoiled).unwrap().unwrap(), "/large.csv"));
    fixture.store.forget(&digest, AtRest::Identity).unwrap();
    enter(&large, Some(&deflate(&large, 6)));
    for site in [before, after] {
        let site = site.mended(&fixture.store, &spoiled).unwrap().unwrap();
        assert_eq!(plain(&site, "/large.csv"), large);
        assert!(site.is_whole() && site.withheld().is_empty());
    }
}

#[test]
fn a_packed_form_that_is_spoiled_is_not_sent_any_more() {
    let (fixture, site, _, _, large) = two();
    let digest = Digest::of(&large);
    let spoiled = HashSet::from([digest]);
    let old = form(&site, "/large.csv", Coding::Gzip).clone();
    let wrong = deflate(&noise(9, 3_000), 6);
    for (stream, comes) in [(None, false), (Some(wrong), false), (Some(deflate(&large, 6)), true)] {
        fixture.store.forget(&digest, AtRest::Deflate).unwrap();
        if let Some(stream) = stream {
            let pack = fixture.store.begin().unwrap();
            pack.blob(digest, Coded::Deflate, large.len() as u64, &stream).unwrap();
            fixture.store.commit_beside(&pack, &site.cut(), None).unwrap();
        }
        let mended = site.mended(&fixture.store, &spoiled).unwrap().unwrap();
        assert_eq!(plain(&mended, "/large.csv"), large);
        let gzip = entity(&mended, "/large.csv").forms.get(Coding::Gzip);
        assert_eq!(gzip.is_some(), comes);
        if let Some(gzip) = gzip {
            // The same bytes as before, so the same tag: caches need not ask again.
            assert_eq!((read(&gzip.content), &gzip.tag), (read(&old.content), &old.tag));
        }
    }
}

#[test]
fn what_lies_in_memory_needs_no_disk() {
    let fixture = Fixture::new();
    let page = noise(3, 200);
    let cut = fixture.cut(1, &[("a.csv", &page)]);
    let site = fixture.site(&cut);
    let digest = Digest::of(&page);
    let (bytes, stream) = site.in_memory(&digest);
    assert_eq!(bytes.unwrap(), page);
    assert_eq!(stream.unwrap(), deflate(&page, 6));
    for form in [AtRest::Identity, AtRest::Deflate] {
        fixture.store.forget(&digest, form).unwrap();
    }
    let mended = site.mended(&fixture.store, &HashSet::from([digest])).unwrap().unwrap();
    assert!(mended.is_whole());
    assert_eq!(plain(&mended, "/a.csv"), page);
    assert_eq!(read(&form(&mended, "/a.csv", Coding::Gzip).content).len(), deflate(&page, 6).len() + 18);
    assert_eq!(Digest::of(mended.signed().bytes()), cut.key.root);
}

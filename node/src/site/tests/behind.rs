//! What is made behind the flip: more forms of large files, never other bytes.

use std::cell::Cell;

use super::*;
use crate::{digest_field::repr_digest, shelf::Forms};

/// Everything that a form says and is.
fn said(form: &Form) -> (String, Vec<u8>, bool) {
    let is_hashed = form.whole.fields().any(|(name, _)| name == "repr-digest");
    (form.tag.clone(), read(&form.content), is_hashed)
}

fn codings(forms: &Forms) -> Vec<Coding> {
    Coding::ALL.into_iter().filter(|coding| forms.get(*coding).is_some()).collect()
}

/// Names and bytes.
type Files = Vec<(&'static str, Vec<u8>)>;

/// A fixture, a cut with large files of each kind, and options under which they are not in memory.
fn large() -> (Fixture, Cut, SiteOptions, Files) {
    let fixture = Fixture::new();
    let files = vec![
        ("large.csv", noise(1, 3_000)),
        ("stored.json", noise(2, 2_000)),
        ("large/index.html", noise(3, 2_500)),
        ("large.zip", noise(4, 2_000)),
        ("acta.pdf", noise(5, 2_000)),
        ("small.json", b"{}".to_vec()),
    ];
    let borrowed: Vec<_> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let deflates = |name: &str| !matches!(name, "stored.json" | "large.zip");
    // Deflated badly, so that every other coding is worth having.
    let cut = fixture.write(1, &borrowed, &Package { level: 1, deflates: &deflates, ..Package::default() });
    let options = SiteOptions { hot_bytes: 100, ..fixture.options() };
    (fixture, cut, options, files)
}

#[test]
fn large_files_gain_codings_and_digests_and_keep_their_bytes() {
    use Coding::{Gzip, Identity, Zstd};
    let (fixture, cut, options, files) = large();
    let before = fixture.build(&cut, &options, None).unwrap();
    assert!(!before.is_finished());
    let after = before.finish(&fixture.store, &cut.manifest, &options, || false).unwrap();
    assert!(after.is_finished() && after.cut() == before.cut());
    for ((name, bytes), (at_first, gains)) in files.iter().zip([
        (&[Identity, Gzip][..], &[Zstd][..]),
        (&[Identity], &[Gzip]),
        (&[Identity, Gzip], &[Zstd]),
        // Compressed already, or not of a kind that is worth it: nothing but the digest of what there is.
        (&[Identity], &[]),
        (&[Identity, Gzip], &[]),
        (&[Identity], &[]),
    ]) {
        let path = format!("/{name}");
        let (old, new) = (&entity(&before, &path).forms, &entity(&after, &path).forms);
        assert_eq!(codings(old), at_first, "{name}");
        assert!(gains.iter().all(|coding| new.get(*coding).is_some()), "{name}: {:?}", codings(new));
        assert!(!gains.is_empty() || codings(new) == at_first, "{name}: {:?}", codings(new));
        // What was there is there, with the tag and the bytes that it had; only digests come.
        for form in old.iter() {
            let ((tag, body, is_hashed), then) = (said(form), said(new.get(form.coding).unwrap()));
            assert!(then == (tag, body, true), "{name} {:?}", form.coding);
            assert_eq!(is_hashed, form.coding == Identity, "{name} {:?}", form.coding);
        }
        for form in new.iter() {
            let (tag, body, _) = said(form);
            assert!(fixture::answer::decode(form.coding.name(), &body) == *bytes, "{name} {:?}", form.coding);
            let digest = form.part.fields().find(|(name, _)| *name == "repr-digest").unwrap().1.to_owned();
            assert_eq!(digest, repr_digest(difusor_proto::Sha256::of(&body).as_bytes()));
            if old.get(form.coding).is_none() {
                assert_eq!(form.content.place(), Place::Scratch);
                assert!(old.iter().all(|old| old.tag != tag));
            }
        }
        assert!(new.iter().map(|form| form.content.len()).is_sorted());
    }
    // Every address of a file has what it gained, and what is small is as it was.
    assert_eq!(form(&after, "/large/", Zstd).tag, form(&after, "/large/index.html", Zstd).tag);
    assert!(matches!(after.route("large"), Some(Route::Folder(_))));
    assert_eq!(in_memory(&before, "/small.json", Identity), in_memory(&after, "/small.json", Identity));
    assert_eq!((before.len(), before.memory()), (after.len(), after.memory()));
}

#[test]
fn finishing_twice_changes_nothing() {
    let (fixture, cut, options, files) = large();
    let once = fixture.build(&cut, &options, None).unwrap();
    let once = once.finish(&fixture.store, &cut.manifest, &options, || false).unwrap();
    let twice = once.finish(&fixture.store, &cut.manifest, &options, || false).unwrap();
    for (name, _) in &files {
        let all = |site| entity(site, &format!("/{name}")).forms.iter().map(said).collect::<Vec<_>>();
        assert_eq!(all(&once), all(&twice), "{name}");
    }
}

#[test]
fn the_next_cut_takes_over_what_was_made() {
    let (fixture, cut, options, _) = large();
    let site = fixture.build(&cut, &options, None).unwrap();
    let site = site.finish(&fixture.store, &cut.manifest, &options, || false).unwrap();
    let next = Cut { key: CutKey { seq: 2, ..cut.key }, signed: cut.signed.clone(), manifest: cut.manifest.clone() };
    let manifest = Manifest { seq: 2, ..next.manifest };
    let (key, encoded) = manifest.encode().unwrap();
    let next = Cut { key, signed: fixture.key.sign_encoded(encoded), manifest };
    let next = fixture.build(&next, &options, Some(&site)).unwrap();
    for path in ["/large.csv", "/stored.json", "/large/"] {
        for old in entity(&site, path).forms.coded() {
            let new = form(&next, path, old.coding);
            assert_eq!((&old.tag, read(&old.content)), (&new.tag, read(&new.content)), "{path}");
        }
        // Packs that are given up are not held by what is made of them.
        assert_eq!(form(&next, path, Coding::Identity).content.place(), Place::Pack);
    }
}

#[test]
fn it_stops_early_when_it_is_told_to_and_codes_nothing_if_it_may_not() {
    let (fixture, cut, options, _) = large();
    let site = fixture.build(&cut, &options, None).unwrap();
    let none = site.finish(&fixture.store, &cut.manifest, &options, || true).unwrap();
    assert!(!none.is_finished());
    assert_eq!(codings(&entity(&none, "/large.csv").forms), [Coding::Identity, Coding::Gzip]);

    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) >= 2;
    let some = site.finish(&fixture.store, &cut.manifest, &options, stop).unwrap();
    let gained = |path: &str| entity(&some, path).forms.iter().any(|form| form.content.place() == Place::Scratch);
    // Pages and data come before downloads.
    assert!(!some.is_finished() && gained("/stored.json") && !gained("/large.csv"));

    let options = SiteOptions { coded: false, ..options };
    let plain = site.finish(&fixture.store, &cut.manifest, &options, || false).unwrap();
    assert!(plain.is_finished());
    assert_eq!(codings(&entity(&plain, "/large.csv").forms), [Coding::Identity, Coding::Gzip]);
}

#[test]
fn a_snapshot_without_a_past_gets_that_of_an_older_one() {
    let fixture = Fixture::new();
    let cuts: Vec<_> = (1..=3u8)
        .map(|seq| fixture.later(seq.into(), &[("index.html", &[seq]), (&format!("{seq}.csv"), &[seq])]))
        .collect();
    let options = fixture.options();
    let one = fixture.build(&cuts[0], &options, None).unwrap();
    let two = fixture.build(&cuts[1], &options, None).unwrap();
    let seqs = |site: &Site| site.cuts().map(|cut| cut.seq).collect::<Vec<_>>();
    assert_eq!(seqs(&two), [2]);
    let past = |site: &Site, older: &Site, options| site.with_past(Some(older), &fixture.store, options).unwrap();
    assert!(!two.knows_past());
    let with = past(&two, &one, &options);
    assert_eq!((seqs(&with), plain(&with, "/1.csv")), (vec![1, 2], vec![1]));
    let without = two.with_past(None, &fixture.store, &options).unwrap();
    assert!(without.knows_past() && find(&without, "/1.csv").is_none());
    // One that knows a part of it gets the rest beneath: the next cut came before anybody had looked.
    let three = fixture.build(&cuts[2], &options, Some(&two)).unwrap();
    assert!(!three.knows_past() && find(&three, "/1.csv").is_none());
    let three = past(&three, &with, &options);
    assert_eq!((seqs(&three), three.knows_past()), (vec![1, 2, 3], true));
    assert_eq!(
        (plain(&three, "/1.csv"), plain(&three, "/2.csv"), plain(&three, "/index.html")),
        (vec![1], vec![2], vec![3])
    );
    // From there on it is handed on, and kept by whatever is made of it.
    let finished = three.finish(&fixture.store, &cuts[2].manifest, &options, || false).unwrap();
    assert!(finished.knows_past() && find(&finished, "/1.csv").is_some());
    assert!(fixture.build(&cuts[0], &options, Some(&three)).unwrap().knows_past());
    // As few as are kept.
    let options = SiteOptions { policy: Arc::new(Policy { keep: 1, ..Policy::default() }), ..options };
    assert_eq!(seqs(&past(&two, &one, &options)), [2]);
}

/// What makes up a past in memory is bounded: the oldest is mapped first, and is the same file.
#[test]
fn the_past_does_not_fill_the_memory() {
    let fixture = Fixture::new();
    let options = SiteOptions { hot_total: 400_000, ..fixture.options() };
    let bytes = |seq: u64| noise(seq, 600);
    let mut previous: Option<Site> = None;
    for seq in 1..=8 {
        let cut = fixture.later(seq, &[(&format!("{seq}.json"), &bytes(seq))]);
        previous = Some(fixture.build(&cut, &options, previous.as_ref()).unwrap());
    }
    let site = previous.unwrap();
    let (mut hot, mut mapped) = (0, Vec::new());
    for seq in 1..=7 {
        let entity = entity(&site, &format!("/{seq}.json"));
        assert_eq!(read(&entity.forms.identity().content), bytes(seq), "{seq}");
        hot += entity.forms.memory();
        mapped.extend((entity.forms.memory() == 0).then_some(seq));
    }
    assert!(hot > 0 && hot <= 100_000, "{hot}");
    assert!(mapped.len() >= 3 && mapped.iter().eq(&(1..=mapped.len() as u64).collect::<Vec<_>>()), "{mapped:?}");
}

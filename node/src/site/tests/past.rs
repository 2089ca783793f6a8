//! Files of earlier cuts: which are addressable, for how long, and after rollbacks.

use super::*;

/// What is done next.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A new cut.
    Cut(u64),
    /// Back to a cut that was.
    Back(u64),
    /// The same cut again.
    Again,
}

/// Cut `n` has a file of its own name, one with every even number before it, and a page that changes.
fn files(seq: u64) -> Vec<(String, Vec<u8>)> {
    let own = (format!("only/{seq}.csv"), seq.to_string().into_bytes());
    let page = ("index.html".to_owned(), seq.to_string().into_bytes());
    let even = ("even.csv".to_owned(), seq.to_string().into_bytes());
    if seq.is_multiple_of(2) { vec![own, page, even] } else { vec![own, page] }
}

/// The snapshot after these steps.
fn after(fixture: &Fixture, keep: usize, steps: &[Step]) -> Site {
    let policy = Policy { keep, ..Policy::default() };
    let options = SiteOptions { policy: Arc::new(policy), ..fixture.options() };
    let mut site: Option<Site> = None;
    for step in steps {
        let seq = match step {
            Step::Cut(seq) | Step::Back(seq) => *seq,
            Step::Again => site.as_ref().unwrap().cut().seq,
        };
        let files = files(seq);
        let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        site = Some(fixture.build(&fixture.later(seq, &files), &options, site.as_ref()).unwrap());
    }
    site.unwrap()
}

/// The number of the cut that an address is answered from.
fn cut_of(site: &Site, path: &str) -> Option<u64> {
    let found = find(site, path)?;
    let Route::File(entity) = found.route else { panic!("{path} is a folder") };
    let bytes = read(&entity.forms.identity().content);
    assert_eq!(String::from_utf8(bytes).unwrap(), found.about.cut.seq.to_string(), "{path}");
    assert_eq!(found.about.modified, ACCEPTED_MS / 1000 + 60 * found.about.cut.seq);
    Some(found.about.cut.seq)
}

#[test]
fn the_newest_cut_that_has_a_file_answers_for_as_many_cuts_as_are_kept() {
    use Step::{Again, Back, Cut};
    for (keep, steps, own, even) in [
        (12, &[Cut(1)][..], &[1][..], None),
        (12, &[Cut(1), Cut(2), Cut(3)], &[1, 2, 3], Some(2)),
        (12, &[Cut(1), Cut(2), Cut(3), Cut(4), Cut(5)], &[1, 2, 3, 4, 5], Some(4)),
        (3, &[Cut(1), Cut(2), Cut(3), Cut(4), Cut(5)], &[3, 4, 5], Some(4)),
        (2, &[Cut(1), Cut(2), Cut(3)], &[2, 3], Some(2)),
        (2, &[Cut(1), Cut(2), Cut(3), Cut(5)], &[3, 5], None),
        (1, &[Cut(1), Cut(2), Cut(3)], &[3], None),
        // Without a past at all there is still the present.
        (0, &[Cut(1), Cut(2)], &[2], Some(2)),
        // Back, and on: what was served last is kept longest.
        (12, &[Cut(1), Cut(2), Cut(3), Back(1)], &[2, 3, 1], Some(2)),
        (2, &[Cut(1), Cut(2), Cut(3), Back(1)], &[3, 1], None),
        (2, &[Cut(1), Cut(2), Back(1), Cut(3)], &[1, 3], None),
        (3, &[Cut(1), Cut(2), Back(1), Cut(3)], &[2, 1, 3], Some(2)),
        (12, &[Cut(2), Cut(4), Back(2), Cut(5)], &[4, 2, 5], Some(2)),
        (12, &[Cut(2), Cut(4), Cut(5), Back(2), Cut(7)], &[4, 5, 2, 7], Some(2)),
        // The same cut again takes nobody's place.
        (2, &[Cut(2), Cut(3), Again, Again], &[2, 3], Some(2)),
        (3, &[Cut(1), Again, Cut(2), Again, Cut(3), Again], &[1, 2, 3], Some(2)),
    ] {
        let site = after(&Fixture::new(), keep, steps);
        let addressable: Vec<_> = site.cuts().map(|cut| cut.seq).collect();
        assert_eq!(addressable, own, "{keep} {steps:?}");
        for seq in 1..=7 {
            let expected = own.contains(&seq).then_some(seq);
            assert_eq!(cut_of(&site, &format!("/only/{seq}.csv")), expected, "{keep} {steps:?}");
        }
        let current = site.cut().seq;
        let even = if current.is_multiple_of(2) { Some(current) } else { even };
        assert_eq!(cut_of(&site, "/even.csv"), even, "{keep} {steps:?}");
        // What every cut has is of the current one.
        assert_eq!((cut_of(&site, "/"), cut_of(&site, "/index.html")), (Some(current), Some(current)));
        assert!(matches!(site.route(&format!("only/{current}.csv")), Some(Route::File(_))));
        let proofs = find(&site, "/.well-known/difusor/root").unwrap();
        assert_eq!(proofs.about.cut.seq, current);
    }
}

#[test]
fn the_past_never_hides_what_is_there_now() {
    let fixture = Fixture::new();
    let build = |seq, files: &[(&str, &[u8])], before: Option<&Site>| {
        fixture.build(&fixture.later(seq, files), &fixture.options(), before).unwrap()
    };
    let one = build(1, &[("a/index.html", b"folder"), ("b", b"file"), ("c/index.html", b"c")], None);
    let two = build(2, &[("a", b"file"), ("b/index.html", b"folder")], Some(&one));
    // A folder became a file: its slash is of the past, its name is not.
    assert_eq!((plain(&two, "/a"), plain(&two, "/a/")), (b"file".to_vec(), b"folder".to_vec()));
    assert_eq!(find(&two, "/a/").unwrap().about.cut.seq, 1);
    // A file became a folder.
    assert!(matches!(find(&two, "/b").unwrap().route, Route::Folder(_)));
    assert_eq!(plain(&two, "/b/"), b"folder");
    // A folder that is gone leads where it led.
    let gone = find(&two, "/c").unwrap();
    assert!(matches!(gone.route, Route::Folder(_)) && gone.about.cut.seq == 1);
    assert!(two.route("c").is_none() && two.route("c/").is_none());
}

#[test]
fn what_is_mapped_outlives_the_packs() {
    let fixture = Fixture::new();
    let (one, two) = (noise(1, 3_000), noise(2, 3_000));
    let options = SiteOptions { hot_bytes: 100, ..fixture.options() };
    let first = fixture.later(1, &[("old.csv", &one), ("old.zip", &one), ("kept.csv", &two)]);
    let second = fixture.later(2, &[("kept.csv", &two), ("new.csv", b"new")]);
    let before = fixture.build(&first, &options, None).unwrap();
    let after = fixture.build(&second, &options, Some(&before)).unwrap();
    let finished = after.finish(&fixture.store, &second.manifest, &options, || false).unwrap();
    let needed = second.manifest.entries.iter().map(|entry| entry.digest).collect();
    assert!(fixture.store.retire(&[second.key], &needed).unwrap() > 0);
    assert!(fixture.store.blob(&Digest::of(&one), AtRest::Identity).unwrap().is_none());
    for site in [&before, &after, &finished] {
        for (path, bytes) in [("/old.csv", &one), ("/old.zip", &one), ("/kept.csv", &two)] {
            for form in entity(site, path).forms.iter() {
                assert_ne!(form.content.place(), Place::Memory, "{path}");
                assert_eq!(fixture::answer::decode(form.coding.name(), &read(&form.content)), *bytes, "{path}");
            }
        }
    }
    // A snapshot that is built by then has no need of what is gone.
    let third = fixture.later(3, &[("kept.csv", &two)]);
    let later = fixture.build(&third, &options, Some(&after)).unwrap();
    assert_eq!(plain(&later, "/kept.csv"), two);
    assert_eq!(plain(&later, "/old.csv"), one);
}

//! What no archive may be told by, and how members find their predecessors.

use proptest::prelude::*;

use super::{
    told::{Content, Opening, Part, Place, Told},
    *,
};
use crate::deflate::{self, Params};

fn told(told: &Told) -> Vec<u8> {
    let plain = postcard::to_stdvec(told).unwrap();
    [(plain.len() as u64).to_le_bytes().to_vec(), codec::compress(&plain).unwrap()].concat()
}

/// Archives of parts that are themselves archives: a digit for each.
fn archives(inner: &[&str]) -> Told {
    let recipe = deflate::describe(b"\x03\0", b"", Params::default(), None).unwrap();
    let part = |archive: char| {
        let archive = archive.to_digit(10).unwrap();
        Part {
            gap: 0,
            old: None,
            content: Content::Opened { size: 0, archive, recipe: recipe.clone(), follows: false },
        }
    };
    let structure = (0, codec::patch(b"", b"", codec::Level::Fast).unwrap());
    let archive = |inner: &&str| Opening {
        parts: inner.chars().map(part).collect(),
        structure: structure.clone(),
        groups: Vec::new(),
    };
    Told { old: Vec::new(), archives: inner.iter().map(archive).collect() }
}

#[test]
fn archives_lie_in_one_other_at_most() {
    for (inner, size) in [(&[""][..], 0), (&["", "0"], 2), (&["", "", "01"], 4)] {
        assert_eq!(decode(&told(&archives(inner)), b"", size).map(|made| made.len() as u64), Ok(size));
    }
    let deep = ["", "0", "1", "2", "3", "4", "5", "6", "7"];
    for inner in [&[][..], &["0"], &["1", ""], &["", "0", "01"], &["", "00"], &["", "7"], &deep] {
        assert!(matches!(decode(&told(&archives(inner)), b"", 2), Err(OpenedError::Form(_))), "{inner:?}");
    }
}

#[test]
fn places_that_are_none() {
    for old in [
        vec![Place { gap: 5, len: 1, size: 1, within: 0 }],
        vec![Place { gap: 0, len: u64::MAX, size: 1, within: 0 }],
        vec![Place { gap: u64::MAX, len: 1, size: 1, within: 0 }],
        vec![Place { gap: 0, len: 1, size: 1, within: 1 }],
    ] {
        let wrong = Told { old, ..archives(&[""]) };
        assert!(decode(&told(&wrong), b"old", 0).is_err());
    }
}

#[test]
fn names_differ_in_more_than_digits() {
    assert_eq!(key("db/20240602_2000_PREP.zip!/a1.csv"), key("db/20240602_205_PREP.zip!/a22.csv"));
    assert_ne!(key("SENADURIAS.csv"), key("PRESIDENCIA.csv"));
}

/// What lies in archives since the first version has to come out of every later one: small members in a group, one that is
/// the same, a large one of its own, and an archive within, deflated at several levels.
#[test]
fn golden_bytes_at_rest() {
    let (before, told) = (include_bytes!("golden/before.zip"), include_bytes!("golden/after.told"));
    let after = decode(told, before, 25_788).unwrap();
    assert_eq!(Digest::of(&after).to_string(), "c819f50108800df43074bcd8d82d34bc3ba9d04fbd09c10eb8cceab8e8ea0f2e");
}

fn member(name: &str) -> Member {
    Member { name: name.into(), at: 0, len: 0, size: 0, members: Vec::new() }
}

#[test]
fn members_are_told_by_those_of_their_name_first() {
    let list = |names: &[&str]| names.iter().map(|name| member(name)).collect::<Vec<_>>();
    let pairs = |old: &[&str], new: &[&str]| pairs(&list(old), &list(new));
    // One that is new in the middle leaves the others theirs.
    assert_eq!(pairs(&["p1", "p2", "p4"], &["p1", "p2", "p3", "p4"]), [Some(0), Some(1), None, Some(2)]);
    assert_eq!(pairs(&["2000_a", "2000_b"], &["2005_b", "2005_a"]), [Some(1), Some(0)]);
    assert_eq!(pairs(&["p1", "p2"], &["p9", "p2", "p8"]), [Some(0), Some(1), None]);
    let mut outer = member("db.zip");
    outer.members = list(&["db.zip!/t1"]);
    assert_eq!(super::pairs(&[outer.clone(), member("x")], &[member("x"), outer]), [Some(2), Some(0), Some(1)]);
}

/// An archive of small parts of so many plain bytes, in groups of so many.
fn grouped(parts: &[u64], groups: &[u64]) -> Opening {
    let recipe = deflate::describe(b"\x03\0", b"", Params::default(), None).unwrap();
    let part =
        |size: &u64| Part { gap: 0, old: None, content: Content::Grouped { size: *size, recipe: recipe.clone() } };
    Opening {
        parts: parts.iter().map(part).collect(),
        structure: (0, Vec::new()),
        groups: groups.iter().map(|len| (*len, Vec::new())).collect(),
    }
}

#[test]
fn groups_are_of_whole_parts() {
    let of = |parts: &[u64], groups: &[u64]| grouped(parts, groups).grouped();
    assert_eq!(of(&[2, 3, 4], &[5, 4]), Ok(vec![vec![0, 1], vec![2]]));
    assert_eq!(of(&[], &[]), Ok(vec![]));
    assert_eq!(of(&[0, 2, 0], &[2]), Ok(vec![vec![0, 1]]));
    for (parts, groups) in [(&[2, 3][..], &[4][..]), (&[2, 3], &[5, 1]), (&[2, 3], &[2]), (&[1 << 40], &[1 << 40])] {
        assert!(matches!(of(parts, groups), Err(OpenedError::Form(_))), "{parts:?} {groups:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), old in prop::collection::vec(any::<u8>(), 0..50)) {
        let _ = decode(&bytes, &old, 100);
        let framed = [(bytes.len() as u64).to_le_bytes().to_vec(), codec::compress(&bytes).unwrap()].concat();
        let _ = decode(&framed, &old, 100);
    }
}

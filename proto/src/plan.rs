//! What the holder of one cut needs for another: a pure comparison of two manifests.

use std::collections::{HashMap, HashSet};

use crate::{Digest, Manifest, manifest::Entry, opened};

/// One blob that the holder lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need<'a> {
    /// The entry of the target that wants it (the first, if several share it).
    pub entry: &'a Entry,
    /// The blob of the same path in the base, if there is one: the likely best predecessor. Of an archive, whose name may
    /// carry the time of its cut, one of the same name but for the digits.
    pub predecessor: Option<(Digest, u64)>,
}

/// The blobs that `target` has and `base` has not, each once, largest first so that the long ones start early.
pub fn needs<'a>(base: Option<&Manifest>, target: &'a Manifest) -> Vec<Need<'a>> {
    let held: HashSet<Digest> = base.iter().flat_map(|m| m.entries.iter().map(|e| e.digest)).collect();
    let by_path: HashMap<&str, &Entry> =
        base.iter().flat_map(|m| m.entries.iter().map(|e| (e.path.as_str(), e))).collect();
    let archives = archives(base, target);
    let mut seen = HashSet::new();
    let mut needs: Vec<_> = target
        .entries
        .iter()
        .filter(|entry| !held.contains(&entry.digest) && seen.insert(entry.digest))
        .map(|entry| Need {
            entry,
            predecessor: by_path
                .get(entry.path.as_str())
                .or_else(|| archives.get(&opened::key(entry.path.as_str()))?.as_ref().filter(|_| is_archive(entry)))
                .map(|before| (before.digest, before.size)),
        })
        .collect();
    needs.sort_by_key(|need| std::cmp::Reverse(need.entry.size));
    needs
}

fn is_archive(entry: &Entry) -> bool {
    !entry.members.is_empty()
}

/// The archives of the base whose names the target does not have, by their names without digits; `None` where several
/// would do.
fn archives<'a>(base: Option<&'a Manifest>, target: &Manifest) -> HashMap<String, Option<&'a Entry>> {
    let mut archives = HashMap::new();
    let gone = |entry: &&Entry| is_archive(entry) && target.entry(entry.path.as_str()).is_none();
    for entry in base.iter().flat_map(|base| &base.entries).filter(gone) {
        let only = archives.entry(opened::key(entry.path.as_str()));
        only.and_modify(|only| *only = None).or_insert(Some(entry));
    }
    archives
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::manifest;

    #[test]
    fn a_first_cut_needs_each_blob_once() {
        let target = manifest(1, &[("a", b"same"), ("b", b"same"), ("c", b"other!")]);
        let paths: Vec<_> = needs(None, &target).iter().map(|n| n.entry.path.to_string()).collect();
        assert_eq!(paths, ["c", "a"]);
    }

    #[test]
    fn a_renamed_archive_has_its_predecessor() {
        let member = |path: &str| crate::manifest::Member {
            path: path.into(),
            digest: Digest::of(b"m"),
            sha256: crate::Sha256::of(b"m"),
            size: 1,
        };
        let archived = |seq, files: &[(&str, &[u8])]| {
            let mut manifest = manifest(seq, files);
            let zips = manifest.entries.iter_mut().filter(|entry| entry.path.as_str().ends_with(".zip"));
            zips.for_each(|entry| entry.members = vec![member("a.csv")]);
            manifest
        };
        let base =
            archived(1, &[("db/20240602_2000_PREP.zip", b"1"), ("page1", b"2"), ("x1.zip", b"3"), ("x2.zip", b"4")]);
        let target = archived(2, &[("db/20240602_2005_PREP.zip", b"5"), ("page2", b"6"), ("x3.zip", b"7")]);
        let needs = needs(Some(&base), &target);
        let found: Vec<_> = needs.iter().map(|n| (n.entry.path.as_str(), n.predecessor)).collect();
        // Only archives, and only if there is one that it can be.
        let expected = [("db/20240602_2005_PREP.zip", Some((Digest::of(b"1"), 1))), ("page2", None), ("x3.zip", None)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_next_cut_needs_what_changed_with_its_predecessor() {
        let base = manifest(1, &[("a", b"1"), ("b", b"2"), ("gone", b"3")]);
        let target = manifest(2, &[("a", b"1"), ("b", b"22"), ("moved", b"3"), ("new", b"4")]);
        let needs = needs(Some(&base), &target);
        let found: Vec<_> = needs.iter().map(|n| (n.entry.path.as_str(), n.predecessor)).collect();
        assert_eq!(found, [("b", Some((Digest::of(b"2"), 1))), ("new", None)]);
    }
}

//! What the holder of one cut needs for another: a pure comparison of two manifests.

use std::collections::{HashMap, HashSet};

use crate::{Digest, Manifest, manifest::Entry};

/// One blob that the holder lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need<'a> {
    /// The entry of the target that wants it (the first, if several share it).
    pub entry: &'a Entry,
    /// The blob of the same path in the base, if there is one: the likely best predecessor.
    pub predecessor: Option<(Digest, u64)>,
}

/// The blobs that `target` has and `base` has not, each once, largest first so that the long ones start early.
pub fn needs<'a>(base: Option<&Manifest>, target: &'a Manifest) -> Vec<Need<'a>> {
    let held: HashSet<Digest> = base.iter().flat_map(|m| m.entries.iter().map(|e| e.digest)).collect();
    let by_path: HashMap<&str, &Entry> =
        base.iter().flat_map(|m| m.entries.iter().map(|e| (e.path.as_str(), e))).collect();
    let mut seen = HashSet::new();
    let mut needs: Vec<_> = target
        .entries
        .iter()
        .filter(|entry| !held.contains(&entry.digest) && seen.insert(entry.digest))
        .map(|entry| Need {
            entry,
            predecessor: by_path.get(entry.path.as_str()).map(|before| (before.digest, before.size)),
        })
        .collect();
    needs.sort_by_key(|need| std::cmp::Reverse(need.entry.size));
    needs
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
    fn a_next_cut_needs_what_changed_with_its_predecessor() {
        let base = manifest(1, &[("a", b"1"), ("b", b"2"), ("gone", b"3")]);
        let target = manifest(2, &[("a", b"1"), ("b", b"22"), ("moved", b"3"), ("new", b"4")]);
        let needs = needs(Some(&base), &target);
        let found: Vec<_> = needs.iter().map(|n| (n.entry.path.as_str(), n.predecessor)).collect();
        assert_eq!(found, [("b", Some((Digest::of(b"2"), 1))), ("new", None)]);
    }
}

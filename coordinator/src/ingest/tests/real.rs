//! Packages of real nights, from the folder that `DIFUSOR_REAL_PACKAGES` names.

use std::path::{Path, PathBuf};

use super::*;

fn zips(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            zips(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "zip") {
            found.push(path);
        }
    }
}

#[test]
fn real_packages_are_accepted_byte_for_byte() {
    let Some(folder) = std::env::var_os("DIFUSOR_REAL_PACKAGES") else {
        println!("skipped: DIFUSOR_REAL_PACKAGES names no folder");
        return;
    };
    let mut found = vec![];
    zips(Path::new(&folder), &mut found);
    assert!(!found.is_empty(), "no zip below {}", Path::new(&folder).display());
    for path in found {
        let package = std::fs::read(&path).unwrap();
        let ingested = try_ingest(&package).unwrap_or_else(|refusal| panic!("{}: {refusal}", path.display()));
        assert_true(&package, &ingested);
        let members: usize = ingested.entries.iter().map(|entry| entry.members.len()).sum();
        println!("{}: {} files, {members} members", path.display(), ingested.entries.len());
    }
}

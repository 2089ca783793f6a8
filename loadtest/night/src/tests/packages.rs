//! Packages as files: the same bytes always, readable by others, placed whole.

use std::io::{Cursor, Read as _};

use sha2::{Digest as _, Sha256};
use zip::ZipArchive;

use super::*;

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens a zip and reads every entry, which checks CRC and size.
fn unzip(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut files = BTreeMap::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).unwrap();
        let mut plain = Vec::new();
        file.read_to_end(&mut plain).unwrap();
        assert_eq!(plain.len() as u64, file.size());
        let name = file.name().unwrap().into_owned();
        assert!(files.insert(name.clone(), plain).is_none(), "{name} twice");
    }
    files
}

/// A change here changes every package: say so in the commit. The plain bytes do not depend on zlib, the zip does.
#[test]
fn golden() {
    let night = night(|_| {});
    let mut plain = Sha256::new();
    for (path, bytes) in night.entries(3) {
        plain.update(path);
        plain.update(bytes);
    }
    let plain: String = plain.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(plain, "da84eb9042ad6dfbb4c7caa56af01a59886b6dc06a65424f5e2e1badbcd5a5ac");
    assert_eq!(
        sha256(&night.package(3).bytes),
        "cdc73a43c9748656df7c226885fb83b71e4d68a072597fbf2ac2aff317ad6d3b",
        "the plain bytes are as ever: is another zlib linked?"
    );
}

#[test]
fn equal_on_any_number_of_threads_and_in_any_order() {
    for nested in [false, true] {
        let make = || night(|spec| spec.nested = nested);
        let forward = make();
        let packages: Vec<_> = (0..forward.len()).map(|i| forward.package(i)).collect();
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for i in (0..forward.len()).rev() {
            assert!(one.install(|| make().package(i)) == packages[i], "cut {i}, nested {nested}");
        }
    }
}

#[test]
fn another_seed_gives_another_night() {
    assert!(night(|_| {}).package(2) != night(|spec| spec.seed += 1).package(2));
}

#[test]
fn every_entry_can_be_read_and_is_counted() {
    let night = night(|_| {});
    for i in 0..night.len() {
        let package = night.package(i);
        assert!(package.bytes.len() < 200_000, "{} bytes", package.bytes.len());
        let read = unzip(&package.bytes);
        assert_eq!(read, files(&night, i));
        assert_eq!(package.entries, read.len());
        assert_eq!(package.members.len(), read.len());
        assert_eq!(package.plain_bytes, read.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    }
}

#[test]
fn stored_and_deflated_entries_occur_and_are_dated_by_the_label() {
    let package = night(|_| {}).package(1);
    let mut archive = ZipArchive::new(Cursor::new(&package.bytes)).unwrap();
    let mut methods = BTreeMap::<String, usize>::new();
    for i in 0..archive.len() {
        let file = archive.by_index(i).unwrap();
        *methods.entry(file.compression().to_string()).or_default() += 1;
        let time = file.last_modified().unwrap();
        let minute = if file.name().unwrap() == "assets/configuracion.json" { 3 } else { time.minute() };
        assert_eq!((time.year(), time.month(), time.day(), time.hour(), time.minute()), (2024, 6, 2, 20, minute));
        assert_eq!(file.unix_mode(), Some(0o100_644));
    }
    assert_eq!(methods.len(), 2, "{methods:?}");
}

#[test]
fn a_nested_night_holds_the_same_tables_in_zips_in_a_zip() {
    let (plain, nested) = (night(|_| {}), night(|spec| spec.nested = true));
    let label = nested.label(4);
    let outer = files(&nested, 4);
    let database = unzip(&outer[&format!("assets/{label}_PREP.zip")]);
    assert_eq!(database.len(), 3);
    let tables = files(&plain, 4);
    for name in ["PRESIDENCIA", "SENADURIAS", "DIPUTACIONES"] {
        let inner = unzip(&database[&format!("{label}_PREP_{name}.zip")]);
        let names: Vec<_> = inner.keys().cloned().collect();
        let mut expected = ["LEEME.txt".into(), format!("{name}.csv"), format!("{name}_CANDIDATURAS.csv")];
        expected.sort();
        assert_eq!(names, expected);
        for (file, bytes) in inner {
            assert!(bytes == tables[&format!("assets/csv/{file}")], "{file}");
        }
    }
    assert!(!outer.keys().any(|path| path.starts_with("assets/csv")));
}

#[test]
fn labels_follow_the_cadence_across_midnight() {
    let night = night(|spec| {
        spec.start = "20241231_2357".into();
        spec.cadence = std::time::Duration::from_secs(90);
    });
    let labels: Vec<_> = (0..4).map(|i| night.label(i)).collect();
    assert_eq!(labels, ["20241231_2357", "20241231_2358", "20250101_0000", "20250101_0001"]);
    assert_eq!(night.file_name(2), "20250101_0000_PREP.zip");
    assert_eq!(night.len(), 6);
}

#[test]
fn later_cuts_than_planned_can_be_made() {
    let night = night(|_| {});
    assert_eq!(night.label(night.len() + 9), "20240602_2045");
    assert_eq!(night.package(usize::MAX).entries, night.package(0).entries);
}

#[test]
fn written_whole_with_its_sidecar() {
    let folder = tempfile::tempdir().unwrap();
    let night = night(|_| {});
    let path = night.write_to(folder.path(), 0, true).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes, night.package(0).bytes);
    let line = std::fs::read_to_string(folder.path().join("20240602_2000_PREP.zip.sha256")).unwrap();
    assert_eq!(line, format!("{}  20240602_2000_PREP.zip\n", sha256(&bytes)));
    night.write_to(folder.path(), 1, false).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    assert!(night.write_to(&folder.path().join("missing"), 0, true).is_err());
}

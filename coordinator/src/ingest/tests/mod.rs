//! Packages of every kind through the whole ingest.

#![allow(clippy::cast_possible_truncation, reason = "tests hold everything in memory")]

mod accepted;
mod hostile;
mod mutated;
mod real;

use std::io::{Cursor, Read as _, Write as _};

use super::*;

/// Ingests with the default caps and no visitor.
fn try_ingest(package: &[u8]) -> Result<Ingested, Refusal> {
    ingest(&Bytes::copy_from_slice(package), &Caps::default(), &())
}

/// A zip made by the other implementation.
fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(vec![]));
    for (name, bytes) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Checks all that was found against an ordinary reader, with another inflater.
fn assert_true(package: &[u8], ingested: &Ingested) {
    assert_eq!(ingested.sha256, Sha256::of(package));
    assert_eq!(ingested.digest, Digest::of(package));
    assert!(ingested.entries.is_sorted_by(|a, b| a.path < b.path));
    let mut archive = zip::ZipArchive::new(Cursor::new(package)).unwrap();
    let files = (0..archive.len()).filter(|at| archive.by_index_data(*at).unwrap().is_file()).count();
    assert_eq!(ingested.entries.len(), files);
    for entry in &ingested.entries {
        let plain = read(&mut archive, entry.path.as_str());
        assert_eq!(
            (entry.size, entry.digest, entry.sha256),
            (plain.len() as u64, Digest::of(&plain), Sha256::of(&plain))
        );
        for member in &entry.members {
            let mut inner = plain.clone();
            for name in member.path.split("!/") {
                inner = read(&mut zip::ZipArchive::new(Cursor::new(inner)).unwrap(), name);
            }
            let found = (inner.len() as u64, Digest::of(&inner), Sha256::of(&inner));
            assert_eq!((member.size, member.digest, member.sha256), found, "{}", member.path);
        }
        let source = ingested.sources.iter().find(|source| source.digest == entry.digest).unwrap();
        let range = source.at as usize..(source.at + source.len) as usize;
        let decoded = difusor_proto::codec::decode(source.coding, &package[range], source.size, None).unwrap();
        assert!(decoded == plain, "{}", entry.path);
        if let Some(deflated) = entry.deflated {
            assert_eq!(deflated.crc32, crc32fast::hash(&plain));
        }
    }
}

fn read(archive: &mut zip::ZipArchive<Cursor<impl AsRef<[u8]>>>, name: &str) -> Vec<u8> {
    let mut plain = vec![];
    let at = archive.index_for_name(name).unwrap_or_else(|| panic!("{name} is not there"));
    archive.by_index(at).unwrap().read_to_end(&mut plain).unwrap();
    plain
}

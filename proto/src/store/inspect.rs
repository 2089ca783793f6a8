//! Looking into a pack that is in no store: one that came from somewhere else, before it is put anywhere.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

use super::{
    StoreError,
    pack::{self, Kind, Record},
};
use crate::{CutKey, Digest, Manifest, Signed};

/// Bytes read at once, so that a pack of any size needs no more memory.
const PIECE: u64 = 1 << 20;

/// A pack that is whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// The cut that it says it is of.
    pub cut: CutKey,
    /// The manifest in it, whose signature nobody checked.
    pub manifest: Signed<Manifest>,
}

/// Reads a file to its end, and says which cut it holds.
///
/// # Errors
/// [`StoreError::Damaged`] if it is no pack of a cut, is not complete, or a payload has other bytes than its header says.
pub fn inspect(path: &Path) -> Result<Inspected, StoreError> {
    let damaged = |what: &str| StoreError::Damaged(format!("{}: {what}", path.display()));
    let file = File::open(path)?;
    let (trailer, records) = pack::scan(&file)?.ok_or_else(|| damaged("it is no complete pack"))?;
    for record in &records {
        if !whole(&file, record)? {
            return Err(damaged(&format!("the payload at byte {} has other bytes", record.offset)));
        }
    }
    let manifest = records.iter().find(|record| record.kind == Kind::Manifest);
    let manifest = manifest.ok_or_else(|| damaged("there is no manifest in it"))?;
    let bytes = pack::read(&file, manifest.offset, manifest.len)?;
    let manifest = postcard::from_bytes(&bytes).map_err(|_| damaged("its manifest cannot be read"))?;
    Ok(Inspected { cut: trailer.cut, manifest })
}

fn whole(file: &File, record: &Record) -> Result<bool, StoreError> {
    let mut hasher = blake3::Hasher::new();
    let mut piece = Vec::new();
    let (mut at, mut left) = (record.offset, record.len);
    while left > 0 {
        let size = left.min(PIECE);
        piece.resize(usize::try_from(size).unwrap_or(0), 0);
        file.read_exact_at(&mut piece, at)?;
        hasher.update(&piece);
        (at, left) = (at.saturating_add(size), left.saturating_sub(size));
    }
    Ok(pack::check_of(&Digest::from_bytes(*hasher.finalize().as_bytes())) == record.check)
}

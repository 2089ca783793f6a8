//! A package in memory.

use std::io;
use std::path::{Path, PathBuf};

use crate::publish;
use crate::zipfile::Packed;

/// A finished package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageBytes {
    /// The zip.
    pub bytes: Vec<u8>,
    /// Sum of its entries' plain sizes; a nested zip counts as the file that it is.
    pub plain_bytes: u64,
    /// How many entries it has.
    pub entries: usize,
    /// The entries, in the zip's order.
    pub members: Vec<Member>,
}

/// An entry of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Path in the zip.
    pub path: String,
    /// CRC-32 of the plain bytes.
    pub crc32: u32,
    /// Plain size in bytes.
    pub plain_bytes: u64,
}

impl PackageBytes {
    pub(crate) fn new((bytes, packed): (Vec<u8>, Vec<Packed>)) -> Self {
        let member = |entry: Packed| Member { path: entry.path, crc32: entry.crc32, plain_bytes: entry.plain.into() };
        let members: Vec<Member> = packed.into_iter().map(member).collect();
        let plain_bytes = members.iter().map(|member| member.plain_bytes).sum();
        Self { bytes, plain_bytes, entries: members.len(), members }
    }

    /// Writes the zip as `dir/file_name`, which appears whole or not at all; with `sidecar`, its SHA-256 goes into
    /// `<file_name>.sha256` first, in the format of `sha256sum`.
    ///
    /// # Errors
    /// Those of writing and renaming in `dir`, which must exist.
    pub fn write_to(&self, dir: &Path, file_name: &str, sidecar: bool) -> io::Result<PathBuf> {
        publish::write(dir, file_name, &self.bytes, sidecar)
    }
}

//! Writes plain zips: entries deflated in parallel, then headers and directory (APPNOTE 6.3, sections 4.3.7, 4.3.12,
//! 4.3.16).
//!
//! Raw deflate comes from stock zlib at level 6, as in real packages; an entry that would grow is stored. Names are
//! ASCII. There is no zip64: specs bound packages well below 4 GB.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use rayon::prelude::*;

use crate::clock::DosTime;

const LEVEL: u32 = 6;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Needs version 2.0; made by the same, on Unix.
const NEEDED: u16 = 20;
const MADE_BY: u16 = 3 << 8 | NEEDED;
/// A regular file that its owner may write and all may read.
const ATTRIBUTES: u32 = 0o100_644 << 16;

/// A file to be put in a zip.
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
    /// The same at every cut, and dated by the first.
    pub(crate) fixed: bool,
}

impl Entry {
    /// A file that changes at each cut.
    pub(crate) fn fresh(path: String, bytes: Vec<u8>) -> Self {
        Self { path, bytes, fixed: false }
    }

    /// A file that never changes.
    pub(crate) fn fixed(path: String, bytes: Vec<u8>) -> Self {
        Self { path, bytes, fixed: true }
    }
}

/// Times of entries that changed with this cut, and of those that never change.
#[derive(Clone, Copy)]
pub(crate) struct Stamps {
    pub(crate) fresh: DosTime,
    pub(crate) fixed: DosTime,
}

/// An entry ready to be written.
pub(crate) struct Packed {
    pub(crate) path: String,
    pub(crate) crc32: u32,
    pub(crate) plain: u32,
    data: Vec<u8>,
    method: u16,
    stamp: DosTime,
}

/// The zip of these entries, in this order, and what was packed.
pub(crate) fn pack(entries: Vec<Entry>, stamps: Stamps) -> (Vec<u8>, Vec<Packed>) {
    let mut queue: Vec<(usize, Entry)> = entries.into_iter().enumerate().collect();
    // The largest first, or a table would be left to one thread at the end.
    queue.sort_by_key(|(at, entry)| (std::cmp::Reverse(entry.bytes.len()), *at));
    let mut packed: Vec<(usize, Packed)> =
        queue.into_iter().par_bridge().map(|(at, entry)| (at, compress(entry, stamps))).collect();
    packed.sort_by_key(|(at, _)| *at);
    let packed: Vec<Packed> = packed.into_iter().map(|(_, packed)| packed).collect();
    (assemble(&packed), packed)
}

fn compress(entry: Entry, stamps: Stamps) -> Packed {
    let crc32 = crc32fast::hash(&entry.bytes);
    let plain = clamp(entry.bytes.len());
    let stamp = if entry.fixed { stamps.fixed } else { stamps.fresh };
    let deflated = deflate(&entry.bytes).filter(|deflated| deflated.len() < entry.bytes.len());
    let (method, data) = deflated.map_or((STORED, entry.bytes), |deflated| (DEFLATED, deflated));
    Packed { path: entry.path, crc32, plain, data, method, stamp }
}

/// `None` cannot happen: writing into memory does not fail.
fn deflate(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(LEVEL));
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

fn assemble(packed: &[Packed]) -> Vec<u8> {
    let headers: usize = packed.iter().map(|entry| 76 + 2 * entry.path.len()).sum();
    let mut out = Vec::with_capacity(22 + headers + packed.iter().map(|entry| entry.data.len()).sum::<usize>());
    let mut directory = Vec::with_capacity(headers);
    for entry in packed {
        let offset = clamp(out.len());
        out.extend_from_slice(b"PK\x03\x04");
        shared(&mut out, entry);
        out.extend_from_slice(entry.path.as_bytes());
        out.extend_from_slice(&entry.data);

        directory.extend_from_slice(b"PK\x01\x02");
        directory.extend_from_slice(&MADE_BY.to_le_bytes());
        shared(&mut directory, entry);
        // No comment, first disk, no internal attributes.
        directory.extend_from_slice(&[0; 6]);
        directory.extend_from_slice(&ATTRIBUTES.to_le_bytes());
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(entry.path.as_bytes());
    }
    let start = clamp(out.len());
    let count = u16::try_from(packed.len()).unwrap_or(u16::MAX).to_le_bytes();
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&count);
    out.extend_from_slice(&count);
    out.extend_from_slice(&clamp(directory.len()).to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out
}

/// The fields that the local header and the directory have in common: from the version needed to the lengths.
fn shared(out: &mut Vec<u8>, entry: &Packed) {
    for word in [NEEDED, 0, entry.method, entry.stamp.time, entry.stamp.date] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for long in [entry.crc32, clamp(entry.data.len()), entry.plain] {
        out.extend_from_slice(&long.to_le_bytes());
    }
    let name = u16::try_from(entry.path.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&name.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
}

/// Specs bound all sizes below 4 GB.
fn clamp(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

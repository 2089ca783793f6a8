//! Writes zips that say anything: every number of a header is the caller's (APPNOTE 6.3, sections 4.3.7 and 4.3.12 to
//! 4.3.16). What [`Piece::stored`] and [`Piece::deflated`] give is sound until it is changed.

use std::io::Write as _;

use flate2::{Compression, write::DeflateEncoder};

const NEEDED: u16 = 20;
const MADE_BY: u16 = 3 << 8 | NEEDED;
const REGULAR: u32 = 0o100_644 << 16;

/// What a header says of an entry.
#[derive(Clone)]
pub(super) struct Head {
    pub(super) name: Vec<u8>,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc32: u32,
    pub(super) len: u32,
    pub(super) size: u32,
}

/// An entry: its two headers and its data, which need not agree.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) local: Head,
    pub(super) central: Head,
    pub(super) attributes: u32,
    pub(super) data: Vec<u8>,
    /// Whether the directory lists it.
    pub(super) listed: bool,
}

impl Piece {
    fn new(name: impl AsRef<[u8]>, method: u16, plain: &[u8], data: Vec<u8>) -> Self {
        let head = Head {
            name: name.as_ref().to_vec(),
            flags: 0,
            method,
            crc32: crc32fast::hash(plain),
            len: clamp(data.len()),
            size: clamp(plain.len()),
        };
        Self { local: head.clone(), central: head, attributes: REGULAR, data, listed: true }
    }

    pub(super) fn stored(name: impl AsRef<[u8]>, plain: &[u8]) -> Self {
        Self::new(name, 0, plain, plain.to_vec())
    }

    pub(super) fn deflated(name: impl AsRef<[u8]>, plain: &[u8]) -> Self {
        Self::new(name, 8, plain, deflate(plain))
    }

    /// So many MiB of zeros, without compressing them all.
    pub(super) fn zeros(name: impl AsRef<[u8]>, mebibytes: u32) -> Self {
        let Zeros { stream, crc32 } = Zeros::new(mebibytes);
        let mut piece = Self::new(name, 8, &[], stream);
        piece.both(|head| {
            head.crc32 = crc32;
            head.size = mebibytes << 20;
        });
        piece
    }

    /// Changes what both headers say.
    pub(super) fn both(&mut self, change: impl Fn(&mut Head)) {
        change(&mut self.local);
        change(&mut self.central);
    }

    /// The same, in passing.
    pub(super) fn with(mut self, change: impl Fn(&mut Head)) -> Self {
        self.both(change);
        self
    }

    /// The local header.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut out = b"PK\x03\x04".to_vec();
        self.local.write(&mut out);
        out.extend_from_slice(&self.local.name);
        out
    }

    /// The record in the directory of an entry at `offset`.
    pub(super) fn record(&self, offset: usize) -> Vec<u8> {
        let mut out = b"PK\x01\x02".to_vec();
        out.extend_from_slice(&MADE_BY.to_le_bytes());
        self.central.write(&mut out);
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.attributes.to_le_bytes());
        out.extend_from_slice(&clamp(offset).to_le_bytes());
        out.extend_from_slice(&self.central.name);
        out
    }
}

impl Head {
    fn write(&self, out: &mut Vec<u8>) {
        for word in [NEEDED, self.flags, self.method, 0, 0x21] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for long in [self.crc32, self.len, self.size] {
            out.extend_from_slice(&long.to_le_bytes());
        }
        out.extend_from_slice(&u16::try_from(self.name.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(&[0; 2]);
    }
}

/// A zip of these pieces.
pub(super) fn zip(pieces: &[Piece]) -> Vec<u8> {
    let (mut out, mut directory, mut count) = (Vec::new(), Vec::new(), 0);
    for piece in pieces {
        if piece.listed {
            directory.extend_from_slice(&piece.record(out.len()));
            count += 1;
        }
        out.extend_from_slice(&piece.header());
        out.extend_from_slice(&piece.data);
    }
    finish(out, &directory, count)
}

/// Appends a directory of so many records, and the end record, in its 64-bit form too where it must be.
pub(super) fn finish(mut out: Vec<u8>, directory: &[u8], count: usize) -> Vec<u8> {
    let start = out.len();
    out.extend_from_slice(directory);
    let record = out.len() as u64;
    let narrow = u16::try_from(count).unwrap_or(u16::MAX);
    if narrow == u16::MAX {
        out.extend_from_slice(b"PK\x06\x06");
        out.extend_from_slice(&44_u64.to_le_bytes());
        for version in [MADE_BY, 45] {
            out.extend_from_slice(&version.to_le_bytes());
        }
        out.extend_from_slice(&[0; 8]);
        for number in [count as u64, count as u64, directory.len() as u64, start as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(b"PK\x06\x07\0\0\0\0");
        out.extend_from_slice(&record.to_le_bytes());
        out.extend_from_slice(&1_u32.to_le_bytes());
    }
    out.extend_from_slice(&end(narrow, directory.len(), start));
    out
}

/// An end record without comment.
pub(super) fn end(count: u16, directory_len: usize, directory_start: usize) -> Vec<u8> {
    let mut out = b"PK\x05\x06\0\0\0\0".to_vec();
    for word in [count, count] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for long in [clamp(directory_len), clamp(directory_start)] {
        out.extend_from_slice(&long.to_le_bytes());
    }
    out.extend_from_slice(&[0; 2]);
    out
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail.
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

struct Zeros {
    stream: Vec<u8>,
    crc32: u32,
}

impl Zeros {
    fn new(mebibytes: u32) -> Self {
        let plain = vec![0; 1 << 20];
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        // Flushed, the stream stands on a byte boundary and can be repeated.
        let flushed = encoder.write_all(&plain).and_then(|()| encoder.flush());
        let part = flushed.map(|()| encoder.get_ref().clone()).unwrap_or_default();
        let mut one = crc32fast::Hasher::new();
        one.update(&plain);
        let (mut all, mut stream) = (crc32fast::Hasher::new(), Vec::new());
        for _ in 0..mebibytes {
            stream.extend_from_slice(&part);
            all.combine(&one);
        }
        // An empty last block.
        stream.extend_from_slice(b"\x03\x00");
        Self { stream, crc32: all.finalize() }
    }
}

/// Nothing here comes near 4 GB.
fn clamp(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

//! The bytes of one representation of a file: in memory, or mapped where they rest in a pack.
//!
//! A gzip file (RFC 1952) is a header, a deflate stream and a trailer. The package brought the deflate stream, and its
//! CRC with it, so a gzip form costs eighteen bytes and no compression.

use std::{io, ops::Range};

use bytes::Bytes;
use difusor_proto::{Digest, Sha256, digest::Sha256Hasher, manifest::Deflated, store::Blob};

/// No name, no time, no flags, unknown system: nothing in it varies between nodes.
const GZIP_HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Bytes of [`GZIP_HEADER`].
const HEADER_LEN: u64 = 10;

/// What the header and the trailer add to the stream.
pub(crate) const GZIP_FRAME: u64 = 18;

/// Bytes that can be sent, as up to three pieces.
#[derive(Debug, Clone)]
pub struct Content {
    bytes: Bytes,
    /// The trailer, if this is a gzip file of which `bytes` are the deflate stream.
    trailer: Option<Bytes>,
    place: Place,
}

/// Where bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In memory: no disk is needed to read them.
    Memory,
    /// In a file without a name, mapped.
    Scratch,
    /// In a pack of the store, mapped: as long as they are held, the pack keeps its room on the disk.
    Pack,
}

impl Content {
    /// Bytes in memory.
    pub fn memory(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), trailer: None, place: Place::Memory }
    }

    /// The bytes of `blob` as they rest.
    ///
    /// # Errors
    /// What [`Blob::map`] gives.
    pub(crate) fn plain(blob: &Blob) -> io::Result<Self> {
        Ok(Self { bytes: blob.map()?, trailer: None, place: Place::Pack })
    }

    /// The gzip file around `stream`, a raw deflate stream of `size` plain bytes.
    ///
    /// # Errors
    /// What [`Blob::map`] gives.
    pub(crate) fn gzip(stream: &Blob, deflated: &Deflated, size: u64) -> io::Result<Self> {
        // ISIZE is the size modulo 2^32 (RFC 1952 section 2.3.1).
        let isize = u32::try_from(size & u64::from(u32::MAX)).unwrap_or_default();
        let trailer = [deflated.crc32.to_le_bytes(), isize.to_le_bytes()].concat();
        Ok(Self { bytes: stream.map()?, trailer: Some(trailer.into()), place: Place::Pack })
    }

    /// The gzip file around another stream of the same plain bytes; `None` if this is no gzip file in a pack.
    ///
    /// # Errors
    /// What [`Blob::map`] gives.
    pub(crate) fn around(&self, stream: &Blob) -> io::Result<Option<Self>> {
        let Some(trailer) = self.trailer.clone() else { return Ok(None) };
        Ok(Some(Self { bytes: stream.map()?, trailer: Some(trailer), place: Place::Pack }))
    }

    /// The same bytes in memory of their own and in one piece, where no disk can delay them.
    #[must_use]
    pub(crate) fn heat(&self) -> Self {
        let mut bytes = Vec::with_capacity(usize::try_from(self.len()).unwrap_or_default());
        for piece in self.pieces(0..self.len()) {
            bytes.extend_from_slice(&piece);
        }
        Self::memory(bytes)
    }

    /// Mapped bytes that belong to nobody else.
    pub(crate) fn scratch(bytes: Bytes) -> Self {
        Self { bytes, trailer: None, place: Place::Scratch }
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The BLAKE3 of all bytes.
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for piece in self.pieces(0..self.len()) {
            hasher.update(&piece);
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// The SHA-256 of all bytes.
    pub(crate) fn sha256(&self) -> Sha256 {
        let mut hasher = Sha256Hasher::new();
        for piece in self.pieces(0..self.len()) {
            hasher.update(&piece);
        }
        hasher.finish()
    }

    /// How many bytes.
    pub fn len(&self) -> u64 {
        let len = self.bytes.len() as u64;
        if self.trailer.is_some() { len.saturating_add(GZIP_FRAME) } else { len }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in `range`, cut off at the end; none of them is copied.
    pub fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = Bytes> {
        let all = match &self.trailer {
            None => [None, Some((0, self.bytes.clone())), None],
            Some(trailer) => [
                Some((0, Bytes::from_static(GZIP_HEADER))),
                Some((HEADER_LEN, self.bytes.clone())),
                Some((HEADER_LEN.saturating_add(self.bytes.len() as u64), trailer.clone())),
            ],
        };
        all.into_iter()
            .flatten()
            .map(move |(at, bytes)| {
                let within =
                    |position: u64| usize::try_from(position.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
                let (from, to) = (within(range.start), within(range.end));
                if from < to { bytes.slice(from..to) } else { Bytes::new() }
            })
            .filter(|piece| !piece.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use difusor_proto::store::Form;
    use proptest::prelude::*;

    use super::*;
    use crate::site::fixture::{Fixture, noise};

    fn read(content: &Content, range: Range<u64>) -> Vec<u8> {
        content.pieces(range).flatten().collect()
    }

    #[test]
    fn every_range_is_that_range_of_the_whole() {
        let plain = noise(1, 300);
        let fixture = Fixture::new();
        let cut = fixture.cut(1, &[("a.csv", &plain)]);
        let entry = &cut.manifest.entries[0];
        let stream = fixture.store.blob(&entry.digest, Form::Deflate).unwrap().unwrap();
        let at_rest = stream.read().unwrap();
        let content = Content::gzip(&stream, &entry.deflated.unwrap(), entry.size).unwrap();
        let whole = read(&content, 0..content.len());
        assert_eq!(whole.len() as u64, content.len());
        assert_eq!(whole[..10], *GZIP_HEADER);
        assert_eq!(whole[10..whole.len() - 8], at_rest);
        assert_eq!(read(&content.heat(), 0..content.len()), whole);
        let mut inflated = vec![0; plain.len()];
        // The decompressor checks the CRC and the size of the trailer.
        let written = libdeflater::Decompressor::new().gzip_decompress(&whole, &mut inflated).unwrap();
        assert_eq!((written, &inflated), (plain.len(), &plain));

        proptest!(|(a in 0..=whole.len(), b in 0..=whole.len())| {
            let range = a.min(b)..a.max(b);
            prop_assert_eq!(&read(&content, range.start as u64..range.end as u64), &whole[range]);
        });
        let len = content.len();
        assert_eq!(read(&content, len - 1..len + 1), whole[whole.len() - 1..]);
        assert!(read(&content, len..u64::MAX).is_empty());
    }
}

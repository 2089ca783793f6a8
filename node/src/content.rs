//! The bytes of one representation of a file: in memory, or where they rest in a pack.
//!
//! A gzip file (RFC 1952) is a header, a deflate stream and a trailer. The package brought the deflate stream, and its
//! CRC with it, so a gzip form costs eighteen bytes and no compression.

use std::{io, ops::Range};

use bytes::Bytes;
use difusor_proto::{manifest::Deflated, store::Blob};

/// No name, no time, no flags, unknown system: nothing in it varies between nodes.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// What [`GZIP_HEADER`] and the trailer add to the stream.
pub(crate) const GZIP_FRAME: u64 = 18;

/// Bytes that can be sent.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory, shared by every snapshot that has them.
    Memory(Bytes),
    /// In a pack, read piece by piece.
    Packed(Packed),
}

/// Bytes at rest, and the frame that makes a gzip file of them.
#[derive(Debug, Clone)]
pub struct Packed {
    blob: Blob,
    trailer: Option<[u8; 8]>,
}

impl Content {
    /// How many bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Packed(packed) => packed.len(),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Packed {
    /// The bytes of `blob` as they rest.
    pub(crate) fn plain(blob: Blob) -> Self {
        Self { blob, trailer: None }
    }

    /// The gzip file around `stream`, a raw deflate stream of `size` plain bytes.
    pub(crate) fn gzip(stream: Blob, deflated: &Deflated, size: u64) -> Self {
        // ISIZE is the size modulo 2^32 (RFC 1952 section 2.3.1).
        let isize = u32::try_from(size & u64::from(u32::MAX)).unwrap_or_default();
        let mut trailer = [0; 8];
        for (to, from) in trailer.iter_mut().zip(deflated.crc32.to_le_bytes().into_iter().chain(isize.to_le_bytes())) {
            *to = from;
        }
        Self { blob: stream, trailer: Some(trailer) }
    }

    /// How many bytes, the frame counted in.
    pub fn len(&self) -> u64 {
        self.blob.len().saturating_add(if self.trailer.is_some() { GZIP_FRAME } else { 0 })
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in `range`, which ends at or before [`Packed::len`]. Blocks.
    ///
    /// # Errors
    /// What reading the pack gives, or if `range` ends beyond the content.
    pub fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let (header, trailer) = match &self.trailer {
            Some(trailer) => (GZIP_HEADER.as_slice(), trailer.as_slice()),
            None => Default::default(),
        };
        let stream_at = header.len() as u64;
        let trailer_at = stream_at.saturating_add(self.blob.len());

        let mut bytes = Vec::with_capacity(length(&range)?);
        bytes.extend_from_slice(part(header, 0, &range));
        let stream = range.start.max(stream_at)..range.end.min(trailer_at);
        if !stream.is_empty() {
            let from = bytes.len();
            bytes.resize(from.saturating_add(length(&stream)?), 0);
            self.blob.read_at(bytes.get_mut(from..).unwrap_or_default(), stream.start - stream_at)?;
        }
        bytes.extend_from_slice(part(trailer, trailer_at, &range));
        if bytes.len() as u64 == range.end.saturating_sub(range.start) {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// What `range` takes of `bytes` that begin at `at`.
fn part<'a>(bytes: &'a [u8], at: u64, range: &Range<u64>) -> &'a [u8] {
    let within = |position: u64| usize::try_from(position.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(within(range.start)..within(range.end)).unwrap_or_default()
}

fn length(range: &Range<u64>) -> io::Result<usize> {
    usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use difusor_proto::store::Form;
    use proptest::prelude::*;

    use super::*;
    use crate::site::fixture::{Fixture, noise};

    #[test]
    fn every_range_is_that_range_of_the_whole() {
        let plain = noise(1, 300);
        let fixture = Fixture::new();
        let cut = fixture.cut(1, &[("a.csv", &plain)]);
        let entry = &cut.manifest.entries[0];
        let stream = fixture.store.blob(&entry.digest, Form::Deflate).unwrap().unwrap();
        let at_rest = stream.read().unwrap();
        let packed = Packed::gzip(stream, &entry.deflated.unwrap(), entry.size);
        let whole = packed.read(0..packed.len()).unwrap();
        assert_eq!(whole[..10], GZIP_HEADER);
        assert_eq!(whole[10..whole.len() - 8], at_rest);
        let mut inflated = vec![0; plain.len()];
        // The decompressor checks the CRC and the size of the trailer.
        let written = libdeflater::Decompressor::new().gzip_decompress(&whole, &mut inflated).unwrap();
        assert_eq!((written, &inflated), (plain.len(), &plain));

        proptest!(|(a in 0..=whole.len(), b in 0..=whole.len())| {
            let range = a.min(b)..a.max(b);
            prop_assert_eq!(&packed.read(range.start as u64..range.end as u64).unwrap(), &whole[range]);
        });
        let len = packed.len();
        assert!(packed.read(0..len + 1).is_err());
        assert!(packed.read(len..len + 1).is_err());
    }
}

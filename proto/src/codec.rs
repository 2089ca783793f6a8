//! How a blob travels and rests: as it is, as its deflate stream, as a zstd frame, or as a zstd frame against a
//! predecessor. Archives that travel [opened](crate::opened) rest as they are.
//!
//! Every decoder here is given the exact plain size by a signed manifest, writes no more than that, and promises
//! nothing about the content: the caller compares digests. A patch applied to the wrong predecessor is an error or
//! garbage, never undefined.

use serde::{Deserialize, Serialize};
use zstd_safe::{CCtx, CParameter, DCtx};

use crate::{Digest, limits::MAX_FILE_BYTES};

/// The form of a blob's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Coding {
    /// As they are.
    Identity,
    /// A raw deflate stream (RFC 1951), the one of the package.
    Deflate,
    /// A zstd frame (RFC 8878).
    Zstd,
    /// A zstd frame whose window begins in the plain bytes of another blob.
    Patch {
        /// That blob.
        base: Digest,
    },
    /// An archive by what changed inside it since another one; only on the wire, and not decoded here.
    Opened {
        /// The other one.
        base: Digest,
    },
    /// Several files by what changed in them, a [bundle](crate::bundle); only on the wire, and not decoded here.
    Bundle,
}

/// Why bytes did not decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The deflate stream is damaged, or its plain size is another.
    #[error("deflate stream: {0}")]
    Deflate(&'static str),
    /// The zstd frame is damaged, or meant for another predecessor.
    #[error("zstd frame: {0}")]
    Zstd(&'static str),
    /// The plain size is not the announced one.
    #[error("{actual} plain bytes where {expected} were announced")]
    Size {
        /// Announced.
        expected: u64,
        /// Found.
        actual: u64,
    },
    /// The announced size is above [`MAX_FILE_BYTES`].
    #[error("{0} plain bytes are more than a file may have")]
    TooLarge(u64),
    /// An opened archive or a bundle where none can be.
    #[error("an opened archive or a bundle where none can be")]
    Opened,
    /// A patch came without its predecessor.
    #[error("the predecessor {0} of a patch is missing")]
    NoBase(Digest),
}

/// How much time a patch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Little: measured on national cuts, higher levels cost multiples of the time for a few percent of size (see the
    /// decisions table).
    Fast,
    /// A second for each two megabytes, for what is small or goes over a slow link.
    Small,
}

impl Level {
    /// For a patch that goes over a slow link or is kept: the smallest, as long as it takes no more than half a second.
    pub fn patient(base: &[u8], plain: &[u8]) -> Self {
        if base.len() + plain.len() <= PATIENT { Self::Small } else { Self::Fast }
    }

    fn number(self) -> i32 {
        match self {
            Self::Fast => 1,
            Self::Small => 19,
        }
    }
}

/// Bytes, before and after, up to which a patch is made as small as can be.
const PATIENT: usize = 2 << 20;

/// Level of whole frames, used for what the package stored without compression.
const FRAME_LEVEL: i32 = 3;

/// Inflates a raw deflate stream of exactly `size` plain bytes.
///
/// # Errors
/// [`CodecError`]; nothing beyond `size` bytes is ever written.
pub fn inflate(stream: &[u8], size: u64) -> Result<Vec<u8>, CodecError> {
    let mut plain = Vec::new();
    inflate_into(stream, size, &mut plain)?;
    Ok(plain)
}

fn inflate_into(stream: &[u8], size: u64, plain: &mut Vec<u8>) -> Result<(), CodecError> {
    // What is in a used buffer is overwritten; only what it lacks is zeroed.
    plain.resize(checked(size)?, 0);
    let mut inflater = libdeflater::Decompressor::new();
    let written = inflater.deflate_decompress(stream, plain).map_err(|error| match error {
        libdeflater::DecompressionError::BadData => CodecError::Deflate("damaged"),
        libdeflater::DecompressionError::InsufficientSpace => CodecError::Deflate("longer than announced"),
    })?;
    exactly(size, written as u64)
}

/// A zstd frame of `plain`, with checksum and size.
///
/// # Errors
/// [`CodecError::Zstd`] if the library fails, which only lack of memory makes it do.
pub fn compress(plain: &[u8]) -> Result<Vec<u8>, CodecError> {
    let mut context = CCtx::create();
    set(&mut context, CParameter::CompressionLevel(FRAME_LEVEL))?;
    frame(&mut context, plain)
}

/// How many places are remembered for long-distance matching: one in 2^`rate` bytes, 2^`slots` of them at most.
#[derive(Debug, Clone, Copy)]
struct Density {
    rate: u32,
    slots: u32,
}

/// Enough where rows stay where they were.
const SPARSE: Density = Density { rate: 7, slots: 20 };

/// A row that was moved has several places.
const DENSE: Density = Density { rate: 4, slots: 22 };

/// A sparse patch of more than a fiftieth of what it makes may have lost rows that were moved: the others are less than
/// half of that.
const LOST: usize = 50;

/// A zstd frame of `plain` against `base`, with long-distance matching.
///
/// # Errors
/// [`CodecError::Zstd`] if the library fails.
pub fn patch(base: &[u8], plain: &[u8], level: Level) -> Result<Vec<u8>, CodecError> {
    if level == Level::Fast {
        let sparse = patch_with(base, plain, level, SPARSE)?;
        if sparse.len() <= plain.len() / LOST {
            return Ok(sparse);
        }
    }
    patch_with(base, plain, level, DENSE)
}

fn patch_with(base: &[u8], plain: &[u8], level: Level, density: Density) -> Result<Vec<u8>, CodecError> {
    let mut context = CCtx::create();
    // Without long-distance matching a change near the start hides everything behind it; and the window must reach
    // from the last plain byte to the first of the base.
    let reach = (base.len() + plain.len()).max(1 << 10);
    let window_log = (usize::BITS - reach.leading_zeros()).clamp(10, 31);
    set(&mut context, CParameter::CompressionLevel(level.number()))?;
    set(&mut context, CParameter::WindowLog(window_log))?;
    set(&mut context, CParameter::EnableLongDistanceMatching(true))?;
    set(&mut context, CParameter::LdmHashRateLog(density.rate))?;
    set(&mut context, CParameter::LdmHashLog(density.slots.min(window_log)))?;
    context.ref_prefix(base).map_err(failed)?;
    frame(&mut context, plain)
}

/// The plain bytes of `coded`, exactly `size` of them.
///
/// # Errors
/// [`CodecError`]. `base` is asked for only by [`Coding::Patch`].
pub fn decode(coding: Coding, coded: &[u8], size: u64, base: Option<&[u8]>) -> Result<Vec<u8>, CodecError> {
    let mut plain = Vec::new();
    decode_into(coding, coded, size, base, &mut plain)?;
    Ok(plain)
}

/// Like [`decode`], into a buffer that may have been used before: fresh memory costs as much as the decoding.
///
/// # Errors
/// [`CodecError`]; the buffer then holds anything.
pub fn decode_into(
    coding: Coding,
    coded: &[u8],
    size: u64,
    base: Option<&[u8]>,
    plain: &mut Vec<u8>,
) -> Result<(), CodecError> {
    match coding {
        Coding::Identity => {
            exactly(size, coded.len() as u64)?;
            plain.clear();
            plain.extend_from_slice(coded);
            Ok(())
        }
        Coding::Deflate => inflate_into(coded, size, plain),
        Coding::Zstd => unframe(&mut DCtx::create(), coded, size, plain),
        Coding::Opened { .. } | Coding::Bundle => Err(CodecError::Opened),
        Coding::Patch { base: name } => {
            let base = base.ok_or(CodecError::NoBase(name))?;
            let mut context = DCtx::create();
            context.ref_prefix(base).map_err(failed)?;
            unframe(&mut context, coded, size, plain)
        }
    }
}

fn frame(context: &mut CCtx<'_>, plain: &[u8]) -> Result<Vec<u8>, CodecError> {
    set(context, CParameter::ChecksumFlag(true))?;
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
    context.compress2(&mut out, plain).map_err(failed)?;
    out.shrink_to_fit();
    Ok(out)
}

fn unframe(context: &mut DCtx<'_>, coded: &[u8], size: u64, plain: &mut Vec<u8>) -> Result<(), CodecError> {
    plain.clear();
    plain.reserve_exact(checked(size)?);
    // The vector may have more room than this: the frame's own size is what counts.
    context.decompress(plain, coded).map_err(failed)?;
    exactly(size, plain.len() as u64)
}

fn set(context: &mut CCtx<'_>, parameter: CParameter) -> Result<(), CodecError> {
    context.set_parameter(parameter).map(drop).map_err(failed)
}

fn failed(code: usize) -> CodecError {
    CodecError::Zstd(zstd_safe::get_error_name(code))
}

fn checked(size: u64) -> Result<usize, CodecError> {
    usize::try_from(size).ok().filter(|_| size <= MAX_FILE_BYTES).ok_or(CodecError::TooLarge(size))
}

fn exactly(expected: u64, actual: u64) -> Result<(), CodecError> {
    if expected == actual { Ok(()) } else { Err(CodecError::Size { expected, actual }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(changed: usize) -> Vec<u8> {
        (0..20_000_usize)
            .flat_map(|i| {
                let votes = if i % 97 == changed { i * 7 } else { i };
                format!("{i:06}|{:016x}|{votes}\n", i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes()
            })
            .collect()
    }

    #[test]
    fn a_patch_is_small_and_exact() {
        let (old, new) = (rows(1), rows(2));
        let coded = patch(&old, &new, Level::Fast).unwrap();
        let base = Digest::of(&old);
        assert!(coded.len() * 20 < new.len(), "{} of {}", coded.len(), new.len());
        assert_eq!(decode(Coding::Patch { base }, &coded, new.len() as u64, Some(&old)).unwrap(), new);
    }

    #[test]
    fn a_patch_on_the_wrong_base_is_an_error() {
        let (old, new) = (rows(1), rows(2));
        let coded = patch(&old, &new, Level::Fast).unwrap();
        let coding = Coding::Patch { base: Digest::of(&old) };
        let wrong = vec![b'x'; old.len()];
        assert!(decode(coding, &coded, new.len() as u64, Some(&wrong)).is_err());
        assert_eq!(decode(coding, &coded, new.len() as u64, None), Err(CodecError::NoBase(Digest::of(&old))));
    }

    #[test]
    fn announced_sizes_are_kept() {
        let frame = compress(b"hello").unwrap();
        assert_eq!(decode(Coding::Zstd, &frame, 5, None).unwrap(), b"hello");
        assert!(decode(Coding::Zstd, &frame, 4, None).is_err());
        assert_eq!(decode(Coding::Zstd, &frame, 6, None), Err(CodecError::Size { expected: 6, actual: 5 }));
        assert_eq!(decode(Coding::Identity, b"abc", 2, None), Err(CodecError::Size { expected: 2, actual: 3 }));
        assert_eq!(inflate(b"\x03\x00", MAX_FILE_BYTES + 1), Err(CodecError::TooLarge(MAX_FILE_BYTES + 1)));
        assert_eq!(inflate(b"\x03\x00", 0).unwrap(), b"");
        assert_eq!(inflate(b"\xff\xff", 9), Err(CodecError::Deflate("damaged")));
    }

    #[test]
    fn a_used_buffer_keeps_nothing_of_its_past() {
        let mut buffer = vec![b'x'; 100];
        let deflated = b"\xcbH\xcd\xc9\xc9\x07\x00";
        decode_into(Coding::Deflate, deflated, 5, None, &mut buffer).unwrap();
        assert_eq!(buffer, b"hello");
        let frame = compress(b"longer than before").unwrap();
        decode_into(Coding::Zstd, &frame, 18, None, &mut buffer).unwrap();
        assert_eq!(buffer, b"longer than before");
        // Room for more than the announced size is no excuse for more bytes.
        let mut roomy = Vec::with_capacity(1000);
        assert!(decode_into(Coding::Zstd, &frame, 17, None, &mut roomy).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(coded in prop::collection::vec(any::<u8>(), 0..200), size in 0_u64..4096) {
            for coding in [Coding::Identity, Coding::Deflate, Coding::Zstd, Coding::Patch { base: Digest::of(b"") }] {
                if let Ok(plain) = decode(coding, &coded, size, Some(b"base")) {
                    prop_assert_eq!(plain.len() as u64, size);
                }
            }
        }

        #[test]
        fn patches_round_trip(old in prop::collection::vec(any::<u8>(), 0..2000), new in prop::collection::vec(any::<u8>(), 0..2000)) {
            let coded = patch(&old, &new, Level::Fast).unwrap();
            let coding = Coding::Patch { base: Digest::of(&old) };
            prop_assert_eq!(decode(coding, &coded, new.len() as u64, Some(&old)).unwrap(), new);
        }
    }
}

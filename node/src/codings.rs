//! Forms that the package did not bring: brotli, Zstandard, and gzip where only plain bytes came.
//!
//! All of it happens away from requests: what people load first before the flip, at levels that take milliseconds; large
//! files after it, on one thread, at levels that keep pace with the cuts. A form that saves little is thrown away: each
//! costs memory, and splits what caches hold.

use std::io::Write as _;

use libdeflater::{CompressionLvl, Compressor};
use zstd_safe::{CCtx, CParameter};

use crate::negotiate::Coding;

/// When a form is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// While visitors wait for the cut. On pages and data of national results, these levels give a form 6 to 14 %
    /// smaller than gzip's at 120 to 150 MB/s a core; the next ones up save 2 % for three times the time and more.
    BeforeFlip,
    /// Once the cut is served: 400 MB/s for Zstandard, 110 MB/s for brotli.
    Behind,
}

/// Largest window of a Zstandard frame on the web, 8 MiB (RFC 9659 section 3).
const ZSTD_WINDOW_LOG: u32 = 23;

/// Largest window of a brotli stream, 16 MiB (RFC 7932 section 9.1); browsers read them all.
const BROTLI_WINDOW_LOG: u32 = 22;

/// True for what compresses: text in all its guises. Images and zips are compressed already.
pub(crate) fn worth_coding(media: &str) -> bool {
    media.starts_with("text/")
        || matches!(
            media,
            "application/json"
                | "application/xml"
                | "application/manifest+json"
                | "application/wasm"
                | "image/svg+xml"
                | "image/vnd.microsoft.icon"
                | "font/ttf"
                | "font/otf"
                | "application/vnd.ms-fontobject"
        )
}

/// `plain` in this coding; `None` if it fails, or does not get below `limit` bytes.
pub(crate) fn encode(plain: &[u8], coding: Coding, moment: Moment, limit: u64) -> Option<Vec<u8>> {
    let coded = match coding {
        Coding::Identity => return None,
        Coding::Gzip => gzip(plain)?,
        Coding::Brotli => brotli(plain, if moment == Moment::BeforeFlip { 5 } else { 4 })?,
        Coding::Zstd => zstd(plain, if moment == Moment::BeforeFlip { 9 } else { 3 })?,
    };
    ((coded.len() as u64) < limit).then_some(coded)
}

fn gzip(plain: &[u8]) -> Option<Vec<u8>> {
    let mut compressor = Compressor::new(CompressionLvl::new(5).ok()?);
    let mut coded = vec![0; compressor.gzip_compress_bound(plain.len())];
    let len = compressor.gzip_compress(plain, &mut coded).ok()?;
    coded.truncate(len);
    Some(coded)
}

fn zstd(plain: &[u8], level: i32) -> Option<Vec<u8>> {
    let mut context = CCtx::try_create()?;
    context.set_parameter(CParameter::CompressionLevel(level)).ok()?;
    context.set_parameter(CParameter::WindowLog(window_log(plain.len()))).ok()?;
    context.set_parameter(CParameter::ChecksumFlag(false)).ok()?;
    let mut coded = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
    context.compress2(&mut coded, plain).ok()?;
    Some(coded)
}

/// A window that holds the whole file, within what the format and the web allow.
fn window_log(len: usize) -> u32 {
    (usize::BITS - len.leading_zeros()).clamp(10, ZSTD_WINDOW_LOG)
}

fn brotli(plain: &[u8], quality: u32) -> Option<Vec<u8>> {
    let mut writer = brotli::CompressorWriter::new(Vec::new(), 1 << 16, quality, BROTLI_WINDOW_LOG);
    writer.write_all(plain).ok()?;
    // Into the writer's inner value: that ends the stream.
    Some(writer.into_inner())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::site::fixture::{gunzip, noise};

    #[test]
    fn every_coding_gives_the_bytes_back() {
        for rows in [0, 1, 40, 3000] {
            let plain = noise(rows, rows);
            for moment in [Moment::BeforeFlip, Moment::Behind] {
                let coded = |coding| encode(&plain, coding, moment, u64::MAX).unwrap();
                assert_eq!(gunzip(&coded(Coding::Gzip), plain.len()), plain);
                let mut back = Vec::with_capacity(plain.len());
                zstd_safe::decompress(&mut back, &coded(Coding::Zstd)).unwrap();
                assert_eq!(back, plain);
                let mut back = Vec::new();
                brotli::Decompressor::new(coded(Coding::Brotli).as_slice(), 4096).read_to_end(&mut back).unwrap();
                assert_eq!(back, plain);
            }
        }
    }

    #[test]
    fn what_saves_nothing_is_no_form() {
        let plain = noise(1, 100);
        let len = encode(&plain, Coding::Zstd, Moment::Behind, u64::MAX).unwrap().len() as u64;
        assert!(encode(&plain, Coding::Zstd, Moment::Behind, len).is_none());
        assert!(encode(&plain, Coding::Zstd, Moment::Behind, len + 1).is_some());
        assert!(encode(&plain, Coding::Identity, Moment::Behind, u64::MAX).is_none());
    }
}

//! The plain bytes of one entry: exactly as many as declared, from all of its bytes, with the declared CRC-32.
//!
//! The fast way is one call of libdeflate into a buffer of the declared size. It does not say where a stream ended, and
//! a stream with something behind it would make a broken gzip body later. So the stream is dressed up as gzip: the
//! decoder then compares CRC and size right behind the end of the stream. Only a stream that holds those eight bytes
//! elsewhere could end early unseen, and that is looked for. Whatever is not right at once is read again by zlib, which
//! says what is wrong and where.
//!
//! What this does not prove: that zlib takes the stream too. It is stricter with the tables of codes, so a crafted
//! stream can pass here, and again on every node, and still fail in a browser that is handed the stream itself.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::Decompressor;

use super::{
    directory::{Item, Method},
    refusal::{Reason, Refusal},
};

/// A gzip header without time, name or system (RFC 1952).
const GZIP: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// Bytes inflated at a time when a stream is diagnosed.
const WINDOW: usize = 64 << 10;
/// Bytes searched at a time, small enough to stay in the first cache.
const BLOCK: usize = 8 << 10;
/// Largest buffer that a thread keeps for the next stream.
const KEPT: usize = 32 << 20;

thread_local! {
    /// Where streams are dressed up; kept, since fresh memory costs more than the copy.
    static DRESSED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Inflates and checks the entry of an archive of these bytes.
///
/// # Errors
/// [`Reason::SizeMismatch`], [`Reason::DamagedStream`] or [`Reason::CrcMismatch`]. Never more than the declared size,
/// which the directory has checked, is allocated for plain bytes; `plain` is a buffer to use again.
pub(super) fn plain(bytes: &[u8], item: &Item<'_>, mut plain: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    let data = item.data(bytes);
    if item.method == Method::Stored {
        let crc32 = crc32fast::hash(data);
        if crc32 != item.crc32 {
            return Err(crc_refusal(item, crc32));
        }
        plain.clear();
        plain.extend_from_slice(data);
        return Ok(plain);
    }
    let [a, b, c, d] = item.crc32.to_le_bytes();
    // The size modulo 2^32, as the format has it.
    let [e, f, g, h, ..] = (item.size as u64).to_le_bytes();
    let footer = [a, b, c, d, e, f, g, h];
    let mut gzip = DRESSED.take();
    gzip.clear();
    gzip.reserve_exact(GZIP.len() + data.len() + footer.len());
    gzip.extend_from_slice(&GZIP);
    gzip.extend_from_slice(data);
    gzip.extend_from_slice(&footer);

    plain.resize(item.size, 0);
    let inflated = Decompressor::new().gzip_decompress(&gzip, &mut plain);
    // All places where the stream could have ended before its data does.
    let twice = contains(gzip.get(GZIP.len()..gzip.len() - 1).unwrap_or_default(), &footer);
    if gzip.capacity() <= KEPT {
        DRESSED.set(gzip);
    }
    if inflated != Ok(item.size) {
        diagnose(item, data)?;
        // zlib is content where libdeflate, which every node uses, is not.
        return Err(item.refuse(Reason::DamagedStream, "inflaters disagree on the stream").at(item.data_at));
    }
    if twice {
        diagnose(item, data)?;
    }
    Ok(plain)
}

/// True if `pattern` is in `bytes`. Compares three of its bytes at many places at once before it looks closer.
fn contains(bytes: &[u8], pattern: &[u8; 8]) -> bool {
    let [a, b, c, ..] = *pattern;
    (0..bytes.len()).step_by(BLOCK).any(|at| {
        let block = bytes.get(at..bytes.len().min(at + BLOCK + pattern.len() - 1)).unwrap_or_default();
        let [second, third] = [1, 2].map(|skip| block.get(skip..).unwrap_or_default());
        let places = block.iter().zip(second).zip(third);
        let near = places.fold(0, |near, ((x, y), z)| near | u8::from(*x == a) & u8::from(*y == b) & u8::from(*z == c));
        near != 0 && block.array_windows().any(|window| window == pattern)
    })
}

fn crc_refusal(item: &Item<'_>, found: u32) -> Refusal {
    let detail = format!("the plain bytes have CRC-32 {found:08x}, declared is {:08x}", item.crc32);
    item.refuse(Reason::CrcMismatch, detail).at(item.data_at)
}

/// Streams through the data and says what is wrong with it, if anything.
fn diagnose(item: &Item<'_>, data: &[u8]) -> Result<(), Refusal> {
    let mut inflater = Decompress::new(false);
    let mut window = vec![0; WINDOW];
    let mut crc32 = crc32fast::Hasher::new();
    let size = item.size as u64;
    loop {
        let (read, written) = (inflater.total_in(), inflater.total_out());
        let input = usize::try_from(read).ok().and_then(|read| data.get(read..)).unwrap_or_default();
        let outcome = inflater.decompress(input, &mut window, FlushDecompress::None);
        let at = item.data_at.saturating_add(usize::try_from(inflater.total_in()).unwrap_or(data.len()));
        let produced = inflater.total_out() - written;
        let status = outcome.map_err(|error| {
            let detail = format!("not a deflate stream after {} plain bytes: {error}", inflater.total_out());
            item.refuse(Reason::DamagedStream, detail).at(at)
        })?;
        crc32.update(usize::try_from(produced).ok().and_then(|len| window.get(..len)).unwrap_or_default());
        if inflater.total_out() > size {
            let detail = format!("inflates to more than the {size} bytes it declares");
            return Err(item.refuse(Reason::SizeMismatch, detail).at(at));
        }
        if status == Status::StreamEnd {
            break;
        }
        if inflater.total_in() == read && produced == 0 {
            let detail = format!("the deflate stream does not end; it gave {} of {size} bytes", inflater.total_out());
            return Err(item.refuse(Reason::DamagedStream, detail).at(at));
        }
    }
    let (read, written) = (inflater.total_in(), inflater.total_out());
    if written < size {
        let detail = format!("inflates to {written} bytes and declares {size}");
        return Err(item.refuse(Reason::SizeMismatch, detail).at(item.data_at));
    }
    if read < data.len() as u64 {
        let detail = format!("the deflate stream ends after {read} of its {} bytes", data.len());
        let at = item.data_at.saturating_add(usize::try_from(read).unwrap_or_default());
        return Err(item.refuse(Reason::SizeMismatch, detail).at(at));
    }
    let found = crc32.finalize();
    if found == item.crc32 { Ok(()) } else { Err(crc_refusal(item, found)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_wherever_it_lies() {
        let pattern = *b"\x01\x02\x03\x04\x00\x00\x10\x00";
        for at in [0, 1, BLOCK - 9, BLOCK - 8, BLOCK - 7, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 3, 3 * BLOCK - 8] {
            let mut bytes = vec![1; 3 * BLOCK];
            assert!(!contains(&bytes, &pattern));
            bytes.splice(at..at + 8, pattern);
            assert!(contains(&bytes, &pattern), "{at}");
            bytes[at + 7] = 1;
            assert!(!contains(&bytes, &pattern), "{at}");
        }
        assert!(!contains(b"", &pattern) && contains(&pattern, &pattern));
    }
}

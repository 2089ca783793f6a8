//! Local headers, and the bytes between them: every byte of an entry belongs to it alone, and readers that stream see
//! what readers of the directory see (APPNOTE 6.3.10, sections 4.3.7 and 4.3.9).
//!
//! Bytes that belong to no entry are let pass only if no local header hides in them.

use super::{
    directory::{ENCRYPTED, Item, ZIP64},
    fields::{LOCAL, extra, has, long, quad, slice, word},
    refusal::{Reason, Refusal},
};

const HEADER_LEN: usize = 30;
/// General purpose bit 3: CRC and sizes follow the data.
const DESCRIPTOR: u16 = 1 << 3;
/// General purpose bit 11: the name is UTF-8.
const UTF8: u16 = 1 << 11;

/// Finds the data of every item; `limit` is where the directory starts.
///
/// # Errors
/// [`Reason::HeaderMismatch`], [`Reason::Encrypted`] or [`Reason::Overlap`] of the first item whose header is wrong; then [`Reason::Overlap`] or [`Reason::ForeignData`] at the lowest byte.
pub(super) fn place(bytes: &[u8], items: &mut [Item<'_>], limit: usize) -> Result<(), Refusal> {
    let mut places = Vec::with_capacity(items.len());
    for item in items.iter_mut() {
        let header = Header::new(bytes, item).map_err(|refusal| {
            let at = if item.header_at < limit { item.header_at } else { item.record_at };
            refusal.of(item.raw).at(at)
        })?;
        item.data_at = item.header_at + header.len;
        let end = item.data_at.checked_add(item.len).filter(|end| *end <= limit).ok_or_else(|| {
            let detail = format!("{} bytes of data would reach into the directory at byte {limit}", item.len);
            item.refuse(Reason::Overlap, detail).at(item.header_at)
        })?;
        let end = header.descriptor_end(bytes, item, end).ok_or_else(|| {
            item.refuse(Reason::HeaderMismatch, "what follows the data is not its CRC and sizes").at(end)
        })?;
        places.push((item.header_at, end, item.index));
    }
    places.sort_unstable();
    let mut free = 0;
    for (start, end, index) in places {
        let item = items.get(index);
        if start < free {
            let refusal =
                Refusal::new(Reason::Overlap, format!("its bytes begin before the last entry's end at {free}"));
            return Err(refusal.of(item.map_or(b"", |item| item.raw)).at(start));
        }
        unlisted(bytes, free, start)?;
        free = end;
    }
    if free > limit {
        return Err(Refusal::new(Reason::Overlap, "the last entry reaches into the directory").at(limit));
    }
    unlisted(bytes, free, limit)
}

/// A local header that agrees with the directory.
struct Header {
    len: usize,
    streamed: bool,
}

impl Header {
    fn new(bytes: &[u8], item: &Item<'_>) -> Result<Self, Refusal> {
        let mismatch =
            |what: &str| Refusal::new(Reason::HeaderMismatch, format!("local header and directory differ in {what}"));
        let fixed = slice(bytes, item.header_at, HEADER_LEN).filter(|fixed| has(fixed, 0, LOCAL));
        let fixed = fixed.ok_or_else(|| Refusal::new(Reason::HeaderMismatch, "there is no local header"))?;
        let word = |at| word(fixed, at).unwrap_or_default();
        let (flags, name, fields) = (word(6), usize::from(word(26)), usize::from(word(28)));
        let raw = slice(bytes, item.header_at + HEADER_LEN, name).unwrap_or_default();
        let fields = slice(bytes, item.header_at + HEADER_LEN + name, fields)
            .ok_or_else(|| Refusal::new(Reason::HeaderMismatch, "the local header is cut"))?;
        if flags & ENCRYPTED != 0 {
            return Err(Refusal::new(Reason::Encrypted, "the local header is marked as encrypted"));
        }
        if raw != item.raw || (flags ^ item.flags) & UTF8 != 0 && !raw.is_ascii() {
            let detail = format!("the local header names it `{}`", raw.escape_ascii());
            return Err(Refusal::new(Reason::HeaderMismatch, detail));
        }
        if word(8) != item.method.number() {
            return Err(mismatch("the method"));
        }
        let [crc32, len, size] = [14, 18, 22].map(|at| long(fixed, at).unwrap_or_default());
        let wide = extra(fields, ZIP64).unwrap_or_default();
        let widened = |narrow: u32, at: usize| match quad(wide, at) {
            Some(number) if narrow == u32::MAX => number,
            _ => narrow.into(),
        };
        let streamed = flags & DESCRIPTOR != 0;
        // Streaming packers write nothing here, or what they know already.
        let open = |found: u64| streamed && (found == 0 || found == u64::from(u32::MAX));
        // In this field the plain size comes first, and both are there (section 4.5.3).
        for (what, found, declared) in [
            ("the CRC", crc32.into(), item.crc32.into()),
            ("the size in the archive", widened(len, 8), item.len as u64),
            ("the plain size", widened(size, 0), item.size as u64),
        ] {
            if found != declared && !open(found) {
                return Err(mismatch(&format!("{what}: {found} and {declared}")));
            }
        }
        Ok(Self { len: HEADER_LEN + name + fields.len(), streamed })
    }

    /// Where the entry ends, its data descriptor counted in; `None` if that says something else than the directory.
    fn descriptor_end(&self, bytes: &[u8], item: &Item<'_>, data_end: usize) -> Option<usize> {
        if !self.streamed {
            return Some(data_end);
        }
        let start = if has(bytes, data_end, b"PK\x07\x08") { data_end + 4 } else { data_end };
        // Without its signature, a CRC may by chance read like one.
        for start in [start, data_end] {
            let tail = bytes.get(start..)?;
            if long(tail, 0) != Some(item.crc32) {
                continue;
            }
            let (len, size) = (item.len as u64, item.size as u64);
            if (quad(tail, 4), quad(tail, 12)) == (Some(len), Some(size)) {
                return Some(start + 20);
            }
            if (long(tail, 4).map(u64::from), long(tail, 8).map(u64::from)) == (Some(len), Some(size)) {
                return Some(start + 12);
            }
        }
        // Some packers mark folders and empty files so and write nothing.
        (item.size == 0).then_some(data_end)
    }
}

/// Refuses a local header among bytes that belong to no entry.
fn unlisted(bytes: &[u8], from: usize, to: usize) -> Result<(), Refusal> {
    let gap = bytes.get(from..to).unwrap_or_default();
    match gap.array_windows().position(|window| window == LOCAL) {
        Some(at) => {
            let name = word(gap, at + 26).and_then(|len| slice(gap, at + HEADER_LEN, len.into())).unwrap_or_default();
            let detail = "an entry that the directory does not list, for readers that stream to find";
            Err(Refusal::new(Reason::ForeignData, detail).of(name).at(from + at))
        }
        None => Ok(()),
    }
}

//! The end record: how many entries there are and where their directory lies (APPNOTE 6.3.10, sections 4.3.14 to 16).
//!
//! Exactly one end record whose comment reaches the last byte is taken; the directory must end where it begins. So a
//! comment is fine, while something in front that shifts all offsets, or something behind, is refused: readers would
//! have to guess.

use std::ops::Range;

use super::{
    fields::{END, LOCAL, RECORD, has, long, quad, slice, word},
    refusal::{Reason, Refusal},
};

const END_LEN: usize = 22;
const LOCATOR_LEN: usize = 20;
const MAX_COMMENT: usize = u16::MAX as usize;

/// What the end record says.
#[derive(Debug)]
pub(super) struct End {
    /// Entries in the directory, as announced.
    pub(super) count: u64,
    /// Where the directory lies.
    pub(super) directory: Range<usize>,
}

/// True if a zip starts here, or if `named` so and one ends here: such a file must be a sound archive or none at all.
pub(super) fn looks_like_zip(bytes: &[u8], named: bool) -> bool {
    has(bytes, 0, LOCAL) || has(bytes, 0, END) || named && candidates(bytes).next().is_some()
}

/// Finds the end record.
///
/// # Errors
/// [`Reason::NotAZip`] or [`Reason::Truncated`] if there is none; otherwise what it says is not so.
pub(super) fn find(bytes: &[u8]) -> Result<End, Refusal> {
    let mut fitting = candidates(bytes).filter(|(_, end)| *end == bytes.len());
    let Some((at, _)) = fitting.next() else {
        return Err(none_fits(bytes));
    };
    if let Some((other, _)) = fitting.next() {
        return Err(Refusal::new(Reason::Ambiguous, "two end records each claim to be the last").at(other));
    }
    let short = || cut(bytes);
    let disks = [word(bytes, at + 4), word(bytes, at + 6)];
    let counts = [word(bytes, at + 8).ok_or_else(short)?, word(bytes, at + 10).ok_or_else(short)?];
    let size = long(bytes, at + 12).ok_or_else(short)?;
    let offset = long(bytes, at + 16).ok_or_else(short)?;

    let mut end = Announced { count: counts[1].into(), size: size.into(), offset: offset.into(), at };
    let mut split = disks != [Some(0); 2] || counts[0] != counts[1];
    if let Some(wide) = zip64(bytes, at)? {
        let agree = (counts[1] == u16::MAX || end.count == wide.count)
            && (size == u32::MAX || end.size == wide.size)
            && (offset == u32::MAX || end.offset == wide.offset);
        if !agree {
            let detail = "the end record and its 64-bit form say different things";
            return Err(Refusal::new(Reason::Ambiguous, detail).at(wide.at));
        }
        split &= disks.iter().any(|disk| !matches!(disk, Some(0 | u16::MAX)));
        end = wide;
    }
    if split {
        return Err(Refusal::new(Reason::SplitArchive, "the archive continues in other volumes").at(at));
    }
    end.directory(bytes)
}

/// The end record's numbers, in 64 bits.
struct Announced {
    count: u64,
    size: u64,
    offset: u64,
    /// Where the record lies that says so, and the directory must end.
    at: usize,
}

impl Announced {
    fn directory(&self, bytes: &[u8]) -> Result<End, Refusal> {
        let at = self.at as u64;
        let end = self.offset.checked_add(self.size).filter(|end| *end <= at);
        let (Some(end), Ok(start)) = (end, usize::try_from(self.offset)) else {
            let detail = format!("a directory of {} bytes at {} would reach behind byte {at}", self.size, self.offset);
            return Err(Refusal::new(Reason::Truncated, detail).at(self.at));
        };
        if end < at {
            let missing = at - end;
            let detail = format!("{missing} bytes stand before the archive or between its directory and its end");
            return Err(Refusal::new(Reason::ForeignData, detail).at(if has(bytes, start, RECORD) {
                self.at
            } else {
                0
            }));
        }
        Ok(End { count: self.count, directory: start..self.at })
    }
}

/// The 64-bit record, if the end record at `end` has one in front.
fn zip64(bytes: &[u8], end: usize) -> Result<Option<Announced>, Refusal> {
    let Some(locator) = end.checked_sub(LOCATOR_LEN).filter(|at| has(bytes, *at, b"PK\x06\x07")) else {
        return Ok(None);
    };
    let wrong = || Refusal::new(Reason::HeaderMismatch, "the 64-bit end record is not where it should be").at(locator);
    let at = quad(bytes, locator + 8).and_then(|at| usize::try_from(at).ok()).ok_or_else(wrong)?;
    let record = bytes.get(at..locator).filter(|record| has(record, 0, b"PK\x06\x06")).ok_or_else(wrong)?;
    let len = quad(record, 4).ok_or_else(wrong)?;
    if len.checked_add(12) != Some(record.len() as u64) {
        return Err(wrong());
    }
    let disks = [long(record, 16), long(record, 20), long(bytes, locator + 4)];
    let counts = [quad(record, 24), quad(record, 32)];
    if disks != [Some(0); 3] || counts[0] != counts[1] {
        return Err(Refusal::new(Reason::SplitArchive, "the archive continues in other volumes").at(at));
    }
    let [_, count] = counts;
    let (size, offset) = (quad(record, 40), quad(record, 48));
    let (Some(count), Some(size), Some(offset)) = (count, size, offset) else {
        return Err(wrong());
    };
    Ok(Some(Announced { count, size, offset, at }))
}

/// Signatures of end records in the last bytes, from the end backwards, with where their comments would end.
fn candidates(bytes: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let last = bytes.len().checked_sub(END_LEN);
    let first = bytes.len().saturating_sub(END_LEN + MAX_COMMENT);
    let places = last.map(|last| (first..=last).rev()).into_iter().flatten();
    places.filter(|at| has(bytes, *at, END)).filter_map(|at| {
        let comment = word(bytes, at + 20)?;
        Some((at, at + END_LEN + usize::from(comment)))
    })
}

fn none_fits(bytes: &[u8]) -> Refusal {
    match candidates(bytes).next() {
        Some((at, end)) if end < bytes.len() && slice(bytes, at, END_LEN).is_some() => {
            let detail = format!("{} bytes stand behind the end of the archive", bytes.len() - end);
            Refusal::new(Reason::ForeignData, detail).at(end)
        }
        Some((at, _)) => Refusal::new(Reason::Truncated, "the bytes end within the comment of the end record").at(at),
        None if has(bytes, 0, LOCAL) || has(bytes, 0, END) => cut(bytes),
        None => {
            let start = bytes.get(..bytes.len().min(24)).unwrap_or_default();
            let detail = match bytes {
                [] => "there are no bytes at all".to_owned(),
                _ => format!("{} bytes that start with `{}` and have no end record", bytes.len(), start.escape_ascii()),
            };
            Refusal::new(Reason::NotAZip, detail).at(0)
        }
    }
}

/// The refusal of bytes that start as a zip and do not end as one: walks the structures up to the first that is cut.
fn cut(bytes: &[u8]) -> Refusal {
    let total = bytes.len();
    let refusal = |at: usize, what: &str| {
        Refusal::new(Reason::Truncated, format!("the bytes end at {total}, within {what}")).at(at)
    };
    let mut at = 0_usize;
    while has(bytes, at, LOCAL) {
        let name_len = word(bytes, at + 26).map_or(0, usize::from);
        let Some(name) = slice(bytes, at + 30, name_len).filter(|name| !name.is_empty()) else {
            return refusal(at, "a local header");
        };
        let (flags, len) = (word(bytes, at + 6), long(bytes, at + 18));
        let extra = word(bytes, at + 28).map_or(0, usize::from);
        let next = len.and_then(|len| (at + 30 + name_len + extra).checked_add(usize::try_from(len).ok()?));
        match next {
            // With a data descriptor, the length is known to the lost directory only.
            Some(next) if flags.is_some_and(|flags| flags & 8 == 0) && next <= total => at = next,
            _ => return refusal(at, "the data of an entry").of(name),
        }
    }
    if has(bytes, at, RECORD) { refusal(at, "the directory") } else { refusal(at, "a header or the end record") }
}

//! The central directory: what each entry claims to be, judged record by record (APPNOTE 6.3.10, section 4.3.12).
//!
//! Sizes are those of the directory alone, since packers that stream leave them out of the local headers. A size that
//! deflate could not reach is refused here, before anything is allocated for it.

use difusor_proto::{SitePath, limits::MAX_DEFLATE_RATIO};

use super::{
    Caps,
    end::End,
    fields::{RECORD, extra, has, long, quad, slice, word},
    names,
    refusal::{Reason, Refusal},
};

const RECORD_LEN: usize = 46;
/// Extra field with sizes and offset in 64 bits (section 4.5.3).
pub(super) const ZIP64: u16 = 1;
/// General purpose bits 0, 6 and 13: encrypted, strongly, or with masked headers.
pub(super) const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
/// General purpose bit 5: a patch of another file.
const PATCHED: u16 = 1 << 5;
/// The method that stands for AES.
const AES: u16 = 99;

/// How an entry's bytes lie in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// As they are.
    Stored,
    /// As a raw deflate stream.
    Deflate,
}

impl Method {
    /// Its number in headers.
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Stored => 0,
            Self::Deflate => 8,
        }
    }
}

/// An entry, as the directory describes it.
#[derive(Debug)]
pub(super) struct Item<'a> {
    /// Position in the directory.
    pub(super) index: usize,
    /// The name as written.
    pub(super) raw: &'a [u8],
    /// The name as meant.
    pub(super) path: SitePath,
    /// True for a folder, which has no bytes.
    pub(super) folder: bool,
    /// General purpose bits.
    pub(super) flags: u16,
    /// How the bytes lie.
    pub(super) method: Method,
    /// CRC-32 of the plain bytes.
    pub(super) crc32: u32,
    /// Bytes in the archive.
    pub(super) len: usize,
    /// Plain bytes.
    pub(super) size: usize,
    /// Where this record lies.
    pub(super) record_at: usize,
    /// Where the local header lies.
    pub(super) header_at: usize,
    /// Where the data lies; known once the local header was read.
    pub(super) data_at: usize,
}

impl Item<'_> {
    /// A refusal of this entry.
    pub(super) fn refuse(&self, reason: Reason, detail: impl Into<String>) -> Refusal {
        Refusal::new(reason, detail).of(self.raw)
    }

    /// The bytes in the archive, which the check of the local header has proven to be there.
    pub(super) fn data<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        slice(bytes, self.data_at, self.len).unwrap_or_default()
    }
}

/// Reads all records.
///
/// # Errors
/// The refusal of the first record that is not acceptable.
pub(super) fn read<'a>(bytes: &'a [u8], end: &End, caps: &Caps) -> Result<Vec<Item<'a>>, Refusal> {
    // Bounded twice: by the cap, checked by the caller, and by what the directory can hold.
    let room = end.directory.len() / RECORD_LEN;
    let mut items = Vec::with_capacity(usize::try_from(end.count).unwrap_or(room).min(room));
    let mut at = end.directory.start;
    while at < end.directory.end {
        if items.len() as u64 == end.count {
            let detail = format!("the directory goes on after the {} entries that the end record announces", end.count);
            return Err(Refusal::new(Reason::HeaderMismatch, detail).at(at));
        }
        let record = bytes.get(at..end.directory.end).and_then(Record::new).ok_or_else(|| {
            let detail = format!("record {} of the directory is damaged", items.len());
            Refusal::new(Reason::HeaderMismatch, detail).at(at)
        })?;
        items.push(record.judge(items.len(), at, caps).map_err(|refusal| refusal.of(record.raw).at(at))?);
        at += record.len();
    }
    if items.len() as u64 != end.count {
        let detail = format!("the directory has {} entries where the end record announces {}", items.len(), end.count);
        return Err(Refusal::new(Reason::HeaderMismatch, detail).at(at));
    }
    Ok(items)
}

/// A record, whole but not judged.
struct Record<'a> {
    fixed: &'a [u8],
    raw: &'a [u8],
    fields: &'a [u8],
    comment: usize,
}

impl<'a> Record<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let fixed = slice(bytes, 0, RECORD_LEN).filter(|_| has(bytes, 0, RECORD))?;
        let [name, extra, comment] = [28, 30, 32].map(|at| word(fixed, at).map_or(0, usize::from));
        let raw = slice(bytes, RECORD_LEN, name)?;
        let fields = slice(bytes, RECORD_LEN + name, extra)?;
        slice(bytes, RECORD_LEN + name + extra, comment)?;
        Some(Self { fixed, raw, fields, comment })
    }

    fn len(&self) -> usize {
        RECORD_LEN + self.raw.len() + self.fields.len() + self.comment
    }

    fn word(&self, at: usize) -> u16 {
        word(self.fixed, at).unwrap_or_default()
    }

    fn long(&self, at: usize) -> u32 {
        long(self.fixed, at).unwrap_or_default()
    }

    fn judge(&self, index: usize, record_at: usize, caps: &Caps) -> Result<Item<'a>, Refusal> {
        let flags = self.word(8);
        let method = self.method(flags)?;
        let (path, folder) =
            names::path(self.raw, flags, self.fields).map_err(|(reason, detail)| Refusal::new(reason, detail))?;
        let Wide { size, len, offset, disk } = self.wide()?;
        if disk != 0 {
            return Err(Refusal::new(Reason::SplitArchive, "the entry lies in another volume"));
        }
        self.kind(folder, size)?;
        sizes(method, len, size, caps)?;
        let number = |n: u64| {
            usize::try_from(n).map_err(|_| Refusal::new(Reason::TooLarge, "a number beyond this machine's memory"))
        };
        Ok(Item {
            index,
            raw: self.raw,
            path,
            folder,
            flags,
            method,
            crc32: self.long(16),
            len: number(len)?,
            size: number(size)?,
            record_at,
            header_at: number(offset)?,
            data_at: 0,
        })
    }

    fn method(&self, flags: u16) -> Result<Method, Refusal> {
        match self.word(10) {
            AES => Err(Refusal::new(Reason::Encrypted, "the entry is encrypted with AES")),
            _ if flags & ENCRYPTED != 0 => Err(Refusal::new(Reason::Encrypted, "the entry is marked as encrypted")),
            _ if flags & PATCHED != 0 => {
                Err(Refusal::new(Reason::UnsupportedMethod, "the entry is a patch of another file"))
            }
            0 => Ok(Method::Stored),
            8 => Ok(Method::Deflate),
            other => Err(Refusal::new(Reason::UnsupportedMethod, format!("compressed with method {other}"))),
        }
    }

    /// Unix file types in the upper half of the attributes; zero where packers leave them out.
    fn kind(&self, folder: bool, size: u64) -> Result<(), Refusal> {
        match (self.long(38) >> 28, folder) {
            (0xA, _) => Err(Refusal::new(Reason::Symlink, "the entry is a symbolic link")),
            (0 | 4 | 8, true) if size > 0 => {
                Err(Refusal::new(Reason::SpecialFile, format!("a folder that has {size} bytes of content")))
            }
            (0 | 4 | 8, true) | (0 | 8, false) => Ok(()),
            (kind, _) => {
                let detail = format!("file type {kind:#x} (octal {:o}) is not that of its name", self.long(38) >> 16);
                Err(Refusal::new(Reason::SpecialFile, detail))
            }
        }
    }

    /// Sizes and offset, from the 64-bit field where the record says so.
    fn wide(&self) -> Result<Wide, Refusal> {
        let mut rest = extra(self.fields, ZIP64).unwrap_or_default();
        let mut next = |narrow: u32| {
            if narrow != u32::MAX {
                return Ok(narrow.into());
            }
            let missing = || Refusal::new(Reason::HeaderMismatch, "a 64-bit number is announced and missing");
            let number = quad(rest, 0).ok_or_else(missing)?;
            rest = rest.get(8..).unwrap_or_default();
            Ok(number)
        };
        let (size, len, offset) = (next(self.long(24))?, next(self.long(20))?, next(self.long(42))?);
        let disk = match self.word(34) {
            u16::MAX => long(rest, 0).unwrap_or(u32::MAX),
            narrow => narrow.into(),
        };
        Ok(Wide { size, len, offset, disk })
    }
}

struct Wide {
    size: u64,
    len: u64,
    offset: u64,
    disk: u32,
}

/// Sizes that can be true, and a file within the caps.
fn sizes(method: Method, len: u64, size: u64, caps: &Caps) -> Result<(), Refusal> {
    let lie = match method {
        Method::Stored => len != size,
        Method::Deflate => size > len.saturating_mul(MAX_DEFLATE_RATIO),
    };
    if lie {
        let detail = format!("{len} bytes in the archive cannot be {size} plain bytes");
        return Err(Refusal::new(Reason::SizeMismatch, detail));
    }
    if size > caps.file_bytes {
        let detail = format!("a file of {size} bytes where {} are allowed", caps.file_bytes);
        return Err(Refusal::new(Reason::Bomb, detail));
    }
    if method == Method::Deflate && size > len.saturating_mul(caps.ratio) {
        let detail = format!("expands more than the {} times that are allowed", caps.ratio);
        return Err(Refusal::new(Reason::Bomb, detail));
    }
    Ok(())
}

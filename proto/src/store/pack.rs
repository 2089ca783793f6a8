//! The file format of a pack: records one after another, and a trailer that makes them count.
//!
//! A pack is written under a temporary name and only ever appended to. It counts once its last record is a trailer
//! that covers every header before it; anything else is what a crash left, and holds nothing that was acknowledged.
//! Every payload has a check in its header, so silent damage is found without the index or the manifest.
//!
//! ```text
//! file    = magic(16) record* trailer
//! record  = header(128) payload(len)          a span's payload lies inside another record of the same file
//! header  = "REC1" kind(1) coding(1) 0(2) offset(8) len(8) size(8) digest(32) base(32) check(16) crc(4) 0(12)
//! trailer = record of kind Trailer, payload = postcard(Trailer)
//! ```

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{CutKey, Digest, codec::Coding};

const MAGIC: &[u8; 16] = b"difusor-pack\0\0\0\x01";
const RECORD: &[u8; 4] = b"REC1";
const HEADER: usize = 128;
/// [`HEADER`], and the length of [`MAGIC`], as file offsets.
const HEADER_LEN: u64 = 128;
const MAGIC_LEN: u64 = 16;

/// Bytes of the check of a payload: enough of a BLAKE3 to find damage; forgery is not its business.
const CHECK: usize = 16;

/// A trailer is small; a larger one is damage.
const MAX_TRAILER: u64 = 4096;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A blob, in some coding.
    Blob = 1,
    /// The signed manifest of the cut.
    Manifest = 2,
    /// The package, byte for byte.
    Package = 3,
    /// A blob that lies inside the package.
    Span = 4,
    /// The end of a complete pack.
    Trailer = 5,
    /// The package, told by that of another cut: `base` is the root of its manifest.
    Told = 6,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Blob, Self::Manifest, Self::Package, Self::Span, Self::Trailer, Self::Told]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// One record, as its header describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) coding: Coding,
    /// Where the payload starts in the file.
    pub(super) offset: u64,
    /// Bytes of the payload.
    pub(super) len: u64,
    /// Bytes once decoded.
    pub(super) size: u64,
    /// BLAKE3 of the decoded bytes.
    pub(super) digest: Digest,
    /// First bytes of the BLAKE3 of the payload.
    pub(super) check: [u8; CHECK],
}

/// Closes a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trailer {
    /// The cut it belongs to.
    pub(super) cut: CutKey,
    /// Records before the trailer.
    records: u32,
    /// BLAKE3 of their headers, in the order of the file.
    headers: Digest,
}

/// The check of a payload.
pub(super) fn check_of(digest: &Digest) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    for (to, from) in check.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    check
}

impl Record {
    fn to_bytes(self) -> [u8; HEADER] {
        let (coding, base) = match self.coding {
            Coding::Identity => (0, [0; 32]),
            Coding::Deflate => (1, [0; 32]),
            Coding::Zstd => (2, [0; 32]),
            Coding::Patch { base } => (3, *base.as_bytes()),
            // Of a package; of a blob it is refused before it gets here, and by whoever reads it.
            Coding::Opened { base } => (4, *base.as_bytes()),
            Coding::Bundle => (5, [0; 32]),
        };
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(RECORD);
        bytes.extend_from_slice(&[self.kind as u8, coding, 0, 0]);
        for number in [self.offset, self.len, self.size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(self.digest.as_bytes());
        bytes.extend_from_slice(&base);
        bytes.extend_from_slice(&self.check);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let mut header = [0; HEADER];
        for (to, from) in header.iter_mut().zip(bytes) {
            *to = from;
        }
        header
    }

    fn from_bytes(header: &[u8; HEADER]) -> Option<Self> {
        let mut rest = header.as_slice();
        let covered = header.get(..HEADER - 16)?;
        if rest.split_off(..4)? != RECORD {
            return None;
        }
        let [kind, coding, 0, 0] = *rest.split_off(..4)? else { return None };
        let mut number = || Some(u64::from_le_bytes(rest.split_off(..8)?.try_into().ok()?));
        let (offset, len, size) = (number()?, number()?, number()?);
        let digest = Digest::from_bytes(rest.split_off(..32)?.try_into().ok()?);
        let base = Digest::from_bytes(rest.split_off(..32)?.try_into().ok()?);
        let check = rest.split_off(..CHECK)?.try_into().ok()?;
        let crc = u32::from_le_bytes(rest.split_off(..4)?.try_into().ok()?);
        let coding = match coding {
            0 => Coding::Identity,
            1 => Coding::Deflate,
            2 => Coding::Zstd,
            3 => Coding::Patch { base },
            4 => Coding::Opened { base },
            _ => return None,
        };
        let kind = Kind::from_number(kind)?;
        if matches!(coding, Coding::Opened { .. }) != (kind == Kind::Told) {
            return None;
        }
        (crc32fast::hash(covered) == crc).then_some(Self { kind, coding, offset, len, size, digest, check })
    }
}

/// A pack being written. Several threads may append at once; nothing is visible before [`PackWriter::finish`].
#[derive(Debug)]
pub struct PackWriter {
    file: Arc<File>,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Where the next record goes.
    end: u64,
    /// What was appended, with the offset of each header.
    records: Vec<(u64, Record)>,
    finished: bool,
}

/// A package that arrives in pieces: hashed and written as it comes.
#[derive(Debug)]
pub struct PackageStream<'a> {
    writer: &'a PackWriter,
    header_at: u64,
    len: u64,
    hasher: blake3::Hasher,
}

impl PackWriter {
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        let state = State { end: MAGIC_LEN, records: Vec::new(), finished: false };
        // From here on the file goes with the writer, if the disk is full already.
        let writer = Self { file: Arc::new(file), path, state: Mutex::new(state) };
        writer.file.write_all_at(MAGIC, 0)?;
        Ok(writer)
    }

    /// Appends a blob in some coding. `digest` and `size` are those of the decoded bytes, which the caller verified.
    ///
    /// # Errors
    /// What writing the file gives; the pack must then be dropped.
    pub fn blob(&self, digest: Digest, coding: Coding, size: u64, bytes: &[u8]) -> io::Result<()> {
        let check = match coding {
            Coding::Opened { .. } | Coding::Bundle => {
                return Err(io::Error::other("archives and bundles rest as what is in them"));
            }
            Coding::Identity => check_of(&digest),
            _ => check_of(&Digest::of(bytes)),
        };
        self.append(Kind::Blob, digest, coding, size, check, bytes)
    }

    /// Appends the package of `size` bytes as it is told by that of the cut with the root `base`. The caller has made it
    /// again from these bytes.
    ///
    /// # Errors
    /// What writing the file gives.
    pub fn told(&self, digest: Digest, base: Digest, size: u64, bytes: &[u8]) -> io::Result<()> {
        self.append(Kind::Told, digest, Coding::Opened { base }, size, check_of(&Digest::of(bytes)), bytes)
    }

    /// Starts the package, of which neither length nor digest are known yet. Nothing else may be appended meanwhile.
    ///
    /// # Errors
    /// What writing the file gives.
    pub fn package(&self) -> io::Result<PackageStream<'_>> {
        let header_at = self.reserve(HEADER_LEN);
        Ok(PackageStream { writer: self, header_at, len: 0, hasher: blake3::Hasher::new() })
    }

    /// Names `len` bytes of the package, `at` bytes into it, as a blob. `coded` are those bytes.
    ///
    /// # Errors
    /// What writing the file gives, or if no package was appended.
    pub fn span(&self, digest: Digest, coding: Coding, size: u64, at: u64, coded: &[u8]) -> io::Result<()> {
        let package = self.records().into_iter().find(|(_, r)| r.kind == Kind::Package);
        let (_, package) = package.ok_or_else(|| io::Error::other("a span needs a package in the same pack"))?;
        let check = check_of(&Digest::of(coded));
        let len = coded.len() as u64;
        let header_at = self.reserve(HEADER_LEN);
        let offset = package.offset.saturating_add(at);
        self.write_header(header_at, Record { kind: Kind::Span, coding, offset, len, size, digest, check })
    }

    /// Starts writing dirty pages to the disk now, so that the last fsync has little left. Safe to call at any time.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn write_behind(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// The first bytes of the package, as appended: for a package that has to be set aside.
    ///
    /// # Errors
    /// What reading gives, or if no package was appended.
    pub fn copy_package(&self, to: &Path) -> io::Result<()> {
        let package = self.records().into_iter().find(|(_, r)| r.kind == Kind::Package);
        let (_, package) = package.ok_or_else(|| io::Error::other("no package in this pack"))?;
        let mut out = File::options().write(true).create_new(true).open(to)?;
        let mut from = Section { file: &self.file, at: package.offset, left: package.len };
        io::copy(&mut from, &mut out)?;
        out.sync_all()
    }

    pub(super) fn manifest(&self, cut: &CutKey, signed: &[u8]) -> io::Result<()> {
        let check = check_of(&Digest::of(signed));
        self.append(Kind::Manifest, cut.root, Coding::Identity, signed.len() as u64, check, signed)
    }

    /// Writes the trailer and, if `durable`, waits for the disk. Returns the records, and the length of the file.
    pub(super) fn finish(&self, cut: &CutKey, durable: bool) -> io::Result<(Vec<Record>, u64)> {
        let mut records = self.records();
        records.sort_by_key(|(at, _)| *at);
        let mut headers = blake3::Hasher::new();
        for (_, record) in &records {
            headers.update(&record.to_bytes());
        }
        let count = u32::try_from(records.len()).map_err(io::Error::other)?;
        let headers = Digest::from_bytes(*headers.finalize().as_bytes());
        let trailer = postcard::to_stdvec(&Trailer { cut: *cut, records: count, headers }).map_err(io::Error::other)?;
        let digest = Digest::of(&trailer);
        let size = trailer.len() as u64;
        self.append(Kind::Trailer, digest, Coding::Identity, size, check_of(&digest), &trailer)?;
        if durable {
            self.file.sync_data()?;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.finished = true;
        Ok((records.into_iter().map(|(_, record)| record).collect(), state.end))
    }

    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn records(&self) -> Vec<(u64, Record)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).records.clone()
    }

    fn reserve(&self, len: u64) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let at = state.end;
        state.end = state.end.saturating_add(len);
        at
    }

    fn write_header(&self, at: u64, record: Record) -> io::Result<()> {
        self.file.write_all_at(&record.to_bytes(), at)?;
        self.state.lock().unwrap_or_else(PoisonError::into_inner).records.push((at, record));
        Ok(())
    }

    fn append(
        &self,
        kind: Kind,
        digest: Digest,
        coding: Coding,
        size: u64,
        check: [u8; CHECK],
        bytes: &[u8],
    ) -> io::Result<()> {
        let len = bytes.len() as u64;
        let at = self.reserve(HEADER_LEN.saturating_add(len));
        let offset = at.saturating_add(HEADER_LEN);
        self.file.write_all_at(bytes, offset)?;
        self.write_header(at, Record { kind, coding, offset, len, size, digest, check })
    }
}

impl Drop for PackWriter {
    /// A pack that was not finished is nothing: its file goes.
    fn drop(&mut self) {
        let finished = self.state.get_mut().map_or_else(|e| e.into_inner().finished, |state| state.finished);
        if !finished {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl PackageStream<'_> {
    /// Appends the next piece.
    ///
    /// # Errors
    /// What writing the file gives.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let at = self.writer.reserve(bytes.len() as u64);
        self.writer.file.write_all_at(bytes, at)?;
        self.hasher.update(bytes);
        self.len = self.len.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Ends the package.
    ///
    /// # Errors
    /// What writing the file gives.
    pub fn finish(self) -> io::Result<Digest> {
        let digest = Digest::from_bytes(*self.hasher.finalize().as_bytes());
        let offset = self.header_at.saturating_add(HEADER_LEN);
        let (len, check) = (self.len, check_of(&digest));
        let record = Record { kind: Kind::Package, coding: Coding::Identity, offset, len, size: len, digest, check };
        self.writer.write_header(self.header_at, record)?;
        Ok(digest)
    }
}

/// Reads the headers of a pack. `None` if it is not complete, whatever the reason.
pub(super) fn scan(file: &File) -> io::Result<Option<(Trailer, Vec<Record>)>> {
    let end = file.metadata()?.len();
    let mut magic = [0; 16];
    if end < MAGIC_LEN || file.read_exact_at(&mut magic, 0).is_err() || magic != *MAGIC {
        return Ok(None);
    }
    let mut records = Vec::new();
    let mut headers = blake3::Hasher::new();
    let mut at = MAGIC_LEN;
    let mut header = [0; HEADER];
    loop {
        if at.saturating_add(HEADER_LEN) > end {
            return Ok(None);
        }
        file.read_exact_at(&mut header, at)?;
        let Some(record) = Record::from_bytes(&header) else { return Ok(None) };
        if record.offset.checked_add(record.len).is_none_or(|last| last > end) {
            return Ok(None);
        }
        let inline = at.saturating_add(HEADER_LEN);
        match record.kind {
            Kind::Span => at = inline,
            _ if record.offset != inline => return Ok(None),
            _ => at = inline.saturating_add(record.len),
        }
        if record.kind == Kind::Trailer {
            let complete = trailer(file, &record)?.filter(|trailer| {
                usize::try_from(trailer.records).is_ok_and(|count| count == records.len())
                    && trailer.headers == Digest::from_bytes(*headers.finalize().as_bytes())
            });
            return Ok(complete.map(|trailer| (trailer, records)));
        }
        headers.update(&header);
        records.push(record);
    }
}

fn trailer(file: &File, record: &Record) -> io::Result<Option<Trailer>> {
    if record.len > MAX_TRAILER {
        return Ok(None);
    }
    let bytes = read(file, record.offset, record.len)?;
    Ok(if Digest::of(&bytes) == record.digest { postcard::from_bytes(&bytes).ok() } else { None })
}

/// Reads `len` bytes at `offset`.
pub(super) fn read(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// A part of a file, as a reader.
struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl io::Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at = self.at.saturating_add(count as u64);
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

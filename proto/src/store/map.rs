//! A pack mapped into memory: the one place of the system with unsafe code.
//!
//! A node sends the plain bytes of a cut to thousands of visitors. Mapped, they go from the system's page cache straight
//! into the records of TLS, without a system call or a copy for each piece, and the system decides what stays in memory.

use std::{
    fs::File,
    io::{self, Write as _},
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use memmap2::{Mmap, UncheckedAdvice};

/// Suffix of a file that loses its name at once.
const SCRATCH: &str = "scratch.tmp";

/// A pack that is open: the file, and its bytes in memory once somebody wanted them.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: Arc<File>,
    map: Mutex<Option<Arc<Mmap>>>,
}

/// Some bytes of a mapping, which lives as long as they do.
struct Part {
    map: Arc<Mmap>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        self.map.get(self.range.clone()).unwrap_or_default()
    }
}

impl Opened {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self { file, map: Mutex::default() }
    }

    /// `len` bytes from `offset`, as they are in the file.
    ///
    /// # Errors
    /// If the system has no room for the mapping, or the file ends before them.
    pub(super) fn bytes(&self, offset: u64, len: u64) -> io::Result<Bytes> {
        let end = offset.checked_add(len).and_then(|end| usize::try_from(end).ok());
        let range = end.and_then(|end| Some(usize::try_from(offset).ok()?..end)).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut held = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        let map = match &*held {
            Some(map) if map.len() >= range.end => Arc::clone(map),
            _ => Arc::clone(held.insert(Arc::new(map(&self.file)?))),
        };
        drop(held);
        if range.end > map.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Bytes::from_owner(Part { map, range }))
    }
}

impl Opened {
    /// True if somebody wanted its bytes in memory.
    pub(super) fn is_mapped(&self) -> bool {
        self.map.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Takes the mapped pages out of this process's memory. They stay in the system's page cache while it has room, and
    /// come back when they are read.
    #[expect(unsafe_code, reason = "advice that empties a mapping has no safe form")]
    pub(super) fn relax(&self) -> io::Result<()> {
        let held = self.map.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // SAFETY: what is mapped is a file, shared and never written through the mapping, so a page that is dropped is
        // read from the file again with the same bytes.
        held.map_or(Ok(()), |map| unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) })
    }
}

/// Bytes on the disk that belong to nobody but the process that wrote them: they are gone when it ends.
#[derive(Debug)]
pub struct Scratch(File);

impl Scratch {
    /// An empty file without a name in `dir`.
    pub(super) fn create(dir: &Path, number: u64) -> io::Result<Self> {
        let path = dir.join(format!("{number}.{SCRATCH}"));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self(file))
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// All bytes, mapped.
    ///
    /// # Errors
    /// If the system has no room for the mapping.
    pub fn finish(self) -> io::Result<Bytes> {
        let map = Arc::new(map(&self.0)?);
        let range = 0..map.len();
        Ok(Bytes::from_owner(Part { map, range }))
    }
}

#[expect(unsafe_code, reason = "memory mapping has no safe form; the condition is kept by the store, see below")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the bytes must not change while they are mapped. Scratch is written before, and has no name. A pack is appended to only until it is committed, never
    // rewritten or cut, and the store's lock keeps other processes of this program away from its folder; giving a cut
    // up removes the name of its pack, and a mapped file without a name stays whole. What remains is a disk that fails
    // under the mapping: then the system ends this process (SIGBUS) instead of letting it serve something else, and at
    // the next start the cut is verified and mended.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_outlive_the_name_and_the_handle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pack");
        let mut file = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
        file.write_all(b"0123456789").unwrap();
        let opened = Opened::new(Arc::new(file));
        let early = opened.bytes(2, 3).unwrap();
        (&*opened.file).write_all(b"abc").unwrap();
        assert_eq!(opened.bytes(9, 4).unwrap(), "9abc");
        assert!(opened.bytes(12, 2).is_err() && opened.bytes(u64::MAX, 2).is_err());
        std::fs::remove_file(&path).unwrap();
        drop(opened);
        assert_eq!(early, "234");
    }

    #[test]
    fn relaxed_bytes_are_the_same() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        file.write_all(&content).unwrap();
        let opened = Opened::new(Arc::new(file));
        opened.relax().unwrap();
        let bytes = opened.bytes(5, 399_000).unwrap();
        assert_eq!(bytes, content[5..399_005]);
        opened.relax().unwrap();
        assert_eq!(bytes, content[5..399_005]);
    }

    #[test]
    fn scratch_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::create(dir.path(), 1).unwrap();
        scratch.put(b"abc").unwrap();
        scratch.put(b"def").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(scratch.finish().unwrap(), "abcdef");
        assert!(Scratch::create(dir.path(), 2).unwrap().finish().unwrap().is_empty());
    }
}

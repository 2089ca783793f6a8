//! Cuts at rest, on both sides: append-only packs, and an index that can be made anew from them.
//!
//! A cut is one pack with one fsync: its signed manifest, and its blobs as they came (or, at the coordinator, the
//! package itself with the blobs' places in it). [`Store::commit`] returns when the cut will survive a power cut.
//!
//! A node also keeps the plain bytes of each new blob, to serve from, in a second pack of the cut that is *not* waited
//! for: all in it can be decoded again from the first. It is trusted after a restart only if it was
//! [settled](Store::settle) before, or if every byte of it verifies.
//!
//! What this refuses: to list a pack that is not complete, to hand out a blob under a name that its bytes do not have
//! (when decoding; plain reads are verified when the pack is opened), and to throw away anything that was whole once:
//! damaged files are moved to `aside/`.

mod compact;
mod durable;
mod index;
mod inspect;
mod map;
mod mend;
mod name;
mod pack;
mod recover;
mod retire;
mod scrub;

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use bytes::Bytes;

pub use self::{
    compact::AtRest,
    durable::{Access, replace},
    index::Form,
    inspect::{Inspected, inspect},
    map::Scratch,
    mend::Space,
    name::{PackKind, PackName, PackNameError},
    pack::{PackWriter, PackageStream},
    scrub::{
        Damage, PackFile, Part,
        round::{Keeper, Round, Scrubbed},
    },
};
use self::{
    index::{CutPlaces, Index, Known, Place},
    map::Opened,
    pack::{Kind, Record},
};
use crate::{
    CutKey, Digest, Manifest, Signed,
    codec::{self, Coding},
};

/// Suffix of the pack of a cut.
const CUT: &str = "cut";
/// Suffix of the pack of a cut whose package is told by that of another.
const DELTA: &str = "delta";
/// Suffix of the pack of plain bytes.
const PLAIN: &str = "plain";
/// Second suffix of a plain pack that the disk may not hold yet.
const UNSETTLED: &str = "unsettled";
/// Second suffix of a pack being written.
const TMP: &str = "tmp";

/// How many patches may hang on each other before a blob counts as damaged. A night has fewer cuts than this.
const MAX_CHAIN: u32 = 4096;

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk.
    #[error("disk: {0}")]
    Io(#[from] io::Error),
    /// The index; restart to have it made anew from the packs.
    #[error("index: {0}")]
    Index(#[from] sled::Error),
    /// Bytes at rest are not what was written.
    #[error("damaged: {0}")]
    Damaged(String),
    /// No such blob.
    #[error("blob {0} is not in the store")]
    Missing(Digest),
    /// Another process uses it.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
}

/// What [`Store::open`] found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Packs that a crash left unfinished, removed: nothing in them was acknowledged.
    pub unfinished: usize,
    /// Packs that were entered into the index again.
    pub reindexed: usize,
    /// Packs of plain bytes that did not verify, removed: they will be decoded again.
    pub replaced: usize,
    /// Damaged packs, moved to `aside/`.
    pub damaged: Vec<String>,
}

/// A store in one folder, for one process. Cheap to clone; all methods block and belong on blocking threads.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    index: Index,
    files: Mutex<HashMap<u32, Arc<Opened>>>,
    names: Mutex<HashMap<u32, String>>,
    unsettled: Mutex<Vec<(PathBuf, Arc<File>)>>,
    damaged: Mutex<scrub::Found>,
    next_pack: AtomicU32,
    next_tmp: AtomicU64,
    /// Held for the life of the store, so that no second process opens it.
    _lock: File,
}

/// A blob at rest, in one form.
#[derive(Debug, Clone)]
pub struct Blob {
    pack: Arc<Opened>,
    place: Place,
}

impl Blob {
    /// Bytes at rest.
    pub fn len(&self) -> u64 {
        self.place.len
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.place.len == 0
    }

    /// Bytes once decoded.
    pub fn size(&self) -> u64 {
        self.place.size
    }

    /// How the bytes are coded.
    pub fn coding(&self) -> Coding {
        self.place.coding
    }

    /// All bytes, as they rest.
    ///
    /// # Errors
    /// What reading the file gives.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        pack::read(&self.pack.file, self.place.offset, self.place.len)
    }

    /// All bytes, as they rest, mapped and not copied: they come from the disk when they are first looked at, and stay
    /// readable when the cut is given up.
    ///
    /// # Errors
    /// If the system has no room for the mapping, or the pack is shorter than it was.
    pub fn map(&self) -> io::Result<Bytes> {
        self.pack.bytes(self.place.offset, self.place.len)
    }

    /// All bytes, as they rest, into a buffer that may have been used before.
    ///
    /// # Errors
    /// What reading the file gives.
    pub fn read_into(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.resize(usize::try_from(self.place.len).map_err(io::Error::other)?, 0);
        self.pack.file.read_exact_at(buffer, self.place.offset)
    }

    /// True if the bytes at rest are those of this digest. Reads all of them.
    ///
    /// # Errors
    /// What reading the file gives.
    pub fn is(&self, digest: &Digest) -> io::Result<bool> {
        const PIECE: u64 = 1 << 20;
        let mut hasher = blake3::Hasher::new();
        let mut piece = Vec::new();
        let mut at = 0;
        while at < self.place.len {
            piece.resize(usize::try_from(PIECE.min(self.place.len - at)).unwrap_or(0), 0);
            self.read_at(&mut piece, at)?;
            hasher.update(&piece);
            at += piece.len() as u64;
        }
        Ok(hasher.finalize().as_bytes() == digest.as_bytes())
    }

    /// Fills `buffer` from `at` bytes into the blob.
    ///
    /// # Errors
    /// What reading the file gives, or if the blob ends before the buffer.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        if at.checked_add(buffer.len() as u64).is_none_or(|end| end > self.place.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pack.file.read_exact_at(buffer, self.place.offset.saturating_add(at))
    }
}

impl Store {
    /// Opens the store in `dir`, making it if need be, and mends what a crash left.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it; otherwise only what the disk gives.
    pub fn open(dir: &Path) -> Result<(Self, Recovery), StoreError> {
        fs::create_dir_all(dir.join("packs"))?;
        let lock = File::create(dir.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => StoreError::InUse(dir.into()),
            fs::TryLockError::Error(error) => StoreError::Io(error),
        })?;
        let (index, _) = Index::open(&dir.join("index"))?;
        let store = Self(Arc::new(Inner {
            dir: dir.into(),
            index,
            files: Mutex::default(),
            names: Mutex::default(),
            unsettled: Mutex::default(),
            damaged: Mutex::default(),
            next_pack: AtomicU32::new(1),
            next_tmp: AtomicU64::new(1),
            _lock: lock,
        }));
        let recovery = store.recover()?;
        Ok((store, recovery))
    }

    /// Starts a pack. Dropped unfinished, it leaves nothing.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn begin(&self) -> Result<PackWriter, StoreError> {
        let number = self.0.next_tmp.fetch_add(1, Ordering::Relaxed);
        Ok(PackWriter::create(self.packs_dir().join(format!("{number}.{TMP}")))?)
    }

    /// Room on the disk for what can always be made again, gone with the process.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn scratch(&self) -> io::Result<Scratch> {
        Scratch::create(&self.packs_dir(), self.0.next_tmp.fetch_add(1, Ordering::Relaxed))
    }

    /// Lets go of the memory that mapped packs take in this process: a working set grows again from what is read now.
    ///
    /// # Errors
    /// What the system gives.
    pub fn relax(&self) -> io::Result<()> {
        let packs: Vec<_> = lock(&self.0.files).values().cloned().collect();
        packs.iter().try_for_each(|pack| pack.relax())
    }

    /// Makes a cut durable and visible. When this returns, the cut survives a power cut.
    ///
    /// # Errors
    /// What the disk or the index give; the cut is then not committed.
    pub fn commit(&self, pack: &PackWriter, cut: &CutKey, manifest: &Signed<Manifest>) -> Result<(), StoreError> {
        let signed = postcard::to_stdvec(manifest).map_err(|e| StoreError::Damaged(e.to_string()))?;
        pack.manifest(cut, &signed)?;
        let (records, len) = pack.finish(cut, true)?;
        let id = self.next_id();
        let name = pack_name(cut, id, CUT);
        fs::rename(pack.path(), self.packs_dir().join(&name))?;
        File::open(self.packs_dir())?.sync_all()?;
        self.enter(id, &name, pack.file(), len, cut, &records)
    }

    /// Makes the plain bytes of a cut visible, without waiting for the disk.
    ///
    /// # Errors
    /// What the disk or the index give.
    pub fn commit_plain(&self, pack: &PackWriter, cut: &CutKey) -> Result<(), StoreError> {
        let (records, len) = pack.finish(cut, false)?;
        let id = self.next_id();
        let name = pack_name(cut, id, PLAIN);
        let unsettled = self.packs_dir().join(format!("{name}.{UNSETTLED}"));
        fs::rename(pack.path(), &unsettled)?;
        self.enter(id, &name, pack.file(), len, cut, &records)?;
        lock(&self.0.unsettled).push((unsettled, pack.file()));
        Ok(())
    }

    /// Waits until the disk holds everything, the index too. Not urgent: what is lost without it is made again.
    ///
    /// # Errors
    /// What the disk or the index give.
    pub fn settle(&self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut *lock(&self.0.unsettled));
        for (path, file) in waiting {
            file.sync_data()?;
            fs::rename(&path, path.with_extension(""))?;
        }
        File::open(self.packs_dir())?.sync_all()?;
        self.0.index.flush()
    }

    /// All complete cuts, oldest first.
    ///
    /// # Errors
    /// What the index gives.
    pub fn cuts(&self) -> Result<Vec<CutKey>, StoreError> {
        self.0.index.cuts()
    }

    /// The signed manifest of a cut; `None` if the cut is not here.
    ///
    /// # Errors
    /// What the disk or the index give.
    pub fn manifest(&self, cut: &CutKey) -> Result<Option<Signed<Manifest>>, StoreError> {
        let Some(places) = self.0.index.cut(cut)? else { return Ok(None) };
        let bytes = self.open_place(places.manifest)?.read()?;
        let signed: Signed<Manifest> = postcard::from_bytes(&bytes)
            .map_err(|e| StoreError::Damaged(format!("manifest of cut {}: {e}", cut.seq)))?;
        if Digest::of(signed.bytes()) == cut.root {
            Ok(Some(signed))
        } else {
            Err(StoreError::Damaged(format!("the manifest of cut {} is another one", cut.seq)))
        }
    }

    /// The package of a cut: byte for byte, or ([`Coding::Opened`]) as it is told by that of the cut with the root `base`.
    /// `None` where packages are not kept.
    ///
    /// # Errors
    /// What the disk or the index give.
    pub fn package(&self, cut: &CutKey) -> Result<Option<Blob>, StoreError> {
        let place = self.0.index.cut(cut)?.and_then(|places| places.package);
        place.map(|place| self.open_place(place)).transpose()
    }

    /// A blob in one form, if it is here in that form.
    ///
    /// # Errors
    /// What the disk or the index give.
    pub fn blob(&self, digest: &Digest, form: Form) -> Result<Option<Blob>, StoreError> {
        let Some(place) = self.0.index.blob(digest, form)? else { return Ok(None) };
        // A place in a pack that is gone, as a crash can leave it, is no place.
        if !lock(&self.0.names).contains_key(&place.pack) {
            return Ok(None);
        }
        self.open_place(place).map(Some)
    }

    /// Forgets a form of a blob whose bytes were found damaged.
    ///
    /// # Errors
    /// What the index gives.
    pub fn forget(&self, digest: &Digest, form: Form) -> Result<(), StoreError> {
        self.0.index.forget(digest, form)
    }

    /// Forgets that a cut is complete here, because some of it was found damaged: what is whole of it stays of use.
    ///
    /// # Errors
    /// What the index gives.
    pub fn forget_cut(&self, cut: &CutKey) -> Result<(), StoreError> {
        self.0.index.forget_cut(cut)
    }

    /// The plain bytes of a blob, from whatever form is here, verified.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if no form is here, [`StoreError::Damaged`] if none gives the right bytes.
    pub fn plain(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        self.decode(digest, MAX_CHAIN)
    }

    fn decode(&self, digest: &Digest, depth: u32) -> Result<Vec<u8>, StoreError> {
        let mut found = StoreError::Missing(*digest);
        for form in [Form::Identity, Form::Deflate, Form::Zstd, Form::Patch] {
            let Some(blob) = self.blob(digest, form)? else { continue };
            let base = match blob.coding() {
                Coding::Patch { base } if depth > 0 => self.decode(&base, depth - 1).map(Some),
                Coding::Patch { .. } => Err(StoreError::Damaged("patches hang on each other in a circle".into())),
                _ => Ok(None),
            };
            let plain = base.and_then(|base| {
                codec::decode(blob.coding(), &blob.read()?, blob.size(), base.as_deref())
                    .map_err(|error| StoreError::Damaged(format!("blob {digest}: {error}")))
            });
            match plain {
                Ok(plain) if Digest::of_parallel(&plain) == *digest => return Ok(plain),
                Ok(_) => found = StoreError::Damaged(format!("the bytes of blob {digest} are others")),
                Err(error) => found = error,
            }
        }
        Err(found)
    }

    fn packs_dir(&self) -> PathBuf {
        self.0.dir.join("packs")
    }

    fn open_place(&self, place: Place) -> Result<Blob, StoreError> {
        let mut files = lock(&self.0.files);
        if let Some(pack) = files.get(&place.pack) {
            return Ok(Blob { pack: Arc::clone(pack), place });
        }
        let name = lock(&self.0.names).get(&place.pack).cloned();
        let name = name.ok_or_else(|| StoreError::Damaged(format!("pack {} is not known", place.pack)))?;
        let path = self.packs_dir().join(&name);
        let file = File::open(&path).or_else(|_| File::open(path.with_added_extension(UNSETTLED)))?;
        let pack = Arc::new(Opened::new(Arc::new(file)));
        files.insert(place.pack, Arc::clone(&pack));
        Ok(Blob { pack, place })
    }

    fn next_id(&self) -> u32 {
        self.0.next_pack.fetch_add(1, Ordering::Relaxed)
    }

    fn enter(
        &self,
        id: u32,
        name: &str,
        file: Arc<File>,
        len: u64,
        cut: &CutKey,
        records: &[Record],
    ) -> Result<(), StoreError> {
        let known = Known { id, len, cut: *cut };
        let places = CutPlaces::of(cut, id, records);
        lock(&self.0.names).insert(id, name.into());
        lock(&self.0.files).insert(id, Arc::new(Opened::new(file)));
        let blobs = records.iter().filter(|record| matches!(record.kind, Kind::Blob | Kind::Span));
        let names = lock(&self.0.names).keys().copied().collect::<std::collections::HashSet<_>>();
        self.0.index.insert(name, &known, blobs, places.as_ref(), |pack| names.contains(&pack))
    }

    fn drop_pack(&self, name: &str, id: u32) -> Result<(), StoreError> {
        lock(&self.0.names).remove(&id);
        self.0.index.remove(name, id)
    }
}

/// By name is by sequence number; the number of the pack keeps two of one cut apart.
fn pack_name(cut: &CutKey, id: u32, kind: &str) -> String {
    let root: String = cut.root.to_string().chars().take(12).collect();
    format!("{:010}-{}-{root}-{id}.{kind}", cut.seq, cut.label)
}

/// True if two packs are of one cut, by their names.
fn same_cut(a: &str, b: &str) -> bool {
    let of = |name: &str| name.rsplit_once('-').map(|(cut, _)| cut.to_owned());
    of(a).is_some() && of(a) == of(b)
}

/// The name of a pack, settled or not.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(&format!(".{UNSETTLED}")).unwrap_or(&name).to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Every critical section leaves the value whole, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

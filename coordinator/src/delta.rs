//! What goes over the wire to a node: for each blob it lacks, the cheapest form it can use.
//!
//! A file that is new, or small, goes over as the deflate stream of the package: nothing is compressed for it, and the
//! node has its gzip form at once. A large file that changed goes over as a patch against its predecessor. A delta is
//! computed once for each pair of cuts and sent to many; the patches against the cut that is served are made while the
//! package is still being inflated ([`Patches`] listens to the ingest).

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use difusor_proto::{
    CutKey, Digest, Manifest, Signed, SitePath, VerifyingKey,
    codec::{self, Coding},
    plan::{self, Need},
    store::{Form, Store, StoreError},
    wire::ItemHead,
};
use rayon::prelude::*;

use crate::ingest::{Source, Visitor};

/// Plain bytes from which on a changed file is patched. Below, its own deflate stream is about as small as a patch
/// alone would be, costs no time, and brings the gzip form with it (see the decisions table).
const WORTH_PATCHING: u64 = 256 << 10;

/// Deltas kept. Nodes hold few different cuts: the last one, the one before, or nothing.
const KEPT: usize = 4;

/// One blob in the form it travels in.
#[derive(Debug, Clone)]
pub struct Item {
    /// What goes in front of it.
    pub head: ItemHead,
    /// The coded bytes.
    pub bytes: Bytes,
}

/// All that a holder of one cut lacks for another.
#[derive(Debug, Clone)]
pub struct Delta {
    /// The blobs, largest first.
    pub items: Vec<Item>,
    /// Their coded bytes.
    pub bytes: u64,
}

/// Why a delta could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cut is not in the archive.
    #[error("cut {0} is not in the archive")]
    Unknown(u64),
    /// A patch could not be made.
    #[error("patch: {0}")]
    Codec(#[from] codec::CodecError),
    /// A manifest in the archive does not verify.
    #[error("manifest at rest: {0}")]
    Manifest(#[from] difusor_proto::sign::SignError),
}

type Pair = (Option<Digest>, Digest);
type Plains = HashMap<Digest, Arc<Vec<u8>>>;

/// The package that was taken in last, still in memory.
#[derive(Default)]
struct Fresh {
    package: Bytes,
    sources: HashMap<Digest, Source>,
    patches: HashMap<(Digest, Digest), Bytes>,
}

struct Announced {
    cut: CutKey,
    manifest: Arc<Manifest>,
    signed: Signed<Manifest>,
}

/// Makes and keeps deltas.
pub struct Deltas {
    store: Store,
    key: VerifyingKey,
    base_memory: u64,
    fresh: Mutex<Arc<Fresh>>,
    /// The cut that was signed last; it may not be in the store yet.
    announced: Mutex<Option<Announced>>,
    /// Plain bytes of the large files of the last cut.
    bases: Mutex<Arc<Plains>>,
    /// Buffers of the plain bytes that are no base any more, for the next package.
    spare: Mutex<Vec<Vec<u8>>>,
    /// One lock a pair, so that two nodes do not make the same delta twice; newest last.
    made: Mutex<VecDeque<(Pair, Slot)>>,
}

/// A delta that is made by whoever comes first, while the others wait.
type Slot = Arc<Mutex<Option<Arc<Delta>>>>;

/// Listens to an ingest and patches large files while the others are still being inflated.
pub struct Patches<'a> {
    deltas: &'a Deltas,
    before: HashMap<SitePath, Digest>,
    bases: Arc<Plains>,
    patches: Mutex<HashMap<(Digest, Digest), Bytes>>,
    plains: Mutex<Plains>,
}

impl Visitor for Patches<'_> {
    fn buffer(&self, size: usize) -> Vec<u8> {
        if size as u64 >= WORTH_PATCHING {
            let mut buffer = self.deltas.buffer(size);
            if buffer.capacity() < size {
                // Files grow a little from cut to cut: with some room to spare, the buffer fits the next one too.
                buffer = Vec::with_capacity(size.saturating_add(size / 16));
            }
            buffer
        } else {
            Vec::new()
        }
    }

    fn plain(&self, path: &SitePath, digest: Digest, plain: Arc<Vec<u8>>) {
        if (plain.len() as u64) < WORTH_PATCHING {
            return;
        }
        if let Some(base) = self.before.get(path).filter(|base| **base != digest) {
            let made = self.deltas.plain(&self.bases, base).and_then(|old| Ok(codec::patch(&old, &plain)?));
            match made {
                Ok(patch) => drop(lock(&self.patches).insert((*base, digest), patch.into())),
                Err(error) => tracing::warn!(%path, %error, "no patch: the file will go over whole"),
            }
        }
        let mut plains = lock(&self.plains);
        let held: usize = plains.values().map(|plain| plain.len()).sum();
        if (held + plain.len()) as u64 <= self.deltas.base_memory {
            plains.insert(digest, plain);
        }
    }
}

impl Deltas {
    /// Deltas between the cuts in `store`.
    pub fn new(store: Store, key: VerifyingKey, base_memory: u64) -> Self {
        let (fresh, announced, bases, spare, made) = Default::default();
        Self { store, key, base_memory, fresh, announced, bases, spare, made }
    }

    /// A listener for the ingest of the cut that will follow `base`.
    pub fn listen(&self, base: Option<&Manifest>) -> Patches<'_> {
        let entries = base.map(|m| m.entries.as_slice()).unwrap_or_default();
        Patches {
            deltas: self,
            before: entries.iter().map(|entry| (entry.path.clone(), entry.digest)).collect(),
            bases: Arc::clone(&lock(&self.bases)),
            patches: Mutex::default(),
            plains: Mutex::default(),
        }
    }

    /// Takes over what a listener heard of a package that was accepted.
    pub fn accept(&self, package: Bytes, sources: Vec<Source>, patches: Patches<'_>) {
        let Patches { patches, plains, bases, .. } = patches;
        drop(bases);
        let into = |error: PoisonError<HashMap<_, _>>| error.into_inner();
        let patches = patches.into_inner().unwrap_or_else(into);
        let sources = sources.into_iter().map(|source| (source.digest, source)).collect();
        *lock(&self.fresh) = Arc::new(Fresh { package, sources, patches });
        let plains = Arc::new(plains.into_inner().unwrap_or_else(PoisonError::into_inner));
        let old = std::mem::replace(&mut *lock(&self.bases), plains);
        // A base that is still being read is freed by its last reader instead.
        let free = Arc::try_unwrap(old).map(HashMap::into_values).into_iter().flatten();
        *lock(&self.spare) = free.filter_map(|plain| Arc::try_unwrap(plain).ok()).collect();
    }

    /// A spare buffer with room for `size` bytes, the smallest that fits.
    fn buffer(&self, size: usize) -> Vec<u8> {
        let mut spare = lock(&self.spare);
        let fits =
            (0..spare.len()).filter_map(|i| Some((spare.get(i)?.capacity(), i))).filter(|(room, _)| *room >= size);
        let best = fits.min().map(|(_, i)| i);
        best.map(|i| spare.swap_remove(i)).unwrap_or_default()
    }

    /// Makes a cut known before it is in the store.
    pub fn announce(&self, cut: CutKey, manifest: Manifest, signed: Signed<Manifest>) {
        *lock(&self.announced) = Some(Announced { cut, manifest: Arc::new(manifest), signed });
    }

    /// What a holder of `base` lacks for `target`. Blocks, on all cores.
    ///
    /// # Errors
    /// [`DeltaError`] if either cut is not whole in the archive.
    pub fn between(&self, base: Option<&CutKey>, target: &CutKey) -> Result<Arc<Delta>, DeltaError> {
        let pair = (base.map(|base| base.root), target.root);
        let slot = {
            let mut made = lock(&self.made);
            let found = made.iter().find(|(known, _)| *known == pair).map(|(_, slot)| Arc::clone(slot));
            found.unwrap_or_else(|| {
                let slot = Arc::default();
                made.push_back((pair, Arc::clone(&slot)));
                if made.len() > KEPT {
                    made.pop_front();
                }
                slot
            })
        };
        let mut slot = lock(&slot);
        if let Some(delta) = slot.as_ref() {
            return Ok(Arc::clone(delta));
        }
        let base = base.map(|base| self.manifest(base)).transpose()?;
        let manifest = self.manifest(target)?;
        let needs = plan::needs(base.as_deref(), &manifest);
        let items = needs.par_iter().map(|need| self.item(need)).collect::<Result<Vec<_>, _>>()?;
        let bytes = items.iter().map(|item| item.head.len).sum();
        let delta = Arc::new(Delta { items, bytes });
        *slot = Some(Arc::clone(&delta));
        Ok(delta)
    }

    /// Blobs of `manifest` that a node asked for again, whole: whatever was wrong with a patch cannot be wrong again.
    ///
    /// # Errors
    /// [`DeltaError`] if one is not in the archive.
    pub fn again(&self, cut: &CutKey, digests: &[Digest]) -> Result<Delta, DeltaError> {
        let manifest = self.manifest(cut)?;
        let digests: HashSet<_> = digests.iter().collect();
        let wanted = |need: &Need<'_>| digests.contains(&need.entry.digest);
        let needs = plan::needs(None, &manifest).into_iter().filter(wanted);
        let items: Vec<_> = needs.map(|need| self.item(&need)).collect::<Result<_, _>>()?;
        let bytes = items.iter().map(|item| item.head.len).sum();
        Ok(Delta { items, bytes })
    }

    /// The manifest of a cut.
    ///
    /// # Errors
    /// [`DeltaError::Unknown`] if it is not in the archive.
    pub fn manifest(&self, cut: &CutKey) -> Result<Arc<Manifest>, DeltaError> {
        if let Some(known) = lock(&self.announced).as_ref().filter(|known| known.cut == *cut) {
            return Ok(Arc::clone(&known.manifest));
        }
        Ok(Arc::new(self.signed(cut)?.open(&self.key)?))
    }

    /// The signed manifest of a cut.
    ///
    /// # Errors
    /// [`DeltaError::Unknown`] if it is not in the archive.
    pub fn signed(&self, cut: &CutKey) -> Result<Signed<Manifest>, DeltaError> {
        if let Some(known) = lock(&self.announced).as_ref().filter(|known| known.cut == *cut) {
            return Ok(known.signed.clone());
        }
        self.store.manifest(cut)?.ok_or(DeltaError::Unknown(cut.seq))
    }

    fn item(&self, need: &Need<'_>) -> Result<Item, DeltaError> {
        let digest = need.entry.digest;
        let (coding, whole) = self.whole(&digest)?;
        if let Some((base, _)) = need.predecessor.filter(|_| need.entry.size >= WORTH_PATCHING) {
            let patch = self.patch(base, digest)?;
            // A patch costs the gzip form, so it has to be clearly smaller.
            if patch.len() < whole.len() / 2 {
                return Ok(item(digest, Coding::Patch { base }, patch));
            }
        }
        if coding == Coding::Identity {
            let frame = codec::compress(&whole)?;
            if frame.len() < whole.len() {
                return Ok(item(digest, Coding::Zstd, frame.into()));
            }
        }
        Ok(item(digest, coding, whole))
    }

    /// A blob as it lies in its package.
    fn whole(&self, digest: &Digest) -> Result<(Coding, Bytes), DeltaError> {
        let fresh = Arc::clone(&lock(&self.fresh));
        if let Some(source) = fresh.sources.get(digest) {
            let range = usize::try_from(source.at).ok().zip(usize::try_from(source.at + source.len).ok());
            if let Some((from, to)) = range.filter(|(_, to)| *to <= fresh.package.len()) {
                return Ok((source.coding, fresh.package.slice(from..to)));
            }
        }
        for form in [Form::Deflate, Form::Identity] {
            if let Some(blob) = self.store.blob(digest, form)? {
                return Ok((blob.coding(), blob.read().map_err(StoreError::Io)?.into()));
            }
        }
        Err(StoreError::Missing(*digest).into())
    }

    fn patch(&self, base: Digest, target: Digest) -> Result<Bytes, DeltaError> {
        let fresh = Arc::clone(&lock(&self.fresh));
        if let Some(patch) = fresh.patches.get(&(base, target)) {
            return Ok(patch.clone());
        }
        let bases = Arc::clone(&lock(&self.bases));
        let (old, new) = (self.plain(&bases, &base)?, self.plain(&bases, &target)?);
        Ok(codec::patch(&old, &new)?.into())
    }

    fn plain(&self, bases: &Plains, digest: &Digest) -> Result<Arc<Vec<u8>>, DeltaError> {
        match bases.get(digest) {
            Some(plain) => Ok(Arc::clone(plain)),
            None => Ok(Arc::new(self.store.plain(digest)?)),
        }
    }
}

fn item(digest: Digest, coding: Coding, bytes: Bytes) -> Item {
    Item { head: ItemHead { digest, coding, len: bytes.len() as u64 }, bytes }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is replaced whole, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

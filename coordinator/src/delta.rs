//! What goes over the wire to a node: for each blob it lacks, the cheapest form it can use.
//!
//! A file that is new, or small, goes over as the deflate stream of the package: nothing is compressed for it, and the
//! node has its gzip form at once. A large file that changed goes over as a patch against its predecessor, and an
//! archive, on a link that is slower than both ends, by what changed inside it; on a link that is slower still, small
//! files go over in bundles of what changed in all of them. A delta is computed once for each pair of cuts and sent to many; the patches against the cut that is served are made while the
//! package is still being inflated ([`Patches`] listens to the ingest).

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use bytes::Bytes;
use difusor_proto::{
    CutKey, Digest, Manifest, Signed, SitePath, VerifyingKey,
    bundle::{self, BundleError, MAX_BUNDLE, Packed},
    codec::{self, Coding, Level},
    deflate::{self, Old, Params},
    opened::{self, OpenedError, Streams},
    plan::{self, Need},
    store::{Form, Store, StoreError},
    wire::{ItemHead, List},
};
use rayon::prelude::*;

use crate::ingest::{self, Caps, Source, Visitor};

/// Plain bytes from which on a changed file is patched. Below, its own deflate stream is about as small as a patch
/// alone would be, costs no time, and brings the gzip form with it (see the decisions table).
const WORTH_PATCHING: u64 = 256 << 10;

/// Deltas kept. Nodes hold few different cuts: the last one, the one before, or nothing.
const KEPT: usize = 4;

/// Bytes a second at which archives are opened until it was measured: two cores of a cloud machine.
const OPENING: u64 = 20_000_000;

/// Bytes a second that bundles save, over the time that it takes to make them, until that was measured: two cores of a
/// cloud machine. Every stream is searched anew there, so it is an order of magnitude below [`OPENING`].
const BUNDLING: u64 = 1_700_000;

/// How much is done for a delta; what the link to a node asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Archives and small files go over as they are: the link is faster than taking them apart here and putting them
    /// together there.
    Whole,
    /// Archives go over by what changed inside them, small files as they are.
    Opened,
    /// Archives go over by what changed inside them, small files by what changed in all of them.
    Apart,
}

/// Plain bytes of a file up to which it may go into a bundle; larger ones have patches of their own, so that several
/// cores work on them.
const BUNDLED: u64 = 4 << 20;

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
    /// The signed list of the cut, by that of the other; absent where only blobs were asked for.
    pub list: Option<List>,
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
    /// An archive could not be opened.
    #[error("archive: {0}")]
    Opened(#[from] OpenedError),
    /// Small files could not be put together.
    #[error("bundle: {0}")]
    Bundle(#[from] BundleError),
    /// A manifest in the archive does not verify.
    #[error("manifest at rest: {0}")]
    Manifest(#[from] difusor_proto::sign::SignError),
}

type Pair = (Option<Digest>, Digest, Effort);
/// A recipe, and plain bytes before and after.
type Bundled = (deflate::Recipe, Arc<Vec<u8>>, Vec<u8>);
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
    /// Bytes of archives a second that were opened last.
    opening: AtomicU64,
    /// Bytes a second that bundles saved last.
    bundling: AtomicU64,
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
            let made =
                self.deltas.plain(&self.bases, base).and_then(|old| Ok(codec::patch(&old, &plain, Level::Fast)?));
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
        Self {
            store,
            key,
            base_memory,
            fresh,
            announced,
            bases,
            spare,
            made,
            opening: OPENING.into(),
            bundling: BUNDLING.into(),
        }
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

    /// With what a node has a cut the soonest, over a link of so many bytes a second.
    pub fn effort(&self, rate: u64) -> Effort {
        sooner(rate, self.opening.load(Relaxed), self.bundling.load(Relaxed))
    }

    /// What a holder of `base` lacks for `target`. Blocks, on all cores.
    ///
    /// # Errors
    /// [`DeltaError`] if either cut is not whole in the archive.
    pub fn between(&self, base: Option<&CutKey>, target: &CutKey, effort: Effort) -> Result<Arc<Delta>, DeltaError> {
        let pair = (base.map(|base| base.root), target.root, effort);
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
        // One that is not in the store yet is in memory.
        let coding = base.map(|base| self.store.package(base)).transpose()?.flatten().map(|package| package.coding());
        let is_here = !matches!(coding, Some(Coding::Opened { .. }));
        let list = self.list(base, target)?;
        let base = base.map(|base| self.manifest(base)).transpose()?;
        let manifest = self.manifest(target)?;
        let mut needs = plan::needs(base.as_deref(), &manifest);
        if !is_here {
            // The files of an old cut are not at hand any more: whatever is told by them goes over as it is.
            needs.iter_mut().for_each(|need| need.predecessor = None);
        }
        let bundles = match (base.as_deref(), &pair.0) {
            (Some(base), Some(root)) if effort == Effort::Apart && is_here => {
                self.bundles(*root, base, &manifest, &mut needs)?
            }
            _ => Vec::new(),
        };
        let items = needs.par_iter().map(|need| self.item(need, effort)).collect::<Result<Vec<_>, _>>()?;
        let items: Vec<_> = bundles.into_iter().chain(items).collect();
        let bytes = items.iter().map(|item| item.head.len).sum();
        let delta = Arc::new(Delta { list: Some(list), items, bytes });
        *slot = Some(Arc::clone(&delta));
        Ok(delta)
    }

    /// The signed list of a cut, as it goes over to a holder of `base`.
    fn list(&self, base: Option<&CutKey>, target: &CutKey) -> Result<List, DeltaError> {
        let signed = self.signed(target)?;
        let Some(base) = base else { return Ok(List::whole(&signed)?) };
        let base = self.signed(base)?;
        Ok(List::since(&base, &signed)?)
    }

    /// Blobs of a cut that a node asked for again, whole: whatever was wrong with a patch cannot be wrong again. The root
    /// stands for the list, which the disk of a node may have spoiled too.
    ///
    /// # Errors
    /// [`DeltaError`] if one is not in the archive.
    pub fn again(&self, cut: &CutKey, digests: &[Digest]) -> Result<Delta, DeltaError> {
        let manifest = self.manifest(cut)?;
        let digests: HashSet<_> = digests.iter().collect();
        let wanted = |need: &Need<'_>| digests.contains(&need.entry.digest);
        let needs = plan::needs(None, &manifest).into_iter().filter(wanted);
        let items: Vec<_> = needs.map(|need| self.item(&need, Effort::Whole)).collect::<Result<_, _>>()?;
        let bytes = items.iter().map(|item| item.head.len).sum();
        let list = digests.contains(&cut.root).then(|| List::whole(&self.signed(cut)?).map_err(DeltaError::from));
        Ok(Delta { list: list.transpose()?, items, bytes })
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

    fn item(&self, need: &Need<'_>, effort: Effort) -> Result<Item, DeltaError> {
        let digest = need.entry.digest;
        let (coding, whole) = self.whole(&digest)?;
        if !need.entry.members.is_empty() {
            let predecessor = need.predecessor.filter(|_| effort != Effort::Whole);
            if let Some((base, _)) = predecessor {
                match self.opened(base, need, coding, &whole) {
                    Ok(opened) if opened.len() < whole.len() / 2 => {
                        return Ok(item(digest, Coding::Opened { base }, opened.into()));
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(path = %need.entry.path, %error, "an archive goes over whole"),
                }
            }
            return Ok(item(digest, coding, whole));
        }
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

    /// Takes small files that changed out of `needs`, and puts them into bundles.
    fn bundles(
        &self,
        root: Digest,
        base: &Manifest,
        target: &Manifest,
        needs: &mut Vec<Need<'_>>,
    ) -> Result<Vec<Item>, DeltaError> {
        let place = |manifest: &Manifest, path: &str| {
            let found = manifest.entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok();
            found.and_then(|at| u32::try_from(at).ok())
        };
        let mut places = HashMap::new();
        for need in needs.iter().filter(|need| need.entry.size <= BUNDLED && need.entry.members.is_empty()) {
            let path = need.entry.path.as_str();
            // Not a file that was stored: it has no stream, and nobody compresses what needs none.
            if need.entry.deflated.is_some()
                && let Some(before) = base.entry(path).filter(|before| before.size <= BUNDLED)
                && let Some(place) = place(target, path).zip(place(base, path))
            {
                places.insert(need.entry.digest, (place, before.digest));
            }
        }
        let started = Instant::now();
        let bases = Arc::clone(&lock(&self.bases));
        let made = needs.par_iter().filter_map(|need| {
            let ((entry, before), base) = *places.get(&need.entry.digest)?;
            Some(self.bundled(&bases, need, base).map(|made| {
                made.map(|(recipe, old, new)| (need.entry.digest, Packed { entry, before, recipe }, old, new))
            }))
        });
        let mut made: Vec<_> = made.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        // Neighbours are alike.
        made.sort_by_key(|(_, packed, ..)| packed.entry);
        let mut items = Vec::new();
        let (mut files, mut old, mut new) = (Vec::new(), Vec::new(), Vec::new());
        let mut bundle = |files: &mut Vec<Packed>, old: &mut Vec<u8>, new: &mut Vec<u8>| {
            if !files.is_empty() {
                let bytes = bundle::pack(root, std::mem::take(files), old, new)?;
                items.push(item(Digest::of(&bytes), Coding::Bundle, bytes.into()));
                old.clear();
                new.clear();
            }
            Ok::<_, DeltaError>(())
        };
        let mut taken = HashSet::new();
        for (digest, packed, before, after) in made {
            if (old.len() + before.len()).max(new.len() + after.len()) as u64 > MAX_BUNDLE {
                bundle(&mut files, &mut old, &mut new)?;
            }
            files.push(packed);
            old.extend_from_slice(&before);
            new.extend_from_slice(&after);
            taken.insert(digest);
        }
        bundle(&mut files, &mut old, &mut new)?;
        let streams = |need: &Need<'_>| need.entry.deflated.as_ref().map_or(0, |stream| stream.len);
        let whole: u64 = needs.iter().filter(|need| taken.contains(&need.entry.digest)).map(streams).sum();
        let saved = whole.saturating_sub(items.iter().map(|item| item.head.len).sum());
        // Of less, the time says nothing.
        if whole >= WORTH_PATCHING {
            self.bundling.store(per_second(saved, started), Relaxed);
        }
        needs.retain(|need| !taken.contains(&need.entry.digest));
        Ok(items)
    }

    /// A small file for a bundle: how its stream is made, and the plain bytes before and after. `None` if its stream is
    /// nothing that zlib makes: it goes over as it is then.
    fn bundled(&self, bases: &Plains, need: &Need<'_>, base: Digest) -> Result<Option<Bundled>, DeltaError> {
        let (Coding::Deflate, stream) = self.whole(&need.entry.digest)? else { return Ok(None) };
        let new = codec::inflate(&stream, need.entry.size)?;
        let old = self.plain(bases, &base)?;
        let described = deflate::guess(&stream, &new, Params::default())
            .and_then(|params| deflate::describe(&stream, &new, params, None::<Old<'_>>));
        Ok(described.ok().filter(|recipe| recipe.corrections() * 16 <= stream.len()).map(|recipe| (recipe, old, new)))
    }

    /// An archive by what changed inside it. `whole` is how it lies in its package.
    fn opened(&self, base: Digest, need: &Need<'_>, coding: Coding, whole: &[u8]) -> Result<Vec<u8>, DeltaError> {
        let bases = Arc::clone(&lock(&self.bases));
        let old = self.plain(&bases, &base)?;
        let new = match bases.get(&need.entry.digest) {
            Some(plain) => Arc::clone(plain),
            None => Arc::new(codec::decode(coding, whole, need.entry.size, None)?),
        };
        let started = Instant::now();
        let caps = Caps::default();
        let (held, members) = (ingest::streams(&old, &caps), ingest::streams(&new, &caps));
        let opened = opened::encode(&old, &held, &new, &members, Streams::Follow)?;
        if new.len() as u64 >= WORTH_PATCHING {
            self.opening.store(per_second(new.len() as u64, started), Relaxed);
        }
        Ok(opened)
    }

    fn patch(&self, base: Digest, target: Digest) -> Result<Bytes, DeltaError> {
        let fresh = Arc::clone(&lock(&self.fresh));
        if let Some(patch) = fresh.patches.get(&(base, target)) {
            return Ok(patch.clone());
        }
        let bases = Arc::clone(&lock(&self.bases));
        let (old, new) = (self.plain(&bases, &base)?, self.plain(&bases, &target)?);
        Ok(codec::patch(&old, &new, Level::Fast)?.into())
    }

    fn plain(&self, bases: &Plains, digest: &Digest) -> Result<Arc<Vec<u8>>, DeltaError> {
        match bases.get(digest) {
            Some(plain) => Ok(Arc::clone(plain)),
            None => Ok(Arc::new(self.store.plain(digest)?)),
        }
    }
}

/// What is there sooner over a link of so many bytes a second: an archive, or what is left of it once it was opened here
/// and closed there, which takes about the same time each; and small files, or bundles of them, likewise.
fn sooner(link: u64, opening: u64, bundling: u64) -> Effort {
    if link >= opening / 2 {
        Effort::Whole
    } else if link >= bundling / 2 {
        Effort::Opened
    } else {
        Effort::Apart
    }
}

/// Bytes a second since then.
fn per_second(bytes: u64, started: Instant) -> u64 {
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1_000_000) / micros
}

fn item(digest: Digest, coding: Coding, bytes: Bytes) -> Item {
    Item { head: ItemHead { digest, coding, len: bytes.len() as u64 }, bytes }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is replaced whole, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_opened_where_links_are_slow() {
        let cases =
            [(0, Effort::Apart), (500_000, Effort::Apart), (6_250_000, Effort::Opened), (125_000_000, Effort::Whole)];
        for (link, expected) in cases {
            assert_eq!(sooner(link, OPENING, BUNDLING), expected, "{link}");
        }
        // A machine that opens slowly does not, over the same link; one that bundles fast does.
        assert_eq!(sooner(6_250_000, 10_000_000, BUNDLING), Effort::Whole);
        assert_eq!(sooner(6_250_000, OPENING, 15_000_000), Effort::Apart);
    }
}

//! From a delta stream to a complete cut on disk.
//!
//! Every blob is decoded and digested before a byte of it is written; what does not verify is left out and asked for
//! again. Nothing of a cut is visible before all of it is: blobs go into packs that count only once they are finished.
//! Several blobs are worked on at once, within a budget of memory.

mod mending;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use difusor_proto::{
    CutKey, Digest, Entry, Manifest, Signed,
    bundle::{Bundle, MAX_BUNDLE},
    codec::{self, Coding},
    deflate,
    limits::MAX_ITEM_HEAD,
    opened,
    store::{Form, PackWriter, Store, StoreError},
    wire::{self, CloseCode, DeltaHead, ItemHead, List},
};
use rayon::prelude::*;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::{OwnedRwLockReadGuard, Semaphore},
};

/// The budget of memory is counted in units of this many bytes, for the semaphore.
const UNIT: u64 = 64 << 10;

/// Bytes by which a coded blob may exceed its plain size: frames of what cannot be compressed.
const SLACK: u64 = 4096;

/// Plain bytes of the members of an archive that are in memory at once, in sizes of the archive: two large ones and their
/// predecessors, which deflate to a quarter.
const MEMBERS: u64 = 6;

/// Why a delta stream ended early.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The other side broke the rules: the connection has to be closed with this code.
    #[error("{}: {detail}", code.name())]
    Rules {
        /// What for.
        code: CloseCode,
        /// What happened.
        detail: String,
    },
    /// The connection broke.
    #[error("the stream broke: {0}")]
    Broken(String),
    /// This machine cannot take the cut.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StageError {
    fn rules(code: CloseCode, detail: impl ToString) -> Self {
        Self::Rules { code, detail: detail.to_string() }
    }
}

impl From<wire::FrameError> for StageError {
    fn from(error: wire::FrameError) -> Self {
        match error.close_code() {
            Some(code) => Self::rules(code, error),
            None => Self::Broken(error.to_string()),
        }
    }
}

/// Blobs are handed to a thread together until they need this much memory: some milliseconds of work.
const BATCH: u64 = 2 << 20;

/// Buffers of at least this many bytes are kept for the next blob: below, the allocator is as fast.
const WORTH_KEEPING: usize = 1 << 20;

/// Memory for blobs that are being decoded, shared by all streams.
///
/// Large buffers are used again, since most of the time of a large blob goes into memory that the system has to clear
/// first. There are never more of them than the budget allowed at once.
#[derive(Debug, Clone)]
pub struct Budget {
    permits: Arc<Semaphore>,
    units: u32,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX >> 4).max(1);
        Self { permits: Arc::new(Semaphore::new(units as usize)), units, spare: Arc::default() }
    }

    /// A buffer with room for `size` bytes, with anything in it.
    fn buffer(&self, size: u64) -> Vec<u8> {
        let size = usize::try_from(size).unwrap_or(0);
        let mut spare = lock(&self.spare);
        if size < WORTH_KEEPING {
            return Vec::new();
        }
        if let Some(at) = spare.iter().position(|buffer| buffer.capacity() >= size) {
            return spare.swap_remove(at);
        }
        // Files grow from cut to cut. One that became too small makes room for its successor, which has some to spare.
        spare.pop();
        Vec::with_capacity(size.saturating_add(size / 16))
    }

    /// Takes a buffer back, if it is worth it and the budget has room for it.
    fn give(&self, buffer: Vec<u8>) {
        let mut spare = lock(&self.spare);
        let kept: usize = spare.iter().map(Vec::capacity).sum();
        let room = u64::from(self.units).saturating_mul(UNIT);
        if buffer.capacity() >= WORTH_KEEPING && (kept + buffer.capacity()) as u64 <= room {
            spare.push(buffer);
        }
    }

    /// Waits for `bytes`; who needs more than there is waits until it is alone.
    async fn take(&self, bytes: u64) -> Result<tokio::sync::OwnedSemaphorePermit, StageError> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units);
        let permit = Arc::clone(&self.permits).acquire_many_owned(units).await;
        permit.map_err(|_| StageError::Broken("the node is ending".into()))
    }
}

/// One blob that came and waits to be decoded.
struct Job {
    entry: Entry,
    item: ItemHead,
    coded: Vec<u8>,
    /// Its share of the budget of memory.
    _permit: tokio::sync::OwnedSemaphorePermit,
}

/// Decodes blobs on as many threads as there are cores, small ones by the batch: a thread for each of a thousand small
/// files would cost more than the files.
struct Workers<'a> {
    stage: &'a Arc<Stage>,
    budget: &'a Budget,
    running: tokio::task::JoinSet<Result<(), StageError>>,
    batch: Vec<Job>,
    /// Memory that the batch needs.
    bytes: u64,
}

impl Workers<'_> {
    async fn add(&mut self, job: Job, bytes: u64) -> Result<(), StageError> {
        self.batch.push(job);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= BATCH { self.start().await } else { Ok(()) }
    }

    /// Hands the batch to a thread, once one is free.
    async fn start(&mut self) -> Result<(), StageError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        while self.running.len() >= cores {
            self.join().await?;
        }
        let (jobs, stage, budget) = (std::mem::take(&mut self.batch), Arc::clone(self.stage), self.budget.clone());
        self.bytes = 0;
        self.running.spawn_blocking(move || {
            jobs.into_iter().try_for_each(|job| stage.keep(&job.entry, job.item, &job.coded, &budget))
        });
        Ok(())
    }

    async fn join(&mut self) -> Result<(), StageError> {
        match self.running.join_next().await {
            Some(done) => done.map_err(|error| StageError::Broken(error.to_string()))?,
            None => Ok(()),
        }
    }

    async fn finish(mut self) -> Result<(), StageError> {
        self.start().await?;
        while !self.running.is_empty() {
            self.join().await?;
        }
        Ok(())
    }
}

/// A cut that is being completed.
pub struct Stage {
    store: Store,
    /// The cut.
    pub cut: CutKey,
    /// Its signed manifest.
    pub signed: Signed<Manifest>,
    /// The same, read.
    pub manifest: Arc<Manifest>,
    /// The blobs as they come.
    pack: PackWriter,
    /// Their plain bytes.
    plain: PackWriter,
    /// True if the cut is here, and some of it has to be made whole again.
    mends: bool,
    /// What it was begun for, if the cut is here.
    asked: HashSet<Digest>,
    /// Blobs that are still missing.
    missing: Mutex<HashMap<Digest, Entry>>,
    /// Plain bytes that were missing at first.
    lacked: u64,
    /// When the first byte of it was here.
    since: Instant,
    received: Mutex<u64>,
    repairs: Mutex<u32>,
    /// Keeps the packs of older cuts, of which this one counts on blobs.
    _custody: OwnedRwLockReadGuard<()>,
}

impl Stage {
    /// Begins with a cut whose manifest was verified. While `custody` is held, no pack is deleted. Blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin(
        store: &Store,
        cut: CutKey,
        signed: Signed<Manifest>,
        manifest: Manifest,
        custody: OwnedRwLockReadGuard<()>,
    ) -> Result<Self, StoreError> {
        let (pack, plain) = (store.begin()?, store.begin()?);
        let mut missing = HashMap::new();
        let mut seen = HashSet::new();
        for entry in manifest.entries.iter().filter(|entry| seen.insert(entry.digest)) {
            if store.blob(&entry.digest, Form::Identity)?.is_some() {
                continue;
            }
            // Its plain bytes were lost in a crash, or never made: they are made from what is here.
            match store.plain(&entry.digest) {
                Ok(bytes) => plain.blob(entry.digest, Coding::Identity, entry.size, &bytes)?,
                Err(StoreError::Missing(_) | StoreError::Damaged(_)) => {
                    missing.insert(entry.digest, entry.clone());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            store: store.clone(),
            cut,
            received: Mutex::default(),
            signed,
            manifest: Arc::new(manifest),
            pack,
            plain,
            mends: false,
            asked: HashSet::new(),
            lacked: missing.values().map(|entry| entry.size).sum(),
            missing: Mutex::new(missing),
            since: Instant::now(),
            repairs: Mutex::new(0),
            _custody: custody,
        })
    }

    /// Room that it takes at most, in bytes: what comes, and the plain bytes of it.
    pub fn room(&self) -> u64 {
        self.lacked.saturating_mul(2)
    }

    /// When it was begun.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Takes in the blobs of one stream. What does not verify stays missing.
    ///
    /// # Errors
    /// [`StageError`] if the stream broke, or broke the rules.
    pub async fn take(
        self: &Arc<Self>,
        stream: &mut (impl AsyncRead + Unpin),
        head: &DeltaHead,
        budget: &Budget,
    ) -> Result<(), StageError> {
        *lock(&self.received) += head.list.as_ref().map_or(0, List::bytes);
        let mut work =
            Workers { stage: self, budget, running: tokio::task::JoinSet::new(), batch: Vec::new(), bytes: 0 };
        for _ in 0..head.items {
            // A stream that ends early brought too little: what is missing is asked for.
            let Some(item) = wire::read_frame::<ItemHead>(stream, MAX_ITEM_HEAD).await? else { break };
            if item.coding == Coding::Bundle {
                work.start().await?;
                self.bundle(stream, item, budget).await?;
                continue;
            }
            let entry = lock(&self.missing).get(&item.digest).cloned();
            let size = entry.as_ref().map(|entry| entry.size);
            let most = size.or_else(|| self.size_of(&item.digest)).map_or(0, |size| size.saturating_add(SLACK));
            if item.len > most {
                let detail = format!("{} bytes for blob {} of at most {most}", item.len, item.digest);
                return Err(StageError::rules(CloseCode::Oversize, detail));
            }
            let base = match item.coding {
                Coding::Patch { base } | Coding::Opened { base } => self.base_size(base).await?,
                _ => 0,
            };
            let plain = match item.coding {
                // The members of the archive and of its predecessor, as far as they are known before.
                Coding::Opened { .. } => size.unwrap_or(0).saturating_mul(MEMBERS),
                _ => 0,
            };
            let needed = item.len.saturating_add(size.unwrap_or(0)).saturating_add(base).saturating_add(plain);
            if needed > BATCH {
                // What waits in the batch holds some of the budget: it goes first.
                work.start().await?;
            }
            let permit = budget.take(needed).await?;
            let length = usize::try_from(item.len).map_err(|e| StageError::rules(CloseCode::Oversize, e))?;
            let mut coded = vec![0; length];
            stream.read_exact(&mut coded).await.map_err(|error| StageError::Broken(error.to_string()))?;
            *lock(&self.received) += item.len;
            if let Some(entry) = entry {
                work.add(Job { entry, item, coded, _permit: permit }, needed).await?;
            }
        }
        work.finish().await
    }

    /// Takes in a bundle of small files. Those that do not verify stay missing.
    async fn bundle(
        self: &Arc<Self>,
        stream: &mut (impl AsyncRead + Unpin),
        item: ItemHead,
        budget: &Budget,
    ) -> Result<(), StageError> {
        if item.len > MAX_BUNDLE {
            return Err(StageError::rules(CloseCode::Oversize, format!("{} bytes for a bundle", item.len)));
        }
        let missing: u64 = lock(&self.missing).values().map(|entry| entry.size).sum();
        let _permit = budget.take(item.len.saturating_add(2 * missing.min(MAX_BUNDLE))).await?;
        let mut coded = vec![0; usize::try_from(item.len).map_err(|e| StageError::rules(CloseCode::Oversize, e))?];
        stream.read_exact(&mut coded).await.map_err(|error| StageError::Broken(error.to_string()))?;
        *lock(&self.received) += item.len;
        let stage = Arc::clone(self);
        let kept = tokio::task::spawn_blocking(move || stage.unpack(&coded)).await;
        kept.map_err(|error| StageError::Broken(error.to_string()))?
    }

    /// Unpacks, verifies and writes the files of a bundle.
    fn unpack(&self, coded: &[u8]) -> Result<(), StageError> {
        let wrong = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, "a bundle does not unpack");
            Ok(())
        };
        let bundle = match Bundle::read(coded) {
            Ok(bundle) => bundle,
            Err(error) => return wrong(&error),
        };
        let Some(base) = self.manifest_of(bundle.base())? else { return wrong(&"the cut before is not here") };
        let files = match bundle.files(&self.manifest, &base) {
            Ok(files) => files,
            Err(error) => return wrong(&error),
        };
        let mut old = Vec::new();
        for (_, _, before) in &files {
            let Some(blob) = self.store.blob(&before.digest, Form::Identity)? else {
                return wrong(&"a file of the cut before is not here");
            };
            old.extend(blob.read().map_err(StoreError::Io)?);
        }
        let size = files.iter().map(|(_, entry, _)| entry.size).sum();
        let plain = match bundle.unpack(&old, size) {
            Ok(plain) => plain,
            Err(error) => return wrong(&error),
        };
        drop(old);
        let mut rest = plain.as_slice();
        let mut cut = |entry: &Entry| usize::try_from(entry.size).ok().and_then(|len| rest.split_off(..len));
        let files = files.into_iter().map(|(packed, entry, _)| (packed, entry, cut(entry).unwrap_or_default()));
        let files: Vec<_> = files.collect();
        files.par_iter().try_for_each(|(packed, entry, plain)| {
            let is_wanted = lock(&self.missing).contains_key(&entry.digest);
            if !is_wanted || Digest::of(plain) != entry.digest {
                return Ok(());
            }
            // Browsers are handed the stream itself: it has to be one, and of these bytes.
            let stream = deflate::rebuild(plain, &packed.recipe, None).ok();
            let stream = stream.filter(|stream| codec::inflate(stream, entry.size).is_ok_and(|back| back == **plain));
            let Some(stream) = stream else { return Ok(()) };
            self.write(entry, Coding::Deflate, &stream, plain)
        })?;
        Ok(())
    }

    /// The list of a cut that is here.
    fn manifest_of(&self, root: &Digest) -> Result<Option<Manifest>, StoreError> {
        let Some(cut) = self.store.cuts()?.into_iter().find(|cut| cut.root == *root) else { return Ok(None) };
        // It was verified when it came, and the store compares its digest.
        let signed = self.store.manifest(&cut)?;
        Ok(signed.and_then(|signed| Manifest::decode(signed.bytes()).ok()).map(|(_, manifest)| manifest))
    }

    /// Writes a blob that was verified.
    fn write(&self, entry: &Entry, coding: Coding, coded: &[u8], plain: &[u8]) -> Result<(), StageError> {
        if self.mends {
            return self.write_beside(entry, coding, coded, plain);
        }
        self.pack.blob(entry.digest, coding, entry.size, coded).map_err(StoreError::Io)?;
        if coding != Coding::Identity {
            self.plain.blob(entry.digest, Coding::Identity, entry.size, plain).map_err(StoreError::Io)?;
        }
        lock(&self.missing).remove(&entry.digest);
        Ok(())
    }

    /// Decodes, verifies and writes one blob.
    fn keep(&self, entry: &Entry, item: ItemHead, coded: &[u8], budget: &Budget) -> Result<(), StageError> {
        let base = match item.coding {
            Coding::Patch { base } | Coding::Opened { base } => self.store.blob(&base, Form::Identity)?,
            _ => None,
        };
        let base = base.map(|blob| {
            let mut bytes = budget.buffer(blob.size());
            blob.read_into(&mut bytes).map(|()| bytes)
        });
        let base = base.transpose().map_err(StoreError::Io)?;
        let mut plain = budget.buffer(entry.size);
        let decoded = match item.coding {
            Coding::Opened { .. } => opened::decode(coded, base.as_deref().unwrap_or_default(), entry.size)
                .map(|archive| plain = archive)
                .map_err(|error| error.to_string()),
            coding => codec::decode_into(coding, coded, entry.size, base.as_deref(), &mut plain)
                .map_err(|error| error.to_string()),
        };
        base.into_iter().for_each(|base| budget.give(base));
        match decoded {
            Ok(()) if Digest::of_parallel(&plain) == entry.digest => {
                // An archive that came opened rests as it is: nothing but its bytes is kept of it.
                let (coding, coded) = match item.coding {
                    Coding::Opened { .. } => (Coding::Identity, plain.as_slice()),
                    coding => (coding, coded),
                };
                self.write(entry, coding, coded, &plain)?;
            }
            Ok(()) => tracing::warn!(path = %entry.path, "a blob has other bytes than the manifest says"),
            Err(error) => tracing::warn!(path = %entry.path, %error, "a blob does not decode"),
        }
        budget.give(plain);
        Ok(())
    }

    /// Bytes that came for it.
    pub fn received(&self) -> u64 {
        *lock(&self.received)
    }

    /// How many blobs are missing now.
    pub fn lacks(&self) -> usize {
        lock(&self.missing).len()
    }

    /// What is still missing, and how often it was asked for, this time included.
    pub fn missing(&self) -> (Vec<Digest>, u32) {
        let missing: Vec<_> = lock(&self.missing).keys().copied().collect();
        let mut repairs = lock(&self.repairs);
        if !missing.is_empty() {
            *repairs += 1;
        }
        (missing, *repairs)
    }

    /// Makes the complete cut durable. Returns the bytes that came for it and the microseconds it took. Blocks.
    ///
    /// # Errors
    /// What the disk gives; the cut is then not here.
    pub fn commit(&self) -> Result<(u64, u64), StoreError> {
        // In this order: after a crash between the two, the plain bytes are made again from what came.
        self.store.commit(&self.pack, &self.cut, &self.signed)?;
        self.store.commit_plain(&self.plain, &self.cut)?;
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok((*lock(&self.received), micros))
    }

    fn size_of(&self, digest: &Digest) -> Option<u64> {
        self.manifest.entries.iter().find(|entry| entry.digest == *digest).map(|entry| entry.size)
    }

    async fn base_size(&self, base: Digest) -> Result<u64, StageError> {
        let store = self.store.clone();
        let found = tokio::task::spawn_blocking(move || store.blob(&base, Form::Identity)).await;
        let found = found.map_err(|error| StageError::Broken(error.to_string()))??;
        Ok(found.map_or(0, |blob| blob.size()))
    }
}

/// Makes the plain bytes of a cut again where a crash lost them. With `verify`, reads every byte first, and forgets what
/// is damaged. Returns how many files were made again. Blocks.
///
/// # Errors
/// [`StoreError`] if the cut is not whole here in any form.
pub fn restore(store: &Store, cut: &CutKey, manifest: &Manifest, verify: bool) -> Result<usize, StoreError> {
    let mut seen = HashSet::new();
    let entries: Vec<_> = manifest.entries.iter().filter(|entry| seen.insert(entry.digest)).collect();
    let lost = |entry: &&&Entry| !matches!(whole(store, entry, verify), Ok(true));
    let lost: Vec<_> = entries.par_iter().filter(lost).collect();
    if lost.is_empty() {
        return Ok(0);
    }
    let plain = store.begin()?;
    for entry in &lost {
        plain.blob(entry.digest, Coding::Identity, entry.size, &store.plain(&entry.digest)?)?;
    }
    store.commit_plain(&plain, cut)?;
    Ok(lost.len())
}

/// True if the plain bytes of an entry are here. With `verify`, forms that do not hold its bytes are forgotten.
fn whole(store: &Store, entry: &Entry, verify: bool) -> Result<bool, StoreError> {
    let plain = store.blob(&entry.digest, Form::Identity)?;
    if !verify {
        return Ok(plain.is_some());
    }
    if let Some(stream) = store.blob(&entry.digest, Form::Deflate)? {
        let decoded = codec::inflate(&stream.read()?, entry.size);
        if decoded.map_or(true, |bytes| Digest::of(&bytes) != entry.digest) {
            tracing::error!(path = %entry.path, "its deflate stream is damaged on disk and not used any more");
            store.forget(&entry.digest, Form::Deflate)?;
        }
    }
    match plain {
        Some(blob) if blob.is(&entry.digest)? => Ok(true),
        Some(_) => {
            tracing::error!(path = %entry.path, "its bytes are damaged on disk: they are made again");
            store.forget(&entry.digest, Form::Identity)?;
            Ok(false)
        }
        None => Ok(false),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the value whole, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

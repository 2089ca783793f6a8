//! A cut that is here and of which the disk has spoiled something: what comes is verified as for a cut that is coming, and
//! is written beside what is whole.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Instant,
};

use difusor_proto::{
    CutKey, Digest, Entry, Manifest, Signed,
    codec::Coding,
    store::{Store, StoreError},
};
use tokio::sync::OwnedRwLockReadGuard;

use super::{Stage, StageError, lock};

impl Stage {
    /// Begins with a cut that is here, for those of its blobs that are not whole here any more. Blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn mend(
        store: &Store,
        cut: CutKey,
        signed: Signed<Manifest>,
        manifest: Manifest,
        digests: &HashSet<Digest>,
        custody: OwnedRwLockReadGuard<()>,
    ) -> Result<Self, StoreError> {
        let wanted = manifest.entries.iter().filter(|entry| digests.contains(&entry.digest));
        let missing: HashMap<_, _> = wanted.map(|entry| (entry.digest, entry.clone())).collect();
        Ok(Self {
            store: store.clone(),
            cut,
            received: Mutex::new(0),
            signed,
            pack: store.begin()?,
            plain: store.begin()?,
            mends: true,
            asked: missing.keys().copied().collect(),
            lacked: missing.values().map(|entry| entry.size).sum(),
            missing: Mutex::new(missing),
            manifest: Arc::new(manifest),
            since: Instant::now(),
            repairs: Mutex::new(0),
            _custody: custody,
        })
    }

    /// True if the cut is here, and this brings what is not whole of it.
    pub fn is_mending(&self) -> bool {
        self.mends
    }

    /// The same for a cut that is here: in the forms that visitors are given, where they are not here.
    pub(super) fn write_beside(
        &self,
        entry: &Entry,
        coding: Coding,
        coded: &[u8],
        plain: &[u8],
    ) -> Result<(), StageError> {
        let stream = Some((coding, coded)).filter(|(coding, _)| *coding == Coding::Deflate);
        for (coding, bytes) in stream.into_iter().chain([(Coding::Identity, plain)]) {
            if self.store.blob(&entry.digest, coding.into())?.is_none() {
                self.plain.blob(entry.digest, coding, entry.size, bytes).map_err(StoreError::Io)?;
            }
        }
        lock(&self.missing).remove(&entry.digest);
        Ok(())
    }

    /// Of what was asked for, what came.
    pub fn came(&self) -> HashSet<Digest> {
        let missing = lock(&self.missing);
        self.asked.iter().filter(|digest| !missing.contains_key(digest)).copied().collect()
    }

    /// Makes what came for a cut that is here durable, beside what is whole of it. Blocks.
    ///
    /// # Errors
    /// What the disk gives; nothing of it is here then.
    pub fn commit_beside(&self) -> Result<(), StoreError> {
        self.store.commit_beside(&self.plain, &self.cut, None)
    }
}

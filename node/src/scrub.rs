//! What keeps the node's own disk honest while it serves: packs are read again, and what is damaged is made whole.
//!
//! A damaged form of a file is forgotten at once, so that nothing new is built on it. Then it is taken from another form
//! that is here, from what lies in memory, or from the coordinator, who is asked for it by digest as soon as there is a
//! session; and the pack is written anew without what was damaged. What visitors are given is moved to bytes that are
//! whole before that; a file that is nowhere is withheld, and the node says that it should get no visitors (`degraded`):
//! others have that file. Nothing here waits for the network, and nothing here stops the serving of what is whole.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use difusor_proto::{
    CutKey, Digest, Manifest, Signed, VerifyingKey,
    codec::Coding,
    store::{Damage, Form, Keeper, PackFile, PackWriter, Part, Round, Scrubbed, Store, StoreError},
};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use crate::gate::{Gate, GateError};

/// What of one cut has to come from the coordinator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Want {
    /// Its manifest, before anything else of it can be told.
    pub manifest: bool,
    /// Blobs.
    pub blobs: HashSet<Digest>,
}

/// The scrub of a node.
pub struct Scrub {
    store: Store,
    gate: Arc<Gate>,
    key: VerifyingKey,
    /// Shared by the stages of all cuts under way; whoever deletes packs has it alone.
    custody: Arc<RwLock<()>>,
    round: Round,
    wants: Mutex<BTreeMap<u64, (CutKey, Want)>>,
    closing: CancellationToken,
}

impl Scrub {
    /// A scrub that has not begun.
    pub fn new(store: Store, gate: Arc<Gate>, key: VerifyingKey, custody: Arc<RwLock<()>>, round: Round) -> Self {
        let (wants, closing) = Default::default();
        Self { store, gate, key, custody, round, wants, closing }
    }

    /// Reads and mends until it is told to end. Blocks: for a thread of its own.
    pub fn run(&self) {
        self.round.run(&self.store, self);
    }

    /// Tells it to end.
    pub fn stop(&self) {
        self.closing.cancel();
    }

    /// How it is going.
    pub fn view(&self) -> Scrubbed {
        self.round.view(&self.store)
    }

    /// Files and manifests that have to come from the coordinator.
    pub fn wanted(&self) -> usize {
        self.lock().values().map(|(_, want)| want.blobs.len() + usize::from(want.manifest)).sum()
    }

    /// The same, cut by cut.
    pub fn wants(&self) -> Vec<(CutKey, Want)> {
        self.lock().values().cloned().collect()
    }

    /// True if the manifest of this cut has to come.
    pub fn wants_manifest(&self, cut: &CutKey) -> bool {
        self.lock().get(&cut.seq).is_some_and(|(known, want)| known == cut && want.manifest)
    }

    /// A manifest that was asked for came, and is the coordinator's. Blocks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn manifest_came(&self, cut: &CutKey, signed: &Signed<Manifest>) -> Result<(), StoreError> {
        self.store.commit_beside(&self.store.begin()?, cut, Some(signed))?;
        if let Some((_, want)) = self.lock().get_mut(&cut.seq) {
            want.manifest = false;
        }
        self.round.healed(1);
        tracing::info!(seq = cut.seq, "a manifest that the disk had spoiled was fetched again");
        Ok(())
    }

    /// Blobs that were asked for came and are in the store. Blocks.
    ///
    /// # Errors
    /// [`GateError`].
    pub fn came(&self, cut: &CutKey, digests: &HashSet<Digest>) -> Result<(), GateError> {
        let mut here = HashSet::new();
        for digest in digests {
            if self.store.blob(digest, Form::Identity)?.is_some() {
                here.insert(*digest);
            }
        }
        let mut wants = self.lock();
        if let Some((_, want)) = wants.get_mut(&cut.seq) {
            want.blobs.retain(|digest| !here.contains(digest));
        }
        wants.retain(|_, (_, want)| *want != Want::default());
        drop(wants);
        self.gate.mend(&here)?;
        self.round.healed(here.len());
        tracing::info!(seq = cut.seq, files = here.len(), "what the disk had spoiled was fetched again");
        Ok(())
    }

    /// Mends one pack. Returns how many of its parts are whole again.
    fn mend(&self, pack: &PackFile, damage: &[Damage]) -> Result<usize, GateError> {
        // While packs are being deleted, places move: the next pass is another chance.
        let Ok(_custody) = self.custody.try_read() else { return Ok(0) };
        self.store.settle()?;
        let mut spoiled = HashSet::new();
        for Damage { part, .. } in damage {
            match part {
                Part::Blob { digest, form } => {
                    self.store.forget_in(&pack.name, digest, *form)?;
                    spoiled.insert(*digest);
                }
                Part::Headers | Part::File => {
                    spoiled.extend(self.store.forget_damaged(&pack.name)?.into_iter().map(|(digest, _)| digest));
                }
                Part::Manifest | Part::Package => {}
            }
        }
        let filled = self.fill(&spoiled);
        // Whatever could be made: from here on nobody is given what was spoiled.
        self.gate.mend(&spoiled)?;
        filled?;
        self.store.rewrite_pack(&pack.name)?;
        let wanted = self.wanted();
        if wanted > 0 {
            tracing::error!(wanted, pack = pack.name, "no copy of it is here: the coordinator is asked for it");
        } else {
            tracing::warn!(pack = pack.name, records = damage.len(), "what the disk had spoiled was made whole");
        }
        Ok(damage.len().saturating_sub(wanted))
    }

    /// Makes what is missing of the cuts that are held from what is here, and notes what has to be fetched. Of the files
    /// in `spoiled`, the deflate streams too.
    fn fill(&self, spoiled: &HashSet<Digest>) -> Result<(), GateError> {
        let mut wants = BTreeMap::new();
        let mut seen = HashSet::new();
        let held = self.gate.held()?;
        for cut in held.iter().copied() {
            let Some(signed) = self.manifest(&cut)? else {
                wants.insert(cut.seq, (cut, Want { manifest: true, ..Want::default() }));
                continue;
            };
            let manifest = signed.open(&self.key).map_err(GateError::Forged)?;
            let mut beside = None;
            let mut want = Want::default();
            for entry in manifest.entries.iter().filter(|entry| seen.insert(entry.digest)) {
                let stream = entry.deflated.is_some() && spoiled.contains(&entry.digest);
                if !self.make(&entry.digest, entry.size, stream, &mut beside)? {
                    want.blobs.insert(entry.digest);
                }
            }
            if let Some(beside) = beside {
                self.store.commit_beside(&beside, &cut, None)?;
            }
            if want != Want::default() {
                wants.insert(cut.seq, (cut, want));
            }
        }
        // A stream that was asked for is not asked for by itself again once the file is here in its own bytes; until the
        // coordinator has answered it stays on the list.
        let mut known = self.lock();
        for (seq, (cut, want)) in std::mem::take(&mut *known) {
            let (_, entry) = wants.entry(seq).or_insert((cut, Want::default()));
            for digest in want.blobs.into_iter().filter(|_| held.contains(&cut)) {
                let whole = self.store.blob(&digest, Form::Identity)?.is_some()
                    && self.store.blob(&digest, Form::Deflate)?.is_some();
                if !whole {
                    entry.blobs.insert(digest);
                }
            }
        }
        wants.retain(|_, (_, want)| *want != Want::default());
        *known = wants;
        Ok(())
    }

    /// Sees to it that a file is here in its own bytes, and as a deflate stream if it should be. `false` if something of
    /// it can only be fetched.
    fn make(
        &self,
        digest: &Digest,
        size: u64,
        stream: bool,
        beside: &mut Option<PackWriter>,
    ) -> Result<bool, StoreError> {
        let has = |form| Ok::<_, StoreError>(self.store.blob(digest, form)?.is_some());
        let (plain, stream) = (!has(Form::Identity)?, stream && !has(Form::Deflate)?);
        if !plain && !stream {
            return Ok(true);
        }
        let site = self.gate.serving.current();
        let (in_memory, packed) = site.map(|site| site.in_memory(digest)).unwrap_or_default();
        let mut write = |coding, bytes: &[u8]| {
            let pack = match beside.take() {
                Some(pack) => pack,
                None => self.store.begin()?,
            };
            pack.blob(*digest, coding, size, bytes)?;
            *beside = Some(pack);
            Ok::<_, StoreError>(())
        };
        let mut all = true;
        if plain {
            let bytes = self.store.plain(digest).ok().or(in_memory.filter(|bytes| Digest::of(bytes) == *digest));
            match bytes {
                Some(bytes) => write(Coding::Identity, &bytes)?,
                None => all = false,
            }
        }
        if stream {
            let is_whole = |stream: &Vec<u8>| {
                difusor_proto::codec::inflate(stream, size).is_ok_and(|plain| Digest::of(&plain) == *digest)
            };
            match packed.filter(is_whole) {
                Some(packed) => write(Coding::Deflate, &packed)?,
                None => all = false,
            }
        }
        Ok(all)
    }

    /// The manifest of a cut, written again from memory if need be; `None` if it has to be fetched.
    fn manifest(&self, cut: &CutKey) -> Result<Option<Signed<Manifest>>, StoreError> {
        match self.store.manifest(cut) {
            Ok(signed) => Ok(signed),
            Err(StoreError::Damaged(_) | StoreError::Io(_)) => {
                let Some(site) = self.gate.serving.current().filter(|site| site.cut() == *cut) else { return Ok(None) };
                self.store.commit_beside(&self.store.begin()?, cut, Some(site.signed()))?;
                Ok(Some(site.signed().clone()))
            }
            Err(error) => Err(error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, (CutKey, Want)>> {
        // Replaced whole, or changed in one step.
        self.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper for Scrub {
    fn is_over(&self) -> bool {
        self.closing.is_cancelled()
    }

    fn is_busy(&self) -> bool {
        // Whoever stages a cut, or deletes packs, goes first.
        self.custody.try_write().is_err()
    }

    fn found(&self, pack: &PackFile, damage: &[Damage]) -> usize {
        self.mend(pack, damage).unwrap_or_else(|error| {
            tracing::error!(pack = pack.name, %error, "what the disk has spoiled cannot be made whole yet");
            0
        })
    }

    fn passed(&self) {
        let Ok(_custody) = self.custody.try_read() else { return };
        let withheld = self.gate.serving.current().map(|site| site.withheld()).unwrap_or_default();
        let filled = self.fill(&withheld);
        let mended = if withheld.is_empty() { Ok(()) } else { self.gate.mend(&withheld) };
        if let Err(error) = filled.and(mended) {
            tracing::error!(%error, "what is missing cannot be made whole yet");
        }
    }
}

//! The one door to what is served: no cut gets past it that the mark does not admit.
//!
//! A flip is obeyed when its signature verifies, the mark admits it, and the cut is complete here. The mark is on disk
//! before the first byte of the cut is served, so neither a crash nor an old flip can lead back.

mod behind;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, UNIX_EPOCH},
};

use difusor_proto::{
    CutKey, Digest, Flip, Mark, Signed, VerifyingKey,
    clock::Offset,
    flip::FlipRefused,
    process::unix_us,
    store::{Store, StoreError},
    wire::CloseCode,
};

use crate::{
    home::Home,
    serving::Serving,
    site::{Site, SiteError, SiteOptions},
    stage,
};

/// An instant further away than this is a mistake, or a clock that is wrong: the flip is obeyed at once.
pub const MAX_WAIT: Duration = Duration::from_secs(30);

/// Cuts that are remembered as served: more than are ever kept addressable.
const MAX_SERVED: usize = 512;

/// Why a flip was not obeyed.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The flip is not from the coordinator, or not for this mesh.
    #[error("a flip that is not signed by this mesh's key: {0}")]
    Forged(#[from] difusor_proto::sign::SignError),
    /// The mark does not admit it.
    #[error(transparent)]
    Refused(#[from] FlipRefused),
    /// This machine cannot serve the cut.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mark could not be written.
    #[error("the mark could not be written: {0}")]
    Mark(#[from] std::io::Error),
}

impl GateError {
    /// What to close the connection with, if the other side is at fault.
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Forged(_) => Some(CloseCode::Forged),
            Self::Refused(FlipRefused::Replay { .. }) => Some(CloseCode::Replay),
            Self::Refused(_) => Some(CloseCode::BelowMark),
            Self::Site(_) | Self::Store(_) | Self::Mark(_) => None,
        }
    }
}

/// A flip that was obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obeyed {
    /// Its serial.
    pub serial: u64,
    /// The cut that is served now.
    pub cut: CutKey,
    /// Since when, Unix microseconds of this node's clock.
    pub at_us: u64,
}

/// What is served, and what may be served next.
pub struct Gate {
    home: Home,
    store: Store,
    key: VerifyingKey,
    options: SiteOptions,
    /// What the listeners serve.
    pub serving: Arc<Serving>,
    bell: behind::Bell,
    /// Serial of the mark, for those who must not wait for the lock.
    serial: AtomicU64,
    state: Mutex<State>,
}

struct State {
    mark: Mark,
    /// The roots of the cuts that were served, oldest first, the one of the mark last. Others may be complete on disk,
    /// and nobody may see them: they wait for their flip, or were withdrawn.
    served: Vec<Digest>,
    /// The staged cut, ready to be served.
    prepared: Option<Arc<Site>>,
    /// How often files were taken from other places than before: what was built meanwhile may be on the old ones.
    mended: u64,
    /// A flip to a cut that is not complete here yet, and its serial.
    pending: Option<(u64, Signed<Flip>)>,
    /// The flip of the mark, if it is at hand.
    last: Option<Signed<Flip>>,
}

impl Gate {
    /// A gate that serves what the mark says, if it is here. Blocks.
    ///
    /// # Errors
    /// If the mark cannot be read. A cut that cannot be served is logged, and fetched again.
    pub fn open(home: Home, store: Store, options: SiteOptions, serving: Arc<Serving>) -> anyhow::Result<Self> {
        let mark = home.read_mark()?;
        let key = options.key;
        let mut served = home.read_served();
        // The mark is written first, so a crash can have come between the two.
        served.extend(mark.root.filter(|root| served.last() != Some(root)));
        let is_last = |signed: &Signed<Flip>| signed.open(&key).is_ok_and(|flip| flip.serial == mark.serial);
        let last = home.read_flip().filter(is_last);
        let state = Mutex::new(State { mark, served, prepared: None, mended: 0, pending: None, last });
        let gate = Self {
            home,
            store,
            key,
            options,
            serving,
            bell: behind::Bell::default(),
            serial: mark.serial.into(),
            state,
        };
        if let Some(cut) = gate.held()?.into_iter().find(|cut| Some(cut.root) == mark.root) {
            match gate.site(&cut, true) {
                Ok(site) => {
                    gate.serving.flip(site);
                    gate.bell.ring();
                    tracing::info!(seq = cut.seq, label = %cut.label, "serving the cut of before the last stop");
                }
                Err(error) => {
                    tracing::error!(seq = cut.seq, %error, "the last cut is damaged here: it is fetched again");
                    gate.store.forget_cut(&cut)?;
                }
            }
        }
        Ok(gate)
    }

    /// The mark.
    pub fn mark(&self) -> Mark {
        self.lock().mark
    }

    /// The flip of the mark, signed; `None` before the first, and if only its numbers were kept.
    pub fn last(&self) -> Option<Signed<Flip>> {
        self.lock().last.clone()
    }

    /// Serial of the last flip that was obeyed. Never waits: a flip holds the mark until its instant.
    pub fn serial(&self) -> u64 {
        self.serial.load(Relaxed)
    }

    /// The cut of a flip that waits for it.
    pub fn awaited(&self) -> Option<CutKey> {
        let state = self.lock();
        state.pending.as_ref().and_then(|(_, signed)| signed.open(&self.key).ok()).map(|flip| flip.cut)
    }

    /// Complete cuts on disk, newest first.
    ///
    /// # Errors
    /// What the index gives.
    pub fn held(&self) -> Result<Vec<CutKey>, StoreError> {
        let mut cuts = self.store.cuts()?;
        cuts.reverse();
        Ok(cuts)
    }

    /// Gives back the space of all but the newest `keep` cuts and the one that is served. Blocks.
    ///
    /// # Errors
    /// [`GateError`]; nothing that is needed is lost then.
    pub fn retire(&self, keep: usize) -> Result<usize, GateError> {
        let root = self.mark().root;
        let held = self.held()?;
        let kept: Vec<_> = (held.into_iter().enumerate())
            .filter(|(i, cut)| *i < keep || Some(cut.root) == root)
            .map(|(_, cut)| cut)
            .collect();
        let mut needed = HashSet::new();
        for cut in &kept {
            let signed = self.store.manifest(cut)?.ok_or(StoreError::Missing(cut.root))?;
            needed.extend(signed.open(&self.key)?.entries.iter().map(|entry| entry.digest));
        }
        Ok(self.store.retire(&kept, &needed)?)
    }

    /// Makes a cut that was just staged ready to be served at once. Blocks.
    ///
    /// # Errors
    /// [`GateError`] if it is not whole.
    pub fn prepare(&self, cut: &CutKey) -> Result<(), GateError> {
        loop {
            let mended = self.lock().mended;
            let site = self.site(cut, false)?;
            let mut state = self.lock();
            if state.mended == mended {
                state.prepared = Some(site);
                return Ok(());
            }
        }
    }

    /// Takes the files of these digests from where they are whole now, in all that is or will be served: the disk has
    /// spoiled them where they were, or they were fetched again. Files that are nowhere are withheld. Blocks.
    ///
    /// # Errors
    /// [`GateError`]; some of it may have been done.
    pub fn mend(&self, digests: &HashSet<Digest>) -> Result<(), GateError> {
        let mut failed = None;
        let mut mended = |site: &Site| match site.mended(&self.store, digests) {
            Ok(site) => site.map(Arc::new),
            Err(error) => {
                failed = Some(error);
                None
            }
        };
        let mut state = self.lock();
        state.mended = state.mended.wrapping_add(1);
        if let Some(site) = state.prepared.as_deref().and_then(&mut mended) {
            state.prepared = Some(site);
        }
        self.serving.replace(&mut mended);
        drop(state);
        self.bell.ring();
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Takes in a flip. `None` if its cut is not complete here: it is obeyed once it is. Blocks until the instant.
    ///
    /// # Errors
    /// [`GateError`]; what is served stays.
    pub fn obey(&self, signed: Signed<Flip>, offset: Offset) -> Result<Option<Obeyed>, GateError> {
        let flip = signed.open(&self.key)?;
        // Held to the end: two flips can never be between mark and swap at once.
        let mut state = self.lock();
        let mark = state.mark.admit(&flip)?;
        let Some(site) = self.ready(&mut state, &flip.cut)? else {
            // Of two that wait, the later one is right.
            if state.pending.as_ref().is_none_or(|(serial, _)| *serial <= flip.serial) {
                state.pending = Some((flip.serial, signed));
            }
            return Ok(None);
        };
        self.home.write_mark(&mark)?;
        state.mark = mark;
        state.remember(flip.cut.root);
        sleep_until(offset.to_ours(flip.at_us));
        let flipped = self.serving.flip(site);
        self.serial.store(flip.serial, Relaxed);
        // Behind the instant: it decides what a restarted node remembers, not what is served.
        if let Err(error) = self.home.write_served(&state.served) {
            tracing::warn!(%error, "earlier cuts will not be addressable after a restart");
        }
        if let Err(error) = self.home.write_flip(&signed) {
            tracing::warn!(%error, "this flip cannot be shown to others after a restart");
        }
        state.last = Some(signed);
        let at = flipped.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_us = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        // The last reader of the old snapshot frees it; that must not be this thread while it holds the lock.
        drop(state);
        drop(flipped);
        self.bell.ring();
        tracing::info!(seq = flip.cut.seq, label = %flip.cut.label, serial = flip.serial, "serving");
        Ok(Some(Obeyed { serial: flip.serial, cut: flip.cut, at_us }))
    }

    /// Serves `cut` if the mark says that it was served before and nothing is served now: it had to be fetched again.
    pub fn resume(&self, cut: &CutKey) -> bool {
        let mut state = self.lock();
        let due = state.mark.root == Some(cut.root) && self.serving.current().is_none();
        let site = state.prepared.take_if(|site| due && site.cut() == *cut);
        drop(state);
        let resumed = site.map(|site| self.serving.flip(site)).is_some();
        if resumed {
            self.bell.ring();
        }
        resumed
    }

    /// Obeys the flip that waited for `cut`, if there is one. Blocks.
    ///
    /// # Errors
    /// [`GateError`].
    pub fn obey_pending(&self, cut: &CutKey, offset: Offset) -> Result<Option<Obeyed>, GateError> {
        let mut state = self.lock();
        let is_for_it = match &state.pending {
            Some((_, signed)) => signed.open(&self.key)?.cut == *cut,
            None => false,
        };
        let pending = if is_for_it { state.pending.take() } else { None };
        drop(state);
        pending.map_or(Ok(None), |(_, signed)| self.obey(signed, offset))
    }

    fn ready(&self, state: &mut State, cut: &CutKey) -> Result<Option<Arc<Site>>, GateError> {
        if let Some(site) = state.prepared.take_if(|site| site.cut() == *cut) {
            return Ok(Some(site));
        }
        if self.store.manifest(cut)?.is_none() {
            return Ok(None);
        }
        self.site(cut, false).map(Some)
    }

    /// The snapshot of a complete cut; after a start, every byte of it is verified first.
    fn site(&self, cut: &CutKey, verify: bool) -> Result<Arc<Site>, GateError> {
        let signed = self.store.manifest(cut)?.ok_or(StoreError::Missing(cut.root))?;
        let manifest = signed.open(&self.key)?;
        let restored = stage::restore(&self.store, cut, &manifest, verify)?;
        if restored > 0 {
            tracing::warn!(seq = cut.seq, files = restored, "plain bytes were lost and made again");
        }
        let previous = self.serving.current();
        Ok(Arc::new(Site::build(&self.store, *cut, &signed, &manifest, &self.options, previous.as_deref())?))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The mark is replaced whole, after it is on disk.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// This cut is served from now on: the last one of them, wherever it was before.
    fn remember(&mut self, root: Digest) {
        self.served.retain(|known| *known != root);
        self.served.push(root);
        let beyond = self.served.len().saturating_sub(MAX_SERVED);
        self.served.drain(..beyond);
    }
}

/// Sleeps until this machine's clock shows `at_us`; an instant in the past, or absurdly far away, is now.
fn sleep_until(at_us: u64) {
    let wait = Duration::from_micros(at_us.saturating_sub(unix_us()));
    if wait <= MAX_WAIT {
        std::thread::sleep(wait);
    }
}

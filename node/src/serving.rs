//! What connections share: the snapshot that is served now, and those that were until a moment ago.
//!
//! Requests take no lock: what is shown is one atomic pointer.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;

use crate::{site::Site, tick::Cadence};

/// How long a page that was loaded from a cut gets what belongs to it from the same cut. The call (II.a.iii.3) gives
/// any page ten seconds; beyond it, what a page asks for is new data.
pub const PAGE_LIFE: Duration = Duration::from_secs(10);

/// How many cuts before the current one may be held for that: more than can come in [`PAGE_LIFE`].
const MAX_RECENT: usize = 4;

/// How many flips the usual time between them is reckoned from.
const MAX_FLIPS: usize = 8;

/// What is shown to visitors.
#[derive(Debug)]
pub struct Shown {
    /// The snapshot served now.
    pub site: Arc<Site>,
    /// Those before, and until when pages from them are completed from them, Unix milliseconds.
    recent: Vec<(Arc<Site>, u64)>,
    /// When cuts were flipped to, oldest first, Unix milliseconds.
    flips: Vec<u64>,
}

impl Shown {
    /// The snapshot of the cut with this number, if it is the current one or was until a moment ago.
    pub fn of(&self, seq: u64) -> Option<&Site> {
        let recent = self.recent.iter().map(|(site, _)| site);
        recent.chain([&self.site]).find(|site| site.cut().seq == seq).map(AsRef::as_ref)
    }

    /// How often cuts come.
    pub fn cadence(&self, now: u64) -> Cadence {
        Cadence::of(&self.flips, now)
    }

    /// When the current cut was flipped to, Unix milliseconds.
    pub fn since(&self) -> u64 {
        self.flips.last().copied().unwrap_or_default()
    }
}

/// The state that is shared between whoever flips and all connections.
#[derive(Debug, Default)]
pub struct Serving {
    shown: ArcSwapOption<Shown>,
    /// Held by whoever replaces what is shown.
    replacing: Mutex<()>,
    flips: AtomicU64,
}

/// The flip that was made.
#[derive(Debug)]
pub struct Flipped {
    /// When, by the monotonic clock.
    pub instant: Instant,
    /// When, by the wall clock.
    pub at: SystemTime,
    /// What was served until then. Freeing a large one takes a while: best away from where time matters.
    pub previous: Option<Arc<Shown>>,
}

impl Serving {
    /// Serves `site` from now on. Requests that began before end on what they began with.
    pub fn flip(&self, site: Arc<Site>) -> Flipped {
        let _held = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.shown.load_full();
        let (at, now) = (SystemTime::now(), unix_ms());
        let (mut recent, mut flips) = before.as_ref().map_or_else(Default::default, |shown| {
            let recent = shown.recent.iter().filter(|(_, until)| *until > now).cloned().collect::<Vec<_>>();
            (recent, shown.flips.clone())
        });
        if let Some(before) = &before {
            let until = now.saturating_add(u64::try_from(PAGE_LIFE.as_millis()).unwrap_or(u64::MAX));
            recent.insert(0, (Arc::clone(&before.site), until));
            recent.truncate(MAX_RECENT);
        }
        flips.push(now);
        if flips.len() > MAX_FLIPS {
            flips.remove(0);
        }
        let previous = self.shown.swap(Some(Arc::new(Shown { site, recent, flips })));
        self.flips.fetch_add(1, Relaxed);
        Flipped { instant: Instant::now(), at, previous }
    }

    /// Serves a better snapshot in the place of the one that it was made from; `false` if another is served by now.
    pub fn improve(&self, from: &Arc<Site>, site: Arc<Site>) -> bool {
        let _held = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        match self.shown.load_full() {
            Some(shown) if Arc::ptr_eq(&shown.site, from) => {
                let (recent, flips) = (shown.recent.clone(), shown.flips.clone());
                self.shown.store(Some(Arc::new(Shown { site, recent, flips })));
                true
            }
            _ => false,
        }
    }

    /// Replaces the snapshots that are shown, those of a moment ago too, where `better` gives another of the same cut.
    pub fn replace(&self, mut better: impl FnMut(&Site) -> Option<Arc<Site>>) {
        let _held = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shown) = self.shown.load_full() else { return };
        let mut replaced = |site: &Arc<Site>| better(site).unwrap_or_else(|| Arc::clone(site));
        let site = replaced(&shown.site);
        let recent = shown.recent.iter().map(|(site, until)| (replaced(site), *until)).collect();
        let flips = shown.flips.clone();
        self.shown.store(Some(Arc::new(Shown { site, recent, flips })));
    }

    /// Lets go of the snapshots that no page needs any more.
    pub fn forget(&self) {
        let _held = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = unix_ms();
        if let Some(shown) = self.shown.load_full()
            && shown.recent.iter().any(|(_, until)| *until <= now)
        {
            let recent = shown.recent.iter().filter(|(_, until)| *until > now).cloned().collect();
            let (site, flips) = (Arc::clone(&shown.site), shown.flips.clone());
            self.shown.store(Some(Arc::new(Shown { site, recent, flips })));
        }
    }

    /// The snapshot served now; `None` before the first flip. To hold, not for each request: see [`Serving::with`].
    pub fn current(&self) -> Option<Arc<Site>> {
        self.shown.load().as_ref().map(|shown| Arc::clone(&shown.site))
    }

    /// Lends what is shown now, without touching its count of owners.
    pub fn with<T>(&self, f: impl FnOnce(Option<&Shown>) -> T) -> T {
        f(self.shown.load().as_deref())
    }

    /// Flips since the start.
    pub fn flips(&self) -> u64 {
        self.flips.load(Relaxed)
    }
}

/// The time now, Unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

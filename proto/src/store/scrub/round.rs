//! Reading a whole store again and again, at the pace of someone who gives way.
//!
//! One thread, with the lowest priority, reads every pack, oldest first, no faster than it may; and not at all while its
//! keeper is busy with a cut. What it finds it hands to the keeper, pack by pack, and goes on. The same thread looks after
//! the room on the disk.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{process::setpriority_process, thread::gettid};
use serde::{Deserialize, Serialize};

use super::{Damage, PackFile};
use crate::{
    process::unix_us,
    store::{Space, Store},
};

/// The priority of the thread: whatever else wants a core goes first (setpriority(2)), and schedulers of disks that know
/// priorities take theirs from it (ioprio_set(2)).
const LAST: i32 = 19;

/// How long it sleeps at most before it looks whether it is to stop.
const NAP: Duration = Duration::from_millis(100);

/// Between two looks at the room on the disk.
const LOOK: Duration = Duration::from_secs(1);

/// Whoever a store is read for. All of it is called on the reading thread.
pub trait Keeper {
    /// True once the reading has to end.
    fn is_over(&self) -> bool;
    /// True while a cut is being written, which goes first.
    fn is_busy(&self) -> bool;
    /// Damage that was found in a pack. Returns how many of its parts are whole again.
    fn found(&self, pack: &PackFile, damage: &[Damage]) -> usize;
    /// Called about once a second, whatever else happens, with the room that is left.
    fn tick(&self, space: Space) {
        let _ = space;
    }
    /// Every pack was read once.
    fn passed(&self) {}
}

/// How the reading is going, as it is shown to operators.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scrubbed {
    /// Bytes read since the start.
    pub bytes: u64,
    /// Times that every pack was read.
    pub passes: u64,
    /// When the last of them ended, Unix milliseconds.
    pub last_pass_ms: Option<u64>,
    /// Damaged records that were found since the start.
    pub found: u64,
    /// Records that were made whole again.
    pub healed: u64,
    /// Names of the packs that are damaged now.
    pub damaged: Vec<String>,
    /// The room on the disk.
    pub disk: Space,
    /// True if that is less than the operator wants to be left.
    pub low_space: bool,
}

/// The reading of one store.
#[derive(Debug, Default)]
pub struct Round {
    /// Bytes a second; none are read if it is zero.
    pub rate: u64,
    /// From the beginning of one pass to that of the next.
    pub every: Duration,
    /// Free bytes below which the operator is warned.
    pub low_space: u64,
    bytes: AtomicU64,
    passes: AtomicU64,
    last_pass_ms: AtomicU64,
    found: AtomicU64,
    healed: AtomicU64,
    space: Mutex<Space>,
}

impl Round {
    /// A reading that has not begun.
    pub fn new(rate: u64, every: Duration, low_space: u64) -> Self {
        Self { rate, every, low_space, ..Self::default() }
    }

    /// How it is going.
    pub fn view(&self, store: &Store) -> Scrubbed {
        let disk = *self.space.lock().unwrap_or_else(PoisonError::into_inner);
        Scrubbed {
            bytes: self.bytes.load(Relaxed),
            passes: self.passes.load(Relaxed),
            last_pass_ms: Some(self.last_pass_ms.load(Relaxed)).filter(|ms| *ms > 0),
            found: self.found.load(Relaxed),
            healed: self.healed.load(Relaxed),
            damaged: store.damaged(),
            disk,
            low_space: disk.total > 0 && disk.free < self.low_space,
        }
    }

    /// Counts records that were made whole again elsewhere than in [`Keeper::found`].
    pub fn healed(&self, records: usize) {
        self.healed.fetch_add(records as u64, Relaxed);
    }

    /// Reads until it is over. Blocks: for a thread of its own.
    pub fn run(&self, store: &Store, keeper: &dyn Keeper) {
        if let Err(error) = setpriority_process(Some(gettid()), LAST) {
            tracing::debug!(%error, "the thread that reads packs again keeps its priority");
        }
        let mut looked = self.look(store, keeper);
        let mut next = Instant::now();
        while !keeper.is_over() {
            if looked.elapsed() >= LOOK {
                looked = self.look(store, keeper);
            }
            if self.rate == 0 || Instant::now() < next || keeper.is_busy() {
                thread::sleep(NAP.min(next.saturating_duration_since(Instant::now())).max(NAP / 10));
                continue;
            }
            next = Instant::now() + self.every;
            match self.pass(store, keeper, &mut looked) {
                Ok(true) => {
                    self.last_pass_ms.store(unix_us() / 1000, Relaxed);
                    self.passes.fetch_add(1, Relaxed);
                    keeper.passed();
                }
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "packs cannot be read again"),
            }
        }
    }

    /// Reads every pack. `false` if it was stopped.
    fn pass(&self, store: &Store, keeper: &dyn Keeper, looked: &mut Instant) -> Result<bool, super::StoreError> {
        let began = Instant::now();
        let (mut read, mut waited) = (0_u64, Duration::ZERO);
        for pack in store.packs_at_rest()? {
            let mut pace = |bytes: u64| {
                self.bytes.fetch_add(bytes, Relaxed);
                read = read.saturating_add(bytes);
                let due = Duration::from_micros(read.saturating_mul(1_000_000) / self.rate);
                loop {
                    if keeper.is_over() {
                        return false;
                    }
                    if looked.elapsed() >= LOOK {
                        *looked = self.look(store, keeper);
                    }
                    let early = due.saturating_sub(began.elapsed().saturating_sub(waited));
                    if keeper.is_busy() {
                        thread::sleep(NAP);
                        waited += NAP;
                    } else if early.is_zero() {
                        return true;
                    } else {
                        thread::sleep(early.min(NAP));
                    }
                }
            };
            match store.verify_pack_paced(&pack.name, &mut pace) {
                Ok(Some(damage)) if damage.is_empty() => {}
                Ok(Some(damage)) => self.report(keeper, &pack, &damage),
                Ok(None) => return Ok(false),
                // A cut that was given up meanwhile.
                Err(error) => tracing::debug!(pack = pack.name, %error, "not read again"),
            }
        }
        Ok(true)
    }

    fn report(&self, keeper: &dyn Keeper, pack: &PackFile, damage: &[Damage]) {
        let parts: Vec<_> = damage.iter().take(8).map(|damage| damage.part).collect();
        tracing::error!(pack = pack.name, records = damage.len(), first = ?parts, "the disk has spoiled what was written");
        self.found.fetch_add(damage.len() as u64, Relaxed);
        self.healed(keeper.found(pack, damage));
    }

    fn look(&self, store: &Store, keeper: &dyn Keeper) -> Instant {
        match store.space() {
            Ok(space) => {
                let before = std::mem::replace(&mut *self.space.lock().unwrap_or_else(PoisonError::into_inner), space);
                let is_low = |space: Space| space.total > 0 && space.free < self.low_space;
                if is_low(space) && !is_low(before) {
                    tracing::warn!(free = space.free, total = space.total, "the disk is getting full: make room");
                }
                keeper.tick(space);
            }
            Err(error) => tracing::debug!(%error, "the disk does not say how full it is"),
        }
        Instant::now()
    }
}

//! What came of rules, and how many answers are held.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

/// Threads that count without waiting for each other's caches; more share.
const SHARDS: usize = 8;

/// What came of a rule: what its action does, or what it does beyond its measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    First,
    Second,
}

/// Counters of one rule.
#[derive(Debug, Default)]
pub(super) struct Counts {
    shards: [Shard; SHARDS],
}

/// On cache lines of its own: two, as processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard([AtomicU64; 2]);

impl Counts {
    pub(super) fn add(&self, outcome: Outcome, thread: usize) {
        let counter = self.shards.get(thread % SHARDS).and_then(|shard| shard.0.get(outcome as usize));
        if let Some(counter) = counter {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// In the order of [`Outcome`].
    pub(super) fn sums(&self) -> [u64; 2] {
        self.shards.iter().fold([0; 2], |[first, second], Shard([one, other])| {
            [first + one.load(Relaxed), second + other.load(Relaxed)]
        })
    }
}

/// Answers that are held, at most so many at once.
#[derive(Debug)]
pub(super) struct Holds {
    most: usize,
    held: AtomicUsize,
}

/// An answer that is held: a place among those that may be, given back when this is dropped.
#[derive(Debug)]
pub struct Held {
    until: Instant,
    holds: Arc<Holds>,
}

impl Holds {
    pub(super) fn new(most: usize) -> Self {
        Self { most, held: AtomicUsize::new(0) }
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// A place, if there is one.
    pub(super) fn take(self: &Arc<Self>, until: Instant) -> Option<Held> {
        let taken = self.held.fetch_update(Relaxed, Relaxed, |held| (held < self.most).then_some(held + 1));
        taken.ok().map(|_| Held { until, holds: Arc::clone(self) })
    }
}

impl Held {
    /// When it is over.
    pub fn until(&self) -> Instant {
        self.until
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.holds.held.fetch_sub(1, Relaxed);
    }
}

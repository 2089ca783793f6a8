//! What connections share: the snapshot that is served now, and counters.
//!
//! Requests take no lock: the snapshot is one atomic pointer, and counters are atomics that nobody waits for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Instant, SystemTime},
};

use arc_swap::ArcSwapOption;
use http::StatusCode;

use crate::site::Site;

/// The state that is shared between whoever flips and all connections.
#[derive(Debug, Default)]
pub struct Serving {
    current: ArcSwapOption<Site>,
    /// What happened since the start.
    pub counters: Counters,
}

/// The flip that was made.
#[derive(Debug)]
pub struct Flipped {
    /// When, by the monotonic clock.
    pub instant: Instant,
    /// When, by the wall clock.
    pub at: SystemTime,
    /// What was served until then. Freeing a large one takes a while: best away from where time matters.
    pub previous: Option<Arc<Site>>,
}

/// Counters; each only grows, but for `open`.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    body_bytes: AtomicU64,
    /// By the first digit of the status, from 1xx.
    classes: [AtomicU64; 5],
    open: AtomicU64,
    connections: AtomicU64,
    refused: AtomicU64,
    handshake_failures: AtomicU64,
    cut_off: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Requests answered.
    pub requests: u64,
    /// Bytes of bodies handed to connections.
    pub body_bytes: u64,
    /// Answers by the first digit of the status, from 1xx to 5xx.
    pub classes: [u64; 5],
    /// Connections open now.
    pub open: u64,
    /// Connections accepted, refused ones not counted in.
    pub connections: u64,
    /// Connections closed at once because too many were open.
    pub refused: u64,
    /// Connections that never got through the TLS handshake.
    pub handshake_failures: u64,
    /// Connections closed for asking nothing or reading nothing for too long.
    pub cut_off: u64,
}

/// Counts an open connection for as long as it lives.
#[derive(Debug)]
pub(crate) struct Open(Arc<Serving>);

impl Serving {
    /// Serves `site` from now on. Requests that began before end on what they began with.
    pub fn flip(&self, site: Arc<Site>) -> Flipped {
        let previous = self.current.swap(Some(site));
        Flipped { instant: Instant::now(), at: SystemTime::now(), previous }
    }

    /// The snapshot served now; `None` before the first flip. To hold, not for each request: see [`Serving::with`].
    pub fn current(&self) -> Option<Arc<Site>> {
        self.current.load_full()
    }

    /// Lends the snapshot served now, without touching its count of owners.
    pub fn with<T>(&self, f: impl FnOnce(Option<&Site>) -> T) -> T {
        f(self.current.load().as_deref())
    }

    pub(crate) fn open(self: &Arc<Self>) -> Open {
        self.counters.open.fetch_add(1, Relaxed);
        self.counters.connections.fetch_add(1, Relaxed);
        Open(Arc::clone(self))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counters.open.fetch_sub(1, Relaxed);
    }
}

impl Counters {
    pub(crate) fn answered(&self, status: StatusCode) {
        self.requests.fetch_add(1, Relaxed);
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.classes.get(class) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.body_bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(crate) fn handshake_failed(&self) {
        self.handshake_failures.fetch_add(1, Relaxed);
    }

    pub(crate) fn cut_off(&self) {
        self.cut_off.fetch_add(1, Relaxed);
    }

    /// All of them, read one after another.
    pub fn read(&self) -> Counts {
        let [c1, c2, c3, c4, c5] = &self.classes;
        Counts {
            requests: self.requests.load(Relaxed),
            body_bytes: self.body_bytes.load(Relaxed),
            classes: [c1, c2, c3, c4, c5].map(|class| class.load(Relaxed)),
            open: self.open.load(Relaxed),
            connections: self.connections.load(Relaxed),
            refused: self.refused.load(Relaxed),
            handshake_failures: self.handshake_failures.load(Relaxed),
            cut_off: self.cut_off.load(Relaxed),
        }
    }
}

//! What the clients of one measurement count, and when they count it.
//!
//! All clients run on one thread, so cells do.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

/// Shared by the clients of a measurement.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Only what ends while the window is open counts.
    open: Cell<bool>,
    woken: Cell<u64>,
    bytes: Cell<u64>,
    micros: RefCell<Vec<u32>>,
    failures: Cell<u64>,
    failure: RefCell<Option<String>>,
}

/// What was counted.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Counted {
    /// Answers that were complete, and right.
    pub(crate) answers: u64,
    /// Bytes of bodies, those of answers under way included.
    pub(crate) bytes: u64,
    /// Half of the answers took at most this long, from the request to the last byte.
    pub(crate) p50: Option<Duration>,
    /// Ninety-nine of a hundred did.
    pub(crate) p99: Option<Duration>,
    /// Connections that broke, and answers that were wrong.
    pub(crate) failures: u64,
    /// What the first of them was.
    pub(crate) failure: Option<String>,
}

impl Tally {
    /// From now on, things count.
    pub(crate) fn begin(&self) {
        self.open.set(true);
    }

    /// From now on, they do not.
    pub(crate) fn end(&self) {
        self.open.set(false);
    }

    /// Whether things count.
    pub(crate) fn is_open(&self) -> bool {
        self.open.get()
    }

    /// Runs a client, and notes whenever there is something for it to do.
    pub(crate) async fn noting<T>(&self, client: impl Future<Output = T>) -> T {
        let mut client = pin!(client);
        poll_fn(|context| {
            self.woken.set(self.woken.get() + 1);
            client.as_mut().poll(context)
        })
        .await
    }

    /// How often there was something to do for a client.
    pub(crate) fn woken(&self) -> u64 {
        self.woken.get()
    }

    /// A part of a body came.
    pub(crate) fn received(&self, bytes: usize) {
        if self.open.get() {
            self.bytes.set(self.bytes.get() + bytes as u64);
        }
    }

    /// An answer is complete; its request was sent, or was due, `since`.
    pub(crate) fn answered(&self, since: Instant) {
        if self.open.get() {
            let micros = u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX);
            self.micros.borrow_mut().push(micros);
        }
    }

    /// Something went wrong; counts outside the window as well.
    pub(crate) fn failed(&self, error: &anyhow::Error) {
        self.failures.set(self.failures.get() + 1);
        self.failure.borrow_mut().get_or_insert_with(|| format!("{error:#}"));
    }

    /// How often something went wrong so far.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.get()
    }

    /// The sum of it.
    pub(crate) fn counted(&self) -> Counted {
        let mut micros = self.micros.take();
        micros.sort_unstable();
        let at = |share| percentile(&micros, share).map(|micros| Duration::from_micros(micros.into()));
        Counted {
            answers: micros.len() as u64,
            bytes: self.bytes.get(),
            p50: at(0.5),
            p99: at(0.99),
            failures: self.failures.get(),
            failure: self.failure.borrow().clone(),
        }
    }
}

/// The smallest of the sorted values that `share` of them do not exceed (nearest rank).
pub(crate) fn percentile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_ranks() {
        let values: Vec<u32> = (1..=200).collect();
        assert_eq!(percentile(&values, 0.5), Some(100));
        assert_eq!(percentile(&values, 0.99), Some(198));
        assert_eq!(percentile(&values, 1.0), Some(200));
        assert_eq!(percentile(&[7], 0.01), Some(7));
        assert_eq!(percentile::<u32>(&[], 0.5), None);
    }

    #[test]
    fn only_the_window_counts_but_every_failure_does() {
        let tally = Tally::default();
        let count = |tally: &Tally| {
            tally.received(10);
            tally.answered(Instant::now());
            tally.failed(&anyhow::anyhow!("broken {}", tally.failures()));
        };
        count(&tally);
        tally.begin();
        count(&tally);
        count(&tally);
        tally.end();
        count(&tally);
        let counted = tally.counted();
        assert_eq!((counted.answers, counted.bytes, counted.failures), (2, 20, 4));
        assert_eq!(counted.failure.as_deref(), Some("broken 0"));
        assert!(counted.p99 >= counted.p50 && counted.p50.is_some());
    }
}

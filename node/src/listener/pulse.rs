//! The sign of life of one connection: when it last asked for something, or took a piece of an answer.
//!
//! Timeouts of the HTTP library cover the heads of HTTP/1 only. This covers the rest with one rule: a connection that
//! never asks, or stops reading, is overdue.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::Limits;

/// Beats with every request, and with every piece of a body that the connection takes.
#[derive(Debug)]
pub(super) struct Pulse {
    accepted: Instant,
    /// Milliseconds from accept to the last beat, plus one; 0 before the first.
    last: AtomicU64,
}

impl Pulse {
    pub(super) fn new(accepted: Instant) -> Self {
        Self { accepted, last: AtomicU64::new(0) }
    }

    pub(super) fn beat(&self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.accepted).as_millis();
        self.last.store(u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(1), Relaxed);
    }

    /// The moment from which the connection is overdue, if it does not beat until then.
    pub(super) fn deadline(&self, limits: &Limits) -> Instant {
        match self.last.load(Relaxed) {
            0 => self.accepted + limits.head,
            last => self.accepted + Duration::from_millis(last - 1) + limits.stall,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_moves_the_deadline() {
        let limits = Limits { head: Duration::from_secs(5), stall: Duration::from_secs(60), ..Limits::default() };
        let accepted = Instant::now();
        let pulse = Pulse::new(accepted);
        assert_eq!(pulse.deadline(&limits), accepted + Duration::from_secs(5));
        // A request in the very millisecond of the accept counts.
        pulse.beat(accepted);
        assert_eq!(pulse.deadline(&limits), accepted + Duration::from_secs(60));
        pulse.beat(accepted + Duration::from_secs(90));
        assert_eq!(pulse.deadline(&limits), accepted + Duration::from_secs(150));
    }
}

//! How long a connection may be of no use: a decision from what was seen, without clocks.

use tokio::time::Instant;

use super::limits::Http3Limits;

/// How often progress is looked at, as a part of the time that may pass without any.
const LOOKS: u32 = 4;

/// What was seen of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Requests so far.
    pub requests: u64,
    /// Requests that are not answered to their end.
    pub under_way: usize,
    /// When one last began or ended.
    pub since: Instant,
    /// Any count that grows when bytes of answers are sent. It stands still while flow control holds them.
    pub sent: u64,
}

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing, until then.
    Fine(Instant),
    /// The client never asked for anything.
    Silent,
    /// The client asks for nothing any more.
    Idle,
    /// The client takes nothing of what it asked for.
    Stalled,
}

/// Remembers progress between looks.
#[derive(Debug)]
pub(super) struct Watch {
    opened: Instant,
    sent: u64,
    moved: Instant,
}

impl Watch {
    /// Of a connection whose first packet came at this time.
    pub(super) fn new(opened: Instant) -> Self {
        Self { opened, sent: 0, moved: opened }
    }

    /// Judges what is seen now.
    pub(super) fn judge(&mut self, seen: Seen, now: Instant, limits: &Http3Limits) -> Judgement {
        if seen.requests == 0 {
            return until(self.opened + limits.first_request, now, Judgement::Silent);
        }
        if seen.under_way == 0 {
            return until(seen.since + limits.idle, now, Judgement::Idle);
        }
        if seen.sent != self.sent {
            self.sent = seen.sent;
            self.moved = now;
        }
        let end = self.moved.max(seen.since) + limits.stall;
        match until(end, now, Judgement::Stalled) {
            Judgement::Fine(end) => Judgement::Fine(end.min(look(now, limits))),
            over => over,
        }
    }
}

/// When to look next if something is under way now: it may make no progress, or end and be the last.
pub(super) fn look(now: Instant, limits: &Http3Limits) -> Instant {
    now + (limits.stall / LOOKS).min(limits.idle)
}

fn until(end: Instant, now: Instant, over: Judgement) -> Judgement {
    if now < end { Judgement::Fine(end) } else { over }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Http3Limits {
        Http3Limits { first_request: 20 * SECOND, idle: 60 * SECOND, stall: 80 * SECOND, ..Http3Limits::default() }
    }

    #[test]
    fn a_connection_is_for_asking() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        let seen = Seen { requests: 0, under_way: 0, since: start + SECOND, sent: 3 };
        assert_eq!(watch.judge(seen, start, &limits()), Judgement::Fine(start + 20 * SECOND));
        assert_eq!(watch.judge(seen, start + 20 * SECOND, &limits()), Judgement::Silent);
    }

    #[test]
    fn and_for_asking_again() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        let seen = Seen { requests: 2, under_way: 0, since: start + 5 * SECOND, sent: 3 };
        assert_eq!(watch.judge(seen, start + 30 * SECOND, &limits()), Judgement::Fine(start + 65 * SECOND));
        assert_eq!(watch.judge(seen, start + 65 * SECOND, &limits()), Judgement::Idle);
    }

    #[test]
    fn a_slow_client_is_no_stalled_one() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        let mut seen = Seen { requests: 1, under_way: 1, since: start, sent: 0 };
        let mut now = start;
        for sent in 1..50 {
            seen.sent = sent;
            now += 79 * SECOND;
            assert_eq!(watch.judge(seen, now, &limits()), Judgement::Fine(now + 20 * SECOND));
        }
        assert_eq!(watch.judge(seen, now + 79 * SECOND, &limits()), Judgement::Fine(now + 80 * SECOND));
        assert_eq!(watch.judge(seen, now + 80 * SECOND, &limits()), Judgement::Stalled);
    }

    /// What another request does is no progress of those that stand still, but a beginning is none to be punished for.
    #[test]
    fn a_new_request_has_its_time() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        let seen = Seen { requests: 9, under_way: 1, since: start + 500 * SECOND, sent: 0 };
        assert!(matches!(watch.judge(seen, start + 501 * SECOND, &limits()), Judgement::Fine(_)));
    }
}

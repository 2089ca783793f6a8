//! One direction of a link, as a pure machine: datagrams go in with the time, and come out when they are due.
//!
//! The line is a clock of its own: `free_at` is when the last datagram accepted has left the queue. What lies between
//! now and then is the backlog, and a datagram for which it has no room is dropped (drop-tail).

use std::collections::VecDeque;
use std::time::Instant;

use crate::prng::Prng;
use crate::spec::{HEADER, LinkSpec, MAX_BACKLOG};

/// What became of one direction's datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Datagrams that arrived at the link.
    pub offered: u64,
    /// Payload bytes that arrived at the link.
    pub offered_bytes: u64,
    /// Datagrams handed to the other side.
    pub delivered: u64,
    /// Payload bytes handed to the other side.
    pub delivered_bytes: u64,
    /// Datagrams lost at random.
    pub lost: u64,
    /// Datagrams dropped because the queue was full.
    pub overflowed: u64,
    /// Datagrams that came, or were under way, while the link was down.
    pub cut: u64,
}

/// A datagram with where it goes.
#[derive(Debug)]
pub(crate) struct Parcel<T> {
    pub(crate) to: T,
    pub(crate) bytes: Box<[u8]>,
}

#[derive(Debug)]
pub(crate) struct Lane<T> {
    spec: LinkSpec,
    prng: Prng,
    down: bool,
    free_at: Option<Instant>,
    /// In order of arrival, which is the order of delivery.
    line: VecDeque<(Instant, Parcel<T>)>,
    held: u64,
    flow: Flow,
}

impl<T> Lane<T> {
    pub(crate) fn new(spec: LinkSpec, salt: u64) -> Self {
        let prng = Prng::new(spec.seed ^ salt);
        Self { spec, prng, down: false, free_at: None, line: VecDeque::new(), held: 0, flow: Flow::default() }
    }

    pub(crate) fn set(&mut self, spec: LinkSpec) {
        self.spec = spec;
    }

    /// Cuts the line, with everything on it, or mends it.
    pub(crate) fn set_down(&mut self, down: bool) {
        self.down = down;
        if down {
            self.flow.cut += self.line.len() as u64;
            self.line.clear();
            self.held = 0;
            self.free_at = None;
        }
    }

    pub(crate) fn flow(&self) -> Flow {
        self.flow
    }

    /// A datagram arrives. Returns whether it is first in line now, so that who waits for the line must wake up.
    pub(crate) fn offer(&mut self, now: Instant, parcel: Parcel<T>) -> bool {
        let size = parcel.bytes.len() as u64;
        self.flow.offered += 1;
        self.flow.offered_bytes += size;
        if self.down {
            self.flow.cut += 1;
            return false;
        }
        // A lost datagram takes its time on the line all the same: it is lost behind the queue.
        let lost = self.prng.chance(self.spec.loss);
        let start = self.free_at.map_or(now, |free| free.max(now));
        let waiting = self.spec.line_bytes(start.saturating_duration_since(now));
        let full = self.spec.queue_bytes().is_some_and(|queue| waiting + size + HEADER > queue);
        if full || self.held + size > MAX_BACKLOG {
            self.flow.overflowed += 1;
            return false;
        }
        let end = start + self.spec.line_time(size);
        self.free_at = Some(end);
        if lost {
            self.flow.lost += 1;
            return false;
        }
        // A delay that was shortened meanwhile must not let this one overtake.
        let due = self.line.back().map_or(end + self.spec.delay, |(last, _)| (end + self.spec.delay).max(*last));
        self.held += size;
        self.line.push_back((due, parcel));
        self.line.len() == 1
    }

    /// The next datagram that is due by now.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Parcel<T>> {
        let (_, parcel) = self.line.pop_front_if(|(due, _)| *due <= now)?;
        let size = parcel.bytes.len() as u64;
        self.held -= size;
        self.flow.delivered += 1;
        self.flow.delivered_bytes += size;
        Some(parcel)
    }

    /// When the next datagram is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.line.front().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// 1,000 bytes with headers: one millisecond at 8 Mbit/s.
    fn parcel(to: u32) -> Parcel<u32> {
        Parcel { to, bytes: vec![0; 1_000 - 28].into() }
    }

    fn drain(lane: &mut Lane<u32>, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| lane.take(now)).map(|parcel| parcel.to).collect()
    }

    #[test]
    fn a_burst_leaves_at_the_rate_after_the_delay() {
        let mut lane = Lane::new(LinkSpec::wan(8_000_000, 20 * MS, 0.0), 0);
        let start = Instant::now();
        for i in 0..3 {
            assert_eq!(lane.offer(start, parcel(i)), i == 0);
        }
        assert_eq!(lane.next_due(), Some(start + 11 * MS));
        assert_eq!(drain(&mut lane, start + 12 * MS), [0, 1]);
        assert_eq!(drain(&mut lane, start + 13 * MS), [2]);
        // An idle line saves nothing up.
        lane.offer(start + 50 * MS, parcel(3));
        assert_eq!(lane.next_due(), Some(start + 61 * MS));
    }

    #[test]
    fn a_full_queue_drops_the_tail() {
        let spec = LinkSpec { queue: Some(2_500), ..LinkSpec::wan(8_000_000, 20 * MS, 0.0) };
        let mut lane = Lane::new(spec, 0);
        let start = Instant::now();
        for i in 0..4 {
            lane.offer(start, parcel(i));
        }
        assert_eq!(lane.flow().overflowed, 2);
        // What left the queue makes room, though it is still under way.
        lane.offer(start + MS, parcel(4));
        assert_eq!(drain(&mut lane, start + 99 * MS), [0, 1, 4]);
    }

    #[test]
    fn loss_depends_on_the_seed_alone() {
        let run = |seed, salt| {
            let mut lane = Lane::new(LinkSpec { loss: 0.25, seed, ..LinkSpec::default() }, salt);
            let now = Instant::now();
            for i in 0..10_000 {
                lane.offer(now, parcel(i));
            }
            drain(&mut lane, now)
        };
        assert_eq!(run(1, 0), run(1, 0));
        assert_ne!(run(1, 0), run(2, 0));
        assert_ne!(run(1, 0), run(1, 1));
        assert!((7_300..7_700).contains(&run(3, 0).len()));
    }

    #[test]
    fn a_cut_line_loses_what_is_on_it() {
        let mut lane = Lane::new(LinkSpec::wan(8_000_000, 20 * MS, 0.0), 0);
        let start = Instant::now();
        lane.offer(start, parcel(0));
        lane.set_down(true);
        lane.offer(start, parcel(1));
        lane.set_down(false);
        lane.offer(start, parcel(2));
        assert_eq!(lane.flow().cut, 2);
        assert_eq!(lane.next_due(), Some(start + 11 * MS));
        assert_eq!(drain(&mut lane, start + 99 * MS), [2]);
    }

    #[test]
    fn a_shorter_delay_does_not_reorder() {
        let mut lane = Lane::new(LinkSpec { delay: 100 * MS, ..LinkSpec::default() }, 0);
        let start = Instant::now();
        lane.offer(start, parcel(0));
        lane.set(LinkSpec::default());
        lane.offer(start, parcel(1));
        assert_eq!(drain(&mut lane, start + 99 * MS), [0; 0]);
        assert_eq!(drain(&mut lane, start + 100 * MS), [0, 1]);
    }

    #[test]
    fn every_datagram_is_accounted_for() {
        let mut lane = Lane::new(LinkSpec { loss: 0.1, ..LinkSpec::wan(8_000_000, 20 * MS, 0.1) }, 0);
        let start = Instant::now();
        for i in 0..1_000 {
            lane.offer(start + MS * i / 2, parcel(i));
            lane.set_down(i == 700);
        }
        let out = drain(&mut lane, start + 9_999 * MS).len() as u64;
        let flow = lane.flow();
        assert_eq!(flow.delivered, out);
        assert_eq!(flow.offered, flow.delivered + flow.lost + flow.overflowed + flow.cut);
        assert!(flow.lost > 50 && flow.overflowed > 100 && flow.cut > 1, "{flow:?}");
    }
}

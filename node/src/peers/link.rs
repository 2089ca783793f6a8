//! A connection to another node: datagrams with numbers, each sent as often as the path asks for.

use std::time::{Duration, Instant};

use bytes::Bytes;
use difusor_proto::peer::{Datagram, What};
use quinn::Connection;

/// Packets that are lost of a hundred from which on each datagram is sent twice, and three times.
const TWICE: f64 = 0.005;
const THRICE: f64 = 0.05;

/// Packets after which the losses of a path say something.
const ENOUGH: u64 = 50;

/// How long after the first the others are sent: losses come in bursts.
const APART: Duration = Duration::from_millis(25);

/// One end of it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    next: u32,
    /// Packets that were sent, and lost, when that was looked at last, and what part was lost since the time before.
    counted: (u64, u64),
    lost: f64,
}

impl Link {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, next: 0, counted: (0, 0), lost: 0.0 }
    }

    /// True if nothing goes over it any more.
    pub(super) fn is_closed(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    /// Sends it now; gives it with the times at which it is to be sent again.
    pub(super) fn send(&mut self, what: What<'_>, now: Instant) -> Vec<(Instant, Bytes)> {
        self.next = self.next.wrapping_add(1);
        let is_swim = matches!(what, What::Swim(_));
        let Ok(bytes) = postcard::to_stdvec(&Datagram { number: self.next, what }) else { return Vec::new() };
        let bytes = Bytes::from(bytes);
        self.again(&bytes);
        // The time is asked for again soon, anyhow.
        let copies = if is_swim { self.copies() } else { 1 };
        (1..copies).map(|copy| (now + APART * copy, bytes.clone())).collect()
    }

    /// Sends what [`Link::send`] gave.
    pub(super) fn again(&self, bytes: &Bytes) {
        // A connection that takes none is about to end.
        let _ = self.connection.send_datagram(bytes.clone());
    }

    /// How often each datagram is sent.
    fn copies(&mut self) -> u32 {
        let path = self.connection.stats().path;
        let since = path.sent_packets.saturating_sub(self.counted.0);
        if since >= ENOUGH {
            let lost = path.lost_packets.saturating_sub(self.counted.1) as f64 / since as f64;
            // Half of what it was: an hour without loss says nothing of this minute.
            self.lost = f64::midpoint(self.lost, lost);
            self.counted = (path.sent_packets, path.lost_packets);
        }
        match self.counted.0 {
            0 => 2,
            _ if self.lost > THRICE => 3,
            _ if self.lost > TWICE => 2,
            _ => 1,
        }
    }
}

/// The numbers that came last on a connection.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    top: u32,
    bits: u64,
}

impl Numbers {
    /// True if this one did not come before. What is older than the last 64 is taken as known.
    pub(super) fn is_new(&mut self, number: u32) -> bool {
        let ahead = number.wrapping_sub(self.top);
        if ahead == 0 {
            let is_new = self.bits & 1 == 0;
            self.bits |= 1;
            return is_new;
        }
        if ahead < 1 << 31 {
            self.bits = self.bits.checked_shl(ahead).unwrap_or(0) | 1;
            self.top = number;
            return true;
        }
        let bit = self.top.wrapping_sub(number);
        let mask = 1_u64.checked_shl(bit).unwrap_or(0);
        let is_new = mask != 0 && self.bits & mask == 0;
        self.bits |= mask;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_counts_once() {
        let mut numbers = Numbers::default();
        for (number, is_new) in [
            (1, true),
            (1, false),
            (3, true),
            (2, true),
            (2, false),
            (3, false),
            (66, true),
            (3, false),
            (4, true),
            (4, false),
            (500, true),
            (436, false),
            (437, true),
            (437, false),
        ] {
            assert_eq!(numbers.is_new(number), is_new, "{number}");
        }
        let mut wrapping = Numbers { top: u32::MAX, bits: 1 };
        assert!(wrapping.is_new(0) && !wrapping.is_new(u32::MAX) && !wrapping.is_new(0) && wrapping.is_new(1));
    }
}

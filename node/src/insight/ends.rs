//! Connections: what the node counts of them anyway, over TCP and over QUIC, from one reading to the next.

use crate::observe::{Failure, Totals};

/// Connections, as far as they are counted beside requests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Accepted, or begun over QUIC.
    pub opened: u64,
    /// Ended, of those over TCP.
    pub closed: u64,
    /// Handshakes that were done.
    pub handshakes: u64,
    /// Handshakes that took too long.
    pub overdue: u64,
    /// Handshakes that failed otherwise.
    pub failed: u64,
    /// Let go for asking or reading nothing.
    pub cut_off: u64,
    /// Let go for making work without asking for anything.
    pub abusive: u64,
    /// Not let in, for want of room or for their source's share.
    pub turned_away: u64,
    /// Bytes of bodies that were handed to connections.
    pub handed: u64,
}

impl Ends {
    /// From what the node counts since its start.
    pub fn of(totals: &Totals, http3: &[(&'static str, u64)]) -> Self {
        let quic = |name| http3.iter().filter(|(event, _)| *event == name).map(|(_, n)| *n).sum::<u64>();
        let failures = |failure: Failure| totals.failures.get(failure as usize).copied().unwrap_or(0);
        let (connections, failed) = (quic("connections"), quic("handshake_failures"));
        Self {
            opened: totals.opened + connections + failed,
            closed: totals.closed,
            handshakes: totals.handshakes.iter().sum::<u64>() + connections,
            overdue: failures(Failure::Timeout),
            failed: failures(Failure::Tls) + failures(Failure::Protocol) + failed,
            cut_off: totals.cut_off + quic("silent"),
            abusive: totals.abusive + quic("violations"),
            turned_away: totals.refused + totals.crowded + quic("refused") + quic("crowded"),
            handed: totals.body_bytes,
        }
    }

    /// What came since.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    /// Each of these with that of another.
    pub(super) fn with(&self, other: &Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            opened: f(self.opened, other.opened),
            closed: f(self.closed, other.closed),
            handshakes: f(self.handshakes, other.handshakes),
            overdue: f(self.overdue, other.overdue),
            failed: f(self.failed, other.failed),
            cut_off: f(self.cut_off, other.cut_off),
            abusive: f(self.abusive, other.abusive),
            turned_away: f(self.turned_away, other.turned_away),
            handed: f(self.handed, other.handed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_counted() {
        let totals =
            Totals { opened: 10, closed: 4, crowded: 3, failures: [1, 2, 3], handshakes: [5, 2], ..Totals::default() };
        let quic = [("connections", 7), ("handshake_failures", 2), ("violations", 1), ("silent", 4), ("refused", 5)];
        let ends = Ends::of(&totals, &quic);
        let expected = Ends {
            opened: 19,
            closed: 4,
            handshakes: 14,
            overdue: 1,
            failed: 7,
            cut_off: 4,
            abusive: 1,
            turned_away: 8,
            handed: 0,
        };
        assert_eq!(ends, expected);
        assert_eq!(ends.since(&Ends::of(&totals, &[])).opened, 9);
        // Counters only grow; should one not, nothing came.
        assert_eq!(Ends::default().since(&ends), Ends::default());
    }
}

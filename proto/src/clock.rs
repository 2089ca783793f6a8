//! How far another clock is from ours, measured over a connection.
//!
//! The method is NTP's (RFC 5905 section 8): four timestamps give an offset that is wrong by at most half the round
//! trip, and the sample with the shortest round trip of the last few is the best one. Samples that cannot both be true
//! are of before and after one of the clocks was set: then the older ones go.

use std::collections::VecDeque;

/// Samples looked back on. At one a second, a path that became slower for good is believed after this many seconds.
const WINDOW: usize = 16;

/// How far samples may be apart beyond what round trips explain, microseconds: clocks drift, and are slewed.
const SLACK_US: u64 = 20_000;

/// One exchange: sent and received by us, received and answered by the other side. Unix microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// Our clock when the question left.
    pub sent: u64,
    /// The other clock when it arrived there.
    pub arrived: u64,
    /// The other clock when the answer left.
    pub answered: u64,
    /// Our clock when it was back.
    pub back: u64,
}

/// The best estimate from the last exchanges.
#[derive(Debug, Clone, Default)]
pub struct ClockFilter {
    samples: VecDeque<Offset>,
}

/// An estimate: what to add to our clock to read the other one, and how long the round trip took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offset {
    /// The other clock minus ours, microseconds.
    pub offset_us: i64,
    /// Round trip without the time the other side took, microseconds.
    pub rtt_us: u64,
}

impl ClockFilter {
    /// Takes in one exchange. Clocks that ran backwards meanwhile are ignored.
    pub fn sample(&mut self, exchange: Exchange) {
        let Exchange { sent, arrived, answered, back } = exchange;
        let (Some(round), Some(there)) = (back.checked_sub(sent), answered.checked_sub(arrived)) else { return };
        let signed = |a: u64, b: u64| i64::try_from(i128::from(a) - i128::from(b)).ok();
        let (Some(out), Some(home)) = (signed(arrived, sent), signed(answered, back)) else { return };
        if self.samples.len() == WINDOW {
            self.samples.pop_front();
        }
        let sample = Offset { offset_us: i64::midpoint(out, home), rtt_us: round.saturating_sub(there) };
        self.samples.retain(|older| older.agrees_with(sample));
        self.samples.push_back(sample);
    }

    /// Our clock was set, by so much, microseconds: all that was measured before is about another one.
    pub fn was_set(&mut self, by_us: i64) {
        for sample in &mut self.samples {
            sample.offset_us = sample.offset_us.saturating_sub(by_us);
        }
    }

    /// The sample with the shortest round trip; `None` before the first.
    pub fn best(&self) -> Option<Offset> {
        self.samples.iter().copied().min_by_key(|sample| sample.rtt_us)
    }
}

impl Offset {
    /// True if both can be true of the same two clocks: each is wrong by at most half its round trip.
    fn agrees_with(self, other: Self) -> bool {
        let most = (self.rtt_us.saturating_add(other.rtt_us) / 2).saturating_add(SLACK_US);
        self.offset_us.abs_diff(other.offset_us) <= most
    }

    /// Reads the other clock when ours shows `ours`.
    pub fn to_theirs(self, ours: u64) -> u64 {
        ours.saturating_add_signed(self.offset_us)
    }

    /// What our clock shows when the other shows `theirs`.
    pub fn to_ours(self, theirs: u64) -> u64 {
        theirs.saturating_add_signed(self.offset_us.saturating_neg())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_not_measured_anew() {
        let mut filter = ClockFilter::default();
        filter.sample(Exchange { sent: 1_000, arrived: 6_100, answered: 6_100, back: 1_200 });
        filter.was_set(300_000_000);
        assert_eq!(filter.best().map(|best| best.offset_us), Some(5_000 - 300_000_000));
        // What is measured then agrees with it.
        let later = 300_001_000;
        filter.sample(Exchange { sent: later, arrived: 6_150, answered: 6_150, back: later + 300 });
        assert_eq!(filter.samples.len(), 2);
        filter.was_set(-300_000_000);
        assert_eq!(filter.best().map(|best| best.offset_us), Some(5_000));
    }

    #[test]
    fn finds_the_offset_of_a_skewed_clock() {
        let mut filter = ClockFilter::default();
        assert_eq!(filter.best(), None);
        // The other clock is 5,000 ahead; the path takes 100 out and 300 home, then 50 both ways.
        filter.sample(Exchange { sent: 1_000, arrived: 6_100, answered: 6_110, back: 1_410 });
        assert_eq!(filter.best(), Some(Offset { offset_us: 4_900, rtt_us: 400 }));
        filter.sample(Exchange { sent: 2_000, arrived: 7_050, answered: 7_060, back: 2_110 });
        let best = filter.best().unwrap();
        assert_eq!(best, Offset { offset_us: 5_000, rtt_us: 100 });
        assert_eq!(best.to_theirs(10), 5_010);
        assert_eq!(best.to_ours(5_010), 10);
    }

    #[test]
    fn a_clock_that_was_set_back_gives_no_sample() {
        let mut filter = ClockFilter::default();
        filter.sample(Exchange { sent: 1_000, arrived: 1_000, answered: 1_000, back: 900 });
        filter.sample(Exchange { sent: 1_000, arrived: 1_000, answered: 900, back: 1_100 });
        filter.sample(Exchange { sent: 0, arrived: u64::MAX, answered: u64::MAX, back: 0 });
        assert_eq!(filter.best(), None);
    }

    #[test]
    fn a_clock_that_was_set_is_believed_at_once() {
        let mut filter = ClockFilter::default();
        let (near, jump) = (1_000, 300_000_000);
        filter.sample(Exchange { sent: 1_000, arrived: 1_500, answered: 1_500, back: 2_000 });
        // A longer way says nothing against a shorter one.
        filter.sample(Exchange { sent: 5_000, arrived: 105_000, answered: 105_000, back: 125_000 });
        assert_eq!(filter.best(), Some(Offset { offset_us: 0, rtt_us: near }));
        // Ours jumps ahead between two exchanges, of which the second takes longer.
        let sent = jump + 10_000;
        filter.sample(Exchange { sent, arrived: 60_000, answered: 60_000, back: sent + 100_000 });
        assert_eq!(filter.best(), Some(Offset { offset_us: -300_000_000, rtt_us: 100_000 }));
    }

    #[test]
    fn the_window_forgets() {
        let mut filter = ClockFilter::default();
        for i in 0..=WINDOW as u64 {
            let rtt = if i == 0 { 1 } else { 100 };
            filter.sample(Exchange { sent: i, arrived: i, answered: i, back: i + rtt });
        }
        assert_eq!(filter.best().unwrap().rtt_us, 100);
    }
}

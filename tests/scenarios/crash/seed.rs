//! Randomness that can be repeated.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose victims.
pub(crate) struct Seed(u64);

impl Seed {
    /// From `DIFUSOR_SEED`, or a fixed one; printed, so that a failure can be repeated.
    pub(crate) fn new(test: &str) -> Self {
        let seed = std::env::var("DIFUSOR_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_240_602);
        println!("{test}: DIFUSOR_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    /// A time up to `most`, more often a short one.
    pub(crate) fn moment(&mut self, most: Duration) -> Duration {
        most.mul_f64((self.below(1001) as f64 / 1000.0).powi(3))
    }
}

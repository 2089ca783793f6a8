//! Deterministic random numbers: SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).

#[derive(Debug)]
pub(crate) struct Prng(u64);

impl Prng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// `true` with this probability; always takes one number, so that later draws do not depend on the probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are what a double holds.
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers() {
        let mut prng = Prng::new(1_234_567);
        assert_eq!([prng.next(), prng.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn bounds() {
        let mut prng = Prng::new(7);
        assert!((0..1_000).all(|_| !prng.chance(0.0)));
        assert!((0..1_000).all(|_| prng.chance(1.0)));
    }
}

//! The only source of chance: splitmix64 streams keyed by what they are for.
//!
//! Kept here rather than taken from a crate, so that no upgrade can change a package's bytes. A stream is found
//! directly from its key, which is what makes random access to rows and packages possible.

/// What a stream is used for; keeps streams with equal numbers apart.
#[derive(Clone, Copy)]
pub(crate) enum Domain {
    /// Names of entities and districts.
    Place = 1,
    /// Registered voters of a section.
    Section = 2,
    /// Support of the parties in a district.
    Support = 3,
    /// When a sheet arrives, and whether it is corrected later.
    Arrival = 4,
    /// What a sheet says, as first captured.
    Sheet = 5,
    /// What a sheet says once corrected.
    Correction = 6,
    /// Contents of files that never change.
    Static = 7,
    /// Names of candidates.
    Candidate = 8,
    /// Order of the rows of a table.
    Order = 9,
}

/// A reproducible sequence of numbers.
pub(crate) struct Stream(u64);

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl Stream {
    /// The stream for one purpose and one place in it.
    pub(crate) fn new(seed: u64, domain: Domain, major: usize, minor: usize) -> Self {
        let mut key = mix(seed ^ (domain as u64).wrapping_mul(GAMMA));
        key = mix(key ^ (major as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93));
        Self(mix(key ^ (minor as u64).wrapping_mul(0xA076_1D64_78BD_642F)))
    }

    /// Sixty-four even bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// A number below `bound`, which must not exceed 2^32; 0 for a bound of 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((self.next() >> 32) * bound) >> 32
    }

    /// A number in `[0, 1)` with 53 bits.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of `choices`; `None` only if there are none.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let at = self.below(choices.len() as u64);
        choices.get(usize::try_from(at).unwrap_or(0))
    }

    /// Fills `bytes` with even noise.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            for (slot, byte) in part.iter_mut().zip(self.next().to_le_bytes()) {
                *slot = byte;
            }
        }
    }
}

/// Finaliser of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_numbers_of_the_reference_sequence() {
        let mut stream = Stream(1_234_567);
        assert_eq!(stream.next(), 6_457_827_717_110_365_317);
        assert_eq!(stream.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn below_and_unit_stay_in_bounds() {
        let mut stream = Stream::new(1, Domain::Sheet, 2, 3);
        for _ in 0..10_000 {
            assert!(stream.below(7) < 7);
            assert!((0.0..1.0).contains(&stream.unit()));
        }
        assert_eq!(stream.below(0), 0);
    }

    #[test]
    fn streams_of_different_keys_differ() {
        let first = |domain, major, minor| Stream::new(9, domain, major, minor).next();
        assert_ne!(first(Domain::Sheet, 1, 2), first(Domain::Sheet, 2, 1));
        assert_ne!(first(Domain::Sheet, 1, 2), first(Domain::Correction, 1, 2));
    }
}

//! How evenly requests are spread: over sources, or over paths.
//!
//! Floods move the entropy of what they repeat down and of what they make up to the top, where crowds keep it (Lakhina,
//! Crovella and Diot, SIGCOMM 2005). It is estimated as Lall, Sekar, Ogihara, Xu and Zhang do it (SIGMETRICS 2006): the few
//! that come often by their counts, here those of [`super::heavy`], and the many that do not as if they came equally often,
//! here as many as [`super::distinct`] says there are. The latter makes the estimate an upper bound, by little: the rest is
//! what no place was found for.

/// Shannon entropy over that of as many that all come equally often: 0 if all is one, 1 if none comes more often than
/// another. `heavy` are counts of those that are known, `total` is of all, `distinct` is how many they all are.
pub fn spread(heavy: impl Iterator<Item = u64>, total: u64, distinct: f64) -> f64 {
    let total = total as f64;
    if total <= 0.0 || distinct <= 1.5 {
        // One, as far as anyone can tell.
        return 0.0;
    }
    let (mut sum, mut known, mut share) = (0.0, 0.0, 0.0);
    for count in heavy.filter(|count| *count > 0) {
        let part = (count as f64 / total).min(1.0);
        sum -= part * part.ln();
        share += part;
        known += 1.0;
    }
    let rest = (1.0 - share).max(0.0);
    if rest > 1e-9 {
        let others = (distinct - known).max(1.0);
        sum += rest * (others / rest).ln();
    }
    (sum / distinct.max(known).ln()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, RandomState};

    use super::{
        super::{
            distinct::Distinct,
            heavy::{Deed, Heavy, Summary},
        },
        *,
    };

    /// The true one, and the estimate, of a stream of so many of each.
    fn both(counts: &[u64]) -> (f64, f64) {
        let keys = RandomState::new();
        let (mut table, mut distinct) = (Heavy::<u64>::new(64), Distinct::default());
        let mut left: Vec<u64> = counts.to_vec();
        // One of each in turn: what is rare never comes in a row.
        while left.iter().any(|count| *count > 0) {
            for (key, left) in left.iter_mut().enumerate().filter(|(_, left)| **left > 0) {
                let hash = keys.hash_one(key);
                table.add(hash, || key as u64, 1, Deed::default());
                distinct.add(hash);
                *left -= 1;
            }
        }
        let total: u64 = counts.iter().sum();
        let part = |count: &u64| *count as f64 / total as f64;
        let exact =
            counts.iter().map(|count| -part(count) * part(count).ln()).sum::<f64>() / (counts.len() as f64).ln();
        let mut summary = Summary::default();
        summary.take(&table);
        (exact, spread(summary.counts(), summary.total, distinct.estimate()))
    }

    #[test]
    fn estimates_are_near_the_truth() {
        let zipf = |len: u64, top: u64| (1..=len).map(|rank| (top / rank).max(1)).collect::<Vec<_>>();
        for counts in [vec![10; 5_000], zipf(1_400, 20_000), zipf(20_000, 5_000), {
            let mut one = vec![1; 3_000];
            one[0] = 100_000;
            one
        }] {
            let (exact, estimate) = both(&counts);
            assert!((exact - estimate).abs() < 0.06, "{} of them: {exact}, not {estimate}", counts.len());
        }
    }

    #[test]
    fn ends_are_exact() {
        assert_eq!(spread([].into_iter(), 0, 0.0), 0.0);
        assert_eq!(spread([1000].into_iter(), 1000, 1.0), 0.0);
        assert!(spread([].into_iter(), 1000, 1000.0) > 0.999);
        assert!(spread([500, 500].into_iter(), 1000, 2.0) > 0.999);
    }
}

//! How large the files of the site are: most are tiny, a few are huge.
//!
//! Half are below 0.9 KB and one in a hundred is above 512 KB, as measured on real sites.

use crate::layout::{Layout, Level};

/// Quantiles (in thousandths) and the bytes that belong to them; straight lines in between.
const QUANTILES: [(u64, u64); 9] = [
    (0, 260),
    (250, 560),
    (500, 900),
    (700, 3_600),
    (850, 15_000),
    (930, 72_000),
    (970, 230_000),
    (990, 524_288),
    (1_000, 2_600_000),
];

/// Mean bytes that a file surely stays below, for the bound on a package.
const MEAN_BOUND: u64 = 80_000;

/// A bound on the plain bytes of so many files of at most `largest` bytes each.
pub(crate) fn bound(files: u64, largest: u64) -> u64 {
    files.saturating_mul(largest.min(MEAN_BOUND))
}

/// Bytes of the file with this rank (0 the largest) of `count`.
fn at_rank(rank: usize, count: usize, largest: usize) -> usize {
    let steps = 2_000 * count.max(1) as u64;
    let quantile = steps.saturating_sub(2_000 * rank as u64 + 1_000);
    let mut bytes = 0;
    let mut below = (0, 0);
    for (mark, size) in QUANTILES.map(|(thousandths, size)| (thousandths * 2 * count.max(1) as u64, size)) {
        if quantile <= mark {
            let (from, small) = below;
            bytes = small + (size - small) * (quantile - from) / (mark - from).max(1);
            break;
        }
        below = (mark, size);
    }
    usize::try_from(bytes).unwrap_or(largest).min(largest)
}

/// Sizes aimed at for every file of the site.
pub(crate) struct Plan {
    /// For each election, for each of its nodes.
    pub(crate) results: Vec<Vec<usize>>,
    /// For files that never change, the largest first.
    pub(crate) fixed: Vec<usize>,
}

impl Plan {
    /// Spreads the sizes over `fixed` unchanging files, evenly, and over the results, the largest areas first.
    pub(crate) fn new(layouts: &[Layout], fixed: usize, largest: usize) -> Self {
        let results: usize = layouts.iter().map(|layout| layout.nodes.len()).sum();
        let count = results + fixed;
        let mut plan = Self { results: Vec::new(), fixed: Vec::with_capacity(fixed) };
        let mut left = Vec::with_capacity(results);
        for rank in 0..count {
            let due = (2 * plan.fixed.len() + 1) * count / (2 * fixed.max(1));
            let size = at_rank(rank, count, largest);
            if plan.fixed.len() < fixed && rank >= due { plan.fixed.push(size) } else { left.push(size) }
        }
        plan.results = layouts.iter().map(|layout| vec![0; layout.nodes.len()]).collect();
        let mut left = left.into_iter();
        for level in [Level::Nation, Level::Entity, Level::District] {
            for (layout, sizes) in layouts.iter().zip(&mut plan.results) {
                for (_, size) in layout.nodes.iter().zip(sizes).filter(|(node, _)| node.level == level) {
                    *size = left.next().unwrap_or(0);
                }
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_met() {
        let sizes: Vec<_> = (0..1_427).map(|rank| at_rank(rank, 1_427, 2_000_000)).collect();
        assert!(sizes.is_sorted_by(|a, b| a >= b));
        assert!((850..950).contains(&sizes[713]), "median {}", sizes[713]);
        assert!((450_000..600_000).contains(&sizes[14]), "p99 {}", sizes[14]);
        assert!(sizes[0] <= 2_000_000 && sizes[1_426] >= 260);
    }

    #[test]
    fn every_file_gets_a_size() {
        let layouts = [Layout::new(1, 0, 100, 7), Layout::new(1, 1, 100, 40)];
        let plan = Plan::new(&layouts, 20, 2_000_000);
        assert_eq!(plan.fixed.len(), 20);
        assert!(plan.fixed.iter().all(|size| (200..=2_000_000).contains(size)));
        assert!(plan.results.iter().flatten().all(|size| (200..=2_000_000).contains(size)));
        assert!(plan.results[0][0] > plan.results[0][6]);
    }
}

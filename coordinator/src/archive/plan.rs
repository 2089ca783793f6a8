//! Which cuts are kept as packages, and which are told by which (pure).
//!
//! Every so many cuts, one is kept as it came: a keyframe. A cut between them is told by an earlier one of its group, the
//! one whose number in the group has the lowest bit less (as skip lists do): half of the cuts are told by their
//! neighbour, and none is more steps away from its keyframe than the size of a group has bits.

use std::collections::HashSet;

use difusor_proto::{CutKey, Digest, store::AtRest};

/// What is kept how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Cuts from one keyframe to the next; one or none of them: every cut stays as it came.
    pub every: u64,
    /// The newest cuts, which stay as they came: nodes that lag, and a rollback, need them at once.
    pub verbatim: usize,
}

impl Plan {
    /// The number of the cut that the one with this number is told by; `None` for a keyframe.
    pub fn base(&self, seq: u64) -> Option<u64> {
        let since = seq.checked_sub(1)?;
        let within = since.checked_rem(self.every)?;
        (within > 0).then(|| seq - within + (within & (within - 1)))
    }

    /// The oldest cut that lies there as it came and should be told, and by which. `busy` cuts are left alone, `given_up`
    /// were tried before.
    pub fn due(&self, held: &[AtRest], busy: &[CutKey], given_up: &HashSet<Digest>) -> Option<(CutKey, CutKey)> {
        let old = held.len().saturating_sub(self.verbatim);
        let whole = held.iter().take(old).filter(|at_rest| at_rest.base.is_none()).map(|at_rest| at_rest.cut);
        let mut free = whole.filter(|cut| !busy.contains(cut) && !given_up.contains(&cut.root));
        free.find_map(|cut| {
            let base = self.base(cut.seq)?;
            // A cut that was withdrawn is no base: what would be told by it stays as it came.
            held.iter().map(|at_rest| at_rest.cut).find(|held| held.seq == base).map(|base| (cut, base))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAN: Plan = Plan { every: 8, verbatim: 2 };

    fn held(seq: u64, base: Option<u64>) -> AtRest {
        AtRest { cut: key(seq), bytes: 1, base: base.map(|seq| key(seq).root) }
    }

    fn key(seq: u64) -> CutKey {
        CutKey { seq, label: "20240602_2000".parse().unwrap(), root: Digest::of(&seq.to_le_bytes()) }
    }

    #[test]
    fn bases() {
        let bases: Vec<_> = (1..=17).map(|seq| PLAN.base(seq).unwrap_or(0)).collect();
        assert_eq!(bases, [0, 1, 1, 3, 1, 5, 5, 7, 0, 9, 9, 11, 9, 13, 13, 15, 0]);
        for every in [0, 1] {
            assert_eq!(Plan { every, ..PLAN }.base(7), None);
        }
    }

    #[test]
    fn the_oldest_that_came_as_it_is_comes_first() {
        let none = HashSet::new();
        let mut cuts: Vec<_> = (1..=4).map(|seq| held(seq, None)).collect();
        assert_eq!(PLAN.due(&cuts, &[], &none), Some((key(2), key(1))));
        assert_eq!(PLAN.due(&cuts, &[key(2)], &none), None, "three and four are the newest");
        cuts.push(held(5, None));
        assert_eq!(PLAN.due(&cuts, &[key(2)], &none), Some((key(3), key(1))));
        assert_eq!(PLAN.due(&cuts, &[], &HashSet::from([key(2).root])), Some((key(3), key(1))));
        // One was withdrawn: what would be told by it stays.
        let cuts: Vec<_> = [2, 3, 4, 5, 6].map(|seq| held(seq, None)).into();
        assert_eq!(PLAN.due(&cuts, &[], &none), Some((key(4), key(3))));
        assert_eq!(PLAN.due(&[], &[], &none), None);
    }

    proptest! {
        #[test]
        fn chains_are_short_and_lead_to_keyframes(seq in 1_u64..100_000, every in 2_u64..200) {
            let plan = Plan { every, verbatim: 0 };
            let (mut at, mut steps) = (seq, 0);
            while let Some(base) = plan.base(at) {
                prop_assert!(base < at && base + every > at);
                (at, steps) = (base, steps + 1);
            }
            prop_assert_eq!((at - 1) % every, 0);
            prop_assert!(steps <= every.ilog2() + 1);
        }
    }
}

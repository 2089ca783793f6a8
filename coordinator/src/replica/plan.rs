//! What has to be done for a replica, decided from three lists (pure).

use std::collections::{BTreeMap, HashSet};

use difusor_proto::store::{PackKind, PackName};

/// Packs with their lengths.
pub(super) type Packs = BTreeMap<PackName, u64>;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Send it.
    Upload(PackName, u64),
    /// A copy is there, but nobody made sure of its bytes.
    Check(PackName, u64),
    /// Its cut is kept in a smaller form by now, here and there.
    Delete(PackName),
}

/// The next thing to do, if anything is left: what is missing first, the newest before the others; then what is not sure;
/// then what is superseded. `held` are copies whose bytes were verified, `skipped` are packs to leave alone.
pub(super) fn next(here: &Packs, there: &Packs, held: &Packs, skipped: &HashSet<PackName>) -> Option<Step> {
    let wanted = || here.iter().rev().filter(|(name, _)| !skipped.contains(*name));
    let missing = wanted().find(|(name, len)| there.get(*name) != Some(*len));
    let unsure = || wanted().find(|(name, len)| held.get(*name) != Some(*len));
    let upload = missing.map(|(name, len)| Step::Upload(name.clone(), *len));
    let check = || unsure().map(|(name, len)| Step::Check(name.clone(), *len));
    upload
        .or_else(check)
        .or_else(|| superseded(here, there, held).filter(|name| !skipped.contains(name)).map(Step::Delete))
}

/// A copy of a cut that is not here any more in that form, while the form that took its place is held.
fn superseded(here: &Packs, there: &Packs, held: &Packs) -> Option<PackName> {
    let of = |packs: &Packs, kind| {
        packs.keys().filter(|name| name.kind() == kind).map(|name| name.cut().to_owned()).collect::<HashSet<_>>()
    };
    let whole = of(here, PackKind::Cut);
    let sure: Packs = here
        .iter()
        .filter(|(name, len)| held.get(*name) == Some(*len) && there.get(*name) == Some(*len))
        .map(|(name, len)| (name.clone(), *len))
        .collect();
    let small = of(&sure, PackKind::Delta);
    there
        .keys()
        .find(|name| name.kind() == PackKind::Cut && !whole.contains(name.cut()) && small.contains(name.cut()))
        .cloned()
}

/// Packs, and their bytes, that are held and that are not.
pub(super) fn count(here: &Packs, there: &Packs, held: &Packs) -> ((u64, u64), (u64, u64)) {
    let mut sums = ((0, 0), (0, 0));
    for (name, len) in here {
        let safe = there.get(name) == Some(len) && held.get(name) == Some(len);
        let sum: &mut (u64, u64) = if safe { &mut sums.0 } else { &mut sums.1 };
        sum.0 += 1;
        sum.1 = sum.1.saturating_add(*len);
    }
    sums
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(seq: u64, kind: &str) -> PackName {
        format!("{seq:010}-20240602_2005-0123456789ab-{seq}.{kind}").parse().unwrap()
    }

    fn packs(list: &[(u64, &str, u64)]) -> Packs {
        list.iter().map(|(seq, kind, len)| (name(*seq, kind), *len)).collect()
    }

    #[test]
    fn the_newest_goes_first_and_nothing_twice() {
        let here = packs(&[(1, "cut", 10), (2, "cut", 10), (3, "cut", 10)]);
        let none = HashSet::new();
        let step = |there: &[_], held: &[_]| next(&here, &packs(there), &packs(held), &none);
        assert_eq!(step(&[], &[]), Some(Step::Upload(name(3, "cut"), 10)));
        assert_eq!(step(&[(3, "cut", 10)], &[(3, "cut", 10)]), Some(Step::Upload(name(2, "cut"), 10)));
        // Another length is another file, whatever was verified once.
        let there = [(1, "cut", 10), (2, "cut", 9), (3, "cut", 10)];
        assert_eq!(step(&there, &[(2, "cut", 10)]), Some(Step::Upload(name(2, "cut"), 10)));
        let there = [(1, "cut", 10), (2, "cut", 10), (3, "cut", 10)];
        assert_eq!(step(&there, &[(3, "cut", 10)]), Some(Step::Check(name(2, "cut"), 10)));
        assert_eq!(step(&there, &there), None);
        let skipped = [name(3, "cut"), name(2, "cut")].into();
        assert_eq!(next(&here, &packs(&[]), &packs(&[]), &skipped), Some(Step::Upload(name(1, "cut"), 10)));
    }

    #[test]
    fn a_cut_goes_only_once_its_delta_is_held_and_it_is_gone_here() {
        let there = packs(&[(1, "cut", 10), (1, "delta", 2), (2, "cut", 10)]);
        let held = packs(&[(1, "delta", 2), (1, "cut", 10), (2, "cut", 10)]);
        let none = HashSet::new();
        let both = packs(&[(1, "cut", 10), (1, "delta", 2), (2, "cut", 10)]);
        let small = packs(&[(1, "delta", 2), (2, "cut", 10)]);
        assert_eq!(next(&both, &there, &held, &none), None);
        assert_eq!(next(&small, &there, &held, &none), Some(Step::Delete(name(1, "cut"))));
        // Not for a delta that is not sure, nor for one that is not here.
        assert_eq!(superseded(&small, &there, &packs(&[(2, "cut", 10)])), None);
        assert_eq!(superseded(&packs(&[(2, "cut", 10)]), &there, &held), None);
        assert_eq!(superseded(&Packs::new(), &there, &held), None);
    }

    proptest! {
        /// Whatever is there to begin with, carrying the steps out ends, with every pack held, and no cut without a copy
        /// at any moment that had one before.
        #[test]
        fn steps_lead_to_the_end(
            here in prop::collection::btree_map((1..8_u64, prop::bool::ANY), 1..3_u64, 0..8),
            there in prop::collection::btree_map((1..8_u64, prop::bool::ANY), 1..3_u64, 0..8),
            held in prop::collection::btree_map((1..8_u64, prop::bool::ANY), 1..3_u64, 0..8),
        ) {
            let packs = |list: &BTreeMap<(u64, bool), u64>| -> Packs {
                list.iter().map(|((seq, whole), len)| (name(*seq, if *whole { "cut" } else { "delta" }), *len)).collect()
            };
            let (here, mut there, mut held) = (packs(&here), packs(&there), packs(&held));
            let before: HashSet<_> = there.keys().map(|name| name.cut().to_owned()).collect();
            for _ in 0..64 {
                match next(&here, &there, &held, &HashSet::new()) {
                    None => break,
                    Some(Step::Upload(name, len)) => {
                        prop_assert!(there.get(&name) != Some(&len));
                        there.insert(name.clone(), len);
                        held.insert(name, len);
                    }
                    Some(Step::Check(name, len)) => drop(held.insert(name, len)),
                    Some(Step::Delete(name)) => {
                        prop_assert!(!here.contains_key(&name) && name.kind() == PackKind::Cut);
                        there.remove(&name);
                    }
                }
                let now: HashSet<_> = there.keys().map(|name| name.cut().to_owned()).collect();
                prop_assert!(before.is_subset(&now));
            }
            prop_assert_eq!(next(&here, &there, &held, &HashSet::new()), None);
            prop_assert_eq!(count(&here, &there, &held).1, (0, 0));
        }
    }
}

//! The bounds that Space-Saving promises, and that merging keeps.

use std::hash::{BuildHasher as _, RandomState};

use proptest::prelude::*;

use super::*;

fn add(table: &mut Heavy<u64>, keys: &RandomState, key: u64, weight: u32, refused: bool) {
    table.add(keys.hash_one(key), || key, weight, Deed { refused, bytes: 10 });
}

#[test]
fn few_are_counted_exactly() {
    let (keys, mut table) = (RandomState::new(), Heavy::new(64));
    for key in 0..20_u64 {
        for _ in 0..=key {
            add(&mut table, &keys, key, 2, key % 2 == 0);
        }
    }
    let mut summary = Summary::default();
    summary.take(&table);
    assert_eq!((summary.total, summary.len()), (420, 20));
    let top = summary.top(2);
    assert_eq!(top[0], Entry { key: 19, count: 40, refused: 0, bytes: 400 });
    assert_eq!(top[1], Entry { key: 18, count: 38, refused: 38, bytes: 380 });
    table.clear();
    let mut summary = Summary::default();
    summary.take(&table);
    assert!(summary.is_empty() && summary.total == 0);
}

/// One who sends a fifth is found among a crowd that nobody stands out of, and nearly all of its requests are known.
#[test]
fn who_sends_much_is_found_in_a_crowd() {
    let (keys, mut table) = (RandomState::new(), Heavy::new(64));
    for round in 0..200_000_u64 {
        let key = if round % 5 == 0 { 7 } else { round + 1_000 };
        add(&mut table, &keys, key, 1, key == 7);
    }
    let mut summary = Summary::default();
    summary.take(&table);
    let top = summary.top(2);
    assert_eq!(top[0].key, 7);
    assert!((38_000..=40_000).contains(&top[0].count), "{top:?}");
    assert!(top[0].refused >= top[0].count - 10 && top[0].refused <= 40_000);
    // Of the crowd, nobody is said to have come more often than it did.
    assert_eq!(top[1].count, 1);
}

#[test]
fn what_is_trimmed_stays_in_the_total() {
    let (keys, mut table) = (RandomState::new(), Heavy::new(1024));
    (0..100_u64).for_each(|key| (0..=key).for_each(|_| add(&mut table, &keys, key, 1, false)));
    let mut summary = Summary::default();
    summary.take(&table);
    summary.trim(10);
    assert_eq!((summary.len(), summary.total, summary.top(1)[0].key), (10, 5050, 99));
    let twice = summary.clone();
    summary.merge(&twice);
    assert_eq!((summary.len(), summary.total, summary.top(1)[0].count), (10, 10_100, 200));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes in whatever order: nobody is accused of more than it did, and who came more often than an eighth
    /// of its set did is there with all but an eighth.
    #[test]
    fn counts_are_never_too_high_and_the_heavy_are_there(
        stream in prop::collection::vec((0_u64..60, 1_u32..9), 1..2_000),
        crowd in 0_u64..3_000,
    ) {
        let (keys, mut table, mut truth) = (RandomState::new(), Heavy::new(4), HashMap::<u64, u64>::new());
        let mut of_set = HashMap::<u64, u64>::new();
        let crowd = (0..crowd).map(|key| (1_000 + key, 1));
        for (key, weight) in stream.into_iter().chain(crowd) {
            add(&mut table, &keys, key, weight, false);
            *truth.entry(key).or_default() += u64::from(weight);
            *of_set.entry(keys.hash_one(key) & 3).or_default() += u64::from(weight);
        }
        let mut summary = Summary::default();
        summary.take(&table);
        prop_assert_eq!(summary.total, truth.values().sum::<u64>());
        prop_assert!(summary.len() <= 4 * WAYS);
        let said: HashMap<u64, u64> = summary.top(100).iter().map(|entry| (entry.key, entry.count)).collect();
        for (key, count) in &truth {
            let said = said.get(key).copied().unwrap_or(0);
            prop_assert!(said <= *count, "{key} came {count} times, not {said}");
            let bound = of_set[&(keys.hash_one(key) & 3)] / WAYS as u64;
            prop_assert!(said + bound >= *count, "{key} came {count} times, not {said}");
        }
    }
}

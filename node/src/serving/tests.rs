//! What is shown: flips, improvements, and snapshots that are let go.

use super::*;
use crate::site::fixture::Fixture;

/// Snapshots of these cuts.
fn sites<const N: usize>(seqs: [u64; N]) -> [Arc<Site>; N] {
    let fixture = Fixture::new();
    seqs.map(|seq| Arc::new(fixture.site(&fixture.cut(seq, &[("index.html", seq.to_string().as_bytes())]))))
}

fn seq(serving: &Serving) -> Option<u64> {
    serving.current().map(|site| site.cut().seq)
}

/// Which of these cuts pages can still be completed from.
fn held(serving: &Serving, seqs: &[u64]) -> Vec<u64> {
    serving
        .with(|shown| seqs.iter().copied().filter(|seq| shown.is_some_and(|shown| shown.of(*seq).is_some())).collect())
}

#[test]
fn a_flip_shows_the_new_cut_and_holds_the_one_before() {
    let (serving, [one, two]) = (Serving::default(), sites([1, 2]));
    assert_eq!((seq(&serving), serving.flips()), (None, 0));
    assert!(serving.with(|shown| shown.is_none()));
    let first = serving.flip(Arc::clone(&one));
    assert!(first.previous.is_none());
    assert_eq!((seq(&serving), serving.flips()), (Some(1), 1));
    let second = serving.flip(two);
    assert_eq!(second.previous.unwrap().site.cut(), one.cut());
    assert!(second.instant >= first.instant);
    assert_eq!((seq(&serving), serving.flips(), held(&serving, &[0, 1, 2, 3])), (Some(2), 2, vec![1, 2]));
    let since = serving.with(|shown| shown.unwrap().since());
    assert!(unix_ms().saturating_sub(since) < 60_000);
    assert_eq!(serving.with(|shown| shown.unwrap().cadence(since).since), Duration::ZERO);
}

#[test]
fn no_more_are_held_than_can_come_in_the_life_of_a_page() {
    let serving = Serving::default();
    for site in sites([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) {
        serving.flip(site);
    }
    assert_eq!(held(&serving, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), [6, 7, 8, 9, 10]);
    assert_eq!(serving.with(|shown| shown.unwrap().flips.len()), MAX_FLIPS);
    assert!(serving.with(|shown| shown.unwrap().cadence(unix_ms()).interval.is_some()));
}

#[test]
fn only_the_cut_that_is_served_is_improved() {
    let (serving, [one, two]) = (Serving::default(), sites([1, 2]));
    let better = |site: &Arc<Site>| Arc::new(sites([site.cut().seq]).into_iter().next().unwrap());
    assert!(!serving.improve(&one, Arc::clone(&one)), "nothing is served yet");
    serving.flip(Arc::clone(&one));
    serving.flip(Arc::clone(&two));
    let flips = serving.with(|shown| shown.unwrap().flips.clone());
    // Made from what is not served any more, or was replaced by something better of the same cut.
    for other in [Arc::clone(&one), Arc::clone(&better(&two))] {
        assert!(!serving.improve(&other, Arc::clone(&other)));
        assert!(Arc::ptr_eq(&serving.current().unwrap(), &two));
    }
    let fixture = Fixture::new();
    let cut = fixture.cut(3, &[("index.html", b"3")]);
    let (plain, finished) = (Arc::new(fixture.site(&cut)), Arc::new(fixture.site(&cut)));
    serving.flip(Arc::clone(&plain));
    assert!(serving.improve(&plain, Arc::clone(&finished)));
    assert!(Arc::ptr_eq(&serving.current().unwrap(), &finished));
    // It is no flip: what is held for pages stays, and so do the times.
    assert_eq!((serving.flips(), held(&serving, &[1, 2, 3])), (3, vec![1, 2, 3]));
    assert!(serving.with(|shown| shown.unwrap().flips.starts_with(&flips) && shown.unwrap().flips.len() == 3));
}

#[test]
fn all_that_is_shown_is_replaced_where_there_is_something_better() {
    let (serving, [one, two]) = (Serving::default(), sites([1, 2]));
    serving.replace(|_| panic!("nothing is shown"));
    serving.flip(Arc::clone(&one));
    serving.flip(Arc::clone(&two));
    let other = Arc::clone(&sites([1])[0]);
    serving.replace(|site| (site.cut().seq == 1).then(|| Arc::clone(&other)));
    assert!(Arc::ptr_eq(&serving.current().unwrap(), &two));
    serving.with(|shown| assert!(std::ptr::eq(shown.unwrap().of(1).unwrap(), other.as_ref())));
    assert_eq!(serving.flips(), 2);
}

#[test]
fn what_no_page_needs_any_more_is_let_go() {
    let (serving, [one, two, three]) = (Serving::default(), sites([1, 2, 3]));
    serving.forget();
    assert_eq!(seq(&serving), None);
    let now = unix_ms();
    let gone = Arc::downgrade(&one);
    let shown = |recent| Some(Arc::new(Shown { site: Arc::clone(&three), recent, flips: vec![now] }));
    serving.shown.store(shown(vec![(Arc::clone(&two), now + 60_000), (one, now)]));
    assert_eq!(held(&serving, &[1, 2, 3]), [1, 2, 3]);
    serving.forget();
    assert_eq!(held(&serving, &[1, 2, 3]), [2, 3]);
    assert!(gone.upgrade().is_none());
    // Nothing is overdue: nothing is replaced.
    let before = serving.shown.load_full().unwrap();
    serving.forget();
    assert!(Arc::ptr_eq(&before, &serving.shown.load_full().unwrap()));
    // A flip lets go of them as well.
    serving.shown.store(shown(vec![(Arc::clone(&two), now)]));
    let [four] = sites([4]);
    serving.flip(four);
    assert_eq!(held(&serving, &[2, 3, 4]), [3, 4]);
    let until = serving.with(|shown| shown.unwrap().recent[0].1);
    let life = u64::try_from(PAGE_LIFE.as_millis()).unwrap();
    assert!((now + life..now + life + 60_000).contains(&until));
}

#[test]
fn what_is_lent_outlives_a_flip() {
    let (serving, [one, two]) = (Serving::default(), sites([1, 2]));
    serving.flip(one);
    serving.with(|shown| {
        let shown = shown.unwrap();
        serving.flip(Arc::clone(&two));
        assert_eq!((shown.site.cut().seq, seq(&serving)), (1, Some(2)));
    });
}

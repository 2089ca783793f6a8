//! What is offered to whom, and when all flip, event by event.

use difusor_proto::MeshId;
use proptest::prelude::*;

use super::*;

const POLICY: Policy =
    Policy { when: When::Deadline, deadline: Duration::from_secs(60), lead: Duration::from_millis(100) };
const SECOND: u64 = 1_000_000;

fn cut(seq: u64) -> CutKey {
    CutKey { seq, label: "20210606_2000".parse().unwrap(), root: Digest::of(&seq.to_le_bytes()) }
}

fn joined(node: &str, holds: &[u64], serial: u64) -> Event {
    Event::Joined {
        node: node.parse().unwrap(),
        zone: node.parse().unwrap(),
        holds: holds.iter().map(|seq| cut(*seq).root).collect(),
        serial,
        asks: true,
        gives: true,
    }
}

fn staged(node: &str, seq: u64) -> Event {
    Event::Staged { node: node.parse().unwrap(), cut: cut(seq) }
}

fn publish(seq: u64) -> Event {
    Event::Publish { cut: cut(seq), kind: FlipKind::Publish, durable: true }
}

fn offer(node: &str, seq: u64) -> Action {
    Action::Offer { node: node.parse().unwrap(), cut: cut(seq) }
}

fn flip(seq: u64, at_us: u64) -> Action {
    Action::Flip { cut: cut(seq), at_us, kind: FlipKind::Publish }
}

/// A rollout with the connected nodes a, b and c.
fn three() -> Rollout {
    let mut rollout = Rollout::new(POLICY, None, 0);
    for node in ["a", "b", "c"] {
        assert_eq!(rollout.step(joined(node, &[], 0), 0), []);
    }
    rollout
}

#[test]
fn all_stage_then_all_flip() {
    let mut rollout = three();
    assert_eq!(rollout.step(publish(1), 0), [offer("a", 1), offer("b", 1), offer("c", 1)]);
    assert_eq!(rollout.step(staged("a", 1), 10), []);
    assert_eq!(rollout.step(staged("b", 1), 20), []);
    assert_eq!(rollout.step(staged("c", 1), 30), [flip(1, 100_030)]);
    assert_eq!(rollout.current(), Some(cut(1)));
    assert_eq!(rollout.step(Event::Tick, 40), []);
}

#[test]
fn a_flip_that_was_not_kept_is_ordered_again() {
    let mut rollout = three();
    rollout.step(publish(1), 0);
    for node in ["a", "b", "c"] {
        rollout.step(staged(node, 1), 0);
    }
    rollout.flip_failed();
    assert_eq!((rollout.current(), rollout.target()), (None, Some(cut(1))));
    assert_eq!(rollout.step(Event::Tick, 5), [flip(1, 100_005)]);
    rollout.flipped(1);
    rollout.flip_failed();
    assert_eq!(rollout.current(), Some(cut(1)));
}

#[test]
fn the_lead_grows_with_the_slowest_path() {
    let mut rollout = three();
    rollout.step(Event::RoundTrip { node: "b".parse().unwrap(), rtt_us: 200_000 }, 0);
    rollout.step(publish(1), 0);
    rollout.step(staged("a", 1), 0);
    rollout.step(staged("b", 1), 0);
    assert_eq!(rollout.step(staged("c", 1), 0), [flip(1, 400_000)]);
}

#[test]
fn nothing_flips_before_it_is_durable_here() {
    let mut rollout = three();
    rollout.step(Event::Publish { cut: cut(1), kind: FlipKind::Publish, durable: false }, 0);
    for node in ["a", "b", "c"] {
        assert_eq!(rollout.step(staged(node, 1), 0), []);
    }
    assert_eq!(rollout.step(Event::Durable { cut: cut(1) }, 5), [flip(1, 100_005)]);
    rollout.step(Event::Publish { cut: cut(2), kind: FlipKind::Publish, durable: false }, 6);
    rollout.step(Event::Withdrawn { cut: cut(2) }, 7);
    assert_eq!(rollout.target(), None);
}

#[test]
fn a_straggler_is_waited_for_until_the_deadline() {
    let mut rollout = three();
    rollout.step(publish(1), 0);
    rollout.step(staged("a", 1), 0);
    rollout.step(staged("b", 1), 0);
    assert_eq!(rollout.step(Event::Tick, 59 * SECOND), []);
    assert_eq!(rollout.step(Event::Tick, 60 * SECOND), [flip(1, 60 * SECOND + 100_000)]);
    rollout.flipped(1);
    // It was sent the flip with the others, and obeys it when it has staged.
    assert_eq!(rollout.step(staged("c", 1), 61 * SECOND), []);
}

#[test]
fn a_minority_never_flips() {
    let mut rollout = three();
    rollout.step(publish(1), 0);
    rollout.step(staged("a", 1), 0);
    assert_eq!(rollout.step(Event::Tick, 600 * SECOND), []);
}

#[test]
fn a_node_that_dies_is_not_waited_for() {
    let mut rollout = three();
    rollout.step(publish(1), 0);
    rollout.step(staged("a", 1), 0);
    rollout.step(staged("b", 1), 0);
    assert_eq!(rollout.step(Event::Left { node: "c".parse().unwrap() }, 9), [flip(1, 100_009)]);
    rollout.flipped(1);
    // It hears that it is behind before it has the cut.
    let remind = Action::Remind { node: "c".parse().unwrap() };
    assert_eq!(rollout.step(joined("c", &[], 0), 10), [offer("c", 1), remind]);
    assert_eq!(rollout.step(staged("c", 1), 11), []);
}

#[test]
fn a_node_that_was_away_skips_what_it_missed() {
    let mut rollout = three();
    for seq in 1..=3 {
        rollout.step(publish(seq), 0);
        for node in ["a", "b", "c"] {
            rollout.step(staged(node, seq), 0);
        }
        rollout.flipped(seq);
    }
    let remind = |node: &str| Action::Remind { node: node.parse().unwrap() };
    assert_eq!(rollout.step(joined("d", &[1], 1), 5), [offer("d", 3), remind("d")]);
    assert_eq!(rollout.step(joined("e", &[3], 2), 5), [Action::Remind { node: "e".parse().unwrap() }]);
    assert_eq!(rollout.step(joined("f", &[3], 3), 5), []);
}

#[test]
fn cuts_follow_each_other() {
    let mut rollout = three();
    rollout.step(publish(1), 0);
    assert_eq!(rollout.step(publish(2), 0), []);
    rollout.step(staged("a", 1), 0);
    rollout.step(staged("b", 1), 0);
    let actions = rollout.step(staged("c", 1), 0);
    assert_eq!(actions, [flip(1, 100_000), offer("a", 2), offer("b", 2), offer("c", 2)]);
}

#[test]
fn without_nodes_only_the_newest_waits() {
    let mut rollout = Rollout::new(POLICY, None, 0);
    for seq in 1..=3 {
        assert_eq!(rollout.step(publish(seq), 0), []);
    }
    assert_eq!(rollout.step(joined("a", &[], 0), 1), [offer("a", 3)]);
    assert_eq!(rollout.step(staged("a", 3), 2), [flip(3, 100_002)]);
}

#[test]
fn a_cut_that_nobody_can_take_is_given_up() {
    let mut rollout = three();
    rollout.step(publish(1), 0);
    for node in ["a", "b"] {
        assert_eq!(rollout.step(Event::Refused { node: node.parse().unwrap(), cut: cut(1) }, 0), []);
    }
    let refused = Event::Refused { node: "c".parse().unwrap(), cut: cut(1) };
    assert_eq!(rollout.step(refused, 0), [Action::GiveUp { cut: cut(1) }]);
}

proptest! {
    /// Whatever happens in whatever order: flips only of durable cuts that a connected node has staged, in the
    /// order of publication.
    #[test]
    fn flips_are_ordered_and_backed(steps in prop::collection::vec((0_u8..6, 0_usize..4, 0_u64..90), 0..120)) {
        let names = ["a", "b", "c", "d"];
        let mut rollout = Rollout::new(POLICY, None, 0);
        let (mut now, mut next, mut last) = (0, 1, 0);
        let mut held: BTreeMap<&str, HashSet<u64>> = BTreeMap::new();
        for (what, who, wait) in steps {
            now += wait * SECOND;
            let name = names[who];
            let target = rollout.target().or(rollout.current()).map_or(1, |cut| cut.seq);
            let event = match what {
                0 => { held.entry(name).or_default(); joined(name, &[], 0) }
                1 => { held.remove(name); Event::Left { node: name.parse().unwrap() } }
                2 => { next += 1; publish(next - 1) }
                3 | 4 => {
                    if let Some(held) = held.get_mut(name) { held.insert(target); }
                    staged(name, target)
                }
                _ => Event::Tick,
            };
            if what == 0 { held.insert(name, HashSet::new()); }
            for action in rollout.step(event, now) {
                if let Action::Flip { cut, at_us, .. } = action {
                    prop_assert!(cut.seq > last);
                    prop_assert!(at_us > now);
                    prop_assert!(held.values().any(|held| held.contains(&cut.seq)));
                    last = cut.seq;
                }
            }
        }
    }
}

/// Nodes of one zone.
fn zone_of(count: usize, holds: &[u64]) -> Vec<Event> {
    let member = |at| match joined(&format!("n{at}"), holds, 0) {
        Event::Joined { node, holds, serial, asks, gives, .. } => {
            Event::Joined { node, zone: "mx".parse().unwrap(), holds, serial, asks, gives }
        }
        other => other,
    };
    (0..count).map(member).collect()
}

fn nearby(node: &str, seq: u64, from: &[&str]) -> Action {
    let from = from.iter().map(|node| node.parse().unwrap()).collect();
    Action::Nearby { node: node.parse().unwrap(), cut: cut(seq), from }
}

#[test]
fn one_copy_crosses_to_a_zone() {
    let mut rollout = Rollout::new(POLICY, None, 0);
    zone_of(4, &[]).into_iter().for_each(|event| drop(rollout.step(event, 0)));
    assert_eq!(rollout.step(publish(1), 0), [offer("n0", 1)]);
    let all = ["n1", "n2", "n3"].map(|node| nearby(node, 1, &["n0"]));
    assert_eq!(rollout.step(staged("n0", 1), 10), all);
    for node in ["n1", "n2"] {
        assert_eq!(rollout.step(staged(node, 1), 20), []);
    }
    assert_eq!(rollout.step(staged("n3", 1), 30), [flip(1, 100_030)]);
}

#[test]
fn whoever_has_it_gives_it_to_some_at_once() {
    let mut rollout = Rollout::new(POLICY, None, 0);
    zone_of(9, &[]).into_iter().for_each(|event| drop(rollout.step(event, 0)));
    rollout.step(publish(1), 0);
    assert_eq!(rollout.step(staged("n0", 1), 0).len(), relay::CHILDREN);
    // One is done: it gives, and the first has room for one more. The least busy is asked.
    let next = rollout.step(staged("n1", 1), 0);
    assert_eq!(next[0], nearby("n5", 1, &["n1", "n0"]));
    assert_eq!(next.len(), 4);
    assert_eq!(rollout.step(staged("n2", 1), 0), []);
}

#[test]
fn a_first_node_that_is_slow_gets_company_and_one_that_dies_a_successor() {
    let mut rollout = Rollout::new(POLICY, None, 0);
    zone_of(4, &[]).into_iter().for_each(|event| drop(rollout.step(event, 0)));
    rollout.step(publish(1), 0);
    assert_eq!(rollout.step(Event::Tick, relay::PATIENCE - 1), []);
    assert_eq!(rollout.step(Event::Tick, relay::PATIENCE), [offer("n1", 1)]);
    // Twice as long for the next.
    assert_eq!(rollout.step(Event::Tick, 3 * relay::PATIENCE - 1), []);
    assert_eq!(rollout.step(Event::Tick, 3 * relay::PATIENCE), [offer("n2", 1)]);
    let mut rollout = Rollout::new(POLICY, None, 0);
    zone_of(3, &[]).into_iter().for_each(|event| drop(rollout.step(event, 0)));
    rollout.step(publish(1), 0);
    assert_eq!(rollout.step(Event::Left { node: "n0".parse().unwrap() }, 1), [offer("n1", 1)]);
    let refused = Event::Refused { node: "n1".parse().unwrap(), cut: cut(1) };
    assert_eq!(rollout.step(refused, 2), [offer("n2", 1)]);
}

#[test]
fn whoever_gets_it_from_nobody_is_sent_it() {
    let mut rollout = Rollout::new(POLICY, None, 0);
    zone_of(2, &[]).into_iter().for_each(|event| drop(rollout.step(event, 0)));
    rollout.step(publish(1), 0);
    assert_eq!(rollout.step(staged("n0", 1), 0), [nearby("n1", 1, &["n0"])]);
    let lacks = Event::Lacks { node: "n1".parse().unwrap(), cut: cut(1) };
    assert_eq!(rollout.step(lacks.clone(), 1), [offer("n1", 1)]);
    // What comes too late changes nothing.
    rollout.step(staged("n1", 1), 2);
    assert_eq!(rollout.step(lacks, 3), []);
}

#[test]
fn nodes_that_nobody_reaches_are_sent_it_and_those_of_before_too() {
    let mut rollout = Rollout::new(POLICY, None, 0);
    for (at, (asks, gives)) in [(true, false), (false, false), (true, true)].into_iter().enumerate() {
        let (node, zone) = (format!("n{at}").parse().unwrap(), "mx".parse().unwrap());
        rollout.step(Event::Joined { node, zone, holds: vec![], serial: 0, asks, gives }, 0);
    }
    assert_eq!(rollout.step(publish(1), 0), [offer("n2", 1), offer("n1", 1)]);
    assert_eq!(rollout.step(staged("n2", 1), 0), [nearby("n0", 1, &["n2"])]);
    // Where nobody can give, all are sent it.
    rollout.step(Event::Left { node: "n2".parse().unwrap() }, 0);
    rollout.step(Event::Left { node: "n0".parse().unwrap() }, 0);
    let (node, zone) = ("n0".parse().unwrap(), "mx".parse().unwrap());
    let back = Event::Joined { node, zone, holds: vec![], serial: 0, asks: true, gives: false };
    assert_eq!(rollout.step(back, 0), [offer("n0", 1)]);
    // Until it says how it is reached.
    rollout.step(staged("n0", 1), 0);
    rollout.step(Event::Reached { node: "n0".parse().unwrap(), gives: true }, 0);
    let (node, zone) = ("n3".parse().unwrap(), "mx".parse().unwrap());
    let new = Event::Joined { node, zone, holds: vec![], serial: 0, asks: true, gives: true };
    assert_eq!(rollout.step(new, 0), [nearby("n3", 1, &["n0"])]);
}

#[test]
fn the_operator_says_when_enough_have_staged() {
    for (when, early, late) in [(When::All, false, false), (When::Quorum, true, true), (When::Deadline, false, true)] {
        let mut rollout = Rollout::new(Policy { when, ..POLICY }, None, 0);
        for node in ["a", "b", "c"] {
            rollout.step(joined(node, &[], 0), 0);
        }
        rollout.step(publish(1), 0);
        assert_eq!(rollout.step(staged("a", 1), 0), [], "{when:?}: one of three is no majority");
        assert_eq!(!rollout.step(staged("b", 1), 0).is_empty(), early, "{when:?}");
        assert_eq!(rollout.target().is_none(), early);
        rollout.step(Event::Tick, 3600 * SECOND);
        assert_eq!(rollout.target().is_none(), late, "{when:?}");
        rollout.step(staged("c", 1), 3600 * SECOND);
        assert_eq!(rollout.target(), None, "{when:?}");
    }
}

/// What was forgotten here goes from nodes that hold it to those that do not, in any zone, and never from here.
#[test]
fn a_cut_that_only_nodes_hold_comes_from_them() {
    let mut rollout = Rollout::new(POLICY, Some(cut(2)), 2);
    let flip = Flip { mesh: MeshId::of_key(b"k"), serial: 5, cut: cut(4), at_us: 0, kind: FlipKind::Publish };
    rollout.step(Event::Publish { cut: cut(3), kind: FlipKind::Publish, durable: true }, 0);
    rollout.adopt(&flip);
    rollout.is_absent(&cut(4));
    assert_eq!((rollout.current(), rollout.target()), (Some(cut(4)), None), "what is older is not published any more");
    let id = |node: &str| node.parse::<NodeId>().unwrap();
    // Nobody has it yet: the node is told what it missed, and waits.
    assert_eq!(rollout.step(joined("b", &[2], 2), 0), [Action::Remind { node: id("b") }]);
    let nearby = |from: &str| Action::Nearby { node: id("b"), cut: cut(4), from: vec![id(from)] };
    assert_eq!(rollout.step(joined("a", &[4], 5), 0), [nearby("a")]);
    assert_eq!(rollout.step(Event::Tick, 9_000_000), []);
    // It could not have it there: it asks again, after a while.
    let lacks = Event::Lacks { node: id("b"), cut: cut(4) };
    assert_eq!(rollout.step(lacks, 9_100_000), [nearby("a")]);
    let lacks = Event::Lacks { node: id("b"), cut: cut(4) };
    assert_eq!(rollout.step(lacks, 9_200_000), []);
    assert_eq!(rollout.step(Event::Tick, 10_100_000), [nearby("a")]);
    rollout.step(Event::Staged { node: id("b"), cut: cut(4) }, 10_200_000);
    assert_eq!(rollout.step(Event::Tick, 20_000_000), []);
}

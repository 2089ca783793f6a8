//! Whose turn it is, and what should stand in a zone, while a mesh falls apart and comes back.

use std::sync::Arc;

use difusor_proto::{
    Digest, MeshId,
    members::{Members, Reach},
    peer::{Condition, State},
};
use proptest::prelude::*;

use super::*;

const NOW: u64 = 9_000_000;
const NODES: [(&str, &str); 3] = [("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")];

fn id(node: &str) -> NodeId {
    node.parse().unwrap()
}

/// Three that are well, as `me` sees them.
fn three(me: &str) -> View {
    // Their order in the list does not matter.
    let member = |(node, ip): &(&str, &str)| Member {
        node: id(node),
        zone: node.parse().unwrap(),
        certificate: Digest::of(node.as_bytes()),
        reach: Reach { public: vec![format!("{ip}:443").parse().unwrap()], ..Reach::default() },
        drained: false,
    };
    let nodes = NODES.iter().rev().map(member).collect();
    let state = |node: &str| State {
        node: id(node),
        version: (1, 1),
        condition: Condition::Ready,
        reasons: 0,
        serial: 1,
        seq: 1,
        staged: 1,
        headroom: 255,
    };
    View {
        me: Some(id(me)),
        members: Some(Arc::new(Members { mesh: MeshId::of_key(b"k"), serial: 7, nodes, texts: Vec::new() })),
        alive: NODES.iter().map(|(node, _)| id(node)).collect(),
        states: NODES.iter().map(|(node, _)| (id(node), state(node))).collect(),
        ..View::default()
    }
}

fn sick(view: &mut View, node: &str, is_sick: bool) {
    let condition = if is_sick { Condition::Sick } else { Condition::Ready };
    view.states.get_mut(&id(node)).unwrap().condition = condition;
}

/// The last parts of the addresses that are to stand there.
fn look(duty: &mut Duty, view: &View, ms: u64) -> Option<Vec<u8>> {
    let roster = Roster::of(view, &BTreeMap::new(), NOW);
    let target = duty.look(view, &roster, Duration::from_millis(ms), NOW)?;
    let last = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => 0,
    };
    Some(target.addresses.iter().map(last).collect())
}

#[test]
fn the_first_that_is_fit_and_nobody_else() {
    let first = |view: &View| writer(view, NOW).map(|node| node.to_string());
    let mut view = three("c");
    assert_eq!(first(&view), Some("a".into()));
    sick(&mut view, "a", true);
    assert_eq!(first(&view), Some("b".into()));
    view.alive.remove(&id("b"));
    assert_eq!(first(&view), Some("c".into()));
    sick(&mut view, "c", true);
    assert_eq!(first(&view), Some("a".into()), "nobody is fit");
    view.alive.clear();
    assert_eq!(first(&view), Some("c".into()), "it is there itself");
    assert_eq!(first(&View::default()), None);
}

#[test]
fn whoever_becomes_the_first_waits_and_starts_anew_when_it_changes() {
    let (mut duty, mut view) = (Duty::default(), three("b"));
    assert_eq!(look(&mut duty, &view, 0), None);
    view.alive.remove(&id("a"));
    assert_eq!(look(&mut duty, &view, 10_000), None);
    assert_eq!(look(&mut duty, &view, 10_999), None);
    view.alive.insert(id("a"));
    assert_eq!(look(&mut duty, &view, 11_000), None);
    view.alive.remove(&id("a"));
    assert_eq!(look(&mut duty, &view, 11_100), None);
    assert_eq!(look(&mut duty, &view, 12_099), None);
    assert_eq!(look(&mut duty, &view, 12_100), Some(vec![2, 3]));
}

#[test]
fn who_fails_leaves_at_once_and_who_comes_back_waits() {
    let (mut duty, mut view) = (Duty::default(), three("a"));
    look(&mut duty, &view, 0);
    assert_eq!(look(&mut duty, &view, 2_000), Some(vec![1, 2, 3]));
    sick(&mut view, "b", true);
    assert_eq!(look(&mut duty, &view, 2_100), Some(vec![1, 3]));
    sick(&mut view, "b", false);
    assert_eq!(look(&mut duty, &view, 3_000), Some(vec![1, 3]));
    // It fails again meanwhile: the time begins anew.
    sick(&mut view, "b", true);
    assert_eq!(look(&mut duty, &view, 4_000), Some(vec![1, 3]));
    sick(&mut view, "b", false);
    assert_eq!(look(&mut duty, &view, 4_100), Some(vec![1, 3]));
    assert_eq!(look(&mut duty, &view, 6_099), Some(vec![1, 3]));
    assert_eq!(look(&mut duty, &view, 6_100), Some(vec![1, 2, 3]));
    // Nobody is fit: those who are given stay, and then everybody is.
    NODES.iter().for_each(|(node, _)| sick(&mut view, node, true));
    assert_eq!(look(&mut duty, &view, 7_000), Some(vec![1, 2, 3]));
    // Of all that were given, nobody is left.
    sick(&mut view, "c", false);
    assert_eq!(look(&mut duty, &view, 8_000), None, "it is not this node's turn");
    sick(&mut view, "c", true);
    sick(&mut view, "a", false);
    look(&mut duty, &view, 8_100);
    assert_eq!(look(&mut duty, &view, 10_100), Some(vec![1]));
}

#[test]
fn whoever_sees_less_than_half_may_be_cut_off() {
    let mut view = three("a");
    assert!(view.sees_most() && absent(&view).is_empty());
    view.alive.remove(&id("b"));
    assert!(view.sees_most());
    view.alive.remove(&id("c"));
    assert!(!view.sees_most());
    let names = |view: &View| absent(view).iter().map(|member| member.node.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&view), ["c", "b"]);
    // Behind one address with this node: it would answer itself.
    let members = Arc::make_mut(view.members.as_mut().unwrap());
    members.nodes[0].reach.public = members.nodes[2].reach.public.clone();
    assert_eq!(names(&view), ["b"]);
}

proptest! {
    /// Whatever happens: as long as members have addresses, something should stand there; nothing of who is unfit beside
    /// somebody who is fit; and of all nodes that see the same, one writes at most.
    #[test]
    fn never_nothing_and_never_two(events in prop::collection::vec((0_usize..3, 0_u8..3, 0_u64..3_000), 1..40)) {
        let mut duties = [Duty::default(), Duty::default(), Duty::default()];
        let (mut ms, mut view) = (0, three("a"));
        for (node, what, later) in events {
            ms += later;
            let name = NODES[node].0;
            match what {
                0 => {
                    let is_well = view.states[&id(name)].condition == Condition::Ready;
                    sick(&mut view, name, is_well);
                }
                1 => drop(view.alive.remove(&id(name))),
                _ => drop(view.alive.insert(id(name))),
            }
            let fit: Vec<u8> = (1..4).zip(NODES).filter(|(_, (node, _))| {
                view.alive.contains(&id(node)) && view.states[&id(node)].condition == Condition::Ready
            }).map(|(last, _)| last).collect();
            let mut writers = 0;
            for (duty, (me, _)) in duties.iter_mut().zip(NODES) {
                if !view.alive.contains(&id(me)) {
                    continue;
                }
                view.me = Some(id(me));
                if let Some(given) = look(duty, &view, ms) {
                    writers += 1;
                    prop_assert!(!given.is_empty());
                    prop_assert!(fit.is_empty() || given.iter().all(|last| fit.contains(last)), "{:?} of {:?}", given, fit);
                }
            }
            prop_assert!(writers <= 1);
        }
    }
}

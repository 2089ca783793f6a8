//! Who is answered, for views of meshes that are well, half gone, or sick altogether.

use std::{collections::BTreeSet, sync::Arc};

use difusor_proto::{
    Digest, MeshId,
    members::{Members, Reach},
    peer::{Condition, State},
};
use proptest::prelude::*;

use super::*;

const NOW: u64 = 9_000_000;

/// Nodes by name, zone and address; all of them well.
fn view(nodes: &[(&str, &str, &str)]) -> View {
    let member = |(node, zone, public): &(&str, &str, &str)| Member {
        node: node.parse().unwrap(),
        zone: zone.parse().unwrap(),
        certificate: Digest::of(node.as_bytes()),
        reach: Reach {
            peers: Vec::new(),
            public: public.split(' ').map(|at| at.parse().unwrap()).collect(),
            dns: vec!["192.0.2.53:53".parse().unwrap()],
        },
        drained: false,
    };
    let members =
        Members { mesh: MeshId::of_key(b"k"), serial: 7, nodes: nodes.iter().map(member).collect(), texts: Vec::new() };
    let state = |node: &str| State {
        node: node.parse().unwrap(),
        version: (1, 1),
        condition: Condition::Ready,
        reasons: 0,
        serial: 1,
        seq: 1,
        staged: 1,
        headroom: 255,
    };
    View {
        me: nodes.first().map(|(node, ..)| node.parse().unwrap()),
        alive: nodes.iter().map(|(node, ..)| node.parse().unwrap()).collect(),
        states: nodes.iter().map(|(node, ..)| (node.parse().unwrap(), state(node))).collect(),
        members: Some(Arc::new(members)),
        ..View::default()
    }
}

fn usual() -> View {
    view(&[
        ("eu-1", "eu", "203.0.113.1:443"),
        ("mx-1", "mx", "192.0.2.1:443 [2001:db8::1]:443"),
        ("mx-2", "mx", "192.0.2.2:443"),
        ("us-1", "us", "198.51.100.1:443"),
    ])
}

fn zones() -> BTreeMap<Zone, [f64; 2]> {
    [("mx", [19.4, -99.1]), ("us", [32.8, -96.8]), ("eu", [40.4, -3.7])]
        .map(|(zone, at)| (zone.parse().unwrap(), at))
        .into()
}

fn picked(roster: &Roster, place: Option<&Place>, most: usize, dice: u64) -> Vec<String> {
    roster
        .pick(place, most, dice, |host| !host.four.is_empty())
        .into_iter()
        .map(|host| host.four[0].to_string())
        .collect()
}

#[test]
fn the_nearest_zone_first_and_the_next_one_last() {
    let roster = Roster::of(&usual(), &zones(), NOW);
    assert!(!roster.fails_open && roster.port.is_none() && roster.servers.len() == 4 && roster.serial == 7);
    let mexico = Place::Zone("mx".parse().unwrap());
    for dice in 0..50 {
        let all = picked(&roster, Some(&mexico), 3, dice);
        assert_eq!(all[..2].iter().map(String::as_str).collect::<BTreeSet<_>>(), ["192.0.2.1", "192.0.2.2"].into());
        assert_eq!(all[2], "198.51.100.1", "the United States are next");
        assert_eq!(picked(&roster, Some(&Place::At([48.8, 2.3])), 1, dice), ["203.0.113.1"]);
        assert_eq!(picked(&roster, Some(&Place::At([48.8, 2.3])), 9, dice).len(), 4);
    }
    // Who is nowhere gets any, in turns.
    let first: BTreeSet<_> = (0..50).map(|dice| picked(&roster, None, 1, dice).remove(0)).collect();
    assert_eq!(first.len(), 4);
}

#[test]
fn whoever_is_unfit_is_left_out_and_if_all_are_nobody_is() {
    let mut view = usual();
    let mexico = Place::Zone("mx".parse().unwrap());
    view.alive.remove(&"mx-2".parse().unwrap());
    view.alive.remove(&"mx-1".parse().unwrap());
    let roster = Roster::of(&view, &zones(), NOW);
    // Nobody is left in the zone: the next one is.
    assert_eq!(picked(&roster, Some(&mexico), 9, 1), ["198.51.100.1", "203.0.113.1"]);
    view.states.values_mut().for_each(|state| state.condition = Condition::Sick);
    let roster = Roster::of(&view, &zones(), NOW);
    assert!(roster.fails_open);
    assert_eq!(picked(&roster, Some(&mexico), 9, 1).len(), 4);
    assert_eq!(Roster::of(&View::default(), &zones(), NOW).groups, []);
}

#[test]
fn weights_and_a_zone_without_room() {
    let mut view = usual();
    view.states.get_mut(&"mx-1".parse::<NodeId>().unwrap()).unwrap().headroom = 64;
    let roster = Roster::of(&view, &zones(), NOW);
    let mexico = Place::Zone("mx".parse().unwrap());
    let busy = (0..10_000).filter(|dice| picked(&roster, Some(&mexico), 1, *dice) == ["192.0.2.1"]).count();
    // 80 of 80 + 271.
    assert!((2_000..2_560).contains(&busy), "{busy}");
    for node in ["mx-1", "mx-2"] {
        view.states.get_mut(&node.parse::<NodeId>().unwrap()).unwrap().headroom = 17;
    }
    let roster = Roster::of(&view, &zones(), NOW);
    assert_eq!(picked(&roster, Some(&mexico), 1, 3), ["198.51.100.1"], "it has room");
}

proptest! {
    /// Whatever the state of the mesh: an answer has an address as long as any member has one, no address twice, and nobody
    /// who is unfit beside somebody who is fit.
    #[test]
    fn never_an_empty_answer(
        conditions in prop::collection::vec((0_u8..4, any::<bool>(), any::<bool>(), any::<u8>()), 4),
        most in 1_usize..6,
        dice in any::<u64>(),
        place in 0_u8..5,
    ) {
        let mut view = usual();
        let names: Vec<NodeId> = view.members.as_ref().unwrap().nodes.iter().map(|member| member.node.clone()).collect();
        for (name, (condition, alive, drained, headroom)) in names.iter().zip(&conditions) {
            let state = view.states.get_mut(name).unwrap();
            state.condition = [Condition::Ready, Condition::Degraded, Condition::Draining, Condition::Sick][usize::from(*condition)];
            state.headroom = *headroom;
            if !alive { view.alive.remove(name); }
            let members = Arc::make_mut(view.members.as_mut().unwrap());
            members.nodes.iter_mut().filter(|member| member.node == *name).for_each(|member| member.drained = *drained);
        }
        let roster = Roster::of(&view, &zones(), NOW);
        let place = match place {
            0 => None,
            1 => Some(Place::At([0.0, 0.0])),
            _ => Some(Place::Zone(["mx", "us", "nowhere"][usize::from(place) - 2].parse().unwrap())),
        };
        let got = picked(&roster, place.as_ref(), most, dice);
        let fit: BTreeSet<String> = view.all(NOW).into_iter().filter(|(_, unfit)| unfit.is_none())
            .map(|(member, _)| member.reach.public[0].ip().to_string()).collect();
        prop_assert!(!got.is_empty() && got.len() <= most);
        prop_assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), got.len());
        prop_assert_eq!(roster.fails_open, fit.is_empty());
        prop_assert!(fit.is_empty() || got.iter().all(|address| fit.contains(address)), "{:?} of {:?}", got, fit);
    }
}

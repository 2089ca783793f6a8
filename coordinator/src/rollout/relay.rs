//! From whom each node has a cut: one copy crosses to each zone, and its nodes have it from each other.
//!
//! The first node of a zone is sent the cut by the coordinator; whoever holds it gives it to [`CHILDREN`] others at once,
//! each of which then gives it on, so a zone of any size has it in a few rounds. What a node got is verified by digest,
//! so it does not matter from whom it came. Nobody depends on one other node: the first of a zone that takes too long
//! gets company, and a node to which nobody could give the cut is sent it by the coordinator.

use std::collections::{BTreeMap, HashMap};

use difusor_proto::{CutKey, NodeId, Zone};

use super::{Action, Node};

/// Nodes to which one node gives a cut at once. More would share its link, and all of them would be done later.
pub(super) const CHILDREN: usize = 4;

/// Nodes that are named as sources, the first to be asked first: two may fail.
pub(super) const SOURCES: usize = 3;

/// How long the first node of a zone may take, microseconds, before a second is sent the cut, too; twice as long for each
/// further one, so that a zone behind a slow link is not sent many copies that make it slower still.
pub(super) const PATIENCE: u64 = 3_000_000;

/// How long a node that could not have a cut from others waits, microseconds, until it asks them again, if nobody else has it.
const AGAIN: u64 = 1_000_000;

/// How one zone is doing with a cut.
#[derive(Default)]
struct Progress<'a> {
    /// Who holds it and can be asked for it, with the number of those that it gives it to now.
    givers: Vec<(&'a NodeId, usize)>,
    /// Nodes of which it will be had once they hold it.
    heads: u32,
    /// When the last of them was sent it.
    since_us: u64,
    /// True if there is a node that could be one.
    could: bool,
}

/// What is to be sent to nodes that lack `cut`, and are not being sent it.
pub(super) fn assign(nodes: &BTreeMap<NodeId, Node>, cut: CutKey, now_us: u64) -> Vec<Action> {
    let lacks = |node: &Node| {
        !node.holds.contains(&cut.root) && node.offered != Some(cut.root) && node.refused != Some(cut.root)
    };
    if !nodes.values().any(lacks) {
        return Vec::new();
    }
    let mut zones = progress(nodes, cut);
    let mut actions = Vec::new();
    // Those that can give it on come first.
    let (first, last): (Vec<_>, Vec<_>) =
        nodes.iter().filter(|(_, node)| lacks(node)).partition(|(_, node)| node.gives);
    for (name, node) in first.into_iter().chain(last) {
        let Some(zone) = zones.get_mut(&node.zone) else { continue };
        let offer = Action::Offer { node: name.clone(), cut };
        if !node.asks || node.direct == Some(cut.root) || !zone.could {
            actions.push(offer);
        } else if zone.givers.is_empty() {
            let patience = PATIENCE.saturating_mul(1 << zone.heads.saturating_sub(1).min(10));
            if zone.heads == 0 || now_us.saturating_sub(zone.since_us) >= patience {
                (zone.heads, zone.since_us) = (zone.heads + 1, now_us);
                actions.push(offer);
            }
        } else {
            // Whoever gives to the fewest is asked first; the others, if it fails.
            zone.givers.sort_by_key(|(_, children)| *children);
            let Some((_, children)) = zone.givers.first_mut().filter(|(_, children)| *children < CHILDREN) else {
                continue;
            };
            *children += 1;
            let from = zone.givers.iter().take(SOURCES).map(|(giver, _)| (*giver).clone()).collect();
            actions.push(Action::Nearby { node: name.clone(), cut, from });
        }
    }
    actions
}

/// The same for a cut that is not here: whoever holds it gives it to all zones, and nobody else can.
pub(super) fn assign_absent(nodes: &BTreeMap<NodeId, Node>, cut: CutKey, now_us: u64) -> Vec<Action> {
    let is_holder = |node: &&Node| node.gives && node.holds.contains(&cut.root);
    let mut from: Vec<_> =
        nodes.iter().filter(|(_, node)| is_holder(node)).map(|(name, node)| (&node.zone, name)).collect();
    if from.is_empty() {
        return Vec::new();
    }
    let mut actions = Vec::new();
    for (name, node) in nodes {
        let has_failed = node.direct == Some(cut.root);
        let is_due = !has_failed || now_us.saturating_sub(node.since_us) >= AGAIN;
        if node.asks
            && node.offered != Some(cut.root)
            && is_due
            && !node.holds.contains(&cut.root)
            && node.refused != Some(cut.root)
        {
            // Its own zone first, and not all of them the same.
            from.rotate_left(1);
            let (near, far): (Vec<_>, Vec<_>) = from.iter().partition(|(zone, _)| **zone == node.zone);
            let from = near.into_iter().chain(far).take(SOURCES).map(|(_, giver)| (*giver).clone()).collect();
            actions.push(Action::Nearby { node: name.clone(), cut, from });
        }
    }
    actions
}

fn progress(nodes: &BTreeMap<NodeId, Node>, cut: CutKey) -> HashMap<&Zone, Progress<'_>> {
    let is_coming = |node: &Node| {
        node.offered == Some(cut.root) && !node.holds.contains(&cut.root) && node.refused != Some(cut.root)
    };
    let mut children: HashMap<&NodeId, usize> = HashMap::new();
    for source in nodes.values().filter(|node| is_coming(node)).filter_map(|node| node.source.as_ref()) {
        *children.entry(source).or_default() += 1;
    }
    let mut zones: HashMap<&Zone, Progress<'_>> = HashMap::new();
    for (name, node) in nodes {
        let zone = zones.entry(&node.zone).or_default();
        if !node.gives {
            continue;
        }
        zone.could |= node.refused != Some(cut.root);
        if node.holds.contains(&cut.root) {
            zone.givers.push((name, children.get(name).copied().unwrap_or(0)));
        } else if is_coming(node) && node.source.is_none() {
            zone.heads += 1;
            zone.since_us = zone.since_us.max(node.since_us);
        }
    }
    zones
}

//! Who is offered which cut, and when all flip: a state machine without sockets, disks or clocks.
//!
//! Cuts are published one after another, in the order in which they were taken in. A cut flips when it is durable here
//! and every connected node has staged it; or, once the deadline has passed, when it is staged in a majority of the
//! zones that have a connected node. Whoever comes late or falls behind is offered the newest cut alone, and is sent
//! the flip when it has staged it: nothing is ever shown out of order, and nobody is waited for twice.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    time::Duration,
};

use difusor_proto::{CutKey, Digest, FlipKind, NodeId, Zone};

/// What the operator decides about rollouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// After this long, a majority of zones is enough.
    pub deadline: Duration,
    /// Least time between the order to flip and its instant.
    pub lead: Duration,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A node said hello.
    Joined {
        /// Which.
        node: NodeId,
        /// Where it is.
        zone: Zone,
        /// Roots of the cuts it has on disk.
        holds: Vec<Digest>,
        /// Serial of the last flip it obeyed.
        serial: u64,
    },
    /// Its connection ended.
    Left {
        /// Which.
        node: NodeId,
    },
    /// A cut is to be served.
    Publish {
        /// Which.
        cut: CutKey,
        /// Forward or back.
        kind: FlipKind,
        /// On this disk already.
        durable: bool,
    },
    /// A cut is on this disk.
    Durable {
        /// Which.
        cut: CutKey,
    },
    /// A cut could not be kept here and must not be served.
    Withdrawn {
        /// Which.
        cut: CutKey,
    },
    /// A node has a cut, verified, on its disk.
    Staged {
        /// Which node.
        node: NodeId,
        /// Which cut.
        cut: CutKey,
    },
    /// A node cannot take a cut.
    Refused {
        /// Which node.
        node: NodeId,
        /// Which cut.
        cut: CutKey,
    },
    /// A node measured its round trip.
    RoundTrip {
        /// Which node.
        node: NodeId,
        /// Microseconds.
        rtt_us: u64,
    },
    /// Time passed.
    Tick,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send the node what it lacks for this cut.
    Offer {
        /// Which node.
        node: NodeId,
        /// Which cut.
        cut: CutKey,
    },
    /// Order everyone who is connected to serve this cut.
    Flip {
        /// Which.
        cut: CutKey,
        /// From when on, Unix microseconds.
        at_us: u64,
        /// Forward or back.
        kind: FlipKind,
    },
    /// Send this node the last flip.
    Remind {
        /// Which.
        node: NodeId,
    },
    /// The cut will not be published: no connected node can take it.
    GiveUp {
        /// Which.
        cut: CutKey,
    },
}

#[derive(Debug)]
struct Node {
    zone: Zone,
    holds: HashSet<Digest>,
    offered: Option<Digest>,
    refused: Option<Digest>,
    rtt_us: u64,
    /// Serial of the last flip it is known to have.
    serial: u64,
}

#[derive(Debug)]
struct Target {
    cut: CutKey,
    kind: FlipKind,
    durable: bool,
    /// When the first node was offered it.
    since_us: Option<u64>,
}

/// The state of publication.
#[derive(Debug)]
pub struct Rollout {
    policy: Policy,
    nodes: BTreeMap<NodeId, Node>,
    current: Option<CutKey>,
    serial: u64,
    queue: VecDeque<Target>,
    /// The target of the last flip, and what was served before, until the flip is known to be kept.
    ordered: Option<(Target, Option<CutKey>)>,
}

impl Rollout {
    /// A mesh that serves `current` since flip `serial`.
    pub fn new(policy: Policy, current: Option<CutKey>, serial: u64) -> Self {
        Self { policy, nodes: BTreeMap::new(), current, serial, queue: VecDeque::new(), ordered: None }
    }

    /// The cut that is served.
    pub fn current(&self) -> Option<CutKey> {
        self.current
    }

    /// The cut that is being rolled out.
    pub fn target(&self) -> Option<CutKey> {
        self.queue.front().map(|target| target.cut)
    }

    /// The flip that was ordered last could not be kept and was not sent: it is ordered again with the next event.
    pub fn flip_failed(&mut self) {
        if let Some((target, previous)) = self.ordered.take() {
            self.current = previous;
            self.queue.push_front(target);
        }
    }

    /// The flip that was ordered last has this serial.
    pub fn flipped(&mut self, serial: u64) {
        self.serial = serial;
        self.ordered = None;
        // Whoever is connected is sent it.
        for node in self.nodes.values_mut() {
            node.serial = serial;
        }
    }

    /// Takes in one event at `now_us` (Unix microseconds) and says what to do.
    pub fn step(&mut self, event: Event, now_us: u64) -> Vec<Action> {
        match event {
            Event::Joined { node, zone, holds, serial } => {
                let holds = holds.into_iter().collect();
                self.nodes.insert(node, Node { zone, holds, offered: None, refused: None, rtt_us: 0, serial });
            }
            Event::Left { node } => {
                self.nodes.remove(&node);
            }
            Event::Publish { cut, kind, durable } => {
                self.queue.push_back(Target { cut, kind, durable, since_us: None });
            }
            Event::Durable { cut } => {
                self.queue.iter_mut().filter(|t| t.cut == cut).for_each(|target| target.durable = true);
            }
            Event::Withdrawn { cut } => self.queue.retain(|target| target.cut != cut),
            Event::Staged { node, cut } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.holds.insert(cut.root);
                }
            }
            Event::Refused { node, cut } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.refused = Some(cut.root);
                }
            }
            Event::RoundTrip { node, rtt_us } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.rtt_us = rtt_us;
                }
            }
            Event::Tick => {}
        }
        self.advance(now_us)
    }

    fn advance(&mut self, now_us: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.nodes.is_empty() {
            // Nobody would see the older ones.
            while self.queue.len() > 1 {
                self.queue.pop_front();
            }
            return actions;
        }
        while let Some(target) = self.queue.front_mut() {
            let cut = target.cut;
            let since_us = *target.since_us.get_or_insert(now_us);
            let late = now_us.saturating_sub(since_us) >= micros(self.policy.deadline);
            actions.extend(self.offers(cut));
            if self.nodes.values().all(|node| node.refused == Some(cut.root)) {
                self.queue.pop_front();
                actions.push(Action::GiveUp { cut });
                continue;
            }
            let Some(target) = self.queue.front().filter(|t| t.durable && self.staged(cut.root, late)) else { break };
            let slowest = self.nodes.values().map(|node| node.rtt_us).max().unwrap_or(0);
            // One way to the node, its disk, and room for a path that is slower than it was.
            let lead = micros(self.policy.lead).max(slowest.saturating_mul(2));
            actions.push(Action::Flip { cut, at_us: now_us.saturating_add(lead), kind: target.kind });
            self.ordered = self.queue.pop_front().map(|target| (target, self.current));
            self.current = Some(cut);
        }
        actions.extend(self.stragglers());
        actions
    }

    /// Offers `cut` to every node that lacks it and was not offered it yet.
    fn offers(&mut self, cut: CutKey) -> Vec<Action> {
        let lacks = |node: &&mut Node| {
            !node.holds.contains(&cut.root) && node.offered != Some(cut.root) && node.refused != Some(cut.root)
        };
        let offer = |(name, node): (&NodeId, &mut Node)| {
            lacks(&node).then(|| {
                node.offered = Some(cut.root);
                Action::Offer { node: name.clone(), cut }
            })
        };
        self.nodes.iter_mut().filter_map(offer).collect()
    }

    /// True if enough nodes hold the cut.
    fn staged(&self, root: Digest, late: bool) -> bool {
        let holds = |node: &&Node| node.holds.contains(&root);
        if self.nodes.values().all(|node| holds(&node)) {
            return true;
        }
        let zones: BTreeSet<_> = self.nodes.values().map(|node| &node.zone).collect();
        let ready: BTreeSet<_> = self.nodes.values().filter(holds).map(|node| &node.zone).collect();
        late && ready.len() * 2 > zones.len()
    }

    /// Brings nodes that are behind to the current cut, unless a newer one is on its way to them.
    fn stragglers(&mut self) -> Vec<Action> {
        let Some(current) = self.current else { return Vec::new() };
        let mut actions = if self.queue.is_empty() { self.offers(current) } else { Vec::new() };
        for (name, node) in &mut self.nodes {
            if node.serial < self.serial && node.holds.contains(&current.root) {
                node.serial = self.serial;
                actions.push(Action::Remind { node: name.clone() });
            }
        }
        actions
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy { deadline: Duration::from_secs(60), lead: Duration::from_millis(100) };
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
        assert_eq!(rollout.step(joined("c", &[], 0), 10), [offer("c", 1)]);
        assert_eq!(rollout.step(staged("c", 1), 11), [Action::Remind { node: "c".parse().unwrap() }]);
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
        assert_eq!(rollout.step(joined("d", &[1], 1), 5), [offer("d", 3)]);
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
}

//! Who is offered which cut, and when all flip: a state machine without sockets, disks or clocks.
//!
//! Cuts are published one after another, in the order in which they were taken in. A cut flips when it is durable here
//! and enough nodes have staged it, which [`When`] says. Whoever comes late or falls behind is offered the newest cut alone,
//! with the flip that it missed: nothing is ever shown out of order, and nobody is waited for twice. From whom
//! each node has a cut, [`relay`] says.

mod relay;

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::Duration,
};

use difusor_proto::{CutKey, Digest, Flip, FlipKind, NodeId, Zone};
use serde::Deserialize;

/// When a cut is staged by enough nodes to flip.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// By every connected node, however long that takes.
    All,
    /// By half of the nodes in a majority of the zones. The others let nobody new in until they have caught up.
    Quorum,
    /// By every connected node, or, after [`Policy::deadline`], by as many as for a quorum.
    #[default]
    Deadline,
}

/// What the operator decides about rollouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Who has to have staged a cut.
    pub when: When,
    /// How long all are waited for, with [`When::Deadline`].
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
        /// True if it can be told to have a cut from another node.
        asks: bool,
        /// True if others can reach it, as far as is known.
        gives: bool,
    },
    /// A node said how it is reached.
    Reached {
        /// Which node.
        node: NodeId,
        /// True if other nodes can.
        gives: bool,
    },
    /// A node could not have a cut from others.
    Lacks {
        /// Which node.
        node: NodeId,
        /// Which cut.
        cut: CutKey,
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
    /// Tell the node from which others it may have this cut, the first to be asked first.
    Nearby {
        /// Which node.
        node: NodeId,
        /// Which cut.
        cut: CutKey,
        /// Who holds it.
        from: Vec<NodeId>,
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
    /// What is being sent to it, since when, and by which node, if not from here.
    offered: Option<Digest>,
    since_us: u64,
    source: Option<NodeId>,
    /// What it could not have from others.
    direct: Option<Digest>,
    asks: bool,
    gives: bool,
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
    /// Cuts that nodes hold and this coordinator does not.
    absent: HashSet<Digest>,
    /// The target of the last flip, and what was served before, until the flip is known to be kept.
    ordered: Option<(Target, Option<CutKey>)>,
}

impl Rollout {
    /// A mesh that serves `current` since flip `serial`.
    pub fn new(policy: Policy, current: Option<CutKey>, serial: u64) -> Self {
        Self {
            policy,
            nodes: BTreeMap::new(),
            current,
            serial,
            queue: VecDeque::new(),
            absent: HashSet::new(),
            ordered: None,
        }
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

    /// A node showed a flip that was forgotten here: it is the last one. What is older is not published any more.
    pub fn adopt(&mut self, flip: &Flip) {
        (self.current, self.serial) = (Some(flip.cut), flip.serial);
        self.queue.retain(|target| target.cut.seq > flip.newest());
    }

    /// This cut is not here. Nodes that hold it give it to the others.
    pub fn is_absent(&mut self, cut: &CutKey) {
        self.absent.insert(cut.root);
    }

    /// Takes in one event at `now_us` (Unix microseconds) and says what to do.
    pub fn step(&mut self, event: Event, now_us: u64) -> Vec<Action> {
        match event {
            Event::Joined { node, zone, holds, serial, asks, gives } => {
                let holds = holds.into_iter().collect();
                let (offered, since_us, source, direct, refused, rtt_us) = (None, 0, None, None, None, 0);
                let joined =
                    Node { zone, holds, offered, since_us, source, direct, asks, gives, refused, rtt_us, serial };
                self.nodes.insert(node, joined);
            }
            Event::Reached { node, gives } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.gives = gives && node.asks;
                }
            }
            Event::Lacks { node, cut } => {
                if let Some(node) = self.nodes.get_mut(&node).filter(|node| !node.holds.contains(&cut.root)) {
                    node.direct = Some(cut.root);
                    // What it was told of is no use; a newer one that it was told of meanwhile may be.
                    node.offered = node.offered.filter(|offered| *offered != cut.root);
                }
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
            actions.extend(self.offers(cut, now_us));
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
        actions.extend(self.stragglers(now_us));
        actions
    }

    /// Has `cut` sent to nodes that lack it and are not being sent it yet.
    fn offers(&mut self, cut: CutKey, now_us: u64) -> Vec<Action> {
        let is_absent = self.absent.contains(&cut.root);
        let assign = if is_absent { relay::assign_absent } else { relay::assign };
        let actions = assign(&self.nodes, cut, now_us);
        for action in &actions {
            let (node, source) = match action {
                Action::Offer { node, .. } => (node, None),
                Action::Nearby { node, from, .. } => (node, from.first().cloned()),
                _ => continue,
            };
            if let Some(node) = self.nodes.get_mut(node) {
                (node.offered, node.since_us, node.source) = (Some(cut.root), now_us, source);
            }
        }
        actions
    }

    /// True if enough nodes hold the cut.
    fn staged(&self, root: Digest, late: bool) -> bool {
        if self.nodes.values().all(|node| node.holds.contains(&root)) {
            return true;
        }
        let may_go_without = match self.policy.when {
            When::All => false,
            When::Quorum => true,
            When::Deadline => late,
        };
        may_go_without && {
            let mut zones: BTreeMap<&Zone, (usize, usize)> = BTreeMap::new();
            for node in self.nodes.values() {
                let (ready, all) = zones.entry(&node.zone).or_default();
                *ready += usize::from(node.holds.contains(&root));
                *all += 1;
            }
            let ready = zones.values().filter(|(ready, all)| ready * 2 >= *all).count();
            ready * 2 > zones.len()
        }
    }

    /// Brings nodes that are behind to the current cut, unless a newer one is on its way to them, and tells them that they are.
    fn stragglers(&mut self, now_us: u64) -> Vec<Action> {
        let Some(current) = self.current else { return Vec::new() };
        let mut actions = if self.queue.is_empty() { self.offers(current, now_us) } else { Vec::new() };
        for (name, node) in &mut self.nodes {
            if node.serial < self.serial {
                // Before it has the cut: it must not show an older one meanwhile.
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
mod tests;

//! The coordinator: the product's [`Rollout`], and a connection to each node.

use std::collections::{BTreeMap, HashMap};

use difusor_coordinator::{
    fleet::{CutView, Fleet, NodeView},
    rollout::{Action, Event as Happened, Rollout},
};
use difusor_proto::{CutKey, Flip, FlipKind, Signed};

use crate::{
    node::name,
    world::{Event, MS, Plan, SECOND, Word, World},
};

/// A delta on a link to a zone, and between nodes of one; microseconds.
const DELTA: u64 = 300 * MS;

pub(crate) struct Coordinator {
    pub(crate) is_up: bool,
    rollout: Rollout,
    /// What it shows of itself.
    fleet: Fleet,
    serial: u64,
    last: Option<Signed<Flip>>,
    /// Connections by node: what tells them apart, and when the last word on each comes.
    sessions: HashMap<usize, (u64, u64)>,
    next_session: u64,
    pub(crate) published: u64,
    /// Copies that were sent, by cut and zone.
    pub(crate) copies: BTreeMap<(u64, usize), u32>,
    /// Words that were sent, and that came.
    pub(crate) words: u64,
    pub(crate) heard: u64,
}

impl Coordinator {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            is_up: true,
            rollout: Rollout::new(plan.policy, None, 0),
            fleet: Fleet::default(),
            serial: 0,
            last: None,
            sessions: HashMap::new(),
            next_session: 1,
            published: 0,
            copies: BTreeMap::new(),
            words: 0,
            heard: 0,
        }
    }

    /// The newest cut that was ordered to be served.
    pub(crate) fn current(&self) -> Option<CutKey> {
        self.rollout.current()
    }
}

impl World {
    pub(crate) fn kill_coordinator(&mut self) {
        self.coordinator.is_up = false;
        self.coordinator.sessions.clear();
    }

    /// It comes back with what is on its disk: the last flip.
    pub(crate) fn start_coordinator(&mut self) {
        let known = self.coordinator.current();
        let coordinator = &mut self.coordinator;
        if !coordinator.is_up {
            coordinator.is_up = true;
            coordinator.rollout = Rollout::new(self.plan.policy, known, coordinator.serial);
            // What had been taken in and not flipped is published again.
            let newest = coordinator.published;
            if known.map_or(0, |cut| cut.seq) < newest {
                self.step(Happened::Publish { cut: self.cut(newest), kind: FlipKind::Publish, durable: true });
            }
        }
    }

    /// A node dials.
    pub(crate) fn join(&mut self, node: usize) -> u64 {
        let session = self.coordinator.next_session;
        self.coordinator.next_session += 1;
        self.coordinator.sessions.insert(node, (session, self.now));
        let of = &self.nodes[node];
        let event = Happened::Joined {
            node: name(node),
            zone: self.members.nodes[of.member].zone.clone(),
            holds: of.holds.iter().rev().map(|seq| self.cut(*seq).root).collect(),
            serial: of.mark.serial,
            asks: true,
            gives: true,
        };
        let view = NodeView {
            zone: self.members.nodes[of.member].zone.clone(),
            connected: true,
            software: Some("0.1.0".into()),
            public: vec!["192.0.2.1:443".into()],
            staged: None,
            serves: None,
            report: Some(Default::default()),
            health: Some(Default::default()),
            drained: false,
        };
        self.coordinator.fleet.nodes.insert(name(node), view);
        self.step(event);
        session
    }

    /// Both ends find out, sooner or later; here at once.
    pub(crate) fn hang_up(&mut self, node: usize) {
        if self.coordinator.sessions.remove(&node).is_some() {
            self.step(Happened::Left { node: name(node) });
        }
    }

    pub(crate) fn is_session(&self, node: usize, session: u64) -> bool {
        self.coordinator.is_up && self.coordinator.sessions.get(&node).is_some_and(|(current, _)| *current == session)
    }

    pub(crate) fn tick(&mut self) {
        if self.coordinator.is_up {
            self.step(Happened::Tick);
        }
        self.after(500 * MS, Event::Tick);
    }

    pub(crate) fn publish(&mut self) {
        if self.coordinator.is_up && self.coordinator.published < self.plan.cuts {
            self.coordinator.published += 1;
            let cut = self.cut(self.coordinator.published);
            self.coordinator.fleet.begin(CutView {
                cut,
                package_bytes: 0,
                plain_bytes: 0,
                entries: 0,
                received_us: self.now,
                ingest_us: 0,
                durable_us: None,
                flip_at_us: None,
                skew_us: None,
                seen_skew_us: None,
                nodes: BTreeMap::new(),
            });
            self.step(Happened::Publish { cut, kind: FlipKind::Publish, durable: true });
        }
        self.after(self.plan.every, Event::Publish);
    }

    pub(crate) fn said_by_node(&mut self, node: usize, session: u64, word: Word) {
        if !self.is_session(node, session) {
            return;
        }
        if !self.is_open(0, self.place(node)) {
            // It is sent again.
            return self.after(200 * MS, Event::FromNode { node, session, word });
        }
        self.coordinator.heard += 1;
        match word {
            Word::Staged(cut) => {
                if let Some(progress) = self.coordinator.fleet.progress(&cut, &name(node)) {
                    progress.staged_us = Some(self.now);
                }
                self.step(Happened::Staged { node: name(node), cut });
            }
            Word::Lacks(cut) => self.step(Happened::Lacks { node: name(node), cut }),
            _ => {}
        }
    }

    pub(crate) fn say(&mut self, node: usize, word: Word) {
        let place = self.place(node);
        let (now, way) = (self.now, self.way(0, place).unwrap_or(200 * MS));
        let Some((session, last)) = self.coordinator.sessions.get_mut(&node) else { return };
        // In order.
        *last = (*last).max(now + way);
        let (session, wait) = (*session, *last - now);
        self.coordinator.words += 1;
        self.after(wait, Event::ToNode { node, session, word });
    }

    fn step(&mut self, event: Happened) {
        for action in self.coordinator.rollout.step(event, self.now) {
            match action {
                Action::Offer { node, cut } => {
                    let node = crate::node::number(&node);
                    *self.coordinator.copies.entry((cut.seq, self.plan.zone(node))).or_default() += 1;
                    self.say(node, Word::Delta(cut, DELTA));
                }
                Action::Nearby { node, cut, from } => {
                    if let Some(progress) = self.coordinator.fleet.progress(&cut, &node) {
                        progress.source = from.first().cloned();
                    }
                    self.say(crate::node::number(&node), Word::Nearby(cut, from));
                }
                Action::Flip { cut, at_us, kind } => self.order(cut, at_us, kind),
                Action::Remind { node } => {
                    if let Some(flip) = self.coordinator.last.clone() {
                        self.say(crate::node::number(&node), Word::Flip(flip));
                    }
                }
                Action::GiveUp { cut } => self.broke("given up", format!("cut {}", cut.seq)),
            }
        }
    }

    fn order(&mut self, cut: CutKey, at_us: u64, kind: FlipKind) {
        let zones = self.plan.zones;
        let ready = |zone: usize| {
            let mut of_zone = self.nodes.iter().enumerate().filter(|(at, _)| self.plan.zone(*at) == zone);
            of_zone.any(|(_, node)| node.holds.contains(&cut.seq))
        };
        let connected: Vec<_> = (0..zones)
            .filter(|zone| self.coordinator.sessions.keys().any(|node| self.plan.zone(*node) == *zone))
            .collect();
        let staged = connected.iter().filter(|zone| ready(**zone)).count();
        if staged * 2 <= connected.len() {
            self.broke("flip only after stage", format!("cut {}: {staged} of {} zones", cut.seq, connected.len()));
        }
        self.coordinator.serial += 1;
        let (serial, mesh) = (self.coordinator.serial, self.key.verifying_key().mesh());
        let flip = self.key.sign(&Flip { mesh, serial, cut, at_us, kind }).unwrap();
        self.coordinator.last = Some(flip.clone());
        self.coordinator.rollout.flipped(serial);
        self.visitors.flipped(cut.seq, at_us);
        let nodes: Vec<_> = self.coordinator.sessions.keys().copied().collect();
        let mut nodes = nodes;
        nodes.sort_unstable();
        nodes.into_iter().for_each(|node| self.say(node, Word::Flip(flip.clone())));
    }
}

/// How long a delta takes within a zone.
pub(crate) const WITHIN: u64 = 60 * MS;

/// How long a source that is silent is waited for.
pub(crate) const SOURCE: u64 = 4 * SECOND;

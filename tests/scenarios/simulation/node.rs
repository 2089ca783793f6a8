//! A node: the product's parts, and what lies between them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use difusor_node::{
    health::{Judge, Reason},
    peers::{
        View,
        swim::{Output, Swim},
    },
};
use difusor_proto::{
    CutKey, Digest, Flip, Mark, MeshId, NodeId, Signed,
    members::{Member, Members, Reach},
    peer::{Condition, News, State, Witness},
};
use rand::RngExt as _;

use crate::{
    coordinator::{SOURCE, WITHIN},
    world::{Event, IDLE, MS, Plan, SECOND, Word, World},
};

/// As in the product: how long a flip by another node waits for the coordinator's own, and how many cuts are kept.
const LATER: u64 = 500 * MS;
const KEPT: usize = 12;

pub(crate) fn name(at: usize) -> NodeId {
    format!("node-{at:04}").parse().unwrap()
}

pub(crate) fn number(node: &NodeId) -> usize {
    node.as_str().trim_start_matches("node-").parse().unwrap()
}

fn address(at: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, u8::try_from(at / 250).unwrap(), u8::try_from(at % 250 + 1).unwrap()], 443))
}

pub(crate) fn number_of_address(ip: std::net::Ipv4Addr) -> usize {
    let [_, _, high, low] = ip.octets();
    usize::from(high) * 250 + usize::from(low) - 1
}

pub(crate) struct Node {
    pub(crate) is_up: bool,
    /// Counts its processes.
    life: u32,
    /// Its place in the list of members.
    pub(crate) member: usize,
    // What is on its disk.
    pub(crate) holds: BTreeSet<u64>,
    pub(crate) mark: Mark,
    // What is in memory.
    pub(crate) serves: Option<u64>,
    pending: Option<Signed<Flip>>,
    flip: Option<Signed<Flip>>,
    swim: Option<Swim>,
    timer: Option<u64>,
    pub(crate) view: View,
    judge: Judge,
    begun: u64,
    version: (u64, u32),
    mood: Option<(Condition, u32, u64, u64)>,
    said: HashMap<usize, bool>,
    runs: HashMap<usize, (u32, u32)>,
    beats: usize,
    pub(crate) session: Option<u64>,
    session_at: u64,
    silent_since: Option<u64>,
    /// What its clock is ahead, microseconds.
    pub(crate) skew: i64,
}

impl Node {
    pub(crate) fn new(at: usize) -> Self {
        Self {
            is_up: false,
            life: 0,
            member: at,
            holds: BTreeSet::new(),
            mark: Mark::default(),
            serves: None,
            pending: None,
            flip: None,
            swim: None,
            timer: None,
            view: View::default(),
            judge: Judge::default(),
            begun: 0,
            version: (0, 0),
            mood: None,
            said: HashMap::new(),
            runs: HashMap::new(),
            beats: 0,
            session: None,
            session_at: 0,
            silent_since: None,
            skew: 0,
        }
    }

    pub(crate) fn members(plan: &Plan, mesh: MeshId) -> Members {
        let member = |at: usize| Member {
            node: name(at),
            zone: format!("zone-{:02}", plan.zone(at)).parse().unwrap(),
            certificate: Digest::of(&at.to_le_bytes()),
            reach: Reach { peers: vec![address(at)], public: vec![address(at)], dns: vec![address(at)] },
            drained: false,
        };
        Members { mesh, serial: 1, nodes: (0..plan.nodes()).map(member).collect(), texts: Vec::new() }
    }

    pub(crate) fn lives(&self, life: u32) -> bool {
        self.is_up && self.life == life
    }

    pub(crate) fn clock(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.skew)
    }

    fn is_joining(&self, now: u64) -> bool {
        self.view.is_joining(now - self.begun, self.session.map(|_| now - self.session_at))
    }

    /// True if it lets a new visitor in.
    pub(crate) fn lets_in(&self, now: u64) -> bool {
        !self.is_joining(now) && !self.view.misses(self.mark.serial, self.clock(now), self.session.is_some())
    }

    fn next_version(&mut self) -> (u64, u32) {
        self.version.1 += 1;
        self.version
    }
}

impl World {
    pub(crate) fn kill(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.is_up {
            (node.is_up, node.swim) = (false, None);
            self.material.iter_mut().for_each(|material| material.end(at));
            if let Some(session) = node.session.take() {
                self.after(IDLE, Event::Lost { node: at, session });
            }
        }
    }

    pub(crate) fn start(&mut self, at: usize) {
        let (boot, key, seed) = (self.now, self.key.verifying_key(), self.rng.random());
        let members = Arc::new(self.members.clone());
        let node = &mut self.nodes[at];
        let fresh = Node {
            is_up: true,
            life: node.life + 1,
            holds: std::mem::take(&mut node.holds),
            mark: node.mark,
            // What the mark says, if it is there.
            serves: Some(node.mark.seq).filter(|seq| *seq > 0),
            swim: Some(Swim::new(name(at), boot, key, seed)),
            view: View { me: Some(name(at)), members: Some(members), ..View::default() },
            begun: self.now,
            version: (boot, 0),
            skew: node.skew,
            ..Node::new(at)
        };
        *node = fresh;
        let life = node.life;
        let all: BTreeSet<_> = (0..self.nodes.len()).map(name).collect();
        let outputs = self.nodes[at].swim.as_mut().unwrap().set_members(all, boot);
        self.carry_out(at, outputs);
        let (look, beat) = (self.rng.random_range(0..500 * MS), self.rng.random_range(0..SECOND));
        if self.plan.has_swim {
            self.after(look, Event::Look { node: at, life });
        }
        self.after(beat, Event::Beat { node: at, life });
    }

    pub(crate) fn packet(&mut self, to: usize, from: usize, bytes: &Bytes) {
        let now = self.now;
        self.packets += 1;
        if let Some(swim) = self.nodes[to].swim.as_mut() {
            let outputs = swim.receive(&name(from), bytes, now);
            self.carry_out(to, outputs);
        }
    }

    pub(crate) fn timer(&mut self, at: usize) {
        let now = self.now;
        self.nodes[at].timer = None;
        let outputs = self.nodes[at].swim.as_mut().unwrap().tick(now);
        self.carry_out(at, outputs);
    }

    /// True if a node that is up, in another zone, would answer with that one, beside others.
    pub(crate) fn some_answer_of_others_has(&self, which: usize) -> bool {
        let is_other = |at: usize| self.plan.zone(at) != self.plan.zone(which);
        self.nodes.iter().enumerate().filter(|(at, node)| node.is_up && is_other(*at)).any(|(_, node)| {
            let all = node.view.all(node.clock(self.now));
            all.iter().any(|(member, unfit)| number(&member.node) == which && unfit.is_none())
        })
    }

    fn tell(&mut self, at: usize, news: &News) {
        let now = self.now;
        let outputs = self.nodes[at].swim.as_mut().unwrap().tell(news, now);
        self.carry_out(at, outputs);
    }

    fn carry_out(&mut self, at: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(to, bytes) => {
                    let to = number(&to);
                    let way = self.way(self.place(at), self.place(to));
                    if let Some(way) = way
                        && !self.is_lost()
                    {
                        let wait = way + self.rng.random_range(0..2 * MS);
                        self.after(wait, Event::Packet { to, from: at, bytes });
                    }
                }
                Output::Up(node) => {
                    let now = self.nodes[at].clock(self.now);
                    let view = &mut self.nodes[at].view;
                    view.witnesses.values_mut().for_each(|voices| voices.retain(|by, _| *by != node));
                    if view.states.contains_key(&node) && !view.alive.contains(&node) {
                        view.back.insert(node.clone(), now);
                    }
                    view.alive.insert(node);
                    self.tell_state(at);
                    self.tell_flip(at);
                }
                Output::Down(node) => {
                    let view = &mut self.nodes[at].view;
                    view.alive.remove(&node);
                    view.witnesses.values_mut().for_each(|voices| voices.retain(|by, _| *by != node));
                }
                Output::News(News::State(state)) => {
                    self.nodes[at].view.states.insert(state.node.clone(), state);
                }
                Output::News(News::Witness(told)) => {
                    let voices = self.nodes[at].view.witnesses.entry(told.about).or_default();
                    voices.insert(told.by, told.is_well);
                }
                Output::News(News::Flip(flip)) => self.hear_flip(at, flip, false),
                // Nobody offends.
                Output::News(News::Banned(_)) => {}
            }
        }
        let Some(next) = self.nodes[at].swim.as_ref().and_then(Swim::next) else { return };
        if self.nodes[at].timer.is_none_or(|timer| next < timer) {
            self.nodes[at].timer = Some(next);
            let (life, wait) = (self.nodes[at].life, next.saturating_sub(self.now));
            self.after(wait, Event::Timer { node: at, life });
        }
    }

    fn tell_state(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some((condition, reasons, serial, seq)) = node.mood else { return };
        let staged = node.holds.last().copied().unwrap_or(0);
        let version = node.next_version();
        let state = State { node: name(at), version, condition, reasons, serial, seq, staged, headroom: 255 };
        self.tell(at, &News::State(state));
    }

    fn tell_flip(&mut self, at: usize) {
        if !self.plan.has_swim {
            return;
        }
        if let Some(flip) = self.nodes[at].flip.clone() {
            self.tell(at, &News::Flip(flip));
        }
    }

    fn tell_witness(&mut self, at: usize, about: usize, is_well: bool) {
        let version = self.nodes[at].next_version();
        self.tell(at, &News::Witness(Witness { about: name(about), by: name(at), version, is_well }));
    }

    pub(crate) fn look(&mut self, at: usize) {
        let now = self.now;
        let node = &mut self.nodes[at];
        let mut seen = 0;
        let mut note = |reason: Reason, is_so: bool| seen |= if is_so { reason.bit() } else { 0 };
        note(Reason::Empty, node.serves.is_none());
        note(Reason::Behind, node.view.misses(node.mark.serial, node.clock(now), node.session.is_some()));
        note(Reason::Joining, node.is_joining(now));
        note(Reason::Alone, node.view.alive.is_empty());
        note(Reason::NoCoordinator, node.session.is_none());
        note(Reason::Deaf, node.view.is_deaf(&name(at)));
        let health = node.judge.see(seen, Duration::from_micros(now - node.begun));
        let mood = (health.state, health.bits(), node.mark.serial, node.serves.unwrap_or(0));
        let is_new = node.mood != Some(mood);
        node.mood = Some(mood);
        let life = node.life;
        if is_new {
            self.tell_state(at);
        }
        self.after(500 * MS, Event::Look { node: at, life });
    }

    pub(crate) fn beat(&mut self, at: usize) {
        let life = self.nodes[at].life;
        self.after(SECOND, Event::Beat { node: at, life });
        if !self.plan.has_swim {
            return self.keep_in_touch(at);
        }
        self.nodes[at].beats += 1;
        let beats = self.nodes[at].beats;
        let away = (0..self.nodes.len())
            .map(name)
            .filter(|node| *node != name(at) && !self.nodes[at].view.alive.contains(node));
        let mut away: Vec<_> = away.collect();
        let turned = beats % away.len().max(1);
        away.rotate_left(turned);
        away.truncate(3);
        let now = self.now;
        let outputs = self.nodes[at].swim.as_mut().unwrap().greet(&away, now);
        self.carry_out(at, outputs);
        if beats.is_multiple_of(10) {
            self.tell_state(at);
            self.tell_flip(at);
            let ill: Vec<_> = self.nodes[at].said.iter().filter(|(_, well)| !**well).map(|(node, _)| *node).collect();
            ill.into_iter().for_each(|node| self.tell_witness(at, node, false));
        }
        self.ask_another(at, beats);
        self.keep_in_touch(at);
        self.catch_up(at);
    }

    fn ask_another(&mut self, at: usize, turn: usize) {
        let others: Vec<_> = self.nodes[at].view.alive.iter().map(number).collect();
        let Some(other) = others.get(turn % others.len().max(1)).copied() else { return };
        let is_well = self.nodes[other].is_up && self.is_open(self.place(at), self.place(other));
        let node = &mut self.nodes[at];
        let run = node.runs.entry(other).or_default();
        *run = if is_well { (run.0 + 1, 0) } else { (0, run.1 + 1) };
        let says = match *run {
            (2.., _) => true,
            (_, 3..) => false,
            _ => return,
        };
        if says != *node.said.get(&other).unwrap_or(&true) {
            node.said.insert(other, says);
            self.tell_witness(at, other, says);
        }
    }

    fn keep_in_touch(&mut self, at: usize) {
        let is_open = self.coordinator.is_up && self.is_open(0, self.place(at));
        match self.nodes[at].session {
            Some(session) if is_open && self.is_session(at, session) => self.nodes[at].silent_since = None,
            // Whoever is there says at once that it knows no such connection.
            Some(_) if is_open => self.nodes[at].session = None,
            Some(session) => {
                let since = *self.nodes[at].silent_since.get_or_insert(self.now);
                if self.now - since >= IDLE {
                    self.nodes[at].session = None;
                    if self.is_session(at, session) {
                        self.hang_up(at);
                    }
                }
            }
            None if is_open => {
                let session = self.join(at);
                let now = self.now;
                let node = &mut self.nodes[at];
                (node.session, node.session_at, node.silent_since) = (Some(session), now, None);
            }
            None => {}
        }
    }

    /// Without a coordinator, other nodes give what a flip waits for.
    fn catch_up(&mut self, at: usize) {
        let node = &self.nodes[at];
        let (None, Some(pending)) = (node.session, &node.pending) else { return };
        let cut = pending.open(&self.key.verifying_key()).unwrap().cut;
        let others = node.view.holders(cut.seq);
        self.nearby(at, cut, others);
    }

    pub(crate) fn said_to_node(&mut self, at: usize, session: u64, word: Word) {
        if self.nodes[at].session != Some(session) || !self.nodes[at].is_up {
            return;
        }
        if !self.is_open(0, self.place(at)) {
            return self.after(200 * MS, Event::ToNode { node: at, session, word });
        }
        let life = self.nodes[at].life;
        match word {
            Word::Delta(cut, took) => self.after(took, Event::Came { node: at, life, cut, from: None, others: vec![] }),
            Word::Nearby(cut, from) => self.nearby(at, cut, from),
            Word::Flip(flip) => self.hear_flip(at, flip, true),
            Word::Staged(_) | Word::Lacks(_) => {}
        }
    }

    /// Asks the first of these nodes.
    fn nearby(&mut self, at: usize, cut: CutKey, mut others: Vec<NodeId>) {
        let life = self.nodes[at].life;
        if others.is_empty() {
            return self.say_to_coordinator(at, Word::Lacks(cut));
        }
        let from = number(&others.remove(0));
        let wait = if self.can_give(from, at, &cut) { WITHIN } else { SOURCE };
        self.after(wait, Event::Came { node: at, life, cut, from: Some(from), others });
    }

    fn can_give(&self, from: usize, to: usize, cut: &CutKey) -> bool {
        let of = &self.nodes[from];
        of.is_up && of.holds.contains(&cut.seq) && self.is_open(self.place(from), self.place(to))
    }

    pub(crate) fn came(&mut self, at: usize, cut: CutKey, from: Option<usize>, others: Vec<NodeId>) {
        match from {
            Some(from) if !self.can_give(from, at, &cut) => return self.nearby(at, cut, others),
            None if self.nodes[at].session.is_none() => return,
            None if !self.is_open(0, self.place(at)) => {
                let life = self.nodes[at].life;
                return self.after(300 * MS, Event::Came { node: at, life, cut, from, others });
            }
            _ => {}
        }
        if !self.transfer(at, cut, from) {
            // What came and verifies is kept: of the next only the rest is asked for.
            if from.is_some() {
                return self.nearby(at, cut, others);
            }
            let life = self.nodes[at].life;
            return self.after(300 * MS, Event::Came { node: at, life, cut, from, others });
        }
        let node = &mut self.nodes[at];
        node.holds.insert(cut.seq);
        while node.holds.len() > KEPT {
            node.holds.pop_first();
        }
        let key = self.key.verifying_key();
        let pending = node.pending.take_if(|flip| flip.open(&key).unwrap().cut == cut);
        self.say_to_coordinator(at, Word::Staged(cut));
        if let Some(flip) = pending {
            self.obey(at, flip, 0);
        }
    }

    fn say_to_coordinator(&mut self, at: usize, word: Word) {
        let Some(session) = self.nodes[at].session else { return };
        let wait = self.way(self.place(at), 0).unwrap_or(200 * MS);
        self.after(wait, Event::FromNode { node: at, session, word });
    }

    fn hear_flip(&mut self, at: usize, signed: Signed<Flip>, by_coordinator: bool) {
        let flip = signed.open(&self.key.verifying_key()).unwrap();
        let node = &mut self.nodes[at];
        let at_us = node.clock(flip.at_us);
        if node.view.flip.is_none_or(|(serial, _)| flip.serial > serial) {
            node.view.flip = Some((flip.serial, at_us));
            node.flip = Some(signed.clone());
            self.tell_flip(at);
        }
        let later = if !by_coordinator && self.nodes[at].session.is_some() { LATER } else { 0 };
        self.obey(at, signed, later);
    }

    fn obey(&mut self, at: usize, signed: Signed<Flip>, later: u64) {
        let flip = signed.open(&self.key.verifying_key()).unwrap();
        // The clock was compared as well as a long path allows, and the disk takes its time.
        let off = self.rng.random_range(0..15 * MS);
        let wait = flip.at_us.saturating_sub(self.now) + off + later;
        let life = self.nodes[at].life;
        self.after(wait, Event::Instant { node: at, life, flip: signed });
    }

    pub(crate) fn instant(&mut self, at: usize, signed: &Signed<Flip>) {
        let flip = signed.open(&self.key.verifying_key()).unwrap();
        let key = self.key.verifying_key();
        let node = &mut self.nodes[at];
        let Ok(mark) = node.mark.admit(&flip) else { return };
        if node.holds.contains(&flip.cut.seq) {
            (node.mark, node.serves) = (mark, Some(flip.cut.seq));
        } else if node.pending.as_ref().is_none_or(|other| other.open(&key).unwrap().serial <= flip.serial) {
            node.pending = Some(signed.clone());
        }
    }

    /// Everyone who is up serves the newest cut, and takes all who are up for fit.
    pub(crate) fn check_convergence(&mut self) {
        let newest = self.coordinator.current().map(|cut| cut.seq);
        for at in 0..self.nodes.len() {
            if self.nodes[at].is_up && self.nodes[at].serves != newest {
                self.broke("convergence", format!("node {at} serves {:?} of {newest:?}", self.nodes[at].serves));
            }
        }
        self.check_convergence_of_views();
    }

    /// Everyone who is up takes all who are up for fit, and nobody else.
    pub(crate) fn check_convergence_of_views(&mut self) {
        let up: BTreeMap<usize, bool> = self.nodes.iter().enumerate().map(|(at, node)| (at, node.is_up)).collect();
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if !node.is_up {
                continue;
            }
            let now = node.clock(self.now);
            let wrong =
                node.view.all(now).into_iter().find(|(member, unfit)| up[&number(&member.node)] == unfit.is_some());
            if let Some((member, unfit)) = wrong {
                let (of, view) = (&self.nodes[number(&member.node)], &self.nodes[at].view);
                let (flip, state) = (view.flip, view.states.get(&member.node));
                let what = format!(
                    "node {at} says of {}: {unfit:?}, by flip {flip:?} and {state:?}, with its mark {:?}, serving {:?}, and knowing {:?}",
                    member.node,
                    of.mark.serial,
                    of.serves,
                    of.swim.as_ref().map(Swim::alive)
                );
                self.broke("convergence", what);
            }
        }
    }
}

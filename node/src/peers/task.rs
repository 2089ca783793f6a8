//! The task that owns what this node knows of the others: takes what comes, and carries out what follows.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use difusor_proto::{
    Flip, NodeId, Signed,
    clock::ClockFilter,
    limits::MAX_BANNED,
    members::Members,
    peer::{BANNED_SLOTS, Banned, News, State, What, Witness},
    process::unix_us,
    wire::{CloseCode, Offender},
};
use tokio::sync::mpsc;

use super::{
    Event, Heard, Mood, Order, View,
    connect::{Dialler, Shared, listen},
    link::Link,
    swim::{Output, Swim},
};
use crate::home::Home;

/// Packets that wait for a connection: what comes later says more.
const WAITING: usize = 8;

/// How often the time is asked for, and those who are not there are greeted.
pub(super) const BEAT: Duration = Duration::from_secs(1);

/// Connections over which the time is asked for in a beat.
const PINGS: usize = 16;

/// Beats after which what is known of this node is told again, for those who missed it.
const REPEAT: u32 = 10;

/// A clock that is ahead of itself by so much, microseconds, was set; less is drift, slewing, or a thread that waited in between.
const SET: u64 = 500_000;

/// Offenders that wait to be told of: what comes later is more to the point.
const TO_TELL: usize = 4 * MAX_BANNED;

/// After so long they have done elsewhere what they do: half of the shortest ban.
const STALE: Duration = Duration::from_secs(30);

/// Nodes that tell of offenders in a second, all together: so much finds room in packets beside what is more urgent, whatever
/// the size of the mesh.
const VOICES: usize = 5;

/// The least number of clocks that say whether this one is wrong: one could be wrong itself.
const CLOCKS: usize = 2;

/// The state of the task.
pub(super) struct Node {
    pub(super) swim: Swim,
    known: View,
    links: HashMap<NodeId, Link>,
    /// Packets for nodes that a connection is being made to.
    waiting: HashMap<NodeId, VecDeque<Bytes>>,
    /// Datagrams to be sent once more, by their times and a count.
    again: BTreeMap<(Instant, u64), (NodeId, Bytes)>,
    count: u64,
    clocks: HashMap<NodeId, ClockFilter>,
    /// What both clocks of this machine showed last.
    clock: (Instant, u64),
    version: (u64, u32),
    mood: Option<Mood>,
    /// The last flip.
    flip: Option<Signed<Flip>>,
    /// What was said of others.
    said: HashMap<NodeId, bool>,
    /// Who is to be told of, and how often that was done.
    banned: VecDeque<(Instant, Offender)>,
    told: u32,
    beats: u32,
    /// True if what is known is something else than what is shown.
    is_news: bool,
    begun: Instant,
    dialler: Dialler,
    shared: Arc<Shared>,
    view: Arc<ArcSwap<View>>,
    flips: mpsc::UnboundedSender<Signed<Flip>>,
    offenders: mpsc::Sender<Banned>,
    home: Home,
    /// Serial of the list of members that is on disk.
    kept: Arc<Mutex<u64>>,
}

impl Node {
    /// What is known is what `view` shows.
    pub(super) fn new(
        dialler: Dialler,
        shared: Arc<Shared>,
        view: Arc<ArcSwap<View>>,
        Heard { flips, offenders }: Heard,
        home: Home,
    ) -> Self {
        // A clock that was set back must not make this process older than the last one.
        let boot = home.next_boot(unix_us());
        Self {
            swim: Swim::new(shared.me.clone(), boot, shared.key, rand::random()),
            known: View::clone(&view.load()),
            links: HashMap::new(),
            waiting: HashMap::new(),
            again: BTreeMap::new(),
            count: 0,
            clocks: HashMap::new(),
            clock: (Instant::now(), unix_us()),
            version: (boot, 0),
            mood: None,
            flip: None,
            said: HashMap::new(),
            banned: VecDeque::new(),
            told: 0,
            beats: 0,
            is_news: true,
            begun: Instant::now(),
            dialler,
            shared,
            view,
            flips,
            offenders,
            home,
            kept: Arc::default(),
        }
    }

    /// Microseconds since the start: failure detection must not depend on a clock that is set.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// When something is to be done.
    pub(super) fn due(&self) -> Instant {
        let timer = self.swim.next().map(|at| self.begun + Duration::from_micros(at));
        let again = self.again.keys().next().map(|(at, _)| *at);
        timer.into_iter().chain(again).min().unwrap_or_else(|| Instant::now() + BEAT)
    }

    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::Members(signed) => self.members(&signed),
            Order::State(mood) => {
                if self.mood.as_ref() != Some(&mood) {
                    self.mood = Some(mood);
                    self.tell_state();
                }
            }
            Order::Witness(about, is_well) => {
                if self.said.insert(about.clone(), is_well) != Some(is_well) {
                    self.tell_witness(about, is_well);
                }
            }
            Order::Banned(banned) => {
                let now = Instant::now();
                self.banned.extend(banned.into_iter().map(|offender| (now, offender)));
                let over = self.banned.len().saturating_sub(TO_TELL);
                self.banned.drain(..over);
            }
            Order::Flip(flip, at_us) => {
                self.instant(&flip, at_us);
                if self.flip.as_ref() != Some(&flip) {
                    self.flip = Some(flip);
                    self.tell_flip();
                }
            }
        }
    }

    fn members(&mut self, signed: &Signed<Members>) {
        let list = match signed.open(&self.shared.key) {
            Ok(list) => list,
            Err(error) => return tracing::error!(%error, "a list of members that is not this mesh's"),
        };
        let newest = self.known.members.as_ref().map_or(0, |members| members.serial);
        if let Err(error) = list.check() {
            return tracing::error!(%error, "a list of members");
        }
        if list.serial <= newest && self.known.members.is_some() {
            return;
        }
        // The disk may take its time, and the others must not take this node for dead meanwhile.
        let (home, kept, signed, serial) = (self.home.clone(), Arc::clone(&self.kept), signed.clone(), list.serial);
        tokio::task::spawn_blocking(move || {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if serial <= *kept {
                return;
            }
            match home.write_members(&signed) {
                Ok(()) => *kept = serial,
                Err(error) => tracing::warn!(
                    %error,
                    "the list of members is not kept: after a restart this node waits for the coordinator"
                ),
            }
        });
        if list.get(&self.shared.me).is_none() {
            tracing::error!("this node is not in the mesh any more: remove it, or let it join again");
        }
        self.is_news = true;
        self.known.members = Some(Arc::new(list));
        self.shared.members.store(self.known.members.clone());
        self.enlist();
    }

    /// Takes up the list of members.
    pub(super) fn enlist(&mut self) {
        let Some(members) = self.known.members.clone() else { return };
        let others = members.nodes.iter().map(|member| member.node.clone()).filter(|node| *node != self.shared.me);
        let others: BTreeSet<NodeId> = others.collect();
        self.known.states.retain(|node, _| members.get(node).is_some());
        self.known.back.retain(|node, _| members.get(node).is_some());
        self.known.witnesses.retain(|node, _| members.get(node).is_some());
        self.links.retain(|node, link| {
            let is_in = others.contains(node);
            if !is_in {
                CloseCode::UnknownNode.close(&link.connection);
            }
            is_in
        });
        self.clocks.retain(|node, _| others.contains(node));
        let mut everyone = others.clone();
        everyone.insert(self.shared.me.clone());
        let now = self.now();
        let outputs = self.swim.set_members(everyone, now);
        self.carry_out(outputs);
        // Who is there may have been heard of before it was in the list.
        let alive = self.swim.alive().into_keys().filter(|node| others.contains(node));
        self.known.alive = alive.collect();
        self.known.witnesses.values_mut().for_each(|voices| voices.retain(|by, _| members.get(by).is_some()));
        self.is_news = true;
        self.greet();
    }

    /// Says hello to some of those who are not there.
    fn greet(&mut self) {
        let Some(members) = self.known.members.clone() else { return };
        let away = members.nodes.iter().filter(|member| {
            member.node != self.shared.me && !self.known.alive.contains(&member.node) && !member.reach.peers.is_empty()
        });
        let mut away: Vec<NodeId> = away.map(|member| member.node.clone()).collect();
        // Some at a time, others each time.
        let at = usize::try_from(self.beats).unwrap_or(0) % away.len().max(1);
        away.rotate_left(at);
        away.truncate(3);
        let now = self.now();
        let outputs = self.swim.greet(&away, now);
        self.carry_out(outputs);
    }

    pub(super) fn hear(&mut self, event: Event) {
        match event {
            Event::Linked(node, connection) => {
                let mut link = Link::new(connection);
                for packet in self.waiting.remove(&node).unwrap_or_default() {
                    let copies = link.send(What::Swim(&packet), Instant::now());
                    self.send_again(&node, copies);
                }
                self.links.insert(node, link);
            }
            Event::Failed(node) => drop(self.waiting.remove(&node)),
            Event::Swim(node, _) if !self.is_member(&node) => drop(self.links.remove(&node)),
            Event::Swim(node, packet) => {
                let now = self.now();
                let outputs = self.swim.receive(&node, &packet, now);
                self.carry_out(outputs);
            }
            Event::Clock(node, exchange) => self.clocks.entry(node).or_default().sample(exchange),
        }
    }

    fn is_member(&self, node: &NodeId) -> bool {
        self.known.members.as_ref().is_some_and(|members| members.get(node).is_some())
    }

    pub(super) fn tick(&mut self) {
        let now = self.now();
        let outputs = self.swim.tick(now);
        self.carry_out(outputs);
        let instant = Instant::now();
        while let Some(first) = self.again.first_entry().filter(|first| first.key().0 <= instant) {
            let (node, bytes) = first.remove();
            if let Some(link) = self.links.get(&node) {
                link.again(&bytes);
            }
        }
    }

    pub(super) fn beat(&mut self) {
        self.beats = self.beats.wrapping_add(1);
        self.links.retain(|_, link| !link.is_closed());
        // Some each time: a connection that is used for nothing else ends.
        let skipped = usize::try_from(self.beats).unwrap_or(0).wrapping_mul(PINGS) % self.links.len().max(1);
        for link in self.links.values_mut().skip(skipped).take(PINGS) {
            let _ = link.send(What::Ping { sent: unix_us() }, Instant::now());
        }
        self.greet();
        if self.beats.is_multiple_of(REPEAT) {
            self.tell_state();
            self.tell_flip();
            let ill: Vec<_> =
                self.said.iter().filter(|(_, is_well)| !**is_well).map(|(node, _)| node.clone()).collect();
            ill.into_iter().for_each(|node| self.tell_witness(node, false));
        }
        self.tell_banned();
        self.compare_clocks();
    }

    /// Notices when the clock is set: it runs as long as the one that cannot be set, otherwise.
    pub(super) fn mind_clock(&mut self) {
        let (before, at) = std::mem::replace(&mut self.clock, (Instant::now(), unix_us()));
        let (now, now_us) = self.clock;
        let ran = i128::try_from((now - before).as_micros()).unwrap_or(0);
        let by_us = i64::try_from(i128::from(now_us) - i128::from(at) - ran).unwrap_or(0);
        if by_us.unsigned_abs() >= SET {
            tracing::warn!(seconds = by_us / 1_000_000, "the clock of this machine was set");
            self.clocks.values_mut().for_each(|filter| filter.was_set(by_us));
            self.compare_clocks();
        }
    }

    /// What the others' clocks say of this one.
    fn compare_clocks(&mut self) {
        let offsets = self.clocks.iter().filter(|(node, _)| self.known.alive.contains(*node));
        let mut offsets: Vec<i64> = offsets.filter_map(|(_, filter)| Some(filter.best()?.offset_us)).collect();
        let others = offsets.len();
        // One clock that is wrong is not made right by being one of two.
        offsets.push(0);
        offsets.sort_unstable();
        let clock = offsets.get(offsets.len() / 2).filter(|_| others >= CLOCKS).map(|at| (*at, others));
        if clock != self.known.clock {
            (self.known.clock, self.is_news) = (clock, true);
        }
    }

    fn next_version(&mut self) -> (u64, u32) {
        self.version.1 += 1;
        self.version
    }

    fn tell_state(&mut self) {
        let Some(mood) = self.mood.clone() else { return };
        let Mood { condition, reasons, serial, seq, staged, headroom } = mood;
        let (node, version) = (self.shared.me.clone(), self.next_version());
        let state = State { node, version, condition, reasons, serial, seq, staged, headroom };
        self.tell(News::State(state));
    }

    fn tell_flip(&mut self) {
        if let Some(flip) = self.flip.clone() {
            self.tell(News::Flip(flip));
        }
    }

    fn tell_witness(&mut self, about: NodeId, is_well: bool) {
        let (by, version) = (self.shared.me.clone(), self.next_version());
        self.tell(News::Witness(Witness { about, by, version, is_well }));
    }

    /// Tells of some offenders, the fewer times in a second the more nodes there are.
    fn tell_banned(&mut self) {
        self.banned.retain(|(since, _)| since.elapsed() < STALE);
        let nodes = self.known.members.as_ref().map_or(0, |members| members.nodes.len());
        let turns = u32::try_from(nodes.div_ceil(VOICES)).unwrap_or(u32::MAX).max(1);
        if self.banned.is_empty() || !self.beats.is_multiple_of(turns) {
            return;
        }
        let banned = self.banned.drain(..self.banned.len().min(MAX_BANNED)).map(|(_, offender)| offender).collect();
        let slot = u8::try_from(self.told % u32::from(BANNED_SLOTS)).unwrap_or_default();
        self.told = self.told.wrapping_add(1);
        let (by, version) = (self.shared.me.clone(), self.next_version());
        self.tell(News::Banned(Banned { by, slot, version, banned }));
    }

    fn tell(&mut self, news: News) {
        let now = self.now();
        let outputs = self.swim.tell(&news, now);
        self.carry_out(outputs);
    }

    /// Notes when the last flip is to be obeyed.
    fn instant(&mut self, flip: &Signed<Flip>, at_us: u64) {
        if let Ok(flip) = flip.open(&self.shared.key)
            && self.known.flip.is_none_or(|(serial, _)| flip.serial > serial)
        {
            self.is_news = true;
            self.known.flip = Some((flip.serial, at_us));
        }
    }

    pub(super) fn carry_out(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(node, packet) => self.send(node, packet),
                Output::Up(node) => {
                    tracing::info!(%node, "another node is there");
                    self.is_news = true;
                    // What it said before it began anew it may not say any more, and it may know nothing yet.
                    self.forget_voices_of(&node);
                    if self.known.states.contains_key(&node) && !self.known.alive.contains(&node) {
                        self.known.back.insert(node.clone(), unix_us());
                    }
                    self.known.alive.insert(node);
                    self.tell_state();
                    self.tell_flip();
                }
                Output::Down(node) => {
                    tracing::warn!(%node, "another node is gone");
                    self.is_news = true;
                    self.known.alive.remove(&node);
                    self.forget_voices_of(&node);
                    self.clocks.remove(&node);
                    if let Some(link) = self.links.remove(&node) {
                        CloseCode::Silent.close(&link.connection);
                    }
                }
                Output::News(News::State(state)) => {
                    self.is_news = true;
                    self.known.states.insert(state.node.clone(), state);
                }
                Output::News(News::Witness(told)) => {
                    self.is_news = true;
                    self.known.witnesses.entry(told.about).or_default().insert(told.by, told.is_well);
                }
                // If nobody takes it, the node ends.
                Output::News(News::Flip(flip)) => drop(self.flips.send(flip)),
                // Whoever cannot keep up misses some.
                Output::News(News::Banned(banned)) => drop(self.offenders.try_send(banned)),
            }
        }
    }

    fn forget_voices_of(&mut self, by: &NodeId) {
        for voices in self.known.witnesses.values_mut() {
            voices.remove(by);
        }
    }

    fn send(&mut self, node: NodeId, packet: Bytes) {
        if let Some(link) = self.links.get_mut(&node).filter(|link| !link.is_closed()) {
            let copies = link.send(What::Swim(&packet), Instant::now());
            return self.send_again(&node, copies);
        }
        let is_dialling = self.waiting.contains_key(&node);
        let waiting = self.waiting.entry(node.clone()).or_default();
        waiting.push_back(packet);
        if waiting.len() > WAITING {
            waiting.pop_front();
        }
        if !is_dialling {
            let (dialler, shared) = (self.dialler.clone(), Arc::clone(&self.shared));
            tokio::spawn(async move {
                let event = match dialler.dial(&node).await {
                    Ok(connection) => {
                        listen(Arc::clone(&shared), node.clone(), connection.clone());
                        Event::Linked(node, connection)
                    }
                    Err(error) => {
                        tracing::debug!(%node, error = format!("{error:#}"), "no connection to another node");
                        Event::Failed(node)
                    }
                };
                let _ = shared.events.send(event).await;
            });
        }
    }

    fn send_again(&mut self, node: &NodeId, copies: Vec<(Instant, Bytes)>) {
        for (at, bytes) in copies {
            self.count += 1;
            self.again.insert((at, self.count), (node.clone(), bytes));
        }
    }

    /// Shows what is known, if it is something else than before.
    pub(super) fn show(&mut self) {
        if std::mem::take(&mut self.is_news) {
            self.view.store(Arc::new(self.known.clone()));
        }
    }
}

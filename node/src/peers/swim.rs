//! Who is alive, and what is told from node to node: SWIM, without sockets or clocks.
//!
//! Each node asks another whether it is there, in turns, and has others ask for it before it suspects one (Das, Gupta and
//! Motivala, 2002); whoever is suspected can object. News ride on the same packets until all have heard of them. Time is
//! given in microseconds, randomness by a seed: the same calls give the same answers.

use std::{
    borrow::Cow,
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    num::{NonZeroU8, NonZeroUsize},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use difusor_proto::{
    NodeId, VerifyingKey,
    limits::MAX_BANNED,
    peer::{BANNED_SLOTS, MAX_DATAGRAM, News},
    process::unix_us,
};
use foca::{
    BroadcastHandler, Codec as _, Config, Foca, Invalidates, Member, Notification, PeriodicParams, PostcardCodec,
    Timer, TimerToken,
};
use rand::{SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// What is left of a datagram for a packet: a number, what it is, and its length.
const PACKET: usize = MAX_DATAGRAM - 16;

/// How often each node asks another. A node that dies is asked within some of these (each of the others asks one by chance),
/// suspected at the end of that one, and given up [`SUSPICION`] later.
const PERIOD: Duration = Duration::from_millis(250);

/// How long an answer may take before others are asked to ask: a little more than the longest round trip reckoned with.
const ROUND_TRIP: Duration = Duration::from_millis(230);

/// How long a suspect may object: some round trips of the longest path, with a packet lost now and then.
const SUSPICION: Duration = Duration::from_millis(1000);

/// How often each node tells three others what is new.
const GOSSIP: Duration = Duration::from_millis(100);

/// How long those who are down are remembered; a process that comes back has a new name anyhow.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// How far ahead of this clock what a process says of its beginning may be, microseconds: a day.
const AHEAD: u64 = 86_400_000_000;

/// A process of a node. The one that began last is the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    node: NodeId,
    /// When it began, Unix microseconds; counts up when it was taken for dead.
    boot: u64,
}

impl foca::Identity for Process {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(Self { boot: self.boot.saturating_add(1), ..self.clone() })
    }

    fn addr(&self) -> NodeId {
        self.node.clone()
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.boot > adversary.boot
    }
}

/// What follows from a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this to that node, once; it may be lost.
    Send(NodeId, Bytes),
    /// A node is there.
    Up(NodeId),
    /// A node is not there any more.
    Down(NodeId),
    /// What was not known before.
    News(News),
}

/// Which of two news about the same thing is the later one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum About {
    State(NodeId),
    Witness(NodeId, NodeId),
    Flip,
    Banned(NodeId, u8),
}

/// What news are about, and their version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key(About, (u64, u32));

impl Invalidates for Key {
    fn invalidates(&self, other: &Self) -> bool {
        self.0 == other.0 && self.1 >= other.1
    }
}

/// What was heard.
#[derive(Debug)]
struct Heard {
    me: NodeId,
    key: VerifyingKey,
    members: BTreeSet<NodeId>,
    known: HashMap<About, (u64, u32)>,
    fresh: Vec<News>,
}

impl Heard {
    /// The key of news that are new; `None` if they are not, or nobody can know them. What this node itself says it may say
    /// again, and nobody else may say it.
    fn take(&mut self, news: News, is_own: bool) -> Option<Key> {
        let key = match &news {
            News::State(state) => Key(About::State(state.node.clone()), state.version),
            News::Witness(told) if told.about == told.by => return None,
            News::Witness(told) => Key(About::Witness(told.about.clone(), told.by.clone()), told.version),
            News::Flip(signed) => Key(About::Flip, (signed.open(&self.key).ok()?.serial, 0)),
            News::Banned(told) if told.slot >= BANNED_SLOTS || told.banned.len() > MAX_BANNED => return None,
            News::Banned(told) => Key(About::Banned(told.by.clone(), told.slot), told.version),
        };
        let (is_of_mesh, is_mine) = match &key.0 {
            About::State(node) | About::Banned(node, _) => (self.members.contains(node), *node == self.me),
            About::Witness(about, by) => (self.members.contains(about) && self.members.contains(by), *by == self.me),
            About::Flip => (true, is_own),
        };
        // A version from the day after tomorrow would be the last word for ever.
        let is_of_time = matches!(key.0, About::Flip) || key.1.0 <= unix_us().saturating_add(AHEAD);
        if !is_of_mesh || is_mine != is_own || !is_of_time {
            return None;
        }
        match self.known.get(&key.0).map(|known| known.cmp(&key.1)) {
            Some(Ordering::Greater) => return None,
            Some(Ordering::Equal) => return is_own.then_some(key),
            Some(Ordering::Less) | None => {}
        }
        self.known.insert(key.0.clone(), key.1);
        // The flip that this node tells of is one that it was told, and whom it has banned it knows.
        if !(is_own && matches!(key.0, About::Flip | About::Banned(..))) {
            self.fresh.push(news);
        }
        Some(key)
    }
}

struct Handler(Arc<Mutex<Heard>>);

impl BroadcastHandler<Process> for Handler {
    type Key = Key;
    type Error = postcard::Error;

    fn receive_item(&mut self, data: &[u8], sender: Option<&Process>) -> Result<Option<Key>, postcard::Error> {
        // A later version may tell of more.
        let Ok(news) = postcard::from_bytes(data) else { return Ok(None) };
        Ok(lock(&self.0).take(news, sender.is_none()))
    }
}

/// Timers and packets as the library gives them.
#[derive(Default)]
struct Gathered {
    send: Vec<(Process, Bytes)>,
    timers: Vec<(Duration, Timer<Process>)>,
    changes: Vec<Output>,
}

impl foca::Runtime<Process> for &mut Gathered {
    fn notify(&mut self, notification: Notification<'_, Process>) {
        match notification {
            Notification::MemberUp(process) => self.changes.push(Output::Up(process.node.clone())),
            // It began anew before anyone missed it.
            Notification::Rename(_, process) => self.changes.push(Output::Up(process.node.clone())),
            Notification::MemberDown(process) => self.changes.push(Output::Down(process.node.clone())),
            _ => {}
        }
    }

    fn send_to(&mut self, to: Process, data: &[u8]) {
        self.send.push((to, Bytes::copy_from_slice(data)));
    }

    fn submit_after(&mut self, event: Timer<Process>, after: Duration) {
        self.timers.push((after, event));
    }
}

/// A timer. Of those that are due at once, the library wants its own order.
#[derive(PartialEq, Eq)]
struct Due {
    at: u64,
    event: Timer<Process>,
    order: u64,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, &self.event, self.order).cmp(&(other.at, &other.event, other.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One node's part in it.
pub struct Swim {
    foca: Foca<Process, PostcardCodec, StdRng, Handler>,
    heard: Arc<Mutex<Heard>>,
    timers: BinaryHeap<Reverse<Due>>,
    order: u64,
    /// What tells the timers of this name of the process from those of the last.
    token: Option<TimerToken>,
}

impl Swim {
    /// Of a process of `node` that began at `boot` (Unix microseconds). Flips are believed that `key` signed.
    pub fn new(node: NodeId, boot: u64, key: VerifyingKey, seed: u64) -> Self {
        let heard = Heard { me: node.clone(), key, members: BTreeSet::new(), known: HashMap::new(), fresh: Vec::new() };
        let heard = Arc::new(Mutex::new(heard));
        let rng = StdRng::seed_from_u64(seed);
        let handler = Handler(Arc::clone(&heard));
        let foca = Foca::with_custom_broadcast(Process { node, boot }, config(), rng, PostcardCodec, handler);
        Self { foca, heard, timers: BinaryHeap::new(), order: 0, token: None }
    }

    /// Who is in the mesh. Whoever is not any more is down.
    pub fn set_members(&mut self, members: BTreeSet<NodeId>, now: u64) -> Vec<Output> {
        let mut heard = lock(&self.heard);
        heard.known.retain(|about, _| match about {
            About::State(node) | About::Banned(node, _) => members.contains(node),
            About::Witness(about, by) => members.contains(about) && members.contains(by),
            About::Flip => true,
        });
        heard.members = members.clone();
        drop(heard);
        let gone = self.foca.iter_members().filter(|member| !members.contains(&member.id().node));
        let gone: Vec<_> = gone.map(|member| Member::down(member.id().clone())).collect();
        self.call(now, |foca, runtime| foca.apply_many(gone.into_iter(), true, runtime))
    }

    /// Says to these nodes that this one is there.
    pub fn greet(&mut self, nodes: &[NodeId], now: u64) -> Vec<Output> {
        let mut all = Vec::new();
        for node in nodes {
            let process = Process { node: node.clone(), boot: 0 };
            all.extend(self.call(now, |foca, runtime| foca.announce(process, runtime)));
        }
        all
    }

    /// A packet came from that node.
    pub fn receive(&mut self, from: &NodeId, packet: &[u8], now: u64) -> Vec<Output> {
        let Some(packet) = self.sifted(from, packet) else { return Vec::new() };
        self.call(now, |foca, runtime| foca.handle_data(&packet, runtime))
    }

    /// A packet without what it says of processes that cannot be; `None` if it is none, or another's.
    fn sifted<'a>(&self, from: &NodeId, packet: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let mut rest = packet;
        let header: foca::Header<Process> = PostcardCodec.decode_header(&mut rest).ok()?;
        let latest = unix_us().saturating_add(AHEAD);
        // Nobody speaks for another.
        if header.src.node != *from || header.src.boot > latest {
            return None;
        }
        if header.message == foca::Message::Broadcast || rest.len() < 2 {
            return Some(Cow::Borrowed(packet));
        }
        let (count, mut updates) = rest.split_first_chunk::<2>()?;
        let members = &lock(&self.heard).members;
        let (mut kept, mut left) = (Vec::new(), u16::from_be_bytes(*count));
        let all = left;
        while left > 0 {
            let member: Member<Process> = PostcardCodec.decode_member(&mut updates).ok()?;
            if members.contains(&member.id().node) && member.id().boot <= latest {
                kept.push(member);
            }
            left -= 1;
        }
        if kept.len() == usize::from(all) {
            return Some(Cow::Borrowed(packet));
        }
        let head = packet.len().checked_sub(rest.len())?;
        let mut sifted = packet.get(..head)?.to_vec();
        sifted.extend(u16::try_from(kept.len()).ok()?.to_be_bytes());
        for member in &kept {
            PostcardCodec.encode_member(member, &mut sifted).ok()?;
        }
        // What else there is rides behind.
        sifted.extend_from_slice(updates);
        Some(Cow::Owned(sifted))
    }

    /// Tells all others.
    pub fn tell(&mut self, news: &News, now: u64) -> Vec<Output> {
        let Ok(bytes) = postcard::to_stdvec(news) else { return Vec::new() };
        self.call(now, |foca, _| foca.add_broadcast(&bytes).map(drop))
    }

    /// Says goodbye: the others need not find out. To be called last.
    pub fn leave(&mut self, now: u64) -> Vec<Output> {
        self.call(now, |foca, runtime| foca.leave_cluster(runtime))
    }

    /// When something is to be done next, microseconds.
    pub fn next(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse(due)| due.at)
    }

    /// Does what is due.
    pub fn tick(&mut self, now: u64) -> Vec<Output> {
        let mut all = Vec::new();
        while let Some(Reverse(due)) = self.timers.peek()
            && due.at <= now
        {
            let Some(Reverse(due)) = self.timers.pop() else { break };
            all.extend(self.call(now, |foca, runtime| foca.handle_timer(due.event, runtime)));
        }
        all
    }

    /// Those who are there, without this one; true if one is suspected not to be.
    pub fn alive(&self) -> BTreeMap<NodeId, bool> {
        let alive = self.foca.iter_membership_state().filter(|member| member.state() != foca::State::Down);
        alive.map(|member| (member.id().node.clone(), member.state() == foca::State::Suspect)).collect()
    }

    /// A process that was taken for dead begins anew, and the library forgets whom it suspected. A node that hears nothing says of
    /// all others that they are dead: nobody would be sure of its death for as long as it says so.
    fn keep_suspicions(&mut self, timers: &[(Duration, Timer<Process>)]) {
        let of_probe = |(_, timer): &(Duration, Timer<Process>)| match timer {
            Timer::ProbeRandomMember(token) => Some(*token),
            _ => None,
        };
        let Some(new) = timers.iter().find_map(of_probe).filter(|new| self.token != Some(*new)) else { return };
        self.token = Some(new);
        let renew = |Reverse(mut due): Reverse<Due>| {
            if let Timer::ChangeSuspectToDown { token, .. } = &mut due.event {
                *token = new;
            }
            Reverse(due)
        };
        self.timers = std::mem::take(&mut self.timers).into_iter().map(renew).collect();
    }

    fn call(
        &mut self,
        now: u64,
        call: impl FnOnce(&mut Foca<Process, PostcardCodec, StdRng, Handler>, &mut Gathered) -> Result<(), foca::Error>,
    ) -> Vec<Output> {
        let mut gathered = Gathered::default();
        if let Err(error) = call(&mut self.foca, &mut gathered) {
            tracing::debug!(%error, "a packet of another node, or a timer");
        }
        // One that is told that it was taken for dead begins anew without timers, and has them again only with the next
        // packet; two nodes that are told so at once would wait for each other for ever.
        if let Err(error) = self.foca.apply_many(std::iter::empty(), false, &mut gathered) {
            tracing::debug!(%error, "failure detection");
        }
        let Gathered { send, timers, changes } = gathered;
        self.keep_suspicions(&timers);
        for (after, event) in timers {
            self.order += 1;
            let at = now.saturating_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
            self.timers.push(Reverse(Due { at, event, order: self.order }));
        }
        let mut heard = lock(&self.heard);
        let of_mesh = |output: &Output| match output {
            Output::Up(node) | Output::Down(node) => heard.members.contains(node),
            _ => true,
        };
        let mut outputs: Vec<_> = changes.into_iter().filter(of_mesh).collect();
        outputs.extend(send.into_iter().map(|(to, packet)| Output::Send(to.node, packet)));
        outputs.extend(std::mem::take(&mut heard.fresh).into_iter().map(Output::News));
        outputs
    }
}

fn config() -> Config {
    const fn some(value: usize) -> NonZeroUsize {
        match NonZeroUsize::new(value) {
            Some(value) => value,
            None => NonZeroUsize::MIN,
        }
    }
    Config {
        probe_period: PERIOD,
        probe_rtt: ROUND_TRIP,
        num_indirect_probes: some(3),
        // Log2 of the largest mesh, and as much again for those that are lost.
        max_transmissions: NonZeroU8::new(15).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: SUSPICION,
        remove_down_after: Some(REMEMBERED),
        max_packet_size: some(PACKET),
        notify_down_members: true,
        periodic_announce: Some(PeriodicParams { frequency: Duration::from_secs(10), num_members: some(1) }),
        // After a partition, those who took each other for dead find out.
        periodic_announce_to_down_members: Some(PeriodicParams {
            frequency: Duration::from_secs(2),
            num_members: some(2),
        }),
        periodic_gossip: Some(PeriodicParams { frequency: GOSSIP, num_members: some(3) }),
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    // Every critical section leaves the value whole.
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

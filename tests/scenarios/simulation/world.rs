//! The clock, the paths, and what happens when.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeSet, BinaryHeap},
};

use bytes::Bytes;
use difusor_coordinator::rollout::Policy;
use difusor_proto::{CutKey, Digest, Flip, NodeId, Signed, SigningKey, members::Members};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{bytes::Material, coordinator::Coordinator, node::Node, visitors::Visitors};

pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000;

/// A connection over which nothing came for so long is over; what is lost before that is sent again.
pub(crate) const IDLE: u64 = 10 * SECOND;

/// What a coordinator and a node say to each other.
#[derive(Debug, Clone)]
pub(crate) enum Word {
    /// To a node: the bytes of a cut are on their way, for so long.
    Delta(CutKey, u64),
    Nearby(CutKey, Vec<NodeId>),
    Flip(Signed<Flip>),
    /// To the coordinator.
    Staged(CutKey),
    Lacks(CutKey),
}

/// What happens.
pub(crate) enum Event {
    /// A packet of failure detection comes.
    Packet {
        to: usize,
        from: usize,
        bytes: Bytes,
    },
    /// A node looks at its timers.
    Timer {
        node: usize,
        life: u32,
    },
    /// Twice a second it looks at itself.
    Look {
        node: usize,
        life: u32,
    },
    /// Once a second it greets, asks another, and looks after its connection.
    Beat {
        node: usize,
        life: u32,
    },
    /// A word comes over a connection.
    ToNode {
        node: usize,
        session: u64,
        word: Word,
    },
    FromNode {
        node: usize,
        session: u64,
        word: Word,
    },
    /// All of a cut is at a node, from the coordinator or another node, of those that it was told to ask.
    Came {
        node: usize,
        life: u32,
        cut: CutKey,
        from: Option<usize>,
        others: Vec<NodeId>,
    },
    /// The instant of a flip is there, by the node's clock.
    Instant {
        node: usize,
        life: u32,
        flip: Signed<Flip>,
    },
    /// A connection was silent for too long.
    Lost {
        node: usize,
        session: u64,
    },
    /// The coordinator looks at its deadlines.
    Tick,
    /// A package comes.
    Publish,
    /// A visitor comes.
    Visit {
        visitor: usize,
    },
    /// What the night has in store.
    Fault(Fault),
}

/// What goes wrong, or is mended.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Kill(usize),
    Start(usize),
    KillCoordinator,
    StartCoordinator,
    /// Nothing goes from the one place to the other; place 0 is the coordinator's, zone `z` is place `z + 1`.
    Cut(usize, usize),
    Mend,
    Skew(usize, i64),
    Loss(f64),
}

struct Due {
    at: u64,
    count: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.count) == (other.at, other.count)
    }
}
impl Eq for Due {}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.count).cmp(&(other.at, other.count))
    }
}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// How it is laid out.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) zones: usize,
    pub(crate) per_zone: usize,
    pub(crate) policy: Policy,
    pub(crate) visitors: usize,
    /// False for none of what nodes say to each other, in meshes so large that this would take hours.
    pub(crate) has_swim: bool,
    /// True for cuts of real bytes, which take their time.
    pub(crate) has_bytes: bool,
    /// From one package to the next.
    pub(crate) every: u64,
    pub(crate) cuts: u64,
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) rng: StdRng,
    queue: BinaryHeap<Reverse<Due>>,
    count: u64,
    pub(crate) plan: Plan,
    pub(crate) key: SigningKey,
    pub(crate) members: Members,
    pub(crate) nodes: Vec<Node>,
    pub(crate) coordinator: Coordinator,
    pub(crate) visitors: Visitors,
    /// One way, microseconds, from place to place.
    delay: Vec<Vec<u64>>,
    cut: BTreeSet<(usize, usize)>,
    pub(crate) loss: f64,
    /// When a partition was mended last.
    pub(crate) mended: Option<u64>,
    /// Packets of failure detection that came.
    pub(crate) packets: u64,
    /// What cuts are made of, in nights that are about that.
    pub(crate) material: Option<Material>,
    /// What must not be, by the name of the invariant.
    pub(crate) broken: Vec<(&'static str, String)>,
}

/// The beginning of the night, Unix microseconds: early enough that no clock of this machine is behind it.
const BEGIN: u64 = 1_600_000_000 * SECOND;

impl World {
    pub(crate) fn new(plan: Plan, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let (key, _) = SigningKey::generate().unwrap();
        let nodes = plan.zones * plan.per_zone;
        let members = Node::members(&plan, key.verifying_key().mesh());
        let places = plan.zones + 1;
        let mut delay = vec![vec![500; places]; places];
        for one in 0..places {
            for other in 0..one {
                // Round trips of 30 to 200 ms.
                let way = rng.random_range(15 * MS..=100 * MS);
                (delay[one][other], delay[other][one]) = (way, way);
            }
        }
        let mut world = Self {
            now: BEGIN,
            queue: BinaryHeap::new(),
            count: 0,
            nodes: (0..nodes).map(Node::new).collect(),
            coordinator: Coordinator::new(&plan),
            visitors: Visitors::new(&plan),
            delay,
            cut: BTreeSet::new(),
            loss: 0.0,
            mended: None,
            packets: 0,
            material: plan.has_bytes.then(|| Material::new(nodes, plan.cuts, &key)),
            broken: Vec::new(),
            rng,
            key,
            members,
            plan,
        };
        (0..nodes).for_each(|at| world.start(at));
        for visitor in 0..world.plan.visitors {
            let first = world.rng.random_range(0..SECOND);
            world.after(5 * SECOND + first, Event::Visit { visitor });
        }
        world.after(500 * MS, Event::Tick);
        world.after(3 * SECOND, Event::Publish);
        world
    }

    /// The name of a cut.
    pub(crate) fn cut(&self, seq: u64) -> CutKey {
        let named = || CutKey { seq, label: "20210606_2000".parse().unwrap(), root: Digest::of(&seq.to_le_bytes()) };
        self.material.as_ref().map_or_else(named, |material| material.key(seq))
    }

    pub(crate) fn after(&mut self, wait: u64, event: Event) {
        self.count += 1;
        self.queue.push(Reverse(Due { at: self.now + wait, count: self.count, event }));
    }

    /// Seconds since the beginning.
    pub(crate) fn seconds(&self) -> f64 {
        (self.now - BEGIN) as f64 / 1e6
    }

    pub(crate) fn broke(&mut self, invariant: &'static str, what: String) {
        let at = self.seconds();
        self.broken.push((invariant, format!("at {at:.3} s: {what}")));
    }

    pub(crate) fn place(&self, node: usize) -> usize {
        self.plan.zone(node) + 1
    }

    /// How long the way is; `None` if nothing goes there.
    pub(crate) fn way(&self, from: usize, to: usize) -> Option<u64> {
        (!self.cut.contains(&(from, to))).then(|| self.delay[from][to])
    }

    /// True if both can talk.
    pub(crate) fn is_open(&self, one: usize, other: usize) -> bool {
        self.way(one, other).is_some() && self.way(other, one).is_some()
    }

    /// True if a packet is lost, copies and all.
    pub(crate) fn is_lost(&mut self) -> bool {
        let copies = match self.loss {
            loss if loss > 0.05 => 3,
            loss if loss > 0.005 => 2,
            _ => 1,
        };
        (0..copies).all(|_| self.rng.random::<f64>() < self.loss)
    }

    pub(crate) fn run(&mut self, seconds: u64) {
        self.run_until(self.now + seconds * SECOND);
    }

    fn run_until(&mut self, end: u64) {
        while let Some(Reverse(due)) = self.queue.peek()
            && due.at <= end
        {
            let Some(Reverse(due)) = self.queue.pop() else { break };
            self.now = self.now.max(due.at);
            self.happen(due.event);
        }
        self.now = end;
    }

    pub(crate) fn step_ms(&mut self, ms: u64) {
        self.run_until(self.now + ms * MS);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Packet { to, from, bytes } => self.packet(to, from, &bytes),
            Event::Timer { node, life } if self.nodes[node].lives(life) => self.timer(node),
            Event::Look { node, life } if self.nodes[node].lives(life) => self.look(node),
            Event::Beat { node, life } if self.nodes[node].lives(life) => self.beat(node),
            Event::Came { node, life, cut, from, others } if self.nodes[node].lives(life) => {
                self.came(node, cut, from, others);
            }
            Event::Instant { node, life, flip } if self.nodes[node].lives(life) => self.instant(node, &flip),
            Event::Timer { .. }
            | Event::Look { .. }
            | Event::Beat { .. }
            | Event::Came { .. }
            | Event::Instant { .. } => {}
            Event::ToNode { node, session, word } => self.said_to_node(node, session, word),
            Event::FromNode { node, session, word } => self.said_by_node(node, session, word),
            Event::Lost { node, session } => {
                if self.is_session(node, session) {
                    self.hang_up(node);
                }
            }
            Event::Tick => self.tick(),
            Event::Publish => self.publish(),
            Event::Visit { visitor } => self.visit(visitor),
            Event::Fault(fault) => self.fault(fault),
        }
    }

    fn fault(&mut self, fault: Fault) {
        if std::env::var_os("DIFUSOR_SEEDS").is_some() {
            println!("at {:.3} s: {fault:?}", self.seconds());
        }
        match fault {
            Fault::Kill(node) => self.kill(node),
            Fault::Start(node) if !self.nodes[node].is_up => self.start(node),
            Fault::Start(_) => {}
            Fault::KillCoordinator => self.kill_coordinator(),
            Fault::StartCoordinator => self.start_coordinator(),
            Fault::Cut(from, to) => drop(self.cut.insert((from, to))),
            Fault::Mend => {
                self.cut.clear();
                self.loss = 0.0;
                self.mended = Some(self.now);
            }
            Fault::Skew(node, skew) => self.nodes[node].skew = skew,
            Fault::Loss(loss) => self.loss = loss,
        }
    }
}

impl Plan {
    pub(crate) fn zone(&self, node: usize) -> usize {
        node / self.per_zone
    }

    pub(crate) fn nodes(&self) -> usize {
        self.zones * self.per_zone
    }
}

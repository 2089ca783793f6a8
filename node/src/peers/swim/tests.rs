//! Meshes of many nodes under a virtual clock, with loss, delay, partitions and crashes by seed.

use std::cmp::Reverse;

use difusor_proto::{
    SigningKey,
    peer::{Banned, Condition, State},
    wire::Offender,
};
use rand::RngExt as _;

use super::*;

const SECOND: u64 = 1_000_000;

/// A packet on its way: when it comes, a count, to whom, from whom.
type OnItsWay = (u64, u64, usize, usize, Bytes);

/// Some nodes and the paths between them.
struct World {
    swims: Vec<Option<Swim>>,
    alive: Vec<BTreeSet<NodeId>>,
    heard: Vec<Vec<News>>,
    /// When each was first taken for gone, by whom.
    gone: Vec<(u64, usize, NodeId)>,
    packets: BinaryHeap<Reverse<OnItsWay>>,
    count: u64,
    sent: u64,
    now: u64,
    rng: StdRng,
    loss: f64,
    /// How often each packet is sent, as links do it by what a path loses.
    copies: u64,
    /// One way, microseconds, least and most.
    delay: (u64, u64),
    /// Which side of a partition each is on.
    sides: Vec<u8>,
    key: VerifyingKey,
    begun: Vec<u64>,
}

fn name(at: usize) -> NodeId {
    format!("node-{at}").parse().unwrap()
}

impl World {
    fn new(nodes: usize, seed: u64) -> Self {
        let key = SigningKey::generate().unwrap().0.verifying_key();
        let mut world = Self {
            swims: (0..nodes).map(|_| None).collect(),
            alive: vec![BTreeSet::new(); nodes],
            heard: vec![Vec::new(); nodes],
            gone: Vec::new(),
            packets: BinaryHeap::new(),
            count: 0,
            sent: 0,
            now: SECOND,
            rng: StdRng::seed_from_u64(seed),
            loss: 0.0,
            copies: 1,
            delay: (15_000, 100_000),
            sides: vec![0; nodes],
            key,
            begun: vec![0; nodes],
        };
        (0..nodes).for_each(|at| world.start(at));
        world
    }

    fn start(&mut self, at: usize) {
        let all: BTreeSet<_> = (0..self.swims.len()).map(name).collect();
        let mut swim = Swim::new(name(at), self.now, self.key, self.rng.random());
        let outputs = swim.set_members(all, self.now);
        self.swims[at] = Some(swim);
        self.alive[at].clear();
        self.begun[at] = self.now;
        self.carry_out(at, outputs);
        self.greet(at);
    }

    fn greet(&mut self, at: usize) {
        let away: Vec<_> = (0..self.swims.len())
            .map(name)
            .filter(|node| *node != name(at) && !self.alive[at].contains(node))
            .collect();
        let some: Vec<_> = away
            .iter()
            .cycle()
            .skip(usize::try_from(self.count).unwrap() % away.len().max(1))
            .take(3.min(away.len()))
            .cloned()
            .collect();
        let now = self.now;
        if let Some(swim) = &mut self.swims[at] {
            let outputs = swim.greet(&some, now);
            self.carry_out(at, outputs);
        }
    }

    fn carry_out(&mut self, at: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(to, packet) => {
                    let to: usize = to.as_str().strip_prefix("node-").unwrap().parse().unwrap();
                    self.sent += 1;
                    // Copies of one packet count once, wherever the first one comes.
                    let first = (0..self.copies).find(|_| self.rng.random::<f64>() >= self.loss);
                    if let Some(copy) = first {
                        self.count += 1;
                        let comes = self.now + copy * 25_000 + self.rng.random_range(self.delay.0..=self.delay.1);
                        self.packets.push(Reverse((comes, self.count, to, at, packet)));
                    }
                }
                Output::Up(node) => drop(self.alive[at].insert(node)),
                Output::Down(node) => {
                    self.alive[at].remove(&node);
                    self.gone.push((self.now, at, node));
                }
                Output::News(news) => self.heard[at].push(news),
            }
        }
    }

    fn tell(&mut self, at: usize, news: &News) {
        let now = self.now;
        let outputs = self.swims[at].as_mut().unwrap().tell(news, now);
        self.carry_out(at, outputs);
    }

    /// Runs until that time; each says hello once a second to those who are not there.
    fn run(&mut self, until: u64) {
        let mut beat = self.now - self.now % SECOND + SECOND;
        while self.now < until {
            let timer = self.swims.iter().flatten().filter_map(Swim::next).min().unwrap_or(until);
            let packet = self.packets.peek().map_or(until, |Reverse((at, ..))| *at);
            self.now = timer.min(packet).min(beat).min(until).max(self.now);
            let now = self.now;
            while let Some(Reverse((at, ..))) = self.packets.peek()
                && *at <= now
            {
                let Some(Reverse((_, _, to, from, packet))) = self.packets.pop() else { break };
                if self.sides[to] != self.sides[from] {
                    continue;
                }
                if let Some(swim) = &mut self.swims[to] {
                    let outputs = swim.receive(&name(from), &packet, now);
                    self.carry_out(to, outputs);
                }
            }
            for at in 0..self.swims.len() {
                if let Some(swim) = self.swims[at].as_mut().filter(|swim| swim.next().is_some_and(|at| at <= now)) {
                    let outputs = swim.tick(now);
                    self.carry_out(at, outputs);
                }
            }
            if now >= beat {
                (0..self.swims.len()).for_each(|at| self.greet(at));
                beat += SECOND;
            }
        }
    }

    /// True if all who live know all who live, and nobody else.
    fn agrees(&self) -> bool {
        let living: BTreeSet<_> = (0..self.swims.len()).filter(|at| self.swims[*at].is_some()).collect();
        living.iter().all(|at| {
            let others: BTreeSet<_> = living.iter().filter(|other| *other != at).map(|at| name(*at)).collect();
            self.alive[*at] == others
        })
    }
}

fn state(at: usize, version: u32) -> News {
    News::State(State {
        node: name(at),
        version: (1, version),
        condition: Condition::Ready,
        reasons: 0,
        serial: version.into(),
        seq: 0,
        staged: 0,
        headroom: 255,
    })
}

#[test]
fn whoever_dies_is_missed_by_all_within_three_seconds() {
    let mut times = Vec::new();
    for seed in 0..60 {
        let nodes = 3 + usize::try_from(seed).unwrap() % 10;
        let mut world = World::new(nodes, seed);
        world.run(8 * SECOND);
        assert!(world.agrees(), "seed {seed}");
        assert!(world.gone.is_empty(), "seed {seed}: {:?}", world.gone);
        let died = world.now;
        world.swims[1] = None;
        world.run(died + 6 * SECOND);
        assert!(world.agrees(), "seed {seed}");
        assert!(world.gone.iter().all(|(_, _, node)| *node == name(1)), "seed {seed}: {:?}", world.gone);
        let last = world.gone.iter().map(|(at, ..)| *at).max().unwrap();
        times.push(last - died);
        // And it is welcome again.
        world.start(1);
        world.run(world.now + 4 * SECOND);
        assert!(world.agrees(), "seed {seed}: it came back");
    }
    times.sort_unstable();
    let (half, most) = (times[times.len() / 2], times[times.len() - 1]);
    println!("missed by all after {} ms in the median, {} ms at most", half / 1000, most / 1000);
    assert!(half <= 2 * SECOND && most <= 3 * SECOND, "{times:?}");
}

#[test]
fn a_third_of_all_packets_lost_is_no_death() {
    for seed in 100..112 {
        let mut world = World::new(6, seed);
        world.run(8 * SECOND);
        (world.loss, world.copies) = (0.3, 3);
        world.run(world.now + 300 * SECOND);
        assert!(world.gone.is_empty(), "seed {seed}: {:?}", world.gone);
        assert!(world.agrees(), "seed {seed}");
    }
}

#[test]
fn a_partition_heals() {
    for seed in 200..220 {
        let mut world = World::new(7, seed);
        world.run(8 * SECOND);
        world.sides = vec![0, 0, 0, 0, 1, 1, 1];
        world.run(world.now + 20 * SECOND);
        assert!(
            (0..4).all(|at| world.alive[at].len() == 3) && (4..7).all(|at| world.alive[at].len() == 2),
            "seed {seed}"
        );
        world.sides = vec![0; 7];
        world.run(world.now + 10 * SECOND);
        assert!(world.agrees(), "seed {seed}: {:?}", world.alive);
    }
}

#[test]
fn news_reach_everyone_and_old_ones_give_way() {
    for seed in 300..320 {
        let mut world = World::new(12, seed);
        (world.loss, world.copies) = (0.05, 2);
        world.run(8 * SECOND);
        let begun = world.now;
        for version in 1..=3 {
            world.tell(0, &state(0, version));
        }
        world.tell(0, &state(0, 2));
        world.run(begun + 2 * SECOND);
        for at in 0..12 {
            assert_eq!(world.heard[at].last(), Some(&state(0, 3)), "seed {seed}: node {at}");
        }
        // News of nobody.
        world.heard.iter_mut().for_each(Vec::clear);
        world.tell(3, &state(99, 7));
        world.run(world.now + SECOND);
        assert!(world.heard.iter().all(Vec::is_empty), "seed {seed}");
    }
}

#[test]
fn nobody_speaks_for_another_and_strangers_are_nobody() {
    let mut world = World::new(3, 400);
    world.run(5 * SECOND);
    let now = world.now;
    // A packet of node 1, brought by node 2.
    let Some(Output::Send(_, packet)) = world.swims[1].as_mut().unwrap().greet(&[name(0)], now).into_iter().next()
    else {
        panic!()
    };
    assert_eq!(world.swims[0].as_mut().unwrap().receive(&name(2), &packet, now), []);
    assert!(!world.swims[0].as_mut().unwrap().receive(&name(1), &packet, now).is_empty());
    assert_eq!(world.swims[0].as_mut().unwrap().receive(&name(1), b"what is this", now), []);
    // Out of the list is out of the mesh.
    let left: BTreeSet<_> = [name(0), name(2)].into();
    let outputs = world.swims[0].as_mut().unwrap().set_members(left, now);
    assert!(world.swims[0].as_ref().unwrap().alive().contains_key(&name(2)), "{outputs:?}");
    assert!(!world.swims[0].as_ref().unwrap().alive().contains_key(&name(1)));
}

/// Offenders are told of as often as they may be, and nobody is missed later, nor is anything else heard later, for it.
#[test]
fn who_is_banned_is_told_beside_what_is_more_urgent() {
    let mut slowest = Vec::new();
    for (nodes, every) in [(5_u8, SECOND), (40, 8 * SECOND)] {
        let mut world = World::new(nodes.into(), 500);
        (world.loss, world.copies) = (0.02, 2);
        world.run(12 * SECOND);
        assert!(world.agrees());
        let (mut told, mut times) = (0, Vec::new());
        for round in 0..u8::try_from(16 * SECOND / every).unwrap() {
            let begun = world.now;
            for at in 0..nodes {
                let offender = |last| Offender { address: [10, at, round, last].into(), prefix: 32, seconds: 60 };
                let banned = (0..u8::try_from(MAX_BANNED).unwrap()).map(offender).collect();
                let slot = round % BANNED_SLOTS;
                told += 1;
                world.tell(at.into(), &News::Banned(Banned { by: name(at.into()), slot, version: (1, told), banned }));
                world.run(begun + every * (u64::from(at) + 1) / u64::from(nodes));
                // Beside it, something that all have to know.
                if at == 0 {
                    world.tell(0, &state(0, 100_000 + u32::from(round)));
                    let (began, news) = (world.now, state(0, 100_000 + u32::from(round)));
                    while !(1..nodes.into()).all(|of: usize| world.heard[of].contains(&news)) {
                        world.run(world.now + 50_000);
                        assert!(
                            world.now < began + 3 * SECOND,
                            "{nodes} nodes, round {round}: it does not come through"
                        );
                    }
                    times.push(world.now - began);
                }
            }
        }
        world.run(world.now + 5 * SECOND);
        let of = |heard: &[News]| heard.iter().filter(|news| matches!(news, News::Banned(_))).count();
        let least = (0..nodes.into()).map(|at: usize| of(&world.heard[at])).min().unwrap();
        // Nobody is told of its own.
        let most = usize::try_from(told).unwrap() * usize::from(nodes - 1) / usize::from(nodes);
        assert!((0..nodes.into()).all(|at: usize| of(&world.heard[at]) <= most), "{nodes} nodes");
        assert!(least * 100 >= most * 95, "{nodes} nodes: {least} of {most}");
        assert!(world.gone.is_empty(), "{:?}", world.gone);
        times.sort_unstable();
        slowest.push((nodes, times[times.len() / 2], times[times.len() - 1], least, most));
    }
    println!("nodes, and what all have to know known to all after us (median, most), of offenders: {slowest:?}");
}

#[test]
fn what_nobody_may_say_of_offenders_is_not_heard() {
    let mut world = World::new(3, 600);
    world.run(5 * SECOND);
    let offender = Offender { address: [10, 0, 0, 1].into(), prefix: 32, seconds: 60 };
    let banned = |by: usize, slot: u8, many: usize| {
        News::Banned(Banned { by: name(by), slot, version: (1, 1), banned: vec![offender; many] })
    };
    for wrong in [banned(0, BANNED_SLOTS, 1), banned(0, 0, MAX_BANNED + 1), banned(9, 0, 1), banned(1, 0, 1)] {
        world.tell(0, &wrong);
    }
    world.run(world.now + 2 * SECOND);
    assert!(world.heard.iter().all(Vec::is_empty), "{:?}", world.heard);
    world.tell(0, &banned(0, 0, 1));
    world.run(world.now + 2 * SECOND);
    assert!(world.heard.iter().skip(1).all(|heard| heard.len() == 1));
    // A later version may tell of what is not known here, and what follows in the packet is heard all the same.
    let mut handler = Handler(Arc::clone(&world.swims[0].as_ref().unwrap().heard));
    assert_eq!(handler.receive_item(&[99, 1, 2], None).unwrap(), None);
}

/// One that hears nothing says of all others that they are dead. Whoever is told so begins anew, and is sure of a real death as
/// soon as it would have been.
#[test]
fn whoever_is_taken_for_dead_keeps_its_suspicions() {
    let mut world = World::new(3, 1);
    world.run(8 * SECOND);
    assert!(world.agrees());
    world.swims[1] = None;
    // When it is going to be sure, by what it has found itself.
    let sure = |world: &World| {
        let mut timers = world.swims[0].as_ref().unwrap().timers.iter();
        timers.find_map(|Reverse(due)| match &due.event {
            Timer::ChangeSuspectToDown { member_id, .. } if member_id.node == name(1) => Some(due.at),
            _ => None,
        })
    };
    let due = loop {
        world.run(world.now + 10_000);
        if let Some(at) = sure(&world) {
            break at;
        }
    };
    let suspected = world.now;
    let before = world.swims[0].as_ref().unwrap().foca.identity().clone();
    let dead = Member::down(before.clone());
    let outputs = world.swims[2]
        .as_mut()
        .unwrap()
        .call(suspected, |foca, runtime| foca.apply_many(std::iter::once(dead), true, runtime));
    world.carry_out(2, outputs);
    while *world.swims[0].as_ref().unwrap().foca.identity() == before {
        world.run(world.now + 10_000);
        assert!(world.now < suspected + SECOND / 2, "it is not told");
    }
    // Nobody else can tell it.
    world.swims[2] = None;
    assert_eq!(sure(&world), Some(due));
    world.run(due - 1);
    assert!(world.swims[0].as_ref().unwrap().alive().contains_key(&name(1)));
    world.run(due + 1);
    assert!(!world.swims[0].as_ref().unwrap().alive().contains_key(&name(1)));
}

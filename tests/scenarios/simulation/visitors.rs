//! Visitors who follow DNS, and what they must not see.

use std::collections::BTreeMap;

use difusor_node::{dns::roster::Roster, peers::view::SKEW_US};
use rand::RngExt as _;

use crate::{
    node::number_of_address,
    world::{Event, MS, Plan, SECOND, World},
};

/// How long an answer of DNS is kept.
const TTL: u64 = 5 * SECOND;

/// How long after a partition nodes may not know yet what the others did meanwhile.
const REUNION: u64 = 3 * SECOND;

#[derive(Debug, Clone, Default)]
struct Visitor {
    zone: usize,
    answer: Vec<usize>,
    until: u64,
    newest: u64,
}

pub(crate) struct Visitors {
    all: Vec<Visitor>,
    /// When each cut was to be served.
    instants: BTreeMap<u64, u64>,
    pub(crate) visits: u64,
    /// Visits that no node of an answer took.
    pub(crate) failed: u64,
    /// Failures of each, at most.
    pub(crate) worst: u64,
    fails: Vec<u64>,
}

impl Visitors {
    pub(crate) fn new(plan: &Plan) -> Self {
        let all = (0..plan.visitors).map(|at| Visitor { zone: at % plan.zones, ..Visitor::default() }).collect();
        let fails = vec![0; plan.visitors];
        Self { all, instants: BTreeMap::new(), visits: 0, failed: 0, worst: 0, fails }
    }

    pub(crate) fn flipped(&mut self, seq: u64, at_us: u64) {
        self.instants.entry(seq).or_insert(at_us);
    }
}

impl World {
    pub(crate) fn visit(&mut self, visitor: usize) {
        let wait = self.rng.random_range(500 * MS..900 * MS);
        self.after(wait, Event::Visit { visitor });
        let place = self.visitors.all[visitor].zone + 1;
        if self.visitors.all[visitor].until <= self.now {
            // A resolver asks any server of DNS, and the next one if that does not answer.
            let first = self.rng.random_range(0..self.nodes.len());
            let servers = (0..self.nodes.len()).map(|at| (first + at) % self.nodes.len());
            let server = servers.into_iter().find(|at| self.nodes[*at].is_up && self.is_open(place, self.place(*at)));
            let Some(server) = server else { return };
            let dice = self.rng.random();
            let now = self.nodes[server].clock(self.now);
            let roster = Roster::of(&self.nodes[server].view, &BTreeMap::new(), now);
            let picked = roster.pick(None, 3, dice, |_| true);
            let answer: Vec<_> = picked.iter().map(|host| number_of_address(host.four[0])).collect();
            if answer.is_empty() && self.nodes[server].view.members.is_some() {
                self.broke("never an empty answer", format!("of node {server}"));
            }
            let of = &mut self.visitors.all[visitor];
            (of.answer, of.until) = (answer, self.now + TTL);
        }
        let taken = self.visitors.all[visitor].answer.iter().copied().find(|at| {
            self.nodes[*at].is_up && self.is_open(place, self.place(*at)) && self.nodes[*at].lets_in(self.now)
        });
        if self.visitors.instants.is_empty() {
            return;
        }
        self.visitors.visits += 1;
        let seen = taken.and_then(|node| Some((node, self.nodes[node].serves?)));
        let Some((node, seen)) = seen else {
            self.visitors.failed += 1;
            self.visitors.fails[visitor] += 1;
            self.visitors.worst = self.visitors.worst.max(self.visitors.fails[visitor]);
            // It asks again.
            self.visitors.all[visitor].until = 0;
            return;
        };
        let newest = self.visitors.all[visitor].newest;
        let since = self.visitors.instants.get(&newest).map_or(u64::MAX, |at| self.now.saturating_sub(*at));
        let is_reunion = self.mended.is_some_and(|at| self.now - at < REUNION);
        if seen < newest && since > SKEW_US + 50 * MS && !is_reunion {
            let of = &self.nodes[node];
            let what = format!(
                "visitor {visitor} of zone {} saw cut {newest}, and then {seen} at node {node}, which knows of flip {:?}, of \
                 others {:?}, and has {} the coordinator",
                self.visitors.all[visitor].zone,
                of.view.flip.map(|(serial, _)| serial),
                of.view.alive,
                if of.session.is_some() { "" } else { "lost" }
            );
            self.broke("no cut regression", what);
        }
        let of = &mut self.visitors.all[visitor];
        of.newest = of.newest.max(seen);
        self.give_file(node, seen);
    }
}

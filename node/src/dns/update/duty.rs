//! Which node keeps a zone right, and what should stand in it: pure, from the view of the mesh and the time.
//!
//! Nobody is elected. All know the mesh, and the first by name of those that are there and fit is the one. For a moment there
//! may be two, or none: each replaces the whole by what follows from the same view, so that does no harm. But a node that
//! sees less of the mesh than others do would take them all out: see [`View::sees_most`].

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use difusor_proto::{NodeId, members::Member};

use crate::{dns::roster::Roster, peers::View};

/// How long a node is the first before it writes: a view that changes to and fro does not make two of them write.
const WAIT: Duration = Duration::from_secs(1);

/// How long a node that came back is there before it is put in. One that fails leaves at once.
const BACK: Duration = Duration::from_secs(2);

/// Where visitors should be led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// All addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// The port of the site, if it is not 443.
    pub port: Option<u16>,
}

/// The node that keeps the zone right: the first by name of those that are there and fit, or of those that are there.
pub fn writer(view: &View, now_us: u64) -> Option<NodeId> {
    let all = view.all(now_us);
    let fit = all.iter().filter(|(_, why)| why.is_none()).map(|(member, _)| &member.node).min();
    let alive = || all.iter().map(|(member, _)| &member.node).filter(|node| view.is_alive(node)).min();
    fit.or_else(alive).cloned()
}

/// Members that are not there, as far as this node sees, and that have no address in common with one that is: if one of them
/// answers visitors, it is this node that is cut off.
pub fn absent(view: &View) -> Vec<&Member> {
    let members = || view.members.iter().flat_map(|members| &members.nodes);
    let there: BTreeSet<IpAddr> = members()
        .filter(|member| view.is_alive(&member.node))
        .flat_map(|member| member.reach.public.iter().map(|at| at.ip()))
        .collect();
    let is_elsewhere = |member: &&Member| !member.reach.public.iter().any(|at| there.contains(&at.ip()));
    members().filter(|member| !view.is_alive(&member.node)).filter(is_elsewhere).collect()
}

/// What this node is to do.
#[derive(Debug, Default)]
pub struct Duty {
    given: BTreeSet<IpAddr>,
    /// Those that came, and when.
    coming: BTreeMap<IpAddr, Duration>,
    /// Since when this node is the first.
    since: Option<Duration>,
}

impl Duty {
    /// What this node should see to, `now` after it began and at Unix microseconds; `None` if that is not for it.
    pub fn look(&mut self, view: &View, roster: &Roster, now: Duration, now_us: u64) -> Option<Target> {
        let hosts = || roster.groups.iter().flat_map(|group| &group.hosts);
        let four = hosts().flat_map(|host| host.four.iter().map(|ip| IpAddr::V4(*ip)));
        let six = hosts().flat_map(|host| host.six.iter().map(|ip| IpAddr::V6(*ip)));
        self.settle(four.chain(six).collect(), now);
        if self.given.is_empty() || view.me.is_none() || writer(view, now_us) != view.me {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        let is_time = now.saturating_sub(since) >= WAIT;
        is_time.then(|| Target { addresses: self.given.clone(), port: roster.port })
    }

    fn settle(&mut self, fit: BTreeSet<IpAddr>, now: Duration) {
        self.coming.retain(|ip, _| fit.contains(ip));
        let known = |ip: &IpAddr| self.given.contains(ip);
        let stays: BTreeSet<IpAddr> = fit.iter().copied().filter(known).collect();
        // Nobody is left, or it begins: whoever there is.
        if stays.is_empty() {
            self.coming.clear();
            self.given = fit;
            return;
        }
        self.given = stays;
        for ip in fit {
            if !self.given.contains(&ip) && now.saturating_sub(*self.coming.entry(ip).or_insert(now)) >= BACK {
                self.coming.remove(&ip);
                self.given.insert(ip);
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Who may be answered, by zones: what follows from the view of the mesh, and from nothing else.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use difusor_proto::{
    NodeId, Zone,
    members::{Member, Members, Text},
};
use hickory_proto::rr::Name;

use super::places::{Place, distance};
use crate::peers::View;

/// What is left of a node's capacity, of 255, below which a zone with nothing better is left to others.
const FULL: u8 = 26;

/// Parts of a node's weight that it has however busy it is.
const LEAST: u32 = 16;

/// A node that visitors can be led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its addresses.
    pub four: Vec<Ipv4Addr>,
    /// Its addresses.
    pub six: Vec<Ipv6Addr>,
    /// Of those who come, how many it gets beside others of its zone.
    pub weight: u32,
}

/// The nodes of a zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The zone.
    pub zone: Zone,
    /// Where it is.
    pub at: Option<[f64; 2]>,
    /// Its nodes that may be answered: one at least.
    pub hosts: Vec<Host>,
    /// True if none of them has room for more.
    pub is_full: bool,
}

/// A node that answers DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub node: NodeId,
    /// Where it does.
    pub addresses: Vec<IpAddr>,
}

/// Everything that answers follow from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Roster {
    /// By zones.
    pub groups: Vec<Group>,
    /// Where zones are, those without a node too.
    pub zones: BTreeMap<Zone, [f64; 2]>,
    /// Nodes that answer DNS, whatever their state: resolvers try the next.
    pub servers: Vec<Server>,
    /// The port of the site, if it is not 443.
    pub port: Option<u16>,
    /// Texts at names, such as challenges of an ACME authority.
    pub texts: Vec<(Name, String)>,
    /// Serial of the list of members, for the SOA.
    pub serial: u32,
    /// True if nobody seemed fit, and so everybody is answered.
    pub fails_open: bool,
}

impl Roster {
    /// What follows at Unix microseconds.
    pub fn of(view: &View, zones: &BTreeMap<Zone, [f64; 2]>, now_us: u64) -> Self {
        let Some(members) = &view.members else { return Self::default() };
        let all = view.all(now_us);
        let fit = |unfit: bool| all.iter().filter(move |(_, why)| unfit || why.is_none()).map(|(member, _)| member);
        let mut groups = group(view, fit(false), zones);
        let fails_open = groups.is_empty();
        if fails_open {
            groups = group(view, fit(true), zones);
        }
        let port = members.nodes.iter().flat_map(|member| member.reach.public.first()).map(|at| at.port()).next();
        Self {
            groups,
            zones: zones.clone(),
            servers: servers(members),
            port: port.filter(|port| *port != 443),
            texts: members.texts.iter().filter_map(text).collect(),
            serial: u32::try_from(members.serial & u64::from(u32::MAX)).unwrap_or_default().max(1),
            fails_open,
        }
    }

    /// The zones, the nearest first. Where a client is may not be known: then `dice` decides.
    pub fn nearest(&self, place: Option<&Place>, dice: u64) -> Vec<&Group> {
        let from = match place {
            Some(Place::At(at)) => Some(*at),
            Some(Place::Zone(zone)) => self.zones.get(zone).copied(),
            None => None,
        };
        let is_named = |group: &Group| matches!(place, Some(Place::Zone(zone)) if group.zone == *zone);
        let mut order: Vec<(bool, bool, f64, u64, &Group)> = Vec::with_capacity(self.groups.len());
        for (at, group) in self.groups.iter().enumerate() {
            let away = from.zip(group.at).map_or(f64::MAX, |(from, to)| distance(from, to));
            order.push((group.is_full, !is_named(group), away, mix(dice, at as u64), group));
        }
        order.sort_by(|one, other| {
            let keys = |entry: &(bool, bool, f64, u64, &Group)| (entry.0, entry.1);
            keys(one).cmp(&keys(other)).then(one.2.total_cmp(&other.2)).then(one.3.cmp(&other.3))
        });
        order.into_iter().map(|(.., group)| group).collect()
    }

    /// Nodes for a client of those that are fine, the best first, `most` at most: of the nearest zone, and of the next one if there is one, so that
    /// whoever tries a second address finds another zone.
    pub fn pick(&self, place: Option<&Place>, most: usize, dice: u64, is_fine: impl Fn(&Host) -> bool) -> Vec<&Host> {
        let mut groups = self.nearest(place, dice);
        groups.retain(|group| group.hosts.iter().any(&is_fine));
        let beyond = usize::from(groups.len() > 1 && most > 1);
        let mut picked = Vec::with_capacity(most);
        for (nth, group) in groups.iter().enumerate() {
            let room = match nth {
                0 => most - beyond,
                _ => most.saturating_sub(picked.len()),
            };
            let hosts = group.hosts.iter().filter(|host| is_fine(host)).collect();
            picked.extend(shuffled(hosts, mix(dice, nth as u64 + 1000)).into_iter().take(room));
            if picked.len() >= most {
                break;
            }
        }
        picked
    }
}

/// A text at its name; `None` if that is none.
fn text(text: &Text) -> Option<(Name, String)> {
    let name = Name::from_ascii(format!("{}.", text.name.trim_end_matches('.'))).ok()?;
    // Nobody asks for a wildcard itself.
    (!name.iter().any(|label| label == b"*")).then(|| (name.to_lowercase(), text.value.clone()))
}

/// Nodes that answer DNS.
pub fn servers(members: &Members) -> Vec<Server> {
    let servers = members.nodes.iter().filter(|member| !member.reach.dns.is_empty()).map(|member| Server {
        node: member.node.clone(),
        addresses: member.reach.dns.iter().map(|address| address.ip().to_canonical()).collect(),
    });
    servers.collect()
}

fn group<'a>(view: &View, members: impl Iterator<Item = &'a Member>, zones: &BTreeMap<Zone, [f64; 2]>) -> Vec<Group> {
    let mut groups: BTreeMap<&Zone, Vec<(Host, u8)>> = BTreeMap::new();
    for member in members {
        let ips = || member.reach.public.iter().map(|address| address.ip().to_canonical());
        let headroom = view.states.get(&member.node).map_or(u8::MAX, |state| state.headroom);
        let host = Host {
            four: ips().filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None }).collect(),
            six: ips().filter_map(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None }).collect(),
            weight: u32::from(headroom) + LEAST,
        };
        if !(host.four.is_empty() && host.six.is_empty()) {
            groups.entry(&member.zone).or_default().push((host, headroom));
        }
    }
    let made = groups.into_iter().map(|(zone, hosts)| Group {
        at: zones.get(zone).copied(),
        zone: zone.clone(),
        is_full: hosts.iter().all(|(_, headroom)| *headroom < FULL),
        hosts: hosts.into_iter().map(|(host, _)| host).collect(),
    });
    made.collect()
}

/// In an order by chance in which weights count: each time, whoever is drawn of those that are left.
fn shuffled(mut left: Vec<&Host>, dice: u64) -> Vec<&Host> {
    let mut order = Vec::with_capacity(left.len());
    for round in 0.. {
        let total: u64 = left.iter().map(|host| u64::from(host.weight)).sum();
        if left.is_empty() || total == 0 {
            break;
        }
        let mut drawn = mix(dice, round) % total;
        let at = left.iter().position(|host| {
            let is_it = drawn < u64::from(host.weight);
            drawn = drawn.saturating_sub(host.weight.into());
            is_it
        });
        order.push(left.swap_remove(at.unwrap_or(0)));
    }
    order
}

/// Another number that follows from both (the finalizer of SplitMix64, Steele, Lea and Flood 2014).
fn mix(dice: u64, round: u64) -> u64 {
    let mut mixed = dice.wrapping_add(round.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;

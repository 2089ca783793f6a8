//! The table as the kernel sees it: what is looked up, what is dropped, and how it is written (`linux/netfilter/nf_tables.h`).
//!
//! ```text
//! table inet NAME {                       flags owner, unless it is to outlive the process
//!   counter dropped
//!   set source4 { typeof ip saddr; timeout }         and network4, source6, …: see SETS
//!   chain public { tcp dport 443 fib daddr type local counter name dropped drop; … }
//!   chain arriving {
//!     type filter hook prerouting priority raw
//!     iif lo accept
//!     ip saddr @source4 jump public
//!     ip saddr & 255.255.255.0 @network4 jump public; …
//!   }
//! }
//! ```
//!
//! Before connection tracking, so what is dropped costs no entry there. Only packets to this machine and to the public
//! ports are ever dropped: ssh, the status and the mesh are in no rule. Sets are hash tables of one width each, looked up
//! with the address masked: the time for a packet does not grow with what is entered, nothing overlaps, and whatever is
//! entered again gets its new time. Sets of intervals are trees that every packet walks, and refuse what overlaps.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;

use super::netlink::{Attributes, Kind, Transaction, find};

/// Where the public is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublicPort {
    /// HTTPS, or plain HTTP that leads to it.
    Tcp(u16),
    /// HTTP/3.
    Udp(u16),
}

/// A set: its name, whether it is of IPv6, and the length of what is entered.
type Kept = (&'static str, bool, u8);

/// What can be entered: what [`crate::admission::source`] tells apart, and single IPv6 addresses.
const SETS: [Kept; 5] = [
    ("source4", false, 32),
    ("network4", false, 24),
    ("source6", true, 64),
    ("network6", true, 48),
    ("address6", true, 128),
];

const COUNTER: &str = "dropped";
const PUBLIC: &str = "public";
const ARRIVING: &str = "arriving";

/// Before defragmented packets are tracked (-200).
const PRIORITY_RAW: i32 = -300;
const PREROUTING: u32 = 0;

/// The kernel throws away what is over this often; until then it counts as an element.
const COLLECT: Duration = Duration::from_secs(10);

/// Registers of 16 bytes; the first is the verdict.
const VERDICT: u32 = 0;
const REGISTER: u32 = 1;

const DROP: i32 = 0;
const ACCEPT: i32 = 1;
const JUMP: i32 = -3;

const OWNER: u32 = 2;
const OBJECT_COUNTER: u32 = 1;

/// How long the table lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// As long as the socket that made it: the kernel removes it, however the process ends (Linux 5.12).
    Socket,
    /// Until it is removed; what was there before goes.
    Fresh,
    /// Until it is removed; what is in it stays.
    Going,
}

/// The table of one process.
#[derive(Debug, Clone)]
pub struct Ruleset {
    /// Its name.
    pub table: String,
    /// Most that can be entered, of all kinds together.
    pub entries: u32,
    /// Where the public is served.
    pub ports: Vec<PublicPort>,
}

/// The name of the set that a network is entered in; `None` if it is too wide or too narrow for any.
pub fn set_of(net: &IpNet) -> Option<&'static str> {
    let is_six = net.addr().is_ipv6();
    SETS.iter().find(|(_, six, bits)| *six == is_six && *bits == net.prefix_len()).map(|(name, ..)| *name)
}

impl Ruleset {
    /// Makes the table, the rules new.
    pub fn make(&self, life: Life) -> Transaction {
        let mut all = Transaction::default();
        if life != Life::Going {
            // Made first, so that there is one to remove.
            all.push(Kind::NewTable, self.named());
            all.push(Kind::DelTable, self.named());
        }
        all.push(Kind::NewTable, self.named().number(2, if life == Life::Socket { OWNER } else { 0 }));
        let counter = Attributes::default().long(1, 0).long(2, 0);
        all.push(Kind::NewObject, self.named().text(2, COUNTER).number(3, OBJECT_COUNTER).nest(4, &counter));
        for set in SETS {
            all.push(Kind::NewSet, self.set(set));
        }
        all.push(Kind::NewChain, self.named().text(3, PUBLIC));
        let hook = Attributes::default().number(1, PREROUTING).bytes(2, &PRIORITY_RAW.to_be_bytes());
        all.push(Kind::NewChain, self.named().text(3, ARRIVING).nest(4, &hook).number(5, 1).text(7, "filter"));
        for chain in [PUBLIC, ARRIVING] {
            all.push(Kind::DelRule, self.named().text(2, chain));
        }
        for port in &self.ports {
            all.push(Kind::NewRule, self.rule(PUBLIC, drop_to(*port)));
        }
        all.push(Kind::NewRule, self.rule(ARRIVING, accept_own()));
        for set in SETS {
            all.push(Kind::NewRule, self.rule(ARRIVING, jump_if_in(set)));
        }
        all
    }

    /// Removes the table.
    pub fn remove(&self) -> Transaction {
        let mut all = Transaction::default();
        all.push(Kind::NewTable, self.named());
        all.push(Kind::DelTable, self.named());
        all
    }

    /// Enters a network that is not in yet.
    pub fn enter(&self, to: &mut Transaction, net: &IpNet, for_: Duration) {
        let ms = u64::try_from(for_.as_millis()).unwrap_or(u64::MAX).max(1);
        let Some(element) = self.element(net, Some(ms)) else { return };
        to.push(Kind::NewElement, element);
    }

    /// Takes a network out, whether or not it is in: it is entered first, so that there is one to take out.
    pub fn leave(&self, to: &mut Transaction, net: &IpNet) {
        let Some(element) = self.element(net, None) else { return };
        to.push(Kind::NewElement, element.clone());
        to.push(Kind::DelElement, element);
    }

    /// The question how much was dropped.
    pub fn counter(&self) -> Attributes {
        self.named().text(2, COUNTER).number(3, OBJECT_COUNTER)
    }

    /// Packets and bytes, from the answer.
    pub fn read_counter(answer: &[u8]) -> Option<(u64, u64)> {
        let data = find(answer, 4)?;
        let number = |kind| Some(u64::from_be_bytes(*find(data, kind)?.first_chunk()?));
        Some((number(2)?, number(1)?))
    }

    /// Most messages about a table name it first.
    fn named(&self) -> Attributes {
        Attributes::default().text(1, &self.table)
    }

    fn set(&self, (name, six, _): Kept) -> Attributes {
        const TIMEOUT: u32 = 0x10;
        // The numbers by which `nft` knows the types; the kernel does not read them.
        let (datatype, length) = if six { (8, 16) } else { (7, 4) };
        // As much again: what is over counts until it is collected.
        let room = Attributes::default().number(1, self.entries.saturating_mul(2));
        let collect = u32::try_from(COLLECT.as_millis()).unwrap_or(u32::MAX);
        self.named()
            .text(2, name)
            .number(3, TIMEOUT)
            .number(4, datatype)
            .number(5, length)
            .nest(9, &room)
            .number(10, 0)
            .number(12, collect)
    }

    fn element(&self, net: &IpNet, ms: Option<u64>) -> Option<Attributes> {
        let value = Attributes::default();
        let value = match net.network() {
            IpAddr::V4(address) => value.bytes(1, &address.octets()),
            IpAddr::V6(address) => value.bytes(1, &address.octets()),
        };
        let key = Attributes::default().nest(1, &value);
        let element = match ms {
            Some(ms) => key.long(4, ms),
            None => key,
        };
        Some(self.named().text(2, set_of(net)?).list(3, [element]))
    }

    fn rule(&self, chain: &str, expressions: Vec<Attributes>) -> Attributes {
        self.named().text(2, chain).list(4, expressions)
    }
}

/// What goes over the loopback is of this machine.
fn accept_own() -> Vec<Attributes> {
    const INTERFACE: u32 = 4;
    // The loopback is the first interface of every network namespace.
    vec![meta(INTERFACE), equals(&1_u32.to_ne_bytes()), verdict(ACCEPT, None)]
}

fn jump_if_in((name, six, bits): Kept) -> Vec<Attributes> {
    const FAMILY: u32 = 15;
    const NETWORK_HEADER: u32 = 1;
    let (family, offset, length) = if six { (10_u8, 8, 16) } else { (2, 12, 4) };
    let mut all = vec![meta(FAMILY), equals(&[family]), payload(NETWORK_HEADER, offset, length)];
    let mask: Vec<u8> = (0..length).map(|byte| mask_of_byte(u32::from(bits), byte)).collect();
    if mask.contains(&0) {
        let data = |bytes: &[u8]| Attributes::default().bytes(1, bytes);
        let masked = Attributes::default().number(1, REGISTER).number(2, REGISTER).number(3, length);
        let none = vec![0; mask.len()];
        all.push(expression("bitwise", masked.nest(4, &data(&mask)).nest(5, &data(&none))));
    }
    all.push(expression("lookup", Attributes::default().text(1, name).number(2, REGISTER)));
    all.push(verdict(JUMP, Some(PUBLIC)));
    all
}

/// Widths are of whole bytes.
fn mask_of_byte(bits: u32, byte: u32) -> u8 {
    if byte * 8 < bits { 0xff } else { 0 }
}

fn drop_to(port: PublicPort) -> Vec<Attributes> {
    const PROTOCOL: u32 = 16;
    const TRANSPORT_HEADER: u32 = 2;
    const DESTINATION: u32 = 2;
    const ADDRESS_TYPE: u32 = 3;
    const LOCAL: u32 = 2;
    let (protocol, port) = match port {
        PublicPort::Tcp(port) => (6_u8, port),
        PublicPort::Udp(port) => (17, port),
    };
    let where_to = Attributes::default().number(1, REGISTER).number(2, ADDRESS_TYPE).number(3, DESTINATION);
    vec![
        meta(PROTOCOL),
        equals(&[protocol]),
        payload(TRANSPORT_HEADER, 2, 2),
        equals(&port.to_be_bytes()),
        expression("fib", where_to),
        equals(&LOCAL.to_ne_bytes()),
        expression("objref", Attributes::default().number(1, OBJECT_COUNTER).text(2, COUNTER)),
        verdict(DROP, None),
    ]
}

fn expression(name: &str, data: Attributes) -> Attributes {
    Attributes::default().text(1, name).nest(2, &data)
}

fn meta(key: u32) -> Attributes {
    expression("meta", Attributes::default().number(2, key).number(1, REGISTER))
}

fn payload(base: u32, offset: u32, length: u32) -> Attributes {
    let from = Attributes::default().number(1, REGISTER).number(2, base).number(3, offset).number(4, length);
    expression("payload", from)
}

fn equals(value: &[u8]) -> Attributes {
    const EQUAL: u32 = 0;
    let data = Attributes::default().bytes(1, value);
    expression("cmp", Attributes::default().number(1, REGISTER).number(2, EQUAL).nest(3, &data))
}

fn verdict(code: i32, chain: Option<&str>) -> Attributes {
    let verdict = Attributes::default().bytes(1, &code.to_be_bytes());
    let verdict = match chain {
        Some(chain) => verdict.text(2, chain),
        None => verdict,
    };
    let data = Attributes::default().nest(2, &verdict);
    expression("immediate", Attributes::default().number(1, VERDICT).nest(2, &data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_entered() {
        for (net, set) in [
            ("192.0.2.7/32", Some("source4")),
            ("192.0.2.0/24", Some("network4")),
            ("192.0.0.0/16", None),
            ("2001:db8::/64", Some("source6")),
            ("2001:db8::/48", Some("network6")),
            ("2001:db8::1/128", Some("address6")),
            ("2001:db8::/32", None),
        ] {
            assert_eq!(set_of(&net.parse().unwrap()), set, "{net}");
        }
        for (name, six, bits) in SETS {
            assert!(bits % 8 == 0 && bits <= if six { 128 } else { 32 }, "{name}");
        }
    }

    #[test]
    fn the_counter_is_read() {
        let data = Attributes::default().long(1, 4096).long(2, 64);
        let answer = Ruleset { table: "t".into(), entries: 1, ports: Vec::new() }.counter().nest(4, &data);
        let mut sent = Vec::new();
        answer.append_to(&mut sent);
        assert_eq!(Ruleset::read_counter(&sent), Some((64, 4096)));
        assert_eq!(Ruleset::read_counter(&sent[..sent.len() - 8]), None);
    }
}

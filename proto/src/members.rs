//! Who is in the mesh, and how each is reached: one statement, signed, that nodes keep on disk.
//!
//! With it, nodes know each other without the coordinator, for as long as it may be gone. A node is known by the digest of
//! its certificate, so whoever is taken out of the list is out, whatever certificate it shows. Serial numbers only grow, so
//! an old list cannot bring anyone back.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Digest, MeshId, NodeId, Zone, limits::MAX_MEMBERS, sign::Statement};

/// Most addresses of one kind that a node is reached by: both families, on two links each.
pub const MAX_ADDRESSES: usize = 4;

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub node: NodeId,
    /// Its zone.
    pub zone: Zone,
    /// BLAKE3 of its certificate (DER).
    pub certificate: Digest,
    /// How it is reached, as far as it said.
    pub reach: Reach,
    /// True if the operator wants visitors elsewhere.
    pub drained: bool,
}

/// Where a node is reached, the best address first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// By other nodes: UDP.
    pub peers: Vec<SocketAddr>,
    /// By the public: TCP, and UDP where it speaks HTTP/3.
    pub public: Vec<SocketAddr>,
    /// By resolvers: UDP and TCP; none if it answers no DNS.
    pub dns: Vec<SocketAddr>,
}

/// All nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The mesh.
    pub mesh: MeshId,
    /// Grows with every change.
    pub serial: u64,
    /// The nodes, by name, each once.
    pub nodes: Vec<Member>,
    /// Texts that nodes answer in DNS, besides what is configured.
    pub texts: Vec<Text>,
}

/// A text at a name, such as the challenge of an ACME authority (RFC 8555 section 8.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The whole name, such as `_acme-challenge.example.org`.
    pub name: String,
    /// The text: one character-string (RFC 1035 section 3.3).
    pub value: String,
}

/// Most texts at once: two for each of some names, while their certificates are issued.
pub const MAX_TEXTS: usize = 32;

/// Longest name, and longest text, bytes (RFC 1035 sections 2.3.4 and 3.3).
const MAX_TEXT: usize = 255;

impl Text {
    /// Refuses what cannot be a name with a text.
    ///
    /// # Errors
    /// [`MembersError::Text`].
    pub fn check(&self) -> Result<(), MembersError> {
        let fits =
            |text: &str| (1..=MAX_TEXT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits(&self.name) && fits(&self.value) { Ok(()) } else { Err(MembersError::Text) }
    }
}

impl Statement for Members {
    const DOMAIN: &'static str = "difusor members v1";

    fn mesh(&self) -> MeshId {
        self.mesh
    }
}

/// A list that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// Longer than a mesh can be.
    #[error("a list of more than {MAX_MEMBERS} nodes")]
    TooMany,
    /// Not in the order of names, or one name twice.
    #[error("a list of nodes that is not in the order of their names")]
    Order,
    /// Too many texts, or one that DNS cannot hold.
    #[error("more than {MAX_TEXTS} texts, or one that is empty, longer than {MAX_TEXT} bytes, or not of visible ASCII")]
    Text,
    /// More addresses than a node has.
    #[error("a node with more than {MAX_ADDRESSES} addresses of one kind")]
    Addresses,
}

impl Reach {
    /// Refuses more addresses than a node can have.
    ///
    /// # Errors
    /// [`MembersError::Addresses`].
    pub fn check(&self) -> Result<(), MembersError> {
        let fits = [&self.peers, &self.public, &self.dns].iter().all(|addresses| addresses.len() <= MAX_ADDRESSES);
        if fits { Ok(()) } else { Err(MembersError::Addresses) }
    }

    /// The same with `seen` in the place of addresses that stand for any (`0.0.0.0`, `::`), as the other end of a
    /// connection knows it.
    #[must_use]
    pub fn seen_from(mut self, seen: std::net::IpAddr) -> Self {
        let seen = seen.to_canonical();
        // A socket for any address of the other family cannot be reached at this one.
        let fits = |address: &SocketAddr| !address.ip().is_unspecified() || address.is_ipv4() == seen.is_ipv4();
        [&mut self.peers, &mut self.public, &mut self.dns].into_iter().for_each(|addresses| addresses.retain(fits));
        for address in self.peers.iter_mut().chain(&mut self.public).chain(&mut self.dns) {
            if address.ip().is_unspecified() {
                address.set_ip(seen);
            }
        }
        for addresses in [&mut self.peers, &mut self.public, &mut self.dns] {
            let mut known = Vec::new();
            addresses.retain(|address| {
                !known.contains(address) && {
                    known.push(*address);
                    true
                }
            });
        }
        self
    }
}

impl Members {
    /// Refuses a list that cannot be.
    ///
    /// # Errors
    /// [`MembersError`].
    pub fn check(&self) -> Result<(), MembersError> {
        if self.nodes.len() > MAX_MEMBERS {
            return Err(MembersError::TooMany);
        }
        if !self.nodes.is_sorted_by(|one, next| one.node < next.node) {
            return Err(MembersError::Order);
        }
        if self.texts.len() > MAX_TEXTS {
            return Err(MembersError::Text);
        }
        self.texts.iter().try_for_each(Text::check)?;
        self.nodes.iter().try_for_each(|member| member.reach.check())
    }

    /// The node of this name.
    pub fn get(&self, node: &NodeId) -> Option<&Member> {
        let at = self.nodes.binary_search_by(|member| member.node.cmp(node)).ok()?;
        self.nodes.get(at)
    }

    /// The node that shows this certificate.
    pub fn find(&self, certificate: &Digest) -> Option<&Member> {
        self.nodes.iter().find(|member| member.certificate == *certificate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: &str) -> Member {
        let certificate = Digest::of(node.as_bytes());
        let (node, zone) = (node.parse().unwrap(), "mx".parse().unwrap());
        Member { node, zone, certificate, reach: Reach::default(), drained: false }
    }

    fn members(nodes: &[&str]) -> Members {
        let nodes = nodes.iter().map(|node| member(node)).collect();
        Members { mesh: MeshId::of_key(b"k"), serial: 1, nodes, texts: Vec::new() }
    }

    #[test]
    fn a_list_is_in_order() {
        let list = members(&["a", "b", "c"]);
        assert_eq!(list.check(), Ok(()));
        assert_eq!(list.get(&"b".parse().unwrap()), Some(&member("b")));
        assert_eq!(list.get(&"d".parse().unwrap()), None);
        assert_eq!(list.find(&Digest::of(b"c")), Some(&member("c")));
        for bad in [["b", "a"], ["a", "a"]] {
            assert_eq!(members(&bad).check(), Err(MembersError::Order));
        }
        let mut many = members(&["a"]);
        many.nodes[0].reach.dns = vec!["[::1]:53".parse().unwrap(); MAX_ADDRESSES + 1];
        assert_eq!(many.check(), Err(MembersError::Addresses));
        let text = |name: &str, value: &str| Text { name: name.into(), value: value.into() };
        let long = "x".repeat(MAX_TEXT + 1);
        for bad in [text("", "a"), text("a", ""), text("a b", "a"), text("a", "é"), text(&long, "a"), text("a", &long)]
        {
            let list = Members { texts: vec![bad], ..members(&["a"]) };
            assert_eq!(list.check(), Err(MembersError::Text), "{list:?}");
        }
        let list = Members { texts: vec![text("a", "b"); MAX_TEXTS + 1], ..members(&["a"]) };
        assert_eq!(list.check(), Err(MembersError::Text));
    }

    #[test]
    fn any_address_is_the_one_that_is_seen() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let reach = Reach {
            peers: vec![at("0.0.0.0:8445"), at("[::]:8445")],
            public: vec![at("192.0.2.7:443")],
            dns: Vec::new(),
        };
        let seen = reach.seen_from("::ffff:198.51.100.1".parse().unwrap());
        assert_eq!(seen.peers, [at("198.51.100.1:8445")]);
        assert_eq!(seen.public, [at("192.0.2.7:443")]);
    }
}

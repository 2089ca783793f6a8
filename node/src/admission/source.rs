//! For whom something counts: what one customer is given, and the network that it lies in.
//!
//! An IPv4 address is one customer, or all of a carrier's behind it (RFC 6888); IPv6 customers are given a /64 at least
//! (RFC 6177), in which they have as many addresses as they like, and sites a /48.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;

/// A customer: an IPv4 address, or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(u128);

/// A network: an IPv4 /24, or an IPv6 /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(u128);

/// Where IPv4 lies in IPv6 (`::ffff:0:0/96`).
const MAPPED: u128 = 0xffff << 32;

impl Source {
    /// Whose address this is.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(MAPPED | u128::from(address.to_bits())),
            IpAddr::V6(address) => Self(address.to_bits() & !0 << 64),
        }
    }

    /// All its addresses.
    pub fn net(self) -> IpNet {
        net(self.0, [32, 64])
    }

    /// The network that it lies in.
    pub fn network(self) -> Network {
        Network(self.0 & if self.0 >> 32 == MAPPED >> 32 { !0 << 8 } else { !0 << 80 })
    }
}

impl Network {
    /// All its addresses.
    pub fn net(self) -> IpNet {
        net(self.0, [24, 48])
    }
}

/// As a network: of these lengths of the prefix, for IPv4 and IPv6.
fn net(bits: u128, [v4, v6]: [u8; 2]) -> IpNet {
    let address = IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical();
    let length = if address.is_ipv4() { v4 } else { v6 };
    // Both lengths are within those of their families.
    IpNet::new_assert(address, length)
}

impl fmt::Display for Source {
    /// An address, or a prefix of IPv6.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Ipv6Addr::from_bits(self.0).to_canonical() {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

impl fmt::Display for Network {
    /// A prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Ipv6Addr::from_bits(self.0).to_canonical() {
            IpAddr::V4(address) => write!(f, "{address}/24"),
            IpAddr::V6(address) => write!(f, "{address}/48"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_prefixes() {
        let names = |text: &str| {
            let source = Source::of(text.parse().unwrap());
            [source.to_string(), source.network().to_string()]
        };
        assert_eq!(names("192.0.2.7"), ["192.0.2.7", "192.0.2.0/24"]);
        assert_eq!(names("2001:db8:1:2:3::4"), ["2001:db8:1:2::/64", "2001:db8:1::/48"]);
    }

    #[test]
    fn customers_and_their_networks() {
        let source = |text: &str| Source::of(text.parse().unwrap());
        let same = [("192.0.2.1", "::ffff:192.0.2.1"), ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff")];
        for (one, other) in same {
            assert_eq!(source(one), source(other), "{one} {other}");
        }
        for (address, own, network) in [
            ("192.0.2.77", "192.0.2.77/32", "192.0.2.0/24"),
            ("2001:db8:1:2::9", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ] {
            let source = source(address);
            assert_eq!((source.net().to_string(), source.network().net().to_string()), (own.into(), network.into()));
        }
        let neighbours = [("192.0.2.1", "192.0.2.255"), ("2001:db8:1:2::1", "2001:db8:1:ffff::1")];
        for (one, other) in neighbours {
            assert_ne!(source(one), source(other), "{one} {other}");
            assert_eq!(source(one).network(), source(other).network(), "{one} {other}");
        }
        let strangers = [("192.0.2.1", "192.0.3.1"), ("2001:db8:1::1", "2001:db8:2::1"), ("192.0.2.1", "::c000:201")];
        for (one, other) in strangers {
            assert_ne!(source(one).network(), source(other).network(), "{one} {other}");
        }
    }
}

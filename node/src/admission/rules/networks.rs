//! A set of networks that is asked for every request, however many there are.
//!
//! Networks become ranges of addresses, sorted and merged; an address is looked for by halving. A hundred thousand of
//! IPv4 are less than a megabyte in two arrays, and seventeen steps. What a tree would know beyond it, which network it
//! was and which are more specific, nobody asks for.

use std::net::IpAddr;

use ipnet::IpNet;

/// Where IPv4 lies in IPv6 (`::ffff:0:0/96`).
const MAPPED: u128 = 0xffff << 32;

/// A set of networks. An IPv4 network also stands for its addresses as IPv6 sockets show them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    given: usize,
}

/// Ranges of which none touches another, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ranges<A> {
    first: Box<[A]>,
    last: Box<[A]>,
}

impl<A: Copy + Ord> Ranges<A> {
    fn new(mut ranges: Vec<(A, A)>, next: impl Fn(A) -> A) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(A, A)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= next(*end) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        let (first, last): (Vec<A>, Vec<A>) = merged.into_iter().unzip();
        Self { first: first.into(), last: last.into() }
    }

    fn includes(&self, address: A) -> bool {
        let behind = self.first.partition_point(|first| *first <= address);
        behind.checked_sub(1).and_then(|at| self.last.get(at)).is_some_and(|last| *last >= address)
    }
}

impl Networks {
    /// All of these.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6, mut given) = (Vec::new(), Vec::new(), 0);
        for network in networks {
            given += 1;
            match network {
                IpNet::V4(network) => v4.push((network.network().to_bits(), network.broadcast().to_bits())),
                IpNet::V6(network) => {
                    let (first, last) = (network.network().to_bits(), network.broadcast().to_bits());
                    // Addresses are compared as what they are, so the part that is IPv4 is looked for there.
                    let mapped = (first.max(MAPPED), last.min(MAPPED | u128::from(u32::MAX)));
                    if let (Ok(first), Ok(last)) = (u32::try_from(mapped.0 ^ MAPPED), u32::try_from(mapped.1 ^ MAPPED))
                        && mapped.0 <= mapped.1
                    {
                        v4.push((first, last));
                    }
                    v6.push((first, last));
                }
            }
        }
        Self {
            v4: Ranges::new(v4, |end| end.saturating_add(1)),
            v6: Ranges::new(v6, |end| end.saturating_add(1)),
            given,
        }
    }

    /// True if it lies in one of them.
    pub fn includes(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.includes(address.to_bits()),
            IpAddr::V6(address) => self.v6.includes(address.to_bits()),
        }
    }

    /// How many were given.
    pub fn given(&self) -> usize {
        self.given
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::new(texts.iter().map(|text| text.parse().unwrap()))
    }

    #[test]
    fn edges_belong_to_them() {
        let some = networks(&["10.0.0.0/8", "192.0.2.0/25", "192.0.2.128/25", "192.0.2.7/32", "2001:db8::/32"]);
        assert_eq!((some.v4.first.len(), some.v6.first.len(), some.given()), (2, 1, 5));
        for (address, is_in) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("192.0.2.0", true),
            ("192.0.2.255", true),
            ("::ffff:192.0.2.200", true),
            ("192.0.3.0", false),
            ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", false),
            ("2001:db8::", true),
            ("2001:db9::", false),
            ("::a00:1", false),
        ] {
            assert_eq!(some.includes(address.parse().unwrap()), is_in, "{address}");
        }
        let all = networks(&["0.0.0.0/0", "::/0"]);
        assert!(["0.0.0.0", "255.255.255.255", "::", "ffff::"].iter().all(|text| all.includes(text.parse().unwrap())));
        assert!(!networks(&[]).includes("0.0.0.0".parse().unwrap()));
        let mapped = networks(&["::ffff:192.0.2.0/120"]);
        assert!(mapped.includes("192.0.2.9".parse().unwrap()) && !mapped.includes("192.0.3.9".parse().unwrap()));
        assert!(networks(&["::/0"]).includes("1.2.3.4".parse().unwrap()));
    }

    /// Networks that lie close to each other, and addresses close to them.
    fn network() -> impl Strategy<Value = IpNet> {
        let v4 = (0_u32..1 << 12, 20_u8..=32).prop_map(|(bits, prefix)| {
            IpNet::new(Ipv4Addr::from_bits(0xc000_0000 | bits).into(), prefix).unwrap().trunc()
        });
        let v6 = (0_u128..1 << 12, 116_u8..=128).prop_map(|(bits, prefix)| {
            IpNet::new(Ipv6Addr::from_bits(0x2001 << 112 | bits).into(), prefix).unwrap().trunc()
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn it_finds_what_looking_at_each_finds(
            given in prop::collection::vec(network(), 0..40),
            asked in prop::collection::vec(any::<u16>(), 20),
        ) {
            let set = Networks::new(given.iter().copied());
            for bits in asked {
                for address in [
                    IpAddr::from(Ipv4Addr::from_bits(0xc000_0000 | u32::from(bits % 5000))),
                    IpAddr::from(Ipv6Addr::from_bits(0x2001 << 112 | u128::from(bits % 5000))),
                ] {
                    let naive = given.iter().any(|network| network.contains(&address));
                    prop_assert_eq!(set.includes(address), naive, "{}", address);
                }
            }
        }
    }
}

//! Where a client is: by tables of networks, and GeoIP databases ([`geo`]). The first that knows says so.
//!
//! A table has a line for each network: `203.0.113.0/24 mx-central` names the zone that is nearest, `198.51.100.0/24 19.4 -99.1`
//! says where it is, degrees of latitude and longitude. `#` begins a comment. The narrowest network counts. A table is made once
//! from whatever an operator has: the registries' files, a provider's list.

pub mod geo;

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::Context as _;
use difusor_proto::Zone;
use ipnet::IpNet;

use self::geo::Geo;

/// Networks of a table, at most: the registries know some 250,000.
const MOST: usize = 2_000_000;

/// Where somebody is.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// Nearest to this zone.
    Zone(Zone),
    /// Degrees of latitude and longitude.
    At([f64; 2]),
}

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacesError {
    /// Which, and why.
    #[error("line {0}: `{1}`: write a network and a zone, or a network, a latitude and a longitude")]
    Line(usize, String),
    /// A table that nobody needs.
    #[error("more than {MOST} networks")]
    TooMany,
}

/// All that is known, by what is asked first.
#[derive(Debug, Default)]
pub struct Places(Vec<Source>);

#[derive(Debug)]
enum Source {
    Table(Table),
    Geo(Geo),
}

impl Places {
    /// Reads files that lie in a folder: GeoIP databases are called `.mmdb`, all others are tables.
    ///
    /// # Errors
    /// Names the file, and says what to do.
    pub fn read(folder: &Path, files: &[PathBuf]) -> anyhow::Result<Self> {
        let read = |file: &PathBuf| {
            let file = folder.join(file);
            let said = || format!("dns.places: {}", file.display());
            if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mmdb")) {
                return Ok(Source::Geo(Geo::open(&file).with_context(said)?));
            }
            let text = std::fs::read_to_string(&file).with_context(said)?;
            Ok(Source::Table(text.parse().with_context(said)?))
        };
        Ok(Self(files.iter().map(read).collect::<anyhow::Result<_>>()?))
    }

    /// Where an address is of which so many bits are known; `None` if nobody knows.
    pub fn find(&self, address: IpAddr, bits: u8) -> Option<Cow<'_, Place>> {
        self.0.iter().find_map(|source| match source {
            Source::Table(table) => table.find(address, bits).map(Cow::Borrowed),
            Source::Geo(geo) => geo.find(address, bits).map(|at| Cow::Owned(Place::At(at))),
        })
    }

    /// True if nothing is known of anybody.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|source| matches!(source, Source::Table(table) if table.is_empty()))
    }
}

impl From<Table> for Places {
    fn from(table: Table) -> Self {
        Self(vec![Source::Table(table)])
    }
}

/// All networks, in the order of their first addresses; those that lie in another come behind it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// First and last address, as IPv6; bits that are given; the place; and the narrowest network that this one lies in.
    networks: Vec<Network>,
}

#[derive(Debug, Clone, PartialEq)]
struct Network {
    first: u128,
    last: u128,
    bits: u8,
    place: Place,
    within: Option<u32>,
}

impl FromStr for Table {
    type Err = PlacesError;

    fn from_str(text: &str) -> Result<Self, PlacesError> {
        let mut networks = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let said = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = said.split([' ', '\t', ',', ';']).filter(|word| !word.is_empty()).collect();
            let wrong = || PlacesError::Line(number + 1, line.trim().to_owned());
            let place = match *words.as_slice() {
                [] => continue,
                [_, zone] => Place::Zone(zone.parse().map_err(|_| wrong())?),
                [_, latitude, longitude] => {
                    let degree = |text: &str, most: f64| {
                        text.parse::<f64>().ok().filter(|degree| degree.abs() <= most).ok_or_else(wrong)
                    };
                    Place::At([degree(latitude, 90.0)?, degree(longitude, 180.0)?])
                }
                _ => return Err(wrong()),
            };
            let network: IpNet = words.first().and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
            let bits = network.prefix_len() + if network.addr().is_ipv4() { 96 } else { 0 };
            let (first, last) = (number_of(network.network()), number_of(network.broadcast()));
            networks.push(Network { first, last, bits, place, within: None });
            if networks.len() > MOST {
                return Err(PlacesError::TooMany);
            }
        }
        // Of two that are alike, the later line is right.
        networks.reverse();
        networks.sort_by_key(|network| (network.first, network.bits));
        networks.dedup_by(|next, kept| (next.first, next.bits) == (kept.first, kept.bits));
        // Networks lie in each other or apart: those that are open, one in the other, are a stack.
        let mut open: Vec<(u32, u128)> = Vec::new();
        for (at, network) in networks.iter_mut().enumerate() {
            open.retain(|(_, last)| *last >= network.last);
            network.within = open.last().map(|(outer, _)| *outer);
            open.push((u32::try_from(at).unwrap_or(u32::MAX), network.last));
        }
        Ok(Self { networks })
    }
}

impl Table {
    /// Where an address is of which so many bits are known, by the narrowest network that is no narrower; `None` if there is
    /// none.
    pub fn find(&self, address: IpAddr, bits: u8) -> Option<&Place> {
        let bits = if address.to_canonical().is_ipv4() { bits.min(32) + 96 } else { bits };
        let number = number_of(address);
        let behind = self.networks.partition_point(|network| network.first <= number);
        let mut at = behind.checked_sub(1);
        while let Some(network) = at.and_then(|at| self.networks.get(at)) {
            if network.last >= number && network.bits <= bits {
                return Some(&network.place);
            }
            at = network.within.and_then(|outer| usize::try_from(outer).ok());
        }
        None
    }

    /// How many networks.
    pub fn len(&self) -> usize {
        self.networks.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }
}

/// Addresses as numbers, IPv4 as IPv6 sockets show them.
fn number_of(address: IpAddr) -> u128 {
    let six = match address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    };
    Ipv6Addr::to_bits(six)
}

/// The way between two places over the surface, in parts of the earth's radius (the haversine formula).
pub fn distance(one: [f64; 2], other: [f64; 2]) -> f64 {
    let [[latitude, longitude], [to_latitude, to_longitude]] = [one, other].map(|place| place.map(f64::to_radians));
    let half = |angle: f64| (angle / 2.0).sin().powi(2);
    let chord = half(to_latitude - latitude) + latitude.cos() * to_latitude.cos() * half(to_longitude - longitude);
    2.0 * chord.clamp(0.0, 1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(places: &Table, address: &str, bits: u8) -> Option<String> {
        places.find(address.parse().unwrap(), bits).map(|place| match place {
            Place::Zone(zone) => zone.to_string(),
            Place::At(at) => format!("{at:?}"),
        })
    }

    #[test]
    fn the_narrowest_network_counts() {
        let places: Table = "# by hand\n10.0.0.0/8 mx\n10.1.0.0/16, us\n10.1.2.0/24\teu # a branch\n10.1.3.0/24 19.4 -99.1\n2001:db8::/32;ca\n10.9.0.0/16 jp\n10.9.0.0/16 kr\n".parse().unwrap();
        assert_eq!(places.len(), 6);
        for (address, expected) in [
            ("9.255.255.255", None),
            ("10.0.0.0", Some("mx")),
            ("10.1.0.0", Some("us")),
            ("10.1.2.255", Some("eu")),
            ("10.1.3.1", Some("[19.4, -99.1]")),
            ("10.1.4.0", Some("us")),
            ("10.2.0.0", Some("mx")),
            ("10.9.1.1", Some("kr")),
            ("10.255.255.255", Some("mx")),
            ("11.0.0.0", None),
            ("::ffff:10.1.2.1", Some("eu")),
            ("2001:db8:ffff::1", Some("ca")),
            ("2001:db9::", None),
        ] {
            assert_eq!(zone(&places, address, 128).as_deref(), expected, "{address}");
        }
        // Of a network that is wider than what is known of an address.
        for (address, bits, expected) in [
            ("10.1.2.0", 24, Some("eu")),
            ("10.1.2.0", 23, Some("us")),
            ("10.1.2.0", 8, Some("mx")),
            ("10.1.2.0", 7, None),
            ("2001:db8::", 32, Some("ca")),
            ("2001:db8::", 31, None),
        ] {
            assert_eq!(zone(&places, address, bits).as_deref(), expected, "{address}/{bits}");
        }
    }

    #[test]
    fn the_first_that_knows_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        write("own.txt", b"187.128.5.0/24 us");
        let world = [("187.128.0.0/9", Some([19.4, -99.1])), ("203.0.113.0/24", Some([40.4, -3.7]))];
        write("City.MMDB", &geo::tests::database("GeoLite2-City", &world));
        let read = |files: &[&str]| Places::read(folder.path(), &files.iter().map(PathBuf::from).collect::<Vec<_>>());
        let places = read(&["own.txt", "City.MMDB"]).unwrap();
        let of = |address: &str| places.find(address.parse().unwrap(), 24).map(Cow::into_owned);
        assert_eq!(of("187.128.5.0"), Some(Place::Zone("us".parse().unwrap())));
        assert_eq!(of("187.128.6.0"), Some(Place::At([19.4, -99.1])));
        assert_eq!(of("198.51.100.0"), None);
        assert!(!places.is_empty() && read(&[]).unwrap().is_empty());
        for (file, part) in [("none.txt", "No such file"), ("none.mmdb", "No such file"), ("bad.txt", "line 1")] {
            write("bad.txt", b"here and there and everywhere");
            let said = format!("{:#}", read(&[file]).unwrap_err());
            assert!(said.contains(file) && said.contains(part) && said.starts_with("dns.places"), "{said}");
        }
    }

    #[test]
    fn mistakes_have_a_line() {
        for (text, number) in
            [("10.0.0.0/8", 1), ("\n10.0.0.0/33 mx", 2), ("10.0.0.0/8 MX", 1), ("10.0.0.0/8 91 0", 1), ("a b c d", 1)]
        {
            let PlacesError::Line(at, _) = text.parse::<Table>().unwrap_err() else { panic!("{text}") };
            assert_eq!(at, number, "{text}");
        }
    }

    #[test]
    fn the_way_over_the_surface() {
        let [mexico, dallas, madrid, fiji, samoa] =
            [[19.4, -99.1], [32.8, -96.8], [40.4, -3.7], [-17.7, 178.0], [-13.8, -172.1]];
        assert!((distance(mexico, madrid) * 6371.0 - 9070.0).abs() < 30.0);
        assert!(distance(mexico, dallas) < distance(dallas, madrid));
        // Over the line where the date changes.
        assert!(distance(fiji, samoa) * 6371.0 < 1300.0);
    }
}

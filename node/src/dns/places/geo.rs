//! GeoIP databases in MaxMind's format (version 2): GeoLite2 and GeoIP2 City, and others with the same fields.

use std::{fmt, fs, io, net::IpAddr, path::Path};

use maxminddb::{MaxMindDbError, PathElement, Reader, WithinOptions};

/// Networks that are looked at for the place of one, when a database is opened.
const TRIED: usize = 10_000;

/// A database, in memory.
pub struct Geo(Reader<Vec<u8>>);

impl fmt::Debug for Geo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Geo({})", self.0.metadata().database_type)
    }
}

/// Why a file is no such database.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// It cannot be read.
    #[error("cannot be read")]
    Unreadable(#[from] io::Error),
    /// It is something else.
    #[error("is no GeoIP database in MaxMind's format: {0}")]
    Other(String),
    /// It is of something else.
    #[error("a database of the type {0} does not say where networks are: take one of cities, such as GeoLite2-City")]
    NoPlaces(String),
}

impl Geo {
    /// Reads a file.
    ///
    /// # Errors
    /// [`GeoError`].
    pub fn open(file: &Path) -> Result<Self, GeoError> {
        let other = |error: MaxMindDbError| GeoError::Other(error.to_string());
        let geo = Self(Reader::from_source(fs::read(file)?).map_err(other)?);
        let mut tried = geo.0.networks(WithinOptions::default()).map_err(other)?.take(TRIED);
        let has_place = tried.any(|network| network.is_ok_and(|network| at(&network).is_some()));
        if has_place { Ok(geo) } else { Err(GeoError::NoPlaces(geo.0.metadata().database_type.clone())) }
    }

    /// Where an address is of which so many bits are known, degrees of latitude and longitude.
    pub fn find(&self, address: IpAddr, bits: u8) -> Option<[f64; 2]> {
        let found = self.0.lookup(address.to_canonical()).ok()?;
        // A wider network may be in many places.
        at(&found).filter(|_| found.network().is_ok_and(|network| network.prefix() <= bits))
    }
}

fn at(found: &maxminddb::LookupResult<'_, Vec<u8>>) -> Option<[f64; 2]> {
    let degree = |name| {
        let path = [PathElement::Key("location"), PathElement::Key(name)];
        found.decode_path::<f64>(&path).ok().flatten()
    };
    Some([degree("latitude")?, degree("longitude")?])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A database as the format's specification has it: a tree of networks in nodes of two records of 24 bits, and the data.
    #[allow(clippy::cast_possible_truncation, reason = "what is written is small")]
    pub(crate) fn database(kind: &str, places: &[(&str, Option<[f64; 2]>)]) -> Vec<u8> {
        let text = |text: &str| [&[0x40 | text.len() as u8][..], text.as_bytes()].concat();
        let pair = |name: &str, value: Vec<u8>| [text(name), value].concat();
        let map = |pairs: &[Vec<u8>]| [vec![0xe0 | pairs.len() as u8], pairs.concat()].concat();
        let number = |kind: u8, value: u32| [vec![kind << 5 | 4], value.to_be_bytes().to_vec()].concat();
        let degree = |value: f64| [vec![0x68], value.to_be_bytes().to_vec()].concat();
        let (mut nodes, mut data) = (vec![[None::<usize>; 2]], Vec::new());
        let mut ends = Vec::new();
        for (network, place) in places {
            let network: ipnet::IpNet = network.parse().unwrap();
            let (bits, len) = match network {
                ipnet::IpNet::V4(four) => (u128::from(u32::from(four.network())), 96 + four.prefix_len()),
                ipnet::IpNet::V6(six) => (u128::from(six.network()), six.prefix_len()),
            };
            let mut at = 0;
            for depth in 0..len {
                let side = usize::from(bits >> (127 - depth) & 1 == 1);
                if depth + 1 == len {
                    ends.push((at, side, data.len()));
                } else if let Some(next) = nodes[at][side] {
                    at = next;
                } else {
                    nodes.push([None; 2]);
                    let next = nodes.len() - 1;
                    nodes[at][side] = Some(next);
                    at = next;
                }
            }
            let location = place.map(|[latitude, longitude]| {
                map(&[pair("latitude", degree(latitude)), pair("longitude", degree(longitude))])
            });
            data.extend(map(&location.map(|location| pair("location", location)).into_iter().collect::<Vec<_>>()));
        }
        let mut file = Vec::new();
        for (at, sides) in nodes.iter().enumerate() {
            for (side, next) in sides.iter().enumerate() {
                let end = ends.iter().find(|(node, of, _)| (*node, *of) == (at, side));
                let value = match (next, end) {
                    (Some(next), _) => *next,
                    (None, Some((.., data))) => nodes.len() + 16 + data,
                    (None, None) => nodes.len(),
                };
                file.extend(&(value as u32).to_be_bytes()[1..]);
            }
        }
        file.extend([0; 16]);
        file.extend(data);
        file.extend(b"\xab\xcd\xefMaxMind.com");
        let wide = |value: u64| [vec![0x08, 0x02], value.to_be_bytes().to_vec()].concat();
        file.extend(map(&[
            pair("binary_format_major_version", vec![0xa1, 2]),
            pair("binary_format_minor_version", vec![0xa0]),
            pair("build_epoch", wide(1_700_000_000)),
            pair("database_type", text(kind)),
            pair("description", map(&[])),
            pair("ip_version", vec![0xa1, 6]),
            pair("languages", vec![0x00, 0x04]),
            pair("node_count", number(6, nodes.len() as u32)),
            pair("record_size", vec![0xa1, 24]),
        ]));
        file
    }

    #[test]
    fn a_network_is_where_the_database_says() {
        let folder = tempfile::tempdir().unwrap();
        let write = |bytes: &[u8]| {
            let path = folder.path().join("city.mmdb");
            fs::write(&path, bytes).unwrap();
            path
        };
        let (mexico, madrid) = ([19.43, -99.13], [40.42, -3.7]);
        let places = [("187.128.0.0/9", Some(mexico)), ("2001:720::/32", Some(madrid)), ("198.51.100.0/24", None)];
        let geo = Geo::open(&write(&database("GeoLite2-City", &places))).unwrap();
        for (address, place) in [
            ("187.200.1.2", Some(mexico)),
            ("::ffff:187.200.1.2", Some(mexico)),
            ("2001:720:5::1", Some(madrid)),
            ("198.51.100.7", None),
            ("192.0.2.1", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(geo.find(address.parse().unwrap(), u8::MAX), place, "{address}");
        }
        for (address, bits, is_known) in
            [("187.128.0.0", 9, true), ("187.128.0.0", 8, false), ("2001:720::", 31, false)]
        {
            assert_eq!(geo.find(address.parse().unwrap(), bits).is_some(), is_known, "{address}/{bits}");
        }
        let said = Geo::open(&write(&database("GeoLite2-ASN", &places[2..]))).unwrap_err().to_string();
        assert!(said.contains("GeoLite2-ASN") && said.contains("City"), "{said}");
        let said = Geo::open(&write(b"203.0.113.0/24 mx-central")).unwrap_err().to_string();
        assert!(said.contains("no GeoIP database"), "{said}");
    }
}

//! Updates: for a zone that lives on somebody else's DNS server, the addresses in it are kept right from here.
//!
//! RFC 2136, signed with TSIG (RFC 8945), over TCP. One node does it, and every node knows which ([`duty`]); it needs no
//! coordinator. [`records`] says what is to be changed, [`tsig`] signs it with a [`key`], [`exchange`] brings it there, and
//! [`keeper`] does all of it whenever the mesh changes, and every few minutes in case somebody else changed the zone.

pub mod duty;
pub mod exchange;
pub mod failure;
pub mod keeper;
pub mod key;
pub mod records;
pub mod tsig;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use difusor_proto::units::Span;
use hickory_proto::rr::Name;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{DnsConfigError, one_or_several, parse_name};

/// Servers, at most.
const MAX_SERVERS: usize = 8;

/// The `[dns.update]` table of the configuration. The same on all nodes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpdateConfig {
    /// The first that answers is told; none if nobody is.
    #[serde(deserialize_with = "servers")]
    pub server: Vec<SocketAddr>,
    /// The zone that they have.
    pub zone: String,
    /// Names in it that lead to the site; `@` is the zone itself.
    pub names: Vec<String>,
    /// How long resolvers keep an answer.
    pub ttl: Span,
    /// The file of the key, beside the configuration.
    pub key: Option<PathBuf>,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            server: Vec::new(),
            zone: String::new(),
            names: Vec::new(),
            ttl: Span(Duration::from_secs(20)),
            key: None,
        }
    }
}

/// What is to be kept right, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Who is told: the first that answers.
    pub servers: Vec<SocketAddr>,
    /// The zone.
    pub zone: Name,
    /// The names that lead to the site.
    pub names: Vec<Name>,
    /// How long resolvers keep an answer, seconds.
    pub ttl: u32,
    /// The file of the key.
    pub key: PathBuf,
}

fn servers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SocketAddr>, D::Error> {
    let parse = |text: String| {
        text.parse()
            .map_err(|_| D::Error::custom(format!("`{text}`: write address and port, such as \"192.0.2.53:53\"")))
    };
    one_or_several::<_, String>(from)?.into_iter().map(parse).collect()
}

impl UpdateConfig {
    /// Refuses what cannot be meant; `None` if nobody is told.
    ///
    /// # Errors
    /// [`DnsConfigError`], which says what to write.
    pub fn plan(&self) -> Result<Option<Plan>, DnsConfigError> {
        let wrong = |text: &str| DnsConfigError(format!("update.{text}"));
        if self.server.is_empty() {
            if *self != Self::default() {
                return Err(wrong("server: name the server that has the zone, such as \"192.0.2.53:53\""));
            }
            return Ok(None);
        }
        if self.server.len() > MAX_SERVERS {
            return Err(wrong("server: at most 8; the first that answers is told, and tells its secondaries"));
        }
        if self.server.iter().any(|server| server.ip().is_unspecified() || server.port() == 0) {
            return Err(wrong("server: write an address that can be reached, such as \"192.0.2.53:53\""));
        }
        if self.zone.is_empty() {
            return Err(wrong("zone: name the zone as the server has it, such as \"example.org\""));
        }
        let zone = parse_name(&self.zone, "update.zone")?;
        if self.names.is_empty() {
            return Err(wrong(
                "names: which names lead to the site? Such as [\"results.example.org\"]; \"@\" is the zone itself",
            ));
        }
        let within = |text: &String| {
            let full = if text == "@" { zone.clone() } else { parse_name(text, "update.names")? };
            if zone.zone_of(&full) {
                return Ok(full);
            }
            if text.ends_with('.') {
                return Err(wrong(&format!("names: `{text}` is not in the zone {zone}")));
            }
            parse_name(&format!("{text}.{zone}"), "update.names")
        };
        let names = self.names.iter().map(within).collect::<Result<_, _>>()?;
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.ttl.0) {
            return Err(wrong("ttl: from 1 s to 1 h: for so long visitors are led to a node that has failed"));
        }
        let key = self.key.clone();
        let key = key.ok_or(wrong("key: name the file of the key, into which goes what `tsig-keygen NAME` prints"))?;
        let ttl = u32::try_from(self.ttl.0.as_secs()).unwrap_or(u32::MAX);
        Ok(Some(Plan { servers: self.server.clone(), zone, names, ttl, key }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "server = \"192.0.2.53:53\"\nzone = \"Example.org\"\nnames = [\"@\", \"www\", \"results.example.org\"]\nkey = \"k\"";

    fn plan(text: &str) -> Result<Option<Plan>, String> {
        let config: UpdateConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.plan().map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_those_of_the_zone() {
        let made = plan(FINE).unwrap().unwrap();
        assert_eq!(
            made.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["example.org.", "www.example.org.", "results.example.org."]
        );
        assert_eq!((made.zone.to_string(), made.ttl, made.servers.len()), ("example.org.".into(), 20, 1));
        let several = FINE.replace("\"192.0.2.53:53\"", "[\"192.0.2.53:53\", \"[2001:db8::53]:53\"]");
        assert_eq!(plan(&several).unwrap().unwrap().servers.len(), 2);
        assert_eq!(plan(""), Ok(None));
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, part) in [
            ("server = \"192.0.2.53:53\"", "", "name the server"),
            ("192.0.2.53:53", "192.0.2.53", "address and port"),
            ("\"192.0.2.53:53\"", "53", "or several"),
            ("192.0.2.53:53", "0.0.0.0:53", "can be reached"),
            ("Example.org", "", "name the zone"),
            ("Example.org", "a..b", "is no name"),
            ("\"@\", \"www\", \"results.example.org\"", "", "which names"),
            ("results.example.org", "results.example.net.", "not in the zone"),
            ("key = \"k\"", "", "tsig-keygen"),
            ("key = \"k\"", "key = \"k\"\nttl = \"2 h\"", "from 1 s"),
        ] {
            let said = plan(&FINE.replace(from, to)).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
    }
}

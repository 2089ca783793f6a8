//! DNS: which node a visitor is led to, decided by every node for itself, with no coordinator and nobody else.
//!
//! The zone of the site is delegated to nodes. [`roster`] is what follows from the view of the mesh: who may be answered, by
//! zones. [`places`] says where a client is. [`answer`] makes a response of both, and is pure; [`dnssec`] signs it; [`serve`]
//! has the sockets.
//! Where the zone lives on another server, [`update`] keeps the addresses in it right.
//!
//! Never an empty answer: if nobody seems fit, everybody is answered. No recursion, no transfer; responses fit a packet, and
//! their rate to any network is limited (RRL; those of more than 512 bytes count as several), so that nobody is flooded by way of
//! this.

pub mod answer;
pub mod cookie;
pub mod dnssec;
pub mod places;
pub mod roster;
pub mod serve;
pub mod update;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use difusor_proto::{Zone, units::Span};
use hickory_proto::rr::{Name, RData, rdata::CAA};
use serde::{Deserialize, Deserializer};

use self::{
    dnssec::{
        key::{MAX_KEYS, ZoneKey},
        signer::Signer,
    },
    update::UpdateConfig,
};

/// The `[dns]` table of the configuration. The same on all nodes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsConfig {
    /// UDP and TCP addresses; none if this node answers no DNS.
    pub bind: Vec<SocketAddr>,
    /// How resolvers reach them, if not there.
    pub at: Vec<SocketAddr>,
    /// The zone that is delegated to the nodes.
    pub zone: String,
    /// Names in it that lead to the site; `@` is the zone itself.
    pub names: Vec<String>,
    /// How long resolvers keep an answer.
    pub ttl: Span,
    /// Nodes in an answer, at most.
    pub answers: usize,
    /// Mailbox of whoever looks after the zone.
    pub contact: String,
    /// Who may issue certificates (RFC 8659): `issue letsencrypt.org`, `iodef mailto:…`.
    pub caa: Vec<String>,
    /// Which network is where: tables and GeoIP databases beside the configuration, the first that knows.
    #[serde(deserialize_with = "one_or_several")]
    pub places: Vec<PathBuf>,
    /// Where zones are: latitude and longitude, degrees.
    pub zones: BTreeMap<Zone, [f64; 2]>,
    /// Files of keys that the zone is signed with, beside the configuration, the same on all nodes: the first signs, all are
    /// published. None if it is not signed.
    pub dnssec: Vec<PathBuf>,
    /// Responses a second to one network (/24, /48) over UDP, before some are held back.
    pub rate: u64,
    /// Another server that is told.
    pub update: UpdateConfig,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            bind: Vec::new(),
            at: Vec::new(),
            zone: String::new(),
            names: vec!["@".into()],
            ttl: Span(Duration::from_secs(20)),
            answers: 3,
            contact: "hostmaster".into(),
            caa: Vec::new(),
            places: Vec::new(),
            dnssec: Vec::new(),
            zones: BTreeMap::new(),
            rate: 500,
            update: UpdateConfig::default(),
        }
    }
}

/// One value, or a list of them.
fn one_or_several<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "write one as \"…\", or several: [\"…\", \"…\"]")]
    enum Written<T> {
        One(T),
        Several(Vec<T>),
    }
    Ok(match Written::deserialize(from)? {
        Written::One(one) => vec![one],
        Written::Several(several) => several,
    })
}

/// What cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dns.{0}")]
pub struct DnsConfigError(String);

/// A name as it is written, with or without the dot at its end.
fn parse_name(text: &str, what: &str) -> Result<Name, DnsConfigError> {
    let absolute = format!("{}.", text.trim_end_matches('.'));
    let parsed = Name::from_ascii(&absolute).map(|name| name.to_lowercase());
    parsed.map_err(|error| DnsConfigError(format!("{what}: `{text}` is no name: {error}")))
}

/// The names of the zone, made ready.
#[derive(Debug, Clone)]
pub struct Names {
    /// The zone.
    pub apex: Name,
    /// Those that lead to the site.
    pub site: Vec<Name>,
    /// The mailbox, as a name.
    pub contact: Name,
    /// Who may issue certificates.
    pub caa: Vec<RData>,
}

impl DnsConfig {
    /// What signs the zone, with the keys that lie in a folder; `None` if it is not signed.
    ///
    /// # Errors
    /// Names the file, and says what to do.
    pub fn signer(&self, folder: &Path) -> anyhow::Result<Option<Signer>> {
        let Some(names) = self.names()? else { return Ok(None) };
        let read = |file: &PathBuf| {
            let file = folder.join(file);
            ZoneKey::read(&file).with_context(|| format!("dns.dnssec: {}", file.display()))
        };
        let keys = self.dnssec.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
        let is_twice = |(at, key): (usize, &ZoneKey)| keys.iter().skip(at + 1).any(|other| other.dnskey == key.dnskey);
        anyhow::ensure!(!keys.iter().enumerate().any(is_twice), "dns.dnssec: one key is there twice: name each once");
        Ok(Signer::new(names.apex, keys))
    }

    /// Refuses what cannot be meant; `None` if this node answers no DNS.
    ///
    /// # Errors
    /// [`DnsConfigError`], which says what to write.
    pub fn names(&self) -> Result<Option<Names>, DnsConfigError> {
        if self.bind.is_empty() {
            return Ok(None);
        }
        let wrong = |text: String| DnsConfigError(text);
        if self.zone.is_empty() {
            return Err(wrong(
                "zone: name the zone that is delegated to the nodes, such as \"results.example.org\"".into(),
            ));
        }
        let apex = parse_name(&self.zone, "zone")?;
        let within = |text: &String| match text.as_str() {
            "@" => Ok(apex.clone()),
            text => parse_name(&format!("{text}.{}", self.zone), "names"),
        };
        if self.names.is_empty() {
            return Err(wrong("names: which names lead to the site? \"@\" is the zone itself".into()));
        }
        if self.names.iter().any(|name| name.split('.').any(|label| label == "*")) {
            return Err(wrong("names: name each, `*` is not answered".into()));
        }
        if !(1..=16).contains(&self.answers) {
            return Err(wrong("answers: from 1 to 16, so that a response fits a packet".into()));
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.ttl.0) {
            return Err(wrong("ttl: from 1 s to 1 h: for so long visitors are led to a node that has failed".into()));
        }
        if self.rate == 0 {
            return Err(wrong("rate: more than nothing, or nobody is answered".into()));
        }
        if self.dnssec.len() > MAX_KEYS {
            return Err(wrong(format!(
                "dnssec: at most {MAX_KEYS} files of keys: take out those that are not needed any more"
            )));
        }
        for (zone, [latitude, longitude]) in &self.zones {
            if !(-90.0..=90.0).contains(latitude) || !(-180.0..=180.0).contains(longitude) {
                return Err(wrong(format!(
                    "zones.{zone}: latitude from -90 to 90 and longitude from -180 to 180, degrees"
                )));
            }
        }
        let caa = |text: &String| {
            let (tag, value) = text.split_once(' ').unwrap_or((text, ""));
            let value = value.trim();
            let is_fine = matches!(tag, "issue" | "issuewild" | "iodef")
                && (1..=255).contains(&value.len())
                && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if !is_fine {
                return Err(wrong(format!("caa: `{text}`: write `issue NAME`, `issuewild NAME` or `iodef URL`")));
            }
            // As it is written: an issuer's name has no dot at its end (RFC 8659 section 4.2).
            let mut record = CAA::new_issue(false, None, Vec::new());
            (record.tag, record.value) = (tag.to_owned(), value.as_bytes().to_vec());
            Ok(RData::CAA(record))
        };
        Ok(Some(Names {
            site: self.names.iter().map(within).collect::<Result<_, _>>()?,
            contact: parse_name(&format!("{}.{}", self.contact, self.zone), "contact")?,
            caa: self.caa.iter().map(caa).collect::<Result<_, _>>()?,
            apex,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        let fine = DnsConfig {
            bind: vec!["127.0.0.1:53".parse().unwrap()],
            zone: "Results.example.org".into(),
            names: vec!["@".into(), "www".into()],
            caa: vec!["issue letsencrypt.org".into(), "issuewild ;".into(), "iodef mailto:a@example.org".into()],
            ..DnsConfig::default()
        };
        let names = fine.names().unwrap().unwrap();
        assert_eq!(
            names.site.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["results.example.org.", "www.results.example.org."]
        );
        assert_eq!((names.contact.to_string(), names.caa.len()), ("hostmaster.results.example.org.".into(), 3));
        assert!(DnsConfig::default().names().unwrap().is_none());
        let wrong = |change: &dyn Fn(&mut DnsConfig)| {
            let mut config = fine.clone();
            change(&mut config);
            config.names().unwrap_err().to_string()
        };
        for (said, part) in [
            (wrong(&|config| config.zone = String::new()), "name the zone"),
            (wrong(&|config| config.zone = "a..b".into()), "is no name"),
            (wrong(&|config| config.names = vec![]), "which names"),
            (wrong(&|config| config.ttl = Span(Duration::ZERO)), "from 1 s"),
            (wrong(&|config| config.names = vec!["*".into()]), "name each"),
            (wrong(&|config| config.answers = 0), "from 1 to 16"),
            (wrong(&|config| config.rate = 0), "more than nothing"),
            (wrong(&|config| config.dnssec = vec!["key".into(); 4]), "at most 3"),
            (wrong(&|config| config.caa = vec!["allow everyone".into()]), "issuewild"),
            (wrong(&|config| config.zones = [("mx".parse().unwrap(), [91.0, 0.0])].into()), "latitude"),
        ] {
            assert!(said.starts_with("dns.") && said.contains(part), "{said}");
        }
    }
}

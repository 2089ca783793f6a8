//! The coordinator's configuration: one TOML file, validated before anything is bound.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::Context as _;
use difusor_proto::{tls::Congestion, units::Bytes, units::Span};
use serde::Deserialize;

use crate::{delta::Effort, replica::ReplicaConfig, rollout::When};

/// Everything that can be set. Missing keys have working defaults; unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// UDP address that nodes dial.
    pub mesh: SocketAddr,
    /// `host:port` of it as nodes reach it; goes into tokens.
    pub mesh_public: Vec<String>,
    /// TCP address of console and API. Keep it on the loopback, or behind a tunnel.
    pub api: SocketAddr,
    /// Who has to have staged a cut before it flips.
    pub flip: When,
    /// With `deadline`: how long a cut may take to be staged everywhere before a quorum is enough.
    pub flip_deadline: Span,
    /// Least time between the order to flip and its instant: it must reach every node and its disk.
    pub flip_lead: Span,
    /// The host of the site, by which flips are looked at from outside; none if nodes serve any.
    pub site: Option<String>,
    /// How long an invitation is good for.
    pub invitation: Span,
    /// How the sender reacts to loss on the way to the nodes.
    pub congestion: Congestion,
    /// How much is done for what goes over to the nodes.
    pub deltas: DeltasConfig,
    /// Bytes a second at which packs are read again; none if zero.
    pub scrub_rate: Bytes,
    /// From one reading of all packs to the next.
    pub scrub_every: Span,
    /// Free bytes on the disk below which the coordinator warns.
    pub low_space: Bytes,
    /// Memory for the plain bytes of the last cut, from which the next delta is made.
    pub base_memory: Bytes,
    /// Cuts from one that is kept as it came to the next; those between are kept by what changed in them.
    pub keyframe_every: u64,
    /// The newest cuts, which are kept as they came.
    pub verbatim_cuts: usize,
    /// Where the archive is copied to.
    pub replica: Option<ReplicaConfig>,
}

/// How much is done for a delta.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeltasConfig {
    /// As each link asks for.
    #[default]
    Auto,
    /// Archives and small files are taken apart.
    Apart,
    /// They go over as they are.
    Whole,
}

impl DeltasConfig {
    /// What is the same for every link, if anything is.
    pub fn fixed(self) -> Option<Effort> {
        match self {
            Self::Auto => None,
            Self::Apart => Some(Effort::Apart),
            Self::Whole => Some(Effort::Whole),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mesh: SocketAddr::from(([0, 0, 0, 0], 8440)),
            mesh_public: vec!["localhost:8440".into()],
            api: SocketAddr::from(([127, 0, 0, 1], 8400)),
            flip: When::default(),
            flip_deadline: Span(Duration::from_secs(60)),
            flip_lead: Span(Duration::from_millis(100)),
            site: None,
            invitation: Span(Duration::from_secs(24 * 3600)),
            congestion: Congestion::default(),
            deltas: DeltasConfig::default(),
            scrub_rate: Bytes(8 << 20),
            scrub_every: Span(Duration::from_secs(6 * 3600)),
            low_space: Bytes(2 << 30),
            base_memory: Bytes(512 << 20),
            keyframe_every: 32,
            verbatim_cuts: 8,
            replica: None,
        }
    }
}

/// The file that `init` writes: the defaults, explained.
pub const TEMPLATE: &str = include_str!("coordinator.toml");

impl Config {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// Names the file, the line and what to write instead.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| {
            format!("reading {}: run `difusor-coordinator init`, or name another file with --config", path.display())
        })?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = toml::from_str(text)?;
        anyhow::ensure!(
            !config.mesh_public.is_empty(),
            "mesh_public: name at least one `host:port` that nodes can dial"
        );
        for address in &config.mesh_public {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            anyhow::ensure!(port.is_some(), "mesh_public: `{address}` is not `host:port`");
        }
        anyhow::ensure!(config.verbatim_cuts > 0, "verbatim_cuts: the newest package is what is served: at least 1");
        let second = Span(Duration::from_secs(1));
        anyhow::ensure!(config.flip_deadline >= second, "flip_deadline: at least 1 s, or no node has time to stage");
        anyhow::ensure!(config.flip_lead.0 <= Duration::from_secs(10), "flip_lead: at most 10 s");
        if let Some(site) = &config.site {
            let is_host = site.parse::<http::uri::Authority>().is_ok_and(|host| !host.as_str().contains('@'));
            anyhow::ensure!(
                is_host,
                "site: `{site}` is no host: write it as visitors do, such as `resultados.example.org`"
            );
        }
        if let Some(replica) = &config.replica {
            replica.validate()?;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_says_the_defaults() {
        assert_eq!(Config::parse(TEMPLATE).unwrap(), Config::default());
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("colour = 1", "colour"),
            ("mesh = \"here\"", "mesh"),
            ("flip = \"some\"", "quorum"),
            ("flip_deadline = 5", "flip_deadline"),
            ("flip_deadline = \"5\"", "ms, s, m, h, d"),
            ("mesh_public = [\"host\"]", "host:port"),
            ("mesh_public = []", "at least one"),
            ("deltas = \"none\"", "apart"),
            ("[replica]\nurl = \"ftp://x\"", "neither"),
            ("[replica]\nurl = \"s3://bucket\"\nkey = \"x\"", "key"),
            ("[replica]\nurl = \"s3://bucket\"\nverify = \"no\"", "read-back"),
        ] {
            let error = format!("{:#}", Config::parse(text).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }
}

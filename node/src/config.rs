//! The node's configuration: one TOML file, validated before anything is bound.

use std::{fs, net::SocketAddr, num::NonZero, path::Path, path::PathBuf, time::Duration};

use anyhow::Context as _;
use difusor_proto::{members::MAX_ADDRESSES, tls::Congestion, units::Bytes, units::Span};
use serde::Deserialize;

use crate::{
    admission::budgets::BudgetsConfig, dns::DnsConfig, http3::Http3Limits, kernel::KernelConfig, listener::Limits,
    observe::access::AccessConfig, policy::Policy, proxied::Trust, redirect::RedirectConfig,
};

/// Everything that can be set. Missing keys have working defaults; unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// TCP addresses of the public site.
    pub public: Vec<SocketAddr>,
    /// How the public reaches the node, if not at the addresses of `public`: for DNS, and for other nodes that ask it.
    pub public_at: Vec<SocketAddr>,
    /// UDP address for other nodes.
    pub peers: SocketAddr,
    /// How other nodes reach it, if not there.
    pub peers_at: Vec<SocketAddr>,
    /// Bytes a second that the node can send; nothing if that is not known.
    pub capacity: Bytes,
    /// TCP address of the node's own status.
    pub admin: SocketAddr,
    /// Certificate chain of the public site, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// Where to dial instead of the addresses in the token.
    pub coordinator: Vec<String>,
    /// Memory for applying patches.
    pub apply_memory: Bytes,
    /// Complete cuts kept on disk.
    pub keep_cuts: usize,
    /// Whether cuts are had from other nodes, and given to them.
    pub relay: bool,
    /// Whether packs of the whole archive are kept for the coordinator.
    pub archive: bool,
    /// Bytes a second at which packs are read again; none if zero.
    pub scrub_rate: Bytes,
    /// From one reading of all packs to the next.
    pub scrub_every: Span,
    /// Free bytes on the disk below which the node warns.
    pub low_space: Bytes,
    /// From saying that the node drains to letting nobody in any more.
    pub notice: Span,
    /// How long downloads under way may take at the end.
    pub drain: Span,
    /// How the sender reacts to loss.
    pub congestion: Congestion,
    /// Threads that serve the public; none is one for each core.
    pub workers: Option<NonZero<usize>>,
    /// Whether the public site speaks HTTP/3, on UDP at the same ports.
    pub http3: bool,
    /// Proxies whose word about visitors' addresses is taken.
    pub proxies: Trust,
    /// Whether these proxies begin each connection with the PROXY protocol.
    pub proxy_protocol: bool,
    /// What one client can cost.
    pub limits: LimitsConfig,
    /// What one source may ask for.
    pub admission: BudgetsConfig,
    /// Offenders that are given to the kernel.
    pub kernel: KernelConfig,
    /// What this node answers in DNS.
    pub dns: DnsConfig,
    /// The file of the operator's rules about requests, beside this one; none if it is not there.
    pub rules: PathBuf,
    /// What is decided about answers.
    pub site: Policy,
    /// Plain HTTP that leads to the site.
    pub redirect: RedirectConfig,
    /// The log of requests.
    pub log: AccessConfig,
}

/// Limits of the public listeners; see [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// TCP connections at once.
    pub connections: usize,
    /// QUIC connections at once.
    pub http3_connections: usize,
    /// From accept to the end of the handshake.
    pub handshake: Span,
    /// To the first request.
    pub head: Span,
    /// Without a request, or without any of an answer being taken.
    pub stall: Span,
    /// Bytes a second that a client has to take of what it asked for.
    pub slowest: Bytes,
    /// HTTP/2 requests at once on one connection.
    pub streams: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let Limits { connections, handshake, head, stall, slowest, streams, .. } = Limits::default();
        Self {
            connections,
            http3_connections: Http3Limits::default().connections,
            handshake: Span(handshake),
            head: Span(head),
            stall: Span(stall),
            slowest: Bytes(slowest),
            streams,
        }
    }
}

impl LimitsConfig {
    /// For TCP.
    pub fn limits(&self) -> Limits {
        let Self { connections, handshake, head, stall, slowest, streams, .. } = *self;
        Limits {
            connections,
            handshake: handshake.0,
            head: head.0,
            stall: stall.0,
            slowest: slowest.0,
            streams,
            ..Limits::default()
        }
    }

    /// For QUIC.
    pub fn http3(&self) -> Http3Limits {
        Http3Limits {
            connections: self.http3_connections,
            handshake: self.handshake.0,
            first_request: self.head.0,
            stall: self.stall.0,
            ..Http3Limits::default()
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public: vec![SocketAddr::from(([0, 0, 0, 0], 8443))],
            public_at: Vec::new(),
            peers: SocketAddr::from(([0, 0, 0, 0], 8445)),
            peers_at: Vec::new(),
            capacity: Bytes(0),
            admin: SocketAddr::from(([127, 0, 0, 1], 8401)),
            certificate: None,
            key: None,
            coordinator: Vec::new(),
            apply_memory: Bytes(160 << 20),
            keep_cuts: 12,
            relay: true,
            archive: false,
            scrub_rate: Bytes(8 << 20),
            scrub_every: Span(Duration::from_secs(6 * 3600)),
            low_space: Bytes(1 << 30),
            notice: Span(Duration::ZERO),
            drain: Span(Duration::from_secs(10)),
            congestion: Congestion::default(),
            workers: None,
            http3: true,
            proxies: Trust::default(),
            proxy_protocol: false,
            limits: LimitsConfig::default(),
            admission: BudgetsConfig::default(),
            kernel: KernelConfig::default(),
            dns: DnsConfig::default(),
            rules: PathBuf::from("rules.toml"),
            site: Policy::default(),
            redirect: RedirectConfig::default(),
            log: AccessConfig::default(),
        }
    }
}

/// The file that `join` writes: the defaults, explained.
pub const TEMPLATE: &str = include_str!("node.toml");

impl Config {
    /// Reads and validates a file; a missing one means the defaults.
    ///
    /// # Errors
    /// Names the file, the line and what to write instead.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).with_context(|| format!("in {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = toml::from_str(text)?;
        anyhow::ensure!(!config.public.is_empty(), "public: name at least one address to serve on");
        anyhow::ensure!(
            config.certificate.is_some() == config.key.is_some(),
            "certificate and key: set both, or neither"
        );
        for (name, addresses) in
            [("public_at", &config.public_at), ("peers_at", &config.peers_at), ("dns.at", &config.dns.at)]
        {
            anyhow::ensure!(addresses.len() <= MAX_ADDRESSES, "{name}: at most {MAX_ADDRESSES} addresses");
            let is_any = addresses.iter().any(|address| address.ip().is_unspecified() || address.port() == 0);
            anyhow::ensure!(!is_any, "{name}: write addresses that others can reach, such as \"192.0.2.7:443\"");
        }
        anyhow::ensure!(config.keep_cuts >= 2, "keep_cuts: at least 2, the one that is served and the next");
        anyhow::ensure!(
            !config.proxy_protocol || !config.proxies.networks.is_empty(),
            "proxy_protocol: list the proxies that speak it in `proxies`"
        );
        config.admission.check()?;
        config.kernel.check()?;
        config.dns.names()?;
        config.dns.update.plan()?;
        config.site.check().map_err(anyhow::Error::msg)?;
        anyhow::ensure!(config.apply_memory.0 >= 16 << 20, "apply_memory: at least 16 MiB");
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
            ("public = []", "public"),
            ("certificate = \"x\"", "set both"),
            ("keep_cuts = 1", "keep_cuts"),
            ("apply_memory = \"1 MiB\"", "apply_memory"),
            ("drain = \"10\"", "ms, s, m, h, d"),
            ("public_at = [\"0.0.0.0:443\"]", "public_at: write addresses"),
            ("peers = \"here\"", "peers"),
            ("kernel.table = \"filter\"", "kernel.table"),
            ("admission.requests = { a_second = 0, at_once = 1 }", "more than nothing"),
        ] {
            let error = format!("{:#}", Config::parse(text).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }
}

//! The servers to compare with, as someone who knows them would set them up for one core: files on disk with their
//! gzip forms, TLS 1.3 alone, connections that are kept, nothing logged for a request.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::identity::Identity;

/// What a peer's configuration depends on.
pub(crate) struct Setup<'a> {
    /// A folder of its own, for configuration, logs and whatever it writes.
    pub(crate) dir: &'a Path,
    /// What it serves.
    pub(crate) root: &'a Path,
    pub(crate) identity: &'a Identity,
    pub(crate) address: SocketAddr,
    /// Connections that it must be able to hold.
    pub(crate) connections: u64,
    /// It may not give its rights up: the folder is this user's alone.
    pub(crate) as_root: bool,
    /// Makes a configuration for another purpose than a comparison.
    pub(crate) config: Option<Make>,
}

/// Writes a configuration.
pub(crate) type Make = fn(&Setup<'_>) -> String;

/// A server of someone else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    H2o,
    Caddy,
}

impl Kind {
    /// Its program, and the Debian package of it.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::H2o => "h2o",
            Self::Caddy => "caddy",
        }
    }

    /// What makes it tell its version.
    pub(crate) fn version_flag(self) -> &'static str {
        match self {
            Self::Nginx | Self::H2o => "-v",
            Self::Caddy => "version",
        }
    }

    /// Writes its configuration; returns the arguments to start it with.
    pub(crate) fn configure(self, setup: &Setup<'_>) -> anyhow::Result<Vec<String>> {
        let dir = setup.dir.display();
        let (name, text, args) = match self {
            Self::Nginx => {
                ("nginx.conf", nginx(setup), vec!["-p".into(), dir.to_string(), "-c".into(), "nginx.conf".into()])
            }
            Self::H2o => ("h2o.conf", h2o(setup), vec!["-c".into(), format!("{dir}/h2o.conf")]),
            Self::Caddy => {
                let file = format!("{dir}/Caddyfile");
                let words = ["run", "--adapter", "caddyfile", "--config"].map(str::to_owned);
                ("Caddyfile", caddy(setup), words.into_iter().chain([file]).collect())
            }
        };
        let text = setup.config.map_or(text, |make| make(setup));
        fs::write(setup.dir.join(name), text)?;
        Ok(args)
    }

    /// Environment of its process.
    pub(crate) fn environment(self, dir: &Path) -> Vec<(&'static str, String)> {
        let dir = dir.display().to_string();
        match self {
            Self::Nginx | Self::H2o => Vec::new(),
            Self::Caddy => {
                let folders = ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"].map(|name| (name, dir.clone()));
                folders.into_iter().chain([("GOMAXPROCS", "1".to_owned())]).collect()
            }
        }
    }
}

/// One worker. Files stay open and are read in large pieces; TLS in the kernel where there is such a thing, so that
/// `sendfile` works for HTTP/1.
fn nginx(setup: &Setup<'_>) -> String {
    let Setup { root, identity, address, connections, .. } = setup;
    let (root, certificate, key) = (root.display(), identity.certificate.display(), identity.key.display());
    let user = if setup.as_root { "user root;\n" } else { "" };
    let kernel = if has_kernel_tls() { "ssl_conf_command Options KTLS;\n" } else { "" };
    format!(
        "{user}daemon off;
pid nginx.pid;
error_log error.log warn;
worker_processes 1;
worker_rlimit_nofile {files};
events {{
    worker_connections {connections};
    multi_accept on;
}}
http {{
    types {{ text/html html; application/json json; application/zip zip; }}
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    output_buffers 2 512k;
    open_file_cache max=1000 inactive=1h;
    open_file_cache_valid 1h;
    open_file_cache_min_uses 1;
    gzip_static on;
    keepalive_timeout 10m;
    keepalive_requests 1000000000;
    http2_max_concurrent_streams 128;
    http2_chunk_size 16k;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    ssl_session_tickets on;
    {kernel}client_body_temp_path tmp-body;
    proxy_temp_path tmp-proxy;
    fastcgi_temp_path tmp-fastcgi;
    uwsgi_temp_path tmp-uwsgi;
    scgi_temp_path tmp-scgi;
    server {{
        listen {address} ssl http2 backlog=4096;
        root {root};
    }}
}}
",
        files = connections + 64,
    )
}

/// One thread. It chooses TLS 1.3 when clients offer it.
fn h2o(setup: &Setup<'_>) -> String {
    let Setup { dir, root, identity, address, connections, .. } = setup;
    let (dir, root) = (dir.display(), root.display());
    let (certificate, key) = (identity.certificate.display(), identity.key.display());
    let user = if setup.as_root { "user: root\n" } else { "" };
    format!(
        "{user}num-threads: 1
max-connections: {connections}
pid-file: {dir}/h2o.pid
error-log: {dir}/error.log
http1-request-timeout: 600
http2-idle-timeout: 600
http2-max-concurrent-requests-per-connection: 128
http2-reprioritize-blocking-assets: ON
file.send-compressed: ON
file.etag: ON
ssl-session-resumption:
  mode: all
hosts:
  default:
    listen:
      host: {host}
      port: {port}
      ssl:
        certificate-file: {certificate}
        key-file: {key}
        minimum-version: TLSv1.2
        cipher-preference: client
        ocsp-update-interval: 0
        neverbleed: OFF
    paths:
      /:
        file.dir: {root}
",
        host = address.ip(),
        port = address.port(),
    )
}

fn caddy(setup: &Setup<'_>) -> String {
    let Setup { dir, root, identity, address, .. } = setup;
    let (dir, root) = (dir.display(), root.display());
    let (certificate, key) = (identity.certificate.display(), identity.key.display());
    format!(
        "{{
    admin off
    auto_https off
    storage file_system {dir}
    log {{
        output discard
    }}
    servers {{
        protocols h1 h2 h3
    }}
}}
https://localhost:{port} {{
    bind {host}
    tls {certificate} {key} {{
        protocols tls1.3
    }}
    root * {root}
    file_server {{
        precompressed gzip
    }}
}}
",
        host = address.ip(),
        port = address.port(),
    )
}

fn has_kernel_tls() -> bool {
    let known = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
    known.split_whitespace().any(|name| name == "tls")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_stays_in_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::new(dir.path()).unwrap();
        for kind in [Kind::Nginx, Kind::H2o, Kind::Caddy] {
            let setup = Setup {
                dir: dir.path(),
                root: dir.path(),
                identity: &identity,
                address: ([127, 0, 0, 1], 9443).into(),
                connections: 9000,
                config: None,
                as_root: true,
            };
            let args = kind.configure(&setup).unwrap();
            let text = fs::read_to_string(dir.path().join(args.last().unwrap())).unwrap();
            assert!(text.contains("9443") && text.contains("site.pem") && text.contains("site.key"), "{text}");
            assert!(!text.contains("/var/") && !text.contains("/etc/"), "{text}");
            for (_, value) in kind.environment(dir.path()) {
                assert!(value == "1" || Path::new(&value) == dir.path());
            }
        }
    }
}

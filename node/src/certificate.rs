//! The public certificate of the site, and the TLS that it is shown over.
//!
//! TLS 1.2 and 1.3 (the call's clause II.a.iii.1) for HTTP/2 and HTTP/1.1, TLS 1.3 for HTTP/3. [`Certificates`] holds
//! both, and replaces the certificate under them while connections go on: what was negotiated stays, the next
//! handshake shows the new one, and tickets of before still resume. Errors name the file at fault, for whoever reads
//! them at night.
//!
//! It refuses to show a pair that does not belong together, and never refuses to go on with the one it has.

mod files;
mod validity;
mod watch;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use difusor_proto::tls::provider;
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs::Ticketer,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem};

use self::files::{Files, Material};
pub use self::validity::Validity;

/// HTTP/2 over TLS (RFC 9113 section 3.3).
pub(crate) const H2: &[u8] = b"h2";

/// HTTP/1.1 over TLS (RFC 7301 section 6).
pub(crate) const HTTP11: &[u8] = b"http/1.1";

/// HTTP/3 over QUIC (RFC 9114 section 3.1).
pub(crate) const H3: &[u8] = b"h3";

/// What a client gets to resume with. One is enough: a visitor needs one connection, and whoever resumes gets another.
/// Each more costs an encryption and some hundred bytes in every handshake.
const TICKETS: usize = 1;

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// A file looks like PEM and is none.
    #[error("{path}: not valid PEM: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A file holds something else.
    #[error("{path}: holds no {what}")]
    Absent {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Certificate and key cannot be used, or not together.
    #[error("certificate {chain} with key {key}: {source}")]
    Unfit {
        /// The file of the certificate.
        chain: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What TLS said.
        source: rustls::Error,
    },
}

impl CertificateError {
    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Read { .. } => "put the file there, readable for the user that this process runs as",
            Self::Pem { .. } => "the file is damaged or half written: write it again",
            Self::Absent { .. } => "the chain goes into `certificate`, leaf first, and its private key into `key`",
            Self::Unfit { .. } => "use the key that the first certificate of the chain was issued for",
        }
    }
}

/// What [`Certificates::reload`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// Another pair, which is shown from now on.
    Changed,
    /// The pair that is shown already.
    Same,
}

/// The certificate of the site, from two files that may change, and TLS that always shows the latest good pair.
#[derive(Debug)]
pub struct Certificates {
    files: Files,
    shown: Arc<Shown>,
    tcp: Arc<ServerConfig>,
    quic: Arc<ServerConfig>,
}

/// The pair that handshakes show: read by all of them, without a lock.
#[derive(Debug)]
struct Shown(ArcSwap<Pair>);

#[derive(Debug)]
struct Pair {
    key: Arc<CertifiedKey>,
    validity: Option<Validity>,
    content: blake3::Hash,
}

impl Certificates {
    /// Reads a certificate chain, leaf first, and its private key, each PEM or DER, and makes TLS of them.
    ///
    /// # Errors
    /// [`CertificateError`], naming the file.
    pub fn load(chain: &Path, key: &Path) -> Result<Arc<Self>, CertificateError> {
        let files = Files { chain: chain.into(), key: key.into() };
        let pair = Pair::new(&files, &files.read()?)?;
        let shown = Arc::new(Shown(ArcSwap::from_pointee(pair)));
        let config = |versions: &[_], alpn: &[_]| {
            let resolver = Arc::clone(&shown) as Arc<dyn ResolvesServerCert>;
            configuration(resolver, versions, alpn).map_err(|source| files.unfit(source))
        };
        let tcp = config(&[&TLS13, &TLS12], &[H2, HTTP11])?;
        let quic = config(&[&TLS13], &[H3])?;
        Ok(Arc::new(Self { files, shown, tcp, quic }))
    }

    /// TLS for TCP: one for all listeners, and the same after every reload.
    pub fn tcp_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tcp)
    }

    /// TLS for QUIC, likewise. It accepts no early data, which anyone could send again (RFC 9001 section 9.2).
    pub fn quic_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.quic)
    }

    /// Reads the files again, and shows what they hold if that is a usable pair.
    ///
    /// # Errors
    /// [`CertificateError`]; what was shown goes on being shown.
    pub fn reload(&self) -> Result<Reloaded, CertificateError> {
        self.show(&self.files.read()?)
    }

    /// When the certificate that is shown begins and ends to be valid; `None` if it does not say so legibly.
    pub fn validity(&self) -> Option<Validity> {
        self.shown.0.load().validity
    }

    /// When the certificate that is shown expires.
    pub fn expires(&self) -> Option<SystemTime> {
        self.validity().map(|validity| validity.until)
    }

    fn show(&self, material: &Material) -> Result<Reloaded, CertificateError> {
        if material.content() == self.content() {
            return Ok(Reloaded::Same);
        }
        self.shown.0.store(Arc::new(Pair::new(&self.files, material)?));
        Ok(Reloaded::Changed)
    }

    fn content(&self) -> blake3::Hash {
        self.shown.0.load().content
    }
}

impl Pair {
    /// Refuses a key that is not the leaf's. Whether it is time for the certificate is the client's question: a
    /// stopped clock here must not take the site away.
    fn new(files: &Files, material: &Material) -> Result<Self, CertificateError> {
        let (chain, key) = material.parse(files)?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|source| files.unfit(source))?;
        let validity = key.cert.first().and_then(|leaf| Validity::of(leaf));
        Ok(Self { key: Arc::new(key), validity, content: material.content() })
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().key))
    }
}

/// Reads a certificate chain, leaf first, and its private key, each PEM or DER, and makes TLS of them.
///
/// # Errors
/// [`CertificateError`], naming the file.
pub fn tls_config_from_files(chain: &Path, key: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    Ok(Certificates::load(chain, key)?.tcp_config())
}

/// The public listener's TLS, with a certificate that stays.
///
/// # Errors
/// If certificate and key cannot be used, or not together.
pub fn tls_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let key = CertifiedKey::from_der(chain, key, &provider())?;
    configuration(Arc::new(SingleCertAndKey::from(key)), &[&TLS13, &TLS12], &[H2, HTTP11])
}

fn configuration(
    resolver: Arc<dyn ResolvesServerCert>,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    // Tickets that the client keeps: resumption saves a signature, and costs no memory here however many visitors.
    config.ticketer = Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;

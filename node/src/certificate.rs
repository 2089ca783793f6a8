//! The public certificate of the site, and the TLS that it is shown over.
//!
//! TLS 1.2 and 1.3 (the call's clause II.a.iii.1), HTTP/2 and HTTP/1.1. Errors name the file at fault, for whoever
//! reads them at night.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use difusor_proto::tls::provider;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _};

/// HTTP/2 over TLS (RFC 9113 section 3.3).
pub(crate) const H2: &[u8] = b"h2";

/// HTTP/1.1 over TLS (RFC 7301 section 6).
pub(crate) const HTTP11: &[u8] = b"http/1.1";

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

/// Reads a certificate chain, leaf first, and its private key, each PEM or DER, and makes TLS of them.
///
/// # Errors
/// [`CertificateError`], naming the file.
pub fn tls_config_from_files(chain: &Path, key: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let certificates = read_chain(chain)?;
    let private = read_key(key)?;
    let unfit = |source| CertificateError::Unfit { chain: chain.into(), key: key.into(), source };
    tls_config(certificates, private).map_err(unfit)
}

/// The public listener's TLS.
///
/// # Errors
/// If certificate and key cannot be used, or not together.
pub fn tls_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![H2.to_vec(), HTTP11.to_vec()];
    // Tickets that the client keeps: resumption saves a signature, and costs no memory here however many visitors.
    config.ticketer = Ticketer::new()?;
    Ok(Arc::new(config))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let bytes = read(path)?;
    if !is_pem(&bytes) {
        return Ok(vec![bytes.into()]);
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|source| CertificateError::Pem { path: path.into(), source })?;
    if chain.is_empty() {
        return Err(CertificateError::Absent { path: path.into(), what: "certificate" });
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let absent = || CertificateError::Absent { path: path.into(), what: "private key" };
    let bytes = read(path)?;
    if !is_pem(&bytes) {
        return PrivateKeyDer::try_from(bytes).map_err(|_| absent());
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => absent(),
        source => CertificateError::Pem { path: path.into(), source },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|source| CertificateError::Read { path: path.into(), source })
}

/// PEM is text with a marker somewhere (RFC 7468 permits text before it); DER begins with the byte of a sequence.
fn is_pem(bytes: &[u8]) -> bool {
    bytes.first() != Some(&0x30)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn reads_pem_and_der_and_names_the_file_at_fault() {
        let dir = TempDir::new().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let chain = write("chain.pem", format!("A comment.\n{}{}", made.cert.pem(), other.cert.pem()).as_bytes());
        let key = write("key.pem", made.signing_key.serialize_pem().as_bytes());
        let chain_der = write("chain.der", made.cert.der());
        let key_der = write("key.der", made.signing_key.serialized_der());
        for (chain, key) in [(&chain, &key), (&chain_der, &key_der), (&chain, &key_der)] {
            let config = tls_config_from_files(chain, key).unwrap();
            assert_eq!(config.alpn_protocols, [H2, HTTP11]);
            assert!(config.ticketer.enabled());
        }
        assert_eq!(read_chain(&chain).unwrap().len(), 2);

        let message = |chain: &Path, key: &Path| tls_config_from_files(chain, key).unwrap_err().to_string();
        let foreign = write("other.pem", other.signing_key.serialize_pem().as_bytes());
        let empty = write("empty.pem", b"");
        let torn = write("torn.pem", b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
        let nowhere = dir.path().join("nowhere.pem");
        assert!(message(&chain, &foreign).contains("other.pem"));
        assert!(message(&empty, &key).contains("empty.pem: holds no certificate"));
        assert!(message(&chain, &chain).contains("chain.pem: holds no private key"));
        assert!(message(&chain, &chain_der).contains("chain.der: holds no private key"));
        assert!(message(&torn, &key).contains("torn.pem: not valid PEM"));
        assert!(message(&nowhere, &key).contains("nowhere.pem"));
    }
}

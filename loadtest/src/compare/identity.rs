//! One certificate and key for all servers, and what the clients offer.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// How all servers are called.
pub(crate) const HOST: &str = "localhost";

/// An ECDSA P-256 certificate that is its own authority, in files as servers want them.
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    der: CertificateDer<'static>,
}

impl Identity {
    /// Makes one in `dir`.
    pub(crate) fn new(dir: &Path) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let made = CertificateParams::new(vec![HOST.to_owned()])?.self_signed(&key)?;
        let identity = Self { certificate: dir.join("site.pem"), key: dir.join("site.key"), der: made.der().clone() };
        fs::write(&identity.certificate, made.pem()).context("writing the certificate")?;
        fs::write(&identity.key, key.serialize_pem()).context("writing its key")?;
        Ok(identity)
    }

    /// For a client that verifies what it is shown.
    pub(crate) fn verifying(&self) -> anyhow::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone())?;
        Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
    }
}

/// Whether a client comes back with the ticket that it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tickets {
    Used,
    Ignored,
}

/// For a client that loads a server: it offers what browsers prefer (TLS 1.3, AES-128-GCM, X25519) and nothing else,
/// so that all servers do the same work, and verifies nothing, because its core must not be the one that is short of
/// time. Who is being talked to is checked before.
pub(crate) fn loading(protocol: &[u8], tickets: Tickets) -> anyhow::Result<ClientConfig> {
    let mut config =
        builder()?.dangerous().with_custom_certificate_verifier(Arc::new(Unverified)).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    config.enable_secret_extraction = true;
    config.resumption = match tickets {
        Tickets::Used => Resumption::in_memory_sessions(8).tls12_resumption(Tls12Resumption::Disabled),
        Tickets::Ignored => Resumption::disabled(),
    };
    Ok(config)
}

/// How all servers are called, for TLS.
pub(crate) fn server_name() -> anyhow::Result<ServerName<'static>> {
    Ok(ServerName::try_from(HOST)?)
}

fn builder() -> anyhow::Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    let provider = CryptoProvider {
        cipher_suites: vec![provider::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![provider::kx_group::X25519],
        ..provider::default_provider()
    };
    Ok(ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&rustls::version::TLS13])?)
}

#[derive(Debug)]
struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[cfg(test)]
impl Identity {
    /// For a server of a test.
    pub(crate) fn serving(&self, protocol: &[u8]) -> rustls::ServerConfig {
        use rustls_pki_types::PrivateKeyDer;
        use rustls_pki_types::pem::PemObject as _;

        let key = PrivateKeyDer::from_pem_file(&self.key).unwrap();
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(provider::default_provider()));
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(vec![self.der.clone()], key).unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        config.send_half_rtt_data = true;
        config
    }
}

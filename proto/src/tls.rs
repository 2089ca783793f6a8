//! Connections inside the mesh: QUIC with mutual TLS 1.3, and the transport parameters both ends use.
//!
//! One provider (aws-lc-rs), one authority (the mesh's own), two kinds of certificates: the coordinator's may only act
//! as a server, a node's only as a client, so a stolen node key cannot play the coordinator. Nodes take each other's
//! certificates on both sides.

use std::{str::FromStr, sync::Arc, time::Duration};

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::{
    DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use serde::{Deserialize, Serialize};

use crate::{
    Digest,
    peer::{ALPN_PEER, ALPN_RELAY, MAX_DATAGRAM},
    wire::{ALPN_ENROL, ALPN_MESH, ALPN_MESH_BEFORE},
};

/// The name in the coordinator's mesh certificate. It is no DNS name: who the coordinator is, the authority says.
pub const COORDINATOR_NAME: &str = "coordinator.difusor.internal";

/// A live connection sends something at least this often, so that NATs keep it open.
const KEEP_ALIVE: Duration = Duration::from_millis(2500);

/// A connection without a sign of life for this long is dead. A node that was killed holds a flip back for as long; one
/// that was only starved connects again and has lost nothing.
const IDLE: Duration = Duration::from_secs(10);

/// Bytes in flight, and so memory for what came and was not read yet: 300 Mbit/s at the longest round trip reckoned with
/// (200 ms), six times the link that the call asks for.
const WINDOW: u32 = 8 << 20;

/// How the sender reacts to loss. See the decisions table for the measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Congestion {
    /// Model-based: keeps its rate under random loss on long paths.
    #[default]
    Bbr,
    /// Loss-based (RFC 9438).
    Cubic,
    /// Loss-based (RFC 9002 section 7).
    NewReno,
}

impl FromStr for Congestion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "bbr" => Ok(Self::Bbr),
            "cubic" => Ok(Self::Cubic),
            "newreno" => Ok(Self::NewReno),
            _ => Err("expected bbr, cubic or newreno"),
        }
    }
}

/// Why a TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key that TLS cannot use.
    #[error("certificate or key: {0}")]
    Rustls(#[from] rustls::Error),
    /// The authority's certificate cannot verify others.
    #[error("authority: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// No cipher suite for QUIC.
    #[error("no cipher suite for QUIC: {0}")]
    Suite(#[from] NoInitialCipherSuite),
}

/// A certificate with its key, as the mesh uses them.
#[derive(Clone)]
pub struct Identity {
    /// The authority's certificate, DER.
    pub authority: Vec<u8>,
    /// Our certificate, DER.
    pub certificate: Vec<u8>,
    /// Its private key, PKCS#8 DER.
    pub key: Vec<u8>,
}

impl Identity {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone().into(), self.authority.clone().into()]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone().into())?;
        Ok(Arc::new(roots))
    }
}

/// The one provider of cryptography.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The coordinator's side. Certificates of other authorities are refused in the handshake; a peer without one is let
/// through to be told so, or to enrol: the caller checks `peer_identity` and the ALPN.
///
/// # Errors
/// [`TlsError`] if the identity cannot be used.
pub fn server(identity: &Identity, congestion: Congestion) -> Result<quinn::ServerConfig, TlsError> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(identity.roots()?, provider()).allow_unauthenticated().build()?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain(), identity.key())?;
    tls.alpn_protocols = vec![ALPN_MESH.to_vec(), ALPN_MESH_BEFORE.to_vec(), ALPN_ENROL.to_vec()];
    // Early data could be played again by whoever recorded it, and nothing here needs it.
    tls.max_early_data_size = 0;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport(congestion)));
    Ok(config)
}

/// A node's side, once enrolled.
///
/// # Errors
/// [`TlsError`] if the identity cannot be used.
pub fn client(identity: &Identity, congestion: Congestion) -> Result<quinn::ClientConfig, TlsError> {
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(identity.roots()?)
        .with_client_auth_cert(identity.chain(), identity.key())?;
    tls.alpn_protocols = vec![ALPN_MESH.to_vec(), ALPN_MESH_BEFORE.to_vec()];
    dial(tls, congestion)
}

/// Connections between nodes.
#[derive(Clone)]
pub struct Peers {
    /// The side that is dialled, for all of them.
    pub server: quinn::ServerConfig,
    /// The side that dials, to tell and to hear news.
    pub news: quinn::ClientConfig,
    /// The side that dials to have a cut.
    pub relay: quinn::ClientConfig,
}

/// Both sides of connections between nodes. Each shows its node's certificate, and takes any of the mesh authority: the
/// caller compares it with the list of members.
///
/// # Errors
/// [`TlsError`] if the identity cannot be used.
pub fn peers(identity: &Identity) -> Result<Peers, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(identity.roots()?, provider()).build()?;
    let mut server = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::clone(&verifier))
        .with_single_cert(identity.chain(), identity.key())?;
    server.alpn_protocols = vec![ALPN_PEER.to_vec(), ALPN_RELAY.to_vec()];
    server.max_early_data_size = 0;
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Peer(verifier)))
        .with_client_auth_cert(identity.chain(), identity.key())?;
    let dial = |alpn: &[u8], transport: quinn::TransportConfig| {
        let mut tls = client.clone();
        tls.alpn_protocols = vec![alpn.to_vec()];
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(Arc::new(transport));
        Ok::<_, TlsError>(config)
    };
    let (news, relay) = (dial(ALPN_PEER, between_peers())?, dial(ALPN_RELAY, to_relay())?);
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
    server.transport_config(Arc::new(between_peers()));
    Ok(Peers { server, news, relay })
}

/// Transport parameters of whoever has a cut from another node: it opens the streams.
fn to_relay() -> quinn::TransportConfig {
    let mut transport = transport(Congestion::default());
    transport.max_concurrent_bidi_streams(0_u32.into()).max_concurrent_uni_streams(0_u32.into());
    transport
}

/// Transport parameters of a connection between nodes, which mostly brings datagrams. A connection that nobody uses ends: in
/// a large mesh, everyone talks to everyone now and then.
fn between_peers() -> quinn::TransportConfig {
    let mut transport = transport(Congestion::default());
    transport
        .keep_alive_interval(None)
        // Nobody opens streams here, until it is known to be a node that asks for cuts.
        .max_concurrent_bidi_streams(0_u32.into())
        .max_concurrent_uni_streams(0_u32.into())
        .receive_window((64_u32 << 10).into())
        .datagram_receive_buffer_size(Some(64 * MAX_DATAGRAM))
        .datagram_send_buffer_size(64 * MAX_DATAGRAM);
    transport
}

/// A machine's side before it is a node: the server must show the authority that the token names.
///
/// # Errors
/// [`TlsError`].
pub fn enrolling(authority: Digest) -> Result<quinn::ClientConfig, TlsError> {
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned(authority)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_ENROL.to_vec()];
    dial(tls, Congestion::default())
}

/// For whoever asks a node over its public address, and believes nothing of what it says, or compares it by digest: any
/// certificate whose key signs is taken.
///
/// # Errors
/// If TLS cannot be configured.
pub fn unverified() -> Result<rustls::ClientConfig, rustls::Error> {
    let builder = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth())
}

fn dial(tls: rustls::ClientConfig, congestion: Congestion) -> Result<quinn::ClientConfig, TlsError> {
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport(congestion)));
    Ok(config)
}

/// Transport parameters of every mesh connection.
pub fn transport(congestion: Congestion) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(quinn::IdleTimeout::try_from(IDLE).ok())
        .stream_receive_window(WINDOW.into())
        .receive_window(WINDOW.into())
        .send_window(WINDOW.into())
        // One control stream, and the deltas under way: never many.
        .max_concurrent_bidi_streams(4_u32.into())
        .max_concurrent_uni_streams(16_u32.into())
        .datagram_receive_buffer_size(None);
    match congestion {
        Congestion::Bbr => transport.congestion_controller_factory(Arc::new(quinn::congestion::BbrConfig::default())),
        Congestion::Cubic => {
            transport.congestion_controller_factory(Arc::new(quinn::congestion::CubicConfig::default()))
        }
        Congestion::NewReno => {
            transport.congestion_controller_factory(Arc::new(quinn::congestion::NewRenoConfig::default()))
        }
    };
    transport
}

/// Accepts another node as a server, by the rules for nodes as clients: their certificates are for nothing else, so that
/// none can play the coordinator.
#[derive(Debug)]
struct Peer(Arc<dyn ClientCertVerifier>);

impl ServerCertVerifier for Peer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.verify_client_cert(end_entity, intermediates, now).map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Accepts any server.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
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
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts a server whose chain holds the authority with this fingerprint and verifies under it.
#[derive(Debug)]
struct Pinned(Digest);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let authority = intermediates.iter().find(|der| Digest::of(der) == self.0).ok_or_else(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|_| unknown())?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken inside the mesh".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

//! Opening connections: with a full handshake, which shows the certificate, or a resumed one; and with small windows
//! for who reads slowly.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use difusor_local::https;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quinn::{ClientConfig, Endpoint, TransportConfig, crypto::rustls::QuicClientConfig};
use rustls::{
    HandshakeKind,
    client::Resumption,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{net::TcpSocket, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Line, Protocol};
use crate::flips::certificates::HOST;

/// A handshake that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a slow reader lets come ahead.
const SLOW_WINDOW: u32 = 32 << 10;

/// How a connection is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    /// With a ticket of an earlier one, if there is any; over TCP alone, since QUIC does not tell.
    pub(crate) resume: bool,
    /// With small windows.
    pub(crate) slow: bool,
}

/// An open connection.
pub(crate) struct Opened {
    pub(crate) line: Line,
    /// The certificate that was shown, DER; `None` if the handshake was resumed.
    pub(crate) leaf: Option<Vec<u8>>,
}

/// Opens connections to one node.
pub(crate) struct Dialer {
    address: SocketAddr,
    authority: String,
    fresh: rustls::ClientConfig,
    resuming: rustls::ClientConfig,
    endpoint: Endpoint,
}

impl Dialer {
    /// For a node at `address`, whose certificates `authority` (DER) issues. Must run within a runtime.
    pub(crate) fn new(address: SocketAddr, authority: &[u8]) -> anyhow::Result<Self> {
        let resuming = https::trusting(authority)?;
        let mut fresh = resuming.clone();
        fresh.resumption = Resumption::disabled();
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).context("a socket for QUIC")?;
        Ok(Self { address, authority: format!("{HOST}:{}", address.port()), fresh, resuming, endpoint })
    }

    /// What requests name.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Opens a connection.
    pub(crate) async fn open(&self, protocol: Protocol, manner: Manner) -> anyhow::Result<Opened> {
        timeout(PATIENCE, self.dial(protocol, manner)).await.context("the handshake takes too long")?
    }

    async fn dial(&self, protocol: Protocol, Manner { resume, slow }: Manner) -> anyhow::Result<Opened> {
        // Clones share what they remember of earlier connections.
        let mut tls = if resume && protocol != Protocol::H3 { self.resuming.clone() } else { self.fresh.clone() };
        match protocol {
            Protocol::H1 => {
                tls.alpn_protocols = vec![b"http/1.1".to_vec()];
                let stream = self.tls(tls, slow).await?;
                let leaf = shown(&stream);
                let mut builder = http1::Builder::new();
                if slow {
                    builder.max_buf_size(SLOW_WINDOW as usize);
                }
                let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                Ok(Opened { line: Line::H1(sender), leaf })
            }
            Protocol::H2 => {
                tls.alpn_protocols = vec![b"h2".to_vec()];
                let stream = self.tls(tls, slow).await?;
                let leaf = shown(&stream);
                let mut builder = http2::Builder::new(TokioExecutor::new());
                if slow {
                    builder.initial_stream_window_size(SLOW_WINDOW).initial_connection_window_size(SLOW_WINDOW * 2);
                }
                let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                Ok(Opened { line: Line::H2(sender), leaf })
            }
            Protocol::H3 => {
                tls.alpn_protocols = vec![b"h3".to_vec()];
                self.quic(tls, slow).await
            }
        }
    }

    async fn tls(&self, tls: rustls::ClientConfig, slow: bool) -> anyhow::Result<TlsStream<tokio::net::TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        if slow {
            socket.set_recv_buffer_size(SLOW_WINDOW)?;
        }
        let tcp = socket.connect(self.address).await.context("connecting")?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::new(tls));
        connector.connect(ServerName::try_from(HOST)?, tcp).await.context("the TLS handshake")
    }

    async fn quic(&self, tls: rustls::ClientConfig, slow: bool) -> anyhow::Result<Opened> {
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_secs(5)));
        if slow {
            transport.stream_receive_window(SLOW_WINDOW.into());
        }
        config.transport_config(Arc::new(transport));
        let quic = self.endpoint.connect_with(config, self.address, HOST)?.await.context("the QUIC handshake")?;
        let chain = quic.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        let leaf = chain.and_then(|chain| chain.first().map(|leaf| leaf.to_vec()));
        let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(quic)).await?;
        tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        Ok(Opened { line: Line::H3(sender), leaf })
    }
}

/// The certificate of a full handshake.
fn shown(stream: &TlsStream<tokio::net::TcpStream>) -> Option<Vec<u8>> {
    let (_, tls) = stream.get_ref();
    let is_full = tls.handshake_kind() != Some(HandshakeKind::Resumed);
    tls.peer_certificates().filter(|_| is_full)?.first().map(|leaf| leaf.to_vec())
}

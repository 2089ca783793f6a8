//! Asks a node over its public address, as a visitor would: TCP, TLS, HTTP/1.1, and the bytes.
//!
//! Whose certificate it is does not matter here: its validity is looked at elsewhere, and what is asked for is compared
//! by its digest.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use difusor_proto::{Digest, tls};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::TlsConnector;

/// The longest file that is asked for: a page or a table, and no download.
pub const MOST: u64 = 256 << 10;

/// What is to be found.
#[derive(Debug, Clone)]
pub struct Question {
    /// Where.
    pub address: SocketAddr,
    /// The host of the site, as visitors name it.
    pub host: String,
    /// The path, percent-encoded.
    pub path: String,
    /// BLAKE3 of the bytes, if they are known.
    pub digest: Option<Digest>,
    /// True if the connection has to begin with the PROXY protocol.
    pub preamble: bool,
}

/// Why a node is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection.
    #[error("no connection: {0}")]
    Refused(String),
    /// No TLS, or the connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// It takes too long.
    #[error("no answer in {0:?}")]
    Silent(Duration),
    /// Not 200.
    #[error("status {0}")]
    Status(u16),
    /// Other bytes than there should be.
    #[error("other bytes than the cut has")]
    WrongBytes,
}

/// Asks; one for a process.
#[derive(Clone)]
pub struct Prober {
    tls: TlsConnector,
}

impl Prober {
    /// One that takes any certificate.
    ///
    /// # Errors
    /// If TLS cannot be configured.
    pub fn new() -> Result<Self, rustls::Error> {
        let mut tls = tls::unverified()?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Each time the whole way, as whoever comes new.
        tls.resumption = rustls::client::Resumption::disabled();
        Ok(Self { tls: TlsConnector::from(Arc::new(tls)) })
    }

    /// How long the answer took.
    ///
    /// # Errors
    /// [`Fault`], within `patience`.
    pub async fn ask(&self, question: &Question, patience: Duration) -> Result<Duration, Fault> {
        let begun = Instant::now();
        match tokio::time::timeout(patience, self.whole(question)).await {
            Ok(answered) => answered.map(|()| begun.elapsed()),
            Err(_) => Err(Fault::Silent(patience)),
        }
    }

    async fn whole(&self, question: &Question) -> Result<(), Fault> {
        let broken = |error: &dyn std::fmt::Display| Fault::Broken(error.to_string());
        let refused = |error: io::Error| Fault::Refused(error.to_string());
        let mut tcp = TcpStream::connect(question.address).await.map_err(refused)?;
        if question.preamble {
            // Nobody is spoken for.
            tcp.write_all(b"PROXY UNKNOWN\r\n").await.map_err(refused)?;
        }
        // Without a port, and an address without its brackets.
        let authority: http::uri::Authority = question.host.parse().map_err(|error| broken(&error))?;
        let name = authority.host().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(name).map_err(|error| broken(&error))?;
        let tls = self.tls.connect(name, tcp).await.map_err(|error| broken(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await.map_err(|error| broken(&error))?;
        let connection = tokio::spawn(connection);
        let request = Request::get(&question.path)
            .header(header::HOST, &question.host)
            .header(header::USER_AGENT, "difusor-health")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| broken(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = answer.status().as_u16();
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        let body = Limited::new(answer.into_body(), most).collect().await.map_err(|error| broken(&error))?;
        connection.abort();
        if status != 200 {
            return Err(Fault::Status(status));
        }
        match question.digest {
            Some(digest) if Digest::of(&body.to_bytes()) != digest => Err(Fault::WrongBytes),
            _ => Ok(()),
        }
    }
}

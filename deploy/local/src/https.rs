//! A browser's view of a node: HTTPS with real certificates, over a connection that is kept.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// No answer takes longer than this, but for a machine that is overwhelmed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which protocol to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

enum Sender {
    H1(http1::SendRequest<Empty<Bytes>>),
    H2(http2::SendRequest<Empty<Bytes>>),
}

/// One connection to a node.
pub struct Connection {
    sender: Sender,
    authority: String,
}

/// A client configuration that trusts one authority (DER).
///
/// # Errors
/// If the certificate is damaged.
pub fn trusting(authority: &[u8]) -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.to_vec().into())?;
    let builder = rustls::ClientConfig::builder_with_provider(difusor_proto::tls::provider());
    Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth())
}

impl Connection {
    /// Connects to `address` as `localhost`.
    ///
    /// # Errors
    /// If the node does not answer, or shows a certificate of another authority.
    pub async fn open(address: SocketAddr, mut tls: rustls::ClientConfig, protocol: Protocol) -> anyhow::Result<Self> {
        tls.alpn_protocols = vec![match protocol {
            Protocol::H1 => b"http/1.1".to_vec(),
            Protocol::H2 => b"h2".to_vec(),
        }];
        let connect = async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let stream = TlsConnector::from(Arc::new(tls)).connect(ServerName::try_from("localhost")?, tcp).await?;
            let io = TokioIo::new(stream);
            anyhow::Ok(match protocol {
                Protocol::H1 => {
                    let (sender, connection) = http1::handshake(io).await?;
                    tokio::spawn(connection);
                    Sender::H1(sender)
                }
                Protocol::H2 => {
                    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                    tokio::spawn(connection);
                    Sender::H2(sender)
                }
            })
        };
        let sender = tokio::time::timeout(PATIENCE, connect).await.context("connecting")??;
        Ok(Self { sender, authority: format!("localhost:{}", address.port()) })
    }

    /// Asks for `path`, which starts with `/` and is encoded already.
    ///
    /// # Errors
    /// If the connection broke.
    pub async fn request(&mut self, method: Method, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(method);
        request = match self.sender {
            Sender::H1(_) => request.uri(path).header(header::HOST, &self.authority),
            Sender::H2(_) => request.uri(format!("https://{}{path}", self.authority)),
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new())?;
        let exchange = async {
            let answer = match &mut self.sender {
                Sender::H1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
                Sender::H2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
            };
            let (parts, body) = answer.into_parts();
            anyhow::Ok(Answer { status: parts.status, headers: parts.headers, body: body.collect().await?.to_bytes() })
        };
        tokio::time::timeout(PATIENCE, exchange).await.with_context(|| format!("no answer for {path}"))?
    }

    /// Gets `path` plain.
    ///
    /// # Errors
    /// If the connection broke.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.request(Method::GET, path, &[]).await
    }

    /// The cut that is served, by the node's own word: its number and root. `None` before the first.
    ///
    /// # Errors
    /// If the connection broke, or the answer is none.
    pub async fn cut(&mut self) -> anyhow::Result<Option<(u64, String)>> {
        let answer = self.get("/.well-known/difusor/root").await?;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(None);
        }
        ensure!(answer.status == StatusCode::OK, "the node answered {}", answer.status);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let mut words = text.split_whitespace();
        let seq = words.next().and_then(|seq| seq.parse().ok());
        Ok(seq.zip(words.nth(1).map(str::to_owned)))
    }
}

/// A path as it stands in an address.
pub fn encode(path: &str) -> String {
    use std::fmt::Write as _;
    path.bytes().fold(String::from("/"), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

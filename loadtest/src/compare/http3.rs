//! HTTP/3 clients over quinn: one that reads answers whole, by h3, and one that keeps a number of streams busy and only
//! counts. QUIC is work for a client as well, so it spends more on an answer than the clients of the other protocols do.

pub(crate) mod frames;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use http::{HeaderMap, Request};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, EndpointConfig, SendStream, TokioRuntime, TransportConfig, VarInt};
use socket2::SockRef;
use tokio::time::timeout;

use super::identity;
use super::request::Exchange;
use super::tally::Tally;

/// On the loopback, a server that does not answer within this time does not speak the protocol.
const PATIENCE: Duration = Duration::from_secs(3);

/// So that the sockets lose nothing while the machine is busy.
const SOCKET_BUFFER: usize = 4 << 20;

/// What Chrome lets a server send ahead: on a stream, and on a connection.
const STREAM_WINDOW: u32 = 6 << 20;
const CONNECTION_WINDOW: u32 = 15 << 20;

/// A connection that reads answers whole.
pub(crate) struct Reader {
    requests: SendRequest<OpenStreams, Bytes>,
}

/// A connection that counts answers.
pub(crate) struct Connection {
    quic: quinn::Connection,
    /// The stream that a client keeps as long as its connection.
    _control: SendStream,
}

/// A socket to open connections from.
pub(crate) fn endpoint(tls: rustls::ClientConfig) -> anyhow::Result<Endpoint> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    // Fewer than asked for is what the system allows.
    let _ = SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER);
    let _ = SockRef::from(&socket).set_send_buffer_size(SOCKET_BUFFER);
    let mut endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(STREAM_WINDOW));
    transport.receive_window(VarInt::from_u32(CONNECTION_WINDOW));
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport));
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

/// Connects and shakes hands.
async fn dial(endpoint: &Endpoint, address: SocketAddr) -> anyhow::Result<quinn::Connection> {
    let connecting = endpoint.connect(address, identity::HOST)?;
    Ok(timeout(PATIENCE, connecting).await.context("no answer over UDP")??)
}

impl Reader {
    /// Connects and shakes hands.
    pub(crate) async fn open(endpoint: &Endpoint, address: SocketAddr) -> anyhow::Result<Self> {
        let quic = dial(endpoint, address).await?;
        let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(quic)).await?;
        // Ends with the last of `requests`.
        tokio::spawn(async move { driver.wait_idle().await });
        Ok(Self { requests })
    }

    /// Asks once, and returns the answer whole.
    pub(crate) async fn whole(&self, exchange: &Exchange) -> anyhow::Result<(u16, HeaderMap, Vec<u8>)> {
        let mut request = Request::get(exchange.url());
        for (name, value) in exchange.headers() {
            request = request.header(name, value);
        }
        let mut stream = self.requests.clone().send_request(request.body(())?).await?;
        stream.finish().await?;
        let head = stream.recv_response().await?;
        let mut body = Vec::new();
        while let Some(mut piece) = stream.recv_data().await? {
            body.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
        }
        Ok((head.status().as_u16(), head.headers().clone(), body))
    }
}

impl Connection {
    /// Connects and shakes hands.
    pub(crate) async fn open(endpoint: &Endpoint, address: SocketAddr) -> anyhow::Result<Self> {
        let quic = dial(endpoint, address).await?;
        let mut control = quic.open_uni().await?;
        control.write_all(&frames::CONTROL).await?;
        Ok(Self { quic, _control: control })
    }

    /// Keeps `streams` requests under way, until dropped or something is wrong.
    pub(crate) async fn forever(&self, exchange: &Exchange, tally: &Tally, streams: u32) -> anyhow::Result<()> {
        let request = Bytes::from(frames::request(exchange)?);
        let stream = || async {
            loop {
                let (since, mut answer) = (Instant::now(), frames::Answer::default());
                let (mut send, mut receive) = self.quic.open_bi().await?;
                send.write_chunk(request.clone()).await?;
                send.finish()?;
                while let Some(piece) = receive.read_chunk(usize::MAX, true).await? {
                    let before = answer.body;
                    answer.feed(&piece.bytes)?;
                    tally.received(usize::try_from(answer.body - before)?);
                }
                exchange.verify(answer.status.context("no head")?, answer.body)?;
                tally.answered(since);
            }
        };
        let mut all: FuturesUnordered<_> = (0..streams).map(|_| stream()).collect();
        ensure!(streams > 0, "no streams");
        all.next().await.unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use http::Response;
    use quinn::crypto::rustls::QuicServerConfig;

    use super::super::identity::{Identity, Tickets, loading};
    use super::super::request::sample;
    use super::*;

    /// Answers every request with `hello`.
    fn server() -> Endpoint {
        let dir = tempfile::tempdir().unwrap();
        let tls = Identity::new(dir.path()).unwrap().serving(b"h3");
        let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let incoming = endpoint.clone();
        tokio::spawn(async move {
            while let Some(quic) = incoming.accept().await {
                tokio::spawn(serve(quic.await.unwrap()));
            }
        });
        endpoint
    }

    async fn serve(quic: quinn::Connection) {
        let mut h3 = h3::server::Connection::<_, Bytes>::new(h3_quinn::Connection::new(quic)).await.unwrap();
        while let Ok(Some(request)) = h3.accept().await {
            tokio::spawn(async move {
                let (_, mut stream) = request.resolve_request().await?;
                stream.send_response(Response::builder().header("etag", "x").body(()).unwrap()).await?;
                stream.send_data(Bytes::from_static(b"hel")).await?;
                stream.send_data(Bytes::from_static(b"lo")).await?;
                stream.finish().await
            });
        }
    }

    #[tokio::test]
    async fn answers_are_counted_and_checked() {
        let server = server();
        let address = server.local_addr().unwrap();
        let endpoint = endpoint(loading(b"h3", Tickets::Ignored).unwrap()).unwrap();
        let exchange = Exchange { authority: format!("localhost:{}", address.port()), ..sample(5) };
        let reader = Reader::open(&endpoint, address).await.unwrap();
        let (status, headers, body) = reader.whole(&exchange).await.unwrap();
        assert_eq!((status, headers["etag"].as_bytes(), body.as_slice()), (200, b"x".as_slice(), b"hello".as_slice()));
        let connection = Connection::open(&endpoint, address).await.unwrap();
        let tally = Tally::default();
        tally.begin();
        let forever = connection.forever(&exchange, &tally, 3);
        assert!(timeout(Duration::from_millis(300), forever).await.is_err(), "it goes on");
        let counted = tally.counted();
        assert!(counted.answers > 3 && counted.bytes >= counted.answers * 5, "{counted:?}");
        let other = Exchange { body: 6, ..exchange };
        assert!(connection.forever(&other, &tally, 1).await.is_err(), "a byte too few");
    }
}

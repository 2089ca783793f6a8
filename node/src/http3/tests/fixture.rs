//! A site of a few made-up files, served on a thread of its own, and a client for it.

use std::{
    future::poll_fn,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::{Buf, Bytes};
use h3::{client::SendRequest, error::ConnectionError};
use http::{Request, Response, StatusCode};
use quinn::crypto::rustls::QuicClientConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    net::UdpSocket,
    runtime,
    sync::mpsc,
    task::LocalSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admission::door::Door,
    admission::rules::{Material, Rules, Ruling, conditions::Request as Asked},
    block::Block,
    body::Body,
    engine::{Aside, Desk, Refusal, Sink},
    head::{Head, Method},
    http3::{Counters, Drained, Http3, Http3Limits},
};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the rules of an operator do to connections here.
const RULES: &str = r#"rule = [
    { name = "held", paths = ["/held"], action = { tarpit = "1 s" } },
    { name = "long", paths = ["/long"], action = { tarpit = "30 s" } },
    { name = "closed", paths = ["/closed"], action = "close" },
]"#;

/// What comes of `future`, soon.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("this takes no time")
}

/// `len` bytes that differ from their neighbours, at most 20 million.
pub(super) fn pattern(len: usize) -> Bytes {
    static WHOLE: LazyLock<Bytes> =
        LazyLock::new(|| (0..20_000_000_u32).map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect());
    WHOLE.slice(..len)
}

/// Answers by the path: `/held` and `/long` come later, `/closed` not at all, `/bytes/N` is a file of that many, `/status/N` an answer with this status, `/panic` a bug.
struct TestDesk {
    handed: Arc<AtomicU64>,
    rules: Arc<Rules>,
    aside: Option<Aside>,
}

impl Desk for TestDesk {
    fn answer(&mut self, head: &Head<'_>, sink: &mut dyn Sink) -> Body {
        let path = str::from_utf8(head.path).expect("tests ask in ASCII");
        let number = path.rsplit('/').next().and_then(|number| number.parse().ok());
        let usual = Block::new([("server", "test"), ("accept-ranges", "bytes"), ("difusor-cut", "1")]);
        if head.method == Method::Other {
            sink.head(405, &[&usual, &Block::new([("allow", "GET, HEAD")])]);
            return Body::empty();
        }
        match self.rules.decide(&Asked::new(Ipv4Addr::LOCALHOST.into(), head), 0, std::time::Instant::now()) {
            Some((_, Ruling::Hold(held))) => self.aside = Some(Aside::Held(held)),
            Some(_) => self.aside = Some(Aside::Closed),
            None => {}
        }
        match (path, number) {
            ("/panic", _) => panic!("a bug"),
            (_, Some(len)) if path.starts_with("/bytes/") => {
                let body = pattern(len);
                let own = Block::new([("content-length", body.len().to_string().as_str()), ("etag", "\"a: b\"")]);
                sink.head(200, &[&usual, &own]);
                Body::new(body)
            }
            (_, Some(status)) if path.starts_with("/status/") => {
                sink.head(u16::try_from(status).unwrap(), &[&usual]);
                Body::new(Bytes::from_static(b"some words"))
            }
            _ => {
                sink.head(404, &[&usual]);
                Body::new(Bytes::from_static(b"not here"))
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal, sink: &mut dyn Sink) -> Body {
        sink.head(refusal.status(), &[&Block::new([("content-type", "text/plain")])]);
        Body::new(Bytes::from(format!("{refusal:?}")))
    }

    fn aside(&mut self) -> Option<Aside> {
        self.aside.take()
    }

    fn handed(&mut self, bytes: u64) {
        self.handed.fetch_add(bytes, Relaxed);
    }
}

/// A server under test.
pub(super) struct Server {
    pub address: SocketAddr,
    pub counters: Arc<Counters>,
    /// Bytes of bodies that were handed to connections.
    pub handed: Arc<AtomicU64>,
    pub rules: Arc<Rules>,
    pub drain: CancellationToken,
    certificate: CertificateDer<'static>,
    thread: JoinHandle<Drained>,
}

impl Server {
    /// With these limits, and so much time to end.
    pub(super) fn start(limits: Http3Limits, grace: Duration) -> Self {
        let issued = rcgen::generate_simple_self_signed(["site.example".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der()));
        let certificate = issued.cert.der().clone();
        let mut tls = rustls::ServerConfig::builder_with_provider(difusor_proto::tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let http3 = Http3::bind(&[any], Arc::new(tls), limits).unwrap();
        let (address, counters) = (http3.addresses()[0], http3.counters());
        let drain = CancellationToken::new();
        let stop = drain.clone();
        let handed = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&handed);
        let rules = Arc::new(Rules::new(&Material::of(RULES), None).unwrap());
        let ruled = Arc::clone(&rules);
        let thread = std::thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let desks = move |_| {
                let (handed, rules) = (Arc::clone(&counted), Arc::clone(&ruled));
                Box::new(TestDesk { handed, rules, aside: None }) as Box<dyn Desk>
            };
            LocalSet::new().block_on(&runtime, http3.run(desks, Door::default(), stop, grace)).unwrap()
        });
        Self { address, counters, handed, rules, drain, certificate, thread }
    }

    /// With limits as they are.
    pub(super) fn usual() -> Self {
        Self::start(Http3Limits::default(), Duration::ZERO)
    }

    /// Stops it; how it ended.
    pub(super) async fn end(self) -> Drained {
        self.drain.cancel();
        let ended = tokio::task::spawn_blocking(|| self.thread.join().unwrap());
        soon(ended).await.unwrap()
    }

    /// One of the counts.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.counters.read().find(|(known, _)| *known == name).expect("a counter").1
    }

    /// Waits until a rule holds an answer.
    pub(super) async fn holds(&self) {
        let held = async {
            while self.rules.held() == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        soon(held).await;
    }

    /// Waits until a count is this.
    pub(super) async fn counts(&self, name: &str, expected: u64) {
        let reached = async {
            while self.count(name) != expected {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = timeout(PATIENCE, reached).await;
        assert!(waited.is_ok(), "{name} is {} and not {expected}", self.count(name));
    }

    /// A QUIC connection, on which nothing is said yet. `transport` is what the client wants.
    pub(super) async fn dial(
        &self,
        transport: quinn::TransportConfig,
    ) -> Result<quinn::Connection, quinn::ConnectionError> {
        self.dial_by(self.address, transport).await
    }

    /// The same by another address.
    pub(super) async fn dial_by(
        &self,
        address: SocketAddr,
        transport: quinn::TransportConfig,
    ) -> Result<quinn::Connection, quinn::ConnectionError> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut tls = rustls::ClientConfig::builder_with_provider(difusor_proto::tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        config.transport_config(Arc::new(transport));
        let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        soon(endpoint.connect_with(config, address, "site.example").unwrap()).await
    }

    /// An HTTP/3 client.
    pub(super) async fn client(&self) -> Client {
        Client::over(self.dial(quinn::TransportConfig::default()).await.unwrap()).await
    }
}

/// A line to the server that takes so long in each direction, for one client.
pub(super) async fn long_line(server: SocketAddr, delay: Duration) -> SocketAddr {
    let near = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let far = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    far.connect(server).await.unwrap();
    let address = near.local_addr().unwrap();
    // Who is there is known with the first packet.
    let (from_near, from_far) = (Arc::clone(&near), Arc::clone(&far));
    tokio::spawn(async move {
        let mut first = [0; 2000];
        let (len, client) = from_near.recv_from(&mut first).await.unwrap();
        from_near.connect(client).await.unwrap();
        from_far.send(&first[..len]).await.unwrap();
        tokio::join!(carry(&near, &far, delay), carry(&far, &near, delay));
    });
    address
}

/// Packets in order, each so much later.
async fn carry(from: &UdpSocket, to: &UdpSocket, delay: Duration) {
    let (send, mut receive) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async {
        loop {
            let mut packet = vec![0; 2000];
            let Ok(len) = from.recv(&mut packet).await else { continue };
            packet.truncate(len);
            let _ = send.send((Instant::now() + delay, packet));
        }
    };
    let write = async {
        while let Some((due, packet)) = receive.recv().await {
            tokio::time::sleep_until(due).await;
            let _ = to.send(&packet).await;
        }
    };
    tokio::join!(read, write);
}

type Stream = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// A client on one connection.
pub(super) struct Client {
    pub quic: quinn::Connection,
    send: SendRequest<h3_quinn::OpenStreams, Bytes>,
    closed: tokio::task::JoinHandle<ConnectionError>,
}

/// An answer to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub head: Response<()>,
    pub body: Vec<u8>,
}

impl Client {
    pub(super) async fn over(quic: quinn::Connection) -> Self {
        let (mut connection, send) = h3::client::new(h3_quinn::Connection::new(quic.clone())).await.unwrap();
        let closed = tokio::spawn(async move { poll_fn(|cx| connection.poll_close(cx)).await });
        Self { quic, send, closed }
    }

    /// Asks, and says nothing more.
    pub(super) async fn ask(&self, request: Request<()>) -> Stream {
        let mut stream = soon(self.send.clone().send_request(request)).await.unwrap();
        stream.finish().await.unwrap();
        stream
    }

    /// The whole answer to a request.
    pub(super) async fn answer(&self, request: Request<()>) -> Answer {
        soon(Answer::read(self.ask(request).await)).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.answer(get(path)).await
    }

    /// Another one on the same connection.
    pub(super) fn sender(&self) -> SendRequest<h3_quinn::OpenStreams, Bytes> {
        self.send.clone()
    }

    /// How the connection ended.
    pub(super) async fn closed(self) -> ConnectionError {
        soon(self.closed).await.unwrap()
    }
}

impl Answer {
    pub(super) async fn read(mut stream: Stream) -> Self {
        let head = stream.recv_response().await.unwrap();
        let mut body = Vec::new();
        while let Some(mut piece) = stream.recv_data().await.unwrap() {
            while piece.has_remaining() {
                let len = piece.chunk().len();
                body.extend_from_slice(piece.chunk());
                piece.advance(len);
            }
        }
        Self { head, body }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.head.status()
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name).map(|value| value.to_str().unwrap())
    }
}

pub(super) fn get(path: &str) -> Request<()> {
    Request::get(format!("https://site.example{path}")).body(()).unwrap()
}

/// The code with which the server closed a connection.
pub(super) async fn closed_with(quic: &quinn::Connection) -> u64 {
    match soon(quic.closed()).await {
        quinn::ConnectionError::ApplicationClosed(closed) => closed.error_code.into_inner(),
        other => panic!("closed in another way: {other}"),
    }
}

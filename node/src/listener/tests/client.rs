//! A listener on a free port with a certificate of its own, and clients that trust it.

use difusor_proto::tls::provider;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::{io::AsyncReadExt as _, task::JoinHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::super::*;
use crate::{
    admission::door::Door,
    certificate::tls_config,
    observe::{Observatory, Totals},
    proxied::Trust,
    serving::Serving,
};

/// Longest that a test waits for anything before it counts as hanging.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A listener that runs.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) serving: Arc<Serving>,
    observatory: Arc<Observatory>,
    pub(super) cancel: CancellationToken,
    pub(super) done: JoinHandle<Drained>,
    roots: Arc<RootCertStore>,
}

/// One HTTP connection.
pub(super) enum Connection {
    H1(http1::SendRequest<Empty<bytes::Bytes>>),
    H2(http2::SendRequest<Empty<bytes::Bytes>>),
}

/// A response whose body was read to its end.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) status: StatusCode,
    pub(super) headers: http::HeaderMap,
    pub(super) body: bytes::Bytes,
}

impl Whole {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Running {
    pub(super) fn start(limits: Limits, grace: Duration) -> Self {
        Self::behind(limits, grace, None)
    }

    /// The same with a door.
    pub(super) fn with_door(limits: Limits, door: Door) -> Self {
        Self::with(limits, Duration::from_secs(10), None, door)
    }

    /// The same behind a proxy at `proxy` that speaks the PROXY protocol.
    pub(super) fn behind(limits: Limits, grace: Duration, proxy: Option<&str>) -> Self {
        Self::with(limits, grace, proxy, Door::default())
    }

    fn with(limits: Limits, grace: Duration, proxy: Option<&str>, door: Door) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let tls = tls_config(vec![made.cert.der().clone()], key).unwrap();
        let bind = vec!["127.0.0.1:0".parse().unwrap()];
        let config = ListenerConfig { bind, limits, workers: NonZero::new(2), proxy_protocol: proxy.is_some() };
        let listener = Listener::bind(&config, tls).unwrap();
        let (serving, cancel) = (Arc::new(Serving::default()), CancellationToken::new());
        let address = listener.addresses()[0];
        let networks = proxy.into_iter().map(|proxy| proxy.parse().unwrap()).collect();
        let trust = Arc::new(Trust { networks });
        let station = Station { trust, door, ..Station::new(Arc::clone(&serving), 2) };
        let observatory = Arc::clone(&station.observatory);
        let done = tokio::spawn(listener.run(station, cancel.clone(), grace));
        Self { address, serving, observatory, cancel, done, roots: Arc::new(roots) }
    }

    pub(super) fn totals(&self) -> Totals {
        self.observatory.totals()
    }

    pub(super) async fn tls(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> TlsStream<TcpStream> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
    }

    /// Everything that HTTP/1.1 answers to these bytes, which leave in one segment with the end of the handshake.
    pub(super) async fn at_once(&self, said: &[u8]) -> Vec<u8> {
        self.at_once_over(TcpStream::connect(self.address).await.unwrap(), said).await
    }

    /// The same over a connection that is there already.
    pub(super) async fn at_once_over(&self, tcp: TcpStream, said: &[u8]) -> Vec<u8> {
        let mut config = ClientConfig::builder().with_root_certificates(Arc::clone(&self.roots)).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let ahead = |tls: &mut rustls::ClientConnection| io::Write::write_all(&mut tls.writer(), said).unwrap();
        let mut tls = TlsConnector::from(Arc::new(config)).connect_with(name, tcp, ahead).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, tls.read_to_end(&mut answer)).await.unwrap().unwrap();
        answer
    }

    /// TLS after these bytes, or the reason why there is none.
    pub(super) async fn tls_after(&self, preamble: &[u8]) -> io::Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut tcp, preamble).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }

    pub(super) async fn connect(&self, version: &'static SupportedProtocolVersion, alpn: &[&[u8]]) -> Connection {
        let tls = self.tls(&[version], alpn).await;
        let state = tls.get_ref().1;
        let expected = if version.version == ProtocolVersion::TLSv1_2 { "1.2" } else { "1.3" };
        assert!(format!("{:?}", state.protocol_version().unwrap()).replace('_', ".").ends_with(expected));
        if state.alpn_protocol() == Some(b"h2") {
            let (sender, connection) = http2::Builder::new(hyper_util::rt::TokioExecutor::new())
                .handshake(hyper_util::rt::TokioIo::new(tls))
                .await
                .unwrap();
            tokio::spawn(connection);
            Connection::H2(sender)
        } else {
            let (sender, connection) = http1::handshake(hyper_util::rt::TokioIo::new(tls)).await.unwrap();
            tokio::spawn(connection);
            Connection::H1(sender)
        }
    }

    pub(super) async fn h1(&self) -> Connection {
        self.connect(&rustls::version::TLS13, &[b"http/1.1"]).await
    }

    pub(super) async fn h2(&self) -> Connection {
        self.connect(&rustls::version::TLS13, &[b"h2"]).await
    }
}

impl Connection {
    /// Sends a request, and returns when the head of the answer is there.
    pub(super) async fn begin(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> hyper::Result<Response<Incoming>> {
        let uri = if matches!(self, Self::H2(_)) { format!("https://localhost{path}") } else { path.to_owned() };
        let mut request = Request::builder().method(method).uri(uri).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).unwrap();
        match self {
            Self::H1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::H2(sender) => sender.send_request(request).await,
        }
    }

    pub(super) async fn ask(&mut self, method: Method, path: &str, headers: &[(&str, &str)]) -> Whole {
        finish(self.begin(method, path, headers).await.unwrap()).await.unwrap()
    }

    pub(super) async fn get(&mut self, path: &str) -> Whole {
        self.ask(Method::GET, path, &[]).await
    }
}

/// Reads a body to its end.
pub(super) async fn finish(response: Response<Incoming>) -> hyper::Result<Whole> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Whole { status: head.status, headers: head.headers, body })
}

/// Waits until `condition` holds.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("never: {what}"));
}

//! A rogue client of the coordinator: any certificate, any protocol name, any bytes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use difusor_coordinator::authority::{Authority, Purpose};
use difusor_node::{enrol, home::Home};
use difusor_proto::{
    tls::{COORDINATOR_NAME, Identity, provider},
    wire::{self, ALPN_MESH, CloseCode, FromCoordinator, FromNode, Hello},
};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream, crypto::rustls::QuicClientConfig};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig};

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By the other side, with this code.
    Code(CloseCode),
    /// The TLS handshake was refused, with this alert (RFC 8446 section 6).
    Alert(u64),
    /// In another way.
    Other(ConnectionError),
}

impl From<ConnectionError> for End {
    fn from(error: ConnectionError) -> Self {
        // RFC 9001 section 4.8: 0x100 and the alert.
        let alert = |code: u64| (0x100..0x200).contains(&code).then(|| code - 0x100);
        match &error {
            ConnectionError::ConnectionClosed(close) => alert(close.error_code.into()),
            ConnectionError::TransportError(own) => alert(own.code.into()),
            _ => None,
        }
        .map_or_else(|| CloseCode::of(&error).map_or(Self::Other(error), Self::Code), Self::Alert)
    }
}

/// A connection, and the endpoint that it lives on.
pub(crate) struct Client {
    _endpoint: Endpoint,
    pub(crate) connection: Connection,
}

impl Client {
    /// Dials as whoever `identity` is, or as nobody. In TLS 1.3 the client is done before the server has judged it, so
    /// refusal often shows only in [`Client::end`].
    pub(crate) async fn dial(
        to: SocketAddr,
        authority: &[u8],
        identity: Option<&Identity>,
        alpn: &[&[u8]],
    ) -> Result<Self, End> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.to_vec().into()).unwrap();
        let builder = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut tls = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key, .. }) => {
                let chain = vec![certificate.clone().into(), authority.to_vec().into()];
                builder.with_client_auth_cert(chain, PrivatePkcs8KeyDer::from(key.clone()).into()).unwrap()
            }
        };
        tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Self::dial_with(to, quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))).await
    }

    pub(crate) async fn dial_with(to: SocketAddr, mut config: quinn::ClientConfig) -> Result<Self, End> {
        let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        let mut transport = quinn::TransportConfig::default();
        // A connection must end because the other side ends it, not because nothing was said.
        transport.keep_alive_interval(Some(Duration::from_secs(2)));
        config.transport_config(Arc::new(transport));
        let connecting = endpoint.connect_with(config, to, COORDINATOR_NAME).unwrap();
        let connection = timeout(PATIENCE, connecting).await.expect("an answer to the handshake")?;
        Ok(Self { _endpoint: endpoint, connection })
    }

    /// How the other side ends the connection.
    pub(crate) async fn end(&self) -> End {
        timeout(PATIENCE, self.connection.closed()).await.expect("the connection is closed").into()
    }
}

/// How an attempt ended, whether in the handshake or after it.
pub(crate) async fn end_of(dialled: Result<Client, End>) -> End {
    match dialled {
        Ok(client) => client.end().await,
        Err(end) => end,
    }
}

/// A fresh key with a certificate of `authority` for `purpose`, known to no registry.
pub(crate) fn issued(authority: &Authority, purpose: Purpose, name: &str) -> Identity {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let certificate = authority.issue(request.der(), purpose, &[name.to_owned()]).unwrap();
    Identity { authority: authority.certificate().to_vec(), certificate, key: key.serialize_der() }
}

/// Enrols a node that is under our control alone: a member of the mesh that turned bad.
pub(crate) async fn enrol(rig: &Rig, name: &str) -> Identity {
    let invitation = rig.mesh.client().invite(&"inside-job".parse().unwrap()).await.unwrap();
    let home = Home::new(rig.dir.path().join(name));
    let token = invitation.token.parse().unwrap();
    let identity = enrol::join(&home, &token, Some(name.parse().unwrap()), Vec::new()).await.unwrap();
    identity.tls().unwrap()
}

/// A member of the mesh with its control stream, before it has said anything.
pub(crate) struct Member {
    pub(crate) client: Client,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

impl Member {
    pub(crate) async fn dial(rig: &Rig, identity: &Identity) -> Self {
        Self::dial_as(rig, identity, ALPN_MESH).await
    }

    /// The same in this version of the protocol.
    pub(crate) async fn dial_as(rig: &Rig, identity: &Identity, version: &[u8]) -> Self {
        let dialled = Client::dial(rig.mesh.mesh_address, rig.mesh.authority(), Some(identity), &[version]).await;
        let client = dialled.expect("a member is let in");
        let (send, recv) = client.connection.open_bi().await.unwrap();
        Self { client, send, recv }
    }

    /// Says hello, and waits to be welcomed.
    pub(crate) async fn hello(mut self) -> Self {
        self.say(&hello()).await;
        let welcome = timeout(PATIENCE, wire::read_frame::<FromCoordinator>(&mut self.recv, 1 << 20)).await.unwrap();
        assert!(matches!(welcome, Ok(Some(FromCoordinator::Welcome { .. }))), "{welcome:?}");
        self
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.send.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn say(&mut self, frame: &FromNode) {
        wire::write_frame(&mut self.send, frame).await.unwrap();
    }
}

/// The first frame of a node that has nothing.
pub(crate) fn hello() -> FromNode {
    let software = "rogue".into();
    FromNode::Hello(Hello { software, mark: Default::default(), holds: Vec::new(), public: Vec::new(), archive: false })
}

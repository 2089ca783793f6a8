//! Certificates that are read again: pairs that fit and do not, files that change, handshakes before and after.

use std::{fs, time::Duration};

use rcgen::{CertifiedKey as Made, KeyPair, generate_simple_self_signed};
use rustls::{ClientConfig, ClientConnection, Connection, HandshakeKind, RootCertStore, ServerConnection};
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;

/// Longest that a test waits for anything before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two pairs for one name, and a folder that holds the first.
struct Folder {
    dir: TempDir,
    pairs: [Made<KeyPair>; 2],
}

impl Folder {
    fn new() -> Self {
        let make = || generate_simple_self_signed(["localhost".into()]).unwrap();
        let folder = Self { dir: TempDir::new().unwrap(), pairs: [make(), make()] };
        folder.write_chain(0);
        folder.write_key(0);
        folder
    }

    fn chain(&self) -> PathBuf {
        self.dir.path().join("chain.pem")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    fn write_chain(&self, n: usize) {
        fs::write(self.chain(), self.pairs[n].cert.pem()).unwrap();
    }

    fn write_key(&self, n: usize) {
        fs::write(self.key(), self.pairs[n].signing_key.serialize_pem()).unwrap();
    }

    fn load(&self) -> Arc<Certificates> {
        Certificates::load(&self.chain(), &self.key()).unwrap()
    }

    /// A client that trusts both pairs, and remembers its tickets.
    fn client(&self, version: &'static SupportedProtocolVersion, alpn: &[u8]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for pair in &self.pairs {
            roots.add(pair.cert.der().clone()).unwrap();
        }
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![alpn.to_vec()];
        client
    }

    /// Which of the two pairs a client is shown that was never here.
    fn shown(&self, server: &Arc<ServerConfig>) -> usize {
        let (kind, leaf) = handshake(&Arc::new(self.client(&TLS13, H2)), server);
        assert_eq!(kind, HandshakeKind::Full);
        self.pairs.iter().position(|pair| *pair.cert.der() == leaf).unwrap()
    }
}

/// Moves bytes between two ends until neither has any more to say.
fn converse(one: &mut Connection, other: &mut Connection) {
    let mut bytes = Vec::new();
    while one.wants_write() || other.wants_write() {
        for turn in 0..2 {
            let (from, to) = if turn == 0 { (&mut *one, &mut *other) } else { (&mut *other, &mut *one) };
            bytes.clear();
            while from.wants_write() {
                from.write_tls(&mut bytes).unwrap();
            }
            let mut unread = bytes.as_slice();
            while !unread.is_empty() {
                to.read_tls(&mut unread).unwrap();
                to.process_new_packets().unwrap();
            }
        }
    }
}

/// What kind of handshake it was, and the certificate that the client went by.
fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> (HandshakeKind, CertificateDer<'static>) {
    let name = ServerName::try_from("localhost").unwrap();
    let mut visitor = Connection::Client(ClientConnection::new(Arc::clone(client), name).unwrap());
    let mut node = Connection::Server(ServerConnection::new(Arc::clone(server)).unwrap());
    converse(&mut visitor, &mut node);
    assert!(!visitor.is_handshaking() && !node.is_handshaking());
    assert_eq!(visitor.alpn_protocol(), client.alpn_protocols.first().map(Vec::as_slice));
    assert_eq!(visitor.handshake_kind(), node.handshake_kind());
    (visitor.handshake_kind().unwrap(), visitor.peer_certificates().unwrap()[0].clone().into_owned())
}

#[test]
fn a_reload_shows_the_new_pair_and_tickets_of_before_still_resume() {
    for version in [&TLS13, &TLS12] {
        let folder = Folder::new();
        let certificates = folder.load();
        let server = certificates.tcp_config();
        let regular = Arc::new(folder.client(version, HTTP11));
        assert_eq!(handshake(&regular, &server).0, HandshakeKind::Full);
        assert_eq!(handshake(&regular, &server).0, HandshakeKind::Resumed);
        assert_eq!(certificates.reload().unwrap(), Reloaded::Same);
        assert_eq!(folder.shown(&server), 0);

        folder.write_chain(1);
        folder.write_key(1);
        assert_eq!(certificates.reload().unwrap(), Reloaded::Changed);
        assert_eq!(certificates.reload().unwrap(), Reloaded::Same);
        assert_eq!(folder.shown(&server), 1);
        assert_eq!(handshake(&regular, &server).0, HandshakeKind::Resumed);
        assert!(Arc::ptr_eq(&server, &certificates.tcp_config()));
    }
}

#[test]
fn one_ticket_at_a_time() {
    let folder = Folder::new();
    let server = folder.load().tcp_config();
    let client = Arc::new(folder.client(&TLS13, H2));
    let name = || ServerName::try_from("localhost").unwrap();
    let mut both = [(); 2].map(|()| {
        let visitor = Connection::Client(ClientConnection::new(Arc::clone(&client), name()).unwrap());
        (visitor, Connection::Server(ServerConnection::new(Arc::clone(&server)).unwrap()))
    });
    for (visitor, node) in &mut both {
        converse(visitor, node);
    }
    // Two connections before any ticket brought one each; a third visitor of the same client has none left.
    let kinds = [(); 3].map(|()| {
        let mut visitor = Connection::Client(ClientConnection::new(Arc::clone(&client), name()).unwrap());
        let mut node = Connection::Server(ServerConnection::new(Arc::clone(&server)).unwrap());
        // Without the server's last words, which hold the next ticket.
        for _ in 0..2 {
            let mut bytes = Vec::new();
            visitor.write_tls(&mut bytes).unwrap();
            node.read_tls(&mut bytes.as_slice()).unwrap();
            node.process_new_packets().unwrap();
        }
        node.handshake_kind().unwrap()
    });
    assert_eq!(kinds, [HandshakeKind::Resumed, HandshakeKind::Resumed, HandshakeKind::Full]);
}

#[test]
fn a_pair_that_cannot_be_used_changes_nothing() {
    let folder = Folder::new();
    let certificates = folder.load();
    let server = certificates.tcp_config();
    let before = certificates.expires().unwrap();

    folder.write_chain(1);
    let error = certificates.reload().unwrap_err();
    assert!(matches!(error, CertificateError::Unfit { .. }) && error.advice().contains("key"), "{error}");
    assert!(error.to_string().contains("chain.pem"), "{error}");
    assert_eq!(folder.shown(&server), 0);
    folder.write_key(1);
    assert_eq!(certificates.reload().unwrap(), Reloaded::Changed);
    assert_eq!(folder.shown(&server), 1);

    fs::write(folder.chain(), "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    assert!(certificates.reload().is_err());
    fs::remove_file(folder.chain()).unwrap();
    assert!(matches!(certificates.reload(), Err(CertificateError::Read { .. })));
    assert_eq!(folder.shown(&server), 1);
    assert_eq!(certificates.expires(), Some(before));
}

#[test]
fn an_expired_certificate_is_shown_all_the_same() {
    let dir = TempDir::new().unwrap();
    let (chain, key) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
    let pair = KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".into()]).unwrap();
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2020, 2, 1));
    fs::write(&chain, params.self_signed(&pair).unwrap().pem()).unwrap();
    fs::write(&key, pair.serialize_pem()).unwrap();
    let certificates = Certificates::load(&chain, &key).unwrap();
    let validity = certificates.validity().unwrap();
    assert!(validity.trouble(SystemTime::now()).unwrap().contains("expired"));
}

#[tokio::test]
async fn quic_shows_the_same_pair() {
    let folder = Folder::new();
    let certificates = folder.load();
    let config = certificates.quic_config();
    assert_eq!((config.max_early_data_size, config.alpn_protocols.as_slice()), (0, [H3.to_vec()].as_slice()));
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(config).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let server = quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(crypto)), any).unwrap();
    let address = server.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        while let Some(incoming) = server.accept().await {
            let Ok(connection) = incoming.await else { continue };
            connection.closed().await;
        }
    });

    let mut client = quinn::Endpoint::client(any).unwrap();
    for n in 0..2 {
        folder.write_chain(n);
        folder.write_key(n);
        certificates.reload().unwrap();
        let tls = quinn::crypto::rustls::QuicClientConfig::try_from(folder.client(&TLS13, H3)).unwrap();
        client.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
        let connection = client.connect(address, "localhost").unwrap().await.unwrap();
        let chain = connection.peer_identity().unwrap().downcast::<Vec<CertificateDer<'static>>>().unwrap();
        assert_eq!(chain[0], *folder.pairs[n].cert.der());
    }
    accepting.abort();
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// As Kubernetes does: the files are links into a folder that is a link itself, and that one is swapped.
#[tokio::test]
async fn a_swapped_link_is_noticed_without_being_asked() {
    let folder = Folder::new();
    let root = folder.dir.path();
    for (n, pair) in folder.pairs.iter().enumerate() {
        let at = root.join(n.to_string());
        fs::create_dir(&at).unwrap();
        fs::write(at.join("chain.pem"), pair.cert.pem()).unwrap();
        fs::write(at.join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    }
    let link = |n: usize| {
        std::os::unix::fs::symlink(n.to_string(), root.join("next")).unwrap();
        fs::rename(root.join("next"), root.join("current")).unwrap();
    };
    link(0);
    for path in [folder.chain(), folder.key()] {
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(root.join("current").join(path.file_name().unwrap()), &path).unwrap();
    }
    let certificates = folder.load();
    let cancel = CancellationToken::new();
    let watching = tokio::spawn(Arc::clone(&certificates).watch(Duration::from_millis(10), cancel.clone()));
    assert_eq!(folder.shown(&certificates.tcp_config()), 0);
    link(1);
    until("the other certificate", || folder.shown(&certificates.tcp_config()) == 1).await;
    cancel.cancel();
    tokio::time::timeout(PATIENCE, watching).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_hangup_is_obeyed_at_once() {
    let folder = Folder::new();
    let certificates = folder.load();
    let cancel = CancellationToken::new();
    // The signal must not end this process if it comes before the task listens.
    let _listening = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).unwrap();
    let watching = tokio::spawn(Arc::clone(&certificates).watch(Duration::from_secs(3600), cancel.clone()));
    folder.write_chain(1);
    folder.write_key(1);
    let hangup = || {
        let pid = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        folder.shown(&certificates.tcp_config()) == 1
    };
    until("the other certificate", hangup).await;
    cancel.cancel();
    tokio::time::timeout(PATIENCE, watching).await.unwrap().unwrap();
}

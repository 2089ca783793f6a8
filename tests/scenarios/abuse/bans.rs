//! Whoever two nodes have banned, for what it really did to them, a third does not let in; an operator may.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use difusor_local::{Mesh, https};
use difusor_tests::{options, status};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};
use tokio_rustls::TlsConnector;

use crate::rig::{PROGRAM, until};

/// On the loopback, every source has an address of its own.
const OFFENDER: &str = "127.0.0.9";
const ANOTHER: &str = "127.0.2.9";
const VISITOR: &str = "127.0.1.9";

struct Source {
    address: &'static str,
    tls: Arc<rustls::ClientConfig>,
}

impl Source {
    fn new(mesh: &Mesh, address: &'static str) -> Self {
        Self { address, tls: Arc::new(https::trusting(mesh.authority()).unwrap()) }
    }

    /// What is answered to these bytes; nothing if the door is closed.
    async fn say(&self, to: SocketAddr, bytes: &[u8]) -> std::io::Result<String> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.address.parse().unwrap(), 0))?;
        let tcp = socket.connect(to).await?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let mut tls = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await?;
        tls.write_all(bytes).await?;
        let mut answer = Vec::new();
        // However it ends, what came is an answer.
        let _ = tls.read_to_end(&mut answer).await;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    async fn visits(&self, to: SocketAddr) -> bool {
        let request = b"GET /.well-known/difusor/root HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        self.say(to, request).await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 "))
    }

    /// Sends what no browser sends until it is not let in any more; gives how often it was.
    async fn offends(&self, to: SocketAddr) -> usize {
        for times in 0..1000 {
            match self.say(to, b"GET / HTTP/1.1\r\n\r\n").await {
                Ok(answer) if answer.starts_with("HTTP/1.1 400 ") => {}
                _ => return times,
            }
        }
        panic!("it is never banned");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_ban_speak_for_all_and_an_operator_has_the_last_word() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(PROGRAM, dir.path(), 3).unwrap();
    // The loopback is exempt as it comes.
    options.node_config = "[admission]\nexempt = []".into();
    let mut mesh = Mesh::start(&options).await.unwrap();
    let (offender, visitor) = (Source::new(&mesh, OFFENDER), Source::new(&mesh, VISITOR));
    let [one, other, third] = [0, 1, 2].map(|at| mesh.nodes[at].public);

    assert!((50..=200).contains(&offender.offends(one).await));
    // What one node says is most of it, so less is enough for another.
    until("the others are told", async || offender.offends(other).await < 200 && !offender.visits(third).await).await;
    for node in &mesh.nodes {
        assert!(visitor.visits(node.public).await, "{}", node.zone);
        let blocked = node.process.call(&["blocked"]).await.unwrap();
        assert!(blocked.starts_with("127.0.0.9/32 ") && blocked.contains("banned ("), "{blocked}");
    }
    mesh.nodes[2].process.call(&["unblock", OFFENDER]).await.unwrap();
    assert!(offender.visits(third).await && !offender.visits(other).await);

    // Without the coordinator, nodes tell each other. What one says is one word, so nobody is out for it.
    mesh.coordinator.kill().await.unwrap();
    for node in &mesh.nodes {
        until("it is missed", async || !status(node.admin).await.unwrap().connected).await;
    }
    let another = Source::new(&mesh, ANOTHER);
    assert!((50..=200).contains(&another.offends(one).await));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(another.visits(third).await && another.visits(other).await);
    until("the others are told by the nodes", async || {
        another.offends(other).await < 200 && !another.visits(third).await
    })
    .await;
    mesh.stop().await.unwrap();
}

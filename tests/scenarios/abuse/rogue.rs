//! A rogue coordinator: it has stolen the mesh authority, sits at the address that the node dials, and says whatever it
//! likes. What it has not stolen is the key that signs manifests and flips, unless a test says so.

use std::time::Duration;

use difusor_coordinator::delta::Item;
use difusor_proto::{
    NodeId, Signed, SigningKey, VerifyingKey, Zone,
    limits::MAX_CONTROL_FRAME,
    process::unix_us,
    sign::Statement,
    tls::{self, Congestion, Identity},
    wire::{self, CloseCode, DeltaHead, FromCoordinator, FromNode, Hello, StreamHead},
};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use serde_json::Value;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig, until};

pub(crate) struct Rogue(Endpoint);

/// A node that fell for it.
pub(crate) struct Victim {
    pub(crate) connection: Connection,
    pub(crate) hello: Hello,
    send: SendStream,
    recv: RecvStream,
}

impl Rogue {
    /// Listens where the real coordinator did, which must be stopped.
    pub(crate) fn listen(rig: &Rig, identity: &Identity) -> Self {
        let config = tls::server(identity, Congestion::default()).unwrap();
        Self(Endpoint::server(config, rig.mesh.mesh_address).expect("the coordinator's address is free"))
    }

    /// The next attempt of a node to connect.
    pub(crate) async fn attempt(&self) -> Result<Connection, ConnectionError> {
        let incoming = timeout(PATIENCE, self.0.accept()).await.expect("the node dials").unwrap();
        timeout(PATIENCE, incoming).await.expect("the handshake ends")
    }

    /// Waits for a node and its hello, and says nothing yet.
    pub(crate) async fn greet(&self) -> Victim {
        let connection = self.attempt().await.unwrap();
        let (send, mut recv) = timeout(PATIENCE, connection.accept_bi()).await.unwrap().unwrap();
        let hello = timeout(PATIENCE, wire::read_frame(&mut recv, MAX_CONTROL_FRAME)).await.unwrap().unwrap();
        let Some(FromNode::Hello(hello)) = hello else { panic!("{hello:?} is no hello") };
        Victim { connection, hello, send, recv }
    }

    /// Waits for a node, and welcomes it.
    pub(crate) async fn welcome(&self, key: &VerifyingKey) -> Victim {
        let mut victim = self.greet().await;
        victim.say(&welcome(key)).await;
        victim
    }

    /// Leaves the address to the real coordinator. No victim may be left, or the socket is.
    pub(crate) async fn leave(self) {
        let address = self.0.local_addr().unwrap();
        self.0.close((CloseCode::Shutdown as u32).into(), b"");
        let _ = timeout(Duration::from_secs(2), self.0.wait_idle()).await;
        drop(self);
        // Its socket goes when its driver does, a moment later.
        until("the rogue's address is free again", async || std::net::UdpSocket::bind(address).is_ok()).await;
    }
}

/// What the coordinator of the mesh of `key` says first.
pub(crate) fn welcome(key: &VerifyingKey) -> FromCoordinator {
    let (node, zone): (NodeId, Zone) = ("mx-central".parse().unwrap(), "mx-central".parse().unwrap());
    FromCoordinator::Welcome { mesh: key.mesh(), node, zone }
}

impl Victim {
    pub(crate) async fn say(&mut self, frame: &FromCoordinator) {
        self.raw(&wire::encode(frame).unwrap()).await;
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.send.write_all(bytes).await.unwrap();
    }

    /// Opens a delta stream and writes these bytes to it.
    pub(crate) async fn stream(&self, bytes: &[u8]) -> SendStream {
        let mut stream = self.connection.open_uni().await.unwrap();
        // The node may close before it has read everything, which is what most tests are about.
        let _ = stream.write_all(bytes).await;
        stream
    }

    /// Sends a whole delta.
    pub(crate) async fn delta(&self, head: &DeltaHead, items: &[Item]) {
        let mut stream = self.stream(&delta(head, items)).await;
        let _ = stream.finish();
    }

    /// The next frame that is neither ping nor report; pings are answered.
    pub(crate) async fn next(&mut self) -> Option<FromNode> {
        loop {
            let frame = wire::read_frame::<FromNode>(&mut self.recv, MAX_CONTROL_FRAME);
            match timeout(PATIENCE, frame).await.expect("the node says something") {
                Ok(Some(FromNode::Ping { sent })) => {
                    let (arrived, answered) = (unix_us(), unix_us());
                    let pong = FromCoordinator::Pong { sent, arrived, answered };
                    let _ = wire::write_frame(&mut self.send, &pong).await;
                }
                Ok(Some(FromNode::Report(_) | FromNode::Reach(_) | FromNode::Health(_) | FromNode::Knows(_))) => {}
                Ok(other) => return other,
                Err(_) => return None,
            }
        }
    }

    /// Which blobs the node asks for again.
    pub(crate) async fn wanted(&mut self) -> Vec<difusor_proto::Digest> {
        match self.next().await {
            Some(FromNode::Want { digests, .. }) => digests,
            other => panic!("the node asks for nothing again: {other:?}, {:?}", self.connection.close_reason()),
        }
    }

    /// What the node closes the connection with.
    pub(crate) async fn closed(&self) -> CloseCode {
        let error = timeout(PATIENCE, self.connection.closed()).await.expect("the node closes the connection");
        CloseCode::of(&error).unwrap_or_else(|| panic!("closed without a code: {error}"))
    }
}

/// The bytes of a delta stream.
pub(crate) fn delta(head: &DeltaHead, items: &[Item]) -> Vec<u8> {
    let mut bytes = wire::encode(&StreamHead::Delta(head.clone())).unwrap();
    for item in items {
        bytes.extend(wire::encode(&item.head).unwrap());
        bytes.extend_from_slice(&item.bytes);
    }
    bytes
}

/// The same statement under the signature of a key that this mesh does not know.
pub(crate) fn forged<T: Statement>(statement: &T) -> Signed<T> {
    SigningKey::generate().unwrap().0.sign(statement).unwrap()
}

/// The same signature over a statement in which one byte is another.
pub(crate) fn tampered<T: Statement>(signed: &Signed<T>, at: usize) -> Signed<T> {
    let mut value = serde_json::to_value(signed).unwrap();
    let byte = value["bytes"][at].as_u64().unwrap();
    value["bytes"][at] = Value::from(byte ^ 1);
    serde_json::from_value(value).unwrap()
}

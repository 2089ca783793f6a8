//! Connections between nodes: made, taken, and listened to.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use difusor_proto::{
    Digest, NodeId, VerifyingKey,
    clock::Exchange,
    members::Members,
    peer::{ALPN_RELAY, Datagram, What},
    process::unix_us,
    wire::CloseCode,
};
use quinn::{Connection, Endpoint, crypto::rustls::HandshakeData};
use rustls_pki_types::CertificateDer;
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Event, link::Numbers};
use crate::relay::Relay;

/// A handshake takes a round trip, or two with an address to be proven; on a path that loses a third, some more.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// Handshakes under way at once.
const MAX_HANDSHAKES: usize = 256;

/// What the acceptor and the connections share.
pub(super) struct Shared {
    pub(super) me: NodeId,
    pub(super) key: VerifyingKey,
    pub(super) members: ArcSwapOption<Members>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) relay: Arc<Relay>,
}

/// Makes connections of one kind.
#[derive(Clone)]
pub(super) struct Dialler {
    pub(super) endpoint: Endpoint,
    pub(super) config: quinn::ClientConfig,
    pub(super) shared: Arc<Shared>,
}

impl std::fmt::Debug for Dialler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialler").field("me", &self.shared.me).finish_non_exhaustive()
    }
}

impl Dialler {
    /// Connects to a node at any of its addresses.
    pub(super) async fn dial(&self, node: &NodeId) -> anyhow::Result<Connection> {
        let members = self.shared.members.load_full().context("no members")?;
        let member = members.get(node).context("no member")?;
        let is_four = self.endpoint.local_addr()?.is_ipv4();
        let mut problem = anyhow::anyhow!("it has no address that this node can reach");
        for address in member.reach.peers.iter().filter(|address| !is_four || address.is_ipv4()) {
            // The name says nothing: who it is, the digest of its certificate does.
            let connecting = async {
                let connecting = self.endpoint.connect_with(self.config.clone(), *address, "node.difusor.internal");
                anyhow::Ok(connecting?.await?)
            };
            let connected = timeout(HANDSHAKE, connecting).await.map_err(anyhow::Error::from).flatten();
            match connected {
                Ok(connection) if self.shared.who(&connection).as_ref() == Some(node) => return Ok(connection),
                Ok(connection) => {
                    CloseCode::UnknownNode.close(&connection);
                    problem = anyhow::anyhow!("{address} is another node");
                }
                Err(error) => problem = anyhow::anyhow!("{address}: {error}"),
            }
        }
        Err(problem)
    }
}

impl Shared {
    /// The member that shows this certificate.
    fn who(&self, connection: &Connection) -> Option<NodeId> {
        let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        let certificate = Digest::of(chain.first()?);
        let members = self.members.load_full()?;
        members.find(&certificate).map(|member| member.node.clone()).filter(|node| *node != self.me)
    }
}

/// Accepts until cancelled.
pub(super) async fn accept(endpoint: Endpoint, shared: Arc<Shared>, cancel: CancellationToken) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let incoming = tokio::select! {
            () = cancel.cancelled() => return,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        let is_known = shared.members.load().as_ref().is_some_and(|members| {
            let from = incoming.remote_address().ip().to_canonical();
            members.nodes.iter().any(|member| member.reach.peers.iter().any(|at| at.ip().to_canonical() == from))
        });
        // Whoever is not where a member is shows first that its address is its own (RFC 9000 section 8.1.2).
        let is_busy = handshakes.available_permits() < MAX_HANDSHAKES / 2;
        if (!is_known || is_busy) && !incoming.remote_address_validated() && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let shaken = timeout(HANDSHAKE, incoming).await;
            drop(permit);
            let Ok(Ok(connection)) = shaken else { return };
            let Some(node) = shared.who(&connection) else {
                tracing::debug!(from = %connection.remote_address(), "a certificate of no member");
                return CloseCode::UnknownNode.close(&connection);
            };
            if is_relay(&connection) {
                return shared.relay.serve(&node, &connection).await;
            }
            listen(Arc::clone(&shared), node.clone(), connection.clone());
            let _ = shared.events.send(Event::Linked(node, connection)).await;
        });
    }
}

/// True if it was made to ask for cuts.
fn is_relay(connection: &Connection) -> bool {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    data.and_then(|data| data.protocol).is_some_and(|protocol| protocol == ALPN_RELAY)
}

/// Takes what comes on a connection, until it ends.
pub(super) fn listen(shared: Arc<Shared>, node: NodeId, connection: Connection) {
    tokio::spawn(async move {
        let mut numbers = Numbers::default();
        let mut members = shared.members.load_full();
        while let Ok(bytes) = connection.read_datagram().await {
            let arrived = unix_us();
            let now = shared.members.load_full();
            if !now.as_ref().zip(members.as_ref()).is_some_and(|(now, then)| Arc::ptr_eq(now, then)) {
                members = now;
                // It may have been taken out, or have another certificate by now.
                if shared.who(&connection).as_ref() != Some(&node) {
                    return CloseCode::UnknownNode.close(&connection);
                }
            }
            let Ok(datagram) = postcard::from_bytes::<Datagram<'_>>(&bytes) else {
                return CloseCode::Garbage.close(&connection);
            };
            let event = match datagram.what {
                What::Swim(_) if !numbers.is_new(datagram.number) => continue,
                What::Swim(packet) => Event::Swim(node.clone(), bytes.slice_ref(packet)),
                What::Ping { sent } => {
                    let what = What::Pong { sent, arrived, answered: unix_us() };
                    let answer = postcard::to_stdvec(&Datagram { number: datagram.number, what });
                    let _ = answer.map(|answer| connection.send_datagram(answer.into()));
                    continue;
                }
                What::Pong { sent, arrived: there, answered } => {
                    Event::Clock(node.clone(), Exchange { sent, arrived: there, answered, back: arrived })
                }
            };
            if shared.events.send(event).await.is_err() {
                return;
            }
        }
    });
}

//! The node among the other nodes: who is there, how they are, and what they tell, with or without a coordinator.
//!
//! One [task] owns it all. It takes what connections bring ([`connect`]), feeds failure detection ([`swim`]), and shows what
//! follows as a [`View`], which others only read. Connections are made when something is to be sent, and end when nobody
//! uses them. Who may connect is said by the list of members: its digest of the certificate, and nothing else, makes a
//! node.

mod connect;
mod link;
pub mod swim;
mod task;
pub mod view;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use difusor_proto::{
    Flip, NodeId, Signed, VerifyingKey,
    clock::Exchange,
    members::Members,
    peer::{Banned, Condition},
    tls,
    wire::{CloseCode, Offender},
};
use quinn::{Connection, Endpoint};
use tokio::{
    sync::mpsc,
    time::{sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

pub use self::view::{Unfit, View};
use self::{
    connect::{Dialler, Shared},
    task::{BEAT, Node},
};
use crate::{home::Home, relay::Relay};

/// What others tell this task.
enum Order {
    Members(Signed<Members>),
    State(Mood),
    Witness(NodeId, bool),
    Flip(Signed<Flip>, u64),
    Banned(Vec<Offender>),
}

/// Where what other nodes tell of goes.
pub struct Heard {
    /// Flips.
    pub flips: mpsc::UnboundedSender<Signed<Flip>>,
    /// Whom they let in no more; some are missed where this is full.
    pub offenders: mpsc::Sender<Banned>,
}

/// What this node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mood {
    /// How it is.
    pub condition: Condition,
    /// Why, as bits.
    pub reasons: u32,
    /// Serial of the last flip it obeyed.
    pub serial: u64,
    /// Number of the cut it serves.
    pub seq: u64,
    /// Number of the newest cut on disk.
    pub staged: u64,
    /// What is left of its capacity.
    pub headroom: u8,
}

/// For everyone else in the process.
#[derive(Debug, Clone)]
pub struct Peers {
    view: Arc<ArcSwap<View>>,
    orders: Option<mpsc::UnboundedSender<Order>>,
    /// How cuts are asked for.
    relays: Option<Dialler>,
}

impl Default for Peers {
    /// Alone.
    fn default() -> Self {
        Self { view: Arc::default(), orders: None, relays: None }
    }
}

impl Peers {
    /// What is known now.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// The coordinator says who is in the mesh.
    pub fn members(&self, members: Signed<Members>) {
        self.order(Order::Members(members));
    }

    /// This node says how it is.
    pub fn say(&self, mood: Mood) {
        self.order(Order::State(mood));
    }

    /// This node asked another over its public address.
    pub fn witness(&self, about: NodeId, is_well: bool) {
        self.order(Order::Witness(about, is_well));
    }

    /// A flip came, for this instant by the clock of this node, Unix microseconds. The others are told.
    pub fn flip(&self, flip: Signed<Flip>, at_us: u64) {
        self.order(Order::Flip(flip, at_us));
    }

    /// This node lets these in no more. The others are told, of some at a time.
    pub fn banned(&self, banned: Vec<Offender>) {
        self.order(Order::Banned(banned));
    }

    /// A connection to another node, over which cuts are asked for.
    ///
    /// # Errors
    /// If it cannot be reached, or is none that this node knows.
    pub async fn relay(&self, node: &NodeId) -> anyhow::Result<Connection> {
        self.relays.as_ref().context("this node has no connections to others")?.dial(node).await
    }

    fn order(&self, order: Order) {
        // Without peers, nobody hears it.
        let _ = self.orders.as_ref().map(|orders| orders.send(order));
    }
}

/// What comes from connections.
enum Event {
    /// A connection to or from that node is there.
    Linked(NodeId, Connection),
    /// None could be made.
    Failed(NodeId),
    /// A packet of failure detection.
    Swim(NodeId, Bytes),
    /// What the time is there.
    Clock(NodeId, Exchange),
}

/// A node's end of all connections to others, bound and not running yet.
pub struct Network {
    endpoint: Endpoint,
    dialler: Dialler,
    shared: Arc<Shared>,
    events: mpsc::Receiver<Event>,
    orders: mpsc::UnboundedReceiver<Order>,
    view: Arc<ArcSwap<View>>,
    heard: Heard,
    home: Home,
}

impl Network {
    /// Binds `bind` (UDP). What other nodes tell of goes where `tell` says; those that ask for cuts are answered by `relay`.
    ///
    /// # Errors
    /// If the address is taken, or the identity cannot be used.
    pub fn bind(
        bind: SocketAddr,
        me: NodeId,
        key: VerifyingKey,
        identity: &tls::Identity,
        home: Home,
        tell: Heard,
        relay: Arc<Relay>,
    ) -> anyhow::Result<(Self, Peers)> {
        let tls = tls::peers(identity)?;
        let endpoint =
            Endpoint::server(tls.server, bind).with_context(|| format!("binding UDP {bind} for other nodes"))?;
        let (events, heard) = mpsc::channel(1024);
        let (orders, ordered) = mpsc::unbounded_channel();
        let members = home.read_members().and_then(|signed| signed.open(&key).ok()).filter(|list| list.check().is_ok());
        let view = View { me: Some(me.clone()), members: members.map(Arc::new), ..View::default() };
        let shared = Arc::new(Shared { me, key, members: ArcSwapOption::new(view.members.clone()), events, relay });
        let dialler = |config| Dialler { endpoint: endpoint.clone(), config, shared: Arc::clone(&shared) };
        let (dialler, relays) = (dialler(tls.news), Some(dialler(tls.relay)));
        let view = Arc::new(ArcSwap::from_pointee(view));
        let peers = Peers { view: Arc::clone(&view), orders: Some(orders), relays };
        Ok((Self { endpoint, dialler, shared, events: heard, orders: ordered, view, heard: tell, home }, peers))
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// What the system gives.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Runs until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let Self { endpoint, dialler, shared, mut events, mut orders, view, heard, home } = self;
        let accepting = tokio::spawn(connect::accept(endpoint.clone(), Arc::clone(&shared), cancel.clone()));
        let mut node = Node::new(dialler, shared, view, heard, home);
        node.enlist();
        let mut beat = tokio::time::interval(BEAT);
        loop {
            let due = node.due();
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(order) = orders.recv() => node.obey(order),
                Some(event) = events.recv() => node.hear(event),
                () = sleep_until(due.into()) => node.tick(),
                _ = beat.tick() => node.beat(),
            }
            node.mind_clock();
            node.show();
        }
        let last = node.swim.leave(node.now());
        node.carry_out(last);
        // The last packets go out before the connections do.
        tokio::time::sleep(Duration::from_millis(50)).await;
        endpoint.close((CloseCode::Shutdown as u32).into(), CloseCode::Shutdown.name().as_bytes());
        let _ = timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
        let _ = accepting.await;
    }
}

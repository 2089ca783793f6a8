//! The mesh listener: accepts nodes over QUIC, and runs one session for each.
//!
//! A session reads control frames and turns them into events for the driver, and carries out what the driver says. It
//! decides nothing. Whoever breaks the protocol is counted and closed with a code; the others do not notice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use difusor_proto::{
    CutKey, Digest, Flip, MeshId, NodeId, Signed, Zone,
    limits::{MAX_CONTROL_FRAME, MAX_MEMBERS, MAX_OFFENDERS, MAX_WANT},
    process::unix_us,
    wire::{self, ALPN_ENROL, CloseCode, DeltaHead, FromCoordinator, FromNode, Hello, StreamHead, Version},
};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rustls_pki_types::CertificateDer;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    authority::Authority,
    delta::{Delta, Deltas, Effort},
    driver::{Command, Commands, FleetView, ToSession, view},
    enrol,
    fleet::NodeView,
    registry::Registry,
    replica::{Keepers, Keeping, Told, told},
    rollout::Event,
};

/// A connection that has not said hello after this long is no node.
const HELLO: Duration = Duration::from_secs(10);

/// A handshake takes two round trips.
const HANDSHAKE: Duration = Duration::from_secs(4);

/// Handshakes under way at once. Each costs some kilobytes and ends by itself soon.
const MAX_HANDSHAKES: usize = 2048;

/// Enrolments under way at once. Guests need no credentials, so they have a budget of their own that nodes do not share:
/// when it is spent, the next guest is sent away.
const MAX_GUESTS: usize = 32;

/// Bytes from which on the time of a delta, less the round trip of its end, says how fast a link is: less is over before
/// it is filled. What is left of a national cut that was taken apart is more, so a link is measured at every cut.
const MEASURED: u64 = 256 << 10;

/// How long what is said last to a node may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Offenders are told of once a second; a link may bring two of these close together.
const TATTLE: Duration = Duration::from_millis(500);

/// A round trip within one place, where links are faster than what is at their ends.
const NEAR: Duration = Duration::from_millis(5);

/// Bytes a second of a link elsewhere until it was measured: the 50 Mbit/s that the call asks for (clause II.a.iii.2).
const FAR: u64 = 6_250_000;

/// Everything a session needs.
pub struct Mesh {
    /// Signs certificates.
    pub authority: Authority,
    /// Knows the nodes.
    pub registry: Registry,
    /// Identity of the mesh.
    pub id: MeshId,
    /// The key that nodes pin.
    pub key: difusor_proto::VerifyingKey,
    /// Makes what is sent.
    pub deltas: Arc<Deltas>,
    /// How much is done for a delta, if not as each link asks for.
    pub effort: Option<Effort>,
    /// The nodes that keep the archive.
    pub keepers: Arc<Keepers>,
    /// To the driver.
    pub commands: Commands,
    /// What others see.
    pub fleet: FleetView,
}

/// Accepts until cancelled, then waits for the sessions to say goodbye.
pub async fn accept(mesh: Arc<Mesh>, endpoint: Endpoint, cancel: CancellationToken) {
    let sessions = TaskTracker::new();
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let guests = Arc::new(Semaphore::new(MAX_GUESTS));
    loop {
        let incoming = tokio::select! {
            () = cancel.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        // Whoever wants a handshake shows first that its address is its own (RFC 9000 section 8.1.2).
        if !incoming.remote_address_validated() && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let (mesh, guests) = (Arc::clone(&mesh), Arc::clone(&guests));
        sessions.spawn(async move {
            let shaken = tokio::time::timeout(HANDSHAKE, incoming).await;
            drop(permit);
            match shaken {
                Ok(Ok(connection)) => greet(mesh, connection, &guests).await,
                Ok(Err(error)) => refuse(&mesh, "handshake", &error.to_string()),
                Err(_) => refuse(&mesh, "handshake", "it took too long"),
            }
        });
    }
    sessions.close();
    // The driver told every session to end; a peer that does not read must not hold the process.
    let _ = tokio::time::timeout(Duration::from_secs(2), sessions.wait()).await;
    endpoint.close((CloseCode::Shutdown as u32).into(), CloseCode::Shutdown.name().as_bytes());
    let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
}

fn refuse(mesh: &Mesh, reason: &str, detail: &str) {
    tracing::warn!(%reason, %detail, "refused on the mesh listener");
    view(&mesh.fleet).refuse(reason);
}

/// Decides what a fresh connection is: an enrolment, a node, or neither.
async fn greet(mesh: Arc<Mesh>, connection: Connection, guests: &Semaphore) {
    let data =
        connection.handshake_data().and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok());
    let version = match data.and_then(|data| data.protocol) {
        Some(protocol) if protocol == ALPN_ENROL => {
            let Ok(_guest) = guests.try_acquire() else {
                refuse(&mesh, "guests", &connection.remote_address().to_string());
                return CloseCode::Silent.close(&connection);
            };
            if let Err(error) = enrol::serve(&mesh, &connection).await {
                refuse(&mesh, "enrolment", &format!("{error:#}"));
            }
            return;
        }
        Some(protocol) => Version::of(&protocol),
        None => None,
    };
    let Some(version) = version else { return CloseCode::Garbage.close(&connection) };
    let chain = connection.peer_identity().and_then(|id| id.downcast::<Vec<CertificateDer<'static>>>().ok());
    let certificate = chain.and_then(|chain| chain.first().map(|der| Digest::of(der)));
    let known = match certificate {
        None => Err(CloseCode::NoCertificate),
        Some(certificate) => mesh.registry.find(&certificate).ok_or(CloseCode::UnknownNode),
    };
    let opened = match known {
        Ok((node, zone)) => open(&mesh, &connection, node, zone, version).await,
        Err(code) => Err(code),
    };
    match opened {
        Ok(session) => session.run().await,
        Err(code) => {
            refuse(&mesh, code.name(), &connection.remote_address().to_string());
            code.close(&connection);
        }
    }
}

/// Waits for the hello of a known node, and tells the driver.
async fn open(
    mesh: &Arc<Mesh>,
    connection: &Connection,
    node: NodeId,
    zone: Zone,
    version: Version,
) -> Result<Session, CloseCode> {
    let hello = async {
        let (send, mut recv) = connection.accept_bi().await.map_err(|_| CloseCode::Done)?;
        let frame = wire::read_frame::<FromNode>(&mut recv, MAX_CONTROL_FRAME).await;
        match frame {
            Ok(Some(FromNode::Hello(hello))) => Ok((send, recv, hello)),
            Ok(_) => Err(CloseCode::Garbage),
            Err(error) => Err(error.close_code().unwrap_or(CloseCode::Done)),
        }
    };
    let (mut send, mut recv, hello) = tokio::time::timeout(HELLO, hello).await.map_err(|_| CloseCode::Silent)??;
    let shown = shown(mesh, &mut recv, &hello, version).await?;
    let welcome = FromCoordinator::Welcome { mesh: mesh.id, node: node.clone(), zone: zone.clone() };
    wire::write_frame(&mut send, &welcome).await.map_err(|_| CloseCode::Done)?;
    tracing::info!(%node, %zone, remote = %connection.remote_address(), software = %hello.software, "node connected");
    let (session, orders) = mpsc::unbounded_channel();
    let (mesh, connection) = (Arc::clone(mesh), connection.clone());
    let stable = connection.stable_id();
    mesh.show(&node, &zone, &hello);
    let holds = hello.holds.clone();
    let deltas = watch::Sender::new(0);
    let keeper = hello.archive.then(|| {
        let (told, heard) = mpsc::unbounded_channel();
        let (connection, orders) = (connection.clone(), session.clone());
        let keeping = Keeping { node: node.clone(), connection, orders, told: heard, deltas: deltas.subscribe() };
        let keepers = Arc::clone(&mesh.keepers);
        tokio::spawn(async move { keepers.keep(keeping).await });
        told
    });
    let asks = version >= Version::Five;
    let joined = Command::Joined { node: node.clone(), zone, hello, shown, asks, connection: stable, session };
    mesh.commands.send(joined).map_err(|_| CloseCode::Shutdown)?;
    let (recv, rate, tattled) = (Some(recv), Arc::default(), None);
    Ok(Session { mesh, connection, node, holds, send, recv, orders, rate, deltas, tattled, keeper })
}

/// The last flip of a node that obeyed a later one than is known here: who says so has to show it.
async fn shown(
    mesh: &Mesh,
    recv: &mut RecvStream,
    hello: &Hello,
    version: Version,
) -> Result<Option<Box<Signed<Flip>>>, CloseCode> {
    if version < Version::Five || hello.mark.serial <= view(&mesh.fleet).serial {
        return Ok(None);
    }
    let frame = tokio::time::timeout(HELLO, wire::read_frame::<FromNode>(recv, MAX_CONTROL_FRAME)).await;
    match frame.map_err(|_| CloseCode::Silent)? {
        Ok(Some(FromNode::Knows(Some(flip)))) if flip.open(&mesh.key).is_ok() => Ok(Some(Box::new(flip))),
        Ok(Some(FromNode::Knows(Some(_)))) => Err(CloseCode::Forged),
        Ok(Some(FromNode::Knows(None))) => {
            let serial = hello.mark.serial;
            tracing::error!(
                serial,
                "a node says that it obeyed a flip that is not known here, and cannot show it: bring state.json back from a backup \
                 that is newer, or enrol the node anew in an empty folder"
            );
            Ok(None)
        }
        Ok(_) => Err(CloseCode::Garbage),
        Err(error) => Err(error.close_code().unwrap_or(CloseCode::Done)),
    }
}

impl Mesh {
    /// Tells all nodes who is in the mesh.
    pub fn tell_members(&self) {
        // If nobody listens, the process is about to end.
        let _ = self.commands.send(Command::Members(self.registry.members(self.id)));
    }

    fn show(&self, node: &NodeId, zone: &Zone, hello: &Hello) {
        let mut fleet = view(&self.fleet);
        let serves = fleet.nodes.get(node).and_then(|node| node.serves);
        fleet.nodes.insert(
            node.clone(),
            NodeView {
                zone: zone.clone(),
                connected: true,
                software: Some(hello.software.clone()),
                public: hello.public.clone(),
                staged: hello.holds.first().copied(),
                serves: hello.holds.iter().find(|cut| Some(cut.root) == hello.mark.root).copied().or(serves),
                report: None,
                health: None,
                drained: self.registry.nodes().get(node).is_some_and(|member| member.drained),
            },
        );
    }
}

/// One connected node.
struct Session {
    mesh: Arc<Mesh>,
    connection: Connection,
    node: NodeId,
    /// Cuts it has on disk, newest first.
    holds: Vec<CutKey>,
    send: SendStream,
    recv: Option<RecvStream>,
    orders: mpsc::UnboundedReceiver<ToSession>,
    /// Bytes a second that the link carried when it was measured last; zero before.
    rate: Arc<AtomicU64>,
    /// Deltas on their way.
    deltas: watch::Sender<usize>,
    /// When the node last told of offenders.
    tattled: Option<Instant>,
    /// Told what the node says of packs, if it keeps the archive.
    keeper: Option<mpsc::UnboundedSender<Told>>,
}

impl Session {
    async fn run(mut self) {
        let Some(recv) = self.recv.take() else { return };
        let (frames, mut heard) = mpsc::channel(64);
        let (broken, mut end) = oneshot::channel();
        // Reading a frame cannot be cancelled half way, so it has a task of its own, which ends with the connection.
        tokio::spawn(async move { broken.send(listen(recv, frames).await) });
        let code = loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(ToSession::Close(code)) => break code,
                    Some(ToSession::Offer(cut)) => self.offer(cut),
                    Some(ToSession::Flip(flip)) => {
                        if wire::write_frame(&mut self.send, &FromCoordinator::Flip(*flip)).await.is_err() {
                            break CloseCode::Done;
                        }
                    }
                    Some(ToSession::Frame(frame)) => {
                        if wire::write_frame(&mut self.send, &*frame).await.is_err() {
                            break CloseCode::Done;
                        }
                    }
                    None => break CloseCode::Shutdown,
                },
                Some((frame, arrived)) = heard.recv() => {
                    if let Err(code) = self.hear(frame, arrived).await {
                        break code;
                    }
                }
                ended = &mut end => break ended.unwrap_or(CloseCode::Done),
            }
        };
        if !matches!(code, CloseCode::Done | CloseCode::Shutdown | CloseCode::Replaced) {
            refuse(&self.mesh, code.name(), self.node.as_str());
        }
        if code == CloseCode::UnknownNode {
            // That it is no node any more it should hear signed, before it is shut out.
            let _ = self.send.finish();
            let _ = tokio::time::timeout(LAST_WORDS, self.send.stopped()).await;
        }
        tracing::info!(node = %self.node, code = code.name(), "node disconnected");
        code.close(&self.connection);
        let left = Command::Left { node: self.node.clone(), connection: self.connection.stable_id() };
        let _ = self.mesh.commands.send(left);
    }

    async fn hear(&mut self, frame: FromNode, arrived: u64) -> Result<(), CloseCode> {
        let node = self.node.clone();
        let mut events = Vec::new();
        match frame {
            // A second hello is out of turn.
            FromNode::Hello(_) => return Err(CloseCode::Garbage),
            FromNode::Knows(None) => {}
            FromNode::Knows(Some(flip)) => {
                if flip.open(&self.mesh.key).is_err() {
                    return Err(CloseCode::Forged);
                }
                let _ = self.mesh.commands.send(Command::Shown(Box::new(flip)));
            }
            FromNode::Ping { sent } => {
                let pong = FromCoordinator::Pong { sent, arrived, answered: unix_us() };
                wire::write_frame(&mut self.send, &pong).await.map_err(|_| CloseCode::Done)?;
            }
            FromNode::Staged { cut, received, micros } => {
                let mut fleet = view(&self.mesh.fleet);
                if let Some(seen) = fleet.nodes.get_mut(&node) {
                    seen.staged = Some(cut);
                }
                if let Some(progress) = fleet.progress(&cut, &node) {
                    progress.received_bytes = Some(received);
                    progress.staged_us.get_or_insert(arrived);
                    progress.staging_us.get_or_insert(micros);
                }
                self.holds.insert(0, cut);
                events.push(Event::Staged { node, cut });
            }
            FromNode::Refused { cut, reason } => {
                tracing::error!(%node, seq = cut.seq, %reason, "a node cannot take a cut");
                let mut fleet = view(&self.mesh.fleet);
                fleet.refuse("by-node");
                if let Some(progress) = fleet.progress(&cut, &node) {
                    progress.refused = Some(reason);
                }
                events.push(Event::Refused { node, cut });
            }
            FromNode::Want { cut, digests } => {
                if digests.len() > MAX_WANT {
                    return Err(CloseCode::Oversize);
                }
                tracing::warn!(%node, seq = cut.seq, blobs = digests.len(), "asked for blobs again");
                view(&self.mesh.fleet).refuse("blobs-asked-again");
                self.again(cut, digests);
            }
            FromNode::Flipped { serial: _, cut, at_us } => view(&self.mesh.fleet).flipped(&node, &cut, at_us),
            FromNode::Offenders { banned } => {
                if banned.len() > MAX_OFFENDERS {
                    return Err(CloseCode::Oversize);
                }
                // Each is sent to all others: whoever says more than it should is not handed on.
                if self.tattled.is_none_or(|last| last.elapsed() >= TATTLE) {
                    self.tattled = Some(Instant::now());
                    let told = Command::Offenders { node: node.clone(), banned };
                    self.mesh.commands.send(told).map_err(|_| CloseCode::Shutdown)?;
                }
            }
            FromNode::Keeps { packs } => self.told(told(packs)?)?,
            FromNode::Kept { name } => self.told(Told::Kept(name))?,
            FromNode::NotKept { name, reason } => self.told(Told::NotKept(name, reason))?,
            FromNode::Reach(reach) => {
                if reach.check().is_err() {
                    return Err(CloseCode::Garbage);
                }
                let reach = reach.seen_from(self.connection.remote_address().ip());
                events.push(Event::Reached { node: node.clone(), gives: !reach.peers.is_empty() });
                match tokio::task::block_in_place(|| self.mesh.registry.reach(&node, &reach)) {
                    Ok(false) => {}
                    Ok(true) => self.mesh.tell_members(),
                    Err(error) => tracing::error!(%node, %error, "how a node is reached cannot be kept"),
                }
            }
            FromNode::Lacks { cut } => {
                tracing::info!(%node, seq = cut.seq, "no other node gave it the cut: sending it");
                events.push(Event::Lacks { node, cut });
            }
            FromNode::Health(health) => {
                if health.avoids.len() > MAX_MEMBERS {
                    return Err(CloseCode::Oversize);
                }
                if let Some(seen) = view(&self.mesh.fleet).nodes.get_mut(&node) {
                    seen.health = Some(health);
                }
            }
            FromNode::Report(report) => {
                events.push(Event::RoundTrip { node: node.clone(), rtt_us: report.rtt_us });
                if let Some(seen) = view(&self.mesh.fleet).nodes.get_mut(&node) {
                    seen.report = Some(report);
                }
            }
        }
        for event in events {
            self.mesh.commands.send(Command::Event(event)).map_err(|_| CloseCode::Shutdown)?;
        }
        Ok(())
    }

    /// Passes on what the node says of packs. One that keeps none has nothing to say.
    fn told(&self, told: Told) -> Result<(), CloseCode> {
        let keeper = self.keeper.as_ref().ok_or(CloseCode::Garbage)?;
        // If nobody listens, the session is about to end.
        let _ = keeper.send(told);
        Ok(())
    }

    /// Sends the delta from the newest cut that the node holds, on a stream of its own.
    fn offer(&self, cut: CutKey) {
        let held = self.holds.clone();
        let deltas = Arc::clone(&self.mesh.deltas);
        let effort = self.effort();
        self.transfer(cut, move || {
            // What is not in this archive is no base.
            let base = held.iter().find(|held| held.root != cut.root && deltas.manifest(held).is_ok());
            deltas.between(base, &cut, effort)
        });
    }

    /// How much is to be done for what this node is sent.
    fn effort(&self) -> Effort {
        match (self.mesh.effort, self.rate.load(Relaxed)) {
            (Some(effort), _) => effort,
            (None, 0) if self.connection.rtt() < NEAR => Effort::Whole,
            (None, 0) => self.mesh.deltas.effort(FAR),
            (None, rate) => self.mesh.deltas.effort(rate),
        }
    }

    fn again(&self, cut: CutKey, digests: Vec<Digest>) {
        let deltas = Arc::clone(&self.mesh.deltas);
        self.transfer(cut, move || deltas.again(&cut, &digests).map(Arc::new));
    }

    fn transfer<E: std::fmt::Display + Send + 'static>(
        &self,
        cut: CutKey,
        make: impl FnOnce() -> Result<Arc<Delta>, E> + Send + 'static,
    ) {
        let (mesh, connection, node) = (Arc::clone(&self.mesh), self.connection.clone(), self.node.clone());
        let (rate, under_way) = (Arc::clone(&self.rate), UnderWay::begin(&self.deltas));
        tokio::spawn(async move {
            let _under_way = under_way;
            let made = tokio::task::spawn_blocking(move || make().map_err(|e| e.to_string()));
            let delta = match made.await.map_err(|e| e.to_string()).and_then(|made| made) {
                Ok(made) => made,
                Err(error) => return tracing::error!(%node, seq = cut.seq, %error, "no delta could be made"),
            };
            let items = u32::try_from(delta.items.len()).unwrap_or(u32::MAX);
            let head = DeltaHead { cut, list: delta.list.clone(), items, bytes: delta.bytes };
            let started = Instant::now();
            match send(&mesh, &connection, &node, head, &delta).await {
                Ok(()) if delta.bytes >= MEASURED => {
                    let took = started.elapsed().saturating_sub(connection.rtt());
                    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
                    rate.store((delta.bytes.saturating_mul(1_000_000) / micros).max(1), Relaxed);
                }
                Ok(()) => {}
                // The session notices the broken connection itself; the node comes back and is offered the cut again.
                Err(error) => tracing::info!(%node, seq = cut.seq, %error, "a delta broke off"),
            }
        });
    }
}

/// Counts a delta while it is on its way.
struct UnderWay(watch::Sender<usize>);

impl UnderWay {
    fn begin(deltas: &watch::Sender<usize>) -> Self {
        deltas.send_modify(|under_way| *under_way += 1);
        Self(deltas.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|under_way| *under_way -= 1);
    }
}

/// Reads frames until the stream ends or breaks the rules.
async fn listen(mut recv: RecvStream, frames: mpsc::Sender<(FromNode, u64)>) -> CloseCode {
    loop {
        match wire::read_frame(&mut recv, MAX_CONTROL_FRAME).await {
            Ok(Some(frame)) => {
                if frames.send((frame, unix_us())).await.is_err() {
                    return CloseCode::Done;
                }
            }
            Ok(None) => return CloseCode::Done,
            Err(error) => return error.close_code().unwrap_or(CloseCode::Done),
        }
    }
}

/// Writes a delta to a stream of its own.
async fn send(
    mesh: &Mesh,
    connection: &Connection,
    node: &NodeId,
    head: DeltaHead,
    delta: &Delta,
) -> anyhow::Result<()> {
    let cut = head.cut;
    let again = head.list.is_none();
    if let Some(progress) = view(&mesh.fleet).progress(&cut, node) {
        progress.items = progress.items.saturating_add(head.items.into());
        progress.delta_bytes = progress.delta_bytes.saturating_add(head.bytes);
        progress.ready_us.get_or_insert_with(unix_us);
    }
    let mut stream = connection.open_uni().await?;
    // What was asked for again is what the cut is waiting for.
    stream.set_priority(i32::from(again))?;
    wire::write_frame(&mut stream, &StreamHead::Delta(head)).await?;
    for item in &delta.items {
        let head = wire::encode(&item.head)?;
        stream.write_all_chunks(&mut [head.into(), item.bytes.clone()]).await?;
        if let Some(progress) = view(&mesh.fleet).progress(&cut, node) {
            progress.sent_bytes = progress.sent_bytes.saturating_add(item.head.len);
        }
    }
    stream.finish()?;
    if let Ok(None) = stream.stopped().await
        && let Some(progress) = view(&mesh.fleet).progress(&cut, node)
    {
        progress.arrived_us.get_or_insert_with(unix_us);
    }
    Ok(())
}

//! The connection to the coordinator: dials, stays, and comes back.
//!
//! The node dials, so it works behind NAT. Whatever arrives is believed only for its signature and its digests. A
//! coordinator that breaks the rules is counted and cut off with a code, and dialled again later; while there is none,
//! the node serves on, for ever.

mod incoming;
mod keeping;
mod mending;
mod nearby;
mod offenders;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context as _;
use difusor_proto::{
    CutKey, Digest, Flip, Signed, VerifyingKey,
    clock::{ClockFilter, Exchange, Offset},
    flip::FlipRefused,
    limits::MAX_CONTROL_FRAME,
    members::Reach,
    process::{self, unix_us},
    store::Store,
    tls::COORDINATOR_NAME,
    wire::{self, CloseCode, FromCoordinator, FromNode, Hello, Report, Version},
};
use quinn::{Connection, RecvStream};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    admission::door::Door,
    enrol::{resolve, unspecified},
    gate::{Gate, GateError, MAX_WAIT, Obeyed},
    health::page::Board,
    keep::Keep,
    observe::Observatory,
    peers::Peers,
    relay::Relay,
    scrub::Scrub,
    stage::{Budget, Stage},
};

/// First wait after a lost connection; doubles up to [`MAX_BACKOFF`], each time with as much again at random, so that
/// the nodes of a mesh do not all dial a coordinator that just came back in the same instant.
const MIN_BACKOFF: Duration = Duration::from_millis(200);

/// Longest wait. Publication is every few minutes: this much later is soon enough, and no load.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// A coordinator that takes longer to answer is dialled again.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the clock is compared and the state reported.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long the last frames of a session may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long a flip that another node told of waits for the coordinator's own, after its instant.
const LATER: Duration = Duration::from_millis(500);

/// Comparisons of the clock at the start of a session, close together, so that the first flip has a good one.
const FIRST_PINGS: u32 = 4;

/// What the node needs to be in touch.
pub struct Sync {
    /// Decides what is served.
    pub gate: Arc<Gate>,
    /// What is counted while serving.
    pub observatory: Arc<Observatory>,
    /// Where cuts go.
    pub store: Store,
    /// The pinned key.
    pub key: VerifyingKey,
    /// Memory for blobs under way.
    pub budget: Budget,
    /// Addresses of the coordinator.
    pub addresses: Vec<String>,
    /// How it is dialled.
    pub client: quinn::ClientConfig,
    /// Where the public is served, for the console.
    pub public: Vec<String>,
    /// What was refused since start, by reason.
    pub refused: Refused,
    /// Complete cuts kept on disk.
    pub keep_cuts: usize,
    /// Shared by the stages of all cuts under way; whoever deletes packs has it alone.
    pub custody: Arc<tokio::sync::RwLock<()>>,
    /// Packs that are kept for the coordinator, if this node keeps any.
    pub keep: Option<Arc<Keep>>,
    /// Reads packs again, and knows what has to be fetched.
    pub scrub: Arc<Scrub>,
    /// The newest cut that could not be taken, and why; `None` once one was.
    pub cannot_take: Mutex<Option<(CutKey, String)>>,
    /// True while a session is up.
    pub connected: std::sync::atomic::AtomicBool,
    /// Since when, Unix microseconds.
    pub connected_us: AtomicU64,
    /// True if the coordinator said that this is no node of its mesh.
    pub expelled: std::sync::atomic::AtomicBool,
    /// Knows who is banned, here and elsewhere.
    pub door: Door,
    /// The other nodes.
    pub peers: Peers,
    /// How this node is.
    pub board: Arc<Board>,
    /// How this node is reached.
    pub reach: Reach,
    /// The coordinator's clock minus ours as it was measured last, microseconds; `i64::MIN` before that.
    pub offset_us: AtomicI64,
    /// The last flip that was obeyed on the word of another node.
    pub by_peers: Mutex<Option<Obeyed>>,
    /// Cuts that came from other nodes since the last hello: the coordinator may send them, and be none the worse for it.
    pub came: Mutex<HashSet<Digest>>,
    /// Held by whoever makes a cut complete.
    pub completing: tokio::sync::Mutex<()>,
    /// Gives cuts to other nodes.
    pub relay: Arc<Relay>,
    /// Bytes of cuts that came from other nodes.
    pub relayed: AtomicU64,
    /// The highest serial of those that were to be: the coordinator may bring the same, and be none the worse for it.
    pub tried: AtomicU64,
    /// What other nodes said of offenders.
    pub(crate) words: offenders::Words,
}

impl Sync {
    /// For how long a session is up, microseconds.
    pub fn in_touch_us(&self) -> Option<u64> {
        let is_up = self.connected.load(Relaxed);
        is_up.then(|| unix_us().saturating_sub(self.connected_us.load(Relaxed)))
    }

    /// Hears why the coordinator closed a connection, before it is closed from here, too.
    fn heed(&self, connection: &Connection) {
        let code = connection.close_reason().as_ref().and_then(CloseCode::of);
        if code == Some(CloseCode::UnknownNode) && !self.expelled.swap(true, Relaxed) {
            tracing::error!(
                "the coordinator says that this machine is no node of its mesh (any more): take it out of service, or let it \
                 join again with a new invitation, in an empty folder"
            );
        }
    }

    /// Tells other nodes of a flip: they may not be in touch with the coordinator.
    fn pass_on(&self, signed: &Signed<Flip>, offset: Offset) {
        if let Ok(flip) = signed.open(&self.key) {
            self.peers.flip(signed.clone(), offset.to_ours(flip.at_us));
        }
    }

    /// What is known of the coordinator's clock without a session.
    fn offset(&self) -> Offset {
        let offset_us = match self.offset_us.load(Relaxed) {
            // As the others have it, then.
            i64::MIN => self.peers.view().clock.map_or(0, |(offset, _)| offset),
            measured => measured,
        };
        Offset { offset_us, rtt_us: 0 }
    }

    /// Obeys flips that other nodes tell of, until cancelled. While the coordinator is there, it comes first.
    pub async fn obey_peers(
        self: Arc<Self>,
        mut flips: mpsc::UnboundedReceiver<Signed<Flip>>,
        cancel: CancellationToken,
    ) {
        while let Some(Some(signed)) = cancel.run_until_cancelled(flips.recv()).await {
            let Ok(flip) = signed.open(&self.key) else { continue };
            let offset = self.offset();
            let at_us = offset.to_ours(flip.at_us);
            self.peers.flip(signed.clone(), at_us);
            self.tried.fetch_max(flip.serial, Relaxed);
            let sync = Arc::clone(&self);
            tokio::spawn(async move {
                if sync.connected.load(Relaxed) {
                    let until = Duration::from_micros(at_us.saturating_sub(unix_us()));
                    let wait = until.min(MAX_WAIT) + LATER;
                    tokio::time::sleep(wait).await;
                }
                let gate = Arc::clone(&sync.gate);
                let obeyed = tokio::task::spawn_blocking(move || gate.obey(signed, offset)).await;
                match obeyed {
                    Ok(Ok(Some(obeyed))) => {
                        tracing::info!(
                            serial = obeyed.serial,
                            "a flip came from another node, and not from the coordinator"
                        );
                        *lock(&sync.by_peers) = Some(obeyed);
                    }
                    // It is not here yet, or was obeyed.
                    Ok(Ok(None) | Err(GateError::Refused(FlipRefused::Replay { .. }))) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "a flip that another node told of"),
                    Err(error) => tracing::error!(%error, "a flip that another node told of"),
                }
            });
        }
    }
}

/// Counts of what was refused.
#[derive(Debug, Clone, Default)]
pub struct Refused(Arc<Mutex<BTreeMap<String, u64>>>);

impl Refused {
    /// Counts one.
    pub fn count(&self, reason: &str) {
        *lock(&self.0).entry(reason.to_owned()).or_default() += 1;
    }

    /// All counts.
    pub fn all(&self) -> Vec<(String, u64)> {
        lock(&self.0).iter().map(|(reason, count)| (reason.clone(), *count)).collect()
    }
}

/// Dials until cancelled.
pub async fn run(sync: Arc<Sync>, cancel: CancellationToken) {
    let mut backoff = MIN_BACKOFF;
    loop {
        let began = Instant::now();
        tokio::select! {
            () = cancel.cancelled() => return,
            ended = dial(&sync, &cancel) => {
                if let Err(error) = ended {
                    tracing::warn!(error = format!("{error:#}"), "no session with the coordinator");
                }
            }
        }
        sync.connected.store(false, Relaxed);
        if cancel.is_cancelled() {
            return;
        }
        // A session that lasted says that the coordinator is well.
        backoff = if began.elapsed() > MAX_BACKOFF { MIN_BACKOFF } else { (backoff * 2).min(MAX_BACKOFF) };
        let wait = backoff.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Dials each address until one answers, and runs the session.
async fn dial(sync: &Arc<Sync>, cancel: &CancellationToken) -> anyhow::Result<()> {
    let mut problem = anyhow::anyhow!("no address to dial");
    for address in &sync.addresses {
        let attempt = async {
            let remote = resolve(address).await?;
            let endpoint = quinn::Endpoint::client(unspecified(remote))?;
            let connecting = endpoint.connect_with(sync.client.clone(), remote, COORDINATOR_NAME)?;
            let connection = connecting.await.inspect_err(|error| {
                if matches!(error, quinn::ConnectionError::TransportError(_)) {
                    sync.refused.count("handshake");
                }
            });
            anyhow::Ok((endpoint, connection.with_context(|| format!("connecting to {address}"))?))
        };
        match timeout(PATIENCE, attempt).await {
            Ok(Ok((endpoint, connection))) => {
                let code = Session::run(sync, &connection, cancel).await;
                code.close(&connection);
                let _ = timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
                let said = connection.close_reason().map(|reason| reason.to_string()).unwrap_or_default();
                tracing::info!(code = code.name(), said, "the session ended");
                return Ok(());
            }
            Ok(Err(error)) => problem = error,
            Err(_) => problem = anyhow::anyhow!("{address}: no answer in {} s", PATIENCE.as_secs()),
        }
    }
    Err(problem)
}

/// What the writer of a session is told.
enum Out {
    /// Send this.
    Frame(FromNode),
    /// Send no more, and wait until everything arrived.
    End,
}

/// One session.
struct Session {
    sync: Arc<Sync>,
    out: mpsc::UnboundedSender<Out>,
    version: Version,
    /// True if there is nobody at the other end.
    is_alone: bool,
    clock: Mutex<ClockFilter>,
    /// What was said last of how this node is, and of others.
    told: Mutex<Option<wire::Health>>,
    /// Cuts that wait for blobs, by root.
    stages: Mutex<HashMap<Digest, Arc<Stage>>>,
    /// Blobs and manifests of cuts that are here which were asked for, and when.
    asked: Mutex<HashMap<Digest, Instant>>,
    /// Since when a cut has no room, and how much it needs.
    room: Mutex<Option<(Instant, u64)>>,
}

impl Session {
    async fn run(sync: &Arc<Sync>, connection: &Connection, cancel: &CancellationToken) -> CloseCode {
        match Self::start(sync, connection).await {
            Ok((session, heard, out)) => session.serve(connection, heard, out, cancel).await,
            Err(code) => {
                sync.heed(connection);
                sync.refused.count(code.name());
                code
            }
        }
    }

    /// Says hello and waits to be let in. In TLS 1.3 the handshake ends here before it is judged there.
    async fn start(
        sync: &Arc<Sync>,
        connection: &Connection,
    ) -> Result<(Arc<Self>, RecvStream, JoinSet<()>), CloseCode> {
        let (mut send, mut recv) = connection.open_bi().await.map_err(|_| CloseCode::Done)?;
        let gate = Arc::clone(&sync.gate);
        let state = tokio::task::spawn_blocking(move || (gate.mark(), gate.last(), gate.held())).await;
        let (mark, last, held) = state.map_err(|_| CloseCode::Done)?;
        let holds = held.map_err(|error| {
            tracing::error!(%error, "the store cannot be read");
            CloseCode::Done
        })?;
        let software = env!("CARGO_PKG_VERSION").to_owned();
        lock(&sync.came).clear();
        let hello = Hello { software, mark, holds, public: sync.public.clone(), archive: sync.keep.is_some() };
        wire::write_frame(&mut send, &FromNode::Hello(hello)).await.map_err(|_| CloseCode::Done)?;
        let version = Version::of_connection(connection).unwrap_or(Version::Four);
        if version >= Version::Five {
            wire::write_frame(&mut send, &FromNode::Knows(last)).await.map_err(|_| CloseCode::Done)?;
        }
        let welcome = timeout(PATIENCE, wire::read_frame(&mut recv, MAX_CONTROL_FRAME)).await;
        match welcome.map_err(|_| CloseCode::Silent)? {
            Ok(Some(FromCoordinator::Welcome { mesh, node, zone })) if mesh == sync.key.mesh() => {
                tracing::info!(%node, %zone, "in touch with the coordinator");
            }
            Ok(Some(_)) => return Err(CloseCode::Garbage),
            Ok(None) => return Err(CloseCode::Done),
            Err(error) => return Err(error.close_code().unwrap_or(CloseCode::Done)),
        }
        sync.connected_us.store(unix_us(), Relaxed);
        sync.connected.store(true, Relaxed);
        sync.expelled.store(false, Relaxed);
        let (out, mut queue) = mpsc::unbounded_channel();
        let mut writer = JoinSet::new();
        writer.spawn(async move {
            while let Some(Out::Frame(frame)) = queue.recv().await {
                if wire::write_frame(&mut send, &frame).await.is_err() {
                    return;
                }
            }
            let _ = send.finish();
            let _ = send.stopped().await;
        });
        Ok((Arc::new(Self { out, version, is_alone: false, ..Self::alone(sync) }), recv, writer))
    }

    /// One with nobody at the other end.
    fn alone(sync: &Arc<Sync>) -> Self {
        let (out, version) = (mpsc::unbounded_channel().0, Version::Four);
        let (clock, told, stages, asked, room) = Default::default();
        Self { sync: Arc::clone(sync), out, version, is_alone: true, clock, told, stages, asked, room }
    }

    async fn serve(
        self: Arc<Self>,
        connection: &Connection,
        recv: RecvStream,
        mut writer: JoinSet<()>,
        cancel: &CancellationToken,
    ) -> CloseCode {
        let (frames, mut heard) = mpsc::channel(64);
        let mut listening = tokio::spawn(listen(recv, frames));
        let mut tasks: JoinSet<Result<(), CloseCode>> = JoinSet::new();
        let mut beat = tokio::time::interval(HEARTBEAT);
        let mut news = self.sync.door.offenders().map(|offenders| offenders.news());
        self.say_keeps().await;
        self.say(FromNode::Reach(self.sync.reach.clone()));
        (0..FIRST_PINGS).for_each(|_| self.say(FromNode::Ping { sent: unix_us() }));
        let code = loop {
            tokio::select! {
                () = cancel.cancelled() => break CloseCode::Shutdown,
                _ = beat.tick() => {
                    self.report();
                    self.say_health();
                    if let Some(banned) = news.as_mut().and_then(offenders::since) {
                        self.say(FromNode::Offenders { banned });
                    }
                    self.give_up_waiting();
                    for (cut, want) in self.due() {
                        let session = Arc::clone(&self);
                        tasks.spawn(async move {
                            session.ask(cut, want).await;
                            Ok(())
                        });
                    }
                    if self.has_room_again() {
                        tracing::info!("there is room again: saying hello once more");
                        break CloseCode::Done;
                    }
                }
                Some(done) = tasks.join_next() => match done {
                    Ok(Ok(())) => {}
                    Ok(Err(code)) => break code,
                    Err(error) => tracing::error!(%error, "a task of the session failed"),
                },
                Some((frame, back)) = heard.recv() => match frame {
                    FromCoordinator::Welcome { .. } => break CloseCode::Garbage,
                    FromCoordinator::Pong { sent, arrived, answered } => {
                        lock(&self.clock).sample(Exchange { sent, arrived, answered, back });
                        self.sync.offset_us.store(self.offset().offset_us, Relaxed);
                    }
                    FromCoordinator::Members(members) => self.sync.peers.members(members),
                    FromCoordinator::Nearby { cut, from } => {
                        let session = Arc::clone(&self);
                        tasks.spawn(async move { session.nearby(cut, from).await });
                    }
                    FromCoordinator::Flip(flip) => {
                        self.sync.pass_on(&flip, self.offset());
                        let session = Arc::clone(&self);
                        tasks.spawn(async move { session.flip(flip).await });
                    }
                    FromCoordinator::Offenders { node, banned } => self.sync.words.hear(&self.sync.door, &node, &banned),
                    FromCoordinator::Fetch { name } => {
                        let (session, connection) = (Arc::clone(&self), connection.clone());
                        tasks.spawn(async move { session.give(&connection, name).await });
                    }
                    FromCoordinator::Discard { name } => {
                        let session = Arc::clone(&self);
                        tasks.spawn(async move { session.discard(name).await });
                    }
                },
                ended = &mut listening => break ended.unwrap_or(CloseCode::Done),
                stream = connection.accept_uni() => match stream {
                    Ok(stream) => {
                        let session = Arc::clone(&self);
                        tasks.spawn(async move { session.stream(stream).await });
                    }
                    Err(_) => break CloseCode::Done,
                },
            }
        };
        if !matches!(code, CloseCode::Done | CloseCode::Shutdown) {
            self.sync.refused.count(code.name());
        }
        // What was said last, such as why a cut is refused, must arrive before the connection goes.
        let _ = self.out.send(Out::End);
        let _ = timeout(LAST_WORDS, writer.join_next()).await;
        self.sync.heed(connection);
        code.close(connection);
        // The next session says what is on disk: everything under way must have ended by then.
        while tasks.join_next().await.is_some() {}
        drop(writer);
        code
    }

    fn say(&self, frame: FromNode) {
        // If the writer is gone, so is the connection, and the loop is about to see it.
        let _ = self.out.send(Out::Frame(frame));
    }

    fn offset(&self) -> Offset {
        lock(&self.clock).best().unwrap_or_else(|| if self.is_alone { self.sync.offset() } else { Offset::default() })
    }

    fn report(&self) {
        let Offset { offset_us, rtt_us } = self.offset();
        let counts = self.sync.observatory.totals();
        self.say(FromNode::Ping { sent: unix_us() });
        self.say(FromNode::Report(Report {
            rss: process::resident().0,
            requests: counts.requests(),
            bytes: counts.body_bytes,
            refused: self.sync.refused.all(),
            offset_us,
            rtt_us,
        }));
    }

    async fn flip(&self, flip: Signed<Flip>) -> Result<(), CloseCode> {
        let (gate, offset) = (Arc::clone(&self.sync.gate), self.offset());
        let obeyed = tokio::task::spawn_blocking(move || gate.obey(flip, offset)).await;
        self.obeyed(obeyed.map_err(|_| CloseCode::Done)?)
    }

    fn obeyed(&self, obeyed: Result<Option<Obeyed>, GateError>) -> Result<(), CloseCode> {
        match obeyed {
            Ok(None) => Ok(()),
            Ok(Some(obeyed)) => {
                let at_us = self.offset().to_theirs(obeyed.at_us);
                if self.is_alone {
                    *lock(&self.sync.by_peers) = Some(obeyed);
                }
                self.say(FromNode::Flipped { serial: obeyed.serial, cut: obeyed.cut, at_us });
                self.tidy();
                Ok(())
            }
            Err(GateError::Refused(FlipRefused::Replay { serial, .. })) if self.was_obeyed(serial) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "a flip was not obeyed");
                error.close_code().map_or(Ok(()), Err)
            }
        }
    }

    /// True if this flip came sooner from another node, which is no fault of the coordinator; it is told since when.
    fn was_obeyed(&self, serial: u64) -> bool {
        if serial > self.sync.tried.load(Relaxed) {
            return false;
        }
        let obeyed = *lock(&self.sync.by_peers);
        if let Some(obeyed) = obeyed.filter(|obeyed| obeyed.serial == serial) {
            let at_us = self.offset().to_theirs(obeyed.at_us);
            self.say(FromNode::Flipped { serial, cut: obeyed.cut, at_us });
            self.tidy();
        }
        true
    }

    /// Says how this node is, and whom it would send no visitors to, if that is something else than before.
    fn say_health(&self) {
        let (health, view) = (self.sync.board.health(), self.sync.peers.view());
        let avoids = view.all(unix_us()).into_iter().filter_map(|(member, unfit)| Some((member.node, unfit?)));
        let avoids = avoids.filter(|(node, _)| view.me.as_ref() != Some(node));
        let health = wire::Health {
            condition: health.state,
            reasons: health.reasons.iter().map(|reason| reason.name().to_owned()).collect(),
            avoids: avoids.map(|(node, unfit)| (node, unfit.name().to_owned())).collect(),
        };
        let mut told = lock(&self.told);
        if told.as_ref() != Some(&health) {
            *told = Some(health.clone());
            self.say(FromNode::Health(health));
        }
    }

    /// After a flip, off its path: waits until the disk holds everything, and gives back the space of old cuts.
    fn tidy(&self) {
        let sync = Arc::clone(&self.sync);
        // Not while a cut is being staged: it counts on blobs of older ones. The next flip is another chance.
        let idle = Arc::clone(&sync.custody).try_write_owned();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = sync.store.settle() {
                tracing::error!(%error, "settling");
            }
            if idle.is_ok() {
                match sync.gate.retire(sync.keep_cuts) {
                    Ok(0) => {}
                    Ok(packs) => tracing::info!(packs, "space of old cuts given back"),
                    Err(error) => tracing::error!(%error, "old cuts could not be given up"),
                }
            }
        });
    }
}

/// Reads frames until the stream ends or breaks the rules.
async fn listen(mut recv: RecvStream, frames: mpsc::Sender<(FromCoordinator, u64)>) -> CloseCode {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the value whole, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The one task that owns publication: feeds the [`Rollout`], keeps the [`State`], and tells sessions what to send.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use difusor_proto::{
    CutKey, Flip, FlipKind, NodeId, Signed, SigningKey, Zone,
    members::Members,
    process::unix_us,
    store::Store,
    wire::{CloseCode, FromCoordinator, Hello, Offender},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    fleet::Fleet,
    rollout::{Action, Event, Rollout},
    state::{Planned, State},
    witness::Witness,
};

/// What the fleet looks like, for whoever shows it.
pub type FleetView = Arc<Mutex<Fleet>>;

/// Locks the view. Whoever holds it must not wait for anything.
pub fn view(fleet: &FleetView) -> MutexGuard<'_, Fleet> {
    // A view that a panic left half written is shown once and then overwritten.
    fleet.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a session is told.
#[derive(Debug)]
pub enum ToSession {
    /// Send what the node lacks for this cut.
    Offer(CutKey),
    /// Send this flip.
    Flip(Box<Signed<Flip>>),
    /// Send this frame.
    Frame(Box<FromCoordinator>),
    /// End.
    Close(CloseCode),
}

/// What the driver is told.
#[derive(Debug)]
pub enum Command {
    /// A node said hello on a new connection.
    Joined {
        /// Which node.
        node: NodeId,
        /// Its zone.
        zone: Zone,
        /// What it said.
        hello: Hello,
        /// The last flip that it obeyed, if it showed one that this coordinator had not signed, as far as it knew.
        shown: Option<Box<Signed<Flip>>>,
        /// True if it can be told to have cuts from other nodes.
        asks: bool,
        /// Tells connections of one node apart.
        connection: usize,
        /// Its session.
        session: mpsc::UnboundedSender<ToSession>,
    },
    /// A connection ended.
    Left {
        /// Of which node.
        node: NodeId,
        /// Which connection.
        connection: usize,
    },
    /// A node bans someone: the others are told.
    Offenders {
        /// Which node.
        node: NodeId,
        /// Who.
        banned: Vec<Offender>,
    },
    /// Who is in the mesh: all nodes are told.
    Members(Members),
    /// A node shows the last flip that it obeyed.
    Shown(Box<Signed<Flip>>),
    /// Something happened to a cut.
    Event(Event),
    /// Carry this out, after a restart too. The cut is on this disk.
    Plan {
        /// What.
        order: Planned,
        /// Told when it is on disk.
        done: oneshot::Sender<std::io::Result<()>>,
    },
    /// Cuts up to this number need no flip.
    Decide {
        /// The number.
        seq: u64,
        /// Told when it is on disk.
        done: oneshot::Sender<std::io::Result<()>>,
    },
}

/// Where commands go.
pub type Commands = mpsc::UnboundedSender<Command>;

/// How often the deadlines are looked at.
const TICK: Duration = Duration::from_millis(500);

/// The task and what it owns.
pub struct Driver {
    /// Decides.
    pub rollout: Rollout,
    /// The last flip, on disk.
    pub state: State,
    /// Signs flips.
    pub key: Arc<SigningKey>,
    /// What others see.
    pub fleet: FleetView,
    /// Sees when nodes flip.
    pub witness: Witness,
    /// The cuts that are here.
    store: Store,
    /// The highest number of a cut that was ever published, as far as is known.
    taken: Arc<AtomicU64>,
    sessions: HashMap<NodeId, (usize, mpsc::UnboundedSender<ToSession>)>,
    /// Who is in the mesh, by the last list.
    members: Option<(Members, Signed<Members>)>,
}

impl Driver {
    /// A driver without nodes.
    pub fn new(
        rollout: Rollout,
        state: State,
        key: Arc<SigningKey>,
        fleet: FleetView,
        witness: Witness,
        store: Store,
        taken: Arc<AtomicU64>,
    ) -> Self {
        taken.fetch_max(state.decided(), Relaxed);
        Self { rollout, state, key, fleet, witness, store, taken, sessions: HashMap::new(), members: None }
    }

    /// Runs until cancelled, then closes every session.
    pub async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>, cancel: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                _ = tick.tick() => self.step(Event::Tick),
                command = commands.recv() => match command {
                    Some(command) => self.handle(command),
                    None => break,
                },
            }
        }
        for (_, session) in self.sessions.values() {
            let _ = session.send(ToSession::Close(CloseCode::Shutdown));
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Joined { node, session, .. }
                if self.members.as_ref().is_some_and(|(members, _)| members.get(&node).is_none()) =>
            {
                // It was taken out while it said hello.
                tracing::warn!(%node, "it is no node any more");
                let _ = session.send(ToSession::Close(CloseCode::UnknownNode));
            }
            Command::Joined { node, zone, hello, shown, asks, connection, session } => {
                if let Some(shown) = shown {
                    self.learn(*shown);
                }
                let replaced = self.sessions.insert(node.clone(), (connection, session));
                if let Some((_, old)) = replaced {
                    let _ = old.send(ToSession::Close(CloseCode::Replaced));
                }
                if let Some((_, members)) = &self.members {
                    self.tell(&node, ToSession::Frame(Box::new(FromCoordinator::Members(members.clone()))));
                }
                let holds = hello.holds.iter().map(|cut| cut.root).collect();
                let known = self.members.as_ref().and_then(|(members, _)| members.get(&node));
                let gives = asks && known.is_some_and(|member| !member.reach.peers.is_empty());
                self.step(Event::Joined { node, zone, holds, serial: hello.mark.serial, asks, gives });
            }
            Command::Left { node, connection } => {
                if self.sessions.get(&node).is_some_and(|(current, _)| *current == connection) {
                    self.sessions.remove(&node);
                    if let Some(seen) = view(&self.fleet).nodes.get_mut(&node) {
                        seen.connected = false;
                    }
                    self.step(Event::Left { node });
                }
            }
            Command::Offenders { node, banned } => {
                for (other, (_, session)) in &self.sessions {
                    if *other != node {
                        let frame = FromCoordinator::Offenders { node: node.clone(), banned: banned.clone() };
                        // If nobody listens, the session is about to end.
                        let _ = session.send(ToSession::Frame(Box::new(frame)));
                    }
                }
            }
            Command::Members(members) => self.members(&members),
            Command::Shown(flip) => {
                if self.learn(*flip) {
                    self.step(Event::Tick);
                }
            }
            Command::Event(event) => self.step(event),
            Command::Plan { order, done } => {
                let mut kept = tokio::task::block_in_place(|| self.state.plan(order));
                if let (Err(error), FlipKind::Publish) = (&kept, order.kind) {
                    // The cut is in the archive, where a restart finds it; its flip is tried until it can be written.
                    tracing::error!(seq = order.cut.seq, %error, "the order cannot be kept on disk yet");
                    kept = Ok(());
                }
                let good = kept.is_ok();
                let _ = done.send(kept);
                if good {
                    self.step(match order.kind {
                        FlipKind::Publish => Event::Durable { cut: order.cut },
                        kind => Event::Publish { cut: order.cut, kind, durable: true },
                    });
                }
            }
            Command::Decide { seq, done } => {
                let _ = done.send(self.state.decide(seq));
            }
        }
    }

    /// Goes on from a flip that this coordinator has signed and does not know: its folder came back from a backup, or lies on
    /// another machine. No number is used again, no node is led back, and a cut that is only on nodes stays the one that is
    /// served. False if it was known, as nearly always.
    fn learn(&mut self, signed: Signed<Flip>) -> bool {
        let Ok(flip) = signed.open(&self.key.verifying_key()) else { return false };
        let (cut, known) = (flip.cut, self.state.serial());
        // Of two histories, the one that went further is what visitors saw last.
        let is_newer = flip.newest() > self.state.decided();
        if flip.mesh != self.key.verifying_key().mesh() || (flip.serial <= known && !is_newer) {
            return false;
        }
        let is_here = self.store.manifest(&cut).is_ok_and(|found| found.is_some());
        tracing::warn!(
            seq = cut.seq, label = %cut.label, serial = flip.serial, known, is_here,
            "a node showed a flip that is forgotten here: going on from it"
        );
        if !is_here {
            self.rollout.is_absent(&cut);
        }
        if flip.serial > known {
            if let Err(error) = tokio::task::block_in_place(|| self.state.adopt(signed, &flip)) {
                tracing::error!(%error, "what a node showed cannot be kept on disk");
                return false;
            }
            self.rollout.adopt(&flip);
        } else {
            self.step(Event::Publish { cut, kind: FlipKind::Publish, durable: true });
        }
        self.taken.fetch_max(flip.newest(), Relaxed);
        true
    }

    /// Tells everyone who is in the mesh. Whoever is not any more hears that, too, and is closed.
    fn members(&mut self, members: &Members) {
        if self.members.as_ref().is_some_and(|(told, _)| told.serial >= members.serial) {
            return;
        }
        let signed = match self.key.sign(members) {
            Ok(signed) => signed,
            Err(error) => return tracing::error!(%error, "the list of members cannot be signed"),
        };
        let mut fleet = view(&self.fleet);
        fleet.nodes.retain(|node, _| members.get(node).is_some());
        for member in &members.nodes {
            if let Some(seen) = fleet.nodes.get_mut(&member.node) {
                seen.drained = member.drained;
            }
        }
        drop(fleet);
        for (node, (_, session)) in &self.sessions {
            let _ = session.send(ToSession::Frame(Box::new(FromCoordinator::Members(signed.clone()))));
            if members.get(node).is_none() {
                let _ = session.send(ToSession::Close(CloseCode::UnknownNode));
            }
        }
        self.members = Some((members.clone(), signed));
    }

    fn step(&mut self, event: Event) {
        for action in self.rollout.step(event, unix_us()) {
            match action {
                Action::Offer { node, cut } => self.tell(&node, ToSession::Offer(cut)),
                Action::Nearby { node, cut, from } => {
                    if let Some(progress) = view(&self.fleet).progress(&cut, &node) {
                        progress.source = from.first().cloned();
                    }
                    self.tell(&node, ToSession::Frame(Box::new(FromCoordinator::Nearby { cut, from })));
                }
                Action::Flip { cut, at_us, kind } => self.flip(cut, at_us, kind),
                Action::Remind { node } => {
                    if let Some(flip) = self.state.flip().cloned() {
                        self.tell(&node, ToSession::Flip(Box::new(flip)));
                    }
                }
                Action::GiveUp { cut } => {
                    if let Err(error) = self.state.drop_plan(&cut) {
                        tracing::error!(%error, "the state cannot be written");
                    }
                    tracing::error!(seq = cut.seq, label = %cut.label, "no connected node can take this cut: not published");
                }
            }
        }
        let target = self.rollout.target();
        self.expect(target);
        let mut fleet = view(&self.fleet);
        fleet.current = self.rollout.current();
        fleet.target = target;
        fleet.serial = self.state.serial();
    }

    fn flip(&mut self, cut: CutKey, at_us: u64, kind: FlipKind) {
        self.expect(Some(cut));
        let mesh = self.key.verifying_key().mesh();
        match tokio::task::block_in_place(|| self.state.next_flip(&self.key, mesh, cut, at_us, kind)) {
            Ok((serial, flip)) => {
                tracing::info!(seq = cut.seq, label = %cut.label, serial, ?kind, "flip");
                self.rollout.flipped(serial);
                self.witness.flips(&cut, at_us);
                if let Some(seen) = view(&self.fleet).cut(&cut) {
                    seen.flip_at_us.get_or_insert(at_us);
                }
                for node in self.sessions.keys() {
                    self.tell(node, ToSession::Flip(Box::new(flip.clone())));
                }
            }
            // The nodes go on with what they serve. Losing the state would be worse than this cut being late.
            Err(error) => {
                tracing::error!(seq = cut.seq, %error, "the flip cannot be kept on disk and was not sent: it is tried again");
                self.rollout.flip_failed();
            }
        }
    }

    /// Has the nodes watched until this cut flips.
    fn expect(&mut self, cut: Option<CutKey>) {
        let members = self.members.as_ref().map(|(members, _)| members);
        self.witness.expect(cut, members, self.sessions.keys());
    }

    fn tell(&self, node: &NodeId, what: ToSession) {
        if let Some((_, session)) = self.sessions.get(node) {
            let _ = session.send(what);
        }
    }
}

//! Nodes that keep the archive: each is sent what it lacks, one pack at a time, and asked when one is needed here.
//!
//! Packs give way to cuts: their stream has the lowest priority, and nothing more of a pack is handed to the connection
//! while a delta is on its way to that node. What a node says it has verified is believed; what comes back from it is not.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use difusor_proto::{
    NodeId,
    limits::{MAX_KEPT, MAX_PACK_HEAD},
    process::unix_us,
    store::PackName,
    transit,
    wire::{self, CloseCode, FromCoordinator, Held, PackHead, StreamHead},
};
use quinn::Connection;
use tokio::sync::{Notify, mpsc, watch};

use super::{
    Fetcher, LOOK,
    plan::{self, Packs, Step},
};
use crate::driver::{FleetView, ToSession, view};

/// A pack that is not acknowledged after this long is given up. The largest takes as long over 8 Mbit/s.
const ACKNOWLEDGE: Duration = Duration::from_secs(600);

/// A node that was asked for a pack begins to send it before.
const ANSWER: Duration = Duration::from_secs(30);

/// What a node says of packs.
#[derive(Debug)]
pub enum Told {
    /// It has these.
    Keeps(Vec<Held>),
    /// It has this one now.
    Kept(PackName),
    /// It has not, and why.
    NotKept(PackName, String),
}

/// All nodes that keep the archive.
pub struct Keepers {
    fetcher: Fetcher,
    committed: watch::Receiver<()>,
    fleet: FleetView,
    live: Mutex<HashMap<NodeId, Keeper>>,
    joined: Notify,
}

#[derive(Clone)]
struct Keeper {
    connection: Connection,
    orders: mpsc::UnboundedSender<ToSession>,
    there: Packs,
}

/// One session with such a node.
pub struct Keeping {
    /// Which node.
    pub node: NodeId,
    /// Its connection.
    pub connection: Connection,
    /// What its session is told.
    pub orders: mpsc::UnboundedSender<ToSession>,
    /// What it says.
    pub told: mpsc::UnboundedReceiver<Told>,
    /// Deltas on their way to it.
    pub deltas: watch::Receiver<usize>,
}

impl Keepers {
    /// None yet.
    pub fn new(fetcher: Fetcher, committed: watch::Receiver<()>, fleet: FleetView) -> Self {
        Self { fetcher, committed, fleet, live: Mutex::default(), joined: Notify::new() }
    }

    /// Waits until a node has said which packs it has.
    pub async fn joined(&self) {
        self.joined.notified().await;
    }

    /// Keeps a node's copies until its session ends.
    pub async fn keep(&self, mut session: Keeping) {
        let to = format!("node {}", session.node);
        self.show(&to, |seen| seen.last_error = Some("it has not said yet what it keeps".into()));
        let stable = session.connection.stable_id();
        match self.serve(&to, &mut session).await {
            Ok(()) => {}
            Err(error) => tracing::warn!(node = %session.node, error = format!("{error:#}"), "its copies are behind"),
        }
        let mut live = self.live();
        if live.get(&session.node).is_some_and(|keeper| keeper.connection.stable_id() == stable) {
            live.remove(&session.node);
            drop(live);
            self.show(&to, |seen| seen.last_error = Some("it is not in touch".into()));
        }
    }

    async fn serve(&self, to: &str, session: &mut Keeping) -> anyhow::Result<()> {
        let Some(Told::Keeps(packs)) = session.told.recv().await else { return Ok(()) };
        let mut there: Packs = packs.into_iter().map(|held| (held.name, held.len)).collect();
        let mut committed = self.committed.clone();
        let mut skipped = HashSet::new();
        let mut problem = None;
        self.publish(session, &there);
        self.joined.notify_one();
        loop {
            committed.mark_unchanged();
            let here = self.fetcher.here().await??;
            let ((held, bytes), (missing, missing_bytes)) = plan::count(&here, &there, &there);
            self.show(to, |seen| {
                (seen.held, seen.bytes, seen.missing, seen.missing_bytes) = (held, bytes, missing, missing_bytes);
                seen.last_error.clone_from(&problem);
            });
            match plan::next(&here, &there, &there, &skipped) {
                Some(Step::Upload(name, len)) => match self.send(session, &name, len).await? {
                    None => {
                        tracing::info!(node = %session.node, %name, bytes = len, "kept by a node");
                        there.insert(name, len);
                        problem = None;
                    }
                    Some(reason) => {
                        tracing::warn!(node = %session.node, %name, reason, "not kept by a node");
                        skipped.insert(name);
                        problem = Some(reason);
                    }
                },
                Some(Step::Delete(name)) => {
                    let frame = FromCoordinator::Discard { name: name.clone() };
                    session.orders.send(ToSession::Frame(Box::new(frame)))?;
                    there.remove(&name);
                }
                Some(Step::Check(..)) | None => tokio::select! {
                    changed = committed.changed() => changed?,
                    () = tokio::time::sleep(LOOK) => skipped.clear(),
                    // Nothing was asked, so this is a pack that was to come back, or the end.
                    told = session.told.recv() => if told.is_none() { return Ok(()) },
                },
            }
            self.publish(session, &there);
        }
    }

    /// Sends one pack. Says why the node does not keep it, if it does not.
    async fn send(&self, session: &mut Keeping, name: &PackName, len: u64) -> anyhow::Result<Option<String>> {
        let digest = match self.fetcher.sound(name).await? {
            Ok(digest) => digest,
            Err(error) => return Ok(Some(error.to_string())),
        };
        let head = PackHead { name: name.clone(), len, digest };
        let path = self.fetcher.packs().join(name.as_str());
        let mut stream = session.connection.open_uni().await?;
        // Deltas have zero and more.
        stream.set_priority(-1)?;
        wire::write_frame(&mut stream, &StreamHead::Pack(head.clone())).await?;
        let sent = transit::send(&mut stream, &head, &path, Some(session.deltas.clone())).await;
        // A node that has no room stops the stream, and says why.
        let sent = sent.map(|()| drop(stream.finish()));
        let acknowledged = tokio::time::timeout(ACKNOWLEDGE, async {
            loop {
                match session.told.recv().await {
                    Some(Told::Kept(kept)) if kept == *name => return Ok(None),
                    Some(Told::NotKept(other, reason)) if other == *name => return Ok(Some(reason)),
                    Some(_) => {}
                    None => return sent.map(|()| Some("the session ended".into())),
                }
            }
        });
        Ok(acknowledged.await??)
    }

    /// Asks the nodes that have a pack for it, one after the other, and puts it in its place.
    ///
    /// # Errors
    /// If none has it, or none sends it whole.
    pub async fn fetch(&self, name: &PackName) -> anyhow::Result<()> {
        let having: Vec<_> = self
            .live()
            .iter()
            .filter(|(_, keeper)| keeper.there.contains_key(name))
            .map(|(node, keeper)| (node.clone(), keeper.clone()))
            .collect();
        let mut problem = anyhow::anyhow!("no node that is in touch keeps {name}");
        for (node, keeper) in having {
            match self.fetch_from(&keeper, name).await {
                Ok(()) => {
                    tracing::warn!(%node, %name, "a whole copy came from a node");
                    return Ok(());
                }
                Err(error) => problem = error.context(format!("from node {node}")),
            }
        }
        Err(problem)
    }

    async fn fetch_from(&self, keeper: &Keeper, name: &PackName) -> anyhow::Result<()> {
        let _turn = self.fetcher.turn().await;
        let frame = FromCoordinator::Fetch { name: name.clone() };
        keeper.orders.send(ToSession::Frame(Box::new(frame)))?;
        let answer = async {
            let mut stream = keeper.connection.accept_uni().await?;
            let head = wire::read_frame::<PackHead>(&mut stream, MAX_PACK_HEAD).await?;
            anyhow::Ok((stream, head))
        };
        let (mut stream, head) = tokio::time::timeout(ANSWER, answer).await??;
        let head = head.filter(|head| head.name == *name && keeper.there.get(name) == Some(&head.len));
        let head = head.ok_or_else(|| {
            CloseCode::Garbage.close(&keeper.connection);
            anyhow::anyhow!("another pack came than was asked for")
        })?;
        let tmp = self.fetcher.tmp(name);
        let received = tokio::time::timeout(ACKNOWLEDGE, transit::receive(&mut stream, &head, &tmp)).await;
        let placed = match received {
            Ok(Ok(())) => self.fetcher.place(name, &tmp).await.map_err(anyhow::Error::from),
            Ok(Err(error)) => Err(error.into()),
            Err(slow) => Err(slow.into()),
        };
        if placed.is_err() {
            let _ = tokio::fs::remove_file(&tmp).await;
        }
        placed
    }

    fn publish(&self, session: &Keeping, there: &Packs) {
        let (connection, orders, there) = (session.connection.clone(), session.orders.clone(), there.clone());
        self.live().insert(session.node.clone(), Keeper { connection, orders, there });
    }

    fn show(&self, to: &str, change: impl FnOnce(&mut crate::fleet::ReplicaView)) {
        view(&self.fleet).replica(to).change(unix_us() / 1000, change);
    }

    fn live(&self) -> MutexGuard<'_, HashMap<NodeId, Keeper>> {
        // Entries are put in and taken out whole.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a frame says of packs; an error if it says too much.
///
/// # Errors
/// What the connection has to be closed with.
pub fn told(packs: Vec<Held>) -> Result<Told, CloseCode> {
    if packs.len() > MAX_KEPT { Err(CloseCode::Oversize) } else { Ok(Told::Keeps(packs)) }
}

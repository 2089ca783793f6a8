//! A cut from other nodes: of one zone only the first has it from the coordinator.
//!
//! Sources are asked one after another. What one gave is kept, and only the rest asked of the next; what no source could
//! give, the coordinator does. A source is believed no further than its bytes verify, and one that stalls is left.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::Context as _;
use difusor_proto::{
    CutKey, NodeId,
    limits::{MAX_MANIFEST_BYTES, MAX_SOURCES, MAX_WANT},
    peer::Ask,
    wire::{self, CloseCode, DeltaHead, FromNode, List, Version},
};
use quinn::{Connection, RecvStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Session, Sync, lock};
use crate::stage::{Stage, StageError};

/// How long a source may take to answer, and to bring the next bytes: far longer than any path within a zone, and shorter
/// than people wait for a result.
const PATIENCE: Duration = Duration::from_secs(4);

/// How often a node without a coordinator looks whether others hold a cut that it should serve.
const LOOK: Duration = Duration::from_secs(1);

impl Session {
    /// Has a cut from the first of these nodes that gives it.
    pub(super) async fn nearby(&self, cut: CutKey, from: Vec<NodeId>) -> Result<(), CloseCode> {
        if from.len() > MAX_SOURCES {
            return Err(CloseCode::Garbage);
        }
        let mut stage: Option<Arc<Stage>> = None;
        for node in from.iter().filter(|_| self.sync.relay.is_on) {
            let before = stage.as_ref().map_or(0, |stage| stage.received());
            let done = self.have(cut, node, &mut stage).await;
            let got = stage.as_ref().map_or(0, |stage| stage.received()).saturating_sub(before);
            self.sync.relayed.fetch_add(got, Relaxed);
            match done {
                Ok(()) => tracing::info!(seq = cut.seq, %node, bytes = got, "a cut came from another node"),
                Err(error) => {
                    self.sync.refused.count("relay");
                    tracing::warn!(seq = cut.seq, %node, error = format!("{error:#}"), "no cut from another node");
                    continue;
                }
            }
            if let Some(stage) = stage.take_if(|stage| stage.lacks() == 0) {
                lock(&self.stages).remove(&cut.root);
                lock(&self.sync.came).insert(cut.root);
                return self.complete(stage).await;
            }
            if stage.is_none() {
                // It is here already.
                return Ok(());
            }
        }
        match stage {
            // What came is kept: the coordinator is asked for the rest.
            Some(stage) => {
                let digests = stage.missing().0.into_iter().take(MAX_WANT).collect();
                self.say(FromNode::Want { cut, digests });
            }
            None if self.version >= Version::Five => self.say(FromNode::Lacks { cut }),
            None => {}
        }
        Ok(())
    }

    /// Asks one node for a cut, or for what is missing of it. Fails if that brought nothing.
    async fn have(&self, cut: CutKey, node: &NodeId, stage: &mut Option<Arc<Stage>>) -> anyhow::Result<()> {
        let connection = timeout(PATIENCE, self.sync.peers.relay(node)).await.context("it does not answer")??;
        let done = self.ask_node(cut, &connection, stage).await;
        CloseCode::Done.close(&connection);
        done
    }

    async fn ask_node(
        &self,
        cut: CutKey,
        connection: &Connection,
        stage: &mut Option<Arc<Stage>>,
    ) -> anyhow::Result<()> {
        let gate = Arc::clone(&self.sync.gate);
        let held = tokio::task::spawn_blocking(move || gate.held()).await??;
        let base = held.iter().find(|held| held.root != cut.root).map(|held| held.root);
        let ask = match stage {
            Some(stage) => Ask::Blobs { cut, digests: stage.missing().0.into_iter().take(MAX_WANT).collect() },
            None => Ask::Cut { cut, base },
        };
        let opening = async {
            let (mut send, mut recv) = connection.open_bi().await?;
            wire::write_frame(&mut send, &ask).await?;
            send.finish()?;
            let head = wire::read_frame::<DeltaHead>(&mut recv, MAX_MANIFEST_BYTES).await?;
            anyhow::Ok((head.context("it does not have it")?, recv))
        };
        let (head, recv) = timeout(PATIENCE, opening).await.context("it is silent")??;
        anyhow::ensure!(head.cut == cut, "it answers with another cut");
        let told_by = head.list.as_ref().and_then(List::base);
        anyhow::ensure!(head.list.is_some() == stage.is_none(), "it answers something else");
        anyhow::ensure!(told_by.is_none() || told_by == base, "its list is told by one that is not here");
        let taking = match stage {
            Some(stage) => Arc::clone(stage),
            None => match self.stage(&head).await? {
                Some(begun) => Arc::clone(stage.insert(begun)),
                None => return Ok(()),
            },
        };
        let before = taking.lacks();
        self.take(&taking, connection, recv, &head).await?;
        anyhow::ensure!(taking.lacks() < before || before == 0, "nothing of what it gave verifies");
        Ok(())
    }

    /// Takes what comes, and closes the connection if nothing comes for too long.
    async fn take(
        &self,
        stage: &Arc<Stage>,
        connection: &Connection,
        mut recv: RecvStream,
        head: &DeltaHead,
    ) -> Result<(), StageError> {
        let over = CancellationToken::new();
        let _end = over.clone().drop_guard();
        let (watched, connection) = (Arc::clone(stage), connection.clone());
        tokio::spawn(over.run_until_cancelled_owned(async move {
            let mut seen = watched.received();
            loop {
                sleep(PATIENCE).await;
                let now = watched.received();
                if now == seen {
                    return CloseCode::Silent.close(&connection);
                }
                seen = now;
            }
        }));
        // To its end in any case: what is being decoded would be written after that otherwise.
        stage.take(&mut recv, head, &self.sync.budget).await
    }
}

impl Sync {
    /// While there is no coordinator, has cuts from other nodes that a flip waits for. Until cancelled.
    pub async fn catch_up(self: Arc<Self>, cancel: CancellationToken) {
        let session = Session::alone(&self);
        while cancel.run_until_cancelled(sleep(LOOK)).await.is_some() {
            if self.connected.load(Relaxed) || !self.relay.is_on {
                continue;
            }
            let gate = Arc::clone(&self.gate);
            let Ok(Some(cut)) = tokio::task::spawn_blocking(move || gate.awaited()).await else { continue };
            let mut from = self.peers.view().holders(cut.seq);
            from.truncate(MAX_SOURCES);
            if !from.is_empty()
                && let Err(code) = session.nearby(cut, from).await
            {
                tracing::error!(seq = cut.seq, code = code.name(), "a cut from other nodes");
            }
        }
    }
}

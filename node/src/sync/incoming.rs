//! What comes on a stream: a delta, from its list to the complete cut, or a pack to keep.

use std::sync::Arc;

use difusor_proto::{
    CutKey, Manifest, Signed,
    limits::{MAX_MANIFEST_BYTES, MAX_REPAIRS, MAX_WANT},
    store::StoreError,
    wire::{self, CloseCode, DeltaHead, FromNode, List, ListError, StreamHead},
};
use quinn::RecvStream;

use super::{Session, lock};
use crate::{
    gate::GateError,
    stage::{Stage, StageError},
};

impl Session {
    /// Takes in one stream.
    pub(super) async fn stream(&self, mut stream: RecvStream) -> Result<(), CloseCode> {
        match wire::read_frame::<StreamHead>(&mut stream, MAX_MANIFEST_BYTES).await {
            Ok(Some(StreamHead::Delta(head))) => self.delta(stream, head).await,
            Ok(Some(StreamHead::Pack(head))) => self.keep(stream, head).await,
            Ok(None) => Ok(()),
            Err(error) => error.close_code().map_or(Ok(()), Err),
        }
    }

    /// Takes in one delta stream.
    async fn delta(&self, mut stream: RecvStream, head: DeltaHead) -> Result<(), CloseCode> {
        let cut = head.cut;
        let stage = match self.stage(&head).await {
            Ok(Some(stage)) => stage,
            Ok(None) => return Ok(()),
            Err(error) => return self.failed(cut, error),
        };
        match stage.take(&mut stream, &head, &self.sync.budget).await {
            Ok(()) => {}
            // The connection is gone: the cut is offered again on the next one.
            Err(StageError::Broken(detail)) => {
                tracing::info!(seq = cut.seq, detail, "a delta broke off");
                return Ok(());
            }
            Err(error) => return self.failed(cut, error),
        }
        let (missing, repairs) = stage.missing();
        if missing.is_empty() || stage.is_mending() && repairs > MAX_REPAIRS {
            lock(&self.stages).remove(&cut.root);
            if stage.is_mending() {
                self.mended(stage).await;
                return Ok(());
            }
            return self.complete(stage).await;
        }
        self.sync.refused.count("blob");
        tracing::warn!(seq = cut.seq, blobs = missing.len(), repairs, "blobs are missing: asking again");
        if repairs > MAX_REPAIRS {
            lock(&self.stages).remove(&cut.root);
            let reason = format!("{} blobs did not verify, {MAX_REPAIRS} times", missing.len());
            self.say(FromNode::Refused { cut, reason });
            return Err(CloseCode::BadContent);
        }
        let digests = missing.into_iter().take(MAX_WANT).collect();
        self.say(FromNode::Want { cut, digests });
        Ok(())
    }

    /// The stage that a stream belongs to; `None` if there is nothing to do.
    pub(super) async fn stage(&self, head: &DeltaHead) -> Result<Option<Arc<Stage>>, StageError> {
        let cut = head.cut;
        let rules = |code, detail: String| StageError::Rules { code, detail };
        let Some(list) = &head.list else {
            let stage = lock(&self.stages).get(&cut.root).cloned();
            return stage
                .map(Some)
                .ok_or_else(|| rules(CloseCode::Garbage, "blobs for a cut that was not offered".into()));
        };
        let Some(signed) = self.read(&cut, list).await? else { return Ok(None) };
        let manifest = Manifest::of_cut(&cut, &signed, &self.sync.key);
        let manifest = manifest.map_err(|error| rules(CloseCode::Forged, error.to_string()))?;
        if self.manifest_came(&cut, &signed).await? {
            return Ok(None);
        }
        if lock(&self.sync.came).contains(&cut.root) {
            self.say(FromNode::Staged { cut, received: 0, micros: 0 });
            return Ok(None);
        }
        let store = self.sync.store.clone();
        let custody = Arc::clone(&self.sync.custody).read_owned().await;
        let begun = tokio::task::spawn_blocking(move || {
            // Our hello named every cut that is here, so nobody honest offers one of them.
            if store.manifest(&cut)?.is_some() {
                return Ok(None);
            }
            Stage::begin(&store, cut, signed, manifest, custody).map(Some)
        });
        let begun = begun.await.map_err(|error| StageError::Broken(error.to_string()))??;
        let Some(stage) = begun.map(Arc::new) else {
            return Err(rules(CloseCode::Replay, format!("cut {} is here already", cut.seq)));
        };
        lock(&self.stages).insert(cut.root, Arc::clone(&stage));
        Ok(Some(stage))
    }

    /// The list that a stream came with. `None` if what it is told by is not here (any more): it is asked for whole, and
    /// the blobs after it.
    async fn read(&self, cut: &CutKey, list: &List) -> Result<Option<Signed<Manifest>>, StageError> {
        let (store, base) = (self.sync.store.clone(), list.base());
        let held = tokio::task::spawn_blocking(move || {
            let cuts = base.map(|_| store.cuts()).transpose()?.unwrap_or_default();
            let held = cuts.into_iter().find(|held| Some(held.root) == base);
            held.map(|held| store.manifest(&held)).transpose().map(Option::flatten)
        });
        let held = match held.await.map_err(|error| StageError::Broken(error.to_string()))? {
            Err(StoreError::Damaged(detail)) => {
                tracing::error!(seq = cut.seq, detail, "a list at rest is damaged");
                None
            }
            held => held?,
        };
        match list.read(held.as_ref().map(Signed::bytes)) {
            Ok(signed) => Ok(Some(signed)),
            Err(error @ ListError::NoBase(_)) => {
                tracing::warn!(seq = cut.seq, %error, "asking for the whole list");
                self.sync.refused.count("list");
                self.say(FromNode::Want { cut: *cut, digests: vec![cut.root] });
                Ok(None)
            }
            Err(error @ ListError::TooLarge(_)) => {
                Err(StageError::Rules { code: CloseCode::Oversize, detail: error.to_string() })
            }
            Err(error) => Err(StageError::Rules { code: CloseCode::Garbage, detail: error.to_string() }),
        }
    }

    /// Makes a complete cut durable, says so, and obeys the flip that waited for it.
    pub(super) async fn complete(&self, stage: Arc<Stage>) -> Result<(), CloseCode> {
        let cut = stage.cut;
        let (gate, room) = (Arc::clone(&self.sync.gate), stage.room());
        // Without a coordinator a cut may come from other nodes, and from a coordinator that is back at the same time.
        let one_by_one = self.sync.completing.lock().await;
        let store = self.sync.store.clone();
        let done = tokio::task::spawn_blocking(move || {
            let done = if store.manifest(&cut)?.is_some() { (0, 0) } else { stage.commit()? };
            gate.prepare(&cut)?;
            Ok::<_, GateError>(done)
        });
        let done = done.await;
        drop(one_by_one);
        match done.map_err(|_| CloseCode::Done)? {
            Ok((received, micros)) => {
                tracing::info!(seq = cut.seq, label = %cut.label, received, micros, "staged");
                *lock(&self.sync.cannot_take) = None;
                self.say(FromNode::Staged { cut, received, micros });
            }
            Err(error) => {
                tracing::error!(seq = cut.seq, %error, "the cut cannot be kept");
                self.no_room(cut, &error.to_string(), room);
                self.say(FromNode::Refused { cut, reason: error.to_string() });
                return Ok(());
            }
        }
        let (gate, offset) = (Arc::clone(&self.sync.gate), self.offset());
        if gate.resume(&cut) {
            tracing::info!(seq = cut.seq, label = %cut.label, "serving the cut that had to be fetched again");
        }
        let obeyed = tokio::task::spawn_blocking(move || gate.obey_pending(&cut, offset)).await;
        self.obeyed(obeyed.map_err(|_| CloseCode::Done)?)
    }

    fn failed(&self, cut: CutKey, error: StageError) -> Result<(), CloseCode> {
        // What was written of it goes with the stage.
        let stage = lock(&self.stages).remove(&cut.root);
        let room = stage.as_ref().map_or(0, |stage| stage.room());
        tracing::error!(seq = cut.seq, %error, "a delta was refused");
        match error {
            StageError::Rules { code, .. } => Err(code),
            StageError::Broken(_) => Ok(()),
            // The cut is here; what is to be mended of it is asked for again.
            StageError::Store(_) if stage.is_some_and(|stage| stage.is_mending()) => Ok(()),
            StageError::Store(error) => {
                self.no_room(cut, &error.to_string(), room);
                self.say(FromNode::Refused { cut, reason: error.to_string() });
                Ok(())
            }
        }
    }
}

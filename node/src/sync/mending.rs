//! What the disk has spoiled and nothing here can replace, asked for over the session.
//!
//! The coordinator is asked for the blobs of a cut that is here as for those of one that is coming, and answers in the
//! same way. A digest that is the root of the cut stands for its manifest. Nothing of this refuses a cut, or ends a
//! session: a coordinator that cannot help is asked again later.

use std::{collections::HashSet, sync::Arc, time::Duration};

use difusor_proto::{CutKey, Digest, Manifest, Signed, limits::MAX_WANT, wire::FromNode};
use tokio::time::Instant;

use super::{Session, lock};
use crate::{
    gate::GateError,
    scrub::Want,
    stage::{Stage, StageError},
};

/// From one request for the same cut to the next.
const AGAIN: Duration = Duration::from_secs(60);

/// How long a node whose disk is full waits at least before it looks whether it can take the cut now.
const ROOM: Duration = Duration::from_secs(5);

impl Session {
    /// What has to be asked for now: not what was a moment ago, and not while an answer for the same cut is on its way.
    pub(super) fn due(&self) -> Vec<(CutKey, Want)> {
        let mut asked = lock(&self.asked);
        asked.retain(|_, at| at.elapsed() < AGAIN);
        let stages = lock(&self.stages);
        let mut due = self.sync.scrub.wants();
        due.retain_mut(|(cut, want)| {
            want.manifest &= !asked.contains_key(&cut.root);
            want.blobs.retain(|digest| !asked.contains_key(digest));
            *want != Want::default() && !stages.contains_key(&cut.root)
        });
        let now = Instant::now();
        for (cut, want) in &due {
            asked.extend(want.manifest.then_some((cut.root, now)));
            asked.extend(want.blobs.iter().take(MAX_WANT).map(|digest| (*digest, now)));
        }
        due
    }

    /// Asks for what is not whole here of a cut.
    pub(super) async fn ask(self: Arc<Self>, cut: CutKey, want: Want) {
        if want.manifest {
            return self.say(FromNode::Want { cut, digests: vec![cut.root] });
        }
        let digests: HashSet<Digest> = want.blobs.into_iter().take(MAX_WANT).collect();
        let (store, key) = (self.sync.store.clone(), self.sync.key);
        let custody = Arc::clone(&self.sync.custody).read_owned().await;
        let asked: Vec<_> = digests.iter().copied().collect();
        let begun = tokio::task::spawn_blocking(move || {
            let Some(signed) = store.manifest(&cut)? else { return Ok(None) };
            let manifest = signed.open(&key)?;
            Ok::<_, GateError>(Some(Stage::mend(&store, cut, signed, manifest, &digests, custody)?))
        });
        match begun.await {
            // A cut that is offered at this moment comes whole.
            Ok(Ok(Some(_))) if lock(&self.stages).contains_key(&cut.root) => {}
            Ok(Ok(Some(stage))) => {
                lock(&self.stages).insert(cut.root, Arc::new(stage));
                self.say(FromNode::Want { cut, digests: asked });
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::error!(seq = cut.seq, %error, "what is damaged cannot be asked for"),
            Err(error) => tracing::error!(seq = cut.seq, %error, "what is damaged cannot be asked for"),
        }
    }

    /// Keeps what came for a cut that is here.
    pub(super) async fn mended(&self, stage: Arc<Stage>) {
        let (cut, scrub, came) = (stage.cut, Arc::clone(&self.sync.scrub), stage.came());
        // What is spoiled once more is asked for once more.
        lock(&self.asked).retain(|digest, _| !came.contains(digest));
        let done = tokio::task::spawn_blocking(move || {
            if came.is_empty() {
                return Ok(());
            }
            stage.commit_beside()?;
            scrub.came(&cut, &came)
        });
        match done.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(seq = cut.seq, %error, "what was fetched again cannot be kept"),
            Err(error) => tracing::error!(seq = cut.seq, %error, "what was fetched again cannot be kept"),
        }
    }

    /// Keeps a manifest that was asked for. `false` if this one was not.
    pub(super) async fn manifest_came(&self, cut: &CutKey, signed: &Signed<Manifest>) -> Result<bool, StageError> {
        if !self.sync.scrub.wants_manifest(cut) {
            return Ok(false);
        }
        lock(&self.asked).remove(&cut.root);
        let (scrub, cut, signed) = (Arc::clone(&self.sync.scrub), *cut, signed.clone());
        let kept = tokio::task::spawn_blocking(move || scrub.manifest_came(&cut, &signed)).await;
        kept.map_err(|error| StageError::Broken(error.to_string()))??;
        Ok(true)
    }

    /// Lets go of stages that wait for an answer which does not come.
    pub(super) fn give_up_waiting(&self) {
        lock(&self.stages).retain(|_, stage| !stage.is_mending() || stage.since().elapsed() < AGAIN);
    }

    /// Notes that a cut could not be taken, and how much room it would need.
    pub(super) fn no_room(&self, cut: CutKey, reason: &str, room: u64) {
        *lock(&self.sync.cannot_take) = Some((cut, reason.to_owned()));
        *lock(&self.room) = Some((Instant::now(), room));
    }

    /// True if a cut was refused for want of room, and there seems to be enough by now: the coordinator offers a cut that
    /// was refused only to a node that says hello again.
    pub(super) fn has_room_again(&self) -> bool {
        let Some((since, room)) = *lock(&self.room) else { return false };
        since.elapsed() >= ROOM && self.sync.store.space().is_ok_and(|space| space.free >= room)
    }
}

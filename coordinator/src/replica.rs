//! Copies of the archive in another place: an object store, or a folder that is mounted.
//!
//! A pack is immutable and checks itself, so a copy is the file under the same name. Whenever a cut was committed, and
//! every minute, what is in the store is compared with what the other side lists, and what is missing is sent, the newest
//! first. A copy counts once its bytes were read back and are the same; until then, and while the other side does not
//! answer, the status says what is missing and why. Publishing never waits for any of it.
//!
//! What this refuses: to send a pack that does not verify here, over a good copy least of all; and to delete anything but
//! a cut whose smaller form is held there, once it is all that is left of it here.

mod config;
mod fetch;
mod heal;
mod nodes;
mod plan;
mod record;
mod remote;
mod restore;

use std::{collections::HashSet, path::PathBuf, time::Duration};

use difusor_proto::{
    Digest,
    process::unix_us,
    store::{PackName, StoreError},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::{
    config::{ReplicaConfig, Verify},
    fetch::{FetchError, Fetcher},
    heal::Healing,
    nodes::{Keepers, Keeping, Told, told},
    remote::{Remote, RemoteError},
    restore::{Restored, restore},
};
use self::{
    plan::{Packs, Step},
    record::Record,
    remote::same,
};
use crate::{
    driver::{FleetView, view},
    fleet::ReplicaView,
};

/// How often both sides are compared without a reason.
const LOOK: Duration = Duration::from_secs(60);

/// First wait after a failure; doubles up to [`LOOK`].
const MIN_BACKOFF: Duration = Duration::from_secs(1);

/// Why a pass did not come to its end.
#[derive(Debug, thiserror::Error)]
enum PassError {
    /// The configuration, or a file it names.
    #[error("{0:#}")]
    Config(anyhow::Error),
    /// The other side.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The store here.
    #[error("the store here: {0}")]
    Store(#[from] StoreError),
    /// The record of what is held.
    #[error("replica.json: {0}")]
    Record(std::io::Error),
    /// A task that panicked.
    #[error("{0}")]
    Internal(#[from] tokio::task::JoinError),
}

/// The task that keeps one replica.
pub struct Replica {
    config: ReplicaConfig,
    packs: PathBuf,
    record: Record,
    fleet: FleetView,
    committed: watch::Receiver<()>,
    remote: Option<Remote>,
    fetcher: Fetcher,
}

impl Replica {
    /// A replica of `fetcher`'s store. `committed` changes with every cut; `record` is where it is noted what was
    /// verified.
    pub fn new(
        config: ReplicaConfig,
        fetcher: Fetcher,
        record: PathBuf,
        fleet: FleetView,
        committed: watch::Receiver<()>,
    ) -> Self {
        let record = Record::open(record, &config.url);
        view(&fleet).replica(&config.url).since_ms = unix_us() / 1000;
        let packs = fetcher.packs().to_owned();
        Self { config, packs, record, fleet, committed, remote: None, fetcher }
    }

    /// Keeps the copies until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut backoff = MIN_BACKOFF;
        loop {
            self.committed.mark_unchanged();
            let ended = self.pass(&cancel).await;
            if cancel.is_cancelled() {
                return;
            }
            match &ended {
                Ok(()) => backoff = MIN_BACKOFF,
                Err(error) => {
                    self.show(|seen| seen.last_error = Some(error.to_string()));
                    tracing::warn!(to = %self.config.url, %error, again_in = ?backoff, "the replica is behind");
                }
            }
            let failed = ended.is_err();
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(if failed { backoff } else { LOOK }) => {}
                // A side that just failed is not asked more often for there being more to send.
                changed = self.committed.changed(), if !failed => if changed.is_err() { return },
            }
            if failed {
                backoff = (backoff * 2).min(LOOK);
            }
        }
    }

    /// Compares once, and does whatever is to be done.
    async fn pass(&mut self, cancel: &CancellationToken) -> Result<(), PassError> {
        let remote = match &self.remote {
            Some(remote) => remote.clone(),
            None => {
                let config = self.config.clone();
                let opened = tokio::task::spawn_blocking(move || Remote::open(&config)).await?;
                self.remote.insert(opened.map_err(PassError::Config)?).clone()
            }
        };
        let mut there = remote.list().await?;
        let gone: Vec<_> = self.record.held().keys().filter(|name| !there.contains_key(*name)).cloned().collect();
        for name in gone {
            tracing::warn!(to = %self.config.url, %name, "a copy that was held is gone");
            self.record.drop(&name).map_err(PassError::Record)?;
        }
        let mut skipped = HashSet::new();
        let mut problem = None;
        loop {
            // Looked at again before each step: what was committed meanwhile goes first.
            let here = self.here().await?;
            self.count(&here, &there, problem.as_ref());
            let Some(step) = plan::next(&here, &there, self.record.held(), &skipped) else { break };
            if cancel.is_cancelled() {
                return Ok(());
            }
            let name = match &step {
                Step::Upload(name, _) | Step::Check(name, _) | Step::Delete(name) => name.clone(),
            };
            match self.carry_out(&remote, step, &mut there, cancel).await {
                Ok(()) => {}
                Err(PassError::Store(error @ StoreError::Damaged(_))) => {
                    tracing::error!(%name, %error, "this pack is damaged and was not sent");
                    problem = Some(error.to_string());
                    skipped.insert(name);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn here(&self) -> Result<Packs, PassError> {
        Ok(self.fetcher.here().await??)
    }

    async fn carry_out(
        &mut self,
        remote: &Remote,
        step: Step,
        there: &mut Packs,
        cancel: &CancellationToken,
    ) -> Result<(), PassError> {
        match step {
            Step::Upload(name, len) => {
                // Whatever is there under this name will be another file, or a part of one.
                self.record.drop(&name).map_err(PassError::Record)?;
                let digest = self.fetcher.sound(&name).await??;
                remote.upload(&name, &self.packs.join(name.as_str()), digest, cancel).await?;
                there.insert(name.clone(), len);
                if self.config.verify == Verify::ReadBack {
                    self.compare(remote, &name, digest, cancel).await?;
                }
                tracing::info!(to = %self.config.url, %name, bytes = len, "copied");
                self.record.hold(name, len).map_err(PassError::Record)
            }
            Step::Check(name, len) => {
                if self.config.verify == Verify::ReadBack {
                    let digest = self.fetcher.sound(&name).await??;
                    match self.compare(remote, &name, digest, cancel).await {
                        Err(error @ RemoteError::Differs { .. }) => {
                            // To be sent again, which is the next step.
                            tracing::warn!(to = %self.config.url, %error, "a copy is damaged");
                            there.remove(&name);
                            return Ok(());
                        }
                        compared => compared?,
                    }
                }
                self.record.hold(name, len).map_err(PassError::Record)
            }
            Step::Delete(name) => {
                remote.delete(&name).await?;
                there.remove(&name);
                tracing::info!(to = %self.config.url, %name, "deleted: its smaller form is held");
                self.record.drop(&name).map_err(PassError::Record)
            }
        }
    }

    /// Reads a copy back.
    async fn compare(
        &self,
        remote: &Remote,
        name: &PackName,
        digest: Digest,
        cancel: &CancellationToken,
    ) -> Result<(), RemoteError> {
        let same = remote.digest(name, cancel).await.and_then(|found| same(name, found, digest));
        if let Err(RemoteError::Differs { .. }) = &same {
            view(&self.fleet).refuse("replica:differs");
        }
        same
    }

    fn count(&self, here: &Packs, there: &Packs, problem: Option<&String>) {
        let ((held, bytes), (missing, missing_bytes)) = plan::count(here, there, self.record.held());
        self.show(|seen| {
            (seen.held, seen.bytes, seen.missing, seen.missing_bytes) = (held, bytes, missing, missing_bytes);
            seen.last_error = problem.cloned();
        });
    }

    fn show(&self, change: impl FnOnce(&mut ReplicaView)) {
        view(&self.fleet).replica(&self.config.url).change(unix_us() / 1000, change);
    }
}

#[cfg(test)]
mod tests;

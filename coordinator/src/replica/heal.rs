//! Damaged packs are fetched again, from the replica or from a node, and put in their places.
//!
//! At the start, when a node that keeps the archive comes, and every minute: packs that were set aside because they could
//! not be opened, and those that the reading of the archive found damaged. The reading asks by itself, too.

use std::sync::Arc;

use difusor_proto::store::{Damage, PackFile, PackKind, PackName, Store};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{Fetcher, Keepers, LOOK, Remote, ReplicaConfig};
use crate::{publish::Publisher, scrub::Healer};

/// Whoever knows where copies are.
pub struct Healing {
    /// Puts them in place.
    pub fetcher: Fetcher,
    /// The replica, if there is one.
    pub replica: Option<ReplicaConfig>,
    /// The nodes that keep the archive.
    pub keepers: Arc<Keepers>,
    /// Has to learn of cuts that come back.
    pub publisher: Arc<Publisher>,
    /// Ends what is under way.
    pub cancel: CancellationToken,
    /// Where to wait for it, from threads.
    pub runtime: Handle,
}

impl Healing {
    /// Looks for damaged packs until cancelled.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.all().await;
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
                () = self.keepers.joined() => {}
            }
        }
    }

    async fn all(&self) {
        let store = self.fetcher.store().clone();
        let Ok(damaged) = tokio::task::spawn_blocking(move || store.damaged()).await else { return };
        for name in damaged.iter().filter_map(|name| name.parse::<PackName>().ok()) {
            if self.is_superseded(&name).await {
                continue;
            }
            match self.one(&name).await {
                Ok(()) => tracing::warn!(%name, "a damaged pack is whole again"),
                Err(error) => tracing::error!(%name, error = format!("{error:#}"), "a damaged pack stays damaged"),
            }
        }
    }

    /// True if the cut of a damaged pack is here in its smaller form.
    async fn is_superseded(&self, name: &PackName) -> bool {
        let smaller = |other: &PackName| other.kind() == PackKind::Delta && other.cut() == name.cut();
        let here = self.fetcher.here().await;
        name.kind() == PackKind::Cut && matches!(here, Ok(Ok(here)) if here.keys().any(smaller))
    }

    /// Fetches one from wherever it is first whole.
    async fn one(&self, name: &PackName) -> anyhow::Result<()> {
        let mut problem = None;
        if let Some(config) = &self.replica {
            match self.copy_in_replica(config, name).await {
                Ok(()) => return self.learn().await,
                Err(error) => problem = Some(error.context(format!("from {}", config.url))),
            }
        }
        let fetched = tokio::select! {
            () = self.cancel.cancelled() => anyhow::bail!("interrupted"),
            fetched = self.keepers.fetch(name) => fetched,
        };
        match (fetched, problem) {
            (Ok(()), _) => self.learn().await,
            (Err(node), Some(replica)) => Err(anyhow::anyhow!("{replica:#}; {node:#}")),
            (Err(node), None) => Err(node),
        }
    }

    async fn copy_in_replica(&self, config: &ReplicaConfig, name: &PackName) -> anyhow::Result<()> {
        let config = config.clone();
        let remote = tokio::task::spawn_blocking(move || Remote::open(&config)).await??;
        Ok(self.fetcher.fetch(&remote, name, &self.cancel).await?)
    }

    async fn learn(&self) -> anyhow::Result<()> {
        let publisher = Arc::clone(&self.publisher);
        Ok(tokio::task::spawn_blocking(move || publisher.learn()).await??)
    }
}

impl Healer for Healing {
    fn heal(&self, _store: &Store, pack: &PackFile, _damage: &[Damage]) -> anyhow::Result<()> {
        let name: PackName = pack.name.parse()?;
        self.runtime.block_on(self.one(&name))
    }
}

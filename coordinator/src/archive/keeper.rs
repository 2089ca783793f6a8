//! Brings the archive into its plan, a cut at a time, while nothing is being published.

use std::{collections::HashSet, sync::Arc, time::Duration};

use difusor_proto::{CutKey, Digest};
use tokio_util::sync::CancellationToken;

use super::{ArchiveError, Kept};
use crate::{
    driver::{FleetView, view},
    publish::Publisher,
};

/// How often it looks by itself, for what was left while a cut was on its way.
const LOOK: Duration = Duration::from_secs(5);

/// The task that does it.
pub struct Keeper {
    /// Has the archive, and tells of every package that was taken in.
    pub publisher: Arc<Publisher>,
    /// What is being published.
    pub fleet: FleetView,
}

impl Keeper {
    /// Works until cancelled; what is under way then is finished.
    pub async fn run(self, cancel: CancellationToken) {
        let (mut given_up, mut committed) = (HashSet::new(), self.publisher.committed());
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = committed.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK) => {}
            }
            while !cancel.is_cancelled() {
                match self.step(&mut given_up).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::error!(%error, "a package stays as it came");
                        break;
                    }
                }
            }
            self.publisher.packages().rest();
        }
    }

    /// One cut. False if nothing is left to do, or a cut is on its way to the nodes.
    async fn step(&self, given_up: &mut HashSet<Digest>) -> Result<bool, ArchiveError> {
        let archive = Arc::clone(self.publisher.packages());
        let current = view(&self.fleet).current;
        current.iter().for_each(|current| archive.served(current));
        // After that: a cut is in the one or in the other.
        let Some(busy) = self.busy() else { return Ok(false) };
        let tried = given_up.clone();
        let work = tokio::task::spawn_blocking(move || {
            let Some((cut, base)) = archive.plan.due(&archive.held()?, &busy, &tried) else { return Ok(None) };
            let kept = archive.compact(&cut, &base).map_err(|error| (cut, error));
            Ok::<_, ArchiveError>(Some((cut, base, kept)))
        });
        let done = work.await.map_err(|error| ArchiveError::Damaged(0, error.to_string()))??;
        let Some((cut, base, kept)) = done else { return Ok(false) };
        match kept {
            Ok(Kept::Told(bytes)) => {
                tracing::info!(seq = cut.seq, by = base.seq, bytes, "a package is kept by what changed in it");
                self.publisher.exchanged();
            }
            Ok(Kept::Wanted) => return Ok(false),
            Ok(Kept::AsItCame) => {
                given_up.insert(cut.root);
            }
            Err((cut, error)) => {
                given_up.insert(cut.root);
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Cuts that are being served, or will be; `None` while nodes wait for one.
    fn busy(&self) -> Option<Vec<CutKey>> {
        let fleet = view(&self.fleet);
        let is_on_its_way = fleet.target.is_some() && fleet.target != fleet.current;
        let somebody_waits = fleet.nodes.values().any(|node| node.connected);
        (!(is_on_its_way && somebody_waits)).then(|| fleet.current.into_iter().chain(fleet.target).collect())
    }
}

//! What keeps the archive honest: packs are read again while the coordinator works, and damage is named.
//!
//! The archive is the only place that has every package, so a pack that the disk has spoiled cannot be made again here.
//! It is shown in the status, and whoever keeps copies elsewhere ([`Healer`]) is asked for a whole one, which takes its
//! place. Until then a damaged blob is refused by the nodes, who check every digest, and a damaged package is not
//! exported.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use difusor_proto::store::{Damage, Keeper, PackFile, Round, Scrubbed, Store};
use tokio_util::sync::CancellationToken;

use crate::publish::Publisher;

/// Someone who may have a whole copy of a pack.
pub trait Healer: Send + Sync {
    /// Fetches a whole copy of a pack, of which `damage` was found, and puts it in its place
    /// ([`Store::replace_pack`]). Called on the reading thread, which waits for it, and again at every reading while the
    /// pack is damaged. Blocks.
    ///
    /// # Errors
    /// If there is none to be had now.
    fn heal(&self, store: &Store, pack: &PackFile, damage: &[Damage]) -> anyhow::Result<()>;
}

/// The scrub of an archive.
pub struct Scrub {
    store: Store,
    publisher: Arc<Publisher>,
    round: Round,
    healers: Mutex<Vec<Arc<dyn Healer>>>,
    closing: CancellationToken,
}

impl Scrub {
    /// A scrub that has not begun.
    pub fn new(store: Store, publisher: Arc<Publisher>, round: Round) -> Self {
        let (healers, closing) = Default::default();
        Self { store, publisher, round, healers, closing }
    }

    /// Asks this one too, after those that were added before.
    pub fn add(&self, healer: Arc<dyn Healer>) {
        self.healers().push(healer);
    }

    /// Reads until it is told to end. Blocks: for a thread of its own.
    pub fn run(&self) {
        self.round.run(&self.store, self);
    }

    /// Tells it to end.
    pub fn stop(&self) {
        self.closing.cancel();
    }

    /// How it is going.
    pub fn view(&self) -> Scrubbed {
        self.round.view(&self.store)
    }

    fn healers(&self) -> MutexGuard<'_, Vec<Arc<dyn Healer>>> {
        // Only ever pushed to.
        self.healers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper for Scrub {
    fn is_over(&self) -> bool {
        self.closing.is_cancelled()
    }

    fn is_busy(&self) -> bool {
        self.publisher.is_busy()
    }

    fn found(&self, pack: &PackFile, damage: &[Damage]) -> usize {
        let healers = self.healers().clone();
        for healer in healers {
            match healer.heal(&self.store, pack, damage) {
                Ok(()) if self.store.verify_pack(&pack.name).is_ok_and(|left| left.is_empty()) => {
                    tracing::warn!(pack = pack.name, "a whole copy took the place of a damaged pack");
                    return damage.len();
                }
                Ok(()) => tracing::error!(pack = pack.name, "what was put in its place is damaged too"),
                Err(error) => tracing::error!(pack = pack.name, error = format!("{error:#}"), "no whole copy came"),
            }
        }
        tracing::error!(pack = pack.name, "the archive is damaged: put a whole copy of this pack in its place");
        0
    }
}

#[cfg(test)]
mod tests;

//! From a replica to a store: for a machine that has the keys of the mesh and lost its packs.
//!
//! Runs without a coordinator, which the lock of the store sees to. Packs that are here and verify are not fetched, so
//! whatever broke off is taken up again by running it again.

use std::{path::Path, time::Instant};

use difusor_proto::{
    SigningKey,
    store::{PackKind, PackName, Store},
};
use tokio_util::sync::CancellationToken;

use super::{FetchError, Fetcher, Remote};

/// What a restore did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Packs that were here already, and are whole.
    pub kept: usize,
    /// Packs that were fetched.
    pub fetched: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Copies that could not be used, and why.
    pub failed: Vec<(PackName, String)>,
}

/// Fetches whatever `remote` holds and the store in `folder` does not. `progress` is told of every pack: which one, how
/// many of how many, and whether it was fetched.
///
/// # Errors
/// If the store is in use, the replica cannot be listed, or the disk refuses. A copy that cannot be used is no error:
/// the others are worth having.
pub async fn restore(
    remote: &Remote,
    folder: &Path,
    key: &SigningKey,
    cancel: &CancellationToken,
    mut progress: impl FnMut(&PackName, (usize, usize), Option<(u64, f64)>),
) -> anyhow::Result<Restored> {
    let at = folder.to_owned();
    let (store, recovery) = tokio::task::spawn_blocking(move || Store::open(&at)).await??;
    for name in &recovery.damaged {
        tracing::warn!(%name, "a damaged pack was moved to aside/");
    }
    let fetcher = Fetcher::new(store.clone(), folder, key);
    let there = remote.list().await?;
    // A smaller form was verified before the other may go, so it is the one to have.
    let smaller = |name: &PackName| {
        name.kind() == PackKind::Cut
            && there.keys().any(|other| other.kind() == PackKind::Delta && other.cut() == name.cut())
    };
    let wanted: Vec<_> = there.iter().filter(|(name, _)| !smaller(name)).collect();
    let here = fetcher.here().await??;
    let mut restored = Restored::default();
    for (i, (name, len)) in wanted.iter().rev().enumerate() {
        let place = (i + 1, wanted.len());
        if here.get(name) == Some(*len) {
            let (store, text) = (store.clone(), name.to_string());
            let found = tokio::task::spawn_blocking(move || store.verify_pack(&text)).await?;
            if found.is_ok_and(|damage| damage.is_empty()) {
                restored.kept += 1;
                progress(name, place, None);
                continue;
            }
        }
        let since = Instant::now();
        match fetcher.fetch(remote, name, cancel).await {
            Ok(()) => {
                restored.fetched += 1;
                restored.bytes += **len;
                progress(name, place, Some((**len, since.elapsed().as_secs_f64())));
            }
            Err(error) => {
                anyhow::ensure!(!cancel.is_cancelled(), "interrupted: run it again, it goes on where it was");
                if let FetchError::Store(difusor_proto::store::StoreError::Io(_)) = error {
                    return Err(error.into());
                }
                restored.failed.push(((*name).clone(), error.to_string()));
            }
        }
    }
    tokio::task::spawn_blocking(move || store.settle()).await??;
    Ok(restored)
}

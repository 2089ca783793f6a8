//! Packs that come back: fetched from wherever a copy is, verified, and put where they belong.
//!
//! Whatever is fetched is believed for three things only: every payload has the bytes that its header says, the headers
//! are those that the trailer covers, and the manifest inside is signed by this mesh's key and of the cut that the pack
//! names. A copy of another mesh, however whole, stays outside.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use difusor_proto::{
    Digest, SigningKey, VerifyingKey,
    store::{self, PackName, Store, StoreError},
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::JoinError,
};
use tokio_util::sync::CancellationToken;

use super::{
    plan::Packs,
    remote::{Remote, RemoteError},
};

/// Why a pack did not come back.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The copy could not be read.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The copy is damaged, or the disk here refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is whole, and of another mesh.
    #[error("{0} is of another mesh: its manifest is not signed by the key in keys/")]
    Foreign(PackName),
    /// A task that panicked.
    #[error("{0}")]
    Internal(#[from] JoinError),
}

/// Puts packs back into a store.
#[derive(Clone)]
pub struct Fetcher {
    store: Store,
    packs: PathBuf,
    key: VerifyingKey,
    /// One pack comes in at a time: two that want the same would write one file.
    turn: Arc<Mutex<()>>,
}

impl Fetcher {
    /// For the store in `folder`, of the mesh of this key.
    pub fn new(store: Store, folder: &Path, key: &SigningKey) -> Self {
        Self { store, packs: folder.join("packs"), key: key.verifying_key(), turn: Arc::default() }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The folder of its packs.
    pub fn packs(&self) -> &Path {
        &self.packs
    }

    /// Waits until no other pack comes in.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// Where a pack lies while it comes. What a crash leaves there, the next start removes.
    pub fn tmp(&self, name: &PackName) -> PathBuf {
        self.packs.join(format!("{name}.tmp"))
    }

    /// Makes sure that a pack is whole here, and says which bytes it has.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is not.
    pub async fn sound(&self, name: &PackName) -> Result<Result<Digest, StoreError>, JoinError> {
        let (store, path, name) = (self.store.clone(), self.packs.join(name.as_str()), name.clone());
        tokio::task::spawn_blocking(move || {
            if !store.verify_pack(name.as_str())?.is_empty() {
                return Err(StoreError::Damaged(format!("pack {name}")));
            }
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(std::fs::File::open(path)?)?;
            Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
        })
        .await
    }

    /// Packs of cuts that are here, with their lengths.
    pub async fn here(&self) -> Result<Result<Packs, StoreError>, JoinError> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            let packs = store.packs_at_rest()?;
            Ok(packs.into_iter().filter_map(|pack| Some((pack.name.parse().ok()?, pack.len))).collect())
        })
        .await
    }

    /// Fetches a pack from a replica, and puts it in place.
    ///
    /// # Errors
    /// [`FetchError`]; what was in place stays.
    pub async fn fetch(&self, remote: &Remote, name: &PackName, cancel: &CancellationToken) -> Result<(), FetchError> {
        let _turn = self.turn().await;
        let tmp = self.tmp(name);
        let fetched = match remote.download(name, &tmp, cancel).await {
            Ok(_) => self.place(name, &tmp).await,
            Err(error) => Err(error.into()),
        };
        if fetched.is_err() {
            let _ = tokio::fs::remove_file(&tmp).await;
        }
        fetched
    }

    /// Verifies a file that came under `name`, and puts it in place.
    ///
    /// # Errors
    /// [`FetchError`]; what was in place stays.
    pub async fn place(&self, name: &PackName, file: &Path) -> Result<(), FetchError> {
        let (fetcher, name, file) = (self.clone(), name.clone(), file.to_owned());
        tokio::task::spawn_blocking(move || {
            let found = store::inspect(&file)?;
            let of_ours = found.manifest.open(&fetcher.key).is_ok_and(|manifest| {
                (manifest.seq, manifest.label, Digest::of(found.manifest.bytes()))
                    == (found.cut.seq, found.cut.label, found.cut.root)
            });
            if !of_ours {
                return Err(FetchError::Foreign(name));
            }
            Ok(fetcher.store.replace_pack(name.as_str(), &file)?)
        })
        .await?
    }
}

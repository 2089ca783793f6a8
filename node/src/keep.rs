//! Packs that this node keeps for the coordinator, in `archive/`: written once, verified, given back when asked.
//!
//! They are files beside the store, never served from, and no disk that is full or damaged there touches what is served.
//! A pack counts once its digest is the announced one, every record in it verifies, its manifest is signed by the pinned
//! key and it is of the cut that its name says; only then it gets its name. What this refuses: a second pack at once, more
//! bytes than announced, and to give a cut up that is not here in its smaller form.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use difusor_proto::{
    Digest, Manifest, VerifyingKey,
    limits::MAX_KEPT,
    store::{self, PackKind, PackName, Store, StoreError},
    transit::{self, TransitError},
    wire::{self, CloseCode, Held, PackHead},
};
use tokio::{io::AsyncRead, sync::Mutex};

/// Streams of packs give way to everything else that is said on a connection.
const LAST: i32 = -1;

/// Why a pack is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The other side broke a rule.
    #[error("{detail}")]
    Rules {
        /// What to close the connection with.
        code: CloseCode,
        /// What it did.
        detail: String,
    },
    /// The connection broke.
    #[error("{0}")]
    Broken(io::Error),
    /// This node cannot, now.
    #[error("{0}")]
    Cannot(String),
}

impl From<TransitError> for KeepError {
    fn from(error: TransitError) -> Self {
        let rules = |code| Self::Rules { code, detail: error.to_string() };
        match error {
            TransitError::TooLong(_) => rules(CloseCode::Oversize),
            TransitError::Differs => rules(CloseCode::BadContent),
            TransitError::Broken(error) => Self::Broken(error),
            TransitError::Disk(_) => Self::Cannot(error.to_string()),
        }
    }
}

/// The folder, for one process.
pub struct Keep {
    dir: PathBuf,
    key: VerifyingKey,
    /// What is served lies on the same disk, and goes first.
    store: Store,
    /// Bytes that are left to it.
    reserve: u64,
    /// One pack at a time comes in.
    busy: Mutex<()>,
}

impl Keep {
    /// Opens the folder, making it if need be. What a crash left half written goes.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn open(dir: PathBuf, key: VerifyingKey, store: Store, reserve: u64) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { dir, key, store, reserve, busy: Mutex::default() })
    }

    /// Every pack that is kept. Blocks.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn held(&self) -> io::Result<Vec<Held>> {
        let mut held = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_str().and_then(|name| name.parse::<PackName>().ok());
            if let Some(name) = name {
                held.push(Held { name, len: entry.metadata()?.len() });
            }
        }
        held.sort_by(|a, b| b.name.cmp(&a.name));
        held.truncate(MAX_KEPT);
        Ok(held)
    }

    /// Takes in a pack. When this returns, it is on disk under its name.
    ///
    /// # Errors
    /// [`KeepError`]; nothing of it is left.
    pub async fn take(&self, stream: &mut (impl AsyncRead + Unpin), head: &PackHead) -> Result<(), KeepError> {
        let Ok(_turn) = self.busy.try_lock() else {
            let detail = "two packs at once".to_owned();
            return Err(KeepError::Rules { code: CloseCode::Garbage, detail });
        };
        let tmp = self.dir.join(format!("{}.tmp", head.name));
        let taken = match self.room(head.len) {
            Ok(()) => self.receive(stream, head, &tmp).await,
            Err(error) => Err(error),
        };
        if taken.is_err() {
            let _ = tokio::fs::remove_file(&tmp).await;
        }
        taken
    }

    /// Fails if there is no room: the last of it is for cuts.
    fn room(&self, len: u64) -> Result<(), KeepError> {
        let free = self.store.space().map_err(cannot)?.free;
        if free < len.saturating_add(self.reserve) {
            return Err(KeepError::Cannot(format!(
                "{free} bytes are free, and the last {} are for cuts",
                self.reserve
            )));
        }
        let held = tokio::task::block_in_place(|| self.held()).map_err(cannot)?;
        if held.len() < MAX_KEPT {
            Ok(())
        } else {
            Err(KeepError::Cannot(format!("{MAX_KEPT} packs are kept already")))
        }
    }

    async fn receive(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        head: &PackHead,
        tmp: &Path,
    ) -> Result<(), KeepError> {
        transit::receive(stream, head, tmp).await?;
        let (key, name, from, dir) = (self.key, head.name.clone(), tmp.to_owned(), self.dir.clone());
        let placed = tokio::task::spawn_blocking(move || {
            of_mesh(&from, &name, &key)?;
            fs::rename(&from, dir.join(name.as_str())).map_err(cannot)?;
            File::open(&dir).and_then(|dir| dir.sync_all()).map_err(cannot)
        });
        placed.await.map_err(|error| KeepError::Cannot(error.to_string()))?
    }

    /// Gives a cut up that is kept in its smaller form, too. `false` if it is not. Blocks.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn discard(&self, name: &PackName) -> io::Result<bool> {
        let smaller = self.held()?.into_iter().map(|held| held.name);
        let replaced = smaller
            .filter(|other| other.kind() == PackKind::Delta && other.cut() == name.cut())
            .any(|other| of_mesh(&self.dir.join(other.as_str()), &other, &self.key).is_ok());
        if name.kind() != PackKind::Cut || !replaced {
            return Ok(false);
        }
        match fs::remove_file(self.dir.join(name.as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    }

    /// Sends a pack back.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn give(&self, connection: &quinn::Connection, name: &PackName) -> anyhow::Result<()> {
        let path = self.dir.join(name.as_str());
        let file = path.clone();
        let digest = tokio::task::spawn_blocking(move || {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(File::open(&file)?)?;
            Ok::<_, io::Error>((Digest::from_bytes(*hasher.finalize().as_bytes()), file.metadata()?.len()))
        });
        let (digest, len) = digest.await??;
        let head = PackHead { name: name.clone(), len, digest };
        let mut stream = connection.open_uni().await?;
        stream.set_priority(LAST)?;
        wire::write_frame(&mut stream, &head).await?;
        transit::send(&mut stream, &head, &path, None).await?;
        stream.finish()?;
        let _ = stream.stopped().await;
        Ok(())
    }
}

/// Fails unless a file is a whole pack of the cut that its name says, signed by `key`.
fn of_mesh(path: &Path, name: &PackName, key: &VerifyingKey) -> Result<(), KeepError> {
    let rules = |code, detail: String| KeepError::Rules { code, detail };
    let found = store::inspect(path).map_err(|error| match error {
        StoreError::Damaged(detail) => rules(CloseCode::BadContent, detail),
        error => KeepError::Cannot(error.to_string()),
    })?;
    let read = Manifest::of_cut(&found.cut, &found.manifest, key);
    read.map_err(|error| rules(CloseCode::Forged, error.to_string()))?;
    if !name.is_of(&found.cut) {
        return Err(rules(CloseCode::Forged, format!("{name} holds another cut")));
    }
    Ok(())
}

fn cannot(error: io::Error) -> KeepError {
    KeepError::Cannot(error.to_string())
}

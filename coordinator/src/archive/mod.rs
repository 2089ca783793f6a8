//! Every package that was ever taken in, bit for bit, in a fraction of the space.
//!
//! The newest packages lie there as they came, and every so many an older one; all others are told by what changed inside
//! since an earlier one ([`opened`]), as [`plan`] says. A package that is told was made again and compared before the one
//! that came is given up, and is made again, and compared by its digest, whenever somebody asks for it. What cannot be
//! told in half of its space stays as it came. Nothing is ever deleted.
//!
//! Works on threads that give way to all others; memory is bounded by a few packages.

mod keeper;
pub mod plan;
mod recent;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use difusor_proto::{
    CutKey, Digest, Manifest, Sha256, VerifyingKey,
    codec::Coding,
    opened::{self, OpenedError, Streams},
    store::{AtRest, Blob, PackWriter, Store, StoreError},
};
use rayon::{ThreadPool, ThreadPoolBuilder};
use rustix::{process::setpriority_process, thread::gettid};
use serde::{Deserialize, Serialize};

pub use self::keeper::Keeper;
use self::{plan::Plan, recent::Recent};
use crate::ingest::{self, Caps, Source};

/// The priority of the threads: whatever else wants a core goes first (setpriority(2)).
const LAST: i32 = 19;

/// Bytes of packages at hand while several are made in a row: four of a national night, of which each is most often told
/// by one of the last.
pub const AT_HAND: u64 = 192 << 20;

/// Cuts that are told by each other in a row at most. More is a circle, or damage.
const MAX_CHAIN: usize = 64;

/// Why a package of the archive is not there.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cut is not in the archive.
    #[error("cut {0} is not in the archive")]
    Unknown(u64),
    /// The cut that it is told by is not.
    #[error("cut {0} is told by a cut that is not in the archive: get that one back from a replica")]
    NoBase(u64),
    /// The bytes at rest are others.
    #[error("the package of cut {0} cannot be made from what is on the disk ({1}): get it back from a replica")]
    Damaged(u64, String),
    /// A manifest at rest.
    #[error("manifest of cut {0}: {1}")]
    Manifest(u64, String),
    /// The package is sound no more, which it was when it came.
    #[error("the package of cut {0} is refused now: {1}")]
    Refused(u64, String),
}

/// A package, its bytes compared with its digest.
#[derive(Debug, Clone)]
pub enum Package {
    /// On the disk.
    AtRest(Blob),
    /// Made again.
    Made(Bytes),
}

impl Package {
    /// Bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::AtRest(blob) => blob.len(),
            Self::Made(bytes) => bytes.len() as u64,
        }
    }

    /// True if there are none, which no package is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// So many bytes from `at` on.
    ///
    /// # Errors
    /// What reading gives, or if there are fewer.
    pub fn piece(&self, at: u64, len: usize) -> std::io::Result<Bytes> {
        match self {
            Self::AtRest(blob) => {
                let mut piece = vec![0; len];
                blob.read_at(&mut piece, at).map(|()| piece.into())
            }
            Self::Made(bytes) => {
                let from = usize::try_from(at).map_err(std::io::Error::other)?;
                let range = from..from.saturating_add(len);
                let is_there = range.end <= bytes.len();
                is_there.then(|| bytes.slice(range)).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
            }
        }
    }
}

/// What became of a package that was to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is told, in so many bytes.
    Told(u64),
    /// It stays as it came, because it cannot be told in half of its space.
    AsItCame,
    /// Somebody wants its files: another time.
    Wanted,
}

/// What a look at one cut of the archive gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Which.
    pub cut: CutKey,
    /// SHA-256 that its package came with.
    pub sha256: Sha256,
    /// Bytes of its package, and of what is kept of it.
    pub package: u64,
    /// Bytes that it takes at rest.
    pub at_rest: u64,
    /// True if the package itself is kept.
    pub verbatim: bool,
    /// What is wrong; `None` if its package has the very bytes it came with.
    pub problem: Option<String>,
    /// How long it took, milliseconds.
    pub ms: u64,
}

/// The archive of a coordinator. All methods block.
pub struct Archive {
    store: Store,
    key: VerifyingKey,
    plan: Plan,
    pool: ThreadPool,
    /// Packages that were made last: the next one is most often told by one of them.
    recent: Mutex<Recent>,
    /// The cut that was expanded last, until it is served. Whoever gives up the files of a cut holds this.
    wanted: Mutex<Option<Digest>>,
}

impl Archive {
    /// The archive in `store`. `memory` bounds the packages that are kept at hand while several are made in a row.
    ///
    /// # Errors
    /// If there are no threads.
    pub fn new(store: Store, key: VerifyingKey, plan: Plan, memory: u64) -> std::io::Result<Self> {
        let give_way = |_| {
            if let Err(error) = setpriority_process(Some(gettid()), LAST) {
                tracing::debug!(%error, "a thread of the archive keeps its priority");
            }
        };
        let pool = ThreadPoolBuilder::new().thread_name(|at| format!("archive-{at}")).start_handler(give_way).build();
        let pool = pool.map_err(std::io::Error::other)?;
        Ok(Self { store, key, plan, pool, recent: Mutex::new(Recent::new(memory)), wanted: Mutex::default() })
    }

    /// What is kept, and how.
    ///
    /// # Errors
    /// What the index gives.
    pub fn held(&self) -> Result<Vec<AtRest>, StoreError> {
        self.store.at_rest()
    }

    /// The package of a cut, every byte of it compared with what came.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn package(&self, cut: &CutKey) -> Result<Package, ArchiveError> {
        let blob = self.blob(cut)?;
        if blob.coding() != Coding::Identity {
            let made = self.make(cut)?;
            self.at_hand().clear();
            return Ok(Package::Made(Bytes::from_owner(Whole(made))));
        }
        let whole = blob.is(&self.manifest(cut)?.package.digest).map_err(StoreError::Io)?;
        if whole { Ok(Package::AtRest(blob)) } else { Err(damaged(cut, "other bytes than it came with")) }
    }

    /// Makes the package of a cut again, and compares its SHA-256 with that of the institute's file.
    ///
    /// # Errors
    /// What the index gives; whatever is wrong with the package is in the answer.
    pub fn verify(&self, held: &AtRest) -> Verified {
        let started = std::time::Instant::now();
        let looked = self.manifest(&held.cut).and_then(|manifest| {
            let package = self.make(&held.cut)?;
            let same = Sha256::of(&package) == manifest.package.sha256;
            let problem = (!same).then(|| "the bytes are those of the cut, and its SHA-256 is another".to_owned());
            Ok((manifest.package, problem))
        });
        let (sha256, package, problem) = match looked {
            Ok((package, problem)) => (package.sha256, package.size, problem),
            Err(error) => match self.manifest(&held.cut) {
                Ok(manifest) => (manifest.package.sha256, manifest.package.size, Some(error.to_string())),
                Err(_) => (Sha256::of(&[]), 0, Some(error.to_string())),
            },
        };
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let verbatim = held.base.is_none();
        Verified { cut: held.cut, sha256, package, at_rest: held.bytes, verbatim, problem, ms }
    }

    /// Lets go of the packages that were made last.
    pub fn rest(&self) {
        self.at_hand().clear();
    }

    /// Keeps the package of `cut` by what changed in it since that of `base`.
    ///
    /// # Errors
    /// [`ArchiveError`]; the package stays as it came.
    pub fn compact(&self, cut: &CutKey, base: &CutKey) -> Result<Kept, ArchiveError> {
        let (old, new) = (self.make(base)?, self.make(cut)?);
        let told = self.pool.install(|| {
            let caps = Caps::default();
            let (held, members) = rayon::join(|| ingest::streams(&old, &caps), || ingest::streams(&new, &caps));
            opened::encode(&old, &held, &new, &members, Streams::Alone)
        });
        let told = match told {
            Ok(told) if told.len() < new.len() / 2 => told,
            Ok(_) | Err(OpenedError::Deflate(_) | OpenedError::Form(_)) => return Ok(Kept::AsItCame),
            Err(error) => return Err(damaged(cut, error)),
        };
        // Whatever was told wrongly is found here, and never again.
        let again = self.pool.install(|| opened::decode(&told, &old, new.len() as u64));
        if again.as_ref() != Ok(&*new) {
            tracing::error!(seq = cut.seq, "a package is not what it is told to be: it stays as it came");
            return Ok(Kept::AsItCame);
        }
        let wanted = self.wanted();
        if *wanted == Some(cut.root) {
            return Ok(Kept::Wanted);
        }
        self.store.compact(cut, base, &told)?;
        Ok(Kept::Told(told.len() as u64))
    }

    /// Keeps the package of a cut as it came again, with its files in it: to roll back to it. So it stays until it was
    /// [served](Self::served).
    ///
    /// # Errors
    /// [`ArchiveError`]; what is kept stays as it is.
    pub fn expand(&self, cut: &CutKey) -> Result<(), ArchiveError> {
        *self.wanted() = Some(cut.root);
        if self.blob(cut)?.coding() == Coding::Identity {
            return Ok(());
        }
        let package = Bytes::from_owner(Whole(self.make(cut)?));
        self.at_hand().clear();
        let ingested = ingest::ingest(&package, &Caps::default(), &());
        let sources = ingested.map_err(|refusal| ArchiveError::Refused(cut.seq, refusal.to_string()))?.sources;
        let pack = self.store.begin()?;
        let mut stream = pack.package().map_err(StoreError::Io)?;
        stream.write(&package).map_err(StoreError::Io)?;
        stream.finish().map_err(StoreError::Io)?;
        spans(&pack, &package, &sources)?;
        Ok(self.store.expand(&pack, cut)?)
    }

    /// Whoever was waiting for this cut has it.
    pub fn served(&self, cut: &CutKey) {
        let mut wanted = self.wanted();
        if *wanted == Some(cut.root) {
            *wanted = None;
        }
    }

    fn wanted(&self) -> MutexGuard<'_, Option<Digest>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of a package, by as many steps as it takes.
    fn make(&self, cut: &CutKey) -> Result<Arc<Vec<u8>>, ArchiveError> {
        let (mut chain, mut at) = (Vec::new(), *cut);
        let mut package = loop {
            if let Some(made) = self.at_hand().get(&at.root) {
                break made;
            }
            let blob = self.blob(&at)?;
            let Coding::Opened { base } = blob.coding() else {
                let bytes = blob.read().map_err(StoreError::Io)?;
                break self.compared(&at, bytes)?;
            };
            chain.push((at, blob));
            if chain.len() > MAX_CHAIN {
                return Err(damaged(cut, "cuts that are told by each other in a circle"));
            }
            at = self.named(&base)?.ok_or(ArchiveError::NoBase(at.seq))?;
        };
        for (cut, blob) in chain.into_iter().rev() {
            let told = blob.read().map_err(StoreError::Io)?;
            let made = self.pool.install(|| opened::decode(&told, &package, blob.size()));
            package = self.compared(&cut, made.map_err(|error| damaged(&cut, error))?)?;
        }
        Ok(package)
    }

    /// A package, if its bytes are those of its cut; and keeps it at hand.
    fn compared(&self, cut: &CutKey, bytes: Vec<u8>) -> Result<Arc<Vec<u8>>, ArchiveError> {
        let digest = self.pool.install(|| Digest::of_parallel(&bytes));
        if digest != self.manifest(cut)?.package.digest {
            return Err(damaged(cut, "other bytes than it came with"));
        }
        let package = Arc::new(bytes);
        self.at_hand().put(cut.root, Arc::clone(&package));
        Ok(package)
    }

    fn blob(&self, cut: &CutKey) -> Result<Blob, ArchiveError> {
        self.store.package(cut)?.ok_or(ArchiveError::Unknown(cut.seq))
    }

    fn named(&self, root: &Digest) -> Result<Option<CutKey>, StoreError> {
        Ok(self.store.cuts()?.into_iter().find(|cut| cut.root == *root))
    }

    fn manifest(&self, cut: &CutKey) -> Result<Manifest, ArchiveError> {
        let signed = self.store.manifest(cut)?.ok_or(ArchiveError::Unknown(cut.seq))?;
        signed.open(&self.key).map_err(|error| ArchiveError::Manifest(cut.seq, error.to_string()))
    }

    fn at_hand(&self) -> MutexGuard<'_, Recent> {
        // A panic leaves a list of whole packages.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names the blobs of a package in the pack that it was appended to.
///
/// # Errors
/// What writing gives.
pub fn spans(pack: &PackWriter, package: &Bytes, sources: &[Source]) -> Result<(), StoreError> {
    for source in sources {
        let range = usize::try_from(source.at).ok().zip(usize::try_from(source.at + source.len).ok());
        let coded = range.and_then(|(from, to)| package.get(from..to));
        let coded = coded.ok_or_else(|| StoreError::Damaged("a span outside its package".into()))?;
        pack.span(source.digest, source.coding, source.size, source.at, coded)?;
    }
    Ok(())
}

fn damaged(cut: &CutKey, why: impl ToString) -> ArchiveError {
    ArchiveError::Damaged(cut.seq, why.to_string())
}

/// Bytes that several own.
struct Whole(Arc<Vec<u8>>);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

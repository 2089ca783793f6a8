//! From a package to a cut: receive, verify, number, sign, keep, and hand over to the rollout.
//!
//! One package at a time. Nodes are offered the cut as soon as its manifest is signed, while it is still being written
//! here; it flips only once it is durable. A package that is refused is set aside with a report, and whatever is being
//! served stays.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};
use difusor_proto::{
    CutKey, CutLabel, Digest, FlipKind, Manifest, Sha256, Signed, SigningKey,
    limits::MAX_PACKAGE_BYTES,
    manifest::PackageId,
    process::unix_us,
    store::{Access, PackWriter, Store, StoreError, replace},
};
use futures_util::{Stream, StreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use crate::{
    archive::{Archive, ArchiveError, spans},
    delta::{DeltaError, Deltas},
    driver::{Command, Commands, FleetView, view},
    fleet::CutView,
    ingest::{self, Caps, Ingested, Refusal},
    rollout::Event,
    state::{Planned, State},
};

/// What comes with a package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The file's name, for the label and the reports.
    pub name: String,
    /// The label, if it is not in the name.
    pub label: Option<CutLabel>,
    /// What the side-car says the SHA-256 of the package is.
    pub sha256: Option<Sha256>,
    /// Accept other bytes under a label that was published before.
    pub reissue: bool,
    /// Publish although the label is older than the one that is served.
    pub force: bool,
}

/// What became of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Kept, and on its way to the nodes.
    Published,
    /// Kept, but older than what is served: not published.
    Archived,
    /// These very bytes were taken in before: nothing was done.
    Unchanged,
}

/// Answer to a package that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// What became of it.
    pub outcome: Outcome,
    /// Its cut.
    pub cut: CutKey,
}

/// Report on a package that was refused, as it is set aside with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The file's name as it came.
    pub name: String,
    /// Its label, if it had one.
    pub label: Option<CutLabel>,
    /// Reason code, from a closed set.
    pub reason: String,
    /// The first bad entry.
    pub entry: Option<String>,
    /// The first bad byte, counted from the start of the package.
    pub offset: Option<u64>,
    /// What was found.
    pub message: String,
    /// What to do.
    pub advice: String,
    /// Bytes of the package that came.
    pub bytes: u64,
    /// SHA-256 of the package.
    pub sha256: Option<Sha256>,
    /// When, RFC 3339.
    pub at: String,
    /// Where the package was set aside.
    pub kept: Option<PathBuf>,
}

/// Why a package did not become a cut.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The package is at fault; it was set aside.
    #[error("refused ({}): {}", .0.reason, .0.message)]
    Refused(Box<Report>),
    /// It broke off while it came.
    #[error("the package broke off: {0}")]
    Upload(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The deltas.
    #[error(transparent)]
    Delta(#[from] DeltaError),
    /// A package of the archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// No such cut in the archive.
    #[error("cut {0} is not in the archive: see `difusor-coordinator history`")]
    Unknown(String),
    /// Something that cannot be, or a process that ends.
    #[error("{0}")]
    Internal(String),
}

/// A cut in the archive, without its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// Which.
    pub cut: CutKey,
    /// Its package.
    pub package: PackageId,
    /// Files.
    pub entries: usize,
    /// Bytes of all files, plain.
    pub plain_bytes: u64,
    /// When it was accepted, Unix milliseconds.
    pub accepted_ms: u64,
}

impl Archived {
    fn of(cut: CutKey, manifest: &Manifest) -> Self {
        Self {
            cut,
            package: manifest.package.clone(),
            entries: manifest.entries.len(),
            plain_bytes: manifest.plain_bytes(),
            accepted_ms: manifest.accepted_ms,
        }
    }
}

/// Takes packages in.
pub struct Publisher {
    store: Store,
    key: Arc<SigningKey>,
    deltas: Arc<Deltas>,
    commands: Commands,
    fleet: FleetView,
    refused: PathBuf,
    packages: Arc<Archive>,
    archive: Mutex<Vec<Archived>>,
    /// Changes with every pack that is on disk.
    committed: watch::Sender<()>,
    /// The highest number of a cut that was ever published, as far as is known: it may be on nodes alone.
    taken: Arc<AtomicU64>,
    /// One package at a time: each gets its number after the one before it.
    turn: tokio::sync::Mutex<()>,
}

/// A package that has come whole, and is on its way to the disk.
struct Received {
    pack: Arc<PackWriter>,
    bytes: Bytes,
    digest: Digest,
    /// When the last byte was here.
    at_us: u64,
}

impl PublishError {
    /// True if the disk has no room, or the process may not write more.
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let (Self::Store(error) | Self::Delta(DeltaError::Store(error))) = self else { return false };
        matches!(error, StoreError::Io(error) if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }
}

impl Publisher {
    /// A publisher over what is in `store`.
    ///
    /// # Errors
    /// If a manifest at rest cannot be read.
    pub fn new(
        store: Store,
        key: Arc<SigningKey>,
        deltas: Arc<Deltas>,
        packages: Arc<Archive>,
        commands: Commands,
        fleet: FleetView,
        refused: PathBuf,
    ) -> Result<Self, DeltaError> {
        let cuts = store.cuts()?;
        let archive = cuts.iter().map(|cut| Ok(Archived::of(*cut, deltas.manifest(cut)?.as_ref())));
        let archive = Mutex::new(archive.collect::<Result<_, DeltaError>>()?);
        let (committed, turn) = (watch::Sender::default(), tokio::sync::Mutex::default());
        let taken = Arc::default();
        Ok(Self { store, key, deltas, packages, commands, fleet, refused, archive, committed, taken, turn })
    }

    /// The highest number of a cut that was ever published, as far as is known, for whoever learns of a higher one.
    pub fn taken(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken)
    }

    /// The packages of the archive.
    pub fn packages(&self) -> &Arc<Archive> {
        &self.packages
    }

    /// Tells of every pack that is on disk, once it is.
    pub fn committed(&self) -> watch::Receiver<()> {
        self.committed.subscribe()
    }

    /// Tells all who listen that a cut is kept in another way now.
    pub fn exchanged(&self) {
        self.committed.send_replace(());
    }

    /// True while a package is being taken in.
    pub fn is_busy(&self) -> bool {
        self.turn.try_lock().is_err()
    }

    /// Is taking a package in until the guard is dropped, as far as others can tell.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.try_lock().unwrap()
    }

    /// Every cut, oldest first.
    pub fn archive(&self) -> Vec<Archived> {
        self.lock().clone()
    }

    /// Lists cuts that came back to the store.
    ///
    /// # Errors
    /// If a manifest at rest cannot be read.
    pub fn learn(&self) -> Result<(), DeltaError> {
        for cut in self.store.cuts()? {
            if !self.lock().iter().any(|archived| archived.cut == cut) {
                let archived = Archived::of(cut, self.deltas.manifest(&cut)?.as_ref());
                let mut archive = self.lock();
                archive.push(archived);
                archive.sort_by_key(|archived| archived.cut.seq);
            }
        }
        Ok(())
    }

    /// The cut that `name` means: a sequence number, or the newest of a label.
    ///
    /// # Errors
    /// [`PublishError::Unknown`].
    pub fn find(&self, name: &str) -> Result<CutKey, PublishError> {
        let seq = name.parse::<u64>().ok();
        let label = name.parse::<CutLabel>().ok();
        let archive = self.lock();
        let found = archive.iter().rev().map(|a| a.cut).find(|cut| Some(cut.seq) == seq || Some(cut.label) == label);
        found.ok_or_else(|| PublishError::Unknown(name.into()))
    }

    /// Takes in a package that arrives in pieces. Returns when it is durable.
    ///
    /// # Errors
    /// [`PublishError`]; what is served stays in every case.
    pub async fn publish<E: std::fmt::Display>(
        self: &Arc<Self>,
        request: Request,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Accepted, PublishError> {
        let _turn = self.turn.lock().await;
        let received = self.receive(&request, body).await?;
        let publisher = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || publisher.take_in(&request, &received));
        let (accepted, offered) = work.await.map_err(|error| PublishError::Internal(error.to_string()))??;
        match accepted.outcome {
            Outcome::Published => self.plan(Planned { cut: offered, kind: FlipKind::Publish }).await?,
            Outcome::Archived => self.decide(accepted.cut.seq).await?,
            Outcome::Unchanged => {}
        }
        let store = self.store.clone();
        // Only makes the next start faster: the packs are durable.
        tokio::task::spawn_blocking(move || store.settle().map_err(|error| tracing::warn!(%error, "settling")));
        Ok(accepted)
    }

    /// Orders the nodes back to a cut of the archive.
    ///
    /// # Errors
    /// [`PublishError::Unknown`].
    pub async fn rollback(&self, name: &str) -> Result<CutKey, PublishError> {
        // A package that is being taken in has its number before this one leads back from it.
        let _turn = self.turn.lock().await;
        let cut = self.find(name)?;
        // Whatever a node may have served is at most this.
        let from = self.lock().last().map_or(cut.seq, |newest| newest.cut.seq).max(self.taken.load(Relaxed));
        let packages = Arc::clone(&self.packages);
        // Its files are needed now.
        let expanded = tokio::task::spawn_blocking(move || packages.expand(&cut)).await;
        expanded.map_err(|error| PublishError::Internal(error.to_string()))??;
        self.show(&cut, 0, unix_us());
        self.plan(Planned { cut, kind: FlipKind::Rollback { from } }).await?;
        Ok(cut)
    }

    /// Carries out what an earlier process was ordered and did not get to flip: its plan, and a cut that it took in but
    /// had not planned yet when it was killed.
    pub fn resume(&self, state: &State) {
        for Planned { cut, kind } in state.planned() {
            tracing::info!(seq = cut.seq, label = %cut.label, ?kind, "carrying out what was ordered before the last stop");
            self.show(cut, 0, unix_us());
            if let Err(error) = self.packages.expand(cut) {
                tracing::error!(seq = cut.seq, %error, "its files are not here: nodes that lack them cannot take it");
            }
            let _ = self.commands.send(Command::Event(Event::Publish { cut: *cut, kind: *kind, durable: true }));
        }
        let planned = state.planned().iter().map(|order| order.cut.seq).max().unwrap_or(0);
        let (decided, current) = (state.decided().max(planned), state.current());
        let archive = self.lock();
        let newest = archive.last().map(|a| a.cut).filter(|cut| cut.seq > decided);
        let newer = |cut: &CutKey| current.is_none_or(|current| cut.label >= current.label);
        if let Some(cut) = newest.filter(newer) {
            tracing::info!(seq = cut.seq, label = %cut.label, "publishing what was taken in before the last stop");
            let event = Event::Publish { cut, kind: FlipKind::Publish, durable: true };
            let _ = self.commands.send(Command::Event(event));
        }
    }

    async fn receive<E: std::fmt::Display>(
        &self,
        request: &Request,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Received, PublishError> {
        let pack = Arc::new(self.store.begin()?);
        let mut package = pack.package().map_err(StoreError::Io)?;
        let mut bytes = BytesMut::new();
        let mut body = std::pin::pin!(body);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| PublishError::Upload(error.to_string()))?;
            if (bytes.len() + piece.len()) as u64 > MAX_PACKAGE_BYTES {
                return Err(self.too_large(request, (bytes.len() + piece.len()) as u64));
            }
            tokio::task::block_in_place(|| package.write(&piece)).map_err(StoreError::Io)?;
            bytes.extend_from_slice(&piece);
        }
        let digest = package.finish().map_err(StoreError::Io)?;
        let at_us = unix_us();
        let behind = Arc::clone(&pack);
        // The disk works while the cores inflate. An error here comes back from the fsync of the commit.
        tokio::task::spawn_blocking(move || behind.write_behind());
        Ok(Received { pack, bytes: bytes.freeze(), digest, at_us })
    }

    /// Refuses a package for its size alone; nothing of it is kept.
    pub fn too_large(&self, request: &Request, bytes: u64) -> PublishError {
        let message = format!("{bytes} bytes or more, where {MAX_PACKAGE_BYTES} are allowed");
        let advice = "no results site is that large: check what was sent";
        tracing::warn!(name = %request.name, bytes, "package refused: too large");
        view(&self.fleet).refuse("package:too-large");
        PublishError::Refused(Box::new(Report { bytes, ..report(request, "too-large", message, advice) }))
    }

    /// Everything between the last byte and the disk. Returns the cut that the nodes were offered, too.
    fn take_in(&self, request: &Request, received: &Received) -> Result<(Accepted, CutKey), PublishError> {
        let label = request.label.or_else(|| CutLabel::in_file_name(&request.name));
        let (last, same, taken) = {
            let archive = self.lock();
            let same = archive.iter().find(|a| a.package.digest == received.digest).map(|a| a.cut);
            let taken = archive.iter().rev().find(|a| Some(a.cut.label) == label).map(|a| a.cut);
            (archive.last().cloned(), same, taken)
        };
        if let Some(cut) = same {
            return Ok((Accepted { outcome: Outcome::Unchanged, cut }, cut));
        }
        let refuse = |reason: &str, message: String, advice: &str| {
            self.refuse(request, received, report(request, reason, message, advice))
        };
        let Some(label) = label else {
            let message = format!("`{}` has no label in its name", request.name);
            return Err(refuse(
                "no-label",
                message,
                "name the file YYYYMMDD_HHMM_….zip, or give the label with --label",
            ));
        };
        if let Some(taken) = taken.filter(|_| !request.reissue) {
            let message = format!("label {label} was taken in before, as cut {}, with other bytes", taken.seq);
            return Err(refuse(
                "label-taken",
                message,
                "if the institute has issued this cut again, repeat with --reissue",
            ));
        }
        let served = {
            let fleet = view(&self.fleet);
            fleet.target.or(fleet.current)
        };
        // What is served may be on nodes alone.
        let base = served.and_then(|cut| self.deltas.manifest(&cut).ok());
        let patches = self.deltas.listen(base.as_deref());
        let ingested = match ingest::ingest(&received.bytes, &Caps::default(), &patches) {
            Ok(ingested) => ingested,
            Err(refusal) => return Err(self.refuse(request, received, report_of(request, &refusal))),
        };
        if let Some(expected) = request.sha256.filter(|expected| *expected != ingested.sha256) {
            let message = format!("the side-car says SHA-256 {expected}, the package has {}", ingested.sha256);
            return Err(refuse("checksum", message, "fetch package and side-car again: one of them is not whole"));
        }
        let Ingested { entries, sources, sha256, .. } = ingested;
        let manifest = Manifest {
            mesh: self.key.verifying_key().mesh(),
            seq: last.as_ref().map_or(0, |last| last.cut.seq).max(self.taken.load(Relaxed)) + 1,
            label,
            // HTTP tells dates by the second, and two cuts must differ in theirs.
            accepted_ms: last.map_or(0, |last| last.accepted_ms + 1000).max(received.at_us / 1000),
            package: PackageId { digest: received.digest, sha256, size: received.bytes.len() as u64 },
            entries,
        };
        let (cut, encoded) = manifest.encode().map_err(|error| PublishError::Internal(error.to_string()))?;
        let signed: Signed<Manifest> = self.key.sign_encoded(encoded);
        self.deltas.accept(received.bytes.clone(), sources.clone(), patches);
        let archived = Archived::of(cut, &manifest);
        self.lock().push(archived);
        let older = served.is_some_and(|served| label < served.label) && !request.force;
        if !older {
            self.show(&cut, unix_us().saturating_sub(received.at_us), received.at_us);
            self.offer(cut, &manifest, &signed)?;
        }
        if let Err(error) = self.keep(&received.pack, &received.bytes, &cut, &signed, &sources) {
            self.lock().retain(|archived| archived.cut != cut);
            let _ = self.commands.send(Command::Event(Event::Withdrawn { cut }));
            return Err(error.into());
        }
        if let Some(seen) = view(&self.fleet).cut(&cut) {
            seen.durable_us = Some(unix_us().saturating_sub(received.at_us));
        }
        let outcome = if older { Outcome::Archived } else { Outcome::Published };
        Ok((Accepted { outcome, cut }, cut))
    }

    /// Tells the nodes of a cut that is not on disk yet. Its deltas come from memory.
    fn offer(&self, cut: CutKey, manifest: &Manifest, signed: &Signed<Manifest>) -> Result<(), PublishError> {
        self.deltas.announce(cut, manifest.clone(), signed.clone());
        let event = Event::Publish { cut, kind: FlipKind::Publish, durable: false };
        self.commands.send(Command::Event(event)).map_err(|_| ended())
    }

    fn keep(
        &self,
        pack: &PackWriter,
        package: &Bytes,
        cut: &CutKey,
        signed: &Signed<Manifest>,
        sources: &[ingest::Source],
    ) -> Result<(), StoreError> {
        spans(pack, package, sources)?;
        self.store.commit(pack, cut, signed)?;
        self.committed.send_replace(());
        Ok(())
    }

    fn show(&self, cut: &CutKey, ingest_us: u64, received_us: u64) {
        let archived = self.lock().iter().find(|a| a.cut == *cut).cloned();
        let Some(Archived { cut, package, entries, plain_bytes, .. }) = archived else { return };
        view(&self.fleet).begin(CutView {
            cut,
            package_bytes: package.size,
            plain_bytes,
            entries,
            received_us,
            ingest_us,
            durable_us: None,
            flip_at_us: None,
            skew_us: None,
            seen_skew_us: None,
            nodes: std::collections::BTreeMap::new(),
        });
    }

    async fn plan(&self, order: Planned) -> Result<(), PublishError> {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Plan { order, done }).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?.map_err(|error| StoreError::Io(error).into())
    }

    async fn decide(&self, seq: u64) -> Result<(), PublishError> {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Decide { seq, done }).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?.map_err(|error| StoreError::Io(error).into())
    }

    /// Sets a package aside with its report.
    fn refuse(&self, request: &Request, received: &Received, mut report: Report) -> PublishError {
        report.bytes = received.bytes.len() as u64;
        report.sha256 = Some(Sha256::of(&received.bytes));
        let stem: String =
            request.name.chars().filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).take(60).collect();
        let path = self.refused.join(format!("{}-{stem}.zip", received.at_us));
        let kept = std::fs::create_dir_all(&self.refused).and_then(|()| received.pack.copy_package(&path));
        match kept {
            Ok(()) => report.kept = Some(path.clone()),
            Err(error) => tracing::error!(%error, "a refused package could not be set aside"),
        }
        let written = serde_json::to_vec_pretty(&report)
            .map_err(std::io::Error::other)
            .and_then(|bytes| replace(&path.with_extension("json"), &bytes, Access::Normal));
        if let Err(error) = written {
            tracing::error!(%error, "the report of a refused package could not be written");
        }
        tracing::warn!(name = %report.name, reason = %report.reason, entry = ?report.entry, message = %report.message, "package refused");
        view(&self.fleet).refuse(&format!("package:{}", report.reason));
        PublishError::Refused(Box::new(report))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Archived>> {
        // Pushes and removals leave the list whole.
        self.archive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended() -> PublishError {
    PublishError::Internal("the coordinator is shutting down".into())
}

fn report(request: &Request, reason: &str, message: String, advice: &str) -> Report {
    Report {
        name: request.name.clone(),
        label: request.label.or_else(|| CutLabel::in_file_name(&request.name)),
        reason: reason.into(),
        entry: None,
        offset: None,
        message,
        advice: advice.into(),
        bytes: 0,
        sha256: None,
        at: Timestamp::now().to_string(),
        kept: None,
    }
}

fn report_of(request: &Request, refusal: &Refusal) -> Report {
    let advice = refusal.reason.advice();
    let report = report(request, refusal.reason.code(), refusal.to_string(), advice);
    Report { entry: refusal.entry.clone(), offset: refusal.offset, ..report }
}

//! One step of ours in a process of its own, so that its time and its highest memory are its alone.
//!
//! `encode` is the coordinator's: the delta between the two cuts in its archive, with nothing in memory before. `decode`
//! is the node's: the stream as it comes over QUIC, decoded, verified and written, in a store that holds the base.
//! Between the two lies a file with the very bytes of the stream.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use clap::Subcommand;
use difusor_coordinator::delta::{Deltas, Effort};
use difusor_node::stage::{Budget, Stage};
use difusor_proto::limits::MAX_MANIFEST_BYTES;
use difusor_proto::process::resident;
use difusor_proto::store::Store;
use difusor_proto::wire::{self, DeltaHead};
use difusor_proto::{Signed, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::congestion::push::{Ends, loopback};

/// What coordinators and nodes have unless they are told otherwise: memory for plain bytes of the last cut, and for blobs
/// that are being decoded.
const BASE_MEMORY: u64 = 512 << 20;
const APPLY_MEMORY: u64 = 160 << 20;

/// One step of `loadtest deltas`
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    piece: Piece,
}

/// A step.
#[derive(Debug, Subcommand)]
pub(super) enum Piece {
    /// Make the delta from the first cut of a coordinator's store to the second, or the first cut as a whole
    Encode {
        #[arg(long)]
        store: PathBuf,
        /// The coordinator's signing key
        #[arg(long)]
        key: PathBuf,
        #[arg(long)]
        whole: bool,
        /// Where the bytes of the stream go
        #[arg(long)]
        stream: PathBuf,
    },
    /// Take a stream into a node's store
    Decode {
        #[arg(long)]
        store: PathBuf,
        #[arg(long)]
        key: PathBuf,
        #[arg(long)]
        stream: PathBuf,
    },
}

/// What a step has to tell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    /// The step alone, without what is loaded before.
    pub(super) seconds: f64,
    /// Resident memory of the process at its highest.
    pub(super) peak: u64,
    /// Bytes of the whole stream.
    pub(super) stream: u64,
    /// Of these, the coded bytes of the blobs.
    pub(super) blobs: u64,
}

/// Takes the step in this process and prints what it has to tell.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let told = match &args.piece {
        Piece::Encode { store, key, whole, stream } => encode(store, key, *whole, stream)?,
        Piece::Decode { store, key, stream } => decode(store, key, stream)?,
    };
    println!("{}", serde_json::to_string(&Told { peak: resident().1, ..told })?);
    Ok(())
}

impl Piece {
    /// Takes the step in a process of its own.
    pub(super) fn start(&self) -> anyhow::Result<Told> {
        let mut command = Command::new(std::env::current_exe()?);
        // As coordinators and nodes have it.
        command.arg("deltas-piece").env("MALLOC_ARENA_MAX", "2");
        match self {
            Self::Encode { store, key, whole, stream } => {
                command.arg("encode").args(whole.then_some("--whole"));
                command.arg("--store").arg(store).arg("--key").arg(key).arg("--stream").arg(stream);
            }
            Self::Decode { store, key, stream } => {
                command.arg("decode").arg("--store").arg(store).arg("--key").arg(key).arg("--stream").arg(stream);
            }
        }
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::ensure!(output.status.success(), "{self:?} failed: {said}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

fn verifying(key: &Path) -> anyhow::Result<VerifyingKey> {
    Ok(SigningKey::from_pkcs8(&fs::read(key)?)?.verifying_key())
}

/// Makes a delta, and the stream that carries it.
fn encode(store: &Path, key: &Path, whole: bool, to: &Path) -> anyhow::Result<Told> {
    let (store, _) = Store::open(store)?;
    let cuts = store.cuts()?;
    let deltas = Deltas::new(store, verifying(key)?, BASE_MEMORY);
    let [base, target] = cuts.as_slice() else { anyhow::bail!("{} cuts in the archive", cuts.len()) };
    let (base, target, effort) = if whole { (None, base, Effort::Whole) } else { (Some(base), target, Effort::Apart) };
    let began = Instant::now();
    let delta = deltas.between(base, target, effort)?;
    let seconds = began.elapsed().as_secs_f64();
    let items = u32::try_from(delta.items.len())?;
    let mut stream = wire::encode(&DeltaHead { cut: *target, list: delta.list.clone(), items, bytes: delta.bytes })?;
    for item in &delta.items {
        stream.extend(wire::encode(&item.head)?);
        stream.extend_from_slice(&item.bytes);
    }
    fs::write(to, &stream).with_context(|| to.display().to_string())?;
    Ok(Told { seconds, peak: 0, stream: stream.len() as u64, blobs: delta.bytes })
}

/// Takes a stream in, and fails unless all of the cut is there then.
fn decode(store: &Path, key: &Path, from: &Path) -> anyhow::Result<Told> {
    let key = verifying(key)?;
    let bytes = fs::read(from)?;
    let (store, _) = Store::open(store)?;
    let budget = Budget::new(APPLY_MEMORY);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let ([coordinator, node], _endpoints) = loopback(&Ends::new()?).await?;
        let length = bytes.len() as u64;
        let sending = tokio::spawn(async move {
            let mut stream = coordinator.open_uni().await?;
            stream.write_all(&bytes).await?;
            stream.finish()?;
            let _ = stream.stopped().await;
            anyhow::Ok(())
        });
        let mut stream = node.accept_uni().await?;
        let began = Instant::now();
        let head = wire::read_frame::<DeltaHead>(&mut stream, MAX_MANIFEST_BYTES).await?.context("no stream")?;
        let list = head.list.as_ref().context("a stream without its list")?;
        let base = store.cuts()?.into_iter().find(|cut| Some(cut.root) == list.base());
        let base = base.map(|cut| store.manifest(&cut)).transpose()?.flatten();
        let signed = list.read(base.as_ref().map(Signed::bytes))?;
        let manifest = signed.open(&key)?;
        let custody = Arc::<tokio::sync::RwLock<()>>::default().read_owned().await;
        let stage = Arc::new(Stage::begin(&store, head.cut, signed, manifest, custody)?);
        stage.take(&mut stream, &head, &budget).await?;
        let seconds = began.elapsed().as_secs_f64();
        sending.await??;
        let (missing, _) = stage.missing();
        anyhow::ensure!(missing.is_empty(), "{} blobs do not verify", missing.len());
        stage.commit()?;
        Ok(Told { seconds, peak: 0, stream: length, blobs: head.bytes })
    })
}

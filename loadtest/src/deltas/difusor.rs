//! Our column: both packages through a real mesh of one node, then each step again in a process of its own.
//!
//! What counts is every byte of the stream to the node: its head, the signed list of the cut, and all blobs. The mesh and
//! the steps have to agree on them, and the node's store has to hold the package's files in the end.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use difusor_local::watch::{self, Published};
use difusor_local::{Mesh, Options, Ports};
use difusor_proto::Digest;
use difusor_proto::store::Store;
use serde::{Deserialize, Serialize};

use super::piece::Piece;
use super::site::Site;

/// What a pair cost us.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ours {
    /// All bytes of the stream to the node.
    pub(super) bytes: u64,
    /// Of these, blobs and bundles; the rest is the signed list and what stands in front of blobs.
    pub(super) blobs: u64,
    /// The coordinator's part, from its archive.
    pub(super) encode_s: f64,
    pub(super) encode_peak: u64,
    /// The node's part: decoded, verified and written, but for the wait for the disk.
    pub(super) decode_s: f64,
    pub(super) decode_peak: u64,
    /// In the mesh, from the last byte of the package to served.
    pub(super) served_s: f64,
}

/// Brings a node from one package to the next, in `dir`.
pub(super) fn measure(base: &Path, target: &Path, site: &Site, dir: &Path) -> anyhow::Result<Ours> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let run = runtime.block_on(mesh(base, target, dir))?;
    holds(&run.node, site).context("the node's store")?;
    let (store, key) = (run.coordinator.join("store"), run.coordinator.join("keys/signing.key"));
    let [whole, stream, fresh] = ["whole.stream", "delta.stream", "fresh"].map(|name| dir.join(name));
    let encode = |whole, stream: &Path| {
        Piece::Encode { store: store.clone(), key: key.clone(), whole, stream: stream.to_owned() }.start()
    };
    let decode =
        |stream: &Path| Piece::Decode { store: fresh.clone(), key: key.clone(), stream: stream.to_owned() }.start();
    encode(true, &whole)?;
    decode(&whole)?;
    let encoded = encode(false, &stream)?;
    let decoded = decode(&stream)?;
    holds(&fresh, site).context("the store of the step")?;
    let sent = run.blobs;
    anyhow::ensure!(encoded.blobs == sent, "the mesh sent {sent} bytes, the step made {}", encoded.blobs);
    Ok(Ours {
        bytes: encoded.stream,
        blobs: encoded.blobs,
        encode_s: encoded.seconds,
        encode_peak: encoded.peak,
        decode_s: decoded.seconds,
        decode_peak: decoded.peak,
        served_s: run.served_s,
    })
}

/// What is left of a mesh that has ended.
struct Run {
    coordinator: PathBuf,
    /// The node's store.
    node: PathBuf,
    blobs: u64,
    served_s: f64,
}

async fn mesh(base: &Path, target: &Path, dir: &Path) -> anyhow::Result<Run> {
    let mut options = Options::new(dir.join("mesh"), 1, Ports::Free)?;
    // On one machine nobody would; over slow links everybody does.
    options.coordinator_config = "deltas = \"apart\"".into();
    let mesh = Mesh::start(&options).await?;
    let run = both(&mesh, base, target).await;
    mesh.stop().await?;
    run
}

async fn both(mesh: &Mesh, base: &Path, target: &Path) -> anyhow::Result<Run> {
    let mut last = None;
    for package in [base, target] {
        match watch::publish(mesh, package, |_, _| {}).await.with_context(|| package.display().to_string())? {
            Published::Served(cut) => last = Some(cut),
            Published::Kept(kept) => anyhow::bail!("{}: {kept:?}", package.display()),
        }
    }
    let refused = mesh.client().status().await?.refused;
    anyhow::ensure!(refused.is_empty(), "the mesh had to ask again: {refused:?}");
    let (cut, node) = last.zip(mesh.nodes.first()).context("no node")?;
    let seen = cut.nodes.first().context("no node")?;
    Ok(Run {
        coordinator: mesh.coordinator.dir().to_owned(),
        node: node.process.dir().join("store"),
        blobs: seen.delta_bytes,
        served_s: cut.served_everywhere_ms / 1e3,
    })
}

/// Fails unless a store has the plain bytes of every file of the site.
fn holds(store: &Path, site: &Site) -> anyhow::Result<()> {
    let (store, _) = Store::open(store)?;
    for (path, digest) in &site.files {
        let plain = store.plain(digest).with_context(|| path.clone())?;
        anyhow::ensure!(Digest::of_parallel(&plain) == *digest, "{path} has other bytes");
    }
    Ok(())
}

//! Nodes keep the last few cuts; the archive keeps all, and a cut that nodes gave up comes back when it is asked for.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::publish::Request;
use difusor_local::{Mesh, https::Protocol};
use difusor_night::{Night, NightSpec};
use difusor_tests::{PATIENCE, options, publics, publish, until, witness::Witness, write};
use tempfile::TempDir;

use crate::PROGRAM;

/// Cuts a node keeps here.
const KEPT: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_cuts_give_back_their_space() -> Result<()> {
    let dir = TempDir::new()?;
    let mut options = options(PROGRAM, dir.path(), 1)?;
    options.node_config = format!("keep_cuts = {KEPT}");
    let mut mesh = Mesh::start(&options).await?;
    let witness = Witness::new(&mesh)?;
    let night = Night::new(NightSpec::tiny())?;
    let mut cuts = Vec::new();
    for i in 0..6 {
        let package = write(&night, i, dir.path())?;
        cuts.push(publish(&mesh, &package, Request::default()).await?.cut);
        ensure!(Some(&witness.compare(&publics(&mesh), &package).await?.cut) == cuts.last(), "cut {i}");
    }
    let packs = mesh.nodes[0].process.dir().join("store/packs");
    until("the packs of old cuts are gone", async || {
        let names = fs::read_dir(&packs)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names = names.collect::<Result<Vec<_>>>()?;
        let seqs = names.iter().filter_map(|name| name.split('-').next()?.parse::<usize>().ok());
        // The oldest kept is the fifth of six; static files of the first live on in a pack of a newer one.
        Ok(seqs.min().filter(|oldest| *oldest == cuts.len() + 1 - KEPT))
    })
    .await?;

    // What is kept is whole after a restart, the static files of the first cut with it.
    mesh.nodes[0].process.kill().await?;
    mesh.nodes[0].process.spawn()?;
    mesh.nodes[0].process.ready::<difusor_node::run::Ready>().await?;
    let newest = dir.path().join(night.file_name(5));
    witness.compare(&publics(&mesh), &newest).await?;

    // Back to a cut that the node gave up long ago.
    mesh.wait_connected().await?;
    mesh.client().rollback("1").await?;
    let first = cuts.first().context("cuts")?;
    mesh.wait_served(first, PATIENCE).await?;
    witness.compare(&publics(&mesh), &dir.path().join(night.file_name(0))).await?;
    let mut connection = mesh.open(&mesh.nodes[0], Protocol::H1).await?;
    ensure!(connection.cut().await?.map(|(seq, _)| seq) == Some(1), "not the first cut");
    mesh.stop().await
}

//! Nodes that were away, nodes that are new, and nodes that have no coordinator any more.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::publish::Request;
use difusor_local::https::Protocol;
use difusor_night::{Night, NightSpec};
use difusor_proto::NodeId;
use difusor_tests::{PATIENCE, newcomer::Newcomer, publics, publish, start_with, until, witness::Witness, write};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn away_late_and_alone() -> Result<()> {
    // Two of three zones are enough after a second, since a killed node does not say goodbye.
    let (mut mesh, dir) = start_with(PROGRAM, 3, "flip_deadline = \"1 s\"").await?;
    let witness = Witness::new(&mesh)?;
    let night = Night::new(NightSpec::tiny())?;
    let packages: Vec<_> = (0..4).map(|i| write(&night, i, dir.path())).collect::<Result<_>>()?;
    let newest = packages.last().context("packages")?;
    let first = publish(&mesh, &packages[0], Request::default()).await?.cut;

    // Away for three cuts, back in one step.
    mesh.nodes[2].process.kill().await?;
    let mut cuts = Vec::new();
    for package in &packages[1..] {
        cuts.push(publish(&mesh, package, Request::default()).await?.cut);
    }
    let away: NodeId = mesh.nodes[2].zone.as_str().parse()?;
    mesh.nodes[2].process.spawn()?;
    mesh.nodes[2].process.ready::<difusor_node::run::Ready>().await?;
    let (last, missed) = cuts.split_last().context("cuts")?;
    mesh.wait_served(last, PATIENCE).await?;
    ensure!(witness.compare(&publics(&mesh), newest).await?.cut == *last, "the node that was away");
    let progress = until("the coordinator hears of the flip", async || {
        let progress = mesh.client().status().await?.progress(last, &away).cloned();
        Ok(progress.filter(|progress| progress.flipped_us.is_some()))
    });
    let progress = progress.await?;
    ensure!(progress.items > 0 && progress.received_bytes.is_some(), "{progress:?}");
    let mut fleet = mesh.client().status().await?;
    for cut in missed {
        let progress = fleet.progress(cut, &away).cloned().unwrap_or_default();
        ensure!(progress.received_bytes.is_none() && progress.flipped_us.is_none(), "cut {}: {progress:?}", cut.seq);
    }
    let admin = mesh.nodes[2].admin;
    let held = until("the node says what it holds", async || difusor_tests::status(admin).await.map(Some)).await?;
    ensure!(held.holds == [*last, first], "it took the cuts between, too: {:?}", held.holds);

    // A node that was never there before.
    let mut late = Newcomer::new(PROGRAM, &dir.path().join("late"))?;
    let token = mesh.client().invite(&"zone-late".parse()?).await?.token;
    let said = late.call(&["join", &token]).await?;
    ensure!(said.code == 0, "{said:?}");
    let at = late.start().await?;
    until("the newcomer serves", async || serves(&witness, at, &last.root.to_string()).await).await?;
    ensure!(witness.compare(&[at], newest).await?.cut == *last, "the newcomer");

    // No coordinator: everyone serves on, and a node that starts alone serves what it has.
    mesh.coordinator.kill().await?;
    let everyone: Vec<_> = publics(&mesh).into_iter().chain([at]).collect();
    ensure!(witness.compare(&everyone, newest).await?.cut == *last, "without a coordinator");
    let node = &mut mesh.nodes[0];
    node.process.kill().await?;
    let began = Instant::now();
    node.process.spawn()?;
    let at = node.public;
    until("the lonely node serves", async || serves(&witness, at, &last.root.to_string()).await).await?;
    println!("from the start of the process to the first answer, without a coordinator: {:.0?}", began.elapsed());
    ensure!(witness.compare(&[at], newest).await?.cut == *last, "a node that started alone");
    ensure!(mesh.client().status().await.is_err(), "there is a coordinator");
    mesh.stop().await
}

/// Something if the node answers with the cut of this root.
async fn serves(witness: &Witness, at: std::net::SocketAddr, root: &str) -> Result<Option<()>> {
    let Ok(mut connection) = witness.open(at, Protocol::H1).await else { return Ok(None) };
    let cut = connection.cut().await.ok().flatten();
    Ok(cut.filter(|(_, served)| served == root).map(|_| ()))
}

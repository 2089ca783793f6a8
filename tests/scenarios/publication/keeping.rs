//! The archive: most packages are kept by what changed in them, and all come out as they went in.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::{api::Listed, publish::Request};
use difusor_local::{Mesh, mesh::Process};
use difusor_night::{Night, NightSpec};
use difusor_proto::CutKey;
use difusor_tests::{
    command::{Said, run},
    publics, publish, restart_coordinator, start_with, until,
    witness::Witness,
    write,
};

use crate::PROGRAM;

/// Every fourth package is a keyframe, and only the newest is kept as it came whatever it is.
const PLAN: &str = "keyframe_every = 4\nverbatim_cuts = 1\nflip_deadline = \"1 s\"";

/// Waits until all that should be is told, and returns the list.
async fn settled(mesh: &Mesh) -> Result<Vec<Listed>> {
    until("the archive is as planned", async || {
        let listed = mesh.client().history().await?;
        let newest = listed.len();
        let is_planned = |(at, cut): (usize, &Listed)| cut.verbatim == (at % 4 == 0 || at + 1 == newest);
        Ok(listed.iter().enumerate().all(is_planned).then_some(listed))
    })
    .await
}

async fn verify(coordinator: &Process) -> Result<Said> {
    run(coordinator.command(&["history", "verify"])).await
}

/// The packs of the coordinator with their cuts' numbers.
fn packs(coordinator: &Process) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(coordinator.dir().join("store/packs"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let seq = name.split('-').next().and_then(|seq| seq.parse().ok()).context(name)?;
        found.push((seq, path));
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_package_comes_out_as_it_went_in() -> Result<()> {
    let (mut mesh, dir) = start_with(PROGRAM, 2, PLAN).await?;
    let (witness, nodes) = (Witness::new(&mesh)?, publics(&mesh));
    let night = Night::new(NightSpec { nested: true, ..NightSpec::tiny() })?;
    let files: Vec<_> = (0..10).map(|i| write(&night, i, &dir.path().join("packages"))).collect::<Result<_>>()?;
    let mut cuts: Vec<CutKey> = Vec::new();
    for file in &files[..9] {
        cuts.push(publish(&mesh, file, Request::default()).await?.cut);
        // A node that is away from here on holds a cut that is soon told.
        if cuts.len() == 3 {
            mesh.wait_served(&cuts[2], difusor_tests::PATIENCE).await?;
            mesh.nodes[1].process.kill().await?;
        }
    }
    let listed = settled(&mesh).await?;
    let (kept, came) = listed
        .iter()
        .filter(|cut| !cut.verbatim)
        .fold((0, 0), |(kept, came), cut| (kept + cut.at_rest, came + cut.archived.package.size));
    // Tiny packages are mostly names and headers, and so is what is kept of them.
    ensure!(kept * 3 < came, "{kept} bytes are kept of {came}");

    let out = dir.path().join("exported.zip");
    for (cut, file) in cuts.iter().zip(&files) {
        mesh.client().export(&cut.seq.to_string(), &out).await?;
        ensure!(fs::read(&out)? == fs::read(file)?, "cut {} comes out as other bytes", cut.seq);
    }
    let said = verify(&mesh.coordinator).await?;
    ensure!(said.code == 0 && said.out.contains("9 packages are what came, 0 are not"), "{said:?}");

    // The node that was away holds a cut whose files are not at hand any more.
    mesh.nodes[1].process.spawn()?;
    mesh.nodes[1].process.ready::<difusor_node::run::Ready>().await?;
    mesh.wait_served(&cuts[8], difusor_tests::PATIENCE).await?;
    ensure!(witness.compare(&nodes, &files[8]).await?.cut == cuts[8], "the node that was away");

    // The way back to a package that is told, by nodes that never had it, and by a coordinator that was started again.
    mesh.client().rollback("5").await?;
    mesh.wait_served(&cuts[4], difusor_tests::PATIENCE).await?;
    mesh.client().rollback("4").await?;
    mesh.wait_served(&cuts[3], difusor_tests::PATIENCE).await?;
    ensure!(witness.compare(&nodes, &files[3]).await?.cut == cuts[3], "a rollback to what was told");
    restart_coordinator(&mut mesh).await?;
    ensure!(mesh.client().history().await?[3].verbatim, "what is served is told");
    let last = publish(&mesh, &files[9], Request { force: true, ..Request::default() }).await?.cut;
    mesh.wait_served(&last, difusor_tests::PATIENCE).await?;
    ensure!(witness.compare(&nodes, &files[9]).await?.cut == last, "the way forward");
    settled(&mesh).await?;
    mesh.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_disk_spoiled_is_named() -> Result<()> {
    let (mesh, dir) = start_with(PROGRAM, 1, PLAN).await?;
    let night = Night::new(NightSpec::tiny())?;
    for i in 0..7 {
        publish(&mesh, &write(&night, i, dir.path())?, Request::default()).await?;
    }
    settled(&mesh).await?;
    // The third is told by the first, the fourth by the third, the sixth by the fifth.
    let third = packs(&mesh.coordinator)?.into_iter().find(|(seq, _)| *seq == 3).context("a pack")?.1;
    let mut bytes = fs::read(&third)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&third, bytes)?;
    let said = verify(&mesh.coordinator).await?;
    ensure!(said.code == 1 && said.out.contains("5 packages are what came, 2 are not"), "{said:?}");
    for (cut, is_whole) in [("1", true), ("2", true), ("3", false), ("4", false), ("6", true)] {
        let out = dir.path().join("out.zip");
        let exported = mesh.client().export(cut, &out).await;
        match exported {
            Ok(_) => ensure!(is_whole, "cut {cut} comes out although it is damaged"),
            Err(error) => ensure!(!is_whole && error.to_string().contains("replica"), "cut {cut}: {error}"),
        }
        ensure!(out.exists() == is_whole, "half a package is left");
        let _ = fs::remove_file(out);
    }
    mesh.stop().await
}

//! Archives and small files, taken apart or as they are: every node has the same bytes in the end.

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::publish::Request;
use difusor_night::{Night, NightSpec};
use difusor_tests::{PATIENCE, publics, publish, start_with, until, witness::Witness, write};

use crate::PROGRAM;

/// Cuts of a night whose tables are zips of zips, and change their name at each.
const CUTS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_that_is_taken_apart_is_a_few_percent_of_its_bytes() -> Result<()> {
    let spec = NightSpec { nested: true, rows: 6_000, cuts: 101, ..NightSpec::tiny() };
    let night = Night::new(spec)?;
    let mut received = Vec::new();
    for deltas in ["apart", "whole"] {
        let (mut mesh, dir) = start_with(PROGRAM, 2, &format!("deltas = \"{deltas}\"")).await?;
        let witness = Witness::new(&mesh)?;
        let (mut bytes, mut package) = (Vec::new(), None);
        for i in 45..45 + CUTS {
            let file = write(&night, i, dir.path())?;
            let cut = publish(&mesh, &file, Request::default()).await?.cut;
            ensure!(witness.compare(&publics(&mesh), &file).await?.cut == cut, "{deltas}: cut {}", cut.seq);
            let node = mesh.nodes[0].zone.as_str().parse()?;
            let came = until("the coordinator hears what came", async || {
                let progress = mesh.client().status().await?.progress(&cut, &node).cloned();
                Ok(progress.and_then(|progress| progress.received_bytes))
            });
            bytes.push(came.await?);
            package = Some((file, cut));
        }
        // What rests on the disk of a node is whole, however it came.
        let (file, cut) = package.context("packages")?;
        for node in &mut mesh.nodes {
            node.process.kill().await?;
            node.process.spawn()?;
            node.process.ready::<difusor_node::run::Ready>().await?;
        }
        mesh.wait_served(&cut, PATIENCE).await?;
        ensure!(witness.compare(&publics(&mesh), &file).await?.cut == cut, "{deltas}: after a restart");
        let fleet = mesh.client().status().await?;
        ensure!(!fleet.refused.contains_key("blobs-asked-again"), "{deltas}: {:?}", fleet.refused);
        received.push(bytes);
        mesh.stop().await?;
    }
    let [apart, whole] = received.as_slice() else { unreachable!("two runs") };
    ensure!(apart[0] == whole[0], "the first cut has no predecessor: {apart:?} and {whole:?}");
    for (apart, whole) in apart.iter().zip(whole).skip(1) {
        ensure!(apart * 25 < *whole, "{apart} of {whole} bytes");
    }
    println!("received, taken apart: {apart:?}, as they are: {whole:?}");
    Ok(())
}

//! Cuts that nodes have from each other.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::fleet::Progress;
use difusor_link::{Link, LinkSpec};
use difusor_node::run::Ready;
use difusor_proto::CutKey;
use difusor_tests::{publics, status, until, witness::Witness, write};

use crate::rig::Rig;

/// A mesh whose nodes are all in one zone.
async fn zone(nodes: usize, node_config: &str) -> Result<Rig> {
    let in_one = "mx-central".parse()?;
    Rig::start_with(nodes, &[], |options| {
        options.one_zone = Some(in_one);
        options.node_config = node_config.into();
    })
    .await
}

/// How the last cut came to each node.
async fn ways(rig: &Rig) -> Result<Vec<Progress>> {
    let fleet = rig.mesh.client().status().await?;
    Ok(fleet.cuts.back().context("no cut")?.nodes.values().cloned().collect())
}

/// All nodes that run serve this package, byte for byte.
async fn all_serve(rig: &Rig, package: usize) -> Result<()> {
    let file = write(&rig.night, package, rig.dir.path())?;
    Witness::new(&rig.mesh)?.compare(&publics(&rig.mesh), &file).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_copy_crosses_to_a_zone_and_is_passed_on() -> Result<()> {
    let mut rig = zone(6, "").await?;
    for _ in 0..2 {
        rig.publish().await?;
        let ways = ways(&rig).await?;
        let sent = ways.iter().filter(|way| way.sent_bytes > 0).count();
        let passed = ways.iter().filter(|way| way.source.is_some() && way.received_bytes > Some(0)).count();
        ensure!((sent, passed) == (1, 5), "{ways:?}");
        all_serve(&rig, rig.next - 1).await?;
    }
    // One that was away, and one with nothing, are brought the cut by the others.
    for fresh in [false, true] {
        let process = &mut rig.mesh.nodes[3].process;
        process.stop().await?;
        if fresh {
            fs::remove_dir_all(process.dir().join("store"))?;
        }
        if !fresh {
            rig.publish().await?;
        }
        rig.mesh.nodes[3].process.spawn()?;
        rig.mesh.nodes[3].process.ready::<Ready>().await?;
        rig.all_fit().await?;
        all_serve(&rig, rig.next - 1).await?;
        let name = rig.mesh.nodes[3].zone.to_string();
        let fleet = rig.mesh.client().status().await?;
        let way = &fleet.cuts.back().context("no cut")?.nodes[&name.parse()?];
        ensure!(way.source.is_some() && (fresh || way.sent_bytes == 0), "{way:?}");
    }
    rig.mesh.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gets_it_from_nobody_is_sent_it() -> Result<()> {
    let mut rig = zone(3, "relay = false\n").await?;
    rig.publish().await?;
    let ways = ways(&rig).await?;
    ensure!(ways.iter().all(|way| way.sent_bytes > 0), "{ways:?}");
    ensure!(ways.iter().any(|way| way.source.is_some()), "{ways:?}");
    rig.mesh.stop().await
}

/// Changes bytes all over the first half of a pack: its list is at the end.
fn spoil(path: &Path) -> Result<()> {
    let file = fs::File::options().read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    for at in (600..len / 2).step_by(10_000) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        file.write_all_at(&[byte[0] ^ 0x20], at)?;
    }
    Ok(file.sync_all()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_gives_is_verified_and_what_it_spoiled_comes_from_the_coordinator() -> Result<()> {
    // What is spoiled stays so for as long as this takes.
    let mut rig = zone(2, "scrub_rate = \"0 B\"\n").await?;
    rig.mesh.nodes[1].process.stop().await?;
    rig.publish().await?;
    let packs = rig.mesh.nodes[0].process.dir().join("store/packs");
    // Those that the disk may not hold yet have another name for a moment.
    let named = || fs::read_dir(&packs)?.map(|pack| Ok(pack?.path())).collect::<Result<Vec<_>>>();
    let is_settled = |pack: &PathBuf| pack.extension().is_some_and(|suffix| suffix != "unsettled" && suffix != "tmp");
    let settled = until("all packs are settled", async || {
        let packs = named()?;
        Ok(packs.iter().all(is_settled).then_some(packs))
    });
    for pack in settled.await? {
        spoil(&pack)?;
    }
    fs::remove_dir_all(rig.mesh.nodes[1].process.dir().join("store"))?;
    rig.mesh.nodes[1].process.spawn()?;
    rig.mesh.nodes[1].process.ready::<Ready>().await?;
    let cut = rig.mesh.client().status().await?.current.context("no cut")?;
    until("it has the cut", async || Ok((status(rig.mesh.nodes[1].admin).await?.serves == Some(cut)).then_some(())))
        .await?;
    let name = rig.mesh.nodes[1].zone.to_string().parse()?;
    let fleet = rig.mesh.client().status().await?;
    let way = &fleet.cuts.back().context("no cut")?.nodes[&name];
    ensure!(way.source.is_some() && way.sent_bytes > 0, "both had to give some of it: {way:?}");
    ensure!(fleet.refused.contains_key("blobs-asked-again"), "{:?}", fleet.refused);
    // The one that gave spoiled bytes must not serve them either; the other does right.
    let file = write(&rig.night, rig.next - 1, rig.dir.path())?;
    Witness::new(&rig.mesh)?.compare(&[rig.mesh.nodes[1].public], &file).await?;
    rig.mesh.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_that_was_missed_comes_by_others_where_the_coordinator_is_gone() -> Result<()> {
    let mut rig = Rig::start(3).await?;
    let link = Link::between(LinkSpec::default(), rig.mesh.mesh_address)?;
    rig.dial_by(2, link.addr()).await?;
    link.down();
    let file = write(&rig.night, rig.next, rig.dir.path())?;
    rig.next += 1;
    let cut: CutKey = rig.mesh.client().publish(&file, Default::default()).await?.cut;
    for at in 0..3 {
        until("all serve it, the one that is cut off, too", async || {
            Ok((status(rig.mesh.nodes[at].admin).await?.serves == Some(cut)).then_some(()))
        })
        .await?;
        if at == 1 {
            rig.mesh.coordinator.kill().await?;
        }
    }
    all_serve(&rig, rig.next - 1).await?;
    // A coordinator that is back takes it as it is.
    link.up();
    rig.mesh.coordinator.spawn()?;
    rig.mesh.coordinator.ready::<difusor_coordinator::run::Ready>().await?;
    rig.mesh.wait_connected().await?;
    rig.publish().await?;
    rig.all_fit().await?;
    rig.mesh.stop().await
}

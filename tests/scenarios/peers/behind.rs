//! A node whose way to the coordinator is cut, while that to other nodes is not.

use anyhow::{Context as _, Result, ensure};
use difusor_link::{Link, LinkSpec};
use difusor_proto::CutKey;
use difusor_tests::{status, until};

use crate::rig::{Rig, until_health};

async fn serves(rig: &Rig, at: usize) -> Result<u64> {
    Ok(status(rig.mesh.nodes[at].admin).await?.serves.context("no cut")?.seq)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_missed_a_cut_sends_visitors_away_until_it_has_it() -> Result<()> {
    // It would have the cut from the others otherwise.
    let mut rig = Rig::start_with_files(3, "relay = false\n", &[]).await?;
    let link = Link::between(LinkSpec::default(), rig.mesh.mesh_address)?;
    rig.dial_by(2, link.addr()).await?;
    link.down();
    // The others do not wait for it once its connection is over.
    let file = difusor_tests::write(&rig.night, rig.next, rig.dir.path())?;
    rig.next += 1;
    let cut: CutKey = rig.mesh.client().publish(&file, Default::default()).await?.cut;
    for at in 0..2 {
        until("the others serve it", async || Ok((serves(&rig, at).await? == cut.seq).then_some(()))).await?;
    }
    until_health(rig.mesh.nodes[2].admin, "sick", "behind").await?;
    rig.others_say(2, Some("sick")).await?;
    // What it has, it has.
    ensure!(serves(&rig, 2).await? == cut.seq - 1);
    link.up();
    until("it has caught up", async || Ok((serves(&rig, 2).await? == cut.seq).then_some(()))).await?;
    rig.all_fit().await?;
    rig.mesh.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flip_comes_by_other_nodes_where_the_coordinator_cannot_reach() -> Result<()> {
    let mut rig = Rig::start(3).await?;
    let (slow, link) = (
        Link::between(LinkSpec::default(), rig.mesh.mesh_address)?,
        Link::between(LinkSpec::default(), rig.mesh.mesh_address)?,
    );
    rig.dial_by(1, slow.addr()).await?;
    rig.dial_by(2, link.addr()).await?;
    // One takes its time, so that the other has staged the cut long before the flip.
    slow.set(LinkSpec { rate: Some(1_000_000), ..LinkSpec::default() });
    let file = difusor_tests::write(&rig.night, rig.next, rig.dir.path())?;
    let cut: CutKey = rig.mesh.client().publish(&file, Default::default()).await?.cut;
    until("it is staged", async || Ok(status(rig.mesh.nodes[2].admin).await?.holds.contains(&cut).then_some(())))
        .await?;
    ensure!(serves(&rig, 0).await? < cut.seq, "the flip came too soon for what is tried here");
    link.down();
    slow.set(LinkSpec::default());
    for at in [0, 1, 2] {
        until("all serve it", async || Ok((serves(&rig, at).await? == cut.seq).then_some(()))).await?;
    }
    ensure!(link.counters().back.cut > 0, "nothing was cut");
    link.up();
    rig.all_fit().await?;
    rig.mesh.stop().await
}

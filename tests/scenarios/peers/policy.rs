//! Who is waited for before a cut flips, as the coordinator's configuration says it, with a node whose link takes its time.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use difusor_link::{Link, LinkSpec};
use difusor_proto::CutKey;
use difusor_tests::{status, until};
use tokio::time::sleep;

use crate::rig::{Rig, said_of};

/// So slow that the smallest cut takes a minute, in bits a second.
const SLOW: u64 = 12_000;

/// A mesh of three in which a cut is published that the third takes its time for: which cut that is.
async fn begun(policy: &str) -> Result<(Rig, Link, CutKey)> {
    let config = policy.to_owned();
    let mut rig = Rig::start_with(3, &[], |options| options.coordinator_config = config).await?;
    let link = Link::between(LinkSpec::default(), rig.mesh.mesh_address)?;
    rig.dial_by(2, link.addr()).await?;
    link.set(LinkSpec { rate: Some(SLOW), ..LinkSpec::default() });
    let file = difusor_tests::write(&rig.night, rig.next, rig.dir.path())?;
    rig.next += 1;
    let cut = rig.mesh.client().publish(&file, Default::default()).await?.cut;
    for at in [0, 1] {
        until("it is staged", async || Ok(status(rig.mesh.nodes[at].admin).await?.holds.contains(&cut).then_some(())))
            .await?;
    }
    Ok((rig, link, cut))
}

async fn serves(rig: &Rig, at: usize) -> Result<u64> {
    Ok(status(rig.mesh.nodes[at].admin).await?.serves.context("no cut")?.seq)
}

async fn end(rig: Rig, link: &Link, cut: &CutKey) -> Result<()> {
    link.set(LinkSpec::default());
    for at in 0..3 {
        until("all serve it", async || Ok((serves(&rig, at).await? == cut.seq).then_some(()))).await?;
    }
    rig.all_fit().await?;
    rig.mesh.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_waits_for_nobody_else() -> Result<()> {
    let (rig, link, cut) = begun("flip = \"quorum\"\nflip_deadline = \"10 m\"").await?;
    for at in [0, 1] {
        until("a quorum serves it", async || Ok((serves(&rig, at).await? == cut.seq).then_some(()))).await?;
    }
    ensure!(!status(rig.mesh.nodes[2].admin).await?.holds.contains(&cut), "the third was not slow enough");
    // Whoever has missed it lets nobody in who may have seen it.
    let third = rig.mesh.nodes[2].zone.to_string();
    until("the others send nobody there", async || {
        let said = said_of(&status(rig.mesh.nodes[0].admin).await?, &third).flatten();
        Ok(said.filter(|why| why == "behind" || why == "sick"))
    })
    .await?;
    end(rig, &link, &cut).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_waited_for_however_long_it_takes() -> Result<()> {
    let (rig, link, cut) = begun("flip = \"all\"\nflip_deadline = \"1 s\"").await?;
    sleep(Duration::from_secs(4)).await;
    for at in 0..3 {
        ensure!(serves(&rig, at).await? == cut.seq - 1, "node {at} did not wait");
    }
    ensure!(!status(rig.mesh.nodes[2].admin).await?.holds.contains(&cut), "the third was not slow enough");
    end(rig, &link, &cut).await
}

//! What the operator orders: drain, undrain, remove.

use anyhow::{Result, ensure};
use difusor_tests::{status, until};

use crate::rig::{Rig, public_health, said_of, until_health};

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_serves_on_and_gets_nobody() -> Result<()> {
    let mut rig = Rig::start(3).await?;
    ensure!(public_health(&rig.mesh, 1).await? == (200, "{\"state\":\"ready\",\"reasons\":[]}\n".to_owned()));
    let name = rig.mesh.nodes[1].zone.to_string();
    ensure!(rig.mesh.coordinator.call(&["drain", &name]).await?.contains("is drained"));
    rig.others_say(1, Some("drained")).await?;
    until_health(rig.mesh.nodes[1].admin, "draining", "drained").await?;
    until("the public is told", async || {
        let (status, body) = public_health(&rig.mesh, 1).await?;
        Ok((status == 503 && body.contains("drained")).then_some(()))
    })
    .await?;
    // It is kept as current as all others.
    rig.publish().await?;
    let shown = rig.mesh.coordinator.call(&["status"]).await?;
    ensure!(
        shown.contains("draining: drained") && shown.contains(&format!("sends nobody to {name}: drained")),
        "{shown}"
    );
    rig.mesh.coordinator.call(&["undrain", &name]).await?;
    rig.all_fit().await?;
    let unknown = rig.mesh.coordinator.call(&["drain", "nobody"]).await.unwrap_err().to_string();
    ensure!(unknown.contains("no node called nobody"), "{unknown}");
    rig.mesh.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_is_nobody() -> Result<()> {
    let mut rig = Rig::start(3).await?;
    let name = rig.mesh.nodes[2].zone.to_string();
    rig.mesh.coordinator.call(&["remove", &name]).await?;
    for node in &rig.mesh.nodes[..2] {
        until("it is not known", async || Ok(said_of(&status(node.admin).await?, &name).is_none().then_some(())))
            .await?;
    }
    until_health(rig.mesh.nodes[2].admin, "sick", "not-a-member").await?;
    // Its certificate is good for nothing, here and there.
    rig.mesh.nodes[2].process.stop().await?;
    rig.mesh.nodes[2].process.spawn()?;
    rig.mesh.nodes[2].process.ready::<difusor_node::run::Ready>().await?;
    until("the coordinator refuses it", async || {
        Ok((rig.mesh.client().status().await?.refused.contains_key("unknown-node")).then_some(()))
    })
    .await?;
    ensure!(!status(rig.mesh.nodes[2].admin).await?.connected);
    rig.mesh.nodes[2].process.stop().await?;
    rig.publish().await?;
    rig.mesh.stop().await
}

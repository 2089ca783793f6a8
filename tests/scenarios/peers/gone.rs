//! Nodes that die, and a coordinator that does.

use anyhow::Result;
use difusor_node::run::Ready;

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_is_missed_without_a_coordinator_too_and_welcome_again() -> Result<()> {
    let mut rig = Rig::start(4).await?;
    rig.mesh.coordinator.kill().await?;
    for victim in [1, 3] {
        rig.mesh.nodes[victim].process.kill().await?;
        rig.others_say(victim, Some("gone")).await?;
    }
    // The list of members is on disk, and the others tell the rest.
    for victim in [1, 3] {
        rig.mesh.nodes[victim].process.spawn()?;
        rig.mesh.nodes[victim].process.ready::<Ready>().await?;
    }
    rig.all_fit().await?;
    // One that ends in good order says so.
    rig.mesh.nodes[0].process.stop().await?;
    rig.others_say(0, Some("gone")).await?;
    rig.mesh.nodes[0].process.spawn()?;
    rig.mesh.nodes[0].process.ready::<Ready>().await?;
    rig.all_fit().await?;
    rig.mesh.coordinator.spawn()?;
    rig.mesh.coordinator.ready::<difusor_coordinator::run::Ready>().await?;
    rig.publish().await?;
    rig.mesh.stop().await
}

//! Between staged and flip: the cut is on the disk of a node, and nobody has said yet that it may be served.

use difusor_local::https::Protocol;
use difusor_night::NightSpec;

use crate::{
    invariants::check,
    rig::{Rig, signal, until},
};

/// One node has staged. The other is held still, so that the flip waits. Then everything that can die does.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_that_was_staged_is_not_served_before_its_flip() {
    let mut rig = Rig::start(2, NightSpec::tiny()).await;
    let old = rig.publish().await;
    signal(&rig.mesh.nodes[1].process, "-STOP");
    let (i, file) = rig.make();
    let new = rig.hand_in(i, &file).await.unwrap().cut;
    let name = rig.mesh.nodes[0].zone.as_str().parse().unwrap();
    until("the first node has staged", async || {
        let fleet = rig.mesh.client().status().await.unwrap();
        assert_eq!(fleet.current, Some(old), "it was flipped with a node missing");
        fleet.nodes[&name].staged == Some(new)
    })
    .await;

    rig.mesh.nodes[0].process.kill().await.unwrap();
    rig.mesh.coordinator.kill().await.unwrap();
    rig.restart_node(0).await;
    let mut connection = rig.mesh.open(&rig.mesh.nodes[0], Protocol::H1).await.unwrap();
    let (seq, root) = connection.cut().await.unwrap().expect("it serves");
    assert_eq!((seq, root), (old.seq, old.root.to_string()), "a cut is served that nobody ordered");
    // Nor are its files addressed once the node has looked at what else it has.
    let admin = rig.mesh.nodes[0].admin;
    until("the node has settled", async || difusor_tests::status(admin).await.is_ok_and(|status| status.settled)).await;
    let status = difusor_tests::status(admin).await.unwrap();
    assert!(status.holds.contains(&new), "it has lost what it staged");
    assert_eq!(status.addressable, [old], "files are addressed that nobody ordered");

    signal(&rig.mesh.nodes[1].process, "-CONT");
    rig.restart_coordinator().await;
    assert_eq!(check(&rig, &[]).await, new);
    rig.publish().await;
    rig.mesh.stop().await.unwrap();
}

/// The order is given, the mark is written, the instant has not come. Whoever dies now serves the new cut when it is back,
/// and nobody ever goes back behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flip_that_was_ordered_survives_everyone() {
    let lead = |options: &mut difusor_local::Options| options.coordinator_config = "flip_lead = \"2 s\"\n".into();
    let mut rig = Rig::start_with(2, NightSpec::tiny(), lead).await;
    rig.publish().await;
    let (i, file) = rig.make();
    let new = rig.hand_in(i, &file).await.unwrap().cut;
    until("the flip is ordered", async || rig.mesh.client().status().await.unwrap().current == Some(new)).await;
    until("the marks are written", async || {
        let root = new.root.to_string();
        let marked = |node: &difusor_local::mesh::NodeProcess| {
            std::fs::read_to_string(node.process.dir().join("mark.json")).is_ok_and(|mark| mark.contains(&root))
        };
        rig.mesh.nodes.iter().all(marked)
    })
    .await;
    rig.mesh.coordinator.kill().await.unwrap();
    for node in &mut rig.mesh.nodes {
        node.process.kill().await.unwrap();
    }
    rig.restart_node(0).await;
    rig.restart_node(1).await;
    // Without a coordinator: the mark alone decides.
    rig.mesh.wait_served(&new, crate::rig::PATIENCE).await.unwrap();
    rig.restart_coordinator().await;
    assert_eq!(check(&rig, &[]).await, new);
    rig.mesh.stop().await.unwrap();
}

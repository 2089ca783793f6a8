//! Members of this version of the protocol and of the one before it, side by side.

use difusor_proto::{
    NodeId,
    limits::MAX_CONTROL_FRAME,
    wire::{self, ALPN_MESH_BEFORE, FromCoordinator, FromNode},
};

use crate::{
    client::{Member, enrol},
    rig::{PATIENCE, Rig},
};

/// Everything that is said until a question is answered.
async fn heard(member: &mut Member) -> Vec<FromCoordinator> {
    let mut frames = Vec::new();
    member.say(&FromNode::Ping { sent: 7 }).await;
    loop {
        let frame = wire::read_frame(&mut member.recv, MAX_CONTROL_FRAME);
        match tokio::time::timeout(PATIENCE, frame).await.expect("nothing is said").unwrap() {
            Some(FromCoordinator::Pong { sent: 7, .. }) => return frames,
            Some(frame) => frames.push(frame),
            None => panic!("it is closed: {:?}", member.client.connection.close_reason()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_the_version_before_hears_nothing_that_it_cannot_read() {
    let mut rig = Rig::start(1).await;
    rig.publish().await;
    let (before, now) = (enrol(&rig, "before").await, enrol(&rig, "now").await);
    let mut before = Member::dial_as(&rig, &before, ALPN_MESH_BEFORE).await.hello().await;
    let mut now = Member::dial(&rig, &now).await.hello().await;
    let node: NodeId = rig.mesh.nodes[0].zone.as_str().parse().unwrap();
    rig.mesh.client().drain(&node, true).await.unwrap();
    let is_list = |frame: &FromCoordinator| matches!(frame, FromCoordinator::Members(_));
    let (old, new) = (heard(&mut before).await, heard(&mut now).await);
    assert!(!old.iter().any(is_list), "{old:?}");
    assert!(new.iter().filter(|frame| is_list(frame)).count() >= 2, "{new:?}");
    // Both are brought what is served.
    for member in [&before, &now] {
        let stream = tokio::time::timeout(PATIENCE, member.client.connection.accept_uni()).await;
        assert!(stream.is_ok_and(|stream| stream.is_ok()));
    }
    drop((before, now));
    rig.mesh.stop().await.unwrap();
}

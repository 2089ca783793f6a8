//! Members of this version of the protocol and of the one before it, side by side.

use difusor_proto::{
    NodeId,
    limits::MAX_CONTROL_FRAME,
    members::Reach,
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
    let cut = rig.publish().await;
    let (giver, before, now) = (enrol(&rig, "giver").await, enrol(&rig, "before").await, enrol(&rig, "now").await);
    // One that holds the cut, and that others of its zone may ask.
    let mut giver = Member::dial(&rig, &giver).await.hello().await;
    giver.say(&FromNode::Reach(Reach { peers: vec!["127.0.0.1:9".parse().unwrap()], ..Reach::default() })).await;
    giver.say(&FromNode::Staged { cut, received: 0, micros: 0 }).await;
    heard(&mut giver).await;
    let mut before = Member::dial_as(&rig, &before, ALPN_MESH_BEFORE).await.hello().await;
    let mut now = Member::dial(&rig, &now).await.hello().await;
    let node: NodeId = rig.mesh.nodes[0].zone.as_str().parse().unwrap();
    rig.mesh.client().drain(&node, true).await.unwrap();
    let is_list = |frame: &FromCoordinator| matches!(frame, FromCoordinator::Members(_));
    let is_nearby = |frame: &FromCoordinator| match frame {
        FromCoordinator::Nearby { cut: which, from } => *which == cut && *from == ["giver".parse().unwrap()],
        _ => false,
    };
    let (old, new) = (heard(&mut before).await, heard(&mut now).await);
    for said in [&old, &new] {
        assert!(said.iter().filter(|frame| is_list(frame)).count() >= 2, "{said:?}");
    }
    assert!(!old.iter().any(|frame| matches!(frame, FromCoordinator::Nearby { .. })), "{old:?}");
    assert!(new.iter().any(is_nearby), "{new:?}");
    // The one is brought what is served, the other once it has asked in vain.
    now.say(&FromNode::Lacks { cut }).await;
    for member in [&before, &now] {
        let stream = tokio::time::timeout(PATIENCE, member.client.connection.accept_uni()).await;
        assert!(stream.is_ok_and(|stream| stream.is_ok()));
    }
    drop((giver, before, now));
    rig.mesh.stop().await.unwrap();
}

//! Members that tell of offenders: others hear of it, no one is shut out for what one says, and too much is too much.

use std::{net::IpAddr, time::Duration};

use difusor_proto::{
    limits::{MAX_CONTROL_FRAME, MAX_OFFENDERS},
    wire::{self, CloseCode, FromCoordinator, FromNode, Offender},
};

use crate::{
    client::{End, Member, enrol},
    rig::{PATIENCE, Rig},
};

fn offenders(n: u32) -> FromNode {
    let banned = (0..n).map(|at| Offender {
        address: IpAddr::from((u32::from_be_bytes([192, 0, 0, 0]) + at).to_be_bytes()),
        prefix: 32,
        seconds: 60,
    });
    FromNode::Offenders { banned: banned.collect() }
}

/// What the coordinator says next that is neither a flip nor an answer.
async fn heard(member: &mut Member) -> (String, usize) {
    let next = async {
        loop {
            let frame = wire::read_frame(&mut member.recv, MAX_CONTROL_FRAME).await.unwrap();
            if let Some(FromCoordinator::Offenders { node, banned }) = frame {
                return (node.to_string(), banned.len());
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("nothing is told")
}

#[tokio::test(flavor = "multi_thread")]
async fn offenders_are_told_to_the_others() {
    let mut rig = Rig::start(1).await;
    rig.publish().await;
    let (eve, alice) = (enrol(&rig, "eve").await, enrol(&rig, "alice").await);
    let mut alice = Member::dial(&rig, &alice).await.hello().await;
    let mut eve = Member::dial(&rig, &eve).await.hello().await;

    let most = u32::try_from(MAX_OFFENDERS).unwrap();
    eve.say(&offenders(most)).await;
    assert_eq!(heard(&mut alice).await, ("eve".into(), MAX_OFFENDERS));
    // Whoever goes on and on is heard now and then.
    for _ in 0..200 {
        eve.say(&offenders(1)).await;
    }
    let mut told = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(600)).await;
        eve.say(&offenders(2)).await;
        match heard(&mut alice).await.1 {
            2 => break,
            _ => told += 1,
        }
    }
    assert!(told < 100, "{told}");

    eve.say(&offenders(most + 1)).await;
    assert_eq!(eve.client.end().await, End::Code(CloseCode::Oversize));
    // The mesh goes on, and the node of it serves.
    drop(alice);
    rig.mesh.stop().await.unwrap();
}

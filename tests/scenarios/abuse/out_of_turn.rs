//! A member of the mesh that breaks the protocol, frame by frame.

use std::time::{Duration, Instant};

use difusor_proto::{
    CutKey, Digest,
    limits::{MAX_CONTROL_FRAME, MAX_WANT},
    wire::{self, CloseCode, FromNode},
};

use crate::{
    client::{End, Member, enrol, hello},
    rig::{Rig, until},
};

/// Waits until the coordinator has noticed that the member is gone: a rollout waits for everyone who is connected.
async fn gone(rig: &Rig, name: &str) {
    until("the member has left", async || {
        let fleet = rig.mesh.client().status().await.unwrap();
        fleet.nodes.iter().all(|(node, seen)| node.as_str() != name || !seen.connected)
    })
    .await;
}

async fn expect(rig: &mut Rig, member: Member, code: CloseCode, before: u64) {
    assert_eq!(member.client.end().await, End::Code(code));
    rig.wait_refused(code.name(), before).await;
    gone(rig, "mallory").await;
    rig.publish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_speaks_out_of_turn_is_closed() {
    let mut rig = Rig::start(1).await;
    let cut = rig.publish().await;
    let identity = enrol(&rig, "mallory").await;

    // A frame that is well formed, but not the first.
    let before = rig.refused("garbage").await;
    let mut member = Member::dial(&rig, &identity).await;
    member.say(&FromNode::Ping { sent: 1 }).await;
    expect(&mut rig, member, CloseCode::Garbage, before).await;

    // Bytes that are no frame at all.
    let before = rig.refused("garbage").await;
    let mut member = Member::dial(&rig, &identity).await;
    member.send.write_all(&[&[64, 0, 0, 0][..], &[0xff; 64]].concat()).await.unwrap();
    expect(&mut rig, member, CloseCode::Garbage, before).await;

    // A frame with bytes behind it that belong to nothing.
    let before = rig.refused("garbage").await;
    let mut member = Member::dial(&rig, &identity).await;
    let mut tail = wire::encode(&hello()).unwrap();
    tail.push(0);
    tail[0] += 1;
    member.send.write_all(&tail).await.unwrap();
    expect(&mut rig, member, CloseCode::Garbage, before).await;

    // Packs that it keeps, of a member that did not say that it keeps any.
    let before = rig.refused("garbage").await;
    let mut member = Member::dial(&rig, &identity).await.hello().await;
    member.say(&FromNode::Keeps { packs: Vec::new() }).await;
    expect(&mut rig, member, CloseCode::Garbage, before).await;

    // A second hello.
    let before = rig.refused("garbage").await;
    let mut member = Member::dial(&rig, &identity).await.hello().await;
    member.say(&hello()).await;
    expect(&mut rig, member, CloseCode::Garbage, before).await;

    // A length above the limit, before and after the hello: closed before a byte of it is waited for.
    for greeted in [false, true] {
        let before = rig.refused("oversize").await;
        let mut member = Member::dial(&rig, &identity).await;
        if greeted {
            member = member.hello().await;
        }
        let length = u32::try_from(MAX_CONTROL_FRAME + 1).unwrap();
        member.send.write_all(&length.to_le_bytes()).await.unwrap();
        expect(&mut rig, member, CloseCode::Oversize, before).await;
    }

    // More digests than a request may have, in a frame that is still short enough.
    let before = rig.refused("oversize").await;
    let mut member = Member::dial(&rig, &identity).await.hello().await;
    let digests = vec![Digest::of(b"x"); MAX_WANT + 1];
    member.say(&FromNode::Want { cut, digests }).await;
    expect(&mut rig, member, CloseCode::Oversize, before).await;

    rig.mesh.stop().await.unwrap();
}

/// Lies that break no rule of the protocol are believed of nobody else: not cuts that nobody knows, not blobs of them.
#[tokio::test(flavor = "multi_thread")]
async fn lies_about_cuts_hold_nobody_back() {
    let mut rig = Rig::start(1).await;
    let cut = rig.publish().await;
    let identity = enrol(&rig, "mallory").await;
    let unknown = CutKey { seq: u64::MAX, root: Digest::of(b"no such cut"), ..cut };
    let mut member = Member::dial(&rig, &identity).await.hello().await;
    member.say(&FromNode::Staged { cut: unknown, received: u64::MAX, micros: 0 }).await;
    member.say(&FromNode::Flipped { serial: u64::MAX, cut: unknown, at_us: u64::MAX }).await;
    member.say(&FromNode::Want { cut: unknown, digests: vec![Digest::of(b"x"); 100] }).await;
    member.say(&FromNode::Want { cut, digests: vec![Digest::of(b"x"); MAX_WANT] }).await;
    member.say(&FromNode::Refused { cut: unknown, reason: "r".repeat(100_000) }).await;
    rig.wait_refused("by-node", 0).await;
    let fleet = rig.mesh.client().status().await.unwrap();
    assert_eq!(fleet.current, Some(cut));
    // The honest node's view is the honest node's own.
    let honest = &fleet.nodes[&rig.mesh.nodes[0].zone.as_str().parse().unwrap()];
    assert_eq!((honest.staged, honest.connected), (Some(cut), true));
    drop(member);
    gone(&rig, "mallory").await;
    rig.publish().await;
    rig.mesh.stop().await.unwrap();
}

/// Slow on purpose: a peer that begins a frame and falls silent is waited for as long as the protocol says.
#[tokio::test(flavor = "multi_thread")]
async fn silence_is_not_waited_for() {
    let mut rig = Rig::start(1).await;
    rig.publish().await;
    let identity = enrol(&rig, "mallory").await;
    let second = enrol(&rig, "trudy").await;
    let since = Instant::now();
    // Half a hello, and no stream at all.
    let mut half = Member::dial(&rig, &identity).await;
    half.send.write_all(&wire::encode(&hello()).unwrap()[..9]).await.unwrap();
    let none = Member::dial(&rig, &second).await;
    let (half, none) = tokio::join!(half.client.end(), none.client.end());
    assert_eq!((half, none), (End::Code(CloseCode::Silent), End::Code(CloseCode::Silent)));
    assert!(since.elapsed() < Duration::from_secs(25), "{:?}", since.elapsed());
    rig.wait_refused("silent", 1).await;
    rig.publish().await;
    rig.mesh.stop().await.unwrap();
}

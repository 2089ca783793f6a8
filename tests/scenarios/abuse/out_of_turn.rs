//! A member of the mesh that breaks the protocol, frame by frame.

use std::time::{Duration, Instant};

use difusor_node::home::Home;
use difusor_proto::{
    CutKey, Digest, Flip, Mark, SigningKey,
    limits::{MAX_CONTROL_FRAME, MAX_WANT},
    tls::Identity,
    wire::{self, CloseCode, FromNode, Hello},
};
use quinn::ConnectionError;

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

/// Whether the coordinator ends the connection of a member that does this, with this code, and goes on publishing.
///
/// A member whose thread was away for longer than the coordinator keeps a closed connection in mind may find the
/// stateless reset behind the close (RFC 9000 section 10.3), and quinn tells of the later one alone. Which code was
/// given cannot be known then, so the member does it again.
async fn expect(
    rig: &mut Rig,
    identity: &Identity,
    greeted: bool,
    code: CloseCode,
    misbehave: impl AsyncFn(&mut Member),
) {
    for _ in 0..5 {
        let before = rig.refused(code.name()).await;
        let mut member = Member::dial(rig, identity).await;
        if greeted {
            member = member.hello().await;
        }
        misbehave(&mut member).await;
        let end = member.client.end().await;
        rig.wait_refused(code.name(), before).await;
        gone(rig, "mallory").await;
        if end == End::Other(ConnectionError::Reset) {
            continue;
        }
        assert_eq!(end, End::Code(code));
        rig.publish().await;
        return;
    }
    panic!("five times no more than a reset, instead of {code:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_speaks_out_of_turn_is_closed() {
    let mut rig = Rig::start(1).await;
    let cut = rig.publish().await;
    let identity = enrol(&rig, "mallory").await;

    // A frame that is well formed, but not the first.
    let early = FromNode::Ping { sent: 1 };
    expect(&mut rig, &identity, false, CloseCode::Garbage, async |member| member.say(&early).await).await;

    // Bytes that are no frame at all.
    let noise = [&[64, 0, 0, 0][..], &[0xff; 64]].concat();
    expect(&mut rig, &identity, false, CloseCode::Garbage, async |member| member.write(&noise).await).await;

    // A frame with bytes behind it that belong to nothing.
    let mut tail = wire::encode(&hello()).unwrap();
    tail.push(0);
    tail[0] += 1;
    expect(&mut rig, &identity, false, CloseCode::Garbage, async |member| member.write(&tail).await).await;

    // Packs that it keeps, of a member that did not say that it keeps any.
    let keeps = FromNode::Keeps { packs: Vec::new() };
    expect(&mut rig, &identity, true, CloseCode::Garbage, async |member| member.say(&keeps).await).await;

    // A second hello.
    expect(&mut rig, &identity, true, CloseCode::Garbage, async |member| member.say(&hello()).await).await;

    // A length above the limit, before and after the hello: closed before a byte of it is waited for.
    let length = u32::try_from(MAX_CONTROL_FRAME + 1).unwrap().to_le_bytes();
    for greeted in [false, true] {
        expect(&mut rig, &identity, greeted, CloseCode::Oversize, async |member| member.write(&length).await).await;
    }

    // More digests than a request may have, in a frame that is still short enough.
    let want = FromNode::Want { cut, digests: vec![Digest::of(b"x"); MAX_WANT + 1] };
    expect(&mut rig, &identity, true, CloseCode::Oversize, async |member| member.say(&want).await).await;

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

/// A member that says it has obeyed a flip that the coordinator does not know has to show it, and cannot make one up.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_up_a_flip_that_the_coordinator_has_forgotten() {
    let mut rig = Rig::start(1).await;
    rig.publish().await;
    let mallory = enrol(&rig, "mallory").await;
    let served = Home::new(rig.mesh.nodes[0].process.dir()).read_flip().expect("the node keeps its flip");
    let key = SigningKey::from_pkcs8(&std::fs::read(rig.home().dir().join("keys/signing.key")).unwrap()).unwrap();
    let flip = served.open(&key.verifying_key()).unwrap();
    let other = SigningKey::generate().unwrap().0;
    let forged = other.sign(&Flip { serial: 90, ..flip.clone() }).unwrap();
    let ahead = || {
        let FromNode::Hello(hello) = hello() else { unreachable!() };
        FromNode::Hello(Hello { mark: Mark { serial: 90, ..Mark::default() }, ..hello })
    };
    expect(&mut rig, &mallory, false, CloseCode::Forged, async |member| {
        member.say(&ahead()).await;
        member.say(&FromNode::Knows(Some(forged.clone()))).await;
    })
    .await;
    expect(&mut rig, &mallory, false, CloseCode::Garbage, async |member| {
        member.say(&ahead()).await;
        member.say(&FromNode::Ping { sent: 1 }).await;
    })
    .await;
    expect(&mut rig, &mallory, true, CloseCode::Forged, async |member| {
        member.say(&FromNode::Knows(Some(forged.clone()))).await;
    })
    .await;
    // One that was signed, and is older than what is served, changes nothing.
    let before = rig.mesh.client().status().await.unwrap();
    let mut member = Member::dial(&rig, &mallory).await.hello().await;
    member.say(&FromNode::Knows(Some(served))).await;
    member.say(&FromNode::Ping { sent: 1 }).await;
    let pong = wire::read_frame::<wire::FromCoordinator>(&mut member.recv, MAX_CONTROL_FRAME).await;
    assert!(matches!(pong, Ok(Some(_))), "{pong:?}");
    let after = rig.mesh.client().status().await.unwrap();
    assert_eq!((after.serial, after.current), (before.serial, before.current));
    drop(member);
    gone(&rig, "mallory").await;
    rig.publish().await;
    rig.mesh.stop().await.unwrap();
}

//! Orders to serve something: forged, replayed, backward, or for what nobody has.

use difusor_proto::{
    CutKey, Digest, Flip, FlipKind, MeshId, Signed,
    wire::{CloseCode, FromCoordinator},
};

use crate::{
    rogue::{forged, tampered},
    siege::Siege,
};

async fn refuse(siege: &Siege, what: &str, code: CloseCode, flip: Signed<Flip>) {
    let frame = FromCoordinator::Flip(flip);
    siege.attack(what, code, async |victim| victim.say(&frame).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flips_that_the_mesh_did_not_sign() {
    let siege = Siege::lay().await;
    // Forward, to a cut that the node could serve at once if it believed this.
    let order = siege.order(siege.cuts[0], FlipKind::Rollback { from: u64::MAX });
    refuse(&siege, "a rollback under another key", CloseCode::Forged, forged(&order)).await;
    let serial = siege.flip.bytes().iter().position(|byte| *byte == 2).unwrap();
    refuse(&siege, "a real flip with another serial", CloseCode::Forged, tampered(&siege.flip, serial)).await;
    let abroad = Flip { mesh: MeshId::of_key(b"another mesh"), ..order };
    refuse(&siege, "a flip of another mesh", CloseCode::Forged, siege.key.sign(&abroad).unwrap()).await;
    siege.lift().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replays() {
    let siege = Siege::lay().await;
    refuse(&siege, "the last flip once more", CloseCode::Replay, siege.flip.clone()).await;
    let older = Flip { serial: 1, ..siege.order(siege.cuts[0], FlipKind::Publish) };
    refuse(&siege, "the flip before it", CloseCode::Replay, siege.key.sign(&older).unwrap()).await;
    siege.lift().await;
}

/// What the key itself must not be able to order: whoever signs by mistake, or signs for an attacker.
#[tokio::test(flavor = "multi_thread")]
async fn rollbacks_that_do_not_say_so() {
    let siege = Siege::lay().await;
    let [first, second, _] = siege.cuts;
    let sign = |flip: &Flip| siege.key.sign(flip).unwrap();
    let back = siege.order(first, FlipKind::Publish);
    refuse(&siege, "an older cut as if it were news", CloseCode::BelowMark, sign(&back)).await;
    let other = CutKey { root: Digest::of(b"other content"), ..second };
    let other = siege.order(other, FlipKind::Publish);
    refuse(&siege, "the same number with other content", CloseCode::BelowMark, sign(&other)).await;
    let unaware = siege.order(first, FlipKind::Rollback { from: first.seq });
    refuse(&siege, "a rollback that does not know the newest", CloseCode::BelowMark, sign(&unaware)).await;
    siege.lift().await;
}

/// Fast-forward: an order far ahead, for a cut that nobody has. If it moved the mark, nothing real could follow.
#[tokio::test(flavor = "multi_thread")]
async fn fast_forward_moves_nothing() {
    let siege = Siege::lay().await;
    let mut victim = siege.victim().await;
    let far = CutKey { seq: u64::MAX, root: Digest::of(b"nowhere"), ..siege.cuts[2] };
    let ahead = Flip { serial: u64::MAX, ..siege.order(far, FlipKind::Publish) };
    victim.say(&FromCoordinator::Flip(siege.key.sign(&ahead).unwrap())).await;
    // The same connection goes on: the replay behind it shows that the flip was read.
    victim.say(&FromCoordinator::Flip(siege.flip.clone())).await;
    assert_eq!(victim.closed().await, CloseCode::Replay);
    siege.unmoved("an order for a cut that nobody has").await;
    drop(victim);
    siege.lift().await;
}

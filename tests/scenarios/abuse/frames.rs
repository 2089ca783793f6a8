//! A coordinator that breaks the protocol, frame by frame.

use difusor_proto::{
    Digest, MeshId,
    limits::{MAX_CONTROL_FRAME, MAX_ITEM_HEAD, MAX_MANIFEST_BYTES},
    wire::{self, CloseCode, FromCoordinator, PackHead, StreamHead},
};

use crate::{rogue::welcome, siege::Siege};

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap().to_le_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_the_control_stream() {
    let siege = Siege::lay().await;
    siege
        .attack("a frame above its limit", CloseCode::Oversize, async |victim| {
            victim.raw(&length(MAX_CONTROL_FRAME + 1)).await;
        })
        .await;
    siege
        .attack("bytes that are no frame", CloseCode::Garbage, async |victim| {
            victim.raw(&[&length(50)[..], &[0xee; 50]].concat()).await;
        })
        .await;
    let again = welcome(&siege.public());
    siege.attack("a second welcome", CloseCode::Garbage, async |victim| victim.say(&again).await).await;
    siege.lift().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_frame_is_this_meshs_welcome() {
    let siege = Siege::lay().await;
    let FromCoordinator::Welcome { node, zone, .. } = welcome(&siege.public()) else { unreachable!() };
    let abroad = FromCoordinator::Welcome { mesh: MeshId::of_key(b"another mesh"), node, zone };
    let early = FromCoordinator::Flip(siege.flip.clone());
    for (what, frame) in [("another mesh", abroad), ("a flip before the welcome", early)] {
        let before = siege.counted("garbage").await;
        let mut victim = siege.rogue.greet().await;
        victim.say(&frame).await;
        assert_eq!(victim.closed().await, CloseCode::Garbage, "{what}");
        siege.repelled(what, "garbage", before).await;
    }
    siege.lift().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_a_delta_stream() {
    let siege = Siege::lay().await;
    siege
        .attack("a head above its limit", CloseCode::Oversize, async |victim| {
            drop(victim.stream(&length(MAX_MANIFEST_BYTES + 1)).await);
        })
        .await;
    siege
        .attack("a head that is none", CloseCode::Garbage, async |victim| {
            victim.stream(&[&length(40)[..], &[0xee; 40]].concat()).await.finish().unwrap();
        })
        .await;
    let head = wire::encode(&StreamHead::Delta(siege.head())).unwrap();
    let name = "0000000003-20240602_2005-0123456789ab-1.cut";
    let pack = PackHead { name: name.parse().unwrap(), len: 4, digest: Digest::of(b"pack") };
    let pack = [wire::encode(&StreamHead::Pack(pack)).unwrap(), b"pack".to_vec()].concat();
    siege
        .attack("a pack for a node that keeps none", CloseCode::Garbage, async |victim| {
            victim.stream(&pack).await.finish().unwrap();
        })
        .await;
    let mut escaping = pack.clone();
    let at = escaping.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
    escaping[at..at + 9].copy_from_slice(b"../../../");
    siege
        .attack("the name of a pack that leads elsewhere", CloseCode::Garbage, async |victim| {
            victim.stream(&escaping).await.finish().unwrap();
        })
        .await;
    siege
        .attack("the head of a blob above its limit", CloseCode::Oversize, async |victim| {
            let mut stream = victim.stream(&head).await;
            let _ = stream.write_all(&length(MAX_ITEM_HEAD + 1)).await;
            // Kept open: the length alone must do.
            victim.closed().await;
        })
        .await;
    siege
        .attack("the head of a blob that is none", CloseCode::Garbage, async |victim| {
            let mut stream = victim.stream(&head).await;
            let _ = stream.write_all(&[&length(3)[..], &[0xee; 3]].concat()).await;
            victim.closed().await;
        })
        .await;
    siege.lift().await;
}

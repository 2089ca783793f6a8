//! Manifests that are not this mesh's, not of the cut they come with, or of a cut that is here already.

use difusor_proto::{
    CutKey, Digest, Manifest, MeshId,
    wire::{CloseCode, DeltaHead, List},
};

use crate::{
    rogue::{forged, tampered},
    siege::Siege,
};

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_the_mesh_did_not_sign() {
    let siege = Siege::lay().await;
    // Arbitrary software: a list of our own, in the name of the mesh.
    let manifest = forged(&siege.manifests[2]);
    let head = DeltaHead { list: Some(List::whole(&manifest).unwrap()), ..siege.head() };
    siege
        .attack("signed by another key", CloseCode::Forged, async |victim| victim.delta(&head, &siege.items).await)
        .await;

    let last = siege.signed[2].bytes().len() - 1;
    for at in [0, 20, last] {
        let manifest = tampered(&siege.signed[2], at);
        let cut = CutKey { root: Digest::of(manifest.bytes()), ..siege.cuts[2] };
        let head = DeltaHead { cut, list: Some(List::whole(&manifest).unwrap()), ..siege.head() };
        let what = format!("byte {at} of the manifest is another");
        siege.attack(&what, CloseCode::Forged, async |victim| victim.delta(&head, &siege.items).await).await;
    }
    siege.lift().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_of_elsewhere() {
    let siege = Siege::lay().await;
    // The key is right. The statement was made for another mesh, where that key may be in use as well.
    let abroad = Manifest { mesh: MeshId::of_key(b"another mesh"), ..siege.manifests[2].clone() };
    let (cut, _) = abroad.encode().unwrap();
    let head = DeltaHead { cut, list: Some(List::whole(&siege.key.sign(&abroad).unwrap()).unwrap()), ..siege.head() };
    siege.attack("for another mesh", CloseCode::Forged, async |victim| victim.delta(&head, &siege.items).await).await;

    // Mix-and-match: a real manifest under another real name. Every part of the name counts.
    let [_, second, third] = siege.cuts;
    let swapped = [
        CutKey { seq: third.seq + 1, ..third },
        CutKey { label: second.label, ..third },
        CutKey { root: second.root, ..third },
    ];
    for cut in swapped {
        let head = DeltaHead { cut, ..siege.head() };
        let what = format!("a manifest under the name {cut:?}");
        siege.attack(&what, CloseCode::Forged, async |victim| victim.delta(&head, &siege.items).await).await;
    }
    siege.lift().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_were_taken_in_before() {
    let siege = Siege::lay().await;
    for at in [1, 0] {
        let list = Some(List::whole(&siege.signed[at]).unwrap());
        let items = u32::try_from(siege.old_items.len()).unwrap();
        let head = DeltaHead { cut: siege.cuts[at], list, items, bytes: 0 };
        let what = format!("cut {} once more", siege.cuts[at].seq);
        siege.attack(&what, CloseCode::Replay, async |victim| victim.delta(&head, &siege.old_items).await).await;
    }
    // Blobs for a cut that was never announced.
    let head = DeltaHead { list: None, ..siege.head() };
    siege
        .attack("blobs of an unknown cut", CloseCode::Garbage, async |victim| victim.delta(&head, &siege.items).await)
        .await;
    siege.lift().await;
}

/// A list goes over as what changed in it. One that cannot be read says nothing, and one that is told by a list that is
/// not here is asked for whole.
#[tokio::test(flavor = "multi_thread")]
async fn lists_that_cannot_be_read() {
    let siege = Siege::lay().await;
    let bent = |field: &str, to: serde_json::Value| {
        let mut list = serde_json::to_value(siege.head().list.unwrap()).unwrap();
        list[field] = to;
        DeltaHead { list: Some(serde_json::from_value(list).unwrap()), ..siege.head() }
    };
    let cases = [
        ("a list in no frame", bent("frame", vec![1; 400].into()), CloseCode::Garbage),
        ("a list that is longer than it says", bent("len", 7.into()), CloseCode::Garbage),
        ("a list of a terabyte", bent("len", (1_u64 << 40).into()), CloseCode::Oversize),
        ("a list without its signature", bent("signature", Vec::<u8>::new().into()), CloseCode::Forged),
    ];
    for (what, head, code) in cases {
        siege.attack(what, code, async |victim| victim.delta(&head, &siege.items).await).await;
    }

    let before = siege.counted("list").await;
    let elsewhere = Manifest { seq: 77, ..siege.manifests[1].clone() };
    let nowhere = List::since(&forged(&elsewhere), &siege.signed[2]).unwrap();
    let mut victim = siege.victim().await;
    victim.delta(&DeltaHead { list: Some(nowhere), ..siege.head() }, &siege.items).await;
    assert_eq!(victim.wanted().await, [siege.cuts[2].root]);
    siege.repelled("a list told by one that is not here", "list", before).await;
    // The answer is the whole list, and then what is missing is asked for.
    let whole = List::whole(&siege.signed[2]).unwrap();
    victim.delta(&DeltaHead { list: Some(whole), items: 0, ..siege.head() }, &[]).await;
    let wanted = victim.wanted().await;
    assert!(siege.items.iter().all(|item| wanted.contains(&item.head.digest)), "{wanted:?}");
    drop(victim);
    siege.lift().await;
}

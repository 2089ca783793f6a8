//! Manifests that are not this mesh's, not of the cut they come with, or of a cut that is here already.

use difusor_proto::{
    CutKey, Digest, Manifest, MeshId,
    wire::{CloseCode, DeltaHead},
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
    let head = DeltaHead { manifest: Some(manifest), ..siege.head() };
    siege
        .attack("signed by another key", CloseCode::Forged, async |victim| victim.delta(&head, &siege.items).await)
        .await;

    let last = siege.signed[2].bytes().len() - 1;
    for at in [0, 20, last] {
        let manifest = tampered(&siege.signed[2], at);
        let cut = CutKey { root: Digest::of(manifest.bytes()), ..siege.cuts[2] };
        let head = DeltaHead { cut, manifest: Some(manifest), ..siege.head() };
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
    let head = DeltaHead { cut, manifest: Some(siege.key.sign(&abroad).unwrap()), ..siege.head() };
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
        let manifest = Some(siege.signed[at].clone());
        let items = u32::try_from(siege.old_items.len()).unwrap();
        let head = DeltaHead { cut: siege.cuts[at], manifest, items, bytes: 0 };
        let what = format!("cut {} once more", siege.cuts[at].seq);
        siege.attack(&what, CloseCode::Replay, async |victim| victim.delta(&head, &siege.old_items).await).await;
    }
    // Blobs for a cut that was never announced.
    let head = DeltaHead { manifest: None, ..siege.head() };
    siege
        .attack("blobs of an unknown cut", CloseCode::Garbage, async |victim| victim.delta(&head, &siege.items).await)
        .await;
    siege.lift().await;
}

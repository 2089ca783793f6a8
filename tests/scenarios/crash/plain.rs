//! The plain bytes that a node keeps beside a cut, torn or lost: they are made again from the cut, and never trusted half.

use std::fs;

use difusor_night::NightSpec;
use difusor_proto::CutKey;

use crate::{
    invariants::check,
    rig::{Rig, flip_bit, len, packs, truncate},
    seed::Seed,
};

/// Starts the node, and starts it once more: what it made again must be there for the next start as well.
async fn comes_back(rig: &mut Rig, cut: &CutKey) {
    rig.restart_node(0).await;
    assert_eq!(check(rig, &[]).await, *cut);
    rig.reboot_node(0).await;
    assert_eq!(check(rig, &[]).await, *cut);
    let next = rig.publish().await;
    assert_eq!(check(rig, &[]).await, next);
    rig.reboot_node(0).await;
    assert_eq!(check(rig, &[]).await, next);
}

/// A node that has taken in three cuts, each with a pack of plain bytes, and is stopped. The files that never change lie
/// in the first pack alone.
async fn stopped() -> (Rig, CutKey) {
    let mut rig = Rig::start(1, NightSpec::tiny()).await;
    rig.publish().await;
    rig.publish().await;
    let cut = rig.publish().await;
    rig.mesh.nodes[0].process.stop().await.unwrap();
    assert_eq!(packs(&rig.mesh.nodes[0].process, ".plain").len(), 3, "a pack of plain bytes a cut");
    (rig, cut)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_plain_pack_is_torn() {
    let mut seed = Seed::new("the_newest_plain_pack_is_torn");
    let (mut rig, cut) = stopped().await;
    let pack = packs(&rig.mesh.nodes[0].process, ".plain").pop().unwrap();
    truncate(&pack, seed.below(usize::try_from(len(&pack)).unwrap()) as u64);
    comes_back(&mut rig, &cut).await;
    rig.mesh.stop().await.unwrap();
}

/// What is lost is needed by a cut that has a plain pack of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_plain_pack_is_torn() {
    let mut seed = Seed::new("the_oldest_plain_pack_is_torn");
    let (mut rig, cut) = stopped().await;
    let pack = packs(&rig.mesh.nodes[0].process, ".plain").remove(0);
    truncate(&pack, seed.below(usize::try_from(len(&pack)).unwrap()) as u64);
    comes_back(&mut rig, &cut).await;
    rig.mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_plain_packs_are_gone() {
    let (mut rig, cut) = stopped().await;
    for pack in packs(&rig.mesh.nodes[0].process, ".plain") {
        fs::remove_file(pack).unwrap();
    }
    comes_back(&mut rig, &cut).await;
    rig.mesh.stop().await.unwrap();
}

/// What a power cut leaves of a pack that the disk was not waited for: the right length, and holes.
#[tokio::test(flavor = "multi_thread")]
async fn an_unsettled_pack_has_holes() {
    let mut seed = Seed::new("an_unsettled_pack_has_holes");
    let (mut rig, mut cut) = stopped().await;
    for _ in 0..3 {
        let pack = packs(&rig.mesh.nodes[0].process, ".plain").pop().unwrap();
        let unsettled = pack.with_added_extension("unsettled");
        fs::rename(&pack, &unsettled).unwrap();
        let at = seed.below(usize::try_from(len(&unsettled)).unwrap()) as u64;
        if seed.below(2) == 0 {
            flip_bit(&unsettled, at);
        } else {
            truncate(&unsettled, at);
        }
        rig.restart_node(0).await;
        assert_eq!(check(&rig, &[]).await, cut);
        cut = rig.publish().await;
        rig.mesh.nodes[0].process.stop().await.unwrap();
    }
    comes_back(&mut rig, &cut).await;
    rig.mesh.stop().await.unwrap();
}

/// A crash between the two packs of a cut: its plain bytes are here under its name, the cut itself is not. It comes once
/// more, and the second time nothing of it seems to be missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_pack_without_its_cut() {
    let mut rig = Rig::start(1, NightSpec::tiny()).await;
    rig.publish().await;
    rig.mesh.nodes[0].process.stop().await.unwrap();
    let dir = rig.mesh.nodes[0].process.dir().to_owned();
    let mark = fs::read(dir.join("mark.json")).unwrap();
    rig.restart_node(0).await;
    let cut = rig.publish().await;
    let node = &mut rig.mesh.nodes[0].process;
    node.kill().await.unwrap();

    // Back to the moment before the cut was committed: its plain pack is on its way to the disk, the index was not
    // flushed, the mark is the old one.
    fs::write(dir.join("mark.json"), mark).unwrap();
    fs::remove_file(packs(node, ".cut").pop().unwrap()).unwrap();
    if let Some(settled) = packs(node, ".plain").into_iter().find(|pack| pack.to_string_lossy().contains("0000000002"))
    {
        fs::rename(&settled, settled.with_added_extension("unsettled")).unwrap();
    }
    fs::remove_dir_all(dir.join("store/index")).unwrap();

    rig.restart_node(0).await;
    assert_eq!(check(&rig, &[]).await, cut);
    // A power cut now, and another one: what was acknowledged as staged is here for good.
    for _ in 0..2 {
        rig.mesh.nodes[0].process.kill().await.unwrap();
        rig.restart_node(0).await;
        assert_eq!(check(&rig, &[]).await, cut);
    }
    let next = rig.publish().await;
    assert_eq!(check(&rig, &[]).await, next);
    rig.mesh.stop().await.unwrap();
}

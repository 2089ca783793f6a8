//! Copies on a node that keeps the archive.

use std::fs;

use difusor_tests::until;
use tempfile::TempDir;

use crate::rig::{Rig, files, spoil};

const TO: &str = "node mx-central";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_keeps_every_pack_and_gives_it_back() {
    let eager = "scrub_rate = \"2 GB\"\nscrub_every = \"50 ms\"\n";
    let mut rig = Rig::start(TempDir::new().unwrap(), eager, "archive = true\nlow_space = \"1 MiB\"\n").await;
    for _ in 0..3 {
        rig.publish().await;
    }
    rig.held(TO, 3).await;
    let whole = files(&rig.packs());
    let kept = rig.mesh.nodes[0].process.dir().join("archive");
    assert!(files(&kept) == whole, "what the node keeps differs");

    // It says what it has after a restart, so nothing is sent twice, and what it lost is sent again.
    let inode = |name: &str| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(kept.join(name)).unwrap().ino()
    };
    let before = inode(&whole[2].0);
    rig.mesh.nodes[0].process.stop().await.unwrap();
    fs::remove_file(kept.join(&whole[1].0)).unwrap();
    fs::write(kept.join("half.tmp"), "left by a crash").unwrap();
    rig.mesh.nodes[0].process.spawn().unwrap();
    rig.mesh.nodes[0].process.ready::<difusor_node::run::Ready>().await.unwrap();
    until("the node has it again", async || Ok((files(&kept) == whole).then_some(()))).await.unwrap();
    assert_eq!(inode(&whole[2].0), before, "it was sent again");

    // What the coordinator's disk spoils comes back from the node; what it keeps is not believed unseen.
    let spoiled = rig.spoil(16 + 128 + 40);
    until("the pack is whole again", async || Ok((fs::read(&spoiled)? == whole[0].1).then_some(()))).await.unwrap();
    rig.while_down(async |_| spoil(&kept.join(&whole[0].0), 16 + 128 + 40)).await;
    rig.mesh.wait_connected().await.unwrap();
    rig.held(TO, 3).await;
    let spoiled = rig.spoil(16 + 128 + 41);
    let bad = fs::read(&spoiled).unwrap();
    until("the damage is named", async || Ok(rig.mesh.client().status().await?.scrub.damaged.first().cloned()))
        .await
        .unwrap();
    rig.publish().await;
    rig.held(TO, 4).await;
    assert!(fs::read(&spoiled).unwrap() == bad, "a damaged copy was put in place");
    rig.mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_room_says_so_and_serves_on() {
    let scarce = "archive = true\nlow_space = \"1000000 GiB\"\n";
    let mut rig = Rig::start(TempDir::new().unwrap(), "", scarce).await;
    rig.publish().await;
    let reason = until("the status says why", async || {
        Ok(rig.replica(TO).await.last_error.filter(|error| error.contains("for cuts")))
    });
    reason.await.unwrap();
    rig.publish().await;
    assert!(files(&rig.mesh.nodes[0].process.dir().join("archive")).is_empty());
    rig.mesh.stop().await.unwrap();
}

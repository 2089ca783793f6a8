//! Copies in a folder: all of them, in time, and the way back.

use std::fs;

use difusor_tests::{command, until};
use tempfile::TempDir;

use crate::{
    PROGRAM,
    rig::{Rig, files},
};

/// Byte of a payload: behind the magic and the first header.
const INSIDE: u64 = 16 + 128 + 40;

async fn rig() -> (Rig, String, std::path::PathBuf) {
    let dir = TempDir::new().unwrap();
    let there = dir.path().join("there");
    fs::create_dir(&there).unwrap();
    let url = format!("file://{}", there.display());
    let eager = format!("scrub_rate = \"2 GB\"\nscrub_every = \"50 ms\"\n[replica]\nurl = \"{url}\"\n");
    (Rig::start(dir, &eager, "").await, url, there)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pack_is_there_and_damage_heals_from_there() {
    let (mut rig, url, there) = rig().await;
    for _ in 0..3 {
        rig.publish().await;
    }
    rig.held(&url, 3).await;
    let whole = files(&rig.packs());
    assert!(files(&there) == whole, "copies differ");
    let said = rig.mesh.coordinator.call(&["status"]).await.unwrap();
    assert!(said.contains(&format!("replica {url}: 3 packs held")) && said.contains("complete"), "{said}");

    // A bit that turns while it runs is found by the reading of the archive.
    let spoiled = rig.spoil(INSIDE);
    assert!(fs::read(&spoiled).unwrap() != whole[0].1);
    until("the pack is whole again", async || Ok((fs::read(&spoiled)? == whole[0].1).then_some(()))).await.unwrap();

    // A pack whose headers are spoiled is set aside at a start. The cut is listed again once it is back.
    let before = rig.archive().await;
    let path = spoiled.clone();
    rig.while_down(async |coordinator| {
        crate::rig::spoil(&path, 20);
        fs::remove_dir_all(coordinator.dir().join("store/index")).unwrap();
    })
    .await;
    until("it is in its place again", async || Ok(fs::read(&spoiled).is_ok_and(|is| is == whole[0].1).then_some(())))
        .await
        .unwrap();
    until("its cut is listed", async || Ok((rig.mesh.client().history().await?.len() == 3).then_some(())))
        .await
        .unwrap();
    assert!(rig.archive().await == before, "the archive is another");
    rig.publish().await;
    rig.mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_does_not_wait_and_what_was_missed_follows() {
    let (mut rig, url, there) = rig().await;
    rig.publish().await;
    rig.held(&url, 1).await;
    let away = there.with_extension("away");
    fs::rename(&there, &away).unwrap();
    let cuts = [rig.publish().await, rig.publish().await];
    until("the status says so", async || Ok(rig.replica(&url).await.last_error.map(drop))).await.unwrap();
    assert_eq!(rig.mesh.client().status().await.unwrap().current, Some(cuts[1]));
    fs::rename(&away, &there).unwrap();
    rig.held(&url, 3).await;
    assert!(files(&there) == files(&rig.packs()));
    rig.mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_lost_comes_back_bit_for_bit() {
    let (mut rig, url, there) = rig().await;
    for _ in 0..3 {
        rig.publish().await;
    }
    rig.held(&url, 3).await;
    let before = rig.archive().await;
    let config = rig.mesh.coordinator.dir().join("coordinator.toml");
    let restore = async || {
        command::run(command::of(PROGRAM, "coordinator", &config, &["restore", "--from", &url])).await.unwrap()
    };
    assert!(restore().await.is(1, &["in use"]), "it restores under a coordinator that runs");
    rig.while_down(async |coordinator| {
        fs::remove_dir_all(coordinator.dir().join("store")).unwrap();
        let said = restore().await;
        assert!(said.is(0, &[]) && said.out.contains("3 packs fetched"), "{said:?}");
        // Again, with one of them damaged and one gone.
        let packs = coordinator.dir().join("store/packs");
        let names: Vec<_> = files(&packs).into_iter().map(|(name, _)| name).collect();
        crate::rig::spoil(&packs.join(&names[0]), INSIDE);
        fs::remove_file(packs.join(&names[1])).unwrap();
        let said = restore().await;
        assert!(said.is(0, &[]) && said.out.contains("2 packs fetched"), "{said:?}");
        assert!(files(&packs) == files(&there));
    })
    .await;
    assert!(rig.archive().await == before, "the archive is another");
    rig.publish().await;
    rig.held(&url, 4).await;
    rig.mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_names_what_cannot_be_used() {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("coordinator.toml");
    for (section, part) in [
        ("url = \"ftp://x\"", "neither"),
        ("url = \"file:///nowhere/at/all\"", "mount"),
        ("url = \"s3://bucket\"\ncredentials = \"/nowhere/keys\"", "/nowhere/keys"),
    ] {
        fs::write(&config, format!("[replica]\n{section}\n")).unwrap();
        let said = command::run(command::of(PROGRAM, "coordinator", &config, &["--check"])).await.unwrap();
        assert!(said.is(64, &[part]), "{said:?}");
    }
}

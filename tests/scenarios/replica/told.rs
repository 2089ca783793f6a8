//! Copies of packages that are kept by what changed in them: they take the place of those that came, and lead back to all.

use std::fs;

use difusor_tests::{command, until};
use tempfile::TempDir;

use crate::{
    PROGRAM,
    rig::{Files, Rig, files, spoil},
};

/// Two keyframes, the newest, and four that are told.
const CUTS: u64 = 7;

fn told(files: &Files) -> Vec<&str> {
    files.iter().map(|(name, _)| name.as_str()).filter(|name| name.ends_with(".delta")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_takes_the_place_of_what_came() {
    let dir = TempDir::new().unwrap();
    let there = dir.path().join("there");
    fs::create_dir(&there).unwrap();
    let url = format!("file://{}", there.display());
    let plan = "keyframe_every = 4\nverbatim_cuts = 1\nscrub_rate = \"2 GB\"\nscrub_every = \"50 ms\"";
    let coordinator = format!("{plan}\n[replica]\nurl = \"{url}\"\n");
    let mut rig = Rig::start(dir, &coordinator, "archive = true\nlow_space = \"1 MiB\"\n").await;
    for _ in 0..CUTS {
        rig.publish().await;
    }
    let kept = rig.mesh.nodes[0].process.dir().join("archive");
    until("the copies are of the packs that are kept, and of no others", async || {
        let here = files(&rig.packs());
        Ok((told(&here).len() == 4 && files(&there) == here && files(&kept) == here).then_some(()))
    })
    .await
    .unwrap();
    let before = rig.archive().await;

    // One of them is spoiled, and heals.
    let whole = files(&rig.packs());
    let name = told(&whole)[1];
    let spoiled = rig.packs().join(name);
    spoil(&spoiled, 16 + 128 + 40);
    until("it is whole again", async || Ok((files(&rig.packs()) == whole).then_some(()))).await.unwrap();

    // And all of them lead back to every package.
    let config = rig.mesh.coordinator.dir().join("coordinator.toml");
    rig.while_down(async |coordinator| {
        fs::remove_dir_all(coordinator.dir().join("store")).unwrap();
        let restore = command::of(PROGRAM, "coordinator", &config, &["restore", "--from", &url]);
        let said = command::run(restore).await.unwrap();
        assert!(said.is(0, &[]) && said.out.contains(&format!("{CUTS} packs fetched")), "{said:?}");
    })
    .await;
    assert!(rig.archive().await == before, "the archive is another");
    let said = rig.mesh.coordinator.call(&["history", "verify"]).await.unwrap();
    assert!(said.contains(&format!("{CUTS} packages are what came, 0 are not")), "{said}");
    rig.mesh.stop().await.unwrap();
}

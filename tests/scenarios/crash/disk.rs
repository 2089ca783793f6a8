//! Disks that are full, or take no more for a while: refused cleanly, served on, and as good as new when there is room.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use difusor_coordinator::client::ClientError;
use difusor_local::{Mesh, Options};
use difusor_night::NightSpec;
use tempfile::TempDir;

use crate::{
    invariants::{check, no_leftovers, served, whole},
    prober::Prober,
    rig::{PATIENCE, PROGRAM, Rig, until},
    truth::Truth,
};

/// A small disk of its own. Goes when it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// Mounts `size` at `at`; `None` where that is not permitted.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Self(at.to_owned()));
        }
        println!("skipped: a disk cannot be mounted here");
        None
    }

    /// Leaves no room at all.
    fn fill(&self) {
        let mut ballast = File::create(self.0.join("ballast")).unwrap();
        let piece = vec![7; 16 << 10];
        while ballast.write_all(&piece).is_ok() {}
        while ballast.write_all(b"7").is_ok() {}
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A mesh of one node in which this process has a small disk. The disk is dropped first, the processes in it later.
async fn on_small_disk(process: &str) -> Option<(Rig, Disk)> {
    let dir = TempDir::new().unwrap();
    let options: Options = difusor_tests::options(PROGRAM, dir.path(), 1).unwrap();
    let disk = Disk::mount(&options.dir.join(process), "16m")?;
    let mesh = Mesh::start(&options).await.unwrap();
    let night = difusor_night::Night::new(NightSpec { cuts: 200, ..NightSpec::tiny() }).unwrap();
    Some((Rig::with(mesh, night, Truth::default(), dir), disk))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinators_disk_is_full() {
    let Some((mut rig, disk)) = on_small_disk("coordinator").await else { return };
    let cut = rig.publish().await;
    let probers = [Prober::start(&rig.mesh, 0, vec!["index.html".into()], rig.truth.clone())];
    disk.fill();
    let (i, file) = rig.make();
    let refused = rig.hand_in(i, &file).await.expect_err("a package was taken in without room for it");
    let ClientError::Api(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.status, 507, "{}", refused.error);
    assert!(refused.error.contains("Make room"), "{}", refused.error);
    whole(&rig, &cut).await;
    until("the status says that there is no room", async || {
        let scrub = rig.mesh.client().status().await.unwrap().scrub;
        scrub.low_space && scrub.disk.free < 64 << 10
    })
    .await;
    assert_eq!(rig.mesh.client().status().await.unwrap().current, Some(cut));

    disk.empty();
    // The same package, once more. No restart: nobody restarts a coordinator in the middle of a night.
    let again = rig.hand_in(i, &file).await.expect("there is room again").cut;
    rig.mesh.wait_served(&again, PATIENCE).await.unwrap();
    served(&rig, &probers).await;
    rig.restart().await;
    rig.publish().await;
    check(&rig, &probers).await;
    drop(probers);
    rig.mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_disk_is_full() {
    let Some((mut rig, disk)) = on_small_disk("mx-central").await else { return };
    let cut = rig.publish().await;
    let probers = [Prober::start(&rig.mesh, 0, vec!["index.html".into()], rig.truth.clone())];
    disk.fill();
    let (i, file) = rig.make();
    let missed = rig.hand_in(i, &file).await.unwrap().cut;
    let name = rig.mesh.nodes[0].zone.as_str().parse().unwrap();
    until("the node says that it cannot take the cut", async || {
        let mut fleet = rig.mesh.client().status().await.unwrap();
        fleet.progress(&missed, &name).is_some_and(|progress| progress.refused.is_some())
    })
    .await;
    whole(&rig, &cut).await;

    disk.empty();
    rig.publish().await;
    served(&rig, &probers).await;
    rig.restart().await;
    rig.publish().await;
    check(&rig, &probers).await;
    drop(probers);
    rig.mesh.stop().await.unwrap();
}

/// The others have flipped; this one has to follow as soon as it can, without another cut to push it, and without anybody
/// starting it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_takes_the_cut_once_there_is_room() {
    let dir = TempDir::new().unwrap();
    let mut options: Options = difusor_tests::options(PROGRAM, dir.path(), 3).unwrap();
    options.coordinator_config = "flip_deadline = \"1 s\"\n".into();
    let Some(disk) = Disk::mount(&options.dir.join("mx-central"), "16m") else { return };
    let mesh = Mesh::start(&options).await.unwrap();
    let night = difusor_night::Night::new(NightSpec { cuts: 200, ..NightSpec::tiny() }).unwrap();
    let mut rig = Rig::with(mesh, night, Truth::default(), dir);
    let old = rig.publish().await;
    let at = rig.mesh.nodes.iter().position(|node| node.zone.as_str() == "mx-central").unwrap();
    let admin = rig.mesh.nodes[at].admin;
    disk.fill();
    let (i, file) = rig.make();
    let new = rig.hand_in(i, &file).await.unwrap().cut;
    until("the others serve the new cut", async || {
        let fleet = rig.mesh.client().status().await.unwrap();
        fleet.nodes.values().filter(|node| node.serves == Some(new)).count() == 2
    })
    .await;
    let status = difusor_tests::status(admin).await.unwrap();
    assert_eq!(status.serves, Some(old), "it serves on");
    assert_eq!(status.cannot_take.as_ref().map(|(cut, _)| *cut), Some(new), "it does not say what is wrong");
    until("it says that there is no room", async || {
        let status = difusor_tests::status(admin).await.unwrap();
        status.scrub.low_space && status.scrub.disk.free < 64 << 10
    })
    .await;

    disk.empty();
    rig.mesh.wait_served(&new, PATIENCE).await.unwrap();
    assert_eq!(difusor_tests::status(admin).await.unwrap().cannot_take, None);
    whole(&rig, &new).await;
    rig.mesh.stop().await.unwrap();
}

/// What could not be written takes no room: on a full disk, least of all.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_left_tidy() {
    for process in ["coordinator", "mx-central"] {
        let Some((mut rig, disk)) = on_small_disk(process).await else { return };
        rig.publish().await;
        disk.fill();
        let (i, file) = rig.make();
        let _ = rig.hand_in(i, &file).await;
        disk.empty();
        rig.publish().await;
        no_leftovers(&rig).await;
        rig.mesh.stop().await.unwrap();
    }
}

/// The package is on the disk, and acknowledged; the small file that says what is served cannot be written just then.
/// When it can, the cut has to go out, without another package to push it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flip_that_could_not_be_written_is_not_forgotten() {
    let mut rig = Rig::start(1, NightSpec::tiny()).await;
    let old = rig.publish().await;
    // A folder where the new file would be written first: no permission that root would not have.
    let obstacle = rig.mesh.coordinator.dir().join("state.json.tmp");
    fs::create_dir(&obstacle).unwrap();
    let (i, file) = rig.make();
    let new = rig.hand_in(i, &file).await.unwrap().cut;
    let name = rig.mesh.nodes[0].zone.as_str().parse().unwrap();
    until("the node has staged", async || rig.mesh.client().status().await.unwrap().nodes[&name].staged == Some(new))
        .await;
    whole(&rig, &old).await;
    fs::remove_dir(&obstacle).unwrap();
    let served = rig.mesh.wait_served(&new, PATIENCE / 4).await;
    assert!(served.is_ok(), "an acknowledged cut stays unpublished: {}", rig.mesh.coordinator.log_end());
    rig.mesh.stop().await.unwrap();
}

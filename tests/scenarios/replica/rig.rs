//! A mesh whose archive is copied, and what tests look at.

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use difusor_coordinator::{fleet::ReplicaView, publish::Request};
use difusor_local::{Mesh, mesh::Process};
use difusor_night::{Night, NightSpec};
use difusor_proto::CutKey;
use difusor_tests::until;
use tempfile::TempDir;

use crate::PROGRAM;

/// Files with their bytes, by name.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

pub(crate) struct Rig {
    pub(crate) mesh: Mesh,
    pub(crate) dir: TempDir,
    night: Night,
    next: usize,
}

impl Rig {
    /// A mesh of one node in `dir`, with lines for both configurations.
    pub(crate) async fn start(dir: TempDir, coordinator: &str, node: &str) -> Self {
        let mut options = difusor_tests::options(PROGRAM, dir.path(), 1).unwrap();
        options.coordinator_config = coordinator.into();
        options.node_config = node.into();
        let mesh = Mesh::start(&options).await.unwrap();
        let night = Night::new(NightSpec { cuts: 40, ..NightSpec::tiny() }).unwrap();
        Self { mesh, dir, night, next: 0 }
    }

    /// Publishes the next package of the night, to be served by every node.
    pub(crate) async fn publish(&mut self) -> CutKey {
        let file = self.night.write_to(self.dir.path(), self.next, true).unwrap();
        self.next += 1;
        difusor_tests::publish(&self.mesh, &file, Request::default()).await.unwrap().cut
    }

    /// How the copies at a place are; as if nothing was known while the coordinator does not answer.
    pub(crate) async fn replica(&self, to: &str) -> ReplicaView {
        let fleet = self.mesh.client().status().await;
        fleet.ok().and_then(|fleet| fleet.replicas.into_iter().find(|seen| seen.to == to)).unwrap_or_default()
    }

    /// Waits until there are `packs` copies at a place, and nothing is wrong.
    pub(crate) async fn held(&self, to: &str, packs: u64) {
        let what = format!("{packs} copies in {to}");
        let waited = until(&what, async || {
            let seen = self.replica(to).await;
            Ok((seen.held == packs && seen.missing == 0 && seen.last_error.is_none()).then_some(()))
        });
        if let Err(error) = waited.await {
            panic!("{error}: {:?}\n{}", self.replica(to).await, self.mesh.coordinator.log_end());
        }
    }

    pub(crate) fn packs(&self) -> PathBuf {
        self.mesh.coordinator.dir().join("store/packs")
    }

    /// The first pack, spoiled in place.
    pub(crate) fn spoil(&self, at: u64) -> PathBuf {
        let (name, _) = files(&self.packs()).remove(0);
        let path = self.packs().join(name);
        spoil(&path, at);
        path
    }

    /// Ends the coordinator in good order, does something, and starts it again.
    pub(crate) async fn while_down(&mut self, act: impl AsyncFnOnce(&Process)) {
        self.mesh.coordinator.stop().await.unwrap();
        act(&self.mesh.coordinator).await;
        self.mesh.coordinator.spawn().unwrap();
        self.mesh.coordinator.ready::<difusor_coordinator::run::Ready>().await.unwrap();
    }

    /// Every package of the archive, as it is exported, and the history as the API tells it.
    pub(crate) async fn archive(&self) -> (Vec<Vec<u8>>, String) {
        let history = self.mesh.client().history().await.unwrap();
        let mut packages = Vec::new();
        for listed in &history {
            let to = self.dir.path().join("exported.zip");
            self.mesh.client().export(&listed.archived.cut.seq.to_string(), &to).await.unwrap();
            packages.push(fs::read(&to).unwrap());
        }
        (packages, serde_json::to_string(&history).unwrap())
    }
}

/// The files of a folder that others write to: one that went between its listing and its reading is not there.
pub(crate) fn files(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let mut all: Vec<_> = entries
        .filter_map(|entry| match fs::read(entry.path()) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            read => Some((entry.file_name().into_string().unwrap(), read.unwrap())),
        })
        .collect();
    all.sort();
    all
}

/// Turns one bit of a file, in place, as a disk does.
pub(crate) fn spoil(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

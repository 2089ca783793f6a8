//! A mesh that can be broken and mended: its processes, its packs, its packages.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use difusor_coordinator::{
    client::ClientError,
    publish::{Accepted, Outcome, Request},
};
use difusor_local::{Mesh, Options, mesh::Process};
use difusor_night::{Night, NightSpec};
use difusor_proto::CutKey;
use serde_json::Value;
use tempfile::TempDir;

use crate::truth::Truth;

/// Longer than anything here takes on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// The program whose processes make the mesh.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_difusor-tests");

pub(crate) struct Rig {
    pub(crate) mesh: Mesh,
    pub(crate) night: Night,
    pub(crate) truth: Truth,
    /// Packages whose taking in was acknowledged, by the number of the night.
    pub(crate) acknowledged: Vec<(usize, CutKey)>,
    next: usize,
    pub(crate) dir: TempDir,
}

impl Rig {
    pub(crate) async fn start(nodes: usize, spec: NightSpec) -> Self {
        Self::start_with(nodes, spec, |_| ()).await
    }

    pub(crate) async fn start_with(nodes: usize, spec: NightSpec, change: impl FnOnce(&mut Options)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut options = difusor_tests::options(PROGRAM, dir.path(), nodes).unwrap();
        change(&mut options);
        let mesh = Mesh::start(&options).await.unwrap();
        let night = Night::new(NightSpec { cuts: 200, ..spec }).unwrap();
        Self::with(mesh, night, Truth::default(), dir)
    }

    /// A mesh that runs already, in `dir`.
    pub(crate) fn with(mesh: Mesh, night: Night, truth: Truth, dir: TempDir) -> Self {
        Self { mesh, night, truth, acknowledged: Vec::new(), next: 0, dir }
    }

    /// Ends everything in good order, and starts it again.
    pub(crate) async fn restart(&mut self) {
        self.mesh.coordinator.stop().await.unwrap();
        self.restart_coordinator().await;
        for node in 0..self.mesh.nodes.len() {
            self.reboot_node(node).await;
        }
    }

    /// Makes the next package of the night, and learns what is in it.
    pub(crate) fn make(&mut self) -> (usize, PathBuf) {
        let i = self.next;
        self.next += 1;
        self.truth.learn(&self.night, i);
        (i, self.night.write_to(self.dir.path(), i, true).unwrap())
    }

    /// Hands a package in.
    pub(crate) async fn hand_in(&mut self, i: usize, file: &Path) -> Result<Accepted, ClientError> {
        let accepted = self.mesh.client().publish(file, Request::default()).await?;
        self.acknowledge(i, &accepted);
        Ok(accepted)
    }

    /// Notes that a package was acknowledged.
    pub(crate) fn acknowledge(&mut self, i: usize, accepted: &Accepted) {
        assert_ne!(accepted.outcome, Outcome::Archived);
        self.acknowledged.push((i, accepted.cut));
    }

    /// Publishes the next package, and waits until every node that runs serves it.
    pub(crate) async fn publish(&mut self) -> CutKey {
        let (i, file) = self.make();
        let cut = self.hand_in(i, &file).await.unwrap().cut;
        self.mesh.wait_served(&cut, PATIENCE).await.unwrap();
        cut
    }

    pub(crate) async fn restart_coordinator(&mut self) {
        revive(&mut self.mesh.coordinator).await;
    }

    pub(crate) async fn restart_node(&mut self, node: usize) {
        revive(&mut self.mesh.nodes[node].process).await;
    }

    /// Ends a node in good order, and starts it again.
    pub(crate) async fn reboot_node(&mut self, node: usize) {
        self.mesh.nodes[node].process.stop().await.unwrap();
        self.restart_node(node).await;
    }
}

/// Starts a process again. Its ports were free to be taken while it was down, so a collision is waited out.
pub(crate) async fn revive(process: &mut Process) {
    let since = Instant::now();
    loop {
        process.spawn().unwrap();
        match process.ready::<Value>().await {
            Ok(_) => return,
            Err(error) => {
                let taken = format!("{error:#}").contains("in use");
                assert!(taken && since.elapsed() < PATIENCE, "it does not start again: {error:#}");
            }
        }
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !condition().await {
        assert!(since.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

/// Sends a signal to a process that we started.
pub(crate) fn signal(process: &Process, signal: &str) {
    let pid = process.pid().unwrap().to_string();
    assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

/// The files in a process's folder of packs whose name ends so, by name.
pub(crate) fn packs(process: &Process, ends: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(process.dir().join("store/packs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(ends))
        .collect();
    found.sort();
    found
}

/// Makes a file shorter.
pub(crate) fn truncate(path: &Path, len: u64) {
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// Turns one bit of a file.
pub(crate) fn flip_bit(path: &Path, at: u64) {
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 4]).unwrap();
}

pub(crate) fn len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

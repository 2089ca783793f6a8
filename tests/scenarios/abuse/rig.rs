//! A mesh with a night to publish, and what tests ask of it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use difusor_coordinator::{
    authority::Authority,
    home::Home,
    publish::{Outcome, Request},
};
use difusor_local::{
    Mesh,
    https::{self, Protocol},
    mesh::NodeProcess,
};
use difusor_night::{Night, NightSpec};
use difusor_node::admin::Status;
use difusor_proto::CutKey;
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(15);

/// The program whose processes make the mesh.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_difusor-tests");

/// Everything a node serves, by path.
pub(crate) type Served = BTreeMap<String, Bytes>;

pub(crate) struct Rig {
    pub(crate) mesh: Mesh,
    pub(crate) dir: TempDir,
    night: Night,
    next: usize,
}

impl Rig {
    pub(crate) async fn start(nodes: usize) -> Self {
        let (mesh, dir) = difusor_tests::start(PROGRAM, nodes).await.unwrap();
        let night = Night::new(NightSpec { cuts: 40, ..NightSpec::tiny() }).unwrap();
        Self { mesh, dir, night, next: 0 }
    }

    pub(crate) fn home(&self) -> Home {
        Home::new(self.mesh.coordinator.dir())
    }

    pub(crate) fn authority(&self) -> Authority {
        Authority::open(&self.home()).unwrap()
    }

    /// Hands the next package of the night in, without waiting for the nodes.
    pub(crate) async fn hand_in(&mut self) -> CutKey {
        let file = self.package();
        let accepted = self.mesh.client().publish(&file, Request::default()).await.unwrap();
        assert_eq!(accepted.outcome, Outcome::Published);
        accepted.cut
    }

    /// Publishes the next package and waits until every node that runs serves it, and says so to the coordinator.
    pub(crate) async fn publish(&mut self) -> CutKey {
        let cut = self.hand_in().await;
        self.mesh.wait_served(&cut, PATIENCE).await.unwrap();
        cut
    }

    fn package(&mut self) -> PathBuf {
        let file = self.night.write_to(self.dir.path(), self.next, true).unwrap();
        self.next += 1;
        file
    }

    /// How often the coordinator refused for this reason.
    pub(crate) async fn refused(&self, reason: &str) -> u64 {
        self.mesh.client().status().await.unwrap().refused.get(reason).copied().unwrap_or(0)
    }

    /// Waits until the coordinator has counted one refusal more than `before`.
    pub(crate) async fn wait_refused(&self, reason: &str, before: u64) {
        until(&format!("the coordinator counts `{reason}`"), async || self.refused(reason).await > before).await;
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !condition().await {
        assert!(since.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        tokio::time::sleep(POLL).await;
    }
}

/// A node's own status; `None` while it does not answer.
pub(crate) async fn status(node: &NodeProcess) -> Option<Status> {
    difusor_tests::status(node.admin).await.ok()
}

/// How often a node refused for this reason.
pub(crate) async fn refused_by(node: &NodeProcess, reason: &str) -> u64 {
    let status = status(node).await.expect("the node's status answers");
    status.refused.iter().find(|(name, _)| name == reason).map_or(0, |(_, count)| *count)
}

/// Every file that a node serves, and its proofs.
pub(crate) async fn served(mesh: &Mesh, node: &NodeProcess) -> Served {
    let mut connection = mesh.open(node, Protocol::H1).await.unwrap();
    let proofs = ["cut.json", "manifest", "root"].map(|name| format!(".well-known/difusor/{name}"));
    let cut = connection.get("/.well-known/difusor/cut.json").await.unwrap();
    let cut: Value = serde_json::from_slice(&cut.body).unwrap();
    let files = cut["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap().to_owned());
    let mut all = Served::new();
    for path in files.chain(proofs) {
        let answer = connection.get(&https::encode(&path)).await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
        all.insert(path, answer.body);
    }
    all
}

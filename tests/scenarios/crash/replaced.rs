//! The coordinator's machine is lost, and another takes its place: with the keys, and an old copy of the rest. What happened
//! since then only the nodes know.

use std::{fs, path::Path, process::Command, time::Instant};

use difusor_coordinator::{publish::Request, run::Ready};
use difusor_local::{Mesh, https::Protocol};
use difusor_night::{Night, NightSpec};
use difusor_tests::{PATIENCE, publish, until, witness::Witness, write};
use http::StatusCode;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_difusor-tests");

/// What an operator has copied: everything but the keys, which stay.
const COPIED: [&str; 3] = ["state.json", "nodes.json", "store"];

fn copy(from: &Path, to: &Path, what: &str) {
    let (from, to) = (from.join(what), to.join(what));
    let _ = fs::remove_dir_all(&to);
    let done = Command::new("cp").arg("-a").arg(&from).arg(&to).status().unwrap();
    assert!(done.success(), "copying {}", from.display());
}

/// The number of the cut that a node shows, if visitors may be sent there. (From this machine everyone is let in, always.)
async fn shown(mesh: &Mesh, node: usize) -> Option<u64> {
    let mut connection = mesh.open(&mesh.nodes[node], Protocol::H2).await.ok()?;
    // The cut is the same or a newer one by the time it is asked for.
    let health = connection.get("/.well-known/difusor/health").await.ok()?;
    let cut = connection.cut().await.ok()??.0;
    (health.status == StatusCode::OK).then_some(cut)
}

struct Lost {
    mesh: Mesh,
    night: Night,
    dir: TempDir,
    copied: TempDir,
}

impl Lost {
    /// Two cuts, a copy of the coordinator, and two more cuts, which the last node sleeps through. Then the machine is gone.
    async fn night() -> Self {
        let dir = TempDir::new().unwrap();
        let mut mesh = Mesh::start(&difusor_tests::options(PROGRAM, dir.path(), 3).unwrap()).await.unwrap();
        let night = Night::new(NightSpec::tiny()).unwrap();
        for i in 0..2 {
            publish(&mesh, &write(&night, i, dir.path()).unwrap(), Request::default()).await.unwrap();
        }
        mesh.coordinator.stop().await.unwrap();
        let copied = TempDir::new().unwrap();
        COPIED.iter().for_each(|what| copy(mesh.coordinator.dir(), copied.path(), what));
        mesh.coordinator.spawn().unwrap();
        mesh.coordinator.ready::<Ready>().await.unwrap();
        mesh.wait_connected().await.unwrap();
        mesh.nodes[2].process.stop().await.unwrap();
        for i in 2..4 {
            publish(&mesh, &write(&night, i, dir.path()).unwrap(), Request::default()).await.unwrap();
        }
        mesh.coordinator.kill().await.unwrap();
        Self { mesh, night, dir, copied }
    }

    /// The next package is the one after those that nodes know of, and is served by all.
    async fn goes_on(&self, i: usize, seq: u64) {
        let package = write(&self.night, i, self.dir.path()).unwrap();
        let accepted = publish(&self.mesh, &package, Request::default()).await.unwrap();
        assert_eq!(accepted.cut.seq, seq);
        let compared = Witness::new(&self.mesh).unwrap().compare(&difusor_tests::publics(&self.mesh), &package).await;
        assert_eq!(compared.unwrap().cut, accepted.cut);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_from_an_old_copy_goes_on_where_the_nodes_are() {
    let mut lost = Lost::night().await;
    let mesh = &mut lost.mesh;
    COPIED.iter().for_each(|what| copy(lost.copied.path(), mesh.coordinator.dir(), what));
    mesh.coordinator.spawn().unwrap();
    mesh.coordinator.ready::<Ready>().await.unwrap();
    mesh.wait_connected().await.unwrap();
    until("it knows what is served", async || {
        let fleet = mesh.client().status().await?;
        Ok((fleet.current.map(|cut| cut.seq) == Some(4) && fleet.serial == 4).then_some(()))
    })
    .await
    .unwrap();
    for node in [0, 1] {
        until("they are well", async || Ok(shown(mesh, node).await.filter(|seq| *seq == 4))).await.unwrap();
    }

    // The package of that cut is lost, and nodes have it: who slept has it from them, and shows nothing older before.
    mesh.nodes[2].process.spawn().unwrap();
    let since = Instant::now();
    loop {
        match shown(mesh, 2).await {
            Some(4) => break,
            Some(older) => panic!(
                "people are sent there to see cut {older} after {:?}: {}",
                since.elapsed(),
                mesh.nodes[2].process.log_end()
            ),
            None => assert!(since.elapsed() < PATIENCE, "it has no cut: {}", mesh.nodes[2].process.log_end()),
        }
    }
    mesh.wait_connected().await.unwrap();
    // Handed in again, the lost package is in the archive, as another cut of the same bytes.
    lost.goes_on(3, 5).await;
    lost.goes_on(4, 6).await;

    // And what is in the archive can still be gone back to, from all that nodes may have shown.
    let mesh = &mut lost.mesh;
    let back = mesh.client().rollback("2").await.unwrap();
    mesh.wait_served(&back, PATIENCE).await.unwrap();
    lost.goes_on(5, 7).await;
    lost.mesh.stop().await.unwrap();
}

/// Nothing but the keys and the list of nodes: not even the archive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_with_its_keys_and_nodes_alone_leads_nobody_back() {
    let mut lost = Lost::night().await;
    let mesh = &mut lost.mesh;
    for what in ["state.json", "store"] {
        let path = mesh.coordinator.dir().join(what);
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir_all(&path);
    }
    mesh.nodes[2].process.spawn().unwrap();
    mesh.coordinator.spawn().unwrap();
    mesh.coordinator.ready::<Ready>().await.unwrap();
    mesh.wait_connected().await.unwrap();
    lost.goes_on(4, 5).await;
    lost.mesh.stop().await.unwrap();
}

//! A mesh of the version before this one, upgraded one machine at a time, the coordinator first, while packages come and
//! visitors look; and one machine taken back.
//!
//! `tests/upgrade/run` builds that version, and names it in `DIFUSOR_BEFORE_PROGRAM`; without it nothing is tried.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::{publish::Request, run::Ready};
use difusor_local::{Mesh, https::Protocol};
use difusor_night::{Night, NightSpec};
use difusor_tests::{options, publics, publish, until, witness::Witness, write};
use http::StatusCode;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_difusor-tests");
const BEFORE: &str = "DIFUSOR_BEFORE_PROGRAM";

/// From one look of a visitor to the next.
const LOOK: Duration = Duration::from_millis(20);

/// How often a visitor looked, and how often no node was there for it.
#[derive(Debug, Default)]
struct Looks {
    all: u32,
    failed: u32,
}

/// Goes to the first node that says it is well, and never sees an older cut than before.
async fn visit(witness: Arc<Witness>, nodes: Vec<SocketAddr>, first: usize, done: Arc<AtomicBool>) -> Result<Looks> {
    let (mut looks, mut newest) = (Looks::default(), 0);
    while !done.load(Relaxed) {
        let mut seen = None;
        for at in (0..nodes.len()).map(|i| nodes[(first + i) % nodes.len()]) {
            let Ok(mut connection) = witness.open(at, Protocol::H2).await else { continue };
            let Ok(health) = connection.get("/.well-known/difusor/health").await else { continue };
            if health.status == StatusCode::OK {
                seen = connection.cut().await.ok().flatten();
            }
            if seen.is_some() {
                break;
            }
        }
        looks.all += 1;
        match seen {
            Some((seq, _)) => {
                ensure!(seq >= newest, "a visitor saw cut {seq} after cut {newest}");
                newest = seq;
            }
            None => looks.failed += 1,
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(looks)
}

struct Upgrade {
    mesh: Mesh,
    night: Night,
    dir: TempDir,
    next: usize,
}

impl Upgrade {
    /// Publishes the next package; all nodes serve it.
    async fn publish(&mut self) -> Result<PathBuf> {
        let file = write(&self.night, self.next, self.dir.path())?;
        self.next += 1;
        publish(&self.mesh, &file, Request::default()).await?;
        Ok(file)
    }

    /// Leads visitors elsewhere, starts this program in the place of the one that runs, and lets them come again.
    async fn exchange(&mut self, node: usize, program: &str) -> Result<()> {
        let name = self.mesh.nodes[node].zone.as_str().parse()?;
        self.mesh.client().drain(&name, true).await?;
        let process = &mut self.mesh.nodes[node].process;
        process.stop().await?;
        process.set_program(program);
        process.spawn()?;
        process.ready::<serde_json::Value>().await?;
        self.mesh.wait_connected().await?;
        self.mesh.client().drain(&name, false).await?;
        until("it is well", async || {
            let mut connection = self.mesh.open(&self.mesh.nodes[node], Protocol::H2).await?;
            let health = connection.get("/.well-known/difusor/health").await?;
            Ok((health.status == StatusCode::OK).then_some(()))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_machine_after_another() -> Result<()> {
    let Ok(before) = std::env::var(BEFORE) else {
        println!("not run: {BEFORE} names no program; tests/upgrade/run builds one");
        return Ok(());
    };
    let dir = TempDir::new()?;
    let mut chosen = options(PROGRAM, dir.path(), 3)?;
    chosen.program = before.clone().into();
    let mesh = Mesh::start(&chosen).await.context("starting the version before")?;
    let mut upgrade = Upgrade { mesh, night: Night::new(NightSpec::tiny())?, dir, next: 0 };
    upgrade.publish().await?;
    let witness = Arc::new(Witness::new(&upgrade.mesh)?);
    let (nodes, done) = (publics(&upgrade.mesh), Arc::new(AtomicBool::new(false)));
    let visitors: Vec<_> = (0..nodes.len())
        .map(|first| tokio::spawn(visit(Arc::clone(&witness), nodes.clone(), first, Arc::clone(&done))))
        .collect();
    upgrade.publish().await?;

    upgrade.mesh.coordinator.stop().await?;
    upgrade.mesh.coordinator.set_program(PROGRAM);
    upgrade.mesh.coordinator.spawn()?;
    upgrade.mesh.coordinator.ready::<Ready>().await?;
    upgrade.mesh.wait_connected().await?;
    upgrade.publish().await.context("a new coordinator with old nodes")?;
    for node in 0..nodes.len() {
        upgrade.exchange(node, PROGRAM).await.with_context(|| format!("upgrading node {node}"))?;
        upgrade.publish().await.with_context(|| format!("with {} new nodes", node + 1))?;
    }
    // Who regrets it can go back.
    upgrade.exchange(1, &before).await.context("taking node 1 back")?;
    let last = upgrade.publish().await.context("with a node that was taken back")?;
    let compared = witness.compare(&publics(&upgrade.mesh), &last).await?;
    done.store(true, Relaxed);
    for visitor in visitors {
        let looks = visitor.await??;
        println!("{looks:?}");
        ensure!(looks.all > 20 && looks.failed == 0, "visitors found no node: {looks:?}");
    }
    println!("cut {} from all nodes, {} bytes compared", compared.cut.seq, compared.bytes);
    upgrade.mesh.stop().await
}

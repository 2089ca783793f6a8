//! A restart of the coordinator forgets nothing that it said yes to, also when no node was there to see it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::publish::{Outcome, Request};
use difusor_local::Mesh;
use difusor_night::{Night, NightSpec};
use difusor_proto::CutKey;
use difusor_tests::{PATIENCE, publics, publish, restart_coordinator, start, until, witness::Witness, write};
use tempfile::TempDir;

use crate::PROGRAM;

/// A mesh of one node that serves cut 3 of the night, with the node ended, and packages 0 to 5.
struct Away {
    mesh: Mesh,
    dir: TempDir,
    packages: Vec<PathBuf>,
    served: CutKey,
}

impl Away {
    async fn new() -> Result<Self> {
        let (mut mesh, dir) = start(PROGRAM, 1).await?;
        let night = Night::new(NightSpec::tiny())?;
        let packages: Vec<_> = (0..6).map(|i| write(&night, i, dir.path())).collect::<Result<_>>()?;
        for package in packages.iter().skip(2).take(2) {
            publish(&mesh, package, Request::default()).await?;
        }
        let served = mesh.client().status().await?.current.context("no cut is served")?;
        for node in &mut mesh.nodes {
            node.process.stop().await?;
        }
        // A node that ends in order says goodbye: from then on it is not waited for.
        until("the node is gone", async || {
            let fleet = mesh.client().status().await?;
            Ok(fleet.nodes.values().all(|node| !node.connected).then_some(()))
        })
        .await?;
        Ok(Self { mesh, dir, packages, served })
    }

    fn package(&self, i: usize) -> Result<&Path> {
        self.packages.get(i).map(PathBuf::as_path).context("no such package")
    }

    /// Takes in package `i` while no node is there.
    async fn accept(&self, i: usize, force: bool) -> Result<(Outcome, CutKey)> {
        let request = Request { force, ..Request::default() };
        let accepted = self.mesh.client().publish(self.package(i)?, request).await?;
        Ok((accepted.outcome, accepted.cut))
    }

    /// Restarts the coordinator, lets the node come back, and checks that it comes to serve package `i`.
    async fn comes_to(mut self, i: usize, cut: CutKey) -> Result<()> {
        restart_coordinator(&mut self.mesh).await?;
        for node in &mut self.mesh.nodes {
            node.process.spawn()?;
            node.process.ready::<difusor_node::run::Ready>().await?;
        }
        self.mesh.wait_connected().await?;
        self.mesh.wait_served(&cut, PATIENCE / 4).await?;
        let compared = Witness::new(&self.mesh)?.compare(&publics(&self.mesh), self.package(i)?).await?;
        ensure!(compared.cut == cut, "{compared:?}");
        self.mesh.stop().await?;
        drop(self.dir);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_is_published_though_an_older_one_was_archived_after_it() -> Result<()> {
    let away = Away::new().await?;
    let (newer, cut) = away.accept(5, false).await?;
    let (older, _) = away.accept(4, false).await?;
    ensure!((newer, older) == (Outcome::Published, Outcome::Archived), "{newer:?}, {older:?}");
    away.comes_to(5, cut).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_cut_is_published() -> Result<()> {
    let away = Away::new().await?;
    let (outcome, cut) = away.accept(1, true).await?;
    ensure!(outcome == Outcome::Published && cut.label < away.served.label, "{outcome:?} {cut:?}");
    away.comes_to(1, cut).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_is_carried_out() -> Result<()> {
    let away = Away::new().await?;
    let cut = away.mesh.client().rollback("1").await?;
    ensure!(cut.seq == 1 && cut != away.served, "{cut:?}");
    away.comes_to(2, cut).await
}

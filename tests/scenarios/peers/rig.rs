//! A mesh with a cut, and what its nodes think of each other.

use std::{fs, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::publish::Request;
use difusor_local::{Mesh, mesh::Options};
use difusor_night::{Night, NightSpec};
use difusor_node::{admin::Status, run::Ready};
use difusor_tests::{options, publish, status, until, write};
use tempfile::TempDir;

use crate::PROGRAM;

pub(crate) struct Rig {
    pub(crate) mesh: Mesh,
    pub(crate) dir: TempDir,
    pub(crate) night: Night,
    pub(crate) next: usize,
}

impl Rig {
    /// So many nodes that serve the first cut, know each other, and are fit.
    pub(crate) async fn start(nodes: usize) -> Result<Self> {
        Self::start_with_files(nodes, "", &[]).await
    }

    /// The same with lines for the configuration of each, and files beside it; each at an address of its own.
    pub(crate) async fn start_with_files(nodes: usize, node_config: &str, files: &[(&str, &str)]) -> Result<Self> {
        Self::start_with(nodes, files, |options| options.node_config = node_config.into()).await
    }

    /// The same with whatever options.
    pub(crate) async fn start_with(
        nodes: usize,
        files: &[(&str, &str)],
        change: impl FnOnce(&mut Options),
    ) -> Result<Self> {
        let dir = TempDir::new()?;
        let mut options = options(PROGRAM, dir.path(), nodes)?;
        options.own_addresses = true;
        change(&mut options);
        for zone in &options.zones {
            let folder = options.dir.join(zone.as_str());
            fs::create_dir_all(&folder)?;
            files.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text))?;
        }
        let mesh = Mesh::start(&options).await?;
        let night = Night::new(NightSpec { cuts: 8, ..NightSpec::tiny() })?;
        let mut rig = Self { mesh, dir, night, next: 0 };
        rig.publish().await?;
        rig.all_fit().await?;
        Ok(rig)
    }

    /// Publishes the next cut, and waits until every node that runs serves it.
    pub(crate) async fn publish(&mut self) -> Result<()> {
        let file = write(&self.night, self.next, self.dir.path())?;
        self.next += 1;
        publish(&self.mesh, &file, Request::default()).await.map(drop)
    }

    /// Waits until every node takes all for fit.
    pub(crate) async fn all_fit(&self) -> Result<()> {
        let all = self.mesh.nodes.len();
        for node in &self.mesh.nodes {
            until(&format!("{} takes all for fit", node.zone), async || {
                let seen = status(node.admin).await?;
                let fit = seen.peers.iter().filter(|peer| peer.unfit.is_none()).count();
                Ok((fit == all && seen.peers.len() == all && seen.health.is_fit()).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until all nodes but that one take it for unfit, for this reason; `None` is for fit.
    pub(crate) async fn others_say(&self, of: usize, why: Option<&str>) -> Result<()> {
        let name = self.mesh.nodes[of].zone.to_string();
        for (at, node) in self.mesh.nodes.iter().enumerate() {
            if at != of && node.process.pid().is_some() {
                until(&format!("{} says of {name}: {why:?}", node.zone), async || {
                    let said = said_of(&status(node.admin).await?, &name);
                    Ok((said.as_ref().map(Option::as_deref) == Some(why)).then_some(()))
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Has a node dial the coordinator there, from a new start on.
    pub(crate) async fn dial_by(&mut self, at: usize, address: SocketAddr) -> Result<()> {
        let process = &mut self.mesh.nodes[at].process;
        process.stop().await?;
        let path = process.dir().join("node.toml");
        let text = fs::read_to_string(&path)?;
        fs::write(&path, format!("coordinator = [\"{address}\"]\n{text}"))?;
        process.spawn()?;
        process.ready::<Ready>().await?;
        self.all_fit().await
    }
}

/// What one says of another: why it is unfit; `None` if it does not know it.
pub(crate) fn said_of(seen: &Status, name: &str) -> Option<Option<String>> {
    seen.peers.iter().find(|peer| peer.node.as_str() == name).map(|peer| peer.unfit.clone())
}

/// Waits until a node is in this state, for this reason.
pub(crate) async fn until_health(admin: SocketAddr, state: &str, reason: &str) -> Result<()> {
    until(&format!("it is {state} for {reason}"), async || {
        let health = status(admin).await?.health;
        let reasons: Vec<_> = health.reasons.iter().map(|reason| reason.name()).collect();
        Ok((health.state.name() == state && (reason.is_empty() || reasons.contains(&reason))).then_some(()))
    })
    .await
}

/// The status and the body of `/health` as the public has it.
pub(crate) async fn public_health(mesh: &Mesh, at: usize) -> Result<(u16, String)> {
    let mut connection = mesh.open(&mesh.nodes[at], difusor_local::https::Protocol::H2).await?;
    let (own, known) = (connection.get("/health").await?, connection.get("/.well-known/difusor/health").await?);
    ensure!(own.status == known.status && own.body == known.body, "two answers");
    let cache = own.headers.get("cache-control").context("no cache-control")?;
    ensure!(cache.to_str()?.contains("no-store"), "{cache:?}");
    Ok((own.status.as_u16(), String::from_utf8(own.body.to_vec())?))
}

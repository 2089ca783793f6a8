//! The mesh behind its links, and one night of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use difusor_link::{Link, LinkSpec};
use difusor_local::{Mesh, Options, Ports, watch};

use super::{
    Args, Deltas, links,
    record::{Cpu, Cut},
};
use crate::usage;

/// A node that has not told its round trip by then is not in touch.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is asked.
const LOOK: Duration = Duration::from_millis(50);

/// Between two cuts: reports of the last one arrive, and the disk comes to rest.
const PAUSE: Duration = Duration::from_millis(1500);

/// Publishes the packages through a fresh mesh in `dir`; the first is not counted.
pub(super) async fn cuts(args: &Args, deltas: Deltas, packages: &[PathBuf], dir: &Path) -> anyhow::Result<Vec<Cut>> {
    let specs = links(args);
    let mut options = Options::new(dir, specs.len(), Ports::Free)?;
    options.coordinator_config = format!("deltas = \"{}\"", deltas.name());
    if let Some(program) = &args.program {
        options.program = program.canonicalize()?;
    }
    let (mesh, _links) = behind(&options, &specs).await?;
    let measured = Box::pin(measure(&mesh, deltas, packages, &specs)).await;
    let stopped = mesh.stop().await;
    let cuts = measured?;
    stopped.map(|()| cuts)
}

/// Starts a mesh whose nodes dial the coordinator each through a link of its own.
async fn behind(options: &Options, specs: &[LinkSpec]) -> anyhow::Result<(Mesh, Vec<Link>)> {
    // Enrolled without links, and started again with them.
    let mesh = Mesh::start(options).await?;
    let target = mesh.mesh_address;
    let mut links = Vec::new();
    for (node, spec) in mesh.nodes.iter().zip(specs) {
        let link = Link::between(spec.clone(), target)?;
        let identity = node.process.dir().join("identity.json");
        let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&identity)?)?;
        *value.get_mut("coordinator").context("identity.json names no coordinator")? =
            vec![link.addr().to_string()].into();
        fs::write(&identity, serde_json::to_vec(&value)?)?;
        links.push(link);
    }
    mesh.stop().await?;
    let mesh = Mesh::start(options).await?;
    ensure!(mesh.mesh_address == target, "the coordinator listens elsewhere now");
    far(&mesh, specs).await?;
    Ok((mesh, links))
}

/// Waits until the coordinator knows how far away its nodes are, as it does after the first second of their lives.
async fn far(mesh: &Mesh, specs: &[LinkSpec]) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        let fleet = mesh.client().status().await?;
        let near = mesh.nodes.iter().zip(specs).find(|(node, spec)| {
            let seen = fleet.nodes.iter().find(|(name, _)| name.as_str() == node.zone.as_str());
            let rtt = seen.and_then(|(_, seen)| seen.report.as_ref()).map_or(0, |report| report.rtt_us);
            Duration::from_micros(rtt) < 2 * spec.delay
        });
        let Some((node, _)) = near else { return Ok(()) };
        if since.elapsed() > PATIENCE {
            bail!("{} does not tell its round trip; its log:\n{}", node.zone, node.process.log_end());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn measure(mesh: &Mesh, deltas: Deltas, packages: &[PathBuf], specs: &[LinkSpec]) -> anyhow::Result<Vec<Cut>> {
    let coordinator: Vec<_> = mesh.coordinator.pid().into_iter().collect();
    let nodes: Vec<_> = mesh.nodes.iter().filter_map(|node| node.process.pid()).collect();
    let me = [std::process::id()];
    let times = || [coordinator.as_slice(), &nodes, &me].map(|pids| usage::times(pids).cpu);
    let mut cuts = Vec::new();
    for (i, package) in packages.iter().enumerate() {
        let before = times();
        let published = watch::publish(mesh, package, |_, _| {}).await?;
        let mut used = times().into_iter().zip(before).map(|(after, before)| (after - before).as_secs_f64() * 1e3);
        let watch::Published::Served(report) = published else { bail!("{} was not published", package.display()) };
        let mut used = || used.next().unwrap_or(0.0);
        let cpu = Cpu { coordinator: used(), nodes: used(), links: used() };
        let cut = Cut::new(&report, specs, cpu);
        let phases = cut.phases.all().map(|ms| format!("{ms:.0}")).join(" + ");
        eprintln!(
            "{}, cut {i}: {:.0} ms ({phases}), limit {:.0}; {} kB",
            deltas.name(),
            cut.served_ms,
            cut.limit_ms,
            cut.received / 1000
        );
        if i > 0 {
            cuts.push(cut);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(cuts)
}

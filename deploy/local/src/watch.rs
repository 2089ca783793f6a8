//! Publishes packages and watches, from outside, until every node serves them.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use difusor_coordinator::{
    fleet::{CutView, Fleet},
    publish::{Accepted, Outcome, Request},
};
use difusor_proto::{CutKey, NodeId, process::unix_us};
use tokio::task::JoinSet;

use crate::{
    Mesh,
    https::{self, Protocol},
    report::{CutReport, NodeReport},
};

/// How often a node is asked which cut it serves.
const POLL: Duration = Duration::from_millis(4);

/// How often the coordinator is asked how far it is.
const STATUS: Duration = Duration::from_millis(50);

/// A cut that is not served everywhere after this long is not going to be.
const PATIENCE: Duration = Duration::from_secs(120);

/// When each node was first seen serving a cut, by root, Unix microseconds.
type Seen = Arc<Mutex<HashMap<String, u64>>>;

/// What became of a package.
#[derive(Debug)]
pub enum Published {
    /// It is served everywhere.
    Served(Box<CutReport>),
    /// It was kept and not published, or known before.
    Kept(Accepted),
}

/// Publishes a package and waits until every node serves it. `progress` is shown the fleet meanwhile.
///
/// # Errors
/// If the package is refused, or a node does not serve it in time.
pub async fn publish(
    mesh: &Mesh,
    file: &Path,
    mut progress: impl FnMut(&Fleet, Option<&CutKey>),
) -> anyhow::Result<Published> {
    let mut probes = JoinSet::new();
    let mut seen: Vec<(NodeId, Seen)> = Vec::new();
    for node in mesh.nodes.iter().filter(|node| node.process.pid().is_some()) {
        let log = Seen::default();
        seen.push((node.zone.as_str().parse()?, Arc::clone(&log)));
        let connection = mesh.open(node, Protocol::H1).await?;
        probes.spawn(probe(connection, log));
    }
    let call = mesh.client().publish(file, Request::default());
    let mut call = std::pin::pin!(call);
    let mut tick = tokio::time::interval(STATUS);
    let accepted = loop {
        tokio::select! {
            accepted = &mut call => break accepted?,
            _ = tick.tick() => {
                let fleet = mesh.client().status().await?;
                progress(&fleet, fleet.target.as_ref());
            }
        }
    };
    if accepted.outcome != Outcome::Published {
        return Ok(Published::Kept(accepted));
    }
    let cut = accepted.cut;
    let root = cut.root.to_string();
    let since = Instant::now();
    loop {
        let mut fleet = mesh.client().status().await?;
        progress(&fleet, Some(&cut));
        let served: Option<Vec<u64>> = seen.iter().map(|(_, log)| at(log, &root)).collect();
        let flipped = fleet.cut(&cut).is_some_and(|view| {
            seen.iter().all(|(node, _)| view.nodes.get(node).is_some_and(|progress| progress.flipped_us.is_some()))
        });
        if let Some(served) = served.filter(|_| flipped) {
            let view = fleet.cut(&cut).context("the coordinator forgot the cut")?;
            return Ok(Published::Served(Box::new(summary(view, &fleet_zones(mesh), &seen, &served))));
        }
        if since.elapsed() > PATIENCE {
            bail!("cut {} ({}) is not served everywhere after {} s", cut.seq, cut.label, PATIENCE.as_secs());
        }
        tokio::time::sleep(STATUS).await;
    }
}

fn fleet_zones(mesh: &Mesh) -> HashMap<String, difusor_proto::Zone> {
    mesh.nodes.iter().map(|node| (node.zone.to_string(), node.zone.clone())).collect()
}

/// Asks one node again and again, until the task is dropped.
async fn probe(mut connection: https::Connection, log: Seen) {
    let mut tick = tokio::time::interval(POLL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match connection.cut().await {
            Ok(Some((_, root))) => {
                log.lock().unwrap_or_else(PoisonError::into_inner).entry(root).or_insert_with(unix_us);
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

fn at(log: &Seen, root: &str) -> Option<u64> {
    log.lock().unwrap_or_else(PoisonError::into_inner).get(root).copied()
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a run are far below 2^53")]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

fn summary(
    view: &CutView,
    zones: &HashMap<String, difusor_proto::Zone>,
    seen: &[(NodeId, Seen)],
    served: &[u64],
) -> CutReport {
    let since = |at: u64| ms(at.saturating_sub(view.received_us));
    let nodes = seen.iter().zip(served).filter_map(|((node, _), served)| {
        let progress = view.nodes.get(node)?;
        Some(NodeReport {
            node: node.clone(),
            zone: zones.get(node.as_str())?.clone(),
            delta_bytes: progress.delta_bytes,
            received_bytes: progress.received_bytes.unwrap_or(0),
            ready_ms: progress.ready_us.map(since),
            arrived_ms: progress.arrived_us.map(since),
            staged_ms: since(progress.staged_us.unwrap_or(0)),
            flip_ms: view.flip_at_us.map(since),
            flipped_ms: since(progress.flipped_us.unwrap_or(0)),
            served_ms: since(*served),
        })
    });
    CutReport {
        seq: view.cut.seq,
        label: view.cut.label,
        package_bytes: view.package_bytes,
        plain_bytes: view.plain_bytes,
        entries: view.entries,
        ingest_ms: ms(view.ingest_us),
        durable_ms: view.durable_us.map(ms),
        served_everywhere_ms: served.iter().copied().max().map_or(0.0, since),
        skew_us: view.skew_us.unwrap_or(0),
        nodes: nodes.collect(),
    }
}

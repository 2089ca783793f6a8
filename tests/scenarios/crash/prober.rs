//! Watches a node as the public does, through every crash: whatever it answers is wholly one cut, and never an older one
//! than before.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use difusor_local::{
    Mesh,
    https::{self, Connection, Protocol},
};
use difusor_proto::Digest;
use tokio::task::JoinHandle;

use crate::truth::Truth;

/// Between two looks, and before a node that is down is tried again. A flip is watched closely, and others need the
/// processor as well.
const PAUSE: Duration = Duration::from_millis(4);

/// What was seen. Faults are what may never happen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) answers: u64,
    pub(crate) newest: u64,
    pub(crate) faults: Vec<String>,
}

pub(crate) struct Prober {
    pub(crate) seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Prober {
    /// Watches a node, by these files, which differ in every cut.
    pub(crate) fn start(mesh: &Mesh, node: usize, paths: Vec<String>, truth: Truth) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let tls = https::trusting(mesh.authority()).unwrap();
        let (address, shared) = (mesh.nodes[node].public, Arc::clone(&seen));
        let task = tokio::spawn(async move { watch(address, tls, &paths, &truth, &shared).await });
        Self { seen, task }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(address: SocketAddr, tls: rustls::ClientConfig, paths: &[String], truth: &Truth, seen: &Mutex<Seen>) {
    loop {
        match Connection::open(address, tls.clone(), Protocol::H1).await {
            Ok(mut connection) => {
                while look(&mut connection, paths, truth, seen).await.is_ok() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Every file once, over one connection.
async fn look(connection: &mut Connection, paths: &[String], truth: &Truth, seen: &Mutex<Seen>) -> anyhow::Result<()> {
    for path in paths {
        let answer = connection.get(&https::encode(path)).await?;
        let cut = answer.headers.get("difusor-cut").map(|value| value.to_str().unwrap().to_owned());
        let mut seen = seen.lock().unwrap();
        let Some((label, seq)) = cut.as_deref().and_then(|cut| cut.split_once('/')) else {
            // Before its first cut a node has nothing to show; afterwards it always has.
            if seen.newest > 0 {
                let fault = format!("{path}: no cut at all ({}) after cut {}", answer.status, seen.newest);
                seen.faults.push(fault);
            }
            continue;
        };
        let seq: u64 = seq.parse().unwrap();
        let right = truth.of(label).and_then(|files| files.get(path).copied());
        if answer.status != 200 || right != Some(Digest::of(&answer.body)) {
            seen.faults.push(format!("{path}: {} with bytes that are not of cut {label}/{seq}", answer.status));
        }
        if seq < seen.newest {
            let fault = format!("{path}: cut {seq} after cut {}", seen.newest);
            seen.faults.push(fault);
        }
        seen.newest = seq;
        seen.answers += 1;
    }
    Ok(())
}

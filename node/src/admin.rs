//! The node's own status, plain HTTP on the loopback: for the operator, the local mesh and tests.

use std::sync::{Arc, atomic::Ordering};

use axum::{Json, Router, extract::State, routing::get};
use difusor_proto::{CutKey, Mark, process};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::sync::Sync;

/// How the node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The cut that is served.
    pub serves: Option<CutKey>,
    /// The last flip that was obeyed.
    pub mark: Mark,
    /// Complete cuts on disk, newest first.
    pub holds: Vec<CutKey>,
    /// True while in touch with the coordinator.
    pub connected: bool,
    /// Requests answered since start.
    pub requests: u64,
    /// What was refused from the coordinator since start, by reason.
    pub refused: Vec<(String, u64)>,
    /// Resident memory, bytes.
    pub rss: u64,
    /// The highest it was.
    pub peak_rss: u64,
}

/// Serves until cancelled.
///
/// # Errors
/// If the listener breaks.
pub async fn serve(sync: Arc<Sync>, listener: TcpListener, cancel: CancellationToken) -> std::io::Result<()> {
    let router = Router::new().route("/status", get(status)).with_state(sync);
    axum::serve(listener, router).with_graceful_shutdown(async move { cancel.cancelled().await }).await
}

async fn status(State(sync): State<Arc<Sync>>) -> Json<Status> {
    let gate = Arc::clone(&sync.gate);
    let state = tokio::task::spawn_blocking(move || (gate.mark(), gate.held().unwrap_or_default())).await;
    let (mark, holds) = state.unwrap_or_default();
    let (rss, peak_rss) = process::resident();
    Json(Status {
        serves: sync.gate.serving.current().map(|site| site.cut()),
        mark,
        holds,
        connected: sync.connected.load(Ordering::Relaxed),
        requests: sync.gate.serving.counters.read().requests,
        refused: sync.refused.all(),
        rss,
        peak_rss,
    })
}

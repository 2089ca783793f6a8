//! The node's own status, plain HTTP on the loopback: for the operator, the local mesh, balancers and tests.
//!
//! It has a thread and a runtime of its own, so it answers while the public threads are saturated, which is when it is
//! needed.

use std::{
    net::TcpListener as Socket,
    sync::{Arc, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use difusor_proto::{CutKey, Mark, process, store::Scrubbed};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    certificate::Certificates,
    http3::Counters,
    insight::report::Report,
    kernel::Blocklist,
    observe::{self, Observatory, Snapshot},
    sync::Sync,
};

/// What the status is about.
#[derive(Clone)]
pub struct Desk {
    /// The synchronisation, which knows the rest.
    pub sync: Arc<Sync>,
    /// What is counted while serving.
    pub observatory: Arc<Observatory>,
    /// The public certificate.
    pub certificates: Arc<Certificates>,
    /// What happened over HTTP/3, if it is spoken.
    pub http3: Option<Arc<Counters>>,
    /// Offenders that the kernel drops, if it does.
    pub blocklist: Option<Arc<Blocklist>>,
    /// Cancelled once the node is about to end.
    pub draining: CancellationToken,
}

/// How the node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The cut that is served.
    pub serves: Option<CutKey>,
    /// The last flip that was obeyed.
    pub mark: Mark,
    /// Complete cuts on disk, newest first.
    pub holds: Vec<CutKey>,
    /// The cuts whose files are addressable, oldest first, the one that is served last.
    pub addressable: Vec<CutKey>,
    /// True once everything is made that is made behind the flip, and the cuts before are addressable.
    pub settled: bool,
    /// True while in touch with the coordinator.
    pub connected: bool,
    /// True once the node is about to end.
    pub draining: bool,
    /// Requests answered since start.
    pub requests: u64,
    /// What was refused from the coordinator since start, by reason.
    pub refused: Vec<(String, u64)>,
    /// The newest cut that could not be taken, and why; none once one was.
    pub cannot_take: Option<(CutKey, String)>,
    /// How the reading of the disk is going, and how full it is.
    pub scrub: Scrubbed,
    /// Files and manifests that the disk has spoiled, and that the coordinator has to be asked for.
    pub wanted: usize,
    /// Files that are not given to visitors until then, those of earlier cuts too.
    pub withheld: usize,
    /// Resident memory, bytes.
    pub rss: u64,
    /// The highest it was.
    pub peak_rss: u64,
    /// Bytes of files held in memory for serving.
    pub hot: u64,
    /// What the node makes of those who ask. It names those who send much that is refused: for the operator alone.
    pub insight: Report,
}

/// Whether the node should get visitors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ready`, `draining`, `empty` before the first cut, or `degraded` while a file of the cut is withheld: others have it.
    pub state: String,
}

/// Serves on a thread of its own until `cancel`; the receiver gets the end.
///
/// # Errors
/// If the thread cannot be started.
pub fn spawn(desk: Desk, socket: Socket, cancel: CancellationToken) -> std::io::Result<oneshot::Receiver<()>> {
    let (end, ended) = oneshot::channel();
    thread::Builder::new().name("admin".into()).spawn(move || {
        let served = (|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve(desk, socket, cancel))
        })();
        if let Err(error) = served {
            tracing::error!(%error, "the status listener has ended");
        }
        let _ = end.send(());
    })?;
    Ok(ended)
}

async fn serve(desk: Desk, socket: Socket, cancel: CancellationToken) -> std::io::Result<()> {
    let listener = TcpListener::from_std(socket)?;
    let router = Router::new()
        .route("/status", get(status))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .with_state(desk);
    axum::serve(listener, router).with_graceful_shutdown(async move { cancel.cancelled().await }).await
}

async fn status(State(desk): State<Desk>) -> Json<Status> {
    let (gate, scrub) = (Arc::clone(&desk.sync.gate), Arc::clone(&desk.sync.scrub));
    let state = tokio::task::spawn_blocking(move || (gate.mark(), gate.held().unwrap_or_default(), scrub.view())).await;
    let (mark, holds, scrub) = state.unwrap_or_default();
    let (rss, peak_rss) = process::resident();
    let site = desk.sync.gate.serving.current();
    Json(Status {
        serves: site.as_ref().map(|site| site.cut()),
        mark,
        holds,
        addressable: site.iter().flat_map(|site| site.cuts()).copied().collect(),
        settled: site.as_ref().is_some_and(|site| site.knows_past() && site.is_finished()),
        connected: desk.sync.connected.load(Ordering::Relaxed),
        draining: desk.draining.is_cancelled(),
        requests: desk.observatory.totals().requests(),
        refused: desk.sync.refused.all(),
        cannot_take: desk.sync.cannot_take.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        scrub,
        wanted: desk.sync.scrub.wanted(),
        withheld: site.as_ref().map_or(0, |site| site.withheld().len()),
        rss,
        peak_rss,
        hot: site.map_or(0, |site| site.memory()),
        insight: Report::clone(&desk.observatory.insight().report()),
    })
}

/// 200 for a node that should get visitors, 503 for one that should not.
async fn health(State(desk): State<Desk>) -> (StatusCode, Json<Health>) {
    let (code, state) = if desk.draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        match desk.sync.gate.serving.current().map(|site| site.is_whole()) {
            None => (StatusCode::SERVICE_UNAVAILABLE, "empty"),
            Some(false) => (StatusCode::SERVICE_UNAVAILABLE, "degraded"),
            Some(true) => (StatusCode::OK, "ready"),
        }
    };
    (code, Json(Health { state: state.into() }))
}

async fn metrics(State(desk): State<Desk>) -> Response {
    let scrub = Arc::clone(&desk.sync.scrub);
    let scrub = tokio::task::spawn_blocking(move || scrub.view()).await.unwrap_or_default();
    let serving = &desk.sync.gate.serving;
    let snapshot = serving.with(|shown| Snapshot {
        cut: shown.map(|shown| shown.site.cut()),
        flips: serving.flips(),
        flipped: shown.and_then(|shown| {
            let since: SystemTime = UNIX_EPOCH.checked_add(Duration::from_millis(shown.since()))?;
            Some(since)
        }),
        certificate_expires: desk.certificates.expires(),
        connected: desk.sync.connected.load(Ordering::Relaxed),
        refused: desk.sync.refused.all(),
        scrub: scrub.clone(),
        wanted: desk.sync.scrub.wanted() as u64,
        withheld: shown.map_or(0, |shown| shown.site.withheld().len() as u64),
        http3: desk.http3.iter().flat_map(|counters| counters.read()).collect(),
        kernel: desk.blocklist.as_ref().map(|list| list.view()),
    });
    let text = desk.observatory.scrape(snapshot);
    ([(header::CONTENT_TYPE, observe::CONTENT_TYPE)], text).into_response()
}

//! The node's own status, plain HTTP on the loopback: for the operator, the local mesh, balancers and tests.
//!
//! It has a thread and a runtime of its own, so it answers while the public threads are saturated, which is when it is
//! needed.

use std::{
    net::TcpListener as Socket,
    sync::{Arc, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use difusor_proto::{CutKey, Mark, NodeId, Zone, peer::Condition, process, store::Scrubbed};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    admission::rules::book::{Rulebook, RulesStatus},
    admission::{offenders::Ban, overload::Overload},
    certificate::Certificates,
    dns,
    health::{Health, Reason},
    http3::Counters,
    insight::report::Report,
    kernel::Blocklist,
    observe::{self, Observatory, Snapshot},
    sync::Sync,
};

/// Bans that are shown: more than anyone reads, and less than what would take long to be sent.
const LISTED: usize = 1000;

/// What the status is about.
#[derive(Clone)]
pub struct Desk {
    /// The synchronisation, which knows the rest.
    pub sync: Arc<Sync>,
    /// What is counted while serving.
    pub observatory: Arc<Observatory>,
    /// The public certificate.
    pub certificates: Arc<Certificates>,
    /// The operator's rules.
    pub rules: Arc<Rulebook>,
    /// What happened over HTTP/3, if it is spoken.
    pub http3: Option<Arc<Counters>>,
    /// What is given up when there is too much to do.
    pub overload: Overload,
    /// What happens in DNS, if it is answered.
    pub dns: Option<Arc<dns::serve::Counters>>,
    /// What becomes of a zone on another server, if one is kept right.
    pub zone: Option<Arc<dns::update::keeper::Tally>>,
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
    /// The operator's rules, and why their file is not used if it is not.
    pub rules: RulesStatus,
    /// Resident memory, bytes.
    pub rss: u64,
    /// The highest it was.
    pub peak_rss: u64,
    /// Bytes of files held in memory for serving.
    pub hot: u64,
    /// How it is, and why.
    pub health: Health,
    /// All nodes of the mesh, as this one sees them.
    pub peers: Vec<PeerStatus>,
    /// The middle of what the clocks of others are ahead of this one, microseconds; none with less than two of them.
    pub clock_us: Option<i64>,
    /// What the node makes of those who ask. It names those who send much that is refused: for the operator alone.
    pub insight: Report,
}

/// Another node, or this one, as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name.
    pub node: NodeId,
    /// Its zone.
    pub zone: Zone,
    /// True if it is there.
    pub alive: bool,
    /// How it says that it is; none if it was not heard of.
    pub condition: Option<Condition>,
    /// Why.
    pub reasons: Vec<Reason>,
    /// The cut that it serves; 0 before the first.
    pub seq: u64,
    /// Why nobody should be sent there; none if visitors are welcome.
    pub unfit: Option<String>,
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
        .route("/offenders", get(offenders))
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
        rules: desk.rules.status(),
        rss,
        peak_rss,
        hot: site.map_or(0, |site| site.memory()),
        health: now(&desk),
        peers: peers(&desk),
        clock_us: desk.sync.peers.view().clock.map(|(offset, _)| offset),
        insight: Report::clone(&desk.observatory.insight().report()),
    })
}

/// Who is banned now, the longest first, and what for.
async fn offenders(State(desk): State<Desk>) -> Json<Vec<Ban>> {
    let offenders = desk.sync.door.offenders();
    Json(offenders.map_or_else(Vec::new, |offenders| offenders.list(Instant::now(), LISTED)))
}

/// How the node is, with what is known at this very moment.
fn now(desk: &Desk) -> Health {
    let mut health = Health::clone(&desk.sync.board.health());
    let site = desk.sync.gate.serving.current();
    let seen = [
        (Reason::Empty, site.is_none()),
        (Reason::Ending, desk.draining.is_cancelled()),
        (Reason::Withheld, site.is_some_and(|site| !site.is_whole())),
    ];
    for (reason, _) in seen.into_iter().filter(|(_, is_so)| *is_so) {
        if !health.reasons.contains(&reason) {
            health.reasons.push(reason);
        }
        health.state = health.state.max(reason.condition());
    }
    health.reasons.sort_unstable();
    health
}

fn peers(desk: &Desk) -> Vec<PeerStatus> {
    let view = desk.sync.peers.view();
    let all = view.all(process::unix_us()).into_iter().map(|(member, unfit)| {
        let state = view.states.get(&member.node);
        PeerStatus {
            alive: view.is_alive(&member.node),
            condition: state.map(|state| state.condition),
            reasons: Reason::of_bits(state.map_or(0, |state| state.reasons)).collect(),
            seq: state.map_or(0, |state| state.seq),
            unfit: unfit.map(|unfit| unfit.name().to_owned()),
            node: member.node,
            zone: member.zone,
        }
    });
    all.collect()
}

/// 200 for a node that should get visitors, 503 for one that should not.
async fn health(State(desk): State<Desk>) -> (StatusCode, Json<Health>) {
    let health = now(&desk);
    (if health.is_fit() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(health))
}

async fn metrics(State(desk): State<Desk>) -> Response {
    let scrub = Arc::clone(&desk.sync.scrub);
    let scrub = tokio::task::spawn_blocking(move || scrub.view()).await.unwrap_or_default();
    let serving = &desk.sync.gate.serving;
    let offenders = desk.sync.door.offenders();
    let bans = offenders.into_iter().flat_map(|offenders| offenders.banned());
    let (places, taken) = desk.overload.places();
    let (health, view) = (now(&desk), desk.sync.peers.view());
    let fit = view.all(process::unix_us()).iter().filter(|(_, unfit)| unfit.is_none()).count();
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
        rules: desk.rules.status(),
        http3: desk.http3.iter().flat_map(|counters| counters.read()).collect(),
        bans: bans.map(|(offence, n)| (offence.name(), n)).collect(),
        banned: offenders.map_or(0, |offenders| offenders.list(Instant::now(), usize::MAX).len() as u64),
        places: Some((places as u64, taken as u64, desk.overload.level().into())),
        kernel: desk.blocklist.as_ref().map(|list| list.view()),
        dns: desk.dns.iter().flat_map(|counters| counters.read()).collect(),
        unlike: desk.dns.as_ref().map(|counters| counters.unlike.load(Ordering::Relaxed)),
        zone: desk.zone.as_ref().map(|tally| tally.view()),
        health: Reason::ALL.iter().map(|reason| (reason.name(), health.reasons.contains(reason))).collect(),
        peers: view.members.as_ref().map(|members| {
            let alive = members.nodes.iter().filter(|member| view.is_alive(&member.node)).count();
            [members.nodes.len() as u64, alive as u64, fit as u64]
        }),
        clock_us: view.clock.map(|(offset, _)| offset),
        relayed: Some([desk.sync.relayed.load(Ordering::Relaxed), desk.sync.relay.sent()]),
    });
    let text = desk.observatory.scrape(snapshot);
    ([(header::CONTENT_TYPE, observe::CONTENT_TYPE)], text).into_response()
}

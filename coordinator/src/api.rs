//! Console and API, over plain HTTP on the loopback. Whatever changes state needs the token and is logged.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, BodyDataStream, Bytes},
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{delete, get, post},
};
use difusor_proto::{NodeId, Zone, limits::MAX_PACKAGE_BYTES, members::Text, process, store::Store, token::Token};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, limit::RequestBodyLimitLayer, set_header::SetResponseHeaderLayer};

use crate::{
    archive::ArchiveError,
    driver::view,
    mesh::Mesh,
    publish::{self, PublishError, Publisher},
    scrub::Scrub,
};

/// How long requests under way may take once the process is told to end.
const DRAIN: Duration = Duration::from_secs(5);

/// Piece of a package that is exported. Two of them are in memory for each download.
const PIECE: usize = 256 << 10;

/// Everything the API reaches.
pub struct Api {
    /// Takes packages in.
    pub publisher: Arc<Publisher>,
    /// Reads the archive again.
    pub scrub: Arc<Scrub>,
    /// The nodes.
    pub mesh: Arc<Mesh>,
    /// The archive.
    pub store: Store,
    /// Token of state-changing calls.
    pub token: String,
    /// Where nodes dial, for tokens.
    pub mesh_public: Vec<String>,
    /// How long an invitation is good for.
    pub invitation: Duration,
}

/// An error as the API answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// Status of the answer.
    #[serde(skip)]
    pub status: u16,
    /// What happened, and what to do.
    pub error: String,
    /// The report, if a package was refused.
    pub report: Option<publish::Report>,
}

/// A cut of the archive, and what is kept of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The cut.
    #[serde(flatten)]
    pub archived: publish::Archived,
    /// Bytes that it takes on the disk; none while it is being written.
    pub at_rest: u64,
    /// True if its package is kept as it came.
    pub verbatim: bool,
}

/// Which cuts are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Which {
    /// Number or label of one; all, if it is missing.
    pub cut: Option<String>,
}

/// A new invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// For `difusor-node join`.
    pub token: String,
    /// The zone that whoever uses it will be in.
    pub zone: Zone,
}

/// Where to invite to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// The zone.
    pub zone: Zone,
}

/// What is put at a name in DNS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutText {
    /// The text.
    pub value: String,
}

/// Serves until cancelled.
///
/// # Errors
/// If the listener breaks.
pub async fn serve(api: Arc<Api>, listener: TcpListener, cancel: CancellationToken) -> std::io::Result<()> {
    let stop = cancel.clone();
    let server = axum::serve(listener, router(api)).with_graceful_shutdown(async move { stop.cancelled().await });
    tokio::select! {
        ended = async { server.await } => ended,
        () = async { cancel.cancelled().await; tokio::time::sleep(DRAIN).await } => Ok(()),
    }
}

fn router(api: Arc<Api>) -> Router {
    let changes = Router::new()
        .route("/api/v1/rollback/{cut}", post(rollback))
        .route("/api/v1/invitations", post(invite))
        .route("/api/v1/nodes/{node}/drain", post(drain_node))
        .route("/api/v1/nodes/{node}/undrain", post(undrain_node))
        .route("/api/v1/nodes/{node}", delete(remove_node))
        .route("/api/v1/texts/{name}", post(put_text).delete(take_texts))
        // None has a body worth the name.
        .layer(RequestBodyLimitLayer::new(4096))
        // A package is bounded where it is received, with a report.
        .route("/api/v1/packages", post(publish))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), authorize));
    let header = |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    Router::new()
        .route("/", get(console))
        .route("/api/v1/status", get(status))
        .route("/api/v1/history", get(history))
        .route("/api/v1/history/verify", get(verify))
        .route("/api/v1/packages/{cut}", get(export))
        .merge(changes)
        .layer(DefaultBodyLimit::disable())
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::CACHE_CONTROL, "no-store"))
        .layer(header(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'",
        ))
        .layer(CatchPanicLayer::new())
        .with_state(api)
}

async fn console() -> Html<&'static str> {
    Html(include_str!("console.html"))
}

async fn status(State(api): State<Arc<Api>>) -> Response {
    let nodes = api.mesh.registry.nodes();
    let mut fleet = view(&api.mesh.fleet).clone();
    (fleet.rss, fleet.peak_rss) = process::resident();
    fleet.scrub = tokio::task::block_in_place(|| api.scrub.view());
    for (node, member) in nodes {
        fleet.nodes.entry(node).or_insert_with(|| crate::fleet::NodeView {
            zone: member.zone,
            connected: false,
            software: None,
            public: Vec::new(),
            staged: None,
            serves: None,
            report: None,
            health: None,
            drained: member.drained,
        });
    }
    Json(fleet).into_response()
}

async fn history(State(api): State<Arc<Api>>) -> Result<Json<Vec<Listed>>, ApiError> {
    let held = api.publisher.packages().held().map_err(PublishError::from)?;
    let listed = api.publisher.archive().into_iter().map(|archived| {
        // A cut that is being written is not at rest yet.
        let at_rest = held.iter().find(|at_rest| at_rest.cut == archived.cut);
        let bytes = at_rest.map_or(0, |at_rest| at_rest.bytes);
        Listed { at_rest: bytes, verbatim: at_rest.is_none_or(|at_rest| at_rest.base.is_none()), archived }
    });
    Ok(Json(listed.collect()))
}

/// Makes every package again, or one, and compares it: a line of JSON ([`Verified`](crate::archive::Verified)) for each as soon as it is known.
async fn verify(State(api): State<Arc<Api>>, Query(which): Query<Which>) -> Result<Response, ApiError> {
    let one = which.cut.map(|cut| api.publisher.find(&cut)).transpose()?;
    let packages = Arc::clone(api.publisher.packages());
    let mut held = packages.held().map_err(PublishError::from)?;
    held.retain(|at_rest| one.is_none_or(|one| at_rest.cut == one));
    let (lines, stream) = mpsc::channel::<std::io::Result<Bytes>>(2);
    tokio::task::spawn_blocking(move || {
        for at_rest in &held {
            let verified = packages.verify(at_rest);
            if let Some(problem) = &verified.problem {
                tracing::error!(seq = verified.cut.seq, problem, "a package of the archive");
            }
            let line = serde_json::to_string(&verified).map_err(std::io::Error::other);
            if lines.blocking_send(line.map(|line| format!("{line}\n").into())).is_err() {
                break;
            }
        }
        packages.rest();
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((headers, Body::from_stream(ReceiverStream::new(stream))).into_response())
}

async fn publish(
    State(api): State<Arc<Api>>,
    Query(request): Query<publish::Request>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<publish::Accepted>, ApiError> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = length.filter(|length| *length > MAX_PACKAGE_BYTES) {
        let refused = api.publisher.too_large(&request, length);
        drain(&mut body.into_data_stream()).await;
        return Err(refused.into());
    }
    let mut body = body.into_data_stream();
    let room = tokio::task::block_in_place(|| api.store.space()).map_or(u64::MAX, |space| space.free);
    if length.is_some_and(|length| length.saturating_add(length / 16) > room) {
        tracing::error!(name = %request.name, ?length, room, "no room for a package");
        drain(&mut body).await;
        return Err(no_room(&format!("the package has {} bytes", length.unwrap_or(0))));
    }
    tracing::info!(name = %request.name, reissue = request.reissue, force = request.force, "a package comes in");
    match api.publisher.publish(request, &mut body).await {
        Ok(accepted) => Ok(Json(accepted)),
        Err(error) => {
            drain(&mut body).await;
            Err(error.into())
        }
    }
}

/// Whoever is still writing would see a reset instead of the answer.
async fn drain(body: &mut BodyDataStream) {
    let _ = tokio::time::timeout(DRAIN, body.for_each(|_| async {})).await;
}

/// What to do about a full disk. Nothing of the package is kept, and what is served stays.
fn no_room(what: &str) -> ApiError {
    let error = format!(
        "the disk of the coordinator is full ({what}): nothing was taken in, and the nodes serve on. Make room, look at \
         refused/ and store/aside/ first, and publish the package again; no restart is needed"
    );
    ApiError { status: 507, error, report: None }
}

async fn rollback(State(api): State<Arc<Api>>, Path(cut): Path<String>) -> Result<Response, ApiError> {
    let cut = api.publisher.rollback(&cut).await?;
    tracing::warn!(seq = cut.seq, label = %cut.label, "rollback ordered");
    Ok(Json(cut).into_response())
}

async fn invite(State(api): State<Arc<Api>>, Query(invite): Query<Invite>) -> Result<Json<Invitation>, ApiError> {
    let secret: [u8; 16] = rand::random();
    let Invite { zone } = invite;
    let now_ms = process::unix_us() / 1000;
    let kept = tokio::task::block_in_place(|| api.mesh.registry.invite(&secret, zone.clone(), now_ms, api.invitation));
    kept.map_err(|error| ApiError {
        status: 500,
        error: format!("the invitation could not be kept: {error}"),
        report: None,
    })?;
    tracing::info!(%zone, "invitation made");
    let token =
        Token { addresses: api.mesh_public.clone(), authority: api.mesh.authority.fingerprint(), secret }.to_string();
    Ok(Json(Invitation { token, zone }))
}

async fn drain_node(State(api): State<Arc<Api>>, Path(node): Path<String>) -> Result<Json<NodeId>, ApiError> {
    drained(&api, &node, true)
}

async fn undrain_node(State(api): State<Arc<Api>>, Path(node): Path<String>) -> Result<Json<NodeId>, ApiError> {
    drained(&api, &node, false)
}

#[allow(clippy::result_large_err, reason = "as all that the API answers")]
fn drained(api: &Api, node: &str, drained: bool) -> Result<Json<NodeId>, ApiError> {
    let node = named(node)?;
    let changed = tokio::task::block_in_place(|| api.mesh.registry.drain(&node, drained)).map_err(unkept)?;
    let changed = changed.ok_or_else(|| no_node(&node))?;
    tracing::warn!(%node, drained, changed, "ordered by the operator");
    api.mesh.tell_members();
    Ok(Json(node))
}

async fn remove_node(State(api): State<Arc<Api>>, Path(node): Path<String>) -> Result<Json<NodeId>, ApiError> {
    let node = named(&node)?;
    if !tokio::task::block_in_place(|| api.mesh.registry.remove(&node)).map_err(unkept)? {
        return Err(no_node(&node));
    }
    tracing::warn!(%node, "removed: its certificate counts for nothing from now on");
    api.mesh.tell_members();
    Ok(Json(node))
}

async fn put_text(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(put): Query<PutText>,
) -> Result<Json<Text>, ApiError> {
    let text = Text { name: name.trim_end_matches('.').to_ascii_lowercase(), value: put.value };
    text.check().map_err(|error| ApiError { status: 400, error: error.to_string(), report: None })?;
    if !tokio::task::block_in_place(|| api.mesh.registry.put_text(text.clone())).map_err(unkept)? {
        let error =
            "it is there already, or there are as many texts as there can be: clear some names first".to_owned();
        return Err(ApiError { status: 409, error, report: None });
    }
    tracing::info!(name = text.name, "a text for DNS");
    api.mesh.tell_members();
    Ok(Json(text))
}

async fn take_texts(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<Json<usize>, ApiError> {
    let name = name.trim_end_matches('.');
    let taken = tokio::task::block_in_place(|| api.mesh.registry.take_texts(name)).map_err(unkept)?;
    api.mesh.tell_members();
    Ok(Json(taken))
}

#[allow(clippy::result_large_err, reason = "as all that the API answers")]
fn named(node: &str) -> Result<NodeId, ApiError> {
    node.parse().map_err(|error| ApiError { status: 400, error: format!("`{node}`: {error}"), report: None })
}

fn no_node(node: &NodeId) -> ApiError {
    let error = format!("there is no node called {node}: see `difusor-coordinator status`");
    ApiError { status: 404, error, report: None }
}

fn unkept(error: std::io::Error) -> ApiError {
    ApiError { status: 500, error: format!("the list of nodes could not be written: {error}"), report: None }
}

async fn export(State(api): State<Arc<Api>>, Path(cut): Path<String>) -> Result<Response, ApiError> {
    let key = api.publisher.find(&cut)?;
    let packages = Arc::clone(api.publisher.packages());
    // Read, or made again, and compared before the first byte goes out: what the disk has spoiled must not leave as if it
    // were whole.
    let found = tokio::task::spawn_blocking(move || packages.package(&key)).await;
    let package = found.map_err(|error| PublishError::Internal(error.to_string()))?.map_err(PublishError::from)?;
    let (pieces, stream) = mpsc::channel(2);
    let length = package.len();
    tokio::task::spawn_blocking(move || {
        let mut at = 0;
        while at < length {
            let size = PIECE.min(usize::try_from(length - at).unwrap_or(PIECE));
            let piece = package.piece(at, size);
            let failed = piece.is_err();
            if pieces.blocking_send(piece).is_err() || failed {
                return;
            }
            at += size as u64;
        }
    });
    let name = format!("attachment; filename=\"{}.zip\"", key.label);
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(stream).boxed())).into_response())
}

/// Lets a request pass that carries the token. The comparison takes the same time wherever they differ.
async fn authorize(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if aws_lc_rs::constant_time::verify_slices_are_equal(given.as_bytes(), api.token.as_bytes()).is_ok() {
        return next.run(request).await;
    }
    view(&api.mesh.fleet).refuse("api-token");
    let error = "this call needs the token in keys/api.token, as `Authorization: Bearer TOKEN`".to_owned();
    ApiError { status: 401, error, report: None }.into_response()
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        let text = error.to_string();
        if error.is_full() {
            return no_room(&text);
        }
        let (status, report) = match error {
            PublishError::Refused(report) => (422, Some(*report)),
            PublishError::Unknown(_) => (404, None),
            PublishError::Upload(_) => (400, None),
            PublishError::Archive(ArchiveError::Unknown(_)) => (404, None),
            PublishError::Store(_) | PublishError::Delta(_) | PublishError::Archive(_) | PublishError::Internal(_) => {
                (500, None)
            }
        };
        Self { status, error: text, report }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self)).into_response()
    }
}

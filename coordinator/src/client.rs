//! The other side of the API: what the command line, the local mesh and tests call.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use difusor_proto::{CutKey, NodeId, Sha256, Zone, members::Text};
use futures_util::TryStreamExt as _;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Empty, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_util::io::ReaderStream;

use crate::{
    api::{ApiError, Invitation, Invite, Listed, PutText, Which},
    archive::Verified,
    fleet::Fleet,
    publish::{self, Accepted},
};

/// Piece of a file on its way up.
const PIECE: usize = 256 << 10;

type Body = BoxBody<Bytes, std::io::Error>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers.
    #[error(
        "no coordinator answers at http://{address}: start it with `difusor-coordinator run`, or name its --config"
    )]
    Unreachable {
        /// Where it was looked for.
        address: SocketAddr,
    },
    /// It answered with an error.
    #[error("{}", .0.error)]
    Api(Box<ApiError>),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// A coordinator's API.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    token: Option<String>,
}

impl Client {
    /// A client; calls that change state need the token.
    pub fn new(address: SocketAddr, token: Option<String>) -> Self {
        Self { address, token }
    }

    /// Everything about nodes and the last cuts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Fleet, ClientError> {
        self.json(Method::GET, "/api/v1/status".into(), empty()).await
    }

    /// Every cut, oldest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn history(&self) -> Result<Vec<Listed>, ClientError> {
        self.json(Method::GET, "/api/v1/history".into(), empty()).await
    }

    /// Has every package made again and compared, or one, and shows what came of each as soon as it is known.
    ///
    /// # Errors
    /// [`ClientError`]; also if the coordinator breaks off before the last.
    pub async fn verify(&self, cut: Option<&str>, mut show: impl FnMut(Verified)) -> Result<(), ClientError> {
        let target = with_query("/api/v1/history/verify", &Which { cut: cut.map(str::to_owned) })?;
        let answer = self.send(Method::GET, target, empty(), None).await?;
        if !answer.status().is_success() {
            return Err(error_of(answer).await);
        }
        let (mut body, mut rest) = (answer.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.context("the coordinator broke off")?.into_data() else { continue };
            rest.extend_from_slice(&piece);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                show(serde_json::from_slice(&line).context("an answer of another version of the coordinator")?);
            }
        }
        Ok(())
    }

    /// Makes an invitation.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn invite(&self, zone: &Zone) -> Result<Invitation, ClientError> {
        let target = with_query("/api/v1/invitations", &Invite { zone: zone.clone() })?;
        self.json(Method::POST, target, empty()).await
    }

    /// Has visitors go elsewhere, or come again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn drain(&self, node: &NodeId, drained: bool) -> Result<(), ClientError> {
        let what = if drained { "drain" } else { "undrain" };
        let target = format!("/api/v1/nodes/{node}/{what}");
        self.json::<NodeId>(Method::POST, target, empty()).await.map(drop)
    }

    /// Takes a node out of the mesh, for good.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove(&self, node: &NodeId) -> Result<(), ClientError> {
        self.json::<NodeId>(Method::DELETE, format!("/api/v1/nodes/{node}"), empty()).await.map(drop)
    }

    /// Has the nodes answer a text at a name in DNS, such as the challenge of an ACME authority.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_text(&self, name: &str, value: &str) -> Result<(), ClientError> {
        let target = format!("/api/v1/texts/{}", urlencoding::encode(name));
        let target = with_query(&target, &PutText { value: value.to_owned() })?;
        self.json::<Text>(Method::POST, target, empty()).await.map(drop)
    }

    /// Takes all texts away from a name. Gives how many.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn take_texts(&self, name: &str) -> Result<usize, ClientError> {
        self.json(Method::DELETE, format!("/api/v1/texts/{}", urlencoding::encode(name)), empty()).await
    }

    /// Orders a rollback.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rollback(&self, cut: &str) -> Result<CutKey, ClientError> {
        self.json(Method::POST, format!("/api/v1/rollback/{}", urlencoding::encode(cut)), empty()).await
    }

    /// Sends a package. The side-car `FILE.sha256` is read if it is there.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn publish(&self, file: &Path, mut request: publish::Request) -> Result<Accepted, ClientError> {
        if request.name.is_empty() {
            request.name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        }
        request.sha256 = sidecar(file)?;
        let open = tokio::fs::File::open(file).await.with_context(|| format!("opening {}", file.display()))?;
        let length = open.metadata().await.context("reading its size")?.len();
        let stream = ReaderStream::with_capacity(open, PIECE).map_ok(Frame::data);
        let target = with_query("/api/v1/packages", &request)?;
        let answer = self.send(Method::POST, target, StreamBody::new(stream).boxed(), Some(length)).await?;
        parse(answer).await
    }

    /// Fetches a package into `to`. Returns its bytes.
    ///
    /// # Errors
    /// [`ClientError`]; a part of a file is never left behind under that name.
    pub async fn export(&self, cut: &str, to: &Path) -> Result<u64, ClientError> {
        let target = format!("/api/v1/packages/{}", urlencoding::encode(cut));
        let answer = self.send(Method::GET, target, empty(), None).await?;
        if !answer.status().is_success() {
            return Err(error_of(answer).await);
        }
        let tmp = to.with_added_extension("part");
        let mut file = tokio::fs::File::create(&tmp).await.with_context(|| format!("creating {}", tmp.display()))?;
        let mut body = answer.into_body();
        let mut count = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the package broke off")?;
            if let Ok(piece) = frame.into_data() {
                file.write_all(&piece).await.context("writing the package")?;
                count += piece.len() as u64;
            }
        }
        file.sync_all().await.context("writing the package")?;
        tokio::fs::rename(&tmp, to).await.with_context(|| format!("naming {}", to.display()))?;
        Ok(count)
    }

    async fn json<T: DeserializeOwned>(&self, method: Method, target: String, body: Body) -> Result<T, ClientError> {
        parse(self.send(method, target, body, None).await?).await
    }

    async fn send(
        &self,
        method: Method,
        target: String,
        body: Body,
        length: Option<u64>,
    ) -> Result<http::Response<Incoming>, ClientError> {
        let unreachable = |_| ClientError::Unreachable { address: self.address };
        let connect = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(self.address));
        let stream =
            connect.await.map_err(|_| ClientError::Unreachable { address: self.address })?.map_err(unreachable)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("speaking HTTP")?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, self.address.to_string());
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(length) = length {
            request = request.header(header::CONTENT_LENGTH, length);
        }
        let request = request.body(body).context("making the request")?;
        Ok(sender.send_request(request).await.context("the coordinator broke off")?)
    }
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

async fn parse<T: DeserializeOwned>(answer: http::Response<Incoming>) -> Result<T, ClientError> {
    if !answer.status().is_success() {
        return Err(error_of(answer).await);
    }
    let bytes = answer.into_body().collect().await.context("reading the answer")?.to_bytes();
    Ok(serde_json::from_slice(&bytes).context("an answer of another version of the coordinator")?)
}

async fn error_of(answer: http::Response<Incoming>) -> ClientError {
    let status = answer.status();
    let bytes = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    match serde_json::from_slice::<ApiError>(&bytes) {
        Ok(error) => ClientError::Api(Box::new(ApiError { status: status.as_u16(), ..error })),
        Err(_) => anyhow!("the coordinator answered {status}: {}", String::from_utf8_lossy(&bytes)).into(),
    }
}

/// `path?key=value…` of the fields that are set.
fn with_query(path: &str, fields: &impl Serialize) -> Result<String, ClientError> {
    let fields = serde_json::to_value(fields).context("making the request")?;
    let pairs = fields.as_object().into_iter().flatten().filter_map(|(key, value)| match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(format!("{key}={}", urlencoding::encode(text))),
        other => Some(format!("{key}={other}")),
    });
    Ok(format!("{path}?{}", pairs.collect::<Vec<_>>().join("&")))
}

/// The digest in `FILE.sha256`, as `sha256sum` writes it; `None` without such a file.
fn sidecar(file: &Path) -> Result<Option<Sha256>, ClientError> {
    let path = file.with_added_extension("sha256");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(anyhow!("reading {}: {error}", path.display()).into()),
    };
    let digest = text.split_whitespace().next().unwrap_or_default().parse();
    Ok(Some(digest.map_err(|_| anyhow!("{} does not start with a SHA-256: fetch it again", path.display()))?))
}

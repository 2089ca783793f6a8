//! What every scenario starts from: a mesh of real processes in a folder of its own, on free ports.
//!
//! [`package`] reads packages with a library that the product does not use for it; [`witness`] compares what nodes serve
//! with a package, byte for byte; [`command`] runs command lines to their end; [`newcomer`] is a node that joins late.

pub mod command;
pub mod newcomer;
pub mod package;
pub mod witness;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use difusor_coordinator::{
    client::ClientError,
    publish::{Accepted, Outcome, Report, Request},
};
use difusor_local::{Mesh, Options, Ports};
use difusor_night::Night;
use tempfile::TempDir;

/// A condition that does not come true within this is not going to.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Options of a mesh of `nodes` nodes in `dir`. `program` is `env!("CARGO_BIN_EXE_difusor-tests")`.
///
/// # Errors
/// If a zone cannot be named.
pub fn options(program: &str, dir: &Path, nodes: usize) -> Result<Options> {
    let mut options = Options::new(dir.join("mesh"), nodes, Ports::Free)?;
    options.program = program.into();
    Ok(options)
}

/// Starts a mesh of `nodes` nodes in a new folder, which goes when the second value is dropped.
///
/// # Errors
/// If a process does not start; with the end of its log.
pub async fn start(program: &str, nodes: usize) -> Result<(Mesh, TempDir)> {
    start_with(program, nodes, "").await
}

/// The same with lines for the coordinator's configuration, such as `flip_deadline = "1 s"`.
///
/// # Errors
/// If a process does not start; with the end of its log.
pub async fn start_with(program: &str, nodes: usize, coordinator_config: &str) -> Result<(Mesh, TempDir)> {
    let dir = TempDir::new()?;
    let mut options = options(program, dir.path(), nodes)?;
    options.coordinator_config = coordinator_config.into();
    let mesh = Mesh::start(&options).await?;
    Ok((mesh, dir))
}

/// Where the nodes that run serve the public.
pub fn publics(mesh: &Mesh) -> Vec<SocketAddr> {
    mesh.nodes.iter().filter(|node| node.process.pid().is_some()).map(|node| node.public).collect()
}

/// Writes package `i` of a night into `dir`, with its side-car.
///
/// # Errors
/// What the disk gives.
pub fn write(night: &Night, i: usize, dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    Ok(night.write_to(dir, i, true)?)
}

/// Publishes a package; if it is to be served, returns when every node that runs serves it.
///
/// # Errors
/// If it is refused, or not served in time.
pub async fn publish(mesh: &Mesh, file: &Path, request: Request) -> Result<Accepted> {
    let accepted = mesh.client().publish(file, request).await?;
    if accepted.outcome == Outcome::Published {
        mesh.wait_served(&accepted.cut, PATIENCE).await?;
    }
    Ok(accepted)
}

/// Publishes a package that has to be refused, and returns the status of the answer and the report.
///
/// # Errors
/// If it was accepted, or there is no report.
pub async fn refused(mesh: &Mesh, file: &Path, request: Request) -> Result<(u16, Report)> {
    match mesh.client().publish(file, request).await {
        Ok(accepted) => bail!("{} was accepted: {accepted:?}", file.display()),
        Err(ClientError::Api(error)) => {
            let report = error.report.with_context(|| format!("{} without a report: {}", error.status, error.error))?;
            Ok((error.status, report))
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends the coordinator in order, and starts it again.
///
/// # Errors
/// If it fails at either.
pub async fn restart_coordinator(mesh: &mut Mesh) -> Result<()> {
    mesh.coordinator.stop().await?;
    mesh.coordinator.spawn()?;
    mesh.coordinator.ready::<difusor_coordinator::run::Ready>().await?;
    Ok(())
}

/// Waits until `condition` gives a value.
///
/// # Errors
/// With `what` once [`PATIENCE`] is over, and what the condition fails with.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let since = Instant::now();
    loop {
        if let Some(value) = condition().await? {
            return Ok(value);
        }
        if since.elapsed() > PATIENCE {
            bail!("{what}: not within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A node's own status. It is plain HTTP, for which one request by hand is enough.
///
/// # Errors
/// If the node does not answer.
pub async fn status(admin: SocketAddr) -> Result<difusor_node::admin::Status> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(admin).await?;
    stream.write_all(b"GET /status HTTP/1.0\r\nhost: node\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok(serde_json::from_str(body)?)
}

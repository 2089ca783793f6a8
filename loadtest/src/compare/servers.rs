//! The servers of a comparison as processes: started, asked for their numbers, started anew, ended.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use difusor_coordinator::publish::Request;
use difusor_local::{Mesh, Options, Ports, ports};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use super::files::Files;
use super::identity::Identity;
use super::peers::{Kind, Make, Setup};
use super::{cores, instructions};
use crate::usage;

/// A server that does not listen after this long has a problem; its log says which.
const START: Duration = Duration::from_secs(30);

/// A server that has not ended after this long is killed.
const STOP: Duration = Duration::from_secs(10);

/// Files that a server may open besides its connections.
const SPARE: u64 = 256;

const LOOK: Duration = Duration::from_millis(10);

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Name {
    Difusor,
    Nginx,
    H2o,
    Caddy,
}

impl Name {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Difusor => "difusor",
            Self::Nginx => "nginx",
            Self::H2o => "h2o",
            Self::Caddy => "caddy",
        }
    }

    fn kind(self) -> Option<Kind> {
        match self {
            Self::Difusor => None,
            Self::Nginx => Some(Kind::Nginx),
            Self::H2o => Some(Kind::H2o),
            Self::Caddy => Some(Kind::Caddy),
        }
    }

    /// Whether its program is on this machine.
    pub(crate) fn is_present(self) -> bool {
        self.kind().is_none_or(|kind| cores::find(kind.program()).is_some())
    }
}

/// What all servers have in common.
pub(crate) struct Common<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) files: &'a Files,
    pub(crate) identity: &'a Identity,
    /// Core to run on.
    pub(crate) core: usize,
    /// Connections that each must be able to hold.
    pub(crate) connections: u64,
    /// Binary that is coordinator and node.
    pub(crate) program: &'a Path,
    /// Where the counts of a node's instructions go, if they are counted.
    pub(crate) counted: Option<&'a Path>,
    /// Lines for the node's configuration.
    pub(crate) node_config: &'a str,
    /// Another configuration for a peer.
    pub(crate) peer_config: Option<Make>,
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) name: Name,
    pub(crate) version: String,
    pub(crate) address: SocketAddr,
    process: Process,
}

enum Process {
    Node(Box<Mesh>),
    Peer(Box<Peer>),
}

impl Server {
    /// Starts it; it serves the files when this returns.
    pub(crate) async fn start(name: Name, common: &Common<'_>) -> anyhow::Result<Self> {
        let dir = common.dir.join(name.text());
        fs::create_dir(&dir)?;
        let Some(kind) = name.kind() else { return node(&dir, common).await };
        let address = SocketAddr::from(([127, 0, 0, 1], ports::reserve()?));
        let setup = Setup {
            dir: &dir,
            root: &common.files.root,
            identity: common.identity,
            address,
            connections: common.connections,
            config: common.peer_config,
            as_root: fs::read_to_string("/proc/self/status")?.contains("Uid:\t0\t"),
        };
        let program = cores::find(kind.program()).with_context(|| format!("no `{}`", kind.program()))?;
        let args = kind.configure(&setup)?;
        let prefix = cores::prefix(common.core, common.connections + SPARE);
        let mut peer = Peer { kind, program, args, dir, address, prefix, child: None };
        let version = peer.version()?;
        peer.start().await?;
        Ok(Self { name, version, address, process: Process::Peer(Box::new(peer)) })
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let root = match &self.process {
            Process::Node(mesh) => mesh.nodes.first().and_then(|node| node.process.pid()),
            Process::Peer(peer) => peer.child.as_ref().and_then(Child::id),
        };
        root.map(usage::family).unwrap_or_default()
    }

    /// Where a node tells its own status.
    pub(crate) fn admin(&self) -> Option<SocketAddr> {
        match &self.process {
            Process::Node(mesh) => mesh.nodes.first().map(|node| node.admin),
            Process::Peer(_) => None,
        }
    }

    /// Ends it and starts it anew, at the same address.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        match &mut self.process {
            Process::Node(mesh) => {
                let node = mesh.nodes.first_mut().context("a mesh without a node")?;
                node.process.stop().await?;
                node.process.spawn()?;
                node.process.ready::<serde_json::Value>().await?;
                listening(self.address).await
            }
            Process::Peer(peer) => {
                peer.stop().await?;
                peer.start().await
            }
        }
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        match self.process {
            Process::Node(mesh) => mesh.stop().await,
            Process::Peer(mut peer) => peer.stop().await,
        }
    }

    /// The end of what it wrote.
    pub(crate) fn log_end(&self) -> String {
        match &self.process {
            Process::Node(mesh) => mesh.nodes.first().map(|node| node.process.log_end()).unwrap_or_default(),
            Process::Peer(peer) => peer.log_end(),
        }
    }
}

/// A coordinator and a node of a mesh of their own; only the node is kept to the core of the servers.
async fn node(dir: &Path, common: &Common<'_>) -> anyhow::Result<Server> {
    let script = dir.join("program");
    let before = common.counted.map(instructions::prefix).unwrap_or_default();
    let text = cores::script(common.program, "node", common.core, common.connections + SPARE, &before);
    // Written by a child: a file that this process, or a fork of it, has open for writing cannot be executed.
    fs::write(dir.join("text"), text)?;
    let made = Command::new("install").args(["-m", "755"]).arg(dir.join("text")).arg(&script).status()?;
    ensure!(made.success(), "cannot write {}", script.display());
    let mut options = Options::new(dir.join("mesh"), 1, Ports::Free)?;
    options.program = script;
    options.node_config = format!(
        "certificate = {:?}\nkey = {:?}\n{}",
        common.identity.certificate.display().to_string(),
        common.identity.key.display().to_string(),
        common.node_config
    );
    let mesh = Mesh::start(&options).await?;
    let accepted = mesh.client().publish(&common.files.package, Request::default()).await?;
    let node = mesh.nodes.first().context("a mesh without a node")?;
    let since = Instant::now();
    loop {
        let mut fleet = mesh.client().status().await?;
        let view = fleet.cut(&accepted.cut);
        if view.is_some_and(|view| view.nodes.values().any(|progress| progress.flipped_us.is_some())) {
            break;
        }
        ensure!(since.elapsed() < START, "the node does not serve the package; its log:\n{}", node.process.log_end());
        sleep(LOOK).await;
    }
    let version = format!("{} of {}", common.program.display(), modified(common.program)?);
    let address = node.public;
    Ok(Server { name: Name::Difusor, version, address, process: Process::Node(Box::new(mesh)) })
}

/// When a file was last written.
fn modified(path: &Path) -> anyhow::Result<String> {
    let time = jiff::Timestamp::try_from(fs::metadata(path)?.modified()?)?;
    Ok(time.strftime("%F %T").to_string())
}

/// A server of someone else.
struct Peer {
    kind: Kind,
    program: PathBuf,
    args: Vec<String>,
    dir: PathBuf,
    address: SocketAddr,
    prefix: Vec<String>,
    child: Option<Child>,
}

impl Peer {
    fn version(&self) -> anyhow::Result<String> {
        let output = Command::new(&self.program).arg(self.kind.version_flag()).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned())
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        let output = File::options().create(true).append(true).open(self.log())?;
        // Not killed when dropped: it would leave its children behind. It is told of our end, however that happens.
        let mut words = self.prefix.iter();
        let mut command = tokio::process::Command::new(words.next().context("no command")?);
        command.args(words).arg(&self.program).args(&self.args).envs(self.kind.environment(&self.dir));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut child = command.spawn().with_context(|| format!("starting {}", self.program.display()))?;
        let up = tokio::select! {
            up = listening(self.address) => up,
            ended = child.wait() => Err(anyhow::anyhow!("it ended: {}", ended?)),
        };
        self.child = Some(child);
        up.with_context(|| format!("{} did not start; its log:\n{}", self.kind.program(), self.log_end()))
    }

    /// Asks it to end, and waits for it and its children.
    async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let family = child.id().map(usage::family).unwrap_or_default();
        let signal = |name: &str, pids: &[u32]| {
            let pids = pids.iter().map(u32::to_string);
            // Those that are gone already make it fail.
            let _ = Command::new("kill").arg(name).args(pids).stderr(Stdio::null()).status();
        };
        signal("-TERM", child.id().as_slice());
        if timeout(STOP, child.wait()).await.is_err() {
            signal("-KILL", &family);
            child.wait().await?;
            bail!("{} did not end in {} s and was killed", self.kind.program(), STOP.as_secs());
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.dir.join("output.log")
    }

    fn log_end(&self) -> String {
        let text = [self.log(), self.dir.join("error.log")].map(|log| fs::read_to_string(log).unwrap_or_default());
        let text = text.concat();
        let lines: Vec<_> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(12)).map(|line| format!("  {line}\n")).collect()
    }
}

async fn listening(address: SocketAddr) -> anyhow::Result<()> {
    let since = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        ensure!(since.elapsed() < START, "nobody listens on {address}");
        sleep(LOOK).await;
    }
    Ok(())
}

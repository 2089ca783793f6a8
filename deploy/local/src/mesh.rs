//! The processes of a local mesh: started, killed and restarted one by one.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use difusor_coordinator::client::Client;
use difusor_proto::{CutKey, Zone};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde::de::DeserializeOwned;
use tokio::process::{Child, ChildStdin, Command};

use crate::{https, multicall::EXIT_WITH_PARENT, ports};

/// A process that is not ready after this long has a problem; its log says which.
const START: Duration = Duration::from_secs(30);

/// A process that has not drained after this long is killed.
const STOP: Duration = Duration::from_secs(20);

/// Documented ports of the local mesh.
const MESH_PORT: u16 = 8440;
const API_PORT: u16 = 8400;

/// Which ports to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// 8441, 8442… for the sites, 8400 for console and API.
    Documented,
    /// Any that are free.
    Free,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of all processes; a mesh that lies there already is started again.
    pub dir: PathBuf,
    /// One node in each, of the same name.
    pub zones: Vec<Zone>,
    /// All of them in this zone instead.
    pub one_zone: Option<Zone>,
    /// Which ports.
    pub ports: Ports,
    /// A binary that calls [`crate::multicall::dispatch`] first.
    pub program: PathBuf,
    /// Lines added to the configuration of the coordinator, such as `flip_deadline = "5 s"`.
    pub coordinator_config: String,
    /// Lines added to the configuration of every node.
    pub node_config: String,
    /// True if each node serves at a loopback address of its own, 127.0.0.10 and on, as machines do.
    pub own_addresses: bool,
}

impl Options {
    /// `nodes` nodes in `dir`, run by the program that calls this.
    ///
    /// # Errors
    /// If the program does not know where it is.
    pub fn new(dir: impl Into<PathBuf>, nodes: usize, ports: Ports) -> anyhow::Result<Self> {
        const NAMES: [&str; 3] = ["mx-central", "us-east", "eu-west"];
        let name = |i: usize| NAMES.get(i).map_or_else(|| format!("zone-{}", i + 1), |name| (*name).to_owned());
        Ok(Self {
            dir: dir.into(),
            zones: (0..nodes).map(|i| name(i).parse()).collect::<Result<_, _>>()?,
            one_zone: None,
            ports,
            program: std::env::current_exe()?,
            coordinator_config: String::new(),
            node_config: String::new(),
            own_addresses: false,
        })
    }
}

/// One process of the mesh, running or not.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    /// `coordinator` or `node`.
    kind: &'static str,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    /// Its standard input. While we hold it, the process knows that we live; waiting for a child closes the one it has.
    lifeline: Option<ChildStdin>,
}

/// A node of the mesh.
#[derive(Debug)]
pub struct NodeProcess {
    /// Its name, which is its zone's.
    pub zone: Zone,
    /// Its process.
    pub process: Process,
    /// Where the public is served.
    pub public: SocketAddr,
    /// Its own status.
    pub admin: SocketAddr,
}

/// A mesh.
#[derive(Debug)]
pub struct Mesh {
    /// The coordinator's process.
    pub coordinator: Process,
    /// The nodes.
    pub nodes: Vec<NodeProcess>,
    /// UDP address of the coordinator.
    pub mesh_address: SocketAddr,
    client: Client,
    authority: Vec<u8>,
}

impl Process {
    fn new(options: &Options, kind: &'static str, name: &str) -> Self {
        let dir = options.dir.join(name);
        Self {
            name: name.into(),
            program: options.program.clone(),
            kind,
            config: dir.join(format!("{kind}.toml")),
            log: options.dir.join(format!("{name}.log")),
            child: None,
            lifeline: None,
        }
    }

    /// From its next start on, it runs this program: an upgrade.
    pub fn set_program(&mut self, program: impl Into<PathBuf>) {
        self.program = program.into();
    }

    /// The process's folder.
    pub fn dir(&self) -> &Path {
        self.config.parent().unwrap_or(Path::new("."))
    }

    /// A command line of this process, ready to run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(self.kind).arg("--config").arg(&self.config).args(args).kill_on_drop(true);
        command
    }

    /// Runs a command line to its end and returns what it printed.
    ///
    /// # Errors
    /// If it fails; with what it printed.
    pub async fn call(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.command(args).output().await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "`{} {}` failed:\n{}",
            self.kind,
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(said)
    }

    /// Starts the process, without waiting for it.
    ///
    /// # Errors
    /// If it cannot be started, or runs already.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let _ = fs::remove_file(self.dir().join("ready.json"));
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = self.command(&["run"]);
        command.env(EXIT_WITH_PARENT, "1").stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn().with_context(|| format!("starting {}", self.program.display()))?;
        self.lifeline = child.stdin.take();
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it listens, and returns its `ready.json`.
    ///
    /// # Errors
    /// If it ended or took too long; with the end of its log.
    pub async fn ready<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let since = Instant::now();
        let path = self.dir().join("ready.json");
        loop {
            if let Ok(bytes) = fs::read(&path) {
                return Ok(serde_json::from_slice(&bytes)?);
            }
            let ended = self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || since.elapsed() > START {
                self.child = None;
                bail!("{} did not start; the end of its log:\n{}", self.name, self.log_end());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Ends it as a power cut would: no signal handler runs.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        child.kill().await?;
        Ok(())
    }

    /// Asks it to end, and waits for it.
    ///
    /// # Errors
    /// If it failed, or had to be killed.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = child.id() {
            let _ = std::process::Command::new("kill").arg("-TERM").arg(pid.to_string()).status();
        }
        match tokio::time::timeout(STOP, child.wait()).await {
            Ok(status) => {
                let status = status?;
                ensure!(status.success(), "{} ended with {status}; the end of its log:\n{}", self.name, self.log_end());
                Ok(())
            }
            Err(_) => {
                child.kill().await?;
                bail!("{} did not drain in {} s and was killed", self.name, STOP.as_secs())
            }
        }
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<_> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(12)).map(|line| format!("  {line}\n")).collect()
    }

    fn configure(&self, text: &str) -> anyhow::Result<()> {
        fs::create_dir_all(self.dir())?;
        Ok(fs::write(&self.config, text)?)
    }
}

impl Mesh {
    /// Starts a mesh and waits until every node is in touch.
    ///
    /// # Errors
    /// If a process does not start; with the end of its log.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let mut mesh = Self::prepare(options).await?;
        for node in &mut mesh.nodes {
            node.process.spawn()?;
        }
        for node in &mut mesh.nodes {
            node.process.ready::<difusor_node::run::Ready>().await?;
        }
        mesh.wait_connected().await?;
        Ok(mesh)
    }

    /// Makes the mesh if need be, starts its coordinator, and enrols the nodes, without starting them.
    async fn prepare(options: &Options) -> anyhow::Result<Self> {
        fs::create_dir_all(&options.dir)?;
        let mut coordinator = Process::new(options, "coordinator", "coordinator");
        let fresh = !coordinator.dir().join("keys/signing.key").exists();
        if fresh {
            let (mesh, api) = match options.ports {
                Ports::Documented => (MESH_PORT, API_PORT),
                Ports::Free => (ports::reserve()?, ports::reserve()?),
            };
            coordinator.configure(&format!(
                "mesh = \"127.0.0.1:{mesh}\"\nmesh_public = [\"127.0.0.1:{mesh}\"]\napi = \"127.0.0.1:{api}\"\n{}\n",
                options.coordinator_config
            ))?;
            coordinator.call(&["init"]).await?;
        }
        coordinator.spawn()?;
        let ready: difusor_coordinator::run::Ready = coordinator.ready().await?;
        let token = fs::read_to_string(coordinator.dir().join("keys/api.token"))?;
        let client = Client::new(ready.api, Some(token.trim().into()));
        let pem = fs::read(coordinator.dir().join("keys/authority.pem"))?;
        let authority = CertificateDer::from_pem_slice(&pem).map_err(|error| anyhow::anyhow!("authority: {error}"))?;
        let mut nodes = Vec::new();
        for (i, zone) in options.zones.iter().enumerate() {
            nodes.push(enrol(options, &client, zone, i).await?);
        }
        Ok(Self { coordinator, nodes, mesh_address: ready.mesh, client, authority: authority.to_vec() })
    }

    /// The coordinator's API.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The mesh authority's certificate, DER.
    pub fn authority(&self) -> &[u8] {
        &self.authority
    }

    /// Address of console and API.
    ///
    /// # Errors
    /// If the coordinator never was ready.
    pub fn api(&self) -> anyhow::Result<SocketAddr> {
        let ready: difusor_coordinator::run::Ready =
            serde_json::from_slice(&fs::read(self.coordinator.dir().join("ready.json"))?)?;
        Ok(ready.api)
    }

    /// Waits until every node that runs is in touch with the coordinator.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn wait_connected(&self) -> anyhow::Result<()> {
        let since = Instant::now();
        loop {
            let fleet = self.client.status().await?;
            let up =
                |zone: &Zone| fleet.nodes.iter().any(|(node, seen)| node.as_str() == zone.as_str() && seen.connected);
            let waiting = self.nodes.iter().find(|node| node.process.pid().is_some() && !up(&node.zone));
            let Some(waiting) = waiting else { return Ok(()) };
            if since.elapsed() > START {
                bail!("{} is not in touch with the coordinator; its log:\n{}", waiting.zone, waiting.process.log_end());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every node that runs serves `cut`, as the public sees it.
    ///
    /// # Errors
    /// If that takes longer than `patience`.
    pub async fn wait_served(&self, cut: &CutKey, patience: Duration) -> anyhow::Result<()> {
        let since = Instant::now();
        let root = cut.root.to_string();
        for node in self.nodes.iter().filter(|node| node.process.pid().is_some()) {
            loop {
                let served = match self.open(node, https::Protocol::H1).await {
                    Ok(mut connection) => connection.cut().await.ok().flatten(),
                    Err(_) => None,
                };
                if served.is_some_and(|(_, served)| served == root) {
                    break;
                }
                if since.elapsed() > patience {
                    bail!("{} does not serve cut {}; its log:\n{}", node.zone, cut.seq, node.process.log_end());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    /// A connection to a node, as the public has it.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn open(&self, node: &NodeProcess, protocol: https::Protocol) -> anyhow::Result<https::Connection> {
        https::Connection::open(node.public, https::trusting(&self.authority)?, protocol).await
    }

    /// Ends every process in order.
    ///
    /// # Errors
    /// If one failed; the others are ended all the same.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        for process in self.nodes.iter_mut().map(|node| &mut node.process).chain([&mut self.coordinator]) {
            if let Err(error) = process.stop().await {
                result = Err(error);
            }
        }
        result
    }
}

async fn enrol(options: &Options, client: &Client, zone: &Zone, i: usize) -> anyhow::Result<NodeProcess> {
    let process = Process::new(options, "node", zone.as_str());
    let addresses = process.dir().join("addresses.json");
    if !process.dir().join("identity.json").exists() {
        let i = u16::try_from(i)?;
        let (public, admin) = match options.ports {
            Ports::Documented => (MESH_PORT + 1 + i, API_PORT + 1 + i),
            Ports::Free => (ports::reserve()?, ports::reserve()?),
        };
        let ip = if options.own_addresses { [127, 0, 0, u8::try_from(10 + i)?] } else { [127, 0, 0, 1] };
        let public = SocketAddr::from((ip, public));
        process.configure(&format!(
            "public = [\"{public}\"]\nadmin = \"127.0.0.1:{admin}\"\npeers = \"127.0.0.1:{admin}\"\n{}\n",
            options.node_config
        ))?;
        let invitation = client.invite(options.one_zone.as_ref().unwrap_or(zone)).await?;
        process.call(&["join", &invitation.token, "--name", zone.as_str()]).await?;
        let pair = [public, SocketAddr::from(([127, 0, 0, 1], admin))];
        fs::write(&addresses, serde_json::to_vec(&pair)?)?;
    }
    let [public, admin]: [SocketAddr; 2] = serde_json::from_slice(&fs::read(&addresses)?)?;
    Ok(NodeProcess { zone: zone.clone(), process, public, admin })
}

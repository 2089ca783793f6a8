//! A node that joins a mesh that is running already, with nothing but a token. Its ports are chosen by the system.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use difusor_local::multicall::EXIT_WITH_PARENT;
use difusor_node::run::Ready;
use tokio::process::{Child, ChildStdin};

use crate::{
    command::{self, Said},
    until,
};

/// The machine of a node to be, and the node that it becomes.
#[derive(Debug)]
pub struct Newcomer {
    program: String,
    dir: PathBuf,
    child: Option<(Child, Option<ChildStdin>)>,
}

impl Newcomer {
    /// A machine with an empty folder.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn new(program: &str, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        fs::write(
            dir.join("node.toml"),
            "public = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\npeers = \"127.0.0.1:0\"\n",
        )?;
        Ok(Self { program: program.into(), dir: dir.into(), child: None })
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs a command line of it to its end.
    ///
    /// # Errors
    /// If that does not end by itself.
    pub async fn call(&self, args: &[&str]) -> Result<Said> {
        command::run(command::of(&self.program, "node", &self.dir.join("node.toml"), args)).await
    }

    /// Starts it; returns where the public is served once it listens.
    ///
    /// # Errors
    /// If it does not start; with its log.
    pub async fn start(&mut self) -> Result<SocketAddr> {
        let (log, ready) = (self.dir.join("node.log"), self.dir.join("ready.json"));
        let _ = fs::remove_file(&ready);
        let mut command = command::of(&self.program, "node", &self.dir.join("node.toml"), &["run"]);
        let out = File::create(&log)?;
        command.env(EXIT_WITH_PARENT, "1").stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        let mut child = command.kill_on_drop(true).spawn()?;
        let lifeline = child.stdin.take();
        let ready = until("the newcomer listens", async || {
            let ended = child.try_wait()?;
            ensure!(ended.is_none(), "the newcomer ended: {}", fs::read_to_string(&log)?);
            Ok(fs::read(&ready).ok().and_then(|bytes| serde_json::from_slice::<Ready>(&bytes).ok()))
        });
        let ready = ready.await?;
        self.child = Some((child, lifeline));
        ready.public.first().copied().context("it serves nowhere")
    }
}

//! One attack on one server: visitors, then the attacker beside them, then visitors again.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use difusor_local::https;
use http::Method;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::honest::{self, Told};
use super::scenario::Scenario;
use super::strike::Work;
use super::watch;
use crate::compare::check;
use crate::compare::files::Asset;
use crate::compare::servers::{Common, Name, Server};
use crate::usage::{self, Memory, Times};

/// How far the attacker is behind the visitors: with the kernel's weights, they get about nine tenths of the core if
/// they want it.
const NICE: &str = "10";

/// Until the visitors are connected.
pub(super) const WARM_UP: Duration = Duration::from_millis(400);

/// How long a child may take to end and tell.
const TELL: Duration = Duration::from_secs(15);

/// How long each part takes.
pub(super) struct Lengths {
    pub(super) before: Duration,
    pub(super) attack: Duration,
    pub(super) after: Duration,
}

/// A server to attack.
pub(super) struct Target {
    pub(super) server: Server,
    references: PathBuf,
    tls: rustls::ClientConfig,
}

/// What was seen of one attack.
pub(super) struct Seen {
    pub(super) told: Told,
    pub(super) work: Work,
    pub(super) memory: [Memory; 3],
    /// Of the server: before, and meanwhile.
    pub(super) spent: [(Duration, Times); 2],
    /// By the node's counters: microseconds since 1970, and which.
    pub(super) detected: Option<(u64, String)>,
    pub(super) counted: Vec<(String, f64)>,
    /// Whether it is the same process, and answers.
    pub(super) alive: Result<(), String>,
}

impl Target {
    /// Starts the server, verifies all that it serves, and keeps the answers for the visitors.
    pub(super) async fn start(name: Name, common: &Common<'_>) -> anyhow::Result<Self> {
        let server = Server::start(name, common).await?;
        let references = common.dir.join(format!("{}-answers", name.text()));
        fs::create_dir(&references)?;
        let tls = common.identity.verifying()?;
        check::check(&server, common.files, common.identity).await?;
        let mut connection = https::Connection::open(server.address, tls.clone(), https::Protocol::H2).await?;
        for asset in Asset::ALL {
            let answer = connection.request(Method::GET, asset.path(), &[("accept-encoding", "gzip")]).await?;
            let content = common.files.content(asset);
            check::offer(asset, content, answer.status.as_u16(), &answer.headers, &answer.body)?;
            fs::write(references.join(honest::reference(asset)), &answer.body)?;
        }
        Ok(Self { server, references, tls })
    }

    /// Visitors, an attack, and what became of them.
    pub(super) async fn suffer(
        &self,
        scenario: &Scenario,
        block: u8,
        lengths: &Lengths,
        rate: u32,
        small: bool,
    ) -> anyhow::Result<Seen> {
        let program = env::current_exe()?;
        let address = self.server.address.to_string();
        let mut visitors = Command::new(&program);
        visitors.arg("attack-honest").arg(&address).arg(&self.references).arg(rate.to_string());
        let mut visitors = visitors.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        sleep(WARM_UP).await;
        // By now a server that was just started has all its processes.
        let pids = self.server.pids();
        let (start, admin) = (usage::times(&pids), self.server.admin());
        sleep(lengths.before).await;
        let before = match admin {
            Some(admin) => watch::counters(admin).await.unwrap_or_default(),
            None => watch::Counters::default(),
        };
        let (calm, quiet) = (usage::memory(&pids), usage::times(&pids));
        usage::reset_peak(&pids);
        let mut attacker = Command::new("nice");
        attacker.args(["-n", NICE]).arg(&program).arg("attack-strike").arg(scenario.name).arg(&address);
        attacker.arg(lengths.attack.as_millis().to_string()).arg(block.to_string());
        if small {
            attacker.arg("--small");
        }
        let attacker = attacker.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut detected = None;
        let struck = async {
            let looking = async {
                match admin {
                    Some(admin) => watch::first(admin, &before).await,
                    None => std::future::pending().await,
                }
            };
            let ending = output::<Work>(attacker, lengths.attack + TELL);
            tokio::pin!(looking, ending);
            tokio::select! {
                work = &mut ending => work,
                first = &mut looking => {
                    detected = Some(first);
                    ending.await
                }
            }
        };
        let work = struck.await.context("the attacker")?;
        let (high, busy) = (usage::memory(&pids), usage::times(&pids));
        let counted = match admin {
            Some(admin) => watch::counters(admin).await.map(|now| watch::summary(&before, &now)).unwrap_or_default(),
            None => Vec::new(),
        };
        sleep(lengths.after).await;
        drop(visitors.stdin.take());
        let told = output::<Told>(visitors, TELL).await.context("the visitors")?;
        let after = usage::memory(&pids);
        let spent = [(lengths.before, quiet - start), (lengths.attack, busy - quiet)];
        let alive = self.lives(&pids).await.map_err(|error| format!("{error:#}"));
        Ok(Seen { told, work, memory: [calm, high, after], spent, detected, counted, alive })
    }

    async fn lives(&self, pids: &[u32]) -> anyhow::Result<()> {
        ensure!(!pids.is_empty() && self.server.pids() == pids, "other processes than before");
        let ask = async {
            let mut connection =
                https::Connection::open(self.server.address, self.tls.clone(), https::Protocol::H2).await?;
            connection.get(Asset::Page.path()).await
        };
        let answer = timeout(TELL, ask).await.context("no answer after the attack")??;
        ensure!(answer.status == 200, "status {} after the attack", answer.status);
        Ok(())
    }
}

/// What a child tells at its end.
async fn output<T: serde::de::DeserializeOwned>(child: Child, patience: Duration) -> anyhow::Result<T> {
    let output = timeout(patience, child.wait_with_output()).await.context("it does not end")??;
    ensure!(output.status.success(), "it ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

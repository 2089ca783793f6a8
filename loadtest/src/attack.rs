//! `loadtest attack`: attacks on a node while visitors go on reading, and the same on nginx as a careful operator sets
//! it up.
//!
//! Every attack is a scenario against real processes: the server on one core; on the other its visitors, at a fixed
//! rate well below what it can do, and behind them in priority the attacker. Measured are the visitors: how many of
//! their answers came whole, right and within a second, before, meanwhile and after. Both servers have the same files,
//! the same certificate, the same limits where both have such a limit, and one thread. Everything ends by itself.

mod h1;
mod h2;
mod h3;
pub(crate) mod honest;
mod judge;
mod limits;
mod report;
mod scenario;
mod slow;
mod smuggling;
mod stage;
pub(crate) mod strike;
mod watch;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;

use self::judge::Measured;
use self::limits::PLACES;
use self::scenario::{ALL, Scenario};
use self::stage::{Lengths, Target};
use crate::compare::cores::{self, Cores};
use crate::compare::files::Files;
use crate::compare::identity::Identity;
use crate::compare::servers::{Common, Name};

/// Files that this program and its children open besides the connections of an attack.
const SPARE: u64 = 2048;

/// Connections of an attack.
const CONNECTIONS: u64 = 8192;

/// Attack a node and nginx while visitors go on reading
///
/// Prints a Markdown table, and fails if the node dies, if its visitors get nothing or other bytes than they should.
/// Needs two cores and util-linux. Traffic stays on the loopback.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Scenarios; all if not given
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    only: Vec<String>,
    /// Name the scenarios
    #[arg(long)]
    list: bool,
    /// Whom to compare with
    #[arg(long, value_enum)]
    peer: Option<Peer>,
    /// Short, small, the node alone
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Length of an attack, seconds
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Requests of the visitors a second
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(64..=20_000))]
    rate: u32,
    /// Write every measurement here as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Binary that is coordinator and node; this one if not given
    #[arg(long, value_name = "PATH")]
    node: Option<PathBuf>,
    /// Core of the server, and core of visitors and attacker
    #[arg(long, default_value = "0,1", value_parser = crate::compare::two_cores, value_name = "CORE,CORE")]
    cores: Cores,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Peer {
    Nginx,
    None,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let unknown: Vec<_> = args.only.iter().filter(|name| scenario::named(name).is_none()).collect();
    ensure!(unknown.is_empty(), "no such scenario: {unknown:?}; --list names them");
    let chosen = ALL.iter().filter(|one| args.only.is_empty() || args.only.iter().any(|name| name == one.name));
    let chosen: Vec<&Scenario> = chosen.collect();
    if args.list {
        for Scenario { name, about, .. } in chosen {
            println!("{name:<24} {about}");
        }
        return Ok(());
    }
    cores::check()?;
    cores::find("nice").context("no `nice`; Debian has it in the package `coreutils`")?;
    if cfg!(debug_assertions) && args.node.is_none() && !args.quick {
        eprintln!("this is a debug build, and so is its node: measure with --release");
    }
    cores::move_here(args.cores.driver, CONNECTIONS + SPARE)?;
    let work = tempfile::Builder::new().prefix("attack-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = attack(args, &chosen, work.path()) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })
}

async fn attack(args: &Args, chosen: &[&Scenario], dir: &Path) -> anyhow::Result<()> {
    let mut targets = Vec::new();
    let outcome = measure_all(args, chosen, dir, &mut targets).await;
    let mut ended = Ok(());
    for target in targets {
        let name = target.server.name.text();
        ended = ended.and(target.server.stop().await.with_context(|| format!("ending {name}")));
    }
    outcome.and(ended)
}

/// What has been started is in `targets`, whatever the outcome.
async fn measure_all(args: &Args, chosen: &[&Scenario], dir: &Path, targets: &mut Vec<Target>) -> anyhow::Result<()> {
    let peer = args.peer.unwrap_or(if args.quick { Peer::None } else { Peer::Nginx });
    let mut names = vec![Name::Difusor];
    if peer == Peer::Nginx && Name::Nginx.is_present() {
        names.push(Name::Nginx);
    } else if peer == Peer::Nginx {
        eprintln!("nginx is not on this machine: left out");
    }
    let (files, identity) = (Files::new(dir)?, Identity::new(dir)?);
    let program = args.node.clone().map_or_else(env::current_exe, Ok)?.canonicalize()?;
    let common = Common {
        counted: None,
        dir,
        files: &files,
        identity: &identity,
        core: args.cores.server,
        connections: PLACES,
        program: &program,
        node_config: &limits::node(),
        peer_config: Some(limits::nginx),
    };
    for name in names {
        targets.push(Target::start(name, &common).await.with_context(|| format!("starting {}", name.text()))?);
    }
    let lengths = if args.quick {
        let [before, attack, after] = [600, 800, 800].map(Duration::from_millis);
        Lengths { before, attack, after }
    } else {
        let [before, attack, after] = [2, args.seconds, 3].map(Duration::from_secs);
        Lengths { before, attack, after }
    };
    let mut measured: Vec<Measured> = Vec::new();
    for round in 0..if args.quick { 1 } else { args.rounds } {
        for (block, scenario) in (10_u8..).zip(chosen) {
            for target in targets.iter_mut().filter(|target| !scenario.quic || target.server.name == Name::Difusor) {
                if !args.quick {
                    // What the last attack left behind is not of this one.
                    target.server.restart().await?;
                }
                let told = format!("round {} {} {}", round + 1, scenario.name, target.server.name.text());
                let seen = target.suffer(scenario, block, &lengths, args.rate, args.quick).await;
                let made = Measured::of(scenario, target.server.name, round, seen);
                eprintln!("{told}: {}", made.line());
                measured.push(made);
            }
        }
    }
    println!("{}\n", report::table(&measured));
    println!("{}", report::words(&measured));
    println!("{}", report::fairness(args.rate, &lengths));
    if let Some(path) = &args.json {
        fs::write(path, serde_json::to_vec_pretty(&measured)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    let failed: Vec<_> = measured.iter().filter_map(Measured::failure).collect();
    ensure!(failed.is_empty(), "failed outright: {}", failed.join("; "));
    Ok(())
}

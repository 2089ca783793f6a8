//! `loadtest compare`: a node against nginx, H2O and Caddy, one core each, over HTTPS on the loopback.
//!
//! All serve the same files with the same certificate from the same core, one at a time, to clients on another core;
//! every server is a real process and is verified before it is measured. The servers take turns within every round, so
//! that the machine's moods fall on all of them. The clients are this program's own, which need less of a core for an
//! answer than any server does; `--drivers known` has wrk and h2load check them.

mod cells;
pub(crate) mod check;
pub(crate) mod cores;
mod drive;
pub(crate) mod files;
mod handshakes;
mod http1;
pub(crate) mod http2;
pub(crate) mod http3;
pub(crate) mod identity;
mod idle;
mod instructions;
mod known;
mod measure;
pub(crate) mod peers;
mod record;
mod report;
pub(crate) mod request;
pub(crate) mod servers;
pub(crate) mod tally;
mod window;
mod wire;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use serde::Serialize;
use tokio::time::timeout;

use self::cells::{CELLS, Cell};
use self::check::Offers;
use self::cores::Cores;
use self::files::{Asset, Files};
use self::identity::Identity;
use self::measure::{Measured, Method};
use self::servers::{Common, Name, Server};
use self::window::Window;

/// Until clients are connected and caches are warm.
const WARM_UP: Duration = Duration::from_millis(400);

/// A measurement that takes this much longer than its window is stuck.
const GRACE: Duration = Duration::from_secs(60);

/// Before a measurement that other programs spoil is taken as it is.
const ATTEMPTS: usize = 3;

/// Connections beside the idle ones.
const SPARE: u64 = 1024;

/// Compare with nginx, H2O and Caddy: requests, handshakes and memory of one core each
///
/// Prints Markdown tables. Installs nothing: servers that are not on this machine are named and left out. Needs two
/// cores and util-linux.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Who takes part
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["difusor", "nginx", "h2o", "caddy"], value_name = "NAME,...")]
    servers: Vec<Name>,
    /// Rounds; in each, the servers take turns in every cell
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Length of one measurement, seconds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Cells or groups of cells, such as h1,304-h2,idle; all if not given
    #[arg(long, value_delimiter = ',', value_name = "CELL,...")]
    cells: Vec<String>,
    /// One round of one second over a few cells
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Write every measurement here as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Binary that is coordinator and node, such as an earlier difusor-local; this one if not given
    #[arg(long, value_name = "PATH")]
    node: Option<PathBuf>,
    /// Line for the node's configuration; can be given again
    #[arg(long, value_name = "LINE")]
    node_config: Vec<String>,
    /// Connections of the idle cells
    #[arg(long, default_value_t = 5000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    idle: u32,
    /// Count the node's instructions instead of timing it; needs valgrind
    #[arg(long, conflicts_with_all = ["drivers"])]
    instructions: bool,
    /// Whose clients
    #[arg(long, value_enum, default_value = "own")]
    drivers: Drivers,
    /// Core of the servers, and core of the clients
    #[arg(long, default_value = "0,1", value_parser = two_cores, value_name = "CORE,CORE")]
    cores: Cores,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Drivers {
    /// This program's, which need least of a core.
    Own,
    /// wrk and h2load where they can do the cell.
    Known,
}

/// What is written to `--json`.
#[derive(Serialize)]
struct Record<'a> {
    servers: Vec<About<'a>>,
    load_before: String,
    load_after: String,
    seconds: f64,
    measured: &'a [Measured],
}

#[derive(Serialize)]
struct About<'a> {
    name: Name,
    version: &'a str,
    http3: bool,
    body_bytes: [u64; 4],
}

/// A server that was verified.
struct Contender {
    server: Server,
    offers: Offers,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let cells =
        if args.cells.is_empty() { CELLS.to_vec() } else { cells::chosen(&args.cells).map_err(anyhow::Error::msg)? };
    let cells: Vec<Cell> = cells.into_iter().filter(|cell| !args.quick || cell.quick).collect();
    ensure!(!cells.is_empty(), "none of these cells is part of a quick look");
    cores::check()?;
    if args.instructions {
        instructions::check()?;
        ensure!(args.servers == [Name::Difusor], "instructions are counted of the node alone: add `--servers difusor`");
    }
    let (present, absent): (Vec<Name>, Vec<Name>) = args.servers.iter().copied().partition(|name| name.is_present());
    for name in &absent {
        eprintln!("{} is not on this machine: left out", name.text());
    }
    ensure!(!present.is_empty(), "none of the servers is on this machine");
    if args.drivers == Drivers::Known {
        for name in known::absent() {
            eprintln!("{name} is not on this machine: this program's own clients do its cells");
        }
    }
    if cfg!(debug_assertions) && args.node.is_none() {
        eprintln!("this is a debug build, and so is its node: measure with --release");
    }
    cores::move_here(args.cores.driver, u64::from(args.idle) + SPARE)?;
    let work = tempfile::Builder::new().prefix("compare-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = compare(args, &cells, &present, work.path()) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })
}

async fn compare(args: &Args, cells: &[Cell], names: &[Name], dir: &Path) -> anyhow::Result<()> {
    let mut contenders = Vec::new();
    let outcome = measure_all(args, cells, names, dir, &mut contenders).await;
    let mut ended = Ok(());
    for contender in contenders {
        let name = contender.server.name.text();
        ended = ended.and(contender.server.stop().await.with_context(|| format!("ending {name}")));
    }
    outcome.and(ended)
}

/// What has been started is in `contenders`, whatever the outcome.
async fn measure_all(
    args: &Args,
    cells: &[Cell],
    names: &[Name],
    dir: &Path,
    contenders: &mut Vec<Contender>,
) -> anyhow::Result<()> {
    let load_before = load_average();
    let (files, identity) = (Files::new(dir)?, Identity::new(dir)?);
    let program = args.node.clone().map_or_else(env::current_exe, Ok)?;
    ensure!(program.is_file(), "no binary at {}", program.display());
    let common = Common {
        dir,
        files: &files,
        identity: &identity,
        core: args.cores.server,
        connections: u64::from(args.idle) + SPARE,
        program: &program.canonicalize()?,
        counted: args.instructions.then_some(dir),
        node_config: &args.node_config.join("\n"),
        peer_config: None,
    };
    for name in names {
        let server = Server::start(*name, &common).await.with_context(|| format!("starting {}", name.text()))?;
        contenders.push(Contender { server, offers: Offers::default() });
    }
    for Contender { server, offers } in contenders.iter_mut() {
        let name = server.name.text();
        let checked = check::check(server, &files, &identity).await;
        *offers = checked.with_context(|| format!("checking {name}; the end of its log:\n{}", server.log_end()))?;
        let sizes = Asset::ALL.map(|asset| offers.body(asset).to_string()).join(", ");
        let third = if offers.http3 { "HTTP/3" } else { "not over HTTP/3" };
        eprintln!("{name} ({}): verified over HTTP/1.1, HTTP/2, {third}; bodies of {sizes} bytes", server.version);
    }
    let measured = rounds(args, cells, contenders, dir).await?;
    let load_after = load_average();
    println!("{}\n", report::table(cells, names, &measured));
    println!("{}\n", report::details(cells, names, &measured));
    println!("Load average of the machine before: {load_before}; after: {load_after}.");
    if let Some(path) = &args.json {
        let servers = contenders.iter().map(|contender| About {
            name: contender.server.name,
            version: &contender.server.version,
            http3: contender.offers.http3,
            body_bytes: Asset::ALL.map(|asset| contender.offers.body(asset)),
        });
        let servers = servers.collect();
        let seconds = length(args).as_secs_f64();
        let record = Record { servers, load_before, load_after, seconds, measured: &measured };
        fs::write(path, serde_json::to_vec_pretty(&record)?).with_context(|| format!("writing {}", path.display()))?;
    }
    let failed = measured.iter().filter(|made| made.answers == 0 && made.failures > 0).count();
    ensure!(failed == 0, "{failed} measurements failed");
    Ok(())
}

async fn rounds(
    args: &Args,
    cells: &[Cell],
    contenders: &mut [Contender],
    dir: &Path,
) -> anyhow::Result<Vec<Measured>> {
    let rounds = if args.quick { 1 } else { args.rounds };
    let mut idle = 0.0;
    if let (true, Some(pid)) =
        (args.instructions, contenders.first().and_then(|contender| contender.server.pids().first().copied()))
    {
        idle = instructions::idle(dir, pid, 2 * length(args)).await?;
        eprintln!("{:.1} million instructions a second with nothing to do", idle / 1e6);
    }
    let method = Method {
        window: Window {
            warm_up: if args.instructions { instructions::WARM_UP } else { WARM_UP },
            length: length(args),
            counted: args.instructions.then_some(dir),
            idle,
        },
        idle: args.idle as usize,
        known: (args.drivers == Drivers::Known).then_some(dir),
    };
    let mut measured = Vec::new();
    for round in 0..rounds {
        if round > 0 {
            // Nobody always comes first.
            contenders.rotate_left(1);
        }
        for cell in cells {
            for Contender { server, offers } in contenders.iter_mut() {
                if cell.needs_http3() && !offers.http3 {
                    continue;
                }
                let told = format!("round {}/{rounds} {} {}", round + 1, cell.name, server.name.text());
                match least_disturbed(cell, server, offers, &method, round, &told).await {
                    Ok(made) => measured.extend(made),
                    Err(error) => {
                        eprintln!("{told}: failed: {error:#}");
                        measured.push(Measured::failed(cell, server.name, round, &error));
                    }
                }
            }
        }
    }
    Ok(measured)
}

/// Measures; again, a few times, if other programs spoil it.
async fn least_disturbed(
    cell: &Cell,
    server: &mut Server,
    offers: &Offers,
    method: &Method<'_>,
    round: u32,
    told: &str,
) -> anyhow::Result<Option<Measured>> {
    let mut best: Option<Measured> = None;
    for _ in 0..ATTEMPTS {
        let made = measure::measure(cell, server, offers, method, round);
        let made = timeout(method.window.length + GRACE, made).await.context("stuck")??;
        eprintln!("{told}: {}", made.line());
        let quiet = made.taken <= report::TAKEN || made.instructions.is_some();
        best = best.filter(|best| best.taken <= made.taken).or(Some(made));
        if quiet {
            break;
        }
    }
    Ok(best)
}

fn length(args: &Args) -> Duration {
    Duration::from_secs(if args.quick { 1 } else { args.seconds })
}

/// Processes that wanted a core, over one, five and fifteen minutes.
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(", ")
}

pub(crate) fn two_cores(text: &str) -> Result<Cores, String> {
    let cores = text.split_once(',').and_then(|(server, driver)| {
        Some(Cores { server: server.trim().parse().ok()?, driver: driver.trim().parse().ok()? })
    });
    cores.filter(|cores| cores.server != cores.driver).ok_or_else(|| "expected two cores, such as 0,1".to_owned())
}

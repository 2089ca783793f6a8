//! The command line of the coordinator.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what a command line is for")]

mod restore;
mod status;

use std::{
    ffi::OsString,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use difusor_proto::{
    CutLabel, NodeId, Zone,
    store::{Access, replace},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::Listed,
    authority::Authority,
    client::{Client, ClientError},
    config::{Config, TEMPLATE},
    home::Home,
    publish::{Outcome, Request},
    replica::Remote,
    run::Coordinator,
};

/// Exit codes beside 0, 1 and clap's 2, after sysexits(3).
const EXIT_CONFIG: u8 = 64;
const EXIT_REFUSED: u8 = 65;
const EXIT_UNREACHABLE: u8 = 69;

/// Ingests packages of election results, keeps them, and rolls every cut out to all nodes at once.
#[derive(Debug, Parser)]
#[command(
    name = "difusor-coordinator",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 64 bad configuration, 65 package refused, 69 no coordinator answers.\n\nFirst steps: `init`, then `run`; then `invite --zone Z` for each node, and `publish FILE`."
)]
struct Cli {
    /// Configuration file; everything else of the coordinator lies in its folder
    #[arg(long, global = true, default_value = "difusor/coordinator.toml", env = "DIFUSOR_COORDINATOR_CONFIG")]
    config: PathBuf,
    /// Read and validate the configuration, and end
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Do>,
}

#[derive(Debug, Subcommand)]
enum Do {
    /// Make a mesh: its authority, its signing key, and a commented configuration
    Init,
    /// Run the coordinator until it is interrupted
    Run,
    /// Print a token with which one machine can become a node
    Invite {
        /// Zone of the new node, such as mx-central
        #[arg(long)]
        zone: Zone,
    },
    /// Take in a package and roll it out (a side-car FILE.sha256 is checked if it is there)
    Publish {
        /// The zip
        file: PathBuf,
        /// Label of the cut, if it is not in the file's name
        #[arg(long)]
        label: Option<CutLabel>,
        /// Accept other bytes under a label that was taken in before
        #[arg(long)]
        reissue: bool,
        /// Publish although the label is older than the one that is served
        #[arg(long)]
        force: bool,
    },
    /// Show the cut that is served and every node
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Again every second, until interrupted
        #[arg(long, conflicts_with = "json")]
        watch: bool,
    },
    /// Have visitors go elsewhere, by DNS and health checks, before work on a node; it serves on
    Drain {
        /// Its name
        node: NodeId,
    },
    /// Have visitors come again
    Undrain {
        /// Its name
        node: NodeId,
    },
    /// Take a node out of the mesh for good: its certificate counts for nothing from then on
    Remove {
        /// Its name
        node: NodeId,
    },
    /// Have the nodes answer a text at a name in DNS, such as an ACME challenge (dns-01), or take all texts there away
    Text {
        /// The whole name, such as _acme-challenge.example.org
        name: String,
        /// The text; without one, all are taken away
        value: Option<String>,
    },
    /// List every cut of the archive, or prove that each is what came
    #[command(args_conflicts_with_subcommands = true)]
    History {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        command: Option<History>,
    },
    /// Write a package of the archive to a file, bit for bit
    Export {
        /// Number or label of the cut
        cut: String,
        /// The file
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Fetch the archive from a replica, on a machine that has keys/ and a store that is empty or damaged
    Restore {
        /// Where the replica is, s3://bucket/prefix or file:///folder; that of the configuration otherwise
        #[arg(long)]
        from: Option<String>,
    },
    /// Order all nodes back to a cut of the archive
    Rollback {
        /// Number or label of the cut
        cut: String,
    },
}

#[derive(Debug, Subcommand)]
enum History {
    /// Make every package again and compare its SHA-256 with that of the institute's file (exit code 1 if one differs)
    Verify {
        /// Number or label of one cut
        #[arg(long)]
        cut: Option<String>,
        /// A line of JSON for each cut
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command line.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if matches!(cli.command, Some(Do::Run)) && !cli.check {
        difusor_proto::process::with_few_heaps();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            match error.downcast_ref::<ClientError>() {
                Some(ClientError::Unreachable { .. }) => EXIT_UNREACHABLE.into(),
                Some(ClientError::Api(api)) if api.report.is_some() => EXIT_REFUSED.into(),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let home = Home::new(folder(&cli.config));
    if matches!(cli.command, Some(Do::Init)) {
        return init(&home, &cli.config);
    }
    if let (Some(Do::Restore { from }), false) = (&cli.command, cli.check) {
        return restore::run(&home, &cli.config, from.clone()).await;
    }
    let config = match Config::read(&cli.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(EXIT_CONFIG.into());
        }
    };
    if cli.check {
        if let Some(Err(error)) = config.replica.as_ref().map(Remote::open) {
            eprintln!("error: {error:#}");
            return Ok(EXIT_CONFIG.into());
        }
        println!("{} is valid", cli.config.display());
        return Ok(ExitCode::SUCCESS);
    }
    let client = Client::new(config.api, home.read_api_token().ok());
    match cli.command {
        None => {
            eprintln!("error: what should the coordinator do? See `difusor-coordinator --help`");
            return Ok(2.into());
        }
        Some(Do::Init | Do::Restore { .. }) => {}
        Some(Do::Run) => run(&home, &config).await?,
        Some(Do::Invite { zone }) => println!("{}", client.invite(&zone).await?.token),
        Some(Do::Publish { file, label, reissue, force }) => {
            let request = Request { label, reissue, force, ..Request::default() };
            publish(&client, &file, request).await?;
        }
        Some(Do::Status { json, watch }) => status::run(&client, json, watch).await?,
        Some(Do::Drain { node }) => {
            client.drain(&node, true).await?;
            println!(
                "{node} is drained: visitors are led elsewhere within the lifetime of the DNS records, and it serves on"
            );
        }
        Some(Do::Undrain { node }) => {
            client.drain(&node, false).await?;
            println!("{node} gets visitors again, as soon as it is well");
        }
        Some(Do::Text { name, value: Some(value) }) => {
            client.put_text(&name, &value).await?;
            println!(
                "the nodes answer it within a second; resolvers may know the name as empty for the time of the zone's `ttl`"
            );
        }
        Some(Do::Text { name, value: None }) => println!("{} texts taken away", client.take_texts(&name).await?),
        Some(Do::Remove { node }) => {
            client.remove(&node).await?;
            println!("{node} is no node of this mesh any more; it can come back with a new invitation");
        }
        Some(Do::History { command: Some(History::Verify { cut, json }), .. }) => {
            return verify(&client, cut.as_deref(), json).await;
        }
        Some(Do::History { json, command: None }) => history(&client, json).await?,
        Some(Do::Export { cut, output }) => {
            let bytes = client.export(&cut, &output).await?;
            println!("{}: {bytes} bytes", output.display());
        }
        Some(Do::Rollback { cut }) => {
            let cut = client.rollback(&cut).await?;
            println!("all nodes are ordered back to cut {} ({})", cut.seq, cut.label);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn folder(config: &Path) -> &Path {
    config.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn init(home: &Home, config: &Path) -> anyhow::Result<ExitCode> {
    home.create_secrets()?;
    Authority::create(home)?;
    if !config.exists() {
        replace(config, TEMPLATE.as_bytes(), Access::Normal)?;
    }
    println!("A new mesh in {}.", home.dir().display());
    println!("  {}   set `mesh_public` to the name that your nodes dial", config.display());
    println!(
        "  {}   back this folder up: with it, a lost coordinator can be replaced",
        home.dir().join("keys").display()
    );
    println!("Next: difusor-coordinator --config {} run", config.display());
    Ok(ExitCode::SUCCESS)
}

async fn run(home: &Home, config: &Config) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,sled=warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
    let coordinator = Coordinator::bind(home, config).await?;
    let ready = coordinator.ready();
    tracing::info!(mesh = %ready.mesh, api = %format!("http://{}", ready.api), "ready");
    let cancel = CancellationToken::new();
    let on_signal = cancel.clone();
    tokio::spawn(async move {
        interrupted().await;
        tracing::info!("ending: sessions are closed, the store is settled");
        on_signal.cancel();
    });
    coordinator.run(cancel).await
}

/// Waits for SIGINT or SIGTERM.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

async fn publish(client: &Client, file: &Path, request: Request) -> anyhow::Result<()> {
    let accepted = match client.publish(file, request).await {
        Ok(accepted) => accepted,
        Err(ClientError::Api(error)) => {
            if let Some(report) = &error.report {
                eprintln!("refused: {}", report.reason);
                if let Some(entry) = &report.entry {
                    eprintln!("  entry:  {entry}");
                }
                if let Some(offset) = report.offset {
                    eprintln!("  offset: {offset}");
                }
                eprintln!("  advice: {}", report.advice);
                if let Some(kept) = &report.kept {
                    eprintln!("  kept:   {}", kept.display());
                }
            }
            return Err(ClientError::Api(error).into());
        }
        Err(error) => return Err(error.into()),
    };
    let (seq, label) = (accepted.cut.seq, accepted.cut.label);
    match accepted.outcome {
        Outcome::Published => println!("cut {seq} ({label}) is kept and on its way to the nodes"),
        Outcome::Archived => {
            println!("cut {seq} ({label}) is kept, but older than what is served: not published (see --force)")
        }
        Outcome::Unchanged => println!("these bytes were taken in before, as cut {seq} ({label}): nothing to do"),
    }
    Ok(())
}

async fn history(client: &Client, json: bool) -> anyhow::Result<()> {
    let archive = client.history().await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&archive).context("printing")?);
        return Ok(());
    }
    println!(
        "{:>5} {:<14} {:>12} {:>12} {:>12} {:>6}  sha256 of the package",
        "cut", "label", "package B", "kept in B", "plain B", "files"
    );
    for Listed { archived, at_rest, .. } in archive {
        let (cut, package) = (archived.cut, archived.package);
        let (plain, files) = (archived.plain_bytes, archived.entries);
        println!(
            "{:>5} {:<14} {:>12} {at_rest:>12} {plain:>12} {files:>6}  {}",
            cut.seq,
            cut.label.to_string(),
            package.size,
            package.sha256
        );
    }
    Ok(())
}

async fn verify(client: &Client, cut: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let (mut whole, mut damaged, mut package, mut at_rest) = (0_u64, 0_u64, 0_u64, 0_u64);
    client
        .verify(cut, |seen| {
            match seen.problem {
                None => whole += 1,
                Some(_) => damaged += 1,
            }
            (package, at_rest) = (package + seen.package, at_rest + seen.at_rest);
            if json {
                println!("{}", serde_json::to_string(&seen).unwrap_or_default());
                return;
            }
            let kept = if seen.verbatim { "as it came" } else { "told" };
            let verdict = seen.problem.unwrap_or_else(|| seen.sha256.to_string());
            println!("{:>5} {:<14} {kept:<10} {:>6} ms  {verdict}", seen.cut.seq, seen.cut.label.to_string(), seen.ms);
        })
        .await?;
    if !json {
        println!("{whole} packages are what came, {damaged} are not; {package} bytes are kept in {at_rest}");
    }
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

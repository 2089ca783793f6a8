//! The command line of the node.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what a command line is for")]

mod rules;

use std::{
    ffi::OsString,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use difusor_proto::{
    NodeId,
    store::{Access, replace},
    token::Token,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admission::rules::book::Rulebook,
    config::{Config, TEMPLATE},
    control::{self, Operator},
    dns::{self, dnssec::key::ZoneKey, places::Places},
    enrol,
    harden::Harden,
    home::Home,
    run::Node,
};

/// Exit code for a bad configuration, after sysexits(3).
const EXIT_CONFIG: u8 = 64;

/// Receives verified cuts of election results and serves exactly their bytes.
#[derive(Debug, Parser)]
#[command(
    name = "difusor-node",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a request that `rules test` was asked about is refused, 64 bad configuration or rules.\n\nFirst steps: `join TOKEN` with the token of `difusor-coordinator invite`, then `run`."
)]
struct Cli {
    /// Configuration file; everything else of the node lies in its folder
    #[arg(long, global = true, default_value = "difusor-node/node.toml", env = "DIFUSOR_NODE_CONFIG")]
    config: PathBuf,
    /// Read and validate the configuration, the certificates and the rules, and end
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Do>,
}

#[derive(Debug, Subcommand)]
enum Do {
    /// Become a node of the mesh that the token is from
    Join {
        /// As `difusor-coordinator invite` printed it
        token: String,
        /// Name of this node; made from the zone otherwise
        #[arg(long)]
        name: Option<NodeId>,
        /// Host name or address that the public site is reached by, for the certificate of the mesh authority
        #[arg(long = "site-name", default_values = ["localhost", "127.0.0.1", "::1"])]
        site_names: Vec<String>,
    },
    /// Serve until interrupted
    Run,
    #[command(flatten)]
    Operator(Operator),
    /// The zone of the site, as this node answers it
    #[command(subcommand)]
    Dns(Dns),
    /// The packet filter and the kernel settings that this node should stand behind
    Harden(Harden),
    /// Try the operator's rules about requests
    #[command(subcommand)]
    Rules(rules::Asked),
}

#[derive(Debug, Subcommand)]
enum Dns {
    /// Print the records to enter in the zone above: who answers for this one, where they are, and its keys
    Delegation,
    /// Make a key to sign the zone with (DNSSEC)
    Key {
        /// The file to write; not one that is there
        file: PathBuf,
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
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let folder = cli.config.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let home = Home::new(folder);
    let config = match Config::read(&cli.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(EXIT_CONFIG.into());
        }
    };
    if cli.check {
        if let (Some(chain), Some(key)) = (&config.certificate, &config.key)
            && let Err(error) = crate::certificate::tls_config_from_files(chain, key)
        {
            eprintln!("error: {error}");
            return Ok(EXIT_CONFIG.into());
        }
        if let Err(error) = config.dns.signer(home.dir()).map(drop).and(Places::read(home.dir(), &config.dns.places)) {
            eprintln!("error: {error:#}");
            return Ok(EXIT_CONFIG.into());
        }
        if let Err(error) = Rulebook::open(&home.dir().join(&config.rules)) {
            eprintln!("error: {error}");
            return Ok(EXIT_CONFIG.into());
        }
        println!("{} is valid", cli.config.display());
        return Ok(ExitCode::SUCCESS);
    }
    match cli.command {
        None => {
            eprintln!("error: what should the node do? See `difusor-node --help`");
            return Ok(2.into());
        }
        Some(Do::Join { token, name, site_names }) => {
            let token: Token = token.parse()?;
            let identity = enrol::join(&home, &token, name, site_names).await?;
            if !cli.config.exists() {
                replace(&cli.config, TEMPLATE.as_bytes(), Access::Normal)?;
            }
            println!("This machine is node {} in zone {}.", identity.node, identity.zone);
            println!("Next: difusor-node --config {} run", cli.config.display());
        }
        Some(Do::Rules(asked)) => return rules::run(&asked, &home.dir().join(&config.rules), &config.proxies),
        Some(Do::Run) => run(&home, &config).await?,
        Some(Do::Harden(harden)) => {
            let said = harden.run(&config)?;
            print!("{}", said.text);
            return Ok(if said.fine { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Some(Do::Dns(Dns::Delegation)) => print!("{}", delegation(&home, &config)?),
        Some(Do::Dns(Dns::Key { file })) => {
            new_key(&file)?;
            println!(
                "{} is a key. Give the same file to every node, and name it in `dnssec` under [dns].",
                file.display()
            );
            println!("The user that the node runs as has to be able to read it: chgrp difusor, chmod 640.");
            println!(
                "With all of them restarted, `difusor-node dns delegation` prints the DS record for the zone above."
            );
        }
        Some(Do::Operator(what)) => print!("{}", control::ask(&home.control(), &what)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// What the zone above has to say of the one of the site.
fn delegation(home: &Home, config: &Config) -> anyhow::Result<String> {
    let names = config.dns.names()?.context("this node answers no DNS: set `bind` and `zone` under [dns]")?;
    let key = home.read_identity()?.key()?;
    let members = home.read_members().and_then(|signed| signed.open(&key).ok());
    let members = members.context("the coordinator has not said yet who is in the mesh: run the node first")?;
    let signer = config.dns.signer(home.dir())?;
    let text = dns::answer::delegation(&names, &dns::roster::servers(&members), signer.as_ref());
    anyhow::ensure!(!text.is_empty(), "no node has said that it answers DNS: run those with [dns] once");
    Ok(text)
}

/// Writes a new key for the zone, and never over one that is there.
fn new_key(file: &Path) -> anyhow::Result<()> {
    let is_there = || format!("{} is there already: a key that is in use must not be lost", file.display());
    anyhow::ensure!(!file.exists(), is_there());
    replace(file, ZoneKey::make()?.as_bytes(), Access::Secret)?;
    Ok(())
}

async fn run(home: &Home, config: &Config) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,sled=warn,hickory_proto=error"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
    let node = Node::bind(home, config).await?;
    let ready = node.ready();
    tracing::info!(public = ?ready.public, admin = %ready.admin, "ready");
    let cancel = CancellationToken::new();
    let on_signal = cancel.clone();
    tokio::spawn(async move {
        interrupted().await;
        tracing::info!("ending: no new connections, downloads under way finish");
        on_signal.cancel();
    });
    node.run(cancel).await
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

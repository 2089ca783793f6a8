//! `cargo run --release`: a whole mesh on this machine, and an election night over it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what a command line is for")]

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use difusor_local::{
    Mesh, Options, Ports, multicall,
    report::{MemoryReport, NodeMemory, Report, peak_rss},
    screen::Screen,
    watch::{self, Published},
};
use difusor_night::{Night, NightSpec};

/// Starts a coordinator and its nodes on this machine as real processes, publishes packages, and shows how they arrive.
///
/// Without files it publishes an election night of its own making. Interrupt it to end; everything drains first.
#[derive(Debug, Parser)]
#[command(name = "difusor-local", version)]
struct Cli {
    /// Packages to publish instead, in this order
    files: Vec<PathBuf>,
    /// Publish each zip that appears in this folder
    #[arg(long, conflicts_with = "files")]
    watch: Option<PathBuf>,
    /// Nodes, each in a zone of its own
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    nodes: u8,
    /// Keep everything in this folder, and go on from what is there
    #[arg(long)]
    data: Option<PathBuf>,
    /// Use any free ports instead of 8441, 8442, 8443 and 8400
    #[arg(long)]
    free_ports: bool,
    /// End when the last package is served everywhere
    #[arg(long)]
    once: bool,
    /// Write what was measured to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Cuts of the night that is made when no files are given
    #[arg(long, default_value_t = 6)]
    cuts: usize,
    /// Seconds between them
    #[arg(long, default_value_t = 3.0)]
    pace: f64,
}

fn main() -> ExitCode {
    if let Some(code) = multicall::dispatch() {
        return code;
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let temporary = if cli.data.is_none() { Some(tempfile::TempDir::new()?) } else { None };
    let dir = cli.data.clone().or_else(|| temporary.as_ref().map(|dir| dir.path().to_owned()));
    let dir = dir.context("no folder")?;
    let ports = if cli.free_ports { Ports::Free } else { Ports::Documented };
    let options = Options::new(dir.join("mesh"), cli.nodes.into(), ports)?;
    let mut screen = Screen::new();
    screen.work("starting the mesh");
    let mesh = Mesh::start(&options).await?;
    screen.done();
    for node in &mesh.nodes {
        screen.line(&format!("{:<14} https://localhost:{}", node.zone.as_str(), node.public.port()));
    }
    screen.line(&format!("{:<14} http://{}", "console, API", mesh.api()?));
    let mut report = Report::default();
    report.mesh.nodes = mesh.nodes.iter().filter_map(|node| node.zone.as_str().parse().ok()).collect();
    let outcome = tokio::select! {
        outcome = publish(&cli, &mesh, &mut screen, &mut report, &dir) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    screen.done();
    report.memory = MemoryReport {
        coordinator_peak_rss: peak_rss(mesh.coordinator.pid()),
        nodes: (mesh.nodes.iter())
            .filter_map(|node| {
                Some(NodeMemory { node: node.zone.as_str().parse().ok()?, peak_rss: peak_rss(node.process.pid()) })
            })
            .collect(),
    };
    if let Some(path) = &cli.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    screen.work("draining");
    let stopped = mesh.stop().await;
    screen.done();
    outcome.and(stopped)
}

/// Publishes everything there is, then waits to be interrupted unless it is to be done once.
async fn publish(
    cli: &Cli,
    mesh: &Mesh,
    screen: &mut Screen,
    report: &mut Report,
    dir: &std::path::Path,
) -> anyhow::Result<()> {
    screen.head();
    if let Some(folder) = &cli.watch {
        return watch_folder(folder, mesh, screen, report, cli.once).await;
    }
    if cli.files.is_empty() {
        let spec = NightSpec { cuts: cli.cuts, ..NightSpec::demo() };
        let night = std::sync::Arc::new(Night::new(spec)?);
        let packages = dir.join("packages");
        for i in 0..night.len() {
            let began = std::time::Instant::now();
            screen.work("the institute makes the next package");
            let (source, to) = (std::sync::Arc::clone(&night), packages.clone());
            let made = tokio::task::spawn_blocking(move || {
                std::fs::create_dir_all(&to)?;
                source.write_to(&to, i, true)
            });
            let file = made.await??;
            one(mesh, &file, screen, report).await?;
            if i + 1 < night.len() {
                let pace = Duration::try_from_secs_f64(cli.pace).context("--pace")?;
                tokio::time::sleep(pace.saturating_sub(began.elapsed())).await;
            }
        }
    }
    for file in &cli.files {
        one(mesh, file, screen, report).await.with_context(|| file.display().to_string())?;
    }
    if !cli.once {
        screen.line("Everything is served. Interrupt to end.");
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Publishes one package and adds it to the table.
async fn one(mesh: &Mesh, file: &std::path::Path, screen: &mut Screen, report: &mut Report) -> anyhow::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    screen.work(&format!("publishing {name}"));
    let published = watch::publish(mesh, file, |fleet, cut| screen.progress(fleet, cut)).await;
    screen.done();
    match published? {
        Published::Served(cut) => {
            screen.cut(&cut);
            report.cuts.push(*cut);
        }
        Published::Kept(accepted) => {
            let cut = accepted.cut;
            screen.line(&format!("{name}: cut {} ({}), {:?}", cut.seq, cut.label, accepted.outcome));
        }
    }
    Ok(())
}

/// Publishes each zip that appears, in the order of their names. A file is taken when its size has stopped growing.
async fn watch_folder(
    folder: &std::path::Path,
    mesh: &Mesh,
    screen: &mut Screen,
    report: &mut Report,
    once: bool,
) -> anyhow::Result<()> {
    let mut done = BTreeSet::new();
    let mut sizes = std::collections::HashMap::new();
    loop {
        let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
        let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|e| e == "zip") && !done.contains(file));
        files.sort();
        for file in files {
            let size = file.metadata().map(|meta| meta.len()).unwrap_or(0);
            if sizes.insert(file.clone(), size) != Some(size) {
                // The ones after it must not overtake it.
                break;
            }
            done.insert(file.clone());
            if let Err(error) = one(mesh, &file, screen, report).await {
                // One bad package must not stop the night.
                screen.line(&format!("{}: {error:#}", file.display()));
            }
            if once {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

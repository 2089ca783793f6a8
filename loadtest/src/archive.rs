//! `loadtest archive`: what a night's packages take at rest, and that every one of them comes out again.
//!
//! Packages are made one by one, handed to a coordinator (a real process, without nodes) and to backup programs, and
//! deleted; only their digests are kept. When the coordinator's archive is as planned, it proves every package itself
//! (`history verify`), and every package is exported and compared with the digest that was noted.

mod peers;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use difusor_coordinator::{api::Listed, client::Client, publish::Request};
use difusor_local::{Mesh, Options, mesh::Ports};
use difusor_night::{Night, NightSpec};
use difusor_proto::Sha256;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// How often the coordinator is asked.
const LOOK: Duration = Duration::from_millis(200);

/// An archive in which nothing happens for this long is as planned, or will never be.
const STILL: Duration = Duration::from_secs(60);

/// Keep a night's packages, compare their space with that of backup programs, and get every one of them out again
///
/// Prints a Markdown table. Peers are restic and borg, each given the packages as they are, and again their files.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Packages to keep, from the middle of the night
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=1000))]
    cuts: u16,
    /// Packages of the whole night
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=1000))]
    of: u16,
    /// Size of the night, as a factor of national (42 MB a package)
    #[arg(long, default_value_t = 0.1, value_name = "FACTOR")]
    scale: f64,
    /// Put the tables into a zip of zips, as real sites do
    #[arg(long)]
    nested: bool,
    /// Cuts from one keyframe to the next
    #[arg(long, default_value_t = 32, value_name = "N")]
    keyframe_every: u64,
    /// Newest packages that are kept as they came
    #[arg(long, default_value_t = 1, value_name = "N")]
    verbatim_cuts: usize,
    /// Without restic and borg
    #[arg(long)]
    alone: bool,
    /// Write the measurements here as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
    /// Folder to work in, removed at the end
    #[arg(long, value_name = "DIR")]
    tmp: Option<std::path::PathBuf>,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Outcome {
    cuts: usize,
    package_bytes: u64,
    at_rest: u64,
    /// Of each cut, in their order.
    at_rest_each: Vec<u64>,
    keyframes: usize,
    verify_s: f64,
    worst_verify_ms: u64,
    export_s: f64,
    worst_export_ms: u64,
    peak_bytes: u64,
    peers: Vec<(String, u64)>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let work = match &args.tmp {
        Some(dir) => tempfile::tempdir_in(dir).with_context(|| format!("cannot work in {}", dir.display()))?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(measure(args, work.path()))?;
    report(&outcome);
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_vec_pretty(&outcome)?).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

async fn measure(args: &Args, work: &Path) -> anyhow::Result<Outcome> {
    let cuts = usize::from(args.cuts);
    let all = cuts.max(usize::from(args.of));
    let cadence = Duration::from_secs(120);
    let night =
        Night::new(NightSpec { cuts: all, cadence, nested: args.nested, ..NightSpec::national().scaled(args.scale) })?;
    let mut options = Options::new(work.join("mesh"), 0, Ports::Free)?;
    options.coordinator_config =
        format!("keyframe_every = {}\nverbatim_cuts = {}", args.keyframe_every, args.verbatim_cuts);
    let mesh = Mesh::start(&options).await?;
    let mut peers = if args.alone { Vec::new() } else { peers::all(work)? };

    let packages = work.join("packages");
    fs::create_dir_all(&packages)?;
    let bar = bar("taking in", cuts)?;
    let mut sums = Vec::with_capacity(cuts);
    for i in (all - cuts) / 2..(all + cuts) / 2 {
        let file = night.write_to(&packages, i, false)?;
        sums.push(Sha256::of(&fs::read(&file)?));
        mesh.client().publish(&file, Request::default()).await?;
        tokio::task::block_in_place(|| peers.iter_mut().try_for_each(|peer| peer.add(&night.label(i), &file)))?;
        fs::remove_file(&file)?;
        bar.inc(1);
    }
    bar.finish();
    let listed = planned(mesh.client(), args).await?;
    let verified = prove(mesh.client(), cuts).await?;
    let exported = export(mesh.client(), &sums, &work.join("exported.zip")).await?;
    let peak_bytes = mesh.coordinator.pid().and_then(peak).unwrap_or(0);
    mesh.stop().await?;
    Ok(Outcome {
        cuts,
        package_bytes: listed.iter().map(|cut| cut.archived.package.size).sum(),
        at_rest: listed.iter().map(|cut| cut.at_rest).sum(),
        at_rest_each: listed.iter().map(|cut| cut.at_rest).collect(),
        keyframes: listed.iter().filter(|cut| cut.verbatim).count(),
        verify_s: verified.0.as_secs_f64(),
        worst_verify_ms: verified.1,
        export_s: exported.0.as_secs_f64(),
        worst_export_ms: u64::try_from(exported.1.as_millis())?,
        peak_bytes,
        peers: peers.iter().map(|peer| Ok((peer.name().to_owned(), peer.bytes()?))).collect::<anyhow::Result<_>>()?,
    })
}

/// Waits until nothing in the archive changes any more.
async fn planned(client: &Client, args: &Args) -> anyhow::Result<Vec<Listed>> {
    let cuts = usize::from(args.cuts);
    let mut keyframes = (1..=cuts as u64).map(|seq| args.keyframe_every < 2 || (seq - 1) % args.keyframe_every == 0);
    let old = cuts.saturating_sub(args.verbatim_cuts);
    let planned = keyframes.by_ref().take(old).filter(|is_keyframe| *is_keyframe).count() + cuts - old;
    let bar = bar("keeping by what changed", cuts - planned)?;
    let mut last = (usize::MAX, Instant::now());
    loop {
        let listed = client.history().await?;
        let verbatim = listed.iter().filter(|cut| cut.verbatim).count();
        bar.set_position((cuts - verbatim) as u64);
        if verbatim != last.0 {
            last = (verbatim, Instant::now());
        }
        if verbatim <= planned || last.1.elapsed() > STILL {
            bar.finish();
            return Ok(listed);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Has the coordinator prove every package. How long all took, and the one that took the longest, milliseconds.
async fn prove(client: &Client, cuts: usize) -> anyhow::Result<(Duration, u64)> {
    let bar = bar("proving", cuts)?;
    let (began, mut worst, mut problems) = (Instant::now(), 0, Vec::new());
    client
        .verify(None, |seen| {
            bar.inc(1);
            worst = worst.max(seen.ms);
            problems.extend(seen.problem.map(|problem| format!("cut {}: {problem}", seen.cut.seq)));
        })
        .await?;
    ensure!(bar.position() == cuts as u64 && problems.is_empty(), "{} of {cuts} seen, {problems:?}", bar.position());
    bar.finish();
    Ok((began.elapsed(), worst))
}

/// Exports every package and compares it with what was made. How long all took, and the one that took the longest.
async fn export(client: &Client, sums: &[Sha256], to: &Path) -> anyhow::Result<(Duration, Duration)> {
    let bar = bar("exporting", sums.len())?;
    let (mut all, mut worst) = (Duration::ZERO, Duration::ZERO);
    for (seq, sum) in (1_u64..).zip(sums) {
        let began = Instant::now();
        client.export(&seq.to_string(), to).await?;
        let took = began.elapsed();
        (all, worst) = (all + took, worst.max(took));
        ensure!(Sha256::of(&fs::read(to)?) == *sum, "cut {seq} comes out as other bytes");
        bar.inc(1);
    }
    bar.finish();
    Ok((all, worst))
}

fn report(outcome: &Outcome) {
    let mega = |bytes: u64| bytes as f64 / 1e6;
    let part = |bytes: u64| 100.0 * bytes as f64 / outcome.package_bytes as f64;
    println!("| {} packages | MB | of verbatim |", outcome.cuts);
    println!("|---|---|---|");
    println!("| verbatim | {:.1} | 100 % |", mega(outcome.package_bytes));
    println!("| difusor | {:.1} | {:.2} % |", mega(outcome.at_rest), part(outcome.at_rest));
    for (name, bytes) in &outcome.peers {
        println!("| {name} | {:.1} | {:.2} % |", mega(*bytes), part(*bytes));
    }
    println!();
    println!(
        "{} are kept as they came. All proven in {:.1} s (worst {} ms), all exported and compared in {:.1} s (worst {} ms). \
         The coordinator had {:.0} MB at most.",
        outcome.keyframes,
        outcome.verify_s,
        outcome.worst_verify_ms,
        outcome.export_s,
        outcome.worst_export_ms,
        mega(outcome.peak_bytes)
    );
    let met = outcome.at_rest * 10 <= outcome.package_bytes;
    println!("Goal of a tenth of verbatim: {}.", if met { "met" } else { "missed" });
}

/// The largest resident size that a process had.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

fn bar(what: &'static str, steps: usize) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{msg:24} {bar:40} {pos}/{len} {elapsed}")?;
    Ok(ProgressBar::new(steps as u64).with_style(style).with_message(what))
}

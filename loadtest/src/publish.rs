//! `loadtest publish`: this system against what a careful operator would script, on the same machine and packages.
//!
//! Measured on both sides: the time from the last byte of a package to it being served on all three nodes. The peer is
//! `unzip`, three parallel `rsync` and a symlink swap for each. Both nights run in full, one after the other, and
//! take turns in going first, so that neither always finds the machine warm.

mod mesh;
mod rsync;
mod summary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use difusor_night::{Night, NightSpec};
use serde::Serialize;

/// Compare with unzip and rsync: time from the last byte of a package to served on all three nodes
///
/// Prints a Markdown table. Needs rsync, unzip, and the binary of the local mesh, which
/// `cargo build --release -p difusor-local` makes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Consecutive cuts to publish
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    cuts: u16,
    /// First of them, counted from 0; the middle of the night if not given
    #[arg(long, value_name = "CUT")]
    from: Option<usize>,
    /// Size of the night
    #[arg(long, value_enum, default_value_t = Scale::National)]
    scale: Scale,
    /// Put the tables into a zip of zips, as real sites do
    #[arg(long)]
    nested: bool,
    /// Seed of the night's places, votes and arrivals
    #[arg(long)]
    seed: Option<u64>,
    /// Rounds; each publishes the whole window on both sides
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Write the measurements here as JSON
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
    /// Binary of the local mesh; difusor-local next to this one if not given
    #[arg(long, value_name = "PATH")]
    mesh: Option<PathBuf>,
    /// Measure one side alone
    #[arg(long, value_enum)]
    only: Option<Side>,
    /// Folder to work in, removed at the end; give one on the disk that you want to measure
    #[arg(long, value_name = "DIR")]
    tmp: Option<PathBuf>,
    /// Longest time one night may take in the mesh, seconds
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    cap: u64,
}

#[derive(Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Scale {
    National,
    Demo,
    Tiny,
}

/// Who publishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Side {
    Difusor,
    Rsync,
}

/// One package published to three nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Publication {
    label: String,
    package_bytes: u64,
    /// From the last byte of the package to served on all nodes.
    served_ms: f64,
    /// From the first node that served it to the last.
    skew_us: u64,
    /// Bytes that each node received.
    received: Vec<u64>,
}

/// Largest resident sizes of a night, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Memory {
    coordinator: u64,
    node: u64,
}

/// A window of the night, published by one side.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct NightRun {
    cuts: Vec<Publication>,
    memory: Option<Memory>,
}

/// What is written to `--out`.
#[derive(Serialize)]
struct Record<'a> {
    scale: Scale,
    nested: bool,
    seed: u64,
    difusor: &'a [NightRun],
    rsync: &'a [NightRun],
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let wants = |side| args.only.is_none_or(|only| only == side);
    if wants(Side::Rsync) {
        rsync::check()?;
    }
    let mesh = if wants(Side::Difusor) { Some(mesh::find(args.mesh.as_deref())?) } else { None };
    let work = match &args.tmp {
        Some(dir) => tempfile::tempdir_in(dir).with_context(|| format!("cannot work in {}", dir.display()))?,
        None => tempfile::tempdir()?,
    };
    let spec = spec(args);
    let seed = spec.seed;
    eprintln!("making {} packages in {}", args.cuts, work.path().display());
    let packages = packages(&Night::new(spec)?, args, &work.path().join("packages"))?;

    let (mut difusor, mut rsync) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        let order = if round % 2 == 0 { [Side::Difusor, Side::Rsync] } else { [Side::Rsync, Side::Difusor] };
        for side in order {
            settle();
            let dir = work.path().join(format!("{side:?}-{round}").to_lowercase());
            fs::create_dir(&dir)?;
            match (side, &mesh) {
                (Side::Difusor, Some(mesh)) => {
                    difusor.push(mesh::night(mesh, &packages, &dir, Duration::from_secs(args.cap))?);
                    tell(round, side, difusor.last());
                }
                (Side::Rsync, _) if wants(side) => {
                    rsync.push(rsync::night(&packages, &dir)?);
                    tell(round, side, rsync.last());
                }
                _ => {}
            }
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
    }
    if let Some(out) = &args.out {
        let record = Record { scale: args.scale, nested: args.nested, seed, difusor: &difusor, rsync: &rsync };
        let json = serde_json::to_vec_pretty(&record)?;
        fs::write(out, json).with_context(|| format!("cannot write {}", out.display()))?;
    }
    println!("{}", summary::table(&difusor, &rsync));
    Ok(())
}

fn spec(args: &Args) -> NightSpec {
    let mut spec = match args.scale {
        Scale::National => NightSpec::national(),
        Scale::Demo => NightSpec::demo(),
        Scale::Tiny => NightSpec::tiny(),
    };
    spec.seed = args.seed.unwrap_or(spec.seed);
    spec.nested = args.nested;
    spec
}

/// Writes the window's packages; the paths come in the order of the night.
fn packages(night: &Night, args: &Args, dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cuts = usize::from(args.cuts);
    let from = args.from.unwrap_or_else(|| (night.len() / 2).min(night.len().saturating_sub(cuts)));
    anyhow::ensure!(from + cuts <= night.len(), "cuts {from}..{} of a night of {}", from + cuts, night.len());
    fs::create_dir(dir)?;
    let write = |i| night.write_to(dir, i, false).with_context(|| format!("cannot write package {i}"));
    (from..from + cuts).map(write).collect()
}

/// Lets the disk finish what an earlier night left behind, so that a later one does not pay for it.
fn settle() {
    // Only makes the figures steadier.
    let _ = Command::new("sync").status();
}

fn tell(round: u16, side: Side, night: Option<&NightRun>) {
    let times = night.into_iter().flat_map(|night| &night.cuts).map(|cut| format!("{:.0}", cut.served_ms));
    let times: Vec<_> = times.collect();
    eprintln!("round {round}, {side:?}: {} ms", times.join(", "));
}

/// Label of a package, from its file name.
fn label(package: &Path) -> String {
    let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.split("_PREP").next().unwrap_or_default().to_owned()
}

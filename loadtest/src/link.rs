//! `loadtest link`: from the last byte of a package to served on nodes that are far away.
//!
//! A real mesh, each node behind an emulated link of its own ([`difusor_link`]): the same rate, one of several round
//! trips, losses in both directions. After a first cut, which is not counted, consecutive national cuts are published,
//! each when the one before is served; with tables plain and in a zip of zips, and with each setting of `deltas`.
//!
//! **The limit** that a cut is compared with is what the line and the distance ask for whatever the ends do: the bytes
//! that came to the node over the rate of its link, and two round trips of its link (one for the delta and the word
//! that it is there, one for the order to flip and its instant). Of several nodes, the slowest.
//!
//! **Phases**, on the node that was staged last; they add up to the time until it was served. *Ingest*: until the manifest
//! was signed. *Delta*: until what goes over was made. *Transfer*: until its machine had acknowledged all of it, a round
//! trip included. *Decoding*: until it said that all is verified and on disk. *Flip*: until it was seen serving, over
//! HTTPS from here: the order, its lead, and what the others were waited for.
//!
//! All processes share this machine's cores, and so do the links: CPU times of each say how much of the wait that may be.
//! `--nodes 1` has one node alone.

mod mesh;
mod record;
mod summary;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use difusor_link::LinkSpec;
use difusor_night::{Night, NightSpec};
use serde::Serialize;

use record::Record;

/// Measure publication to nodes behind emulated wide-area links
///
/// Prints a Markdown table of medians and worst cases, against what the links allow.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Cuts that are counted, in each setting; one more comes before
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    cuts: u16,
    /// Nodes, each with a link of its own; the round trips are taken in turn
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32))]
    nodes: u16,
    /// Bottleneck of each link, Mbit/s
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    mbit: u64,
    /// Round trips, milliseconds
    #[arg(long, value_delimiter = ',', default_values_t = [80, 120, 150], value_name = "MS,...", value_parser = clap::value_parser!(u64).range(1..=2_000))]
    rtt: Vec<u64>,
    /// Random loss in each direction, per cent
    #[arg(long, default_value_t = 0.1, value_name = "PERCENT")]
    loss: f64,
    /// Settings of `deltas` in the coordinator's configuration
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Deltas::Auto, Deltas::Apart, Deltas::Whole], value_name = "SETTING,...")]
    deltas: Vec<Deltas>,
    /// Where the tables are
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Shape::Plain, Shape::Nested], value_name = "SHAPE,...")]
    shape: Vec<Shape>,
    /// Small packages and few cuts, to see that it runs
    #[arg(long)]
    quick: bool,
    /// Chooses the night, and which datagrams are lost
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the measurements here as JSON
    #[arg(long, value_name = "FILE.json")]
    json: Option<PathBuf>,
    /// Program that coordinator and nodes are, such as an older build of this one; this one if not given
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Deltas {
    Auto,
    Apart,
    Whole,
}

impl Deltas {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Apart => "apart",
            Self::Whole => "whole",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Shape {
    /// Under `assets/csv/`.
    Plain,
    /// In a zip of zips whose name changes at each cut.
    Nested,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let work = tempfile::tempdir()?;
    let mut records = Vec::new();
    for shape in &args.shape {
        let packages = packages(args, *shape, work.path())?;
        for deltas in &args.deltas {
            let dir = work.path().join(format!("{shape:?}-{}", deltas.name()));
            let cuts = runtime.block_on(mesh::cuts(args, *deltas, &packages, &dir))?;
            records.push(Record { shape: *shape, deltas: *deltas, cuts });
            fs::remove_dir_all(&dir)?;
        }
        packages.iter().try_for_each(fs::remove_file)?;
    }
    if let Some(out) = &args.json {
        let json = serde_json::to_vec_pretty(&records)?;
        fs::write(out, json).with_context(|| format!("cannot write {}", out.display()))?;
    }
    println!("{}", summary::tables(&records));
    Ok(())
}

/// Consecutive packages from the middle of a night, when most sheets arrive.
fn packages(args: &Args, shape: Shape, work: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let spec = if args.quick { NightSpec::tiny() } else { NightSpec::national() };
    let night = Night::new(NightSpec { seed: args.seed, nested: shape == Shape::Nested, ..spec })?;
    let count = usize::from(counted(args)) + 1;
    let from = (night.len() / 2).min(night.len().saturating_sub(count));
    eprintln!("making {count} packages, {shape:?}");
    (from..from + count).map(|i| Ok(night.write_to(work, i, false)?)).collect()
}

fn counted(args: &Args) -> u16 {
    if args.quick { args.cuts.min(2) } else { args.cuts }
}

/// The links, one for each node.
fn links(args: &Args) -> Vec<LinkSpec> {
    let specs = args.rtt.iter().cycle().take(args.nodes.into()).zip(args.seed..).map(|(rtt, seed)| LinkSpec {
        seed,
        ..LinkSpec::wan(args.mbit * 1_000_000, Duration::from_millis(*rtt), args.loss / 100.0)
    });
    specs.collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_link_for_each_node() {
        let args = Line::parse_from(["link", "--nodes", "4"]).args;
        let delays: Vec<_> = links(&args).iter().map(|link| link.delay.as_millis()).collect();
        assert_eq!(delays, [40, 60, 75, 40]);
        let seeds: Vec<_> = links(&args).iter().map(|link| link.seed).collect();
        assert_eq!(seeds, [1, 2, 3, 4]);
        assert_eq!((args.deltas.len(), args.shape.len(), links(&args)[0].loss), (3, 2, 0.001));
    }
}

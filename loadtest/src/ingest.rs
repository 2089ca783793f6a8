//! `loadtest ingest`: what it takes to take a package in, against unpacking it and summing its files with the usual
//! programs.
//!
//! Ours is the product's own ingest, called as the coordinator calls it for a first cut, in a process of its own; and the
//! whole publication at a real coordinator without nodes, from the last byte to durable. The peer is `unzip`, then
//! `sha256sum` and `b3sum` of all files: one after the other, and with `xargs -P2`. In a nested package ours opens the
//! archives within and sums their files too; so a peer that does that work is measured beside the one that does not.
//!
//! What is compared is not alike in two ways, both in the peer's favour for the second figure: it waits for no disk (no
//! fsync), and it proves nothing of the zip's structure. Every variant has both cores. All take turns within a round, and
//! every other round the other way around.

mod ours;
mod peer;
mod summary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use difusor_night::{Night, NightSpec};
use serde::Serialize;

use peer::Variant;

/// Compare the ingest of a package with unzip, sha256sum and b3sum
///
/// Prints a Markdown table of medians. Needs unzip, xargs, sha256sum and b3sum: in Debian the packages unzip, findutils,
/// coreutils and b3sum.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds; each runs every variant once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// A small package and a single round, to see that it runs
    #[arg(long)]
    quick: bool,
    /// Seed of the night's places, votes and arrivals
    #[arg(long)]
    seed: Option<u64>,
    /// Folders to unpack in, each measured; the system's own for temporary files, and /dev/shm, if not given
    #[arg(long, value_delimiter = ',', value_name = "DIR,...")]
    folders: Vec<PathBuf>,
    /// Write the measurements here as JSON
    #[arg(long, value_name = "FILE.json")]
    json: Option<PathBuf>,
    /// Take this package in, in this process, and print what it took; what every round runs
    #[arg(long, hide = true, value_name = "PACKAGE.zip")]
    one: Option<PathBuf>,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Subject {
    /// The ingest alone.
    Ingest,
    /// From the last byte at a coordinator to durable.
    Publication,
    /// The usual programs, in a folder.
    Peer { variant: Variant, folder: PathBuf },
}

/// What it took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Took {
    ms: f64,
    /// CPU time of all processes, milliseconds; `None` where another process did the work.
    cpu_ms: Option<f64>,
}

/// All rounds of one subject.
#[derive(Debug, Serialize)]
struct Series {
    subject: Subject,
    rounds: Vec<Took>,
}

/// One package.
#[derive(Debug, Serialize)]
struct Record {
    nested: bool,
    package_bytes: u64,
    series: Vec<Series>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(package) = &args.one {
        println!("{}", serde_json::to_string(&ours::ingest(package)?)?);
        return Ok(());
    }
    peer::check()?;
    let work = tempfile::tempdir()?;
    let records: Vec<_> = [false, true].map(|nested| measure(args, nested, work.path())).into_iter().collect();
    let records = records.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(out) = &args.json {
        let json = serde_json::to_vec_pretty(&records)?;
        fs::write(out, json).with_context(|| format!("cannot write {}", out.display()))?;
    }
    println!("{}", summary::table(&records));
    Ok(())
}

fn measure(args: &Args, nested: bool, work: &Path) -> anyhow::Result<Record> {
    let spec = if args.quick { NightSpec::tiny() } else { NightSpec::national() };
    let night = Night::new(NightSpec { seed: args.seed.unwrap_or(spec.seed), nested, ..spec })?;
    let dir = work.join(if nested { "nested" } else { "plain" });
    fs::create_dir(&dir)?;
    let package = night.write_to(&dir, night.len() / 2, false)?;
    let mut series: Vec<_> =
        subjects(args, nested).into_iter().map(|subject| Series { subject, rounds: Vec::new() }).collect();
    let rounds = if args.quick { 1 } else { args.rounds };
    for round in 0..rounds {
        let mut order: Vec<_> = series.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for Series { subject, rounds } in order {
            settle();
            let took = match subject {
                Subject::Ingest => ours::apart(&package)?,
                Subject::Publication => ours::publication(&package)?,
                Subject::Peer { variant, folder } => peer::unpack(*variant, &package, folder)?,
            };
            eprintln!("round {round}, nested {nested}, {}: {:.0} ms", summary::name(subject), took.ms);
            rounds.push(took);
        }
    }
    Ok(Record { nested, package_bytes: fs::metadata(&package)?.len(), series })
}

fn subjects(args: &Args, nested: bool) -> Vec<Subject> {
    let shared = PathBuf::from("/dev/shm");
    let usual = || std::iter::once(std::env::temp_dir()).chain(shared.is_dir().then(|| shared.clone()));
    let folders: Vec<_> = if args.folders.is_empty() { usual().collect() } else { args.folders.clone() };
    let variants: &[_] = if nested { &Variant::ALL } else { &Variant::UNOPENED };
    let peers = folders.iter().flat_map(|folder| {
        variants.iter().map(move |variant| Subject::Peer { variant: *variant, folder: folder.clone() })
    });
    [Subject::Ingest, Subject::Publication].into_iter().chain(peers).collect()
}

/// Lets the disk finish what an earlier subject left behind, so that the next does not pay for it.
fn settle() {
    // Only makes the figures steadier.
    let _ = Command::new("sync").status();
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
    fn opened_archives_only_where_there_are_any() {
        let args = Line::parse_from(["ingest", "--folders", "/a,/b"]).args;
        assert_eq!((subjects(&args, false).len(), subjects(&args, true).len()), (2 + 4, 2 + 6));
    }
}

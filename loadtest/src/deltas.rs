//! `loadtest deltas`: what it takes to bring a holder of one package to the next, here and elsewhere.
//!
//! A table with a row for each pair of packages and a column for each way, in per cent of the second package; then time
//! and memory, then what deflate recipes cost. Every way is proven for every row: what it brings is compared with the
//! package. Ways take turns, each on two cores at most.

mod child;
mod difusor;
mod goals;
mod pairs;
mod peers;
pub(crate) mod piece;
mod recipes;
mod report;
mod site;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::ValueEnum;
use difusor_night::NightSpec;
use indicatif::{ProgressBar, ProgressStyle};

use self::pairs::Pair;
use self::peers::{Ground, Peer};
use self::report::{Record, Row};
use self::site::Site;

/// Compare bytes, time and memory of bringing a holder of one package to the next, with other programs
///
/// Prints Markdown tables. Peers are Debian's rsync, casync, ostree and zstd; one that is missing has an empty column. A
/// national table takes about an hour on two cores, nearly all of it the peers' level 19.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Size of the generated nights
    #[arg(long, value_enum, default_value_t = Scale::National)]
    scale: Scale,
    /// Only rows whose name contains one of these
    #[arg(long, value_delimiter = ',', value_name = "TEXT,...")]
    rows: Vec<String>,
    /// Only these columns
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PEER,...")]
    peers: Vec<Peer>,
    /// A folder of folders of real packages, as zips or as folders of loose files, named by their labels
    #[arg(long, value_name = "DIR")]
    real: Option<PathBuf>,
    /// Small packages and three rows, to see that everything runs
    #[arg(long, conflicts_with = "scale")]
    quick: bool,
    /// Measure nothing: print what earlier runs wrote to these files with --json
    #[arg(long, value_delimiter = ',', value_name = "FILE,...", conflicts_with_all = ["rows", "real", "quick"])]
    from: Vec<PathBuf>,
    /// Write everything that was measured here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Folder to work in, removed at the end
    #[arg(long, value_name = "DIR")]
    tmp: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scale {
    National,
    Demo,
    Tiny,
}

/// Rows of `--quick`.
const QUICK: [&str; 3] = ["plain, peak", "nested, peak", "shuffled"];

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let peers: Vec<Peer> =
        Peer::ALL.into_iter().filter(|peer| args.peers.is_empty() || args.peers.contains(peer)).collect();
    if !args.from.is_empty() {
        println!("{}", report::tables(&read(&args.from)?, &peers));
        return Ok(());
    }
    let spec = spec(args);
    let mut rows = pairs::made(&spec);
    if let Some(folder) = &args.real {
        rows.extend(pairs::real(folder)?);
    }
    let wanted = |row: &Pair| {
        let named = |part: &str| row.name.contains(part);
        let is_quick = !args.quick || QUICK.into_iter().any(named) || row.kind == pairs::Kind::Real;
        if args.rows.is_empty() { is_quick } else { args.rows.iter().any(|part| named(part)) }
    };
    rows.retain(wanted);
    let steps = rows.len() * peers.len();
    // Hidden by itself when stderr is no terminal; the lines below are not.
    let bar = ProgressBar::new(steps as u64)
        .with_style(ProgressStyle::with_template("{bar:32} {pos}/{len} {msg} [{elapsed}, {eta} left]")?);
    bar.enable_steady_tick(Duration::from_millis(500));
    let mut record = Record { scale: name(args), rows: Vec::new(), recipes: None };
    for row in &rows {
        let done = one(row, &peers, args.tmp.as_deref(), &bar).with_context(|| row.name.clone())?;
        bar.suspend(|| eprintln!("{}", report::line(&done)));
        record.rows.push(done);
        write(args, &record)?;
    }
    bar.finish_and_clear();
    if !rows.is_empty() && (args.peers.is_empty() || args.peers.contains(&Peer::Difusor)) {
        record.recipes = Some(recipes::measure(&spec)?);
        write(args, &record)?;
    }
    println!("{}", report::tables(&record, &peers));
    Ok(())
}

fn name(args: &Args) -> String {
    let scale = args.scale.to_possible_value().map(|value| value.get_name().to_owned());
    if args.quick { "quick".to_owned() } else { scale.unwrap_or_default() }
}

fn spec(args: &Args) -> NightSpec {
    if args.quick {
        // Tables that are large enough to be patched one by one.
        return NightSpec { rows: 3_000, ..NightSpec::tiny() };
    }
    match args.scale {
        Scale::National => NightSpec::national(),
        Scale::Demo => NightSpec::demo(),
        Scale::Tiny => NightSpec::tiny(),
    }
}

/// What earlier runs wrote, as one; rows that were measured again count as they were measured last.
fn read(files: &[PathBuf]) -> anyhow::Result<Record> {
    let mut all = Record { scale: String::new(), rows: Vec::new(), recipes: None };
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        let record: Record = serde_json::from_slice(&bytes).with_context(|| file.display().to_string())?;
        for row in record.rows {
            match all.rows.iter_mut().find(|known| known.name == row.name) {
                Some(known) => known.update(row),
                None => all.rows.push(row),
            }
        }
        all.recipes = record.recipes.or(all.recipes);
        all.scale = record.scale;
    }
    all.rows.sort_by_key(|row| row.kind);
    Ok(all)
}

/// After each row, so that one that fails costs no other.
fn write(args: &Args, record: &Record) -> anyhow::Result<()> {
    let Some(path) = &args.json else { return Ok(()) };
    fs::write(path, serde_json::to_vec_pretty(record)?).with_context(|| format!("cannot write {}", path.display()))
}

fn one(row: &Pair, peers: &[Peer], tmp: Option<&Path>, bar: &ProgressBar) -> anyhow::Result<Row> {
    let work = match tmp {
        Some(dir) => tempfile::tempdir_in(dir).with_context(|| format!("cannot work in {}", dir.display()))?,
        None => tempfile::tempdir()?,
    };
    bar.set_message(row.name.clone());
    let (base_zip, target_zip) = row.write(work.path())?;
    let base = Site::extract(&base_zip, &work.path().join("base"), None)?;
    let target = Site::extract(&target_zip, &work.path().join("target"), Some(&base))?;
    let changes = target.changes(&base);
    let mut done = Row {
        name: row.name.clone(),
        kind: row.kind,
        package: fs::metadata(&target_zip)?.len(),
        files: target.files.len(),
        changed: changes.len(),
        difusor: None,
        peers: Vec::new(),
    };
    for peer in peers {
        bar.set_message(format!("{}: {}", row.name, peer.name()));
        let dir = work.path().join(format!("{peer:?}"));
        fs::create_dir(&dir)?;
        let began = Instant::now();
        if *peer == Peer::Difusor {
            done.difusor = Some(difusor::measure(&base_zip, &target_zip, &target, &dir)?);
        } else {
            let ground = Ground { base: &base, target: &target, changes: &changes, dir: &dir };
            done.peers.push((*peer, peer.measure(&ground).with_context(|| peer.name())?));
        }
        fs::remove_dir_all(&dir)?;
        bar.suspend(|| eprintln!("  {}: {}, {:.0?}", row.name, peer.name(), began.elapsed()));
        bar.inc(1);
    }
    Ok(done)
}

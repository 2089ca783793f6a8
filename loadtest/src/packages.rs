//! `loadtest packages`: writes the packages of a made-up election night into a folder.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::error::ErrorKind;
use difusor_night::{Night, NightSpec, PackageBytes};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::SignedDuration;

/// Write the packages of a made-up election night
///
/// The same options give the same bytes, on every run and any number of threads.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder to write into; made if missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Size of the night: national, demo, tiny, or a factor of national such as 0.25
    #[arg(long, default_value = "demo", value_name = "SCALE")]
    scale: Scale,
    /// Cuts over the whole night
    #[arg(long, value_name = "N")]
    cuts: Option<usize>,
    /// Write these cuts alone, counted from 0, the last excluded: 50..53
    #[arg(long, value_name = "FROM..TO")]
    only: Option<Window>,
    /// Time from one cut to the next, such as 3m or 90s
    #[arg(long, value_parser = duration)]
    cadence: Option<Duration>,
    /// Label of the first cut, YYYYMMDD_HHMM
    #[arg(long, value_name = "LABEL")]
    start: Option<String>,
    /// Seed of the night's places, votes and arrivals
    #[arg(long)]
    seed: Option<u64>,
    /// Put the tables into a zip of zips, as real sites do
    #[arg(long)]
    nested: bool,
    /// Put the rows of each table into another order at each cut
    #[arg(long)]
    shuffled: bool,
    /// Mark the figures as a test (cortePrueba)
    #[arg(long)]
    test_data: bool,
    /// Write <package>.sha256 next to each package
    #[arg(long)]
    sidecar: bool,
    /// Release one package every so many seconds, for a mesh that watches the folder
    #[arg(long, value_name = "SECONDS", value_parser = duration)]
    pace: Option<Duration>,
}

#[derive(Clone)]
struct Scale(NightSpec);

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let spec = match text {
            "national" => NightSpec::national(),
            "demo" => NightSpec::demo(),
            "tiny" => NightSpec::tiny(),
            _ => match text.parse::<f64>() {
                Ok(factor) if factor.is_finite() && factor > 0.0 => NightSpec::national().scaled(factor),
                _ => return Err("expected national, demo, tiny or a positive number".to_owned()),
            },
        };
        Ok(Self(spec))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Window(usize, usize);

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bounds = text.split_once("..").and_then(|(from, to)| Some(Self(from.parse().ok()?, to.parse().ok()?)));
        bounds.filter(|Self(from, to)| from < to).ok_or_else(|| "expected FROM..TO with FROM below TO".to_owned())
    }
}

/// `90s`, `3m`, `1h 30m`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let parsed = SignedDuration::from_str(text).map_err(|error| error.to_string())?;
    Duration::try_from(parsed).map_err(|_| "a duration cannot be negative".to_owned())
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let night = Night::new(spec(args))?;
    let Window(from, to) = args.only.clone().unwrap_or(Window(0, night.len()));
    let to = to.min(night.len());
    if from >= to {
        let message = format!("the night has {} cuts; none is in the window of --only\n", night.len());
        clap::Error::raw(ErrorKind::ValueValidation, message).exit();
    }
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make the folder {}", args.out.display()))?;

    // Hidden by itself when stderr is no terminal.
    let bar = ProgressBar::new((to - from) as u64)
        .with_style(ProgressStyle::with_template("{bar:32} {pos}/{len} {msg} [{elapsed}, {eta} left]")?);
    let began = Instant::now();
    let mut due = began;
    let mut before = HashMap::new();
    let mut lines = Vec::new();
    for i in from..to {
        bar.set_message(night.label(i));
        let package = night.package(i);
        if let Some(pace) = args.pace.filter(|_| i > from) {
            due += pace;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let path = package
            .write_to(&args.out, &night.file_name(i), args.sidecar)
            .with_context(|| format!("cannot write {} into {}", night.file_name(i), args.out.display()))?;
        if args.pace.is_some() {
            bar.suspend(|| eprintln!("{}", path.display()));
        }
        let now = checksums(&package);
        let changed = now.iter().filter(|(path, crc)| before.get(*path) != Some(*crc)).count();
        lines.push(row(&night.label(i), &package, changed));
        before = now;
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!("{:<13}  {:>12}  {:>12}  {:>7}  {:>7}", "label", "zip bytes", "plain bytes", "entries", "changed");
    for line in lines {
        println!("{line}");
    }
    println!("{} packages in {} after {:.1?}", to - from, args.out.display(), began.elapsed());
    Ok(())
}

fn spec(args: &Args) -> NightSpec {
    let Scale(mut spec) = args.scale.clone();
    spec.cuts = args.cuts.unwrap_or(spec.cuts);
    spec.cadence = args.cadence.unwrap_or(spec.cadence);
    spec.seed = args.seed.unwrap_or(spec.seed);
    spec.start = args.start.clone().unwrap_or(spec.start);
    spec.nested = args.nested;
    spec.shuffled = args.shuffled;
    spec.test_data = args.test_data;
    spec
}

fn checksums(package: &PackageBytes) -> HashMap<String, u32> {
    package.members.iter().map(|member| (member.path.clone(), member.crc32)).collect()
}

fn row(label: &str, package: &PackageBytes, changed: usize) -> String {
    let (zip, plain) = (package.bytes.len(), package.plain_bytes);
    format!("{label:<13}  {zip:>12}  {plain:>12}  {:>7}  {changed:>7}", package.entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("3m"), Ok(Duration::from_secs(180)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert!(duration("soon").is_err() && duration("-3m").is_err());
    }

    #[test]
    fn windows_and_scales() {
        assert_eq!("50..53".parse(), Ok(Window(50, 53)));
        assert!("3..3".parse::<Window>().is_err() && "3".parse::<Window>().is_err());
        assert!("tiny".parse::<Scale>().is_ok() && "0.5".parse::<Scale>().is_ok());
        assert!("huge".parse::<Scale>().is_err() && "-1".parse::<Scale>().is_err() && "NaN".parse::<Scale>().is_err());
    }
}

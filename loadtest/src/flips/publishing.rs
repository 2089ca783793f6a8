//! The night: packages made beforehand, and published one after the other while the coordinator is asked how far it is.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use difusor_coordinator::{
    client::Client,
    publish::{Outcome, Request},
};
use difusor_night::{Night, NightSpec};

use super::oracle::{Oracle, Timeline};

/// A cut that is not served after this long is not going to be.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the coordinator is asked.
const LOOK: Duration = Duration::from_millis(10);

/// A small night with one file of more than a megabyte, a few of some hundred kilobytes, and a database whose name
/// changes with the cuts. It has begun already, so that most tables are filled.
fn spec(cuts: u64, seed: u64) -> anyhow::Result<NightSpec> {
    Ok(NightSpec {
        seed,
        cuts: usize::try_from(2 * cuts)?,
        cadence: Duration::from_secs(60),
        elections: 1,
        rows: 3000,
        json_files: 60,
        static_files: 45,
        largest_file: 2_000_000,
        nested: true,
        ..NightSpec::tiny()
    })
}

/// Makes the packages in `dir`, and the oracle from them.
///
/// # Errors
/// What the disk gives.
pub(super) fn packages(dir: &Path, cuts: u64, seed: u64) -> anyhow::Result<(Vec<PathBuf>, Oracle)> {
    let night = Night::new(spec(cuts, seed)?)?;
    std::fs::create_dir_all(dir)?;
    let (mut packages, mut oracle) = (Vec::new(), Oracle::default());
    for i in night.len() / 2..night.len() {
        let package = night.write_to(dir, i, false).with_context(|| format!("writing package {i}"))?;
        oracle.read(&night.label(i), &package)?;
        packages.push(package);
    }
    Ok((packages, oracle))
}

/// Publishes these packages, the first of which is cut `seq`. Each is handed over when the one before it is served, or
/// with `ahead` as soon as that was taken in; and not before `pace` is over.
///
/// # Errors
/// If one is refused, gets another number, or is not served.
pub(super) async fn publish(
    client: &Client,
    timeline: &Timeline,
    packages: &[PathBuf],
    seq: u64,
    ahead: bool,
    pace: Option<Duration>,
) -> anyhow::Result<()> {
    for (seq, package) in (seq..).zip(packages) {
        let began = Instant::now();
        timeline.submit(seq);
        let accepted = client.publish(package, Request::default()).await?;
        ensure!(accepted.outcome == Outcome::Published, "{} was not published: {accepted:?}", package.display());
        ensure!(accepted.cut.seq == seq, "{} is cut {} and not {seq}", package.display(), accepted.cut.seq);
        if !ahead {
            served(timeline, seq).await?;
        }
        if let Some(pace) = pace {
            tokio::time::sleep(pace.saturating_sub(began.elapsed())).await;
        }
    }
    served(timeline, timeline.submitted()).await
}

/// Waits until a cut is confirmed.
async fn served(timeline: &Timeline, seq: u64) -> anyhow::Result<()> {
    let since = Instant::now();
    while timeline.confirmed() < seq {
        if since.elapsed() > PATIENCE {
            bail!("cut {seq} is not served after {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Asks the coordinator which cut its node serves, until it is dropped.
///
/// # Errors
/// If it does not answer.
pub(super) async fn confirm(client: &Client, timeline: &Timeline) -> anyhow::Result<()> {
    loop {
        let fleet = client.status().await.context("asking the coordinator")?;
        if let Some(cut) = fleet.nodes.values().next().and_then(|node| node.serves) {
            timeline.confirm(cut.seq);
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_night_has_what_is_to_be_checked() {
        let dir = tempfile::tempdir().unwrap();
        let (packages, oracle) = packages(dir.path(), 3, 1).unwrap();
        assert_eq!(packages.len(), 3);
        let menu = oracle.menu();
        oracle.check(&menu).unwrap();
        let largest = menu.large.iter().filter_map(|name| oracle.file(1, name)).map(|file| file.len).max().unwrap();
        assert!((1_000_000..5_000_000).contains(&largest), "{largest}");
        assert!(menu.small.iter().any(|name| name.ends_with(".json")));
        assert!(menu.small.iter().any(|name| name.starts_with("assets/img/")));
        assert!(menu.small.contains(&String::new()));
        assert!(menu.passing.values().all(|name| name.ends_with("_PREP.zip")));
    }
}

//! The peer: `unzip`, then three parallel `rsync` into trees seeded with hard links, then a symlink swap for each.
//!
//! Done as a careful operator would: the next tree is seeded before the package comes, `rsync` replaces files by
//! renaming (so the tree that is being served is never touched), and no node swaps before all have everything.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{NightRun, Publication, label};

const NODES: [&str; 3] = ["mx-central", "us-east", "eu-west"];

/// Fails if a program is missing, and says which Debian package brings it.
pub(super) fn check() -> anyhow::Result<()> {
    for (program, flag) in [("rsync", "--version"), ("unzip", "-v"), ("cp", "--version")] {
        let package = if program == "cp" { "coreutils" } else { program };
        Command::new(program).arg(flag).stdout(Stdio::null()).stderr(Stdio::null()).status().with_context(|| {
            format!("`{program}` does not start; Debian has it in the package `{package}` (apt install {package})")
        })?;
    }
    Ok(())
}

/// Publishes the packages in order, in `dir`.
pub(super) fn night(packages: &[PathBuf], dir: &Path) -> anyhow::Result<NightRun> {
    for node in NODES {
        fs::create_dir(dir.join(node))?;
    }
    let mut cuts = Vec::new();
    for (i, package) in packages.iter().enumerate() {
        let nexts = NODES.map(|node| dir.join(node).join(format!("cut-{i}")));
        seed(dir, &nexts)?;
        let source = dir.join(format!("unzipped-{i}"));
        cuts.push(publish(dir, package, &source, &nexts)?);
        tidy(dir, i, &source)?;
    }
    Ok(NightRun { cuts, memory: None })
}

/// Before the clock: each next tree begins as the one that is served.
fn seed(dir: &Path, nexts: &[PathBuf]) -> anyhow::Result<()> {
    for (node, next) in NODES.iter().zip(nexts) {
        let current = dir.join(node).join("current");
        if current.exists() {
            finish(Command::new("cp").arg("-al").arg(current.join(".")).arg(next).spawn(), "cp")?;
        } else {
            fs::create_dir(next)?;
        }
    }
    Ok(())
}

fn publish(dir: &Path, package: &Path, source: &Path, nexts: &[PathBuf]) -> anyhow::Result<Publication> {
    let package_bytes = fs::metadata(package)?.len();
    let began = Instant::now();
    finish(Command::new("unzip").args(["-q", "-o"]).arg(package).arg("-d").arg(source).spawn(), "unzip")?;
    let copies: Vec<_> = nexts.iter().map(|next| copy(source, next)).collect();
    let mut received = Vec::new();
    for child in copies {
        let output = finish(child, "rsync")?;
        received.push(sent_bytes(&output.stdout).context("rsync --stats told no bytes")?);
    }
    let swaps: io::Result<Vec<Duration>> = NODES
        .iter()
        .zip(nexts)
        .map(|(node, next)| {
            swap(&dir.join(node), next)?;
            Ok(began.elapsed())
        })
        .collect();
    let swaps = swaps.context("symlink swap")?;
    let (first, last) = (swaps.first().copied().unwrap_or_default(), swaps.last().copied().unwrap_or_default());
    Ok(Publication {
        label: label(package),
        package_bytes,
        served_ms: last.as_secs_f64() * 1e3,
        skew_us: u64::try_from((last - first).as_micros()).unwrap_or(u64::MAX),
        received,
    })
}

/// `rsync` from one tree to another on one machine copies whole files unless told not to.
fn copy(source: &Path, next: &Path) -> io::Result<Child> {
    Command::new("rsync")
        .args(["-az", "--no-whole-file", "--delete", "--stats", "--no-human-readable"])
        // With a slash behind: the content of the folder.
        .arg(source.join(""))
        .arg(next.join(""))
        .env("LC_ALL", "C")
        .stdout(Stdio::piped())
        .spawn()
}

fn swap(node: &Path, next: &Path) -> io::Result<()> {
    let fresh = node.join("current.new");
    symlink(next, &fresh)?;
    fs::rename(fresh, node.join("current"))
}

fn finish(child: io::Result<Child>, program: &str) -> anyhow::Result<Output> {
    let output = child.and_then(Child::wait_with_output).with_context(|| format!("cannot run {program}"))?;
    anyhow::ensure!(output.status.success(), "{program} failed: {}", output.status);
    Ok(output)
}

fn sent_bytes(stats: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(stats);
    let line = text.lines().find_map(|line| line.strip_prefix("Total bytes sent:"))?;
    line.trim().replace(',', "").parse().ok()
}

/// After the clock: every node must serve what was unzipped; then what is no longer needed goes.
fn tidy(dir: &Path, cut: usize, source: &Path) -> anyhow::Result<()> {
    let published = tree(source)?;
    for node in NODES {
        let served = tree(&dir.join(node).join("current").canonicalize()?)?;
        anyhow::ensure!(served == published, "{node} does not serve what was unzipped");
        if let Some(old) = cut.checked_sub(1) {
            fs::remove_dir_all(dir.join(node).join(format!("cut-{old}")))?;
        }
    }
    Ok(fs::remove_dir_all(source)?)
}

/// Every file below `root` with its size.
fn tree(root: &Path) -> anyhow::Result<BTreeMap<PathBuf, u64>> {
    let (mut files, mut dirs) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else {
                files.insert(entry.path().strip_prefix(root)?.to_owned(), entry.metadata()?.len());
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use difusor_night::{Night, NightSpec};

    use super::*;

    #[test]
    fn bytes_from_the_statistics() {
        let stats = b"Total file size: 9\nTotal bytes sent: 1,234,567\nTotal bytes received: 8\n";
        assert_eq!(sent_bytes(stats), Some(1_234_567));
        assert_eq!(sent_bytes(b"sent 9 bytes"), None);
    }

    /// Needs rsync and unzip, so it runs where `DIFUSOR_PEERS` is set, as `.ci/run` does once it has installed them.
    #[test]
    fn three_trees_follow_the_packages() {
        if std::env::var_os("DIFUSOR_PEERS").is_none() {
            println!("not run: set DIFUSOR_PEERS=1 where rsync and unzip are installed");
            return;
        }
        check().expect("rsync and unzip");
        let work = tempfile::tempdir().unwrap();
        let night = Night::new(NightSpec::tiny()).unwrap();
        let packages: Vec<_> = (2..5).map(|i| night.write_to(work.path(), i, false).unwrap()).collect();
        let dir = work.path().join("rsync");
        fs::create_dir(&dir).unwrap();
        let run = super::night(&packages, &dir).unwrap();
        let labels: Vec<_> = run.cuts.iter().map(|cut| cut.label.clone()).collect();
        assert_eq!(labels, [night.label(2), night.label(3), night.label(4)]);
        for node in NODES {
            for (path, bytes) in night.entries(4) {
                assert_eq!(fs::read(dir.join(node).join("current").join(&path)).unwrap(), bytes, "{node} {path}");
            }
        }
        // Later cuts send the difference alone.
        let sent = |cut: usize| run.cuts[cut].received.iter().sum::<u64>();
        assert!(sent(1) < sent(0) && sent(1) > 0, "{:?}", run.cuts);
        assert!(run.cuts.iter().all(|cut| cut.served_ms > 0.0 && cut.skew_us < 1_000_000), "{:?}", run.cuts);
    }
}

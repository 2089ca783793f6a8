//! How many instructions a server takes, in its own code, as callgrind counts them (valgrind): the same on a busy machine as
//! on an idle one. What the kernel does for it is not in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::cores;

/// Until clients are connected: a server that is counted is some fifty times slower.
pub(super) const WARM_UP: Duration = Duration::from_secs(6);

/// The file that callgrind writes at the end, and whose name is the beginning of those that it writes before.
const FILE: &str = "callgrind.out";

/// How long it takes to write one.
const DUMP: Duration = Duration::from_secs(20);

const LOOK: Duration = Duration::from_millis(10);

/// Fails if a program is missing, and says which Debian package brings it.
pub(super) fn check() -> anyhow::Result<()> {
    for program in ["valgrind", "callgrind_control"] {
        cores::find(program).with_context(|| format!("no `{program}`; Debian has it in the package `valgrind`"))?;
    }
    Ok(())
}

/// The words in front of a program that is to be counted, which leaves what it writes in `dir`. It may start itself anew.
pub(super) fn prefix(dir: &Path) -> Vec<String> {
    let file = format!("--callgrind-out-file={}", dir.join(FILE).display());
    ["valgrind", "-q", "--tool=callgrind", "--fair-sched=yes", "--trace-children=yes", &file]
        .map(str::to_owned)
        .to_vec()
}

/// A count that goes on.
pub(super) struct Count {
    dir: PathBuf,
    pid: u32,
}

impl Count {
    /// Begins at nothing.
    pub(super) fn start(dir: &Path, pid: u32) -> anyhow::Result<Self> {
        control("-z", pid)?;
        Ok(Self { dir: dir.to_owned(), pid })
    }

    /// Instructions since the start.
    pub(super) fn stop(self) -> anyhow::Result<u64> {
        let before = dumps(&self.dir)?;
        control("-d", self.pid)?;
        let since = std::time::Instant::now();
        loop {
            // The last line of a complete one.
            let new = dumps(&self.dir)?.into_iter().find(|dump| !before.contains(dump));
            let text = new.map(fs::read_to_string).transpose()?.unwrap_or_default();
            if let Some(total) = total(&text) {
                return Ok(total);
            }
            ensure!(since.elapsed() < DUMP, "callgrind wrote no counts to {}", self.dir.display());
            std::thread::sleep(LOOK);
        }
    }
}

/// Instructions a second of a server that nobody asks: a node looks at itself all the time, and while it is counted that is
/// much beside what it answers.
pub(super) async fn idle(dir: &Path, pid: u32, length: Duration) -> anyhow::Result<f64> {
    // What it was asked to verify it is over.
    tokio::time::sleep(WARM_UP).await;
    let (count, since) = (Count::start(dir, pid)?, std::time::Instant::now());
    tokio::time::sleep(length).await;
    let elapsed = since.elapsed();
    Ok(count.stop()? as f64 / elapsed.as_secs_f64())
}

/// All that callgrind has written on demand.
fn dumps(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let files = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path());
    let is_dump =
        |file: &PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("callgrind.out."));
    Ok(files.filter(is_dump).collect())
}

/// The sum in a file of counts (Callgrind Format Specification, `totals`).
fn total(text: &str) -> Option<u64> {
    text.lines().rev().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

fn control(flag: &str, pid: u32) -> anyhow::Result<()> {
    let mut command = Command::new("callgrind_control");
    let output = command.args([flag, &pid.to_string()]).stdin(Stdio::null()).output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if !said.contains("OK.") {
        bail!("`callgrind_control {flag} {pid}` failed: {}", said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_complete_or_none() {
        assert_eq!(total("version: 1\nsummary: 12\nfn=(1)\n+3 12\n\ntotals: 12\n"), Some(12));
        assert_eq!(total("version: 1\nsummary: 12\nfn=(1)\n"), None);
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("callgrind.out"), "").unwrap();
        fs::write(dir.path().join("callgrind.out.1"), "").unwrap();
        assert_eq!(dumps(dir.path()).unwrap(), [dir.path().join("callgrind.out.1")]);
    }
}

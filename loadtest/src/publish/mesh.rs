//! This system: a whole mesh as a child process, and the report it leaves.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;

use super::{Memory, NightRun, Publication, label};

const BINARY: &str = "difusor-local";

/// Between two looks at the child: only its end is waited for, its own clocks measure.
const LOOK: Duration = Duration::from_millis(100);

/// For an orderly end, before the child is killed.
const GRACE: Duration = Duration::from_secs(10);

/// What the mesh reports with `--json`. Milliseconds count from the last byte of the package.
#[derive(Deserialize)]
struct Report {
    cuts: Vec<Cut>,
    memory: Resident,
}

#[derive(Deserialize)]
struct Cut {
    label: String,
    package_bytes: u64,
    served_everywhere_ms: f64,
    skew_us: u64,
    nodes: Vec<Received>,
}

#[derive(Deserialize)]
struct Received {
    received_bytes: u64,
}

#[derive(Deserialize)]
struct Resident {
    coordinator_peak_rss: u64,
    nodes: Vec<Peak>,
}

#[derive(Deserialize)]
struct Peak {
    peak_rss: u64,
}

impl From<Report> for NightRun {
    fn from(report: Report) -> Self {
        let node = report.memory.nodes.iter().map(|node| node.peak_rss).max().unwrap_or(0);
        let cuts = report.cuts.into_iter().map(|cut| Publication {
            label: cut.label,
            package_bytes: cut.package_bytes,
            served_ms: cut.served_everywhere_ms,
            skew_us: cut.skew_us,
            received: cut.nodes.iter().map(|node| node.received_bytes).collect(),
        });
        Self { cuts: cuts.collect(), memory: Some(Memory { coordinator: report.memory.coordinator_peak_rss, node }) }
    }
}

/// The binary that was named, or the one next to this program.
pub(super) fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => env::current_exe()?.with_file_name(BINARY),
    };
    let hint = format!("make it with `cargo build --release -p {BINARY}`, or name it with --mesh");
    anyhow::ensure!(path.is_file(), "no binary of the mesh at {}; {hint}", path.display());
    Ok(path)
}

/// Publishes the packages in order through a fresh mesh in `dir`.
pub(super) fn night(binary: &Path, packages: &[PathBuf], dir: &Path, cap: Duration) -> anyhow::Result<NightRun> {
    let (report, log, data) = (dir.join("report.json"), dir.join("mesh.log"), dir.join("data"));
    fs::create_dir(&data)?;
    let output = File::create(&log)?;
    let mut child = Command::new(binary)
        .args(["--once", "--free-ports", "--json"])
        .arg(&report)
        .arg("--data")
        .arg(&data)
        .args(packages)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let status = wait(&mut child, cap)?;
    let told = || tail(&fs::read_to_string(&log).unwrap_or_default());
    let status = status.with_context(|| format!("the mesh took longer than {cap:?}; it said:\n{}", told()))?;
    anyhow::ensure!(status.success(), "the mesh failed ({status}); it said:\n{}", told());
    let json = fs::read(&report).with_context(|| format!("the mesh left no report; it said:\n{}", told()))?;
    let run = NightRun::from(serde_json::from_slice::<Report>(&json).context("the report of the mesh")?);
    let expected: Vec<String> = packages.iter().map(|package| label(package)).collect();
    let published: Vec<&String> = run.cuts.iter().map(|cut| &cut.label).collect();
    anyhow::ensure!(published.iter().copied().eq(&expected), "the mesh published {published:?}, not {expected:?}");
    Ok(run)
}

/// `None` if the child had to be stopped.
fn wait(child: &mut Child, cap: Duration) -> anyhow::Result<Option<ExitStatus>> {
    if let Some(status) = ended(child, cap)? {
        return Ok(Some(status));
    }
    // It has children of its own to end, so it is asked first.
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    if ended(child, GRACE)?.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(None)
}

fn ended(child: &mut Child, patience: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + patience;
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        thread::sleep(LOOK);
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{
        "mesh": {"nodes": ["mx-central", "us-east"]},
        "cuts": [{
            "seq": 1, "label": "20240602_2000", "package_bytes": 10, "plain_bytes": 20, "entries": 3,
            "ingest_ms": 1.5, "served_everywhere_ms": 12.5, "skew_us": 40,
            "nodes": [
                {"node": "mx-central", "zone": "mx-central", "received_bytes": 7,
                 "staged_ms": 5.0, "flipped_ms": 9.0, "served_ms": 12.5},
                {"node": "us-east", "zone": "us-east", "received_bytes": 8,
                 "staged_ms": 5.0, "flipped_ms": 9.0, "served_ms": 12.0}
            ]
        }],
        "memory": {"coordinator_peak_rss": 100,
                   "nodes": [{"node": "mx-central", "peak_rss": 30}, {"node": "us-east", "peak_rss": 50}]}
    }"#;

    /// A mesh that does what the script says; `$4` is where its report goes.
    fn played(script: &str, packages: &[&str]) -> anyhow::Result<NightRun> {
        let work = tempfile::tempdir()?;
        let binary = work.path().join(BINARY);
        fs::write(work.path().join("report"), REPORT)?;
        let text = work.path().join("script");
        fs::write(&text, format!("#!/bin/sh\ncd {}\n{script}\n", work.path().display()))?;
        // Written by a child: a file that this process, or a fork of it, has open for writing cannot be executed.
        anyhow::ensure!(Command::new("install").args(["-m", "755"]).args([&text, &binary]).status()?.success());
        let dir = work.path().join("night");
        fs::create_dir(&dir)?;
        let packages: Vec<PathBuf> = packages.iter().map(PathBuf::from).collect();
        night(&find(Some(&binary))?, &packages, &dir, Duration::from_secs(2))
    }

    #[test]
    fn the_report_is_read() {
        let script = r#"test "$1 $2 $3 $5" = "--once --free-ports --json --data" && test -d "$6" && cp report "$4""#;
        let run = played(script, &["/x/20240602_2000_PREP.zip"]).unwrap();
        let cut = Publication {
            label: "20240602_2000".into(),
            package_bytes: 10,
            served_ms: 12.5,
            skew_us: 40,
            received: vec![7, 8],
        };
        assert_eq!(run, NightRun { cuts: vec![cut], memory: Some(Memory { coordinator: 100, node: 50 }) });
    }

    #[test]
    fn what_goes_wrong_is_told() {
        let failure = |script| format!("{:#}", played(script, &["20240602_2000_PREP.zip"]).unwrap_err());
        assert!(failure("echo no disk; exit 3").contains("no disk"));
        assert!(failure("exit 0").contains("no report"));
        assert!(failure("echo '{}' > \"$4\"").contains("missing field"));
        assert!(failure("exec sleep 60").contains("longer than"));
        let error = played("cp report \"$4\"", &["20240602_2000_PREP.zip", "20240602_2005_PREP.zip"]).unwrap_err();
        assert!(error.to_string().contains("20240602_2005"), "{error}");
        assert!(find(Some(Path::new("/nowhere"))).unwrap_err().to_string().contains("--mesh"));
    }
}

//! zstd at level 19: each file that changed, whole or against its predecessor, two files at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use difusor_proto::Digest;

use super::super::child;
use super::super::site::Change;
use super::{Ground, Theirs};

/// Memory that it may take to apply a patch: as much as the largest window.
const MEMORY: &str = "--memory=2048MB";

/// One file, and its predecessor where that is used.
struct Job<'a> {
    change: &'a Change,
    size: u64,
    new: PathBuf,
    old: Option<PathBuf>,
    coded: PathBuf,
}

pub(super) fn measure(ground: &Ground<'_>, patch: bool) -> anyhow::Result<Theirs> {
    let mut jobs = Vec::new();
    for (i, change) in ground.changes.iter().enumerate() {
        let new = ground.target.path(&change.path);
        let old = change.before.as_ref().filter(|_| patch).map(|before| ground.base.path(before));
        let (size, coded) = (fs::metadata(&new)?.len(), ground.dir.join(format!("{i}.zst")));
        jobs.push(Job { change, size, new, old, coded });
    }
    // The largest first, or one of them would be left to one core at the end.
    jobs.sort_by_key(|job| std::cmp::Reverse(job.size));
    let dirs = (0..child::CORES).map(|core| ground.dir.join(format!("core{core}"))).collect::<Vec<_>>();
    dirs.iter().try_for_each(fs::create_dir)?;
    let dir = |core: usize| dirs.get(core).context("more threads than cores");
    let began = Instant::now();
    let coded = child::all(&jobs, |job, core| encode(job, dir(core)?))?;
    let encode_s = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let applied = child::all(&jobs, |job, core| decode(job, ground, dir(core)?))?;
    let decode_s = began.elapsed().as_secs_f64();
    let peak = coded.iter().map(|(_, peak)| *peak).chain(applied).max().unwrap_or(0);
    let setting = if patch { "-19 --patch-from" } else { "-19" };
    let bytes = coded.iter().map(|(bytes, _)| bytes).sum();
    Ok(Theirs { bytes, encode_s, decode_s: Some(decode_s), peak, setting: setting.into() })
}

/// Bytes, and memory.
fn encode(job: &Job<'_>, dir: &Path) -> anyhow::Result<(u64, u64)> {
    let mut command = Command::new("zstd");
    command.args(["-q", "-19"]);
    if let Some(old) = &job.old {
        // It chooses the window by itself, and long-distance matching where that reaches farther.
        command.arg(MEMORY).arg(format!("--patch-from={}", old.display()));
    }
    let ended = child::run(command.arg(&job.new).arg("-o").arg(&job.coded), dir)?;
    Ok((fs::metadata(&job.coded)?.len(), ended.peak))
}

fn decode(job: &Job<'_>, ground: &Ground<'_>, dir: &Path) -> anyhow::Result<u64> {
    let back = dir.join("back");
    let mut command = Command::new("zstd");
    command.args(["-q", "-d", "-f", MEMORY]);
    command.args(job.old.as_ref().map(|old| format!("--patch-from={}", old.display())));
    let ended = child::run(command.arg(&job.coded).arg("-o").arg(&back), dir)?;
    let digest = Digest::of_parallel(&fs::read(&back)?);
    anyhow::ensure!(ground.target.files.get(&job.change.path) == Some(&digest), "zstd: {}", job.change.path);
    Ok(ended.peak)
}

//! ostree: the static delta between two commits, with everything in it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::super::child::{self, Ended};
use super::{Ground, Theirs};

/// Content without owners, as a site has it.
const MODE: &str = "--mode=bare-user-only";

pub(super) fn measure(ground: &Ground<'_>) -> anyhow::Result<Theirs> {
    let [source, holder, delta, held] = ["source", "holder", "delta", "held"].map(|name| ground.dir.join(name));
    let ostree = |repo: &Path, args: &[&str]| -> anyhow::Result<Ended> {
        child::run(Command::new("ostree").arg(format!("--repo={}", repo.display())).args(args), ground.dir)
    };
    for repo in [&source, &holder] {
        ostree(repo, &["init", MODE])?;
        ostree(repo, &["config", "set", "core.fsync", "false"])?;
    }
    let commit = |root: &Path| {
        let tree = format!("--tree=dir={}", root.display());
        let ended = ostree(&source, &["commit", "--branch=site", "--canonical-permissions", &tree])?;
        anyhow::Ok(String::from_utf8(ended.stdout)?.trim().to_owned())
    };
    let (from, to) = (commit(&ground.base.root)?, commit(&ground.target.root)?);
    ostree(&holder, &["pull-local", &source.display().to_string(), &from])?;
    let file = format!("--filename={}", delta.display());
    let (from, to) = (format!("--from={from}"), format!("--to={to}"));
    let generate = ["static-delta", "generate", "--min-fallback-size=0", "--inline", &from, &to, &file];
    let made = ostree(&source, &generate)?;
    let bytes = fs::metadata(&delta)?.len();
    let applied = ostree(&holder, &["static-delta", "apply-offline", &delta.display().to_string()])?;
    let to = to.trim_start_matches("--to=");
    ostree(&holder, &["checkout", "--user-mode", to, &held.display().to_string()])?;
    ground.target.compare(&held).context("ostree")?;
    let peak = made.peak.max(applied.peak);
    let setting = "--min-fallback-size=0 --inline".to_owned();
    Ok(Theirs { bytes, encode_s: made.seconds, decode_s: Some(applied.seconds), peak, setting })
}

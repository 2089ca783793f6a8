//! casync: the chunks that a store with the base's does not have, and the index of the target.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::super::child;
use super::{Ground, Theirs, best};

/// Bytes of a chunk on average: its own choice, and smaller ones.
const CHUNKS: [u32; 2] = [64 << 10, 16 << 10];

pub(super) fn measure(ground: &Ground<'_>) -> anyhow::Result<Theirs> {
    best(CHUNKS.into_iter().map(|chunk| one(ground, chunk)).collect::<Result<_, _>>()?)
}

fn one(ground: &Ground<'_>, chunk: u32) -> anyhow::Result<Theirs> {
    let dir = ground.dir.join(chunk.to_string());
    fs::create_dir(&dir)?;
    let (store, index, held) = (dir.join("store"), dir.join("target.caidx"), dir.join("held"));
    let casync = |verb: &str, options: &[&str], paths: [&Path; 2]| {
        let mut command = Command::new("casync");
        command.arg(verb).arg("--store").arg(&store).args(options).args(paths);
        child::run(&mut command, &dir)
    };
    // Names and bytes, without owners and times.
    let make = ["--without=all", &format!("--chunk-size={chunk}")];
    casync("make", &make, [&dir.join("base.caidx"), &ground.base.root])?;
    let before: HashSet<_> = chunks(&store)?.into_iter().map(|(path, _)| path).collect();
    let made = casync("make", &[&make[..], &["--compression=xz"]].concat(), [&index, &ground.target.root])?;
    let fresh = chunks(&store)?.into_iter().filter(|(path, _)| !before.contains(path)).map(|(_, bytes)| bytes);
    let bytes = fresh.sum::<u64>() + fs::metadata(&index)?.len();
    fs::create_dir(&held)?;
    let seed = format!("--seed={}", ground.base.root.display());
    let applied = casync("extract", &[&seed], [&index, &held])?;
    ground.target.compare(&held).context("casync")?;
    fs::remove_dir_all(&dir)?;
    let setting = format!("--chunk-size={chunk} --compression=xz");
    let peak = made.peak.max(applied.peak);
    Ok(Theirs { bytes, encode_s: made.seconds, decode_s: Some(applied.seconds), peak, setting })
}

/// The chunks of a store, with their bytes.
fn chunks(store: &Path) -> anyhow::Result<Vec<(PathBuf, u64)>> {
    let mut all = Vec::new();
    for folder in fs::read_dir(store)? {
        for chunk in fs::read_dir(folder?.path())? {
            let chunk = chunk?;
            all.push((chunk.path(), chunk.metadata()?.len()));
        }
    }
    Ok(all)
}

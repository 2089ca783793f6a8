//! rsync over a pipe: what it says went in both directions, with compression, and predecessors found by likeness.

use std::fs;
use std::process::Command;

use anyhow::Context as _;

use super::super::child;
use super::{Ground, Theirs, best};

/// Blocks: its own choice, which is the root of a file's size, and two for small changes.
const BLOCKS: [Option<u32>; 3] = [None, Some(2048), Some(512)];

pub(super) fn measure(ground: &Ground<'_>) -> anyhow::Result<Theirs> {
    let held = ground.dir.join("held");
    let one = |block: Option<u32>| {
        child::run(Command::new("cp").arg("-a").arg(&ground.base.root).arg(&held), ground.dir)?;
        let mut command = Command::new("rsync");
        command.args(["-az", "--no-whole-file", "--fuzzy", "--delete-after", "--stats", "--no-human-readable"]);
        command.args(block.map(|block| format!("--block-size={block}")));
        // With a slash behind: the content of the folder.
        let ended = child::run(command.arg(ground.target.root.join("")).arg(held.join("")), ground.dir)?;
        ground.target.compare(&held).context("rsync")?;
        fs::remove_dir_all(&held)?;
        let bytes = total(&ended.stdout).context("rsync --stats told no bytes")?;
        let setting = block.map_or_else(|| "its own block size".into(), |block| format!("--block-size={block}"));
        anyhow::Ok(Theirs { bytes, encode_s: ended.seconds, decode_s: None, peak: ended.peak, setting })
    };
    best(BLOCKS.into_iter().map(one).collect::<Result<_, _>>()?)
}

/// Sent and received.
fn total(stats: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(stats);
    let count = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().replace(',', "").parse().ok()
    };
    Some(count("Total bytes sent:")? + count("Total bytes received:")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_count() {
        assert_eq!(total(b"x\nTotal bytes sent: 1,000\nTotal bytes received: 23\n"), Some(1_023));
        assert_eq!(total(b"Total bytes sent: 1\n"), None);
    }
}

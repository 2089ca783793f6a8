//! What others make of the same pair, each as someone who knows it well would use it, and each proven once.
//!
//! They work on the extracted site, in which archives stay archives, and are told what a careful operator knows: which
//! files changed, and from which file a renamed one comes. Where a setting decides, some are tried and the best counts.

mod casync;
mod ostree;
mod rsync;
mod zstd;

use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::child;
use super::site::{Change, Site};

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Peer {
    /// This system
    Difusor,
    /// Each file that changed, whole: zstd -19
    Whole,
    /// rsync -z --fuzzy, the best of three block sizes
    Rsync,
    /// New chunks of a casync store, the best of two sizes, and the index
    Casync,
    /// A static delta of ostree
    Ostree,
    /// Each file that changed: zstd -19 --patch-from
    Patch,
}

/// What a pair cost a peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Theirs {
    pub(super) bytes: u64,
    /// Until it was ready to be sent, on two cores where it can use them; the transfer included where it is one.
    pub(super) encode_s: f64,
    /// Until it was applied; none where the transfer does that.
    pub(super) decode_s: Option<f64>,
    /// Resident memory of its largest process, as far as it was seen.
    pub(super) peak: u64,
    /// The setting that was best.
    pub(super) setting: String,
}

/// What a peer is given.
pub(super) struct Ground<'a> {
    pub(super) base: &'a Site,
    pub(super) target: &'a Site,
    pub(super) changes: &'a [Change],
    /// An empty folder of its own.
    pub(super) dir: &'a Path,
}

impl Peer {
    /// All of them, us first.
    pub(super) const ALL: [Self; 6] =
        [Self::Difusor, Self::Whole, Self::Rsync, Self::Casync, Self::Ostree, Self::Patch];

    /// Its name in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Difusor => "difusor",
            Self::Whole => "whole files, zstd -19",
            Self::Rsync => "rsync -z",
            Self::Casync => "casync",
            Self::Ostree => "ostree static delta",
            Self::Patch => "zstd -19 --patch-from",
        }
    }

    /// Its program, which is its Debian package too; none for us.
    pub(super) fn program(self) -> Option<&'static str> {
        match self {
            Self::Difusor => None,
            Self::Whole | Self::Patch => Some("zstd"),
            Self::Rsync => Some("rsync"),
            Self::Casync => Some("casync"),
            Self::Ostree => Some("ostree"),
        }
    }

    /// Measures it, and fails if what it brings is not the target. `None` if its program is missing.
    pub(super) fn measure(self, ground: &Ground<'_>) -> anyhow::Result<Option<Theirs>> {
        let Some(program) = self.program() else { return Ok(None) };
        if !child::is_there(program) {
            return Ok(None);
        }
        let theirs = match self {
            Self::Rsync => rsync::measure(ground)?,
            Self::Casync => casync::measure(ground)?,
            Self::Ostree => ostree::measure(ground)?,
            Self::Whole => zstd::measure(ground, false)?,
            Self::Patch | Self::Difusor => zstd::measure(ground, true)?,
        };
        Ok(Some(theirs))
    }
}

/// The cheapest of what was tried.
fn best(tried: Vec<Theirs>) -> anyhow::Result<Theirs> {
    let best = tried.into_iter().min_by_key(|theirs| theirs.bytes);
    best.ok_or_else(|| anyhow::anyhow!("nothing was tried"))
}

#[cfg(test)]
mod tests {
    use difusor_night::{Night, NightSpec};

    use super::*;

    /// Needs the programs, so it runs where `DIFUSOR_PEERS` is set, as `.ci/run` does once it has installed them.
    #[test]
    fn every_peer_brings_a_renamed_archive_and_changed_files() {
        if std::env::var_os("DIFUSOR_PEERS").is_none() {
            println!("not run: set DIFUSOR_PEERS=1 where rsync, casync, ostree and zstd are installed");
            return;
        }
        let work = tempfile::tempdir().unwrap();
        let night = Night::new(NightSpec { nested: true, ..NightSpec::tiny() }).unwrap();
        let [base, target] = [2, 3].map(|i| night.write_to(work.path(), i, false).unwrap());
        let base = Site::extract(&base, &work.path().join("base"), None).unwrap();
        let target = Site::extract(&target, &work.path().join("target"), Some(&base)).unwrap();
        let changes = target.changes(&base);
        let mut bytes = Vec::new();
        for peer in Peer::ALL.into_iter().skip(1) {
            let dir = work.path().join(format!("{peer:?}"));
            std::fs::create_dir(&dir).unwrap();
            let ground = Ground { base: &base, target: &target, changes: &changes, dir: &dir };
            let theirs = peer.measure(&ground).unwrap().expect("its program");
            assert!(theirs.bytes > 0 && theirs.encode_s > 0.0, "{peer:?}: {theirs:?}");
            bytes.push(theirs.bytes);
            target.compare(&target.root).unwrap();
        }
        assert!(bytes[4] < bytes[0], "patches are smaller than files: {bytes:?}");
    }
}

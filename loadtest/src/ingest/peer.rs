//! The peer: what an operator would type, run by a shell.
//!
//! The folder is fresh in every run and removed after the clock has stopped. `unzip` writes into it and nobody waits for
//! the disk; the sums are read from the page cache.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;

use super::Took;
use crate::usage;

/// How the work is arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Variant {
    /// `unzip`, then every `sha256sum`, then every `b3sum`, which uses both cores by itself for large files.
    InTurn,
    /// The sums by `xargs -P2`.
    Parallel,
    /// As that, with the archives within unpacked and summed too.
    Opened,
}

impl Variant {
    pub(super) const ALL: [Self; 3] = [Self::InTurn, Self::Parallel, Self::Opened];
    pub(super) const UNOPENED: [Self; 2] = [Self::InTurn, Self::Parallel];

    /// Of a package `$1`, in an empty folder that is the current one. Sums go where nobody looks, for theirs is the work.
    fn script(self) -> &'static str {
        match self {
            Self::InTurn => {
                "unzip -q -o \"$1\" -d out
                 find out -type f -print0 | xargs -0 sha256sum > sha256
                 find out -type f -print0 | xargs -0 b3sum > b3"
            }
            Self::Parallel => {
                "unzip -q -o \"$1\" -d out
                 find out -type f -print0 | xargs -0 -P2 -n 24 sha256sum > sha256
                 find out -type f -print0 | xargs -0 -P2 -n 24 b3sum > b3"
            }
            // Two levels: a zip of zips in the package.
            Self::Opened => {
                "unzip -q -o \"$1\" -d out
                 find out -name '*.zip' -print0 | xargs -0 -r -P2 -I{} unzip -q -o {} -d {}.in
                 find out -path '*.in/*.zip' -print0 | xargs -0 -r -P2 -I{} unzip -q -o {} -d {}.in
                 find out -type f -print0 | xargs -0 -P2 -n 24 sha256sum > sha256
                 find out -type f -print0 | xargs -0 -P2 -n 24 b3sum > b3"
            }
        }
    }
}

/// Fails if a program is missing, and says which Debian package brings it.
pub(super) fn check() -> anyhow::Result<()> {
    let programs = [
        ("unzip", "unzip"),
        ("find", "findutils"),
        ("xargs", "findutils"),
        ("sha256sum", "coreutils"),
        ("b3sum", "b3sum"),
    ];
    for (program, package) in programs {
        let flag = if program == "unzip" { "-v" } else { "--version" };
        Command::new(program).arg(flag).stdout(Stdio::null()).stderr(Stdio::null()).status().with_context(|| {
            let other = if program == "b3sum" { ", or `cargo install b3sum --locked`" } else { "" };
            format!("`{program}` does not start; Debian has it: apt install {package}{other}")
        })?;
    }
    Ok(())
}

/// Unpacks and sums a package in a new folder below this one.
pub(super) fn unpack(variant: Variant, package: &Path, folder: &Path) -> anyhow::Result<Took> {
    let folder = tempfile::tempdir_in(folder).with_context(|| format!("cannot work in {}", folder.display()))?;
    let package = package.canonicalize()?;
    let (cpu, began) = (usage::ended_children(), Instant::now());
    let status = Command::new("sh")
        .args(["-e", "-c", variant.script(), "peer"])
        .arg(&package)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .status()
        .context("cannot run sh")?;
    let ms = began.elapsed().as_secs_f64() * 1e3;
    let cpu_ms = (usage::ended_children() - cpu).as_secs_f64() * 1e3;
    anyhow::ensure!(status.success(), "the peer failed: {status}");
    // Two lists of as many files: or it did not do what is compared.
    let lines = |name| anyhow::Ok(fs::read_to_string(folder.path().join(name))?.lines().count());
    let (sha256, b3) = (lines("sha256")?, lines("b3")?);
    anyhow::ensure!(sha256 == b3 && b3 > 0, "{sha256} and {b3} sums");
    Ok(Took { ms, cpu_ms: Some(cpu_ms) })
}

#[cfg(test)]
mod tests {
    use difusor_night::{Night, NightSpec};

    use super::*;

    /// Needs unzip and b3sum, so it runs where `DIFUSOR_PEERS` is set, as `.ci/run` does once it has installed them.
    #[test]
    fn every_variant_sums_every_file() {
        if std::env::var_os("DIFUSOR_PEERS").is_none() {
            println!("not run: set DIFUSOR_PEERS=1 where unzip and b3sum are installed");
            return;
        }
        check().unwrap();
        let work = tempfile::tempdir().unwrap();
        let night = Night::new(NightSpec { nested: true, ..NightSpec::tiny() }).unwrap();
        let package = night.write_to(work.path(), 3, false).unwrap();
        for variant in Variant::ALL {
            assert!(unpack(variant, &package, work.path()).unwrap().ms > 0.0, "{variant:?}");
        }
        fs::write(&package, b"no zip").unwrap();
        assert!(unpack(Variant::InTurn, &package, work.path()).is_err());
    }
}

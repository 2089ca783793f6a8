//! Backup programs that are given the same packages: restic and borg, at their strong compression.
//!
//! Each gets the packages as they are, which is what the call asks to keep, and in a repository of its own their files,
//! which deduplicate better, and from which the package cannot be had again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

/// What a peer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Packages,
    Files,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Restic,
    Borg,
}

/// A repository of one of them.
pub(super) struct Peer {
    program: Program,
    given: Given,
    name: String,
    dir: PathBuf,
}

/// All of them, with empty repositories in `work`.
///
/// # Errors
/// Names the program that is missing.
pub(super) fn all(work: &Path) -> anyhow::Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for program in [Program::Restic, Program::Borg] {
        for given in [Given::Packages, Given::Files] {
            let name = match (program, given) {
                (Program::Restic, Given::Packages) => "restic, packages",
                (Program::Restic, Given::Files) => "restic, their files",
                (Program::Borg, Given::Packages) => "borg, packages",
                (Program::Borg, Given::Files) => "borg, their files",
            };
            let dir = work.join(name.replace([',', ' '], "-"));
            fs::create_dir_all(&dir)?;
            let peer = Peer { program, given, name: name.to_owned(), dir };
            match program {
                Program::Restic => peer.call(&["-q", "init"])?,
                Program::Borg => peer.call(&["init", "-e", "none", &peer.repository()])?,
            }
            peers.push(peer);
        }
    }
    Ok(peers)
}

impl Peer {
    /// What it is called in the report.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes a package in.
    ///
    /// # Errors
    /// If the program fails.
    pub(super) fn add(&mut self, label: &str, package: &Path) -> anyhow::Result<()> {
        let files = self.dir.join("files");
        let given = match self.given {
            Given::Packages => package,
            Given::Files => {
                let mut zip = zip::ZipArchive::new(fs::File::open(package)?)?;
                zip.extract(&files)?;
                &files
            }
        };
        let given = given.to_str().context("a path that is no text")?;
        match self.program {
            Program::Restic => self.call(&["-q", "--compression", "max", "backup", "--tag", label, given])?,
            Program::Borg => {
                let archive = format!("{}::{label}", self.repository());
                self.call(&["create", "--compression", "zstd,10", &archive, given])?;
            }
        }
        if files.exists() {
            fs::remove_dir_all(&files)?;
        }
        Ok(())
    }

    /// Bytes of the repository.
    ///
    /// # Errors
    /// What the disk gives.
    pub(super) fn bytes(&self) -> anyhow::Result<u64> {
        bytes_in(&self.dir.join("repository"))
    }

    fn repository(&self) -> String {
        self.dir.join("repository").to_string_lossy().into_owned()
    }

    fn call(&self, args: &[&str]) -> anyhow::Result<()> {
        let name = match self.program {
            Program::Restic => "restic",
            Program::Borg => "borg",
        };
        let mut command = Command::new(name);
        if self.program == Program::Restic {
            command.args(["--no-cache", "-r", &self.repository()]);
        }
        command.args(args).env("RESTIC_PASSWORD", "none").env("BORG_BASE_DIR", &self.dir);
        command.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        let output = command.output().with_context(|| format!("{name}: install it, or compare with --alone"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name} {args:?}: {said}");
        Ok(())
    }
}

fn bytes_in(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { bytes_in(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

//! Command lines run to their end: exit code and what they said.

use std::{path::Path, process::Stdio};

use anyhow::{Context as _, Result};
use tokio::process::Command;

use crate::PATIENCE;

/// What became of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// True if both the exit code is `code` and all `parts` are in what it said on standard error.
    pub fn is(&self, code: i32, parts: &[&str]) -> bool {
        self.code == code && parts.iter().all(|part| self.err.contains(part))
    }
}

/// A command line of `kind` (`coordinator` or `node`) with its configuration.
pub fn of(program: &str, kind: &str, config: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg(kind).arg("--config").arg(config).args(args);
    command
}

/// Runs a command line to its end.
///
/// # Errors
/// If it does not start, does not end in time, or is ended by a signal.
pub async fn run(mut command: Command) -> Result<Said> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.context("it does not end")??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().with_context(|| format!("ended with {}", output.status))?;
    Ok(Said { code, out: text(&output.stdout), err: text(&output.stderr) })
}

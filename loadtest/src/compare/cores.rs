//! Which core a process may use, and how many files it may open: set by the programs of util-linux, before it starts.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// Core of the servers, and core of the clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) driver: usize,
}

/// Fails if a program is missing, and says which Debian package brings it.
pub(crate) fn check() -> anyhow::Result<()> {
    for program in ["taskset", "prlimit", "setpriv"] {
        find(program).with_context(|| format!("no `{program}`; Debian has it in the package `util-linux`"))?;
    }
    Ok(())
}

/// A program in the `PATH`, or where servers are installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Moves this process, and what it starts from now on, to `core`, and lets it open `files`.
pub(crate) fn move_here(core: usize, files: u64) -> anyhow::Result<()> {
    let pid = std::process::id().to_string();
    run("taskset", ["-a", "-c", "-p", &core.to_string(), &pid])?;
    run("prlimit", [&format!("--pid={pid}"), &format!("--nofile={files}:")])
}

fn run<const N: usize>(program: &str, args: [&str; N]) -> anyhow::Result<()> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{program} {}` failed: {}", args.join(" "), said.trim());
    Ok(())
}

/// The words in front of a server's own command line. It ends when this program does, however that happens.
pub(crate) fn prefix(core: usize, files: u64) -> Vec<String> {
    let (core, files) = (core.to_string(), format!("--nofile={files}:"));
    ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", &core, "prlimit", &files].map(str::to_owned).to_vec()
}

/// A shell script that runs `program`, with words `before` it, on `core` if its first argument is `word`; and anywhere, by
/// itself, otherwise.
pub(crate) fn script(program: &Path, word: &str, core: usize, files: u64, before: &[String]) -> String {
    let before: String = before.iter().map(|word| quoted(word.as_ref()) + " ").collect();
    let program = quoted(program.as_os_str());
    // Its parent's end is told by its standard input.
    let prefix = format!("taskset -c {core} prlimit --nofile={files}:");
    format!(
        "#!/bin/sh\ncase \"$1\" in\n{word}) exec {prefix} {before}{program} \"$@\" ;;\nesac\nexec {program} \"$@\"\n"
    )
}

fn quoted(text: &OsStr) -> String {
    format!("'{}'", text.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_survives_any_path() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("it's a program");
        std::fs::write(&program, "echo \"$2\" $(grep Cpus_allowed_list /proc/self/status)\n").unwrap();
        let text = script(Path::new("/bin/sh"), "node", 0, 64, &[]);
        assert!(text.contains("exec taskset -c 0 prlimit --nofile=64: '/bin/sh' \"$@\""));
        assert_eq!(quoted(program.as_os_str()).matches(r"'\''").count(), 1);
        let output = Command::new("sh").arg("-c").arg(format!("sh {}", quoted(program.as_os_str()))).output().unwrap();
        assert!(output.status.success());
    }

    #[test]
    fn programs_are_found() {
        assert!(find("sh").is_some_and(|path| path.ends_with("sh")));
        assert_eq!(find("no-such-program"), None);
    }
}

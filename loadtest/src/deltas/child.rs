//! Programs of others: run to their end, timed, their memory watched.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use difusor_local::report::peak_rss;

/// The longest time between two looks at a program.
const LOOK: Duration = Duration::from_millis(20);

/// As many programs at once as the figures speak of cores.
pub(super) const CORES: usize = 2;

/// What a program left.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended {
    pub(super) stdout: Vec<u8>,
    pub(super) seconds: f64,
    /// Its resident memory at its highest, as far as it was seen: 0 if it ended at once.
    pub(super) peak: u64,
}

/// Whether a program can be started at all.
pub(super) fn is_there(program: &str) -> bool {
    let started = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    !started.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Runs a program to its end. What it prints is kept in files in `dir`, which one program at a time may use.
pub(super) fn run(command: &mut Command, dir: &Path) -> anyhow::Result<Ended> {
    let (out, err) = (dir.join("stdout"), dir.join("stderr"));
    command.stdin(Stdio::null()).env("LC_ALL", "C");
    command.stdout(std::fs::File::create(&out)?).stderr(std::fs::File::create(&err)?);
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let (mut pause, mut peak) = (Duration::from_micros(500), 0);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        peak = peak_rss(Some(child.id())).max(peak);
        thread::sleep(pause);
        pause = (pause * 2).min(LOOK);
    };
    let seconds = began.elapsed().as_secs_f64();
    let said = || String::from_utf8_lossy(&std::fs::read(&err).unwrap_or_default()).into_owned();
    anyhow::ensure!(status.success(), "{command:?} failed ({status}): {}", said());
    Ok(Ended { stdout: std::fs::read(&out)?, seconds, peak })
}

/// Does all of this work, in this order, on as many threads as there are cores to be used; the number of the thread is
/// the second argument. Results come in the order of the work.
pub(super) fn all<T: Sync, R: Send>(
    work: &[T],
    one: impl Fn(&T, usize) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for core in 0..CORES {
            let (next, done, one) = (&next, &done, &one);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Relaxed);
                    let Some(item) = work.get(at) else { return };
                    let result = one(item, core);
                    let failed = result.is_err();
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                    if failed {
                        next.store(work.len(), Relaxed);
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_end_or_fail() {
        let dir = tempfile::tempdir().unwrap();
        let ended = run(Command::new("sh").args(["-c", "sleep 0.1; echo out"]), dir.path()).unwrap();
        assert_eq!(ended.stdout, b"out\n");
        assert!(ended.seconds >= 0.1 && ended.peak > 0, "{ended:?}");
        let error = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"]), dir.path()).unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
        assert!(is_there("sh") && !is_there("no-such-program"));
    }

    #[test]
    fn work_is_done_in_order_or_not_at_all() {
        let work: Vec<_> = (0..100).collect();
        assert_eq!(all(&work, |one, _| Ok(one * 2)).unwrap(), work.iter().map(|one| one * 2).collect::<Vec<_>>());
        assert!(all(&work, |one, _| if *one == 50 { anyhow::bail!("no") } else { Ok(*one) }).is_err());
    }
}

//! What processes use, as the kernel counts it (proc(5)).

use std::collections::BTreeSet;
use std::fs;
use std::ops::Sub;
use std::time::Duration;

use serde::Serialize;

/// Ticks of the times in `stat`; the same on every architecture that Linux runs on today.
const TICKS: u64 = 100;

/// Times since a process began, its ended threads included.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// On a core, in the program and in the kernel.
    pub(crate) cpu: Duration,
    /// Ready to go on, but another had the core.
    pub(crate) waited: Duration,
}

impl Sub for Times {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(before.cpu), waited: self.waited.saturating_sub(before.waited) }
    }
}

/// Resident memory, bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    /// The most since [`reset_peak`].
    pub(crate) peak: u64,
}

/// A process and all that descend from it.
pub(crate) fn family(root: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, parent(&stat(pid)?)?))).collect();
    let mut family = BTreeSet::from([root]);
    // Children can have lower numbers than their parents.
    while let Some((pid, _)) = parents.iter().find(|(pid, parent)| family.contains(parent) && !family.contains(pid)) {
        family.insert(*pid);
    }
    family.into_iter().collect()
}

/// Sum over processes; those that ended count as nothing.
pub(crate) fn times(pids: &[u32]) -> Times {
    pids.iter().fold(Times::default(), |sum, pid| {
        let [user, system, ..] = stat(*pid).and_then(|stat| ticks(&stat)).unwrap_or_default();
        Times { cpu: sum.cpu + time(user + system), waited: sum.waited + waited(*pid) }
    })
}

/// CPU time of the children of this process that ended and were waited for.
pub(crate) fn ended_children() -> Duration {
    let [_, _, user, system] = stat(std::process::id()).and_then(|stat| ticks(&stat)).unwrap_or_default();
    time(user + system)
}

/// Sum over processes.
pub(crate) fn memory(pids: &[u32]) -> Memory {
    pids.iter().fold(Memory::default(), |sum, pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let size = |name| kib(&status, name).unwrap_or(0) * 1024;
        Memory { now: sum.now + size("VmRSS:"), peak: sum.peak + size("VmHWM:") }
    })
}

/// From now on, the peak is what comes. Where that is not allowed, it goes on from the start of the process.
pub(crate) fn reset_peak(pids: &[u32]) {
    for pid in pids {
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}

fn stat(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/stat")).ok()
}

/// The fields behind the name, which may hold anything, spaces and parentheses too. The first is field 3, the state.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(") ")?.1.split(' '))
}

fn parent(stat: &str) -> Option<u32> {
    fields(stat)?.nth(1)?.parse().ok()
}

/// `utime`, `stime`, `cutime` and `cstime`, fields 14 to 17.
fn ticks(stat: &str) -> Option<[u64; 4]> {
    let mut times = fields(stat)?.skip(11).map_while(|field| field.parse().ok());
    Some([times.next()?, times.next()?, times.next()?, times.next()?])
}

fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * (1000 / TICKS))
}

/// Sum over the threads; nothing where the kernel does not count it.
fn waited(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let waits = threads.filter_map(|thread| {
        let line = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        line.split(' ').nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waits.sum())
}

fn kib(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "17 (a) b (c)) S 1 17 17 0 -1 4194560 900 0 0 0 120 34 5 6 20 0 3 0 100 200 300\n";

    #[test]
    fn names_with_parentheses_do_not_shift_fields() {
        assert_eq!((parent(STAT), ticks(STAT)), (Some(1), Some([120, 34, 5, 6])));
        assert_eq!((parent("17 (cut"), ticks("17 (cut) S 1")), (None, None));
        assert_eq!(time(154), Duration::from_millis(1540));
        assert_eq!(kib("Name:\tx\nVmHWM:\t  1204 kB\nVmRSS:\t 980 kB\n", "VmRSS:"), Some(980));
    }

    #[test]
    fn this_process_is_seen() {
        let me = std::process::id();
        let until = std::time::Instant::now() + Duration::from_millis(60);
        while std::time::Instant::now() < until {}
        assert!(times(&[me]).cpu > Duration::ZERO);
        let memory = memory(&[me]);
        assert!(memory.peak >= memory.now && memory.now > 100_000, "{memory:?}");
        let mut child = std::process::Command::new("sleep").arg("5").spawn().unwrap();
        let family = family(me);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(family.contains(&me) && family.contains(&child.id()), "{family:?}");
        assert_eq!(times(&[child.id()]), Times::default());
    }
}

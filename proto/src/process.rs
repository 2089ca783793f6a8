//! What only the operating system knows: the time, and how much memory this process takes.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time, in microseconds since 1970 UTC.
pub fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Resident memory of this process and the highest it was, in bytes; zeros where the system does not say.
pub fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    (field("VmRSS:").unwrap_or(0), field("VmHWM:").unwrap_or(0))
}

/// Starts this process again, in place, with two heaps for all its threads where the C library would keep up to eight a
/// core: each holds on to what its threads needed at their worst, a tenth of a node's memory. Comes back only if that is
/// so already, the operator has chosen a number, or it cannot be done.
pub fn with_few_heaps() {
    use std::os::unix::process::CommandExt as _;
    const HEAPS: &str = "MALLOC_ARENA_MAX";
    if std::env::var_os(HEAPS).is_some() {
        return;
    }
    let mut args = std::env::args_os();
    if let (Ok(program), Some(name)) = (std::env::current_exe(), args.next()) {
        let error = std::process::Command::new(program).arg0(name).args(args).env(HEAPS, "2").exec();
        tracing::warn!(%error, "going on with the heaps there are");
    }
}

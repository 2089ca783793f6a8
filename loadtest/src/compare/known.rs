//! The drivers that everybody knows: wrk for HTTP/1.1, h2load for HTTP/2. They need more of a core for an answer than
//! this program's own clients, so they are here to check those, not to find a server's limit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use super::cells::{Load, Protocol};
use super::cores;
use super::request::Exchange;
use super::servers::Server;
use super::tally::{Counted, percentile};
use super::window::{Meter, Spent, Window};

/// A driver that takes this much longer than it was told to is stuck.
const GRACE: Duration = Duration::from_secs(20);

/// Those that are not on this machine.
pub(super) fn absent() -> impl Iterator<Item = &'static str> {
    [Protocol::H1, Protocol::H2].into_iter().filter_map(name).filter(|name| cores::find(name).is_none())
}

/// The program for a protocol, if it is on this machine.
pub(super) fn program(protocol: Protocol) -> Option<PathBuf> {
    name(protocol).and_then(cores::find)
}

fn name(protocol: Protocol) -> Option<&'static str> {
    match protocol {
        Protocol::H1 => Some("wrk"),
        Protocol::H2 => Some("h2load"),
        Protocol::H3 => None,
    }
}

/// Runs the protocol's driver once. It warms nothing up: what it counts and what is used go together.
pub(super) async fn run(
    server: &Server,
    load: &Load,
    exchange: &Exchange,
    window: &Window<'_>,
    dir: &Path,
) -> anyhow::Result<(Counted, Spent)> {
    let name = name(load.protocol).context("no driver for this protocol")?;
    let log = dir.join("h2load.log");
    let mut command = Command::new(program(load.protocol).with_context(|| format!("no `{name}`"))?);
    let seconds = window.length.as_secs().max(1);
    command.arg("-t1").arg(format!("-c{}", load.connections));
    if load.protocol == Protocol::H1 {
        command.arg(format!("-d{seconds}")).arg("--latency");
    } else {
        command.arg(format!("-D{seconds}")).arg(format!("-m{}", load.streams));
        command.arg(format!("--log-file={}", log.display()));
    }
    for (name, value) in exchange.headers() {
        command.arg("-H").arg(format!("{name}: {value}"));
    }
    command.arg(exchange.url()).stdin(Stdio::null()).kill_on_drop(true);
    let meter = Meter::start(server.pids());
    let output = timeout(window.length + GRACE, command.output()).await.context("the driver is stuck")??;
    let spent = meter.stop();
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stderr));
    let mut counted = match load.protocol {
        Protocol::H1 => wrk(&said),
        _ => h2load(&said),
    }
    .with_context(|| format!("{name} said:\n{said}"))?;
    if load.protocol == Protocol::H2 {
        let mut micros = latencies(&fs::read_to_string(&log)?);
        fs::remove_file(&log)?;
        micros.sort_unstable();
        let at = |share| percentile(&micros, share).map(Duration::from_micros);
        (counted.p50, counted.p99) = (at(0.5), at(0.99));
    }
    counted.bytes = counted.answers * exchange.body;
    Ok((counted, spent))
}

/// What wrk 4 prints.
fn wrk(said: &str) -> anyhow::Result<Counted> {
    let line = |name: &str| said.lines().find_map(|line| line.trim().strip_prefix(name));
    let count = said.lines().find_map(|line| line.trim().split_once(" requests in ")).context("no requests")?;
    let wrong = line("Non-2xx or 3xx responses:").map_or(Ok(0), |text| text.trim().parse())?;
    let broken: u64 = line("Socket errors:")
        .map_or(0, |text| text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok()).sum());
    Ok(Counted {
        answers: count.0.parse()?,
        bytes: 0,
        p50: line("50%").and_then(span),
        p99: line("99%").and_then(span),
        failures: wrong + broken,
        failure: (wrong + broken > 0).then(|| format!("wrk counted {wrong} wrong answers and {broken} broken ones")),
    })
}

/// `38.00us`, `4.07ms`, `1.14s`, `2.00m`.
fn span(text: &str) -> Option<Duration> {
    let text = text.trim();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(number.len()..)? {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()
}

/// What h2load 1.52 prints.
fn h2load(said: &str) -> anyhow::Result<Counted> {
    let line = said.lines().find_map(|line| line.strip_prefix("requests: ")).context("no requests")?;
    let count = |name: &str| -> anyhow::Result<u64> {
        let mut words = line.split(", ").filter_map(|part| part.split_once(' '));
        Ok(words.find(|(_, what)| *what == name).with_context(|| format!("no {name}"))?.0.parse()?)
    };
    let failures = count("failed")? + count("errored")? + count("timeout")?;
    Ok(Counted {
        answers: count("succeeded")?,
        failures,
        failure: (failures > 0).then(|| line.to_owned()),
        ..Counted::default()
    })
}

/// Microseconds of each answer: the third column of h2load's log.
fn latencies(log: &str) -> Vec<u64> {
    log.lines().filter_map(|line| line.split('\t').nth(2)?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 1s test @ https://localhost:9101/none
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    65.71us  169.71us   3.25ms   98.92%
    Req/Sec    75.74k     2.24k   78.45k    72.73%
  Latency Distribution
     50%   51.00us
     75%   57.00us
     90%   65.00us
     99%    1.67ms
  82629 requests in 1.10s, 23.17MB read
  Socket errors: connect 0, read 2, write 0, timeout 1
  Non-2xx or 3xx responses: 82629
Requests/sec:  75119.53
Transfer/sec:     21.06MB
";

    const H2LOAD: &str = "Main benchmark duration is over for thread #0. Stopping all clients.
Stopped all clients for thread #0

finished in 1.20s, 109521.00 req/s, 294.85MB/s
requests: 109521 total, 109530 started, 109521 done, 109520 succeeded, 1 failed, 0 errored, 0 timeout
status codes: 109520 2xx, 0 3xx, 1 4xx, 0 5xx
traffic: 294.85MB (309177783) total, 12.94MB (13570856) headers (space savings 39.88%), 336.12MB (352450789) data
                     min         max         mean         sd        +/- sd
time for request:       18us      3.30ms       130us        78us    97.07%
";

    #[test]
    fn wrk_is_understood() {
        let counted = wrk(WRK).unwrap();
        assert_eq!((counted.answers, counted.failures), (82_629, 82_632));
        assert_eq!((counted.p50, counted.p99), (Some(Duration::from_micros(51)), Some(Duration::from_micros(1670))));
        let clean: String = WRK.lines().filter(|line| !line.contains("s:")).map(|line| format!("{line}\n")).collect();
        assert_eq!(wrk(&clean).unwrap().failures, 0);
        assert!(wrk("unable to connect").is_err());
    }

    #[test]
    fn spans_have_units() {
        assert_eq!(span(" 1.14s"), Some(Duration::from_millis(1140)));
        assert_eq!(span("2.00m"), Some(Duration::from_secs(120)));
        assert_eq!((span("7"), span("x")), (None, None));
    }

    #[test]
    fn h2load_is_understood() {
        let counted = h2load(H2LOAD).unwrap();
        assert_eq!((counted.answers, counted.failures), (109_520, 1));
        assert!(counted.failure.unwrap().contains("1 failed"));
        assert!(h2load("could not connect").is_err());
        assert_eq!(latencies("1795487112008652\t200\t182\n1795487112008653\t200\t230\n"), [182, 230]);
    }
}

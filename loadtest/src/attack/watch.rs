//! A node's own word about an attack: the first of its counters of refusals that moves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// From one look to the next.
const EVERY: Duration = Duration::from_millis(50);

/// A status that does not come by then is looked for again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Parts of the names of series that count refusals.
const WORDS: [&str; 13] = [
    "limited",
    "ended",
    "failures",
    "refused",
    "crowded",
    "abusive",
    "cut_off",
    "offend",
    "shed",
    "overload",
    "retry",
    "code=\"4",
    "code=\"503",
];

/// Counters by name, those of refusals alone.
pub(super) type Counters = BTreeMap<String, f64>;

/// The counters at one moment.
pub(super) async fn counters(admin: SocketAddr) -> anyhow::Result<Counters> {
    let look = async {
        let mut tcp = TcpStream::connect(admin).await?;
        tcp.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut text = Vec::new();
        tcp.read_to_end(&mut text).await?;
        anyhow::Ok(parse(&String::from_utf8_lossy(&text)))
    };
    timeout(PATIENCE, look).await.context("no metrics")?
}

fn parse(text: &str) -> Counters {
    let series = text.lines().filter(|line| !line.starts_with('#') && WORDS.iter().any(|word| line.contains(word)));
    let pair =
        |line: &str| line.rsplit_once(' ').and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    series.filter_map(pair).collect()
}

/// What moved most from `before` to `now`.
fn moved(before: &Counters, now: &Counters) -> Option<(String, f64)> {
    let moves = now.iter().map(|(name, value)| (name, value - before.get(name).copied().unwrap_or(0.0)));
    let most = moves.filter(|(_, by)| *by > 0.0).max_by(|(_, one), (_, other)| one.total_cmp(other));
    most.map(|(name, by)| (name.clone(), by))
}

/// Looks until one moves; microseconds since 1970 and its name.
pub(super) async fn first(admin: SocketAddr, before: &Counters) -> (u64, String) {
    loop {
        let since = Instant::now();
        if let Some((name, _)) = counters(admin).await.ok().and_then(|now| moved(before, &now)) {
            return (super::honest::unix(), name);
        }
        sleep(EVERY.saturating_sub(since.elapsed())).await;
    }
}

/// All that moved, in words, the largest first.
pub(super) fn summary(before: &Counters, now: &Counters) -> Vec<(String, f64)> {
    let mut moves: Vec<_> =
        now.iter().map(|(name, value)| (name.clone(), value - before.get(name).copied().unwrap_or(0.0))).collect();
    moves.retain(|(_, by)| *by > 0.0);
    moves.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    moves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_that_moves_most_is_named() {
        let before = parse("# HELP x\ndifusor_connections_ended_total{reason=\"abusive\"} 1\ndifusor_cut_age 7\n");
        assert_eq!(before.len(), 1);
        let now = parse("difusor_connections_ended_total{reason=\"abusive\"} 9\nx_refused_total 2\n");
        let (name, by) = moved(&before, &now).unwrap();
        assert_eq!((name.as_str(), by), ("difusor_connections_ended_total{reason=\"abusive\"}", 8.0));
        assert_eq!(summary(&before, &now).len(), 2);
        assert_eq!(moved(&now, &now), None);
    }
}

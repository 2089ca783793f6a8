//! Medians and worst cases of both sides, as a Markdown table.

use super::{Memory, NightRun, Publication};
use crate::median::{median, worst};

/// One side of the table; `None` where it has nothing to show.
struct Column {
    first_ms: Option<f64>,
    next_ms: Option<f64>,
    worst_ms: Option<f64>,
    first_bytes: Option<f64>,
    next_bytes: Option<f64>,
    skew_us: Option<f64>,
    worst_skew_us: Option<f64>,
    memory: Option<Memory>,
}

impl Column {
    fn new(nights: &[NightRun]) -> Self {
        let first: Vec<&Publication> = nights.iter().filter_map(|night| night.cuts.first()).collect();
        let next: Vec<&Publication> = nights.iter().flat_map(|night| night.cuts.iter().skip(1)).collect();
        let all = || first.iter().chain(&next).copied();
        let peaks = || nights.iter().filter_map(|night| night.memory);
        Self {
            first_ms: median(first.iter().map(|cut| cut.served_ms)),
            next_ms: median(next.iter().map(|cut| cut.served_ms)),
            worst_ms: worst(next.iter().map(|cut| cut.served_ms)),
            first_bytes: median(received(&first)),
            next_bytes: median(received(&next)),
            skew_us: median(all().map(|cut| cut.skew_us as f64)),
            worst_skew_us: worst(all().map(|cut| cut.skew_us as f64)),
            memory: peaks()
                .reduce(|a, b| Memory { coordinator: a.coordinator.max(b.coordinator), node: a.node.max(b.node) }),
        }
    }
}

/// The comparison: rows of both sides, and how many times as long or as much the peer takes.
pub(super) fn table(difusor: &[NightRun], rsync: &[NightRun]) -> String {
    let (ours, theirs) = (Column::new(difusor), Column::new(rsync));
    let mut lines = vec![
        "| last byte of the package to served on all nodes | difusor | unzip + rsync | rsync / difusor |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    let mut row = |name: &str, value: fn(&Column) -> Option<f64>, show: fn(f64) -> String| {
        let (a, b) = (value(&ours), value(&theirs));
        let ratio = a.zip(b).filter(|(a, _)| *a > 0.0).map_or_else(dash, |(a, b)| format!("{:.2}", b / a));
        let cell = |value: Option<f64>| value.map_or_else(dash, show);
        lines.push(format!("| {name} | {} | {} | {ratio} |", cell(a), cell(b)));
    };
    row("first cut, median", |side| side.first_ms, milliseconds);
    row("next cut, median", |side| side.next_ms, milliseconds);
    row("next cut, worst", |side| side.worst_ms, milliseconds);
    row("pushed to a node, first cut", |side| side.first_bytes, bytes);
    row("pushed to a node, next cut", |side| side.next_bytes, bytes);
    row("skew between nodes, median", |side| side.skew_us, microseconds);
    row("skew between nodes, worst", |side| side.worst_skew_us, microseconds);
    row("peak memory, coordinator", |side| side.memory.map(|peak| peak.coordinator as f64), bytes);
    row("peak memory, node", |side| side.memory.map(|peak| peak.node as f64), bytes);
    lines.join("\n")
}

fn received(cuts: &[&Publication]) -> impl Iterator<Item = f64> {
    cuts.iter().flat_map(|cut| &cut.received).map(|bytes| *bytes as f64)
}

fn milliseconds(value: f64) -> String {
    if value < 10_000.0 { format!("{value:.0} ms") } else { format!("{:.1} s", value / 1e3) }
}

fn microseconds(value: f64) -> String {
    if value < 10_000.0 { format!("{value:.0} µs") } else { milliseconds(value / 1e3) }
}

fn bytes(value: f64) -> String {
    if value < 1e6 { format!("{:.1} kB", value / 1e3) } else { format!("{:.1} MB", value / 1e6) }
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn night(times: &[f64], memory: Option<Memory>) -> NightRun {
        let cuts = times.iter().map(|&served_ms| Publication {
            label: "20240602_2000".into(),
            package_bytes: 1,
            served_ms,
            skew_us: 50,
            received: vec![2_000_000; 3],
        });
        NightRun { cuts: cuts.collect(), memory }
    }

    #[test]
    fn first_and_next_cuts_are_kept_apart() {
        let memory = |node| Some(Memory { coordinator: 90_000_000, node });
        let ours = [night(&[400.0, 100.0, 120.0], memory(8_000)), night(&[600.0, 80.0, 140.0], memory(9_000))];
        let table = table(&ours, &[night(&[1_000.0, 500.0, 11_000.0], None)]);
        for line in [
            "| first cut, median | 500 ms | 1000 ms | 2.00 |",
            "| next cut, median | 110 ms | 5750 ms | 52.27 |",
            "| next cut, worst | 140 ms | 11.0 s | 78.57 |",
            "| pushed to a node, next cut | 2.0 MB | 2.0 MB | 1.00 |",
            "| skew between nodes, worst | 50 µs | 50 µs | 1.00 |",
            "| peak memory, node | 9.0 kB | - | - |",
        ] {
            assert!(table.contains(line), "{line} is missing in\n{table}");
        }
    }

    #[test]
    fn one_side_alone() {
        assert!(table(&[], &[night(&[5.0], None)]).contains("| first cut, median | - | 5 ms | - |"));
    }
}

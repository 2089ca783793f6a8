//! Medians and worst cases, as two Markdown tables.

use super::record::{Cut, Record};
use crate::median::{median, worst};

/// No more than so many times the limit is the goal, and no more than [`GOAL_MS`] in the median.
const GOAL: f64 = 2.0;
const GOAL_MS: f64 = 1500.0;

/// Times against the limit, and where they go.
pub(super) fn tables(records: &[Record]) -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut lines = vec![
        "| tables | deltas | served, median ms | worst | limit ms | / limit | worst / limit | kB to a node | goals |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(records.iter().filter_map(times));
    lines.push(String::new());
    lines.push(format!(
        "| tables | deltas | ingest | delta | transfer | decoding | flip | CPU: coordinator | nodes | links | CPU / {cores} cores |"
    ));
    lines.push("|---|---|---|---|---|---|---|---|---|---|---|".to_owned());
    lines.extend(records.iter().filter_map(|record| phases(record, cores)));
    lines.join("\n")
}

fn times(record: &Record) -> Option<String> {
    let all = |value: fn(&Cut) -> f64| record.cuts.iter().map(value);
    let (served, limit) = (median(all(|cut| cut.served_ms))?, median(all(|cut| cut.limit_ms))?);
    let ratio = median(all(|cut| cut.served_ms / cut.limit_ms))?;
    let goals = if ratio <= GOAL && served <= GOAL_MS { "met" } else { "missed" };
    Some(format!(
        "| {:?} | {} | {served:.0} | {:.0} | {limit:.0} | {ratio:.2} | {:.2} | {:.0} | {goals} |",
        record.shape,
        record.deltas.name(),
        worst(all(|cut| cut.served_ms))?,
        worst(all(|cut| cut.served_ms / cut.limit_ms))?,
        median(all(|cut| cut.received as f64 / 1e3))?,
    ))
}

fn phases(record: &Record, cores: usize) -> Option<String> {
    let middle = |value: &dyn Fn(&Cut) -> f64| median(record.cuts.iter().map(value));
    let mut cells = vec![format!("{:?}", record.shape), record.deltas.name().to_owned()];
    for phase in 0..5 {
        cells.push(format!("{:.0}", middle(&|cut| cut.phases.all().get(phase).copied().unwrap_or(0.0))?));
    }
    for value in [|cut: &Cut| cut.cpu.coordinator, |cut: &Cut| cut.cpu.nodes, |cut: &Cut| cut.cpu.links] {
        cells.push(format!("{:.0}", middle(&value)?));
    }
    cells.push(format!("{:.0}", middle(&|cut| cut.cpu.least(cores))?));
    Some(format!("| {} |", cells.join(" | ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{
        Deltas, Shape,
        record::{Cpu, Phases},
    };

    #[test]
    fn goals_are_judged_by_the_median() {
        let cut = |served_ms| Cut {
            label: "20240602_2000".into(),
            package_bytes: 1,
            served_ms,
            limit_ms: 500.0,
            received: 750_000,
            phases: Phases { ingest: 1.0, delta: 2.0, transfer: 3.0, decoding: 4.0, flip: 5.0 },
            cpu: Cpu { coordinator: 100.0, nodes: 300.0, links: 20.0 },
        };
        let record = |times: &[f64]| Record {
            shape: Shape::Nested,
            deltas: Deltas::Auto,
            cuts: times.iter().copied().map(cut).collect(),
        };
        let tables = tables(&[record(&[800.0, 900.0, 5_000.0]), record(&[1_100.0])]);
        for line in [
            "| Nested | auto | 900 | 5000 | 500 | 1.80 | 10.00 | 750 | met |",
            "| Nested | auto | 1100 | 1100 | 500 | 2.20 | 2.20 | 750 | missed |",
            "| Nested | auto | 1 | 2 | 3 | 4 | 5 | 100 | 300 | 20 | ",
        ] {
            assert!(tables.contains(line), "{line} is missing in\n{tables}");
        }
    }
}

//! Medians of all subjects, as a Markdown table.

use super::{Record, Series, Subject, peer::Variant};
use crate::median::{median, worst};

/// What stands in a row's first column.
pub(super) fn name(subject: &Subject) -> String {
    match subject {
        Subject::Ingest => "difusor: ingest".to_owned(),
        Subject::Publication => "difusor: last byte to durable (fsync)".to_owned(),
        Subject::Peer { variant, folder } => {
            let how = match variant {
                Variant::InTurn => "unzip, sha256sum, b3sum",
                Variant::Parallel => "unzip, xargs -P2 sums",
                Variant::Opened => "the same, inner archives too",
            };
            format!("{how}; {}", folder.display())
        }
    }
}

/// A row for each subject of each package; and how the best of the peers compares, with the same work where inner
/// archives make that another.
pub(super) fn table(records: &[Record]) -> String {
    let mut lines = vec![
        "| package | what | median ms | worst | CPU ms | / ingest |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for record in records {
        let package =
            format!("{} {:.1} MB", if record.nested { "nested" } else { "plain" }, record.package_bytes as f64 / 1e6);
        let ingest = record.series.iter().find(|series| series.subject == Subject::Ingest).and_then(middle);
        for series in &record.series {
            let Some(time) = middle(series) else { continue };
            let cpu = median(series.rounds.iter().filter_map(|took| took.cpu_ms));
            let worst = worst(series.rounds.iter().map(|took| took.ms)).unwrap_or(time);
            let cpu = cpu.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.0}"));
            let ratio = ingest.map_or_else(|| "-".to_owned(), |ingest| format!("{:.2}", time / ingest));
            lines.push(format!("| {package} | {} | {time:.0} | {worst:.0} | {cpu} | {ratio} |", name(&series.subject)));
        }
    }
    lines.extend(records.iter().filter_map(verdict));
    lines.join("\n")
}

/// The best of the peers against ours, in words.
fn verdict(record: &Record) -> Option<String> {
    let ours = |subject| record.series.iter().find(|series| series.subject == subject).and_then(middle);
    let (ingest, durable) = (ours(Subject::Ingest)?, ours(Subject::Publication)?);
    let best = |is: fn(Variant) -> bool| {
        let peers = record.series.iter().filter(|series| match series.subject {
            Subject::Peer { variant, .. } => is(variant),
            _ => false,
        });
        peers.filter_map(middle).min_by(f64::total_cmp)
    };
    let mut out = String::new();
    for (what, peer) in [
        ("its files alone", best(|variant| variant != Variant::Opened)),
        ("inner archives too, as ours", best(|variant| variant == Variant::Opened)),
    ] {
        let Some(peer) = peer else { continue };
        let met = |ours: f64| if ours <= peer { "no slower" } else { "slower" };
        out.push_str(&format!(
            "\n{}, the best peer ({what}): {peer:.0} ms; ingest {ingest:.0} ms: {}; to durable {durable:.0} ms: {}",
            if record.nested { "nested" } else { "plain" },
            met(ingest),
            met(durable)
        ));
    }
    Some(out)
}

fn middle(series: &Series) -> Option<f64> {
    median(series.rounds.iter().map(|took| took.ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::Took;

    #[test]
    fn the_best_peer_counts() {
        let series = |subject, times: &[f64]| Series {
            subject,
            rounds: times.iter().map(|ms| Took { ms: *ms, cpu_ms: None }).collect(),
        };
        let peer = |variant, folder: &str| Subject::Peer { variant, folder: folder.into() };
        let record = Record {
            nested: false,
            package_bytes: 42_000_000,
            series: vec![
                series(Subject::Ingest, &[400.0, 500.0, 450.0]),
                series(Subject::Publication, &[900.0]),
                series(peer(Variant::InTurn, "/tmp"), &[1_000.0]),
                series(peer(Variant::Parallel, "/dev/shm"), &[800.0]),
            ],
        };
        let table = table(&[record]);
        for line in [
            "| plain 42.0 MB | difusor: ingest | 450 | 500 | - | 1.00 |",
            "| plain 42.0 MB | unzip, xargs -P2 sums; /dev/shm | 800 | 800 | - | 1.78 |",
            "its files alone): 800 ms; ingest 450 ms: no slower; to durable 900 ms: slower",
        ] {
            assert!(table.contains(line), "{line} is missing in\n{table}");
        }
    }
}

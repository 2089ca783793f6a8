//! The table of attacks, a row for each.

use std::fmt::Write as _;

use super::honest::{PATIENCE, SOURCES};
use super::judge::Measured;
use super::limits::PLACES;
use super::stage::Lengths;
use crate::compare::servers::Name;

/// Differences that are the machine's moods: of a hundred, in the ninety-ninth (milliseconds), in memory (MB).
const GOODPUT: f64 = 2.0;
const P99: f64 = 3.0;
const MEMORY: f64 = 8.0;

/// The numbers of a server, the median of its rounds.
struct Row {
    /// Attacks that did what they were meant to, by the checked answers.
    fooled: f64,
    before: f64,
    goodput: f64,
    p99: f64,
    growth: f64,
    detect: Option<f64>,
    contain: Option<f64>,
    recover: Option<f64>,
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn row(measured: &[Measured], scenario: &str, server: Name) -> Option<Row> {
    let of: Vec<&Measured> =
        measured.iter().filter(|made| made.scenario == scenario && made.server == Some(server)).collect();
    let number = |look: &dyn Fn(&Measured) -> f64| median(of.iter().map(|made| look(made)).collect());
    // A round in which it did not happen takes for ever.
    let time = |look: &dyn Fn(&Measured) -> Option<f64>| {
        number(&|made| look(made).unwrap_or(f64::INFINITY)).filter(|time| time.is_finite())
    };
    Some(Row {
        fooled: number(&|made| made.work.wrong.len() as f64)?,
        before: number(&|made| made.parts[0].goodput())?,
        goodput: number(&|made| made.meanwhile().goodput())?,
        p99: number(&|made| f64::from(made.meanwhile().p99) / 1e3)?,
        growth: number(&|made| made.growth() as f64 / 1e6)?,
        detect: time(&|made| made.detected.as_ref().map(|(ms, _)| *ms)),
        contain: time(&|made| made.contained),
        recover: time(&|made| made.recovered),
    })
}

impl Row {
    fn cells(&self) -> String {
        let time = |time: Option<f64>| time.map_or_else(|| "never".to_owned(), |ms| format!("{:.2} s", ms / 1e3));
        format!(
            "{:.1} → {:.1} % | {:.1} ms | +{:.1} MB | {} | {} | {}",
            self.before,
            self.goodput,
            self.p99,
            self.growth,
            time(self.detect),
            time(self.contain),
            time(self.recover)
        )
    }
}

fn verdict(ours: &Row, theirs: &Row) -> &'static str {
    let better = [
        (theirs.fooled - ours.fooled, 0.0),
        (ours.goodput - theirs.goodput, GOODPUT),
        (theirs.p99 - ours.p99, P99.max(theirs.p99.min(ours.p99) / 4.0)),
        (theirs.growth - ours.growth, MEMORY.max(theirs.growth.min(ours.growth) / 4.0)),
    ];
    let decided = better.into_iter().find(|(by, least)| by.abs() > *least);
    match decided {
        Some((by, _)) if by > 0.0 => "better",
        Some(_) => "worse",
        None => "equal",
    }
}

/// Goodput before and during the attack, its ninety-ninth, and so on, of both servers side by side.
pub(super) fn table(measured: &[Measured]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for made in measured {
        if !names.contains(&made.scenario) {
            names.push(made.scenario);
        }
    }
    let both = measured.iter().any(|made| made.server == Some(Name::Nginx));
    let heads = "goodput | p99 | memory | detect | contain | recover |";
    let mut text = format!("| attack | Difusor: {heads}");
    if both {
        let _ = write!(text, " nginx: {heads} verdict |");
    }
    let columns = text.matches('|').count() - 1;
    let _ = write!(text, "\n|{}", "---|".repeat(columns));
    for name in names {
        let Some(ours) = row(measured, name, Name::Difusor) else { continue };
        let _ = write!(text, "\n| {name} | {} |", ours.cells());
        match row(measured, name, Name::Nginx) {
            Some(theirs) => {
                let _ = write!(text, " {} | {} |", theirs.cells(), verdict(&ours, &theirs));
            }
            None if both => text.push_str(" not over QUIC | | | | | | |"),
            None => {}
        }
    }
    text
}

/// What checked answers found wrong.
pub(super) fn words(measured: &[Measured]) -> String {
    let mut text = String::new();
    for made in measured.iter().filter(|made| !made.work.wrong.is_empty()) {
        let server = made.server.map_or("", Name::text);
        let _ = writeln!(text, "{} {server}: {}", made.scenario, made.work.wrong.join("; "));
    }
    text
}

/// What to know of the numbers.
pub(super) fn fairness(rate: u32, lengths: &Lengths) -> String {
    format!(
        "Each server alone on one core with one thread, {PLACES} connections, the same limits; visitors ({rate} requests a \
         second from {SOURCES} addresses, open loop) and attacker ({} s) on the other core, the attacker ten steps of `nice` \
         behind them. Goodput: answers whole, equal byte for byte and within {} s of when they were due, of all that were \
         offered, before and during the attack; p99 counts lost answers as {} s. Memory: the most resident during the attack \
         over what there was before. Detect: the first refusal that a counter of the node or the attacker shows. Contain: \
         goodput is at 95 % for the rest of the attack. Recover: it is, and as fast as before, after its end. What the \
         attacker's packets cost the kernel is paid by the core that sends them, so no flood here is larger than one core \
         makes it.",
        lengths.attack.as_secs_f64(),
        PATIENCE.as_secs(),
        PATIENCE.as_secs(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(server: Name, good: usize) -> Measured {
        let mut made = Measured { scenario: "a", server: Some(server), ..Measured::default() };
        let [_, meanwhile, _] = &mut made.parts;
        (meanwhile.offered, meanwhile.good) = (100, good);
        made
    }

    #[test]
    fn rows_stand_side_by_side() {
        let text = table(&[measured(Name::Difusor, 100), measured(Name::Nginx, 40)]);
        let columns = |line: &str| line.matches('|').count();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| columns(line) == columns(lines[0])), "{text}");
        assert!(lines[2].ends_with("| better |") && lines[2].contains("40.0 %"), "{text}");
        let alone = table(&[measured(Name::Difusor, 100)]);
        assert!(!alone.contains("nginx") && alone.lines().all(|line| columns(line) == 8), "{alone}");
    }

    #[test]
    fn what_attacks_did_decides_and_then_goodput() {
        let row = |goodput, p99, growth| Row {
            fooled: 0.0,
            before: 100.0,
            goodput,
            p99,
            growth,
            detect: None,
            contain: None,
            recover: None,
        };
        assert_eq!(verdict(&row(99.0, 900.0, 50.0), &row(90.0, 5.0, 0.0)), "better");
        assert_eq!(verdict(&row(99.0, 90.0, 0.0), &row(99.5, 50.0, 90.0)), "worse");
        assert_eq!(verdict(&row(99.0, 50.0, 0.0), &row(99.5, 51.0, 90.0)), "better");
        assert_eq!(verdict(&row(99.0, 50.0, 1.0), &row(99.5, 51.0, 2.0)), "equal");
        let fooled = Row { fooled: 6.0, ..row(99.5, 1.0, 2.0) };
        assert_eq!(verdict(&row(90.0, 50.0, 1.0), &fooled), "better");
    }
}

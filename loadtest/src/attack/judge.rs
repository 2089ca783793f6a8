//! From what was seen of an attack to its numbers.

use serde::Serialize;

use super::honest::{Outcome, PATIENCE, Record};
use super::scenario::Scenario;
use super::stage::{Seen, WARM_UP};
use crate::compare::servers::Name;
use crate::compare::tally::percentile;

/// Goodput and latency are looked at in steps of this, microseconds.
const STEP: u64 = 250_000;

/// The visitors are well when so many of a hundred get their answers.
const WELL: f64 = 95.0;

/// And when all but a hundredth get them as fast as before: twice the time at most, or this (microseconds).
const FAST: u32 = 20_000;

/// Of the visitors in one part.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Part {
    pub(super) offered: usize,
    pub(super) good: usize,
    /// Answers that were lost or wrong: late, refused, broken, wrong.
    pub(super) lost: [usize; 4],
    /// Microseconds, the lost ones counted as long as visitors wait.
    pub(super) p50: u32,
    pub(super) p99: u32,
}

impl Part {
    /// Of a hundred.
    pub(super) fn goodput(&self) -> f64 {
        100.0 * self.good as f64 / self.offered.max(1) as f64
    }
}

/// One attack on one server.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Measured {
    pub(super) scenario: &'static str,
    pub(super) server: Option<Name>,
    pub(super) round: u32,
    pub(super) parts: [Part; 3],
    /// Bytes resident before, at the most meanwhile, and at the end.
    pub(super) memory: [u64; 3],
    /// Of a core, before and meanwhile.
    pub(super) cpu: [f64; 2],
    /// Of the time, how long the server was ready but others had its core: during the attack, what a thread waits.
    pub(super) waited: f64,
    /// Milliseconds since the start of the attack, and by what.
    pub(super) detected: Option<(f64, String)>,
    /// Milliseconds since the start of the attack until visitors are well while it goes on.
    pub(super) contained: Option<f64>,
    /// Milliseconds from its end until they are.
    pub(super) recovered: Option<f64>,
    pub(super) work: super::strike::Work,
    pub(super) counted: Vec<(String, f64)>,
    pub(super) trouble: Option<String>,
    pub(super) died: Option<String>,
}

impl Measured {
    pub(super) fn of(scenario: &Scenario, server: Name, round: u32, seen: anyhow::Result<Seen>) -> Self {
        let empty = Self { scenario: scenario.name, server: Some(server), round, ..Self::default() };
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => return Self { died: Some(format!("{error:#}")), ..empty },
        };
        let records = &seen.told.records;
        let at = |unix: u64| unix.saturating_sub(seen.told.start);
        let (begin, end) = (at(seen.work.start), at(seen.work.end));
        let warm = u64::try_from(WARM_UP.as_micros()).unwrap_or_default();
        let parts = [(warm, begin), (begin, end), (end, u64::MAX)].map(|(from, to)| part(records, from, to));
        let slowest = parts.first().map_or(FAST, |before| before.p99.saturating_mul(2)).max(FAST);
        let ms = |micros: u64| micros as f64 / 1e3;
        let by_node = seen.detected.map(|(unix, name)| (unix.saturating_sub(seen.work.start), name));
        let by_attacker = seen.work.first.clone().map(|(micros, how)| (micros, format!("attacker: {how}")));
        let detected = by_node.into_iter().chain(by_attacker).min_by_key(|(micros, _)| *micros);
        let cpu = seen.spent.map(|(length, times)| times.cpu.as_secs_f64() / length.as_secs_f64());
        let [before, high, after] = seen.memory;
        let [_, (length, times)] = seen.spent;
        Self {
            contained: contained(records, begin, end).map(ms),
            recovered: recovered(records, end, slowest).map(ms),
            parts,
            memory: [before.now, high.peak.max(high.now), after.now],
            cpu,
            waited: times.waited.as_secs_f64() / length.as_secs_f64(),
            detected: detected.map(|(micros, how)| (ms(micros), how)),
            work: seen.work,
            counted: seen.counted,
            trouble: seen.told.trouble,
            died: seen.alive.err(),
            ..empty
        }
    }

    /// Of the visitors during the attack.
    pub(super) fn meanwhile(&self) -> &Part {
        &self.parts[1]
    }

    /// Bytes that it grew by, at the most.
    pub(super) fn growth(&self) -> u64 {
        let [before, peak, _] = self.memory;
        peak.saturating_sub(before)
    }

    /// Why the node failed outright, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        if self.server != Some(Name::Difusor) {
            return None;
        }
        let wrong: usize = self.parts.iter().map(|part| part.lost[3]).sum();
        let why = match &self.died {
            Some(died) => died.clone(),
            None if wrong > 0 => format!("{wrong} answers with other bytes"),
            None if self.meanwhile().good == 0 => "visitors got nothing".to_owned(),
            None => return self.work.wrong.first().map(|wrong| format!("{}: {wrong}", self.scenario)),
        };
        Some(format!("{}: {why}", self.scenario))
    }

    /// For the eye, while it runs.
    pub(super) fn line(&self) -> String {
        if let Some(died) = &self.died {
            return format!("DIED: {died}");
        }
        let [before, meanwhile, after] = &self.parts;
        let [calm, busy] = self.cpu;
        let trouble = if meanwhile.lost == [0; 4] { None } else { self.trouble.as_ref() };
        format!(
            "goodput {:.1} % -> {:.1} % -> {:.1} %, p99 {:.1} -> {:.1} ms, +{:.1} MB, cpu {calm:.2} -> {busy:.2} (waited {:.2}), lost {:?}, \
             detected {:?}, contained {:?}, recovered {:?}; attacker: {} connections, {} requests, {:.1} MB out, {:.1} MB in, \
             {} refused, {} closed, {} unconnected{}{}",
            before.goodput(),
            meanwhile.goodput(),
            after.goodput(),
            f64::from(before.p99) / 1e3,
            f64::from(meanwhile.p99) / 1e3,
            self.growth() as f64 / 1e6,
            self.waited,
            meanwhile.lost,
            self.detected,
            self.contained,
            self.recovered,
            self.work.connections,
            self.work.requests,
            self.work.sent as f64 / 1e6,
            self.work.received as f64 / 1e6,
            self.work.refused,
            self.work.closed,
            self.work.unconnected,
            trouble.map(|trouble| format!("; visitors: {trouble}")).unwrap_or_default(),
            if self.work.wrong.is_empty() { String::new() } else { format!("; wrong: {:?}", self.work.wrong) },
        )
    }
}

/// The records that were due from `from` to `to`.
fn part(records: &[Record], from: u64, to: u64) -> Part {
    let due = records.iter().filter(|(due, ..)| (from..to).contains(due));
    let mut part = Part::default();
    let patience = u32::try_from(PATIENCE.as_micros()).unwrap_or(u32::MAX);
    let mut times = Vec::new();
    let [late, refused, broken, wrong] = &mut part.lost;
    for (_, took, outcome) in due {
        part.offered += 1;
        times.push(if *outcome == Outcome::Good { *took } else { patience });
        match outcome {
            Outcome::Good => part.good += 1,
            Outcome::Late => *late += 1,
            Outcome::Refused => *refused += 1,
            Outcome::Broken => *broken += 1,
            Outcome::Wrong => *wrong += 1,
        }
    }
    times.sort_unstable();
    part.p50 = percentile(&times, 0.5).unwrap_or_default();
    part.p99 = percentile(&times, 0.99).unwrap_or_default();
    part
}

/// Since `begin`, when visitors are well for the rest of the attack.
fn contained(records: &[Record], begin: u64, end: u64) -> Option<u64> {
    let steps = (end.saturating_sub(begin)) / STEP;
    let well = |from, to| part(records, from, to).goodput() >= WELL;
    let found = (0..steps.saturating_sub(1).max(1)).find(|step| {
        let from = begin + step * STEP;
        well(from, from + STEP) && well(from, end)
    });
    found.map(|step| step * STEP)
}

/// Since `end`, when visitors are well and served fast for two steps.
fn recovered(records: &[Record], end: u64, slowest: u32) -> Option<u64> {
    let last = records.iter().map(|(due, ..)| *due).max().unwrap_or_default();
    let steps = last.saturating_sub(end) / STEP;
    let well = |step: u64| {
        let part = part(records, end + step * STEP, end + (step + 1) * STEP);
        part.goodput() >= WELL && part.p99 <= slowest
    };
    (0..steps.saturating_sub(1)).find(|step| well(*step) && well(step + 1)).map(|step| step * STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request each millisecond; those from `from` to `to` are lost.
    fn records(from: u64, to: u64) -> Vec<Record> {
        let outcome = |ms| if (from..to).contains(&ms) { Outcome::Late } else { Outcome::Good };
        (0..6000).map(|ms| (ms * 1000, 500, outcome(ms))).collect()
    }

    #[test]
    fn parts_are_counted() {
        let part = part(&records(1000, 1500), 1_000_000, 2_000_000);
        assert_eq!((part.offered, part.good, part.lost), (1000, 500, [500, 0, 0, 0]));
        assert_eq!((part.p50, part.p99), (500, 1_000_000));
    }

    #[test]
    fn containment_and_recovery() {
        assert_eq!(contained(&records(1000, 2000), 1_000_000, 5_000_000), Some(1_000_000));
        assert_eq!(contained(&records(0, 0), 1_000_000, 5_000_000), Some(0));
        assert_eq!(contained(&records(1000, 5000), 1_000_000, 5_000_000), None);
        assert_eq!(recovered(&records(1000, 5500), 5_000_000, 1000), None, "two steps are not there");
        assert_eq!(recovered(&records(1000, 4700), 4_000_000, 1000), Some(750_000));
        assert_eq!(recovered(&records(0, 0), 4_000_000, 400), None, "slow");
    }
}

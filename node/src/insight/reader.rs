//! Once a second: adds up what the threads left, judges it, and says so when it is something else.
//!
//! Owns what is remembered. Threads that serve never wait for it, and it takes a millisecond or two.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    Insight,
    ends::Ends,
    history::{History, Second},
    report::Report,
    settled::Settled,
    verdict::judge,
    words::{Names, words},
};
use crate::{
    http3::Counters,
    observe::Observatory,
    serving::{Serving, unix_ms},
};

/// From one reading to the next.
const EVERY: Duration = Duration::from_secs(1);

/// What is learnt while there is an attack, of what is learnt otherwise.
const UNDER_ATTACK: f64 = 0.1;

/// What is remembered from one reading to the next.
#[derive(Debug, Default)]
pub struct Memory {
    history: History,
    settled: Settled,
    ends: Ends,
    since_ms: u64,
}

/// Reads until `stop`.
pub async fn run(
    observatory: Arc<Observatory>,
    serving: Arc<Serving>,
    http3: Option<Arc<Counters>>,
    stop: CancellationToken,
) {
    let (mut memory, mut last) = (Memory::default(), Instant::now());
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = Instant::now();
        let seconds = now.duration_since(last).as_secs_f64();
        // The first tick comes at once, and has nothing to say.
        if seconds < EVERY.as_secs_f64() / 2.0 {
            continue;
        }
        last = now;
        let now_ms = unix_ms();
        let flipped = serving.with(|shown| shown.map(|shown| shown.since()));
        let totals = observatory.totals();
        let events: Vec<_> = http3.iter().flat_map(|counters| counters.read()).collect();
        let reading = Reading {
            seconds,
            ends: Ends::of(&totals, &events),
            open: totals.open(),
            since_flip: flipped.map(|flipped| now_ms.saturating_sub(flipped) as f64 / 1e3),
            now_ms,
        };
        let has_changed = memory.read(observatory.insight(), reading);
        if has_changed {
            say(&memory);
        }
    }
}

/// What is known at a reading beside the windows.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Since the last one.
    pub seconds: f64,
    /// Connections since the start.
    pub ends: Ends,
    /// Connections open now.
    pub open: u64,
    /// Since the last flip, seconds.
    pub since_flip: Option<f64>,
    /// Unix milliseconds.
    pub now_ms: u64,
}

impl Memory {
    /// Reads the windows, and leaves a new report. True if the verdict is another one.
    pub fn read(&mut self, insight: &Insight, reading: Reading) -> bool {
        let Reading { seconds, ends, open, since_flip, now_ms } = reading;
        let mut second = Second::new(seconds, ends.since(&self.ends), since_flip);
        self.ends = ends;
        insight.collect(|window| second.take(window));
        let learn = if self.settled.stands().verdict.is_attack() { UNDER_ATTACK } else { 1.0 };
        let (now, usual) = self.history.push(second, open, learn);
        let has_changed = self.settled.hear(judge(&now, &usual), seconds);
        if has_changed || self.since_ms == 0 {
            self.since_ms = now_ms;
        }
        insight.report.store(Arc::new(Report::of(self.settled.stands(), &now, &usual, self.since_ms)));
        has_changed
    }

    /// Bytes that are remembered, about.
    pub fn memory(&self) -> usize {
        self.history.memory()
    }
}

/// A line in the log, without addresses.
fn say(memory: &Memory) {
    let stands = memory.settled.stands();
    let (verdict, words) = (stands.verdict.name(), words(stands, Names::Hidden));
    let confidence = format!("{:.2}", stands.confidence);
    if stands.verdict.is_attack() {
        tracing::warn!(verdict, confidence, "{words}");
    } else {
        tracing::info!(verdict, confidence, "{words}");
    }
}

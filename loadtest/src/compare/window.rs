//! The time during which a measurement counts, and what server and clients used in it.

use std::cell::Cell;
use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::yield_now;
use tokio::time::sleep;

use super::instructions::Count;
use super::tally::Tally;
use crate::usage::{self, Memory, Times};

/// How long to warm up, and how long to count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'a> {
    pub(super) warm_up: Duration,
    pub(super) length: Duration,
    /// Where the counts of a server's instructions are, if they are counted.
    pub(super) counted: Option<&'a Path>,
    /// And what it takes without anything to do, instructions a second.
    pub(super) idle: f64,
}

/// What was used meanwhile.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) elapsed: Duration,
    pub(super) server: Times,
    pub(super) driver: Times,
    /// In which clients that never sleep had nothing to do.
    pub(super) idle: Option<Duration>,
    /// Of the server, at the end.
    pub(super) memory: Memory,
    /// Of the server, if they are counted, without those that it takes with nothing to do.
    pub(super) instructions: Option<f64>,
}

/// Processes that are being watched.
pub(super) struct Meter {
    server: Vec<u32>,
    driver: Vec<u32>,
    since: Instant,
    before: (Times, Times),
    ended: Duration,
}

impl Meter {
    /// From now on. The driver is this process, and those that it starts and that end until [`Self::stop`].
    pub(super) fn start(server: Vec<u32>) -> Self {
        let driver = vec![std::process::id()];
        usage::reset_peak(&server);
        let before = (usage::times(&server), usage::times(&driver));
        Self { since: Instant::now(), ended: usage::ended_children(), server, driver, before }
    }

    /// Until now.
    pub(super) fn stop(self) -> Spent {
        let elapsed = self.since.elapsed();
        let (server, mut driver) = (usage::times(&self.server), usage::times(&self.driver) - self.before.1);
        driver.cpu += usage::ended_children().saturating_sub(self.ended);
        let memory = usage::memory(&self.server);
        Spent { elapsed, server: server - self.before.0, driver, idle: None, memory, instructions: None }
    }
}

impl Window<'_> {
    /// Opens the window when it is warm, and closes it. Clients have to be driven meanwhile.
    pub(super) async fn watch(&self, server: Vec<u32>, tally: &Tally) -> anyhow::Result<Spent> {
        sleep(self.warm_up).await;
        let counted = self.counted.zip(server.first().copied());
        let count = counted.map(|(dir, pid)| Count::start(dir, pid)).transpose()?;
        let meter = Meter::start(server);
        tally.begin();
        sleep(self.length).await;
        tally.end();
        // Nobody asks meanwhile, since that takes the thread of the clients.
        let spent = meter.stop();
        let instructions = count.map(Count::stop).transpose()?;
        let idle = self.idle * spent.elapsed.as_secs_f64();
        let instructions = instructions.map(|count| (count as f64 - idle).max(0.0));
        Ok(Spent { instructions, ..spent })
    }

    /// The same, and the clients never sleep: waking them would cost the server, as nothing does that sends to another
    /// machine.
    pub(super) async fn watch_awake(&self, server: Vec<u32>, tally: &Tally) -> anyhow::Result<Spent> {
        let idle = Cell::new(Duration::ZERO);
        tokio::select! {
            biased;
            spent = self.watch(server, tally) => Ok(Spent { idle: Some(idle.get()), ..spent? }),
            never = stay_awake(tally, &idle) => match never {},
        }
    }
}

/// Keeps the runtime from waiting. Adds up the time of the turns in which no client had anything to do.
async fn stay_awake(tally: &Tally, idle: &Cell<Duration>) -> Infallible {
    let (mut then, mut woken) = (Instant::now(), tally.woken());
    loop {
        yield_now().await;
        let now = Instant::now();
        if tally.woken() == woken && tally.is_open() {
            idle.set(idle.get() + (now - then));
        }
        (then, woken) = (now, tally.woken());
    }
}

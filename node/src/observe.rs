//! What the operator sees of the serving: metrics and the access log.
//!
//! Whatever is counted while serving goes into a [`Tally`] of the worker's own, which nobody else writes, and is summed
//! when someone asks. The [`access`] log gets a sample of the requests through a queue; when the queue is full, records
//! are dropped and counted. So nothing here ever makes a request wait.
//!
//! There is nothing about single visitors in the metrics, and no more in the log than the operator asks for.

pub mod access;
mod exposition;
mod journal;
mod sampler;
mod tally;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use difusor_proto::{CutKey, store::Scrubbed};

use crate::{
    admission::rules::book::RulesStatus, dns::update::keeper::UpdateView, insight::Insight, kernel::KernelView,
};

pub use self::{
    journal::{AccessLog, AccessLogError},
    sampler::{Draw, Sampler, Share, ShareError},
    tally::{Failure, Handshake, Protocol, Tally, Totals},
};

/// Media type of what [`Observatory::scrape`] writes (OpenMetrics 1.0, section "Overall Structure").
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All that is counted in this process.
#[derive(Debug)]
pub struct Observatory {
    tallies: Vec<Arc<Tally>>,
    insight: Arc<Insight>,
    log: AccessLog,
    started: SystemTime,
}

/// What others know at the moment of a scrape.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The cut that is served.
    pub cut: Option<CutKey>,
    /// Flips since start.
    pub flips: u64,
    /// When the last one was, by the wall clock.
    pub flipped: Option<SystemTime>,
    /// When the public certificate expires.
    pub certificate_expires: Option<SystemTime>,
    /// True while in touch with the coordinator.
    pub connected: bool,
    /// What was refused from the coordinator since start, by reason.
    pub refused: Vec<(String, u64)>,
    /// How the reading of the disk is going, and how full it is.
    pub scrub: Scrubbed,
    /// What the disk has spoiled and the coordinator has to be asked for.
    pub wanted: u64,
    /// Files that are not given to visitors until then.
    pub withheld: u64,
    /// The operator's rules.
    pub rules: RulesStatus,
    /// What happened over HTTP/3 beside requests, by name; none if it is not spoken.
    pub http3: Vec<(&'static str, u64)>,
    /// Times that someone was banned, by what for.
    pub bans: Vec<(&'static str, u64)>,
    /// Bans now.
    pub banned: u64,
    /// Places for downloads, how many are taken, and what is given up.
    pub places: Option<(u64, u64, u32)>,
    /// Offenders that the kernel drops; none if it does not.
    pub kernel: Option<KernelView>,
    /// Queries of DNS by what became of them; none if it is not answered.
    pub dns: Vec<(&'static str, u64)>,
    /// Other nodes whose answers a resolver would take for forged; none if DNS is not answered.
    pub unlike: Option<u64>,
    /// What becomes of a zone on another server; none if none is kept right.
    pub zone: Option<UpdateView>,
    /// Each reason for which visitors might go elsewhere, and whether it is so.
    pub health: Vec<(&'static str, bool)>,
    /// Nodes of the mesh, how many of them are there, and how many this one would send visitors to.
    pub peers: Option<[u64; 3]>,
    /// What the clocks of others are ahead of this one, microseconds.
    pub clock_us: Option<i64>,
    /// Bytes of cuts from other nodes, and for them.
    pub relayed: Option<[u64; 2]>,
}

impl Observatory {
    /// For so many workers, but at least one.
    pub fn new(workers: usize, log: AccessLog) -> Self {
        let tallies: Vec<_> = (0..workers.max(1)).map(|_| Arc::default()).collect();
        let insight = Insight::new(tallies.len());
        Self { tallies, insight, log, started: SystemTime::now() }
    }

    /// The tallies, one for each worker.
    pub fn tallies(&self) -> &[Arc<Tally>] {
        &self.tallies
    }

    /// What is made of those who ask.
    pub fn insight(&self) -> &Arc<Insight> {
        &self.insight
    }

    /// Where records of requests go.
    pub fn log(&self) -> &AccessLog {
        &self.log
    }

    /// The sums over all workers, read one after another.
    pub fn totals(&self) -> Totals {
        self.tallies.iter().fold(Totals::default(), |totals, tally| totals.and(tally))
    }

    /// Everything as OpenMetrics text, to be sent as [`CONTENT_TYPE`].
    ///
    /// Reads files below `/proc`: best not called from a worker.
    pub fn scrape(&self, snapshot: Snapshot) -> String {
        exposition::text(exposition::Scrape {
            totals: self.totals(),
            found: self.insight.report(),
            snapshot,
            dropped: self.log.dropped(),
            started: self.started,
            now: SystemTime::now(),
        })
    }
}

/// Seconds since 1970 UTC; zero before.
fn unix(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

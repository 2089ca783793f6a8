//! What was seen in the last ten seconds, and what was usual before.
//!
//! Pure: it is given what came since the last reading, and how long that took. A window of [`NOW`] is long enough for a
//! share of a fifth to be known within two percent at fifty requests a second, and short enough to say so while it matters.
//! What is usual is a mean of what left that window, in which what is ten minutes old counts a third of what is new: longer
//! than from one cut to the next, so that it has a flip or more in it. While there is an attack it learns a tenth as fast,
//! so that an attack does not become usual.
//!
//! Bounded: ten seconds of tables, a minute of sums and sets, ten minutes of sets; see [`History::memory`].

use std::collections::VecDeque;

use super::{
    distinct::Distinct,
    ends::Ends,
    entropy::spread,
    heavy::{Entry, Summary},
    view::{Baseline, Levels, Part, View},
    window::{Name, Sums, Window},
};
use crate::admission::source::{Network, Source};

/// What is now, seconds.
pub const NOW: f64 = 10.0;

/// For what is only sure in the long run: whether bodies are taken.
const MINUTE: f64 = 60.0;

/// How many minutes of sources are remembered.
const MINUTES: usize = 10;

/// After a flip, people come for so long: pages ask again within half a minute (`site.fresh.most`), and those who are told
/// by others come within another.
pub const AFTER_FLIP: f64 = 60.0;

/// How many of each table are kept of a second: as many as one thread has places for.
const KEPT_SOURCES: usize = 512;
const KEPT: usize = 256;

/// How many of each are told.
const TOLD: usize = 5;

/// What came between two readings.
#[derive(Debug, Default)]
pub struct Second {
    /// How long that was.
    pub seconds: f64,
    /// Connections.
    pub ends: Ends,
    /// Since the last flip, seconds, if there was one.
    pub since_flip: Option<f64>,
    sums: Sums,
    sources: Distinct,
    paths: Distinct,
    tables: Tables,
}

#[derive(Debug, Default)]
struct Tables {
    sources: Summary<Option<Source>>,
    networks: Summary<Option<Network>>,
    paths: Summary<Name>,
    trouble_sources: Summary<Option<Source>>,
    trouble_networks: Summary<Option<Network>>,
}

impl Second {
    /// A time in which nothing was asked yet.
    pub fn new(seconds: f64, ends: Ends, since_flip: Option<f64>) -> Self {
        Self { seconds, ends, since_flip, ..Self::default() }
    }

    /// Adds what a thread saw.
    pub fn take(&mut self, window: &Window) {
        self.sums.add(&window.sums);
        self.sources.merge(&window.sources);
        self.paths.merge(&window.paths);
        self.tables.sources.take(&window.by_source);
        self.tables.networks.take(&window.by_network);
        self.tables.paths.take(&window.by_path);
        self.tables.trouble_sources.take(&window.trouble_source);
        self.tables.trouble_networks.take(&window.trouble_network);
    }

    fn is_after_flip(&self) -> bool {
        self.since_flip.is_some_and(|since| since <= AFTER_FLIP)
    }
}

impl Tables {
    fn trim(&mut self) {
        self.sources.trim(KEPT_SOURCES);
        self.networks.trim(KEPT);
        self.paths.trim(KEPT);
        self.trouble_sources.trim(KEPT);
        self.trouble_networks.trim(KEPT);
    }

    fn merge(&mut self, other: &Self) {
        self.sources.merge(&other.sources);
        self.networks.merge(&other.networks);
        self.paths.merge(&other.paths);
        self.trouble_sources.merge(&other.trouble_sources);
        self.trouble_networks.merge(&other.trouble_networks);
    }
}

/// What is remembered.
#[derive(Debug, Default)]
pub struct History {
    /// A minute; the newest last.
    seconds: VecDeque<Second>,
    /// Sources of the minutes before the window, and how long the newest of these is.
    known: VecDeque<Distinct>,
    filled: f64,
    known_for: f64,
    /// What the window was at each of the last readings, and how long after the one before.
    levels: VecDeque<(Levels, f64)>,
    baseline: Baseline,
}

impl History {
    /// Adds what came since the last reading. `open` is how many connections are open; what is usual is learnt with the
    /// weight `learn`.
    pub fn push(&mut self, mut second: Second, open: u64, learn: f64) -> (View, Baseline) {
        second.tables.trim();
        let length = second.seconds;
        self.seconds.push_back(second);
        self.forget();
        let view = self.view(open);
        // The window is not compared with itself.
        self.levels.push_back((view.levels(), length));
        while self.levels.iter().skip(1).map(|(_, seconds)| seconds).sum::<f64>() >= NOW {
            if let Some((levels, seconds)) = self.levels.pop_front() {
                self.baseline.learn(&levels, seconds * learn);
            }
        }
        (view, self.baseline)
    }

    /// Lets go of what is older than its use.
    fn forget(&mut self) {
        while self.seconds.iter().skip(1).map(|second| second.seconds).sum::<f64>() >= MINUTE {
            self.seconds.pop_front();
        }
        let now = self.now();
        let left = self.seconds.iter_mut().rev().skip(now);
        for left in left.filter_map(|left| (!std::mem::take(&mut left.tables).sources.is_empty()).then_some(left)) {
            if self.known.is_empty() || self.filled >= MINUTE {
                self.known.push_front(Distinct::default());
                self.known.truncate(MINUTES);
                self.filled = 0.0;
            }
            if let Some(minute) = self.known.front_mut() {
                minute.merge(&left.sources);
            }
        }
        let newest = self.seconds.back().map_or(0.0, |second| second.seconds);
        self.filled += newest;
        self.known_for += newest;
    }

    /// How many readings are now.
    fn now(&self) -> usize {
        let mut sum = 0.0;
        let is_in = |second: &&Second| {
            let is_in = sum < NOW;
            sum += second.seconds;
            is_in
        };
        self.seconds.iter().rev().take_while(is_in).count()
    }

    fn view(&self, open: u64) -> View {
        let (mut sums, mut ends, mut seconds) = (Sums::default(), Ends::default(), 0.0);
        let (mut sources, mut paths, mut tables) = (Distinct::default(), Distinct::default(), Tables::default());
        for second in self.seconds.iter().rev().take(self.now()) {
            seconds += second.seconds;
            sums.add(&second.sums);
            ends = ends.with(&second.ends, u64::saturating_add);
            sources.merge(&second.sources);
            paths.merge(&second.paths);
            tables.merge(&second.tables);
        }
        let (distinct, distinct_paths) = (sources.estimate(), paths.estimate());
        let mut known = Distinct::default();
        self.known.iter().for_each(|minute| known.merge(minute));
        let is_known = self.known_for >= MINUTE + NOW && distinct >= 1.0;
        let returning = is_known.then(|| (1.0 - sources.beyond(&known) / distinct).clamp(0.0, 1.0));

        let mut minute = sources;
        let (mut promised, mut handed, mut all, mut after) = (0, 0, 0, 0);
        for second in &self.seconds {
            minute.merge(&second.sources);
            promised += second.sums.promised;
            handed += second.ends.handed;
            all += second.sums.requests();
            after += if second.is_after_flip() { second.sums.requests() } else { 0 };
        }
        let part = |n: u64, of: u64| (of > 0).then(|| (n as f64 / of as f64).min(1.0));
        let named = |entry: &Entry<Option<Source>>| entry.key.map(|key| key.to_string()).unwrap_or_default();
        let network = |entry: &Entry<Option<Network>>| entry.key.map(|key| key.to_string()).unwrap_or_default();
        View {
            seconds,
            sums,
            ends,
            open: open as f64,
            sources: distinct,
            sources_minute: minute.estimate(),
            paths: distinct_paths,
            spread_sources: spread(tables.sources.counts(), tables.sources.total, distinct),
            spread_paths: spread(tables.paths.counts(), tables.paths.total, distinct_paths),
            taken: part(handed, promised),
            after_flip: part(after, all).unwrap_or(0.0),
            since_flip: self.seconds.back().and_then(|second| second.since_flip),
            returning,
            top_sources: parts(&tables.sources.top(TOLD), tables.sources.total, named),
            top_networks: parts(&tables.networks.top(TOLD), tables.networks.total, network),
            top_paths: parts(&tables.paths.top(TOLD), tables.paths.total, |entry| entry.key.text()),
            largest: parts(tables.sources.largest().as_slice(), tables.sources.total, named).pop(),
            trouble_source: parts(&tables.trouble_sources.top(1), tables.trouble_sources.total, named).pop(),
            trouble_network: parts(&tables.trouble_networks.top(1), tables.trouble_networks.total, network).pop(),
        }
    }

    /// Bytes, about: sets, and entries of tables with the room that maps keep.
    pub fn memory(&self) -> usize {
        let set = Distinct::default().memory();
        let tables = |tables: &Tables| {
            tables.sources.memory()
                + tables.networks.memory()
                + tables.paths.memory()
                + tables.trouble_sources.memory()
                + tables.trouble_networks.memory()
        };
        let of_second = |second: &Second| size_of::<Second>() + 2 * set + tables(&second.tables);
        self.seconds.iter().map(of_second).sum::<usize>() + self.known.len() * set
    }
}

fn parts<K: Copy>(entries: &[Entry<K>], total: u64, name: impl Fn(&Entry<K>) -> String) -> Vec<Part> {
    let part = |entry: &Entry<K>| Part {
        who: name(entry),
        count: entry.count as f64,
        share: entry.count as f64 / total.max(1) as f64,
        refused: (entry.refused as f64 / entry.count.max(1) as f64).min(1.0),
        bytes: entry.bytes as f64,
    };
    entries.iter().filter(|entry| entry.count > 0).map(part).collect()
}

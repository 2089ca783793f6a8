//! What a verdict follows from: the window that is now, and what was usual before. Plain numbers.

use super::{
    ends::Ends,
    window::{Fate, Sums},
};

/// How fast what is usual is forgotten, seconds: what is so old counts a third of what is new.
const USUAL: f64 = 600.0;

/// One of those that come often.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// A source, a network, or a path.
    pub who: String,
    /// How often in the window, at least.
    pub count: f64,
    /// Its share of all.
    pub share: f64,
    /// How much of its own was refused.
    pub refused: f64,
    /// Bytes of its answers.
    pub bytes: f64,
}

/// The window that is now. Everything is of all of it, unless it says otherwise.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct View {
    /// How long it is.
    pub seconds: f64,
    /// Sums.
    pub sums: Sums,
    /// Connections.
    pub ends: Ends,
    /// Connections that are open.
    pub open: f64,
    /// Different sources, in it and in the last minute.
    pub sources: f64,
    /// In the last minute.
    pub sources_minute: f64,
    /// Different paths.
    pub paths: f64,
    /// How evenly requests are spread over sources, 0 to 1.
    pub spread_sources: f64,
    /// The same over paths.
    pub spread_paths: f64,
    /// Of the bytes that were promised in the last minute, the part that connections were handed.
    pub taken: Option<f64>,
    /// Of the requests of the last minute, the part that came soon after a flip.
    pub after_flip: f64,
    /// Since the last flip, seconds.
    pub since_flip: Option<f64>,
    /// Of the sources, the part that was here in the ten minutes before; `None` if nobody knows yet.
    pub returning: Option<f64>,
    /// Sources that come most often, the first of them first.
    pub top_sources: Vec<Part>,
    /// Networks.
    pub top_networks: Vec<Part>,
    /// Paths.
    pub top_paths: Vec<Part>,
    /// The source that was given most bytes.
    pub largest: Option<Part>,
    /// The source that makes most trouble before it asks anything.
    pub trouble_source: Option<Part>,
    /// The network.
    pub trouble_network: Option<Part>,
}

impl View {
    /// Answers of this kind.
    pub fn fate(&self, fate: Fate) -> f64 {
        self.sums.fates.get(fate as usize).map_or(0.0, |count| *count as f64)
    }

    /// Answers.
    pub fn requests(&self) -> f64 {
        self.sums.requests() as f64
    }

    /// Requests that were given what they asked for.
    pub fn good(&self) -> f64 {
        self.fate(Fate::Given) + self.fate(Fate::Unchanged)
    }

    /// Requests that were refused.
    pub fn refused(&self) -> f64 {
        Fate::ALL.into_iter().filter(|fate| fate.is_refused()).map(|fate| self.fate(fate)).sum()
    }

    /// So many a second.
    pub fn rate(&self, count: f64) -> f64 {
        if self.seconds > 0.0 { count / self.seconds } else { 0.0 }
    }

    /// What of it is compared with what is usual.
    pub(super) fn levels(&self) -> Levels {
        let part = |n: f64, of: f64| if of > 0.0 { n / of } else { 0.0 };
        Levels {
            requests: self.rate(self.requests()),
            good: self.rate(self.good()),
            sources: self.sources,
            opened: self.rate(self.ends.opened as f64),
            open: self.open,
            promised: self.rate(self.sums.promised as f64),
            unknown: part(self.fate(Fate::Unknown), self.requests()),
        }
    }
}

/// What is compared.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Levels {
    /// Requests a second.
    pub requests: f64,
    /// Of these, what was given.
    pub good: f64,
    /// Different sources in [`NOW`].
    pub sources: f64,
    /// Connections opened a second.
    pub opened: f64,
    /// Connections open.
    pub open: f64,
    /// Bytes of bodies promised a second.
    pub promised: f64,
    /// The part of the requests that no cut has an answer to.
    pub unknown: f64,
}

/// What is usual.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Baseline {
    /// How much of it was learnt from, seconds.
    pub seconds: f64,
    /// The means.
    pub levels: Levels,
}

impl Baseline {
    /// Learns what was, for so many seconds.
    pub(super) fn learn(&mut self, levels: &Levels, seconds: f64) {
        self.seconds += seconds;
        // At first a plain mean; once there is enough, what is old fades.
        let part = (seconds / self.seconds).max(1.0 - (-seconds / USUAL).exp()).min(1.0);
        let own = &mut self.levels;
        let all = [
            (&mut own.requests, levels.requests),
            (&mut own.good, levels.good),
            (&mut own.sources, levels.sources),
            (&mut own.opened, levels.opened),
            (&mut own.open, levels.open),
            (&mut own.promised, levels.promised),
            (&mut own.unknown, levels.unknown),
        ];
        for (own, new) in all {
            *own += (new - *own) * part;
        }
    }
}

//! What one thread saw since it was asked last, about a second: counters and sketches, of one size whatever comes.
//!
//! Written by one thread and nobody else, in plain memory. Every request is counted, and its source and its path are added
//! to the sets that only the size is known of. Of the busiest seconds only one request in [`SAMPLED`] is looked up in the
//! tables of those that come often; it counts for all of them (Horvitz and Thompson, 1952), so that what the tables say is
//! right on average, and off by the square root of what was looked up: three in a thousand after a thousand.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
};

use super::{
    distinct::Distinct,
    heavy::{Deed, Heavy},
};
use crate::admission::source::{Network, Source};

/// Requests of a window that are all looked up. A busy thread answers some ten thousand a second.
const ALL_OF: u64 = 2_048;

/// Beyond them, one in so many is.
const SAMPLED: u32 = 8;

/// Sets of eight of the tables: 512 sources, 256 networks and paths, so one that comes once in 512 or 256 has a place.
/// A cut has some thousand paths, of which a hundred are most of what is asked for.
const SOURCES: usize = 64;
const NETWORKS: usize = 32;
const PATHS: usize = 32;
/// The same of those who make trouble before they ask anything.
const TROUBLE: usize = 16;

/// Bytes of a path that are remembered.
const NAME: usize = 47;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A file, a part of one, or the way to a folder.
    Given,
    /// 304: the client has it.
    Unchanged,
    /// 429: its source had spent its budget.
    Limited,
    /// 404: in no cut that is remembered.
    Unknown,
    /// Not HTTP, or beyond its limits.
    Malformed,
    /// 408: its head did not come in time.
    Slow,
    /// 403, 405, 421 and 451: another method, another site, or a rule.
    Forbidden,
    /// 503: nothing is served yet, or too much is asked of this node.
    Unavailable,
    /// Anything else that was answered as it should be.
    Other,
}

impl Fate {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Given,
        Self::Unchanged,
        Self::Limited,
        Self::Unknown,
        Self::Malformed,
        Self::Slow,
        Self::Forbidden,
        Self::Unavailable,
        Self::Other,
    ];

    /// Its name, for labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Unchanged => "unchanged",
            Self::Limited => "limited",
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
            Self::Slow => "slow",
            Self::Forbidden => "forbidden",
            Self::Unavailable => "unavailable",
            Self::Other => "other",
        }
    }

    /// What an answer of this status was.
    pub fn of(status: u16) -> Self {
        match status {
            304 => Self::Unchanged,
            429 => Self::Limited,
            404 | 410 => Self::Unknown,
            400 | 414 | 417 | 431 | 501 | 505 => Self::Malformed,
            408 => Self::Slow,
            403 | 405 | 421 | 451 => Self::Forbidden,
            503 => Self::Unavailable,
            200..=399 => Self::Given,
            _ => Self::Other,
        }
    }

    /// True if it was turned away for what it is, and not for want of room.
    pub fn is_refused(self) -> bool {
        matches!(self, Self::Limited | Self::Unknown | Self::Malformed | Self::Slow | Self::Forbidden)
    }
}

/// A visitor's source, and its hash under the key of this process.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    source: Source,
    hash: u64,
}

impl Mark {
    /// Of an address.
    pub fn new(keys: &RandomState, visitor: IpAddr) -> Self {
        let source = Source::of(visitor);
        Self { source, hash: keys.hash_one(source) }
    }
}

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Who asked.
    pub visitor: Mark,
    /// The hash of the path under the key of this process, and the path; `None` if nobody looked at it.
    pub path: Option<(u64, &'a [u8])>,
    /// The status of the answer.
    pub status: u16,
    /// True if the client said what it has.
    pub conditional: bool,
    /// Bytes of the body that is going to be sent.
    pub bytes: u64,
}

/// The beginning of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    len: u8,
    bytes: [u8; NAME],
}

impl Default for Name {
    fn default() -> Self {
        Self { len: 0, bytes: [0; NAME] }
    }
}

impl Name {
    /// Of a path as it was asked for.
    pub fn of(path: &[u8]) -> Self {
        let mut name = Self { len: u8::try_from(path.len()).unwrap_or(u8::MAX), ..Self::default() };
        for (own, byte) in name.bytes.iter_mut().zip(path) {
            *own = *byte;
        }
        name
    }

    /// As text: what is not ASCII that can be seen is a question mark, and what is cut off three dots.
    pub fn text(&self) -> String {
        let len = usize::from(self.len);
        let shown =
            self.bytes.iter().take(len).map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' });
        shown.chain(if len > NAME { "..." } else { "" }.chars()).collect()
    }
}

/// Sums that need no sketch.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// Answers, in the order of [`Fate::ALL`].
    pub fates: [u64; Fate::ALL.len()],
    /// Requests whose path is known.
    pub paths: u64,
    /// Requests in which the client said what it has.
    pub conditional: u64,
    /// Bytes of bodies that are going to be sent.
    pub promised: u64,
}

impl Sums {
    /// Answers.
    pub fn requests(&self) -> u64 {
        self.fates.iter().sum()
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        for (own, other) in self.fates.iter_mut().zip(other.fates) {
            *own += other;
        }
        self.paths += other.paths;
        self.conditional += other.conditional;
        self.promised = self.promised.saturating_add(other.promised);
    }
}

/// All that a thread saw.
#[derive(Debug)]
pub struct Window {
    pub(super) sums: Sums,
    pub(super) sources: Distinct,
    pub(super) paths: Distinct,
    pub(super) by_source: Heavy<Option<Source>>,
    pub(super) by_network: Heavy<Option<Network>>,
    pub(super) by_path: Heavy<Name>,
    pub(super) trouble_source: Heavy<Option<Source>>,
    pub(super) trouble_network: Heavy<Option<Network>>,
    noted: u64,
    dice: u64,
}

impl Window {
    /// An empty one; windows with different seeds look at different requests.
    pub fn new(seed: u64) -> Self {
        Self {
            sums: Sums::default(),
            sources: Distinct::default(),
            paths: Distinct::default(),
            by_source: Heavy::new(SOURCES),
            by_network: Heavy::new(NETWORKS),
            by_path: Heavy::new(PATHS),
            trouble_source: Heavy::new(TROUBLE),
            trouble_network: Heavy::new(TROUBLE),
            noted: 0,
            dice: seed | 1,
        }
    }

    /// Counts a request.
    pub fn note(&mut self, keys: &RandomState, asked: &Asked<'_>) {
        let fate = Fate::of(asked.status);
        if let Some(count) = self.sums.fates.get_mut(fate as usize) {
            *count += 1;
        }
        self.sums.conditional += u64::from(asked.conditional);
        self.sums.promised = self.sums.promised.saturating_add(asked.bytes);
        self.noted += 1;
        let Mark { source, hash } = asked.visitor;
        self.sources.add(hash);
        if let Some((path, _)) = asked.path {
            self.sums.paths += 1;
            self.paths.add(path);
        }
        let weight = if self.noted <= ALL_OF { 1 } else { SAMPLED };
        if weight > 1 && !self.draw().is_multiple_of(SAMPLED.into()) {
            return;
        }
        let deed = Deed { refused: fate.is_refused(), bytes: asked.bytes };
        self.by_source.add(hash, || Some(source), weight, deed);
        let network = source.network();
        self.by_network.add(keys.hash_one(network), || Some(network), weight, deed);
        if let Some((hash, path)) = asked.path {
            self.by_path.add(hash, || Name::of(path), weight, deed);
        }
    }

    /// Counts a connection that ended without a request, or made work without asking for anything.
    pub fn trouble(&mut self, keys: &RandomState, visitor: IpAddr) {
        let source = Source::of(visitor);
        let deed = Deed { refused: true, bytes: 0 };
        self.trouble_source.add(keys.hash_one(source), || Some(source), 1, deed);
        self.trouble_network.add(keys.hash_one(source.network()), || Some(source.network()), 1, deed);
    }

    /// Forgets all, but goes on with other numbers.
    pub fn clear(&mut self) {
        self.sums = Sums::default();
        self.sources.clear();
        self.paths.clear();
        self.by_source.clear();
        self.by_network.clear();
        self.by_path.clear();
        self.trouble_source.clear();
        self.trouble_network.clear();
        self.noted = 0;
    }

    /// Bytes.
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + self.sources.memory()
            + self.paths.memory()
            + self.by_source.memory()
            + self.by_network.memory()
            + self.by_path.memory()
            + self.trouble_source.memory()
            + self.trouble_network.memory()
    }

    /// Marsaglia's xorshift64 (2003), the upper half: nothing that anyone gains by foreseeing.
    fn draw(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::{super::heavy::Summary, *};

    fn ask(window: &mut Window, keys: &RandomState, visitor: u32, path: &[u8], status: u16) {
        let visitor = Mark::new(keys, IpAddr::V4(visitor.into()));
        let path = Some((keys.hash_one(path), path));
        window.note(keys, &Asked { visitor, path, status, conditional: status == 304, bytes: 100 });
    }

    #[test]
    fn every_status_has_a_fate() {
        for (status, fate) in [(206, Fate::Given), (308, Fate::Given), (412, Fate::Other), (500, Fate::Other)] {
            assert_eq!(Fate::of(status), fate, "{status}");
        }
        assert!(Fate::ALL.iter().enumerate().all(|(at, fate)| *fate as usize == at));
        let refused: Vec<u16> = (100..600).filter(|status| Fate::of(*status).is_refused()).collect();
        assert_eq!(refused, [400, 403, 404, 405, 408, 410, 414, 417, 421, 429, 431, 451, 501, 505]);
    }

    #[test]
    fn names_are_cut_and_made_readable() {
        assert_eq!(Name::of(b"/a b/\xff").text(), "/a?b/?");
        let long = [b'x'; 300];
        assert_eq!(Name::of(&long).text(), format!("{}...", "x".repeat(NAME)));
        assert_eq!(Name::of(&long[..NAME]).text(), "x".repeat(NAME));
    }

    /// A sample counts for all: of a hundred thousand requests, what the tables say is right within a few standard errors.
    #[test]
    fn sampling_keeps_shares() {
        let (keys, mut window) = (RandomState::new(), Window::new(7));
        for round in 0..100_000_u32 {
            match round % 4 {
                0 => ask(&mut window, &keys, 0xcb00_7107, b"/scan", 404),
                1 => ask(&mut window, &keys, 0xcb00_7200 + round / 4 % 200, b"/", 200),
                _ => ask(&mut window, &keys, round | 0x0a00_0000, b"/data.json", 304),
            }
        }
        assert_eq!(window.sums.requests(), 100_000);
        assert_eq!(window.sums.fates[Fate::Unknown as usize], 25_000);
        assert_eq!((window.sums.conditional, window.sums.promised), (50_000, 10_000_000));
        let (mut sources, mut networks, mut paths) = (Summary::default(), Summary::default(), Summary::default());
        sources.take(&window.by_source);
        networks.take(&window.by_network);
        paths.take(&window.by_path);
        // Of 14,292 that are looked up, a quarter is off by 83 of 3,573 at two standard errors: 2.3 %; five of them are 6 %.
        let total = sources.total as f64 / 100_000.0;
        assert!((total - 1.0).abs() < 0.06, "{total}");
        let near = |count: u64, truth: f64| assert!((count as f64 / truth - 1.0).abs() < 0.08, "{count}, not {truth}");
        let source = sources.top(1)[0];
        assert_eq!(source.key.unwrap().to_string(), "203.0.113.7");
        near(source.count, 25_000.0);
        near(source.refused, 25_000.0);
        assert_eq!(networks.top(2).last().unwrap().key.unwrap().to_string(), "203.0.114.0/24");
        near(networks.top(2).last().unwrap().count, 25_000.0);
        assert_eq!(paths.top(1)[0].key.text(), "/data.json");
        near(paths.top(1)[0].count, 50_000.0);
        near(paths.largest().unwrap().bytes, 5_000_000.0);
        assert!((window.sources.estimate() / 50_201.0 - 1.0).abs() < 0.08);
    }

    #[test]
    fn a_window_has_one_size() {
        let (keys, mut window) = (RandomState::new(), Window::new(1));
        let before = window.memory();
        for round in 0..300_000_u32 {
            ask(&mut window, &keys, round, &round.to_ne_bytes(), 404);
            window.trouble(&keys, IpAddr::V4(round.into()));
        }
        assert_eq!(window.memory(), before);
        assert!(before < 100 << 10, "{before}");
        window.clear();
        assert_eq!((window.sums, window.sources.estimate()), (Sums::default(), 0.0));
    }
}

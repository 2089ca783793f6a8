//! What is given up first when there is more to do than can be done: downloads, then pictures and fonts, then newcomers.
//! Results never.
//!
//! How late a thread is is measured as it is felt: a probe that is due every [`PROBE`] and stands in the same queue as all
//! work. That its least delay within an interval is too long says that the queue never was empty, and not that a burst
//! went by (Nichols and Jacobson, "Controlling Queue Delay", 2012). Then fewer downloads at once are let in, an eighth less
//! each time; when there is none, and all places are in use, a few more (additive increase, multiplicative decrease: Chiu
//! and Jain 1989). What a source may hold of these places depends on what is left for others ([`Shares`]), so that
//! downloads of many go on beside those of one who asks for all of it. When that is not enough, the thread gives up assets,
//! and at last closes new connections at once: a browser, or a resolver, then tries another node.

use std::{
    cell::Cell,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use super::shares::{Place, Shares};

/// How often the delay is measured.
pub const PROBE: Duration = Duration::from_millis(20);

/// Measurements of an interval: a tenth of a second.
const SAMPLES: u32 = 5;

/// The least delay of an interval from which on a thread is late. A page needs some five requests one after another: that
/// they take a tenth of a second longer is what a person begins to notice.
const LATE: Duration = Duration::from_millis(20);

/// Delays from which on assets and newcomers are given up, if that goes on for [`PATIENCE`] intervals.
const VERY_LATE: Duration = Duration::from_millis(100);
const TOO_LATE: Duration = Duration::from_millis(400);
const PATIENCE: u32 = 5;

/// Downloads at once: at first and always, at most, and so many more when all are in use.
const LEAST: usize = 64;
const MOST: usize = 8192;
const MORE: usize = 32;

/// Downloads from so many bytes on: what is less is over before anyone could wait for it.
pub const BULK: u64 = 64 << 10;

/// What an answer is worth, least last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// Pages, what they need to be read, and the data in them.
    Results,
    /// Pictures, fonts, and all else that a page can do without for a while.
    Assets,
    /// Downloads.
    Bulk,
}

impl Rank {
    /// Those that may be given up, in the order of their numbers.
    pub const GIVEN_UP: [Self; 2] = [Self::Assets, Self::Bulk];

    /// Its name, for labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Results => "results",
            Self::Assets => "assets",
            Self::Bulk => "bulk",
        }
    }
}

/// How much a thread has given up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing; downloads as far as there are places.
    #[default]
    Calm,
    /// Assets as well, and all downloads.
    NoAssets,
    /// New connections, too.
    NoNewcomers,
}

impl Level {
    const ALL: [Self; 3] = [Self::Calm, Self::NoAssets, Self::NoNewcomers];
}

/// The places of downloads, for all threads.
#[derive(Debug, Clone)]
pub struct Overload {
    bulk: Arc<Shares>,
    /// The highest level of any thread, for whoever shows it.
    level: Arc<AtomicU8>,
}

impl Default for Overload {
    fn default() -> Self {
        Self { bulk: Shares::new(MOST / 8), level: Arc::default() }
    }
}

impl Overload {
    /// Places for downloads, and how many are taken.
    pub fn places(&self) -> (usize, usize) {
        (self.bulk.places(), self.bulk.open())
    }

    /// The level that a thread rose to last, or fell to.
    pub fn level(&self) -> u8 {
        self.level.load(Relaxed)
    }
}

/// How late one thread is.
#[derive(Debug, Default)]
pub struct Load {
    overload: Overload,
    level: Cell<Level>,
    least: Cell<Option<Duration>>,
    samples: Cell<u32>,
    /// Intervals in a row that call for another level.
    calls: Cell<u32>,
}

impl Load {
    /// A thread that is not late.
    pub fn new(overload: Overload) -> Self {
        Self { overload, ..Self::default() }
    }

    /// What this thread has given up.
    pub fn level(&self) -> Level {
        self.level.get()
    }

    /// The probe came so much later than it was due.
    pub fn sample(&self, late: Duration) {
        let least = self.least.get().map_or(late, |least| least.min(late));
        self.least.set(Some(least));
        self.samples.set(self.samples.get() + 1);
        if self.samples.get() >= SAMPLES {
            self.samples.set(0);
            self.least.set(None);
            self.interval(least);
        }
    }

    fn interval(&self, least: Duration) {
        let bulk = &self.overload.bulk;
        let places = bulk.places();
        if least >= LATE {
            bulk.resize((places - places / 8).max(LEAST));
        } else if bulk.open() * 4 >= places * 3 {
            bulk.resize((places + MORE).min(MOST));
        }
        let wanted = match self.level.get() {
            // Back only when it is well below what led there.
            Level::NoNewcomers if least >= TOO_LATE / 2 => Level::NoNewcomers,
            Level::NoAssets if least >= TOO_LATE => Level::NoNewcomers,
            Level::NoNewcomers | Level::NoAssets if least >= VERY_LATE / 2 => Level::NoAssets,
            Level::Calm if least >= VERY_LATE && bulk.places() == LEAST => Level::NoAssets,
            _ => Level::Calm,
        };
        if wanted == self.level.get() {
            return self.calls.set(0);
        }
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() >= PATIENCE {
            // One step at a time.
            let at = self.level.get() as usize;
            let next = if wanted > self.level.get() { at + 1 } else { at.saturating_sub(1) };
            let next = Level::ALL.get(next).copied().unwrap_or(wanted);
            self.calls.set(0);
            self.level.set(next);
            self.overload.level.store(next as u8, Relaxed);
            tracing::warn!(level = ?next, late_ms = least.as_millis(), "more to do than can be done");
        }
    }

    /// What is not given to this visitor now: answers of this rank and those behind it. `None` if everything is.
    pub fn gives_up(&self, visitor: IpAddr) -> Option<Rank> {
        let bulk = &self.overload.bulk;
        if self.level.get() > Level::Calm {
            return Some(Rank::Assets);
        }
        // Looked up only when it matters.
        let is_crowded = bulk.open() * 2 >= bulk.places();
        (is_crowded && !bulk.has_place(visitor)).then_some(Rank::Bulk)
    }

    /// A place for a download that is given. It is held until it is over; if the last one went meanwhile, it goes on
    /// without.
    pub fn place(&self, visitor: IpAddr) -> Option<Place> {
        let mut place = self.overload.bulk.enter().ok()?;
        place.name(visitor).ok()?;
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn interval(load: &Load, ms: u64) {
        // One that is on time shows that the queue was empty.
        (0..SAMPLES).for_each(|_| load.sample(Duration::from_millis(ms)));
    }

    #[test]
    fn a_burst_is_no_overload() {
        let load = Load::default();
        let (before, _) = load.overload.places();
        for _ in 0..100 {
            (1..SAMPLES).for_each(|_| load.sample(Duration::from_secs(1)));
            load.sample(Duration::ZERO);
        }
        assert_eq!((load.overload.places().0, load.level()), (before, Level::Calm));
    }

    #[test]
    fn downloads_go_first_then_assets_then_newcomers_and_all_come_back() {
        let load = Load::default();
        let visitor = address("192.0.2.1");
        let mut last = load.overload.places().0;
        while last > LEAST {
            interval(&load, 30);
            let (now, _) = load.overload.places();
            assert!(now < last && now >= last - last / 8 - 1);
            last = now;
        }
        (0..100).for_each(|_| interval(&load, 30));
        assert_eq!((load.overload.places().0, load.level(), load.gives_up(visitor)), (LEAST, Level::Calm, None));

        (0..4).for_each(|_| interval(&load, 150));
        assert_eq!(load.level(), Level::Calm);
        interval(&load, 150);
        assert_eq!((load.level(), load.gives_up(visitor)), (Level::NoAssets, Some(Rank::Assets)));
        (0..50).for_each(|_| interval(&load, 150));
        assert_eq!(load.level(), Level::NoAssets);
        (0..5).for_each(|_| interval(&load, 500));
        assert_eq!((load.level(), load.overload.level()), (Level::NoNewcomers, 2));

        (0..5).for_each(|_| interval(&load, 1));
        assert_eq!(load.level(), Level::NoAssets);
        (0..5).for_each(|_| interval(&load, 1));
        assert_eq!((load.level(), load.gives_up(visitor)), (Level::Calm, None));
    }

    #[test]
    fn places_come_back_when_they_are_used() {
        let load = Load::default();
        (0..100).for_each(|_| interval(&load, 30));
        let mut held = Vec::new();
        for at in 0..1000_u32 {
            let visitor = (u32::from_be_bytes([10, 0, 0, 0]) + at * 256).to_be_bytes().into();
            while load.gives_up(visitor).is_none() && held.len() < at as usize + 1 {
                held.push(load.place(visitor).unwrap());
            }
            interval(&load, 1);
        }
        assert_eq!(held.len(), 1000);
        assert!(load.overload.places().0 >= 1000);
    }

    #[test]
    fn one_source_leaves_places_for_others() {
        let load = Load::default();
        (0..100).for_each(|_| interval(&load, 30));
        let mut held = Vec::new();
        while load.gives_up(address("192.0.2.1")).is_none() {
            held.push(load.place(address("192.0.2.1")).unwrap());
        }
        assert_eq!(held.len(), LEAST / 2);
        assert_eq!(load.gives_up(address("192.0.2.1")), Some(Rank::Bulk));
        assert_eq!(load.gives_up(address("198.51.100.1")), None);
        drop(held);
        assert_eq!(load.gives_up(address("192.0.2.1")), None);
    }
}

//! What came of the run: answers by protocol and kind, faults by kind, and the first of them in full.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{client::Protocol, judge::Fault, judge::Kind};

/// Faults that are told in full.
const TOLD: usize = 12;

/// Faults after which going on shows nothing new.
const ENOUGH: u64 = 1000;

/// What was seen, beside right and wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    Whole,
    Head,
    Part,
    Unchanged,
    Nothing,
    /// From a cut before the current one.
    Past,
    /// A part of a page, from its cut while that was not the current one any more.
    OfPage,
    Connection,
    Resumed,
    Download,
    /// A download during which the cut changed.
    Spanning,
    /// A connection that the node had ended in order when a request was to be sent.
    Ended,
}

/// What any run sees, but a very short one.
const USUAL: [Seen; 7] =
    [Seen::Whole, Seen::Head, Seen::Part, Seen::Unchanged, Seen::Nothing, Seen::Past, Seen::Connection];

/// Answers from which on all of it must have been seen.
const SHORT: u64 = 10_000;

/// Counts, from any thread.
#[derive(Debug, Default)]
pub(super) struct Tally {
    checked: [AtomicU64; 3],
    reloads: AtomicU64,
    looks: Mutex<Vec<Duration>>,
    faulty: AtomicU64,
    seen: Mutex<BTreeMap<Seen, u64>>,
    faults: Mutex<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    kinds: BTreeMap<Kind, u64>,
    told: Vec<String>,
}

/// A mutex whose holders cannot leave it half changed.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tally {
    /// An answer was weighed.
    pub(super) fn checked(&self, protocol: Protocol) {
        if let Some(count) = self.checked.get(protocol.index()) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn see(&self, seen: Seen) {
        *hold(&self.seen).entry(seen).or_default() += 1;
    }

    pub(super) fn reloaded(&self) {
        self.reloads.fetch_add(1, Relaxed);
    }

    /// The node's status came so long after it was asked for.
    pub(super) fn looked(&self, took: Duration) {
        hold(&self.looks).push(took);
    }

    /// How long the operator waited: how often, half of the time, and at worst.
    pub(super) fn waited(&self) -> String {
        let mut looks = hold(&self.looks).clone();
        looks.sort_unstable();
        let (Some(median), Some(worst)) = (looks.get(looks.len() / 2), looks.last()) else { return "none".to_owned() };
        format!("{}, median {median:.1?}, worst {worst:.1?}", looks.len())
    }

    /// Something was wrong. `line` says what was asked and what came.
    pub(super) fn fault(&self, fault: &Fault, line: &str) {
        self.faulty.fetch_add(1, Relaxed);
        let mut faults = hold(&self.faults);
        let count = faults.kinds.entry(fault.kind).or_default();
        *count += 1;
        // Some of each kind, however many there are of the first.
        if *count <= 3 && faults.told.len() < TOLD {
            faults.told.push(format!("{fault}\n    {line}"));
        }
    }

    pub(super) fn answers(&self) -> u64 {
        self.checked.iter().map(|count| count.load(Relaxed)).sum()
    }

    pub(super) fn faults(&self) -> u64 {
        self.faulty.load(Relaxed)
    }

    /// True once there is no point in going on.
    pub(super) fn is_hopeless(&self) -> bool {
        self.faults() >= ENOUGH
    }

    /// Faults by kind, and the first of them; empty if there are none.
    pub(super) fn told(&self) -> String {
        let faults = hold(&self.faults);
        let mut text = String::new();
        for (kind, count) in &faults.kinds {
            let _ = writeln!(text, "{kind:?}: {count}");
        }
        for told in &faults.told {
            let _ = writeln!(text, "- {told}");
        }
        text
    }

    /// What a run that was not very short should have seen and did not: a check that nothing was put to shows nothing.
    pub(super) fn unseen(&self, reloads: bool) -> Vec<String> {
        if self.answers() < SHORT {
            return Vec::new();
        }
        let seen = hold(&self.seen);
        let kinds = USUAL.iter().filter(|kind| !seen.contains_key(kind)).map(|kind| format!("{kind:?}"));
        let is_silent = |protocol: &&Protocol| self.count(**protocol) == 0;
        let protocols = Protocol::ALL.iter().filter(is_silent).map(|protocol| protocol.name().to_owned());
        let reloads = (reloads && self.reloads.load(Relaxed) == 0).then(|| "reloads".to_owned());
        let operator = hold(&self.looks).is_empty().then(|| "the operator".to_owned());
        kinds.chain(protocols).chain(reloads).chain(operator).collect()
    }

    fn count(&self, protocol: Protocol) -> u64 {
        self.checked.get(protocol.index()).map_or(0, |count| count.load(Relaxed))
    }

    /// What was seen how often.
    pub(super) fn variety(&self) -> String {
        let seen = hold(&self.seen);
        let count = |what: &str, seen_as| format!("{what} {}", seen.get(&seen_as).copied().unwrap_or(0));
        [
            count("whole", Seen::Whole),
            count("heads", Seen::Head),
            count("parts", Seen::Part),
            count("unchanged", Seen::Unchanged),
            count("nothing there", Seen::Nothing),
            count("from earlier cuts", Seen::Past),
            count("of a page's cut", Seen::OfPage),
            count("slow downloads", Seen::Download),
            count("of them across flips", Seen::Spanning),
            count("connections", Seen::Connection),
            count("of them resumed", Seen::Resumed),
            count("ended by the node", Seen::Ended),
        ]
        .join(", ")
    }

    /// The figures, in one line.
    pub(super) fn figures(&self, flips: u64, took: Duration) -> String {
        let answers = self.answers();
        let mut line = format!("{answers} requests, {flips} flips, {:.0} requests/s", rate(answers, took));
        for protocol in Protocol::ALL {
            let _ = write!(line, ", {} {}", protocol.name(), self.count(protocol));
        }
        let _ = write!(line, ", failures {}, reloads {}", self.faults(), self.reloads.load(Relaxed));
        line
    }
}

/// A second's share.
#[expect(clippy::cast_precision_loss, reason = "requests of a run are far below 2^53")]
pub(super) fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_figures() {
        let tally = Tally::default();
        for protocol in [Protocol::H1, Protocol::H2, Protocol::H2, Protocol::H3] {
            tally.checked(protocol);
        }
        tally.reloaded();
        assert_eq!(
            tally.figures(3, Duration::from_secs(2)),
            "4 requests, 3 flips, 2 requests/s, HTTP/1.1 1, HTTP/2 2, HTTP/3 1, failures 0, reloads 1"
        );
        assert_eq!(tally.told(), "");
        tally.see(Seen::Part);
        assert!(tally.variety().contains("whole 0, heads 0, parts 1, "));
    }

    #[test]
    fn what_was_never_seen_is_named() {
        let tally = Tally::default();
        assert!(tally.unseen(true).is_empty(), "too short to say");
        (0..SHORT).for_each(|_| tally.checked(Protocol::H2));
        USUAL.iter().skip(1).for_each(|kind| tally.see(*kind));
        assert_eq!(tally.unseen(true), ["Whole", "HTTP/1.1", "HTTP/3", "reloads", "the operator"]);
        [3, 1, 2].into_iter().for_each(|ms| tally.looked(Duration::from_millis(ms)));
        assert_eq!(tally.waited(), "3, median 2.0ms, worst 3.0ms");
        tally.see(Seen::Whole);
        tally.checked(Protocol::H1);
        tally.checked(Protocol::H3);
        assert_eq!(tally.unseen(true), ["reloads"]);
        assert!(tally.unseen(false).is_empty());
    }

    #[test]
    fn faults_are_counted_and_the_first_told() {
        let tally = Tally::default();
        for _ in 0..999 {
            tally.fault(&Fault::new(Kind::Broken, "an answer", "a reset"), "GET /");
        }
        assert!(!tally.is_hopeless());
        tally.fault(&Fault::new(Kind::Bytes, "these", "those"), "GET /a");
        assert!(tally.is_hopeless() && tally.faults() == 1000);
        let told = tally.told();
        assert!(told.contains("Broken: 999\n") && told.contains("Bytes: 1\n"), "{told}");
        assert!(told.contains("- Bytes: expected these; got those\n    GET /a"), "{told}");
        assert_eq!(told.matches("GET /").count(), 4, "three of a kind");
    }
}

//! Counters of one worker, and their sums.
//!
//! An addition to a counter that no other thread writes costs a few cycles; on a counter that all threads share, it
//! costs a trip between their caches. Reading is rare, and does not need the numbers to be of one moment.

use std::{
    array,
    iter::zip,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::admission::{budgets::Budget, door::Unwelcome, overload::Rank};

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/1.0.
    H1,
    /// HTTP/2.
    H2,
    /// HTTP/3.
    H3,
}

impl Protocol {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::H1, Self::H2, Self::H3];

    /// Its name, for labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::H2 => "h2",
            Self::H3 => "h3",
        }
    }
}

/// Why a connection ended before it could carry a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The handshake took too long.
    Timeout,
    /// TLS failed, or the connection broke in it.
    Tls,
    /// What came was not what should: no PROXY header, no protocol in common.
    Protocol,
}

impl Failure {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Timeout, Self::Tls, Self::Protocol];

    /// Its name, for labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
        }
    }
}

/// What a TLS handshake cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handshake {
    /// A signature.
    Full,
    /// None: the client had a ticket.
    Resumed,
}

impl Handshake {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Full, Self::Resumed];

    /// Its name, for labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
        }
    }
}

const CODES: usize = 18;

/// Names of the counters of answers: the statuses that a site gives, and the others by their class.
pub(super) const CODE_NAMES: [&str; CODES] = [
    "200", "206", "304", "400", "404", "405", "406", "412", "414", "416", "429", "431", "503", "1xx", "2xx", "3xx",
    "4xx", "5xx",
];

/// The counter of a status.
fn code(status: u16) -> usize {
    match status {
        200 => 0,
        206 => 1,
        304 => 2,
        400 => 3,
        404 => 4,
        405 => 5,
        406 => 6,
        412 => 7,
        414 => 8,
        416 => 9,
        429 => 10,
        431 => 11,
        503 => 12,
        0..=199 => 13,
        201..=299 => 14,
        300..=399 => 15,
        401..=499 => 16,
        500.. => 17,
    }
}

/// Upper bounds of what [`Tally::head_took`] counts, microseconds: from an answer out of memory to one that waited for
/// a disk.
pub(super) const BOUNDS: [u64; 11] = [20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 200_000];
const BUCKETS: usize = BOUNDS.len() + 1;

/// Counters of one worker; each only grows. On cache lines of its own: two, as processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Tally {
    requests: [[AtomicU64; CODES]; Protocol::ALL.len()],
    body_bytes: AtomicU64,
    opened: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
    crowded: AtomicU64,
    hasty: AtomicU64,
    banned: AtomicU64,
    limited: [AtomicU64; Budget::OF_REQUESTS.len()],
    gave_up: [AtomicU64; Rank::GIVEN_UP.len()],
    cut_off: AtomicU64,
    abusive: AtomicU64,
    failures: [AtomicU64; Failure::ALL.len()],
    handshakes: [AtomicU64; Handshake::ALL.len()],
    heads: [AtomicU64; BUCKETS],
    heads_us: AtomicU64,
}

impl Tally {
    /// A request was answered.
    pub fn answered(&self, protocol: Protocol, status: u16) {
        if let Some(counter) = self.requests.get(protocol as usize).and_then(|codes| codes.get(code(status))) {
            add(counter, 1);
        }
    }

    /// Bytes of bodies were handed to a connection.
    pub fn sent(&self, bytes: u64) {
        add(&self.body_bytes, bytes);
    }

    /// A connection was accepted.
    pub fn opened(&self) {
        add(&self.opened, 1);
    }

    /// It ended, however that was.
    pub fn closed(&self) {
        add(&self.closed, 1);
    }

    /// A connection was closed at once because too many were open, or because another node has what is newer. It counts as neither opened nor closed.
    pub fn refused(&self) {
        add(&self.refused, 1);
    }

    /// A connection was closed at once because its source, or the network of that, held as many as there were places left.
    /// It counts as neither opened nor closed, unless a proxy said whose it is.
    pub fn crowded(&self) {
        add(&self.crowded, 1);
    }

    /// A connection was closed at once for who it is from. It counts as neither opened nor closed, unless a proxy said whose
    /// it is.
    pub fn unwelcome(&self, unwelcome: Unwelcome) {
        match unwelcome {
            Unwelcome::Banned => self.banned(),
            Unwelcome::Hasty => self.hasty(),
            Unwelcome::Behind => self.refused(),
        }
    }

    /// A connection was closed at once because its source, or the network of that, opens them faster than it may. It
    /// counts as neither opened nor closed, unless a proxy said whose it is.
    pub fn hasty(&self) {
        add(&self.hasty, 1);
    }

    /// A connection was closed because its source, or the network of that, is banned.
    pub fn banned(&self) {
        add(&self.banned, 1);
    }

    /// A request was not answered: its source, or the network of that, had spent this budget.
    pub fn limited(&self, budget: Budget) {
        if let Some(counter) = self.limited.get(budget as usize) {
            add(counter, 1);
        }
    }

    /// A file of this rank was not given: there was too much to do.
    pub fn gave_up(&self, rank: Rank) {
        let at = Rank::GIVEN_UP.iter().position(|given_up| *given_up == rank);
        if let Some(counter) = at.and_then(|at| self.gave_up.get(at)) {
            add(counter, 1);
        }
    }

    /// A connection was closed for asking nothing or reading nothing for too long.
    pub fn cut_off(&self) {
        add(&self.cut_off, 1);
    }

    /// A connection was closed for making work without asking for anything: resets, pings, settings in excess.
    pub fn abusive(&self) {
        add(&self.abusive, 1);
    }

    /// A handshake failed.
    pub fn handshake_failed(&self, failure: Failure) {
        if let Some(counter) = self.failures.get(failure as usize) {
            add(counter, 1);
        }
    }

    /// A handshake was done.
    pub fn handshake(&self, kind: Handshake) {
        if let Some(counter) = self.handshakes.get(kind as usize) {
            add(counter, 1);
        }
    }

    /// From a request that is read to the head of its answer. For a sample of the requests ([`super::Draw::timed`]):
    /// looking at the clock twice would be a good part of the work that a small answer is, and a sample shows the same.
    pub fn head_took(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(counter) = self.heads.get(BOUNDS.partition_point(|bound| *bound < us)) {
            add(counter, 1);
        }
        add(&self.heads_us, us);
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

/// Sums of tallies.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub(super) requests: [[u64; CODES]; Protocol::ALL.len()],
    /// Bytes of bodies handed to connections.
    pub body_bytes: u64,
    /// Connections accepted.
    pub opened: u64,
    /// Connections that ended.
    pub closed: u64,
    /// Connections closed at once because too many were open.
    pub refused: u64,
    /// Connections closed at once because their source held its share.
    pub crowded: u64,
    /// Connections closed at once because their source opens them too fast.
    pub hasty: u64,
    /// Connections closed because their source is banned.
    pub banned: u64,
    /// Requests that were not answered for want of a budget, in the order of [`Budget::OF_REQUESTS`].
    pub limited: [u64; Budget::OF_REQUESTS.len()],
    /// Files that were not given for all there was to do, in the order of [`Rank::GIVEN_UP`].
    pub gave_up: [u64; Rank::GIVEN_UP.len()],
    /// Connections closed for asking nothing or reading nothing for too long.
    pub cut_off: u64,
    /// Connections closed for making work without asking for anything.
    pub abusive: u64,
    /// Handshakes that failed, in the order of [`Failure::ALL`].
    pub failures: [u64; Failure::ALL.len()],
    /// Handshakes that were done, in the order of [`Handshake::ALL`].
    pub handshakes: [u64; Handshake::ALL.len()],
    pub(super) heads: [u64; BUCKETS],
    pub(super) heads_us: u64,
}

impl Totals {
    /// These and those of another worker.
    #[must_use]
    pub fn and(mut self, tally: &Tally) -> Self {
        for (sums, counters) in zip(&mut self.requests, &tally.requests) {
            sum(sums, counters);
        }
        sum(&mut self.failures, &tally.failures);
        sum(&mut self.limited, &tally.limited);
        sum(&mut self.gave_up, &tally.gave_up);
        sum(&mut self.handshakes, &tally.handshakes);
        sum(&mut self.heads, &tally.heads);
        // Closed before opened: in between more can only be opened, so that none is closed that was not opened.
        let singles = [
            (&mut self.closed, &tally.closed),
            (&mut self.opened, &tally.opened),
            (&mut self.body_bytes, &tally.body_bytes),
            (&mut self.refused, &tally.refused),
            (&mut self.crowded, &tally.crowded),
            (&mut self.hasty, &tally.hasty),
            (&mut self.banned, &tally.banned),
            (&mut self.cut_off, &tally.cut_off),
            (&mut self.abusive, &tally.abusive),
            (&mut self.heads_us, &tally.heads_us),
        ];
        for (sum, counter) in singles {
            *sum += counter.load(Relaxed);
        }
        self
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    /// Requests answered.
    pub fn requests(&self) -> u64 {
        self.requests.iter().flatten().sum()
    }

    /// Answers by the first digit of their status, from 1xx to 5xx.
    pub fn classes(&self) -> [u64; 5] {
        array::from_fn(|class| {
            let of_class = |name: &str| name.bytes().next().map(usize::from) == Some(usize::from(b'1') + class);
            let counters = self.requests.iter().flat_map(|codes| zip(CODE_NAMES, codes));
            counters.filter(|(name, _)| of_class(name)).map(|(_, n)| n).sum()
        })
    }
}

fn sum<const N: usize>(sums: &mut [u64; N], counters: &[AtomicU64; N]) {
    for (sum, counter) in zip(sums, counters) {
        *sum += counter.load(Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_counter() {
        for status in 100..=599_u16 {
            let name = CODE_NAMES[code(status)];
            let exact = name.parse() == Ok(status);
            assert!(exact || name == format!("{}xx", status / 100), "{status}: {name}");
            assert!(exact || CODE_NAMES.iter().all(|name| name.parse() != Ok(status)), "{status}: {name}");
        }
        assert_eq!((code(0), code(999)), (13, 17));
        for (number, protocol) in Protocol::ALL.into_iter().enumerate() {
            assert_eq!(protocol as usize, number);
        }
    }

    #[test]
    fn sums_are_over_all_workers() {
        let (one, other) = (Tally::default(), Tally::default());
        one.answered(Protocol::H1, 200);
        one.answered(Protocol::H3, 404);
        other.answered(Protocol::H1, 200);
        other.answered(Protocol::H2, 418);
        one.sent(10);
        other.sent(5);
        one.opened();
        one.opened();
        other.closed();
        other.handshake(Handshake::Resumed);
        one.handshake_failed(Failure::Protocol);
        one.head_took(Duration::from_micros(20));
        other.head_took(Duration::from_micros(21));
        other.head_took(Duration::from_secs(9));
        let totals = Totals::default().and(&one).and(&other);
        assert_eq!((totals.requests(), totals.classes()), (4, [0, 2, 0, 2, 0]));
        assert_eq!((totals.body_bytes, totals.open()), (15, 1));
        assert_eq!((totals.handshakes, totals.failures), ([0, 1], [0, 0, 1]));
        assert_eq!((totals.heads[0], totals.heads[1], totals.heads[BUCKETS - 1]), (1, 1, 1));
        assert_eq!(totals.heads_us, 9_000_041);
        assert_eq!(align_of::<Tally>(), 128);
    }
}

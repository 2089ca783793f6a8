//! How much each source may ask for, in a table of fixed size.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A): for each key one instant, up to which what it had so far is paid
//! for. A request moves that instant on by what it costs; if it then lies farther ahead than the burst allows, the request
//! is refused, and the distance says when to come again.
//!
//! The table never grows, however many sources there are, and a full one turns nobody away: of the four places that a key
//! may have, the one whose owner owes the least is given to whoever is new. Owners are told apart by sixteen bits of a hash
//! under a key of this process, so that nobody can choose whose place they share; two that are alike by chance, one in
//! sixteen thousand, pay together.
//!
//! Shared by all threads without a lock: a place is one word, changed in one step.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Places that a key may have.
const WAYS: usize = 4;

/// Bits of the instant; the others tell owners apart. Microseconds since the start: almost nine years.
const TIME: u32 = 48;
const TIME_MASK: u64 = (1 << TIME) - 1;

/// How much may be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run, a second.
    pub per_second: NonZero<u64>,
    /// At once.
    pub burst: NonZero<u64>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// It is paid for; so much more may be had at once.
    Paid(u64),
    /// Too much: nothing was charged. After this time it may be asked for again.
    Late(Duration),
}

/// Instants of as many keys as fit.
#[derive(Debug)]
pub struct Rates {
    places: Box<[AtomicU64]>,
    sets: u64,
    keys: RandomState,
    rate: Rate,
    /// The burst as time, microseconds.
    burst_us: u64,
}

impl Rates {
    /// A table of 8 bytes for each of so many keys.
    pub fn new(rate: Rate, keys: usize) -> Self {
        Self::sharing(rate, keys, RandomState::new())
    }

    /// The same, with the hashes of other tables: what is known of a key in one holds in all.
    pub fn sharing(rate: Rate, keys: usize, hashes: RandomState) -> Self {
        let sets = keys.div_ceil(WAYS).max(1);
        Self {
            places: (0..sets * WAYS).map(|_| AtomicU64::new(0)).collect(),
            sets: sets as u64,
            keys: hashes,
            rate,
            burst_us: rate.time_of(rate.burst.get()),
        }
    }

    /// Charges `cost` to `key`, `now` microseconds after the start. What costs more than the whole burst may be had by who
    /// owes nothing, and is paid off before anything else.
    pub fn charge(&self, key: impl Hash, cost: u64, now: u64) -> Charge {
        self.charge_at(self.keys.hash_one(key), cost, now)
    }

    /// The same for a key of this hash.
    pub(super) fn charge_at(&self, hash: u64, cost: u64, now: u64) -> Charge {
        let (places, owner) = self.set_of(hash);
        let cost_us = self.rate.time_of(cost);
        let now = now & TIME_MASK;
        let Some(place) = Self::place(places, owner, now) else { return Charge::Paid(0) };
        let mut held = place.load(Relaxed);
        loop {
            let paid = if held & !TIME_MASK == owner { (held & TIME_MASK).max(now) } else { now };
            let ahead = paid - now;
            let allowed = self.burst_us.saturating_sub(cost_us);
            if ahead > allowed {
                return Charge::Late(Duration::from_micros(ahead - allowed));
            }
            let next = owner | (paid + cost_us).min(TIME_MASK);
            match place.compare_exchange_weak(held, next, Relaxed, Relaxed) {
                Ok(_) => return Charge::Paid(self.rate.amount_of(self.burst_us.saturating_sub(ahead + cost_us))),
                Err(other) => held = other,
            }
        }
    }

    /// How long it takes until `key` owes less than the burst; `None` if it does now. Charges nothing.
    pub fn owes(&self, key: impl Hash, now: u64) -> Option<Duration> {
        self.owes_at(self.keys.hash_one(key), now)
    }

    /// The same for a key of this hash.
    pub(super) fn owes_at(&self, hash: u64, now: u64) -> Option<Duration> {
        let (places, owner) = self.set_of(hash);
        let held = places.iter().map(|place| place.load(Relaxed)).find(|held| held & !TIME_MASK == owner)?;
        let ahead = (held & TIME_MASK).saturating_sub(now & TIME_MASK);
        ahead.checked_sub(self.burst_us).map(|late| Duration::from_micros(late + 1))
    }

    /// Charges what was had already, however much it is.
    pub fn debit(&self, key: impl Hash, cost: u64, now: u64) {
        self.debit_at(self.keys.hash_one(key), cost, now);
    }

    /// The same for a key of this hash.
    pub(super) fn debit_at(&self, hash: u64, cost: u64, now: u64) {
        let (places, owner) = self.set_of(hash);
        let now = now & TIME_MASK;
        let Some(place) = Self::place(places, owner, now) else { return };
        let cost_us = self.rate.time_of(cost);
        let _ = place.fetch_update(Relaxed, Relaxed, |held| {
            let paid = if held & !TIME_MASK == owner { (held & TIME_MASK).max(now) } else { now };
            Some(owner | paid.saturating_add(cost_us).min(TIME_MASK))
        });
    }

    /// The places that a key may have, and what tells it apart there.
    fn set_of(&self, hash: u64) -> (&[AtomicU64], u64) {
        // The lowest bit is set, so that an empty place is nobody's.
        let owner = (hash >> TIME | 1) << TIME;
        let from = usize::try_from((hash & TIME_MASK) % self.sets).unwrap_or(0) * WAYS;
        (self.places.get(from..from + WAYS).unwrap_or_default(), owner)
    }

    /// The place of an owner, or the one that it gets: whose owner owes the least.
    fn place(places: &[AtomicU64], owner: u64, now: u64) -> Option<&AtomicU64> {
        let owes = |place: &&AtomicU64| (place.load(Relaxed) & TIME_MASK).saturating_sub(now);
        let own = places.iter().find(|place| place.load(Relaxed) & !TIME_MASK == owner);
        own.or_else(|| places.iter().min_by_key(owes))
    }

    /// Bytes of the table.
    pub fn memory(&self) -> usize {
        size_of_val(&*self.places)
    }
}

impl Rate {
    /// How long so much takes, microseconds, rounded up.
    fn time_of(self, amount: u64) -> u64 {
        // Divisions of 128 bits are most of what a charge would cost.
        if let Some(micros) = amount.checked_mul(1_000_000) {
            return micros.div_ceil(self.per_second.get());
        }
        let micros = u128::from(amount) * 1_000_000;
        u64::try_from(micros.div_ceil(u128::from(self.per_second.get()))).unwrap_or(u64::MAX)
    }

    /// How much that time brings.
    fn amount_of(self, micros: u64) -> u64 {
        if let Some(amount) = micros.checked_mul(self.per_second.get()) {
            return amount / 1_000_000;
        }
        u64::try_from(u128::from(micros) * u128::from(self.per_second.get()) / 1_000_000).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;

    fn rate(per_second: u64, burst: u64) -> Rate {
        let some = |value| NonZero::new(value).unwrap();
        Rate { per_second: some(per_second), burst: some(burst) }
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let rates = Rates::new(rate(10, 5), 1000);
        for left in [4, 3, 2, 1, 0] {
            assert_eq!(rates.charge("a", 1, SECOND), Charge::Paid(left));
        }
        assert_eq!(rates.charge("a", 1, SECOND), Charge::Late(Duration::from_millis(100)));
        // What was refused is not paid for: it may come when it was told to.
        assert_eq!(rates.charge("a", 1, SECOND + 99_999), Charge::Late(Duration::from_micros(1)));
        assert_eq!(rates.charge("a", 1, SECOND + 100_000), Charge::Paid(0));
        assert_eq!(rates.charge("b", 1, SECOND), Charge::Paid(4), "someone else");
        assert_eq!(rates.charge("a", 5, 10 * SECOND), Charge::Paid(0), "all of it again");
        // A clock that goes back gives nothing away, and locks nobody out for longer than the burst.
        assert!(matches!(rates.charge("b", 1, 0), Charge::Late(wait) if wait <= Duration::from_millis(1100)));
    }

    #[test]
    fn more_than_the_burst_is_for_who_owes_nothing() {
        let rates = Rates::new(rate(1000, 500), 1000);
        assert_eq!(rates.charge("download", 20_000, SECOND), Charge::Paid(0));
        assert_eq!(rates.charge("download", 1, SECOND), Charge::Late(Duration::from_millis(19_501)));
        assert_eq!(rates.charge("download", 20_000, 21 * SECOND), Charge::Paid(0));
    }

    #[test]
    fn what_was_had_is_paid_off() {
        let rates = Rates::new(rate(1000, 5000), 1000);
        assert_eq!(rates.owes("a", SECOND), None);
        rates.debit("a", 4000, SECOND);
        assert_eq!(rates.owes("a", SECOND), None, "within the burst");
        rates.debit("a", 3000, SECOND);
        let wait = rates.owes("a", SECOND).unwrap();
        assert_eq!(wait, Duration::from_micros(2_000_001));
        assert_eq!(rates.owes("a", SECOND + 2_000_001), None);
        assert_eq!(rates.owes("b", SECOND), None);
    }

    #[test]
    fn a_full_table_turns_nobody_away_and_does_not_grow() {
        let rates = Rates::new(rate(1, 100), 4096);
        assert_eq!(rates.memory(), 8 * 4096);
        let newcomers = 0..100_000_u32;
        let charges = newcomers.map(|at| rates.charge(at, 1, SECOND));
        let (fresh, shared): (Vec<_>, Vec<_>) = charges.partition(|charge| *charge == Charge::Paid(99));
        // By chance a few are taken for someone who was there before: they pay together, and are answered.
        assert!(fresh.len() > 99_900, "{}", fresh.len());
        assert!(shared.iter().all(|charge| matches!(charge, Charge::Paid(_))));
        // Whoever owes much is not forgotten for those who owe little.
        let rates = Rates::new(rate(1, 1000), 4);
        rates.charge("heavy", 1000, SECOND);
        for at in 0..1000_u32 {
            rates.charge(at, 1, SECOND);
        }
        assert!(matches!(rates.charge("heavy", 1, SECOND), Charge::Late(_)));
    }

    #[test]
    fn threads_share_a_budget() {
        let rates = Rates::new(rate(1, 1000), 1000);
        let paid = || (0..1000).filter(|_| matches!(rates.charge("a", 1, SECOND), Charge::Paid(_))).count();
        let total: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(paid)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(total, 1000);
    }

    proptest! {
        /// Whatever is asked for and when: never more than the burst and what time brings.
        #[test]
        fn never_more_than_is_due(
            per_second in 1_u64..1_000_000,
            burst in 1_u64..1_000_000,
            steps in prop::collection::vec((0_u64..10_000_000, 0_u64..2_000_000), 1..100),
        ) {
            let rates = Rates::new(rate(per_second, burst), 100);
            let (mut now, mut had, mut largest) = (0, 0_u128, 0);
            for (pause, cost) in steps {
                now += pause;
                if let Charge::Paid(_) = rates.charge(1, cost, now) {
                    had += u128::from(cost);
                    largest = largest.max(cost);
                }
                let due = u128::from(burst.max(largest)) + u128::from(now) * u128::from(per_second) / 1_000_000 + 1;
                prop_assert!(had <= due, "{had} of {due}");
            }
        }
    }
}

//! How many connections one source may hold: no more than there is room left for all the others.
//!
//! A fixed bound for each source is wrong twice: it turns away a carrier with ten thousand people behind one address
//! while the node is empty, and it lets a few dozen attackers fill the node. So what a source may hold depends on what is
//! free (dynamic thresholds; Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998): alone it may hold half
//! of all places, two may hold a third each, and there is always room for someone new. Networks may hold twice what is
//! left, so that one of many sources has two thirds at most.
//!
//! Costs two entries of a map for each open connection, on a shard that few threads want at once.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::source::{Network, Source};

/// Shards of the counts: more than there are cores, so that two threads seldom meet.
const SHARDS: usize = 64;

/// What a network may hold, in what is free.
const OF_NETWORK: usize = 2;

/// What anyone may hold while there is room at all: a browser opens six connections over HTTP/1.1, and sooner opens new
/// ones than it closes old ones.
const FEW: usize = 8;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowded {
    /// All places are taken.
    Full,
    /// The source, or its network, holds more than is left for the others.
    Share,
}

/// Places for connections.
#[derive(Debug)]
pub struct Shares {
    places: AtomicUsize,
    open: AtomicUsize,
    sources: Counts<Source>,
    networks: Counts<Network>,
}

/// A place that is held until this is dropped.
#[derive(Debug)]
pub struct Place {
    shares: Arc<Shares>,
    holder: Option<Source>,
}

impl Shares {
    /// So many places.
    pub fn new(places: usize) -> Arc<Self> {
        let (sources, networks) = (Counts::new(), Counts::new());
        Arc::new(Self { places: AtomicUsize::new(places), open: AtomicUsize::new(0), sources, networks })
    }

    /// A place for nobody in particular yet: an address that is not proven, or a proxy that speaks for others.
    ///
    /// # Errors
    /// [`Crowded::Full`].
    pub fn enter(self: &Arc<Self>) -> Result<Place, Crowded> {
        let taken = self.open.fetch_update(Relaxed, Relaxed, |open| (open < self.places()).then_some(open + 1));
        taken.map(|_| Place { shares: Arc::clone(self), holder: None }).map_err(|_| Crowded::Full)
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        self.places.load(Relaxed)
    }

    /// So many places from now on. Those who have one keep it.
    pub fn resize(&self, places: usize) {
        self.places.store(places, Relaxed);
    }

    /// True if this address would get a place now.
    pub fn has_place(&self, address: IpAddr) -> bool {
        let (free, source) = (self.places().saturating_sub(self.open()), Source::of(address));
        free > 0
            && self.sources.has_room(source, free)
            && self.networks.has_room(source.network(), free.saturating_mul(OF_NETWORK))
    }

    /// Places that are taken.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }
}

impl Place {
    /// Says whose place this is.
    ///
    /// # Errors
    /// [`Crowded::Share`] if that source or its network has its share; the place is then for nobody to use.
    pub fn name(&mut self, address: IpAddr) -> Result<(), Crowded> {
        self.leave();
        let shares = &self.shares;
        // This place is taken already: it counts as free for the one who comes.
        let free = shares.places().saturating_sub(shares.open()) + 1;
        let source = Source::of(address);
        if !shares.sources.add(source, free) {
            return Err(Crowded::Share);
        }
        if !shares.networks.add(source.network(), free.saturating_mul(OF_NETWORK)) {
            shares.sources.remove(source);
            return Err(Crowded::Share);
        }
        self.holder = Some(source);
        Ok(())
    }

    /// How much of all places is free, from 0 to 1.
    pub fn free(&self) -> f64 {
        let (open, places) = (self.shares.open() as f64, self.shares.places().max(1) as f64);
        (1.0 - open / places).max(0.0)
    }

    fn leave(&mut self) {
        if let Some(source) = self.holder.take() {
            self.shares.sources.remove(source);
            self.shares.networks.remove(source.network());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
        self.shares.open.fetch_sub(1, Relaxed);
    }
}

/// How many places each holds; who holds none is not remembered.
#[derive(Debug)]
struct Counts<K> {
    shards: Vec<Mutex<HashMap<K, usize>>>,
    keys: RandomState,
}

impl<K: Copy + Eq + Hash> Counts<K> {
    fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), keys: RandomState::new() }
    }

    fn shard(&self, key: K) -> Option<MutexGuard<'_, HashMap<K, usize>>> {
        let at = usize::try_from(self.keys.hash_one(key) % SHARDS as u64).unwrap_or(0);
        // A count is changed in one step: a panic elsewhere does not spoil it.
        self.shards.get(at).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One more, if it holds fewer than `most`, or few.
    fn add(&self, key: K, most: usize) -> bool {
        let Some(mut shard) = self.shard(key) else { return false };
        let count = shard.entry(key).or_insert(0);
        let is_in = *count < most.max(FEW);
        *count += usize::from(is_in);
        is_in
    }

    /// True if [`add`](Self::add) would.
    fn has_room(&self, key: K, most: usize) -> bool {
        self.shard(key).is_some_and(|shard| shard.get(&key).copied().unwrap_or(0) < most.max(FEW))
    }

    fn remove(&self, key: K) {
        let Some(mut shard) = self.shard(key) else { return };
        if let Entry::Occupied(mut count) = shard.entry(key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn enter(shares: &Arc<Shares>, address: &str) -> Result<Place, Crowded> {
        let mut place = shares.enter()?;
        place.name(address.parse().unwrap()).map(|()| place)
    }

    /// As many as are let in of `most` that come.
    fn fill(shares: &Arc<Shares>, most: usize, address: impl Fn(usize) -> String) -> Vec<Place> {
        (0..most).filter_map(|at| enter(shares, &address(at)).ok()).collect()
    }

    #[test]
    fn one_source_holds_half_and_leaves_room() {
        let shares = Shares::new(1000);
        let first = fill(&shares, 5000, |_| "192.0.2.1".into());
        assert_eq!(first.len(), 500);
        let second = fill(&shares, 5000, |_| "198.51.100.1".into());
        assert_eq!(second.len(), 250);
        // Whoever comes new is let in, whatever the others hold.
        let others = fill(&shares, 200, |at| format!("10.{}.{}.1", at / 8, at % 8));
        assert_eq!(others.len(), 200);
        // As long as the node is crowded, the first gets no more; once there is room again, it does.
        assert_eq!(enter(&shares, "192.0.2.1").err(), Some(Crowded::Share));
        drop((first, second));
        assert!(enter(&shares, "192.0.2.1").is_ok());
    }

    #[test]
    fn a_network_of_many_sources_holds_two_thirds() {
        for address in [|at: usize| format!("192.0.2.{}", at % 256), |at: usize| format!("2001:db8:1:{at:x}::1")] {
            let shares = Shares::new(900);
            let held = fill(&shares, 5000, address);
            assert!((595..=605).contains(&held.len()), "{}", held.len());
            assert!(enter(&shares, "203.0.113.9").is_ok());
        }
    }

    #[test]
    fn full_is_full_and_nothing_is_remembered() {
        let shares = Shares::new(3);
        let anonymous: Vec<_> = (0..3).map(|_| shares.enter().unwrap()).collect();
        assert_eq!(shares.enter().err(), Some(Crowded::Full));
        drop(anonymous);
        let mut place = shares.enter().unwrap();
        place.name("192.0.2.1".parse().unwrap()).unwrap();
        // A proxy says that it is someone else's.
        place.name("192.0.2.2".parse().unwrap()).unwrap();
        drop(place);
        assert_eq!(shares.open(), 0);
        let is_empty =
            |shards: &[Mutex<HashMap<Source, usize>>]| shards.iter().all(|shard| shard.lock().unwrap().is_empty());
        assert!(is_empty(&shares.sources.shards));
    }

    proptest! {
        /// Whoever comes and goes in whatever order: no more than there are places, and a newcomer is let in as long as
        /// there is one.
        #[test]
        fn any_order(steps in prop::collection::vec((0_u8..20, any::<bool>()), 0..300)) {
            let shares = Shares::new(40);
            let mut held: Vec<(u8, Place)> = Vec::new();
            for (who, comes) in steps {
                if comes {
                    let is_new = held.iter().all(|(other, _)| *other != who);
                    let has_room = shares.open() < 40;
                    let entered = enter(&shares, &format!("10.{who}.0.1"));
                    prop_assert!(!(is_new && has_room) || entered.is_ok());
                    held.extend(entered.ok().map(|place| (who, place)));
                } else if let Some(at) = held.iter().position(|(other, _)| *other == who) {
                    held.remove(at);
                }
                prop_assert_eq!(shares.open(), held.len());
            }
        }
    }
}

//! Who comes most often, in a table of fixed size.
//!
//! Space-Saving (Metwally, Agrawal and El Abbadi, ICDT 2005), in small sets that are told by the hash, as d-way RAP has
//! them (Ben Basat, Einziger, Friedman and Kassner, INFOCOM 2017): whoever is new takes the place of the least of one set,
//! and its count with it, as an error that is written down. So one update touches one set, of eight places, whatever comes.
//! In a set that was told of `n`, no error is above `n / 8`, and whoever came more often than that has a place; with `S` sets
//! that is about one in `8 S` of everything.
//!
//! Only counts less their errors are ever read: a sketch must accuse nobody of what others did. What is known beside the
//! count (how much was refused) is known since the place was taken, so it is never too much either.

use std::collections::HashMap;

/// Places in a set: their fingerprints are one cache line.
const WAYS: usize = 8;

/// What someone did, as far as it is added up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Deed {
    /// It was refused, for whatever reason.
    pub refused: bool,
    /// Bytes of the answer.
    pub bytes: u64,
}

/// The sums of one place.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sums {
    error: u32,
    refused: u32,
    bytes: u64,
}

/// A table that keys of the type `K` are counted in.
#[derive(Debug, Clone)]
pub struct Heavy<K> {
    prints: Box<[[u64; WAYS]]>,
    counts: Box<[[u32; WAYS]]>,
    sums: Box<[[Sums; WAYS]]>,
    keys: Box<[[K; WAYS]]>,
    mask: u64,
    total: u64,
}

/// One that came often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<K> {
    /// Who.
    pub key: K,
    /// How often, at least.
    pub count: u64,
    /// How often of these it was refused, at least.
    pub refused: u64,
    /// Bytes of the answers, at least.
    pub bytes: u64,
}

/// What several tables say together.
#[derive(Debug, Clone)]
pub struct Summary<K> {
    entries: HashMap<u64, Entry<K>>,
    /// Of everything that was counted, whoever it was.
    pub total: u64,
}

impl<K: Copy + Default> Heavy<K> {
    /// A table of so many sets of eight; a power of two, or the next one.
    pub fn new(sets: usize) -> Self {
        let sets = sets.next_power_of_two();
        Self {
            prints: vec![[0; WAYS]; sets].into_boxed_slice(),
            counts: vec![[0; WAYS]; sets].into_boxed_slice(),
            sums: vec![[Sums::default(); WAYS]; sets].into_boxed_slice(),
            keys: vec![[K::default(); WAYS]; sets].into_boxed_slice(),
            mask: sets as u64 - 1,
            total: 0,
        }
    }

    /// Counts `key`, which has this hash, `weight` times.
    pub fn add(&mut self, hash: u64, key: impl FnOnce() -> K, weight: u32, deed: Deed) {
        self.total += u64::from(weight);
        let set = usize::try_from(hash & self.mask).unwrap_or(0);
        let sets = (self.prints.get_mut(set), self.counts.get_mut(set), self.sums.get_mut(set));
        let (Some(prints), Some(counts), Some(sums)) = sets else { return };
        // A place that nobody has is told by zero.
        let print = hash.max(1);
        let known = prints.iter().position(|known| *known == print);
        let at = known.unwrap_or_else(|| {
            let least = counts.iter().enumerate().min_by_key(|(_, count)| **count);
            least.map_or(0, |(at, _)| at)
        });
        let (Some(count), Some(sums)) = (counts.get_mut(at), sums.get_mut(at)) else { return };
        if known.is_none() {
            *sums = Sums { error: *count, ..Sums::default() };
            if let Some(place) = prints.get_mut(at) {
                *place = print;
            }
            if let Some(place) = self.keys.get_mut(set).and_then(|keys| keys.get_mut(at)) {
                *place = key();
            }
        }
        *count = count.saturating_add(weight);
        sums.refused = sums.refused.saturating_add(if deed.refused { weight } else { 0 });
        sums.bytes = sums.bytes.saturating_add(deed.bytes.saturating_mul(u64::from(weight)));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.prints.fill([0; WAYS]);
        self.counts.fill([0; WAYS]);
        self.sums.fill([Sums::default(); WAYS]);
        self.total = 0;
    }

    /// Bytes.
    pub fn memory(&self) -> usize {
        self.prints.len() * WAYS * (size_of::<u64>() + size_of::<u32>() + size_of::<Sums>() + size_of::<K>())
    }

    /// All that have a place, by fingerprint.
    fn entries(&self) -> impl Iterator<Item = (u64, Entry<K>)> {
        let prints = self.prints.iter().flatten();
        let known =
            prints.zip(self.counts.iter().flatten()).zip(self.sums.iter().flatten().zip(self.keys.iter().flatten()));
        known.filter(|((print, _), _)| **print != 0).map(|((print, count), (sums, key))| {
            let count = u64::from(count.saturating_sub(sums.error));
            (*print, Entry { key: *key, count, refused: sums.refused.into(), bytes: sums.bytes })
        })
    }
}

impl<K> Default for Summary<K> {
    fn default() -> Self {
        Self { entries: HashMap::new(), total: 0 }
    }
}

impl<K: Copy + Default> Summary<K> {
    /// Adds what a table says.
    pub fn take(&mut self, table: &Heavy<K>) {
        self.total += table.total;
        for (print, entry) in table.entries() {
            self.add(print, &entry);
        }
    }

    /// Adds what another summary says.
    pub fn merge(&mut self, other: &Self) {
        self.total += other.total;
        for (print, entry) in &other.entries {
            self.add(*print, entry);
        }
    }

    fn add(&mut self, print: u64, entry: &Entry<K>) {
        let sum = self.entries.entry(print).or_insert(Entry { key: entry.key, count: 0, refused: 0, bytes: 0 });
        sum.count += entry.count;
        sum.refused += entry.refused;
        sum.bytes += entry.bytes;
    }

    /// Keeps only the `most` that came most often: what others did is not lost from the total.
    pub fn trim(&mut self, most: usize) {
        if self.entries.len() <= most {
            return;
        }
        let mut counts: Vec<u64> = self.entries.values().map(|entry| entry.count).collect();
        let (_, least, _) = counts.select_nth_unstable_by(most, |one, other| other.cmp(one));
        let least = *least;
        self.entries.retain(|_, entry| entry.count > least);
    }

    /// Those that came most often, the first of them first.
    pub fn top(&self, most: usize) -> Vec<Entry<K>> {
        self.first(most, |entry| entry.count)
    }

    /// Those that were given most, the first of them first.
    pub fn largest(&self) -> Option<Entry<K>> {
        self.first(1, |entry| entry.bytes).first().copied()
    }

    fn first(&self, most: usize, by: impl Fn(&Entry<K>) -> u64) -> Vec<Entry<K>> {
        let mut all: Vec<Entry<K>> = self.entries.values().copied().collect();
        all.sort_by_key(|entry| std::cmp::Reverse(by(entry)));
        all.truncate(most);
        all
    }

    /// Everything that is known of, in no order.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.entries.values().map(|entry| entry.count)
    }

    /// How many of them are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes, about: maps keep an eighth of their places free, and grow by doubling.
    pub fn memory(&self) -> usize {
        self.entries.capacity() * 8 / 7 * (size_of::<(u64, Entry<K>)>() + 1)
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests;

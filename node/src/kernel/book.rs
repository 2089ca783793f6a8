//! What is entered, and until when: pure, with the time as an argument.
//!
//! It is what bounds the sets in the kernel, since a set that is full refuses a whole transaction. An entry is only made
//! longer by being entered again, never shorter.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::{Duration, Instant},
};

use ipnet::IpNet;

/// What would last longer by less than this part is left: whoever is entered again and again costs few changes.
const SLACK: u32 = 8;

/// All entries, not more than so many.
#[derive(Debug)]
pub(super) struct Book {
    entries: HashMap<IpNet, Instant>,
    most: usize,
}

/// What the kernel has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is not in yet.
    New,
    /// It is in, for a shorter time.
    Longer,
    /// Nothing: it is in for as long already.
    None,
    /// There is no room for another.
    NoRoom,
}

impl Book {
    /// An empty one.
    pub(super) fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), most }
    }

    /// Enters a network for a time from now on.
    pub(super) fn enter(&mut self, net: IpNet, for_: Duration, now: Instant) -> Change {
        let Some(until) = now.checked_add(for_) else { return Change::None };
        if self.entries.len() >= self.most && !self.entries.contains_key(&net) {
            return Change::NoRoom;
        }
        match self.entries.entry(net) {
            Entry::Vacant(entry) => {
                entry.insert(until);
                Change::New
            }
            Entry::Occupied(mut entry) if *entry.get() + for_ / SLACK < until => {
                entry.insert(until);
                Change::Longer
            }
            Entry::Occupied(_) => Change::None,
        }
    }

    /// Takes one out; true if it was in.
    pub(super) fn leave(&mut self, net: &IpNet) -> bool {
        self.entries.remove(net).is_some()
    }

    /// Forgets what is over: the kernel does by itself.
    pub(super) fn forget(&mut self, now: Instant) {
        self.entries.retain(|_, until| *until > now);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Everything that is not over, and for how long it still is.
    pub(super) fn rest(&self, now: Instant) -> impl Iterator<Item = (IpNet, Duration)> + '_ {
        let left = move |(net, until): (&IpNet, &Instant)| (*net, until.saturating_duration_since(now));
        self.entries.iter().map(left).filter(|(_, left)| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(n: u8) -> IpNet {
        format!("192.0.2.{n}/32").parse().unwrap()
    }

    #[test]
    fn entries_grow_longer_and_end() {
        let (mut book, start) = (Book::new(2), Instant::now());
        let s = Duration::from_secs;
        assert_eq!(book.enter(net(1), s(10), start), Change::New);
        assert_eq!(book.enter(net(1), s(5), start), Change::None);
        assert_eq!(book.enter(net(1), s(10), start + s(1)), Change::None);
        assert_eq!(book.enter(net(1), s(6), start + s(5)), Change::Longer);
        assert_eq!(book.rest(start + s(5)).collect::<Vec<_>>(), [(net(1), s(6))]);
        book.forget(start + s(10));
        assert_eq!(book.len(), 1);
        book.forget(start + s(11));
        assert_eq!(book.len(), 0);
    }

    #[test]
    fn there_is_no_more_room_than_there_is() {
        let (mut book, start) = (Book::new(2), Instant::now());
        let s = Duration::from_secs;
        assert_eq!(book.enter(net(1), s(1), start), Change::New);
        assert_eq!(book.enter(net(2), s(9), start), Change::New);
        assert_eq!(book.enter(net(3), s(9), start), Change::NoRoom);
        assert_eq!(book.enter(net(2), s(10), start), Change::Longer);
        // The first is over by now.
        book.forget(start + s(1));
        assert_eq!(book.enter(net(3), s(9), start + s(1)), Change::New);
        assert!(book.leave(&net(3)) && !book.leave(&net(3)));
        assert_eq!(book.len(), 1);
    }
}

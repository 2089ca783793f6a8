//! What zlib finds at a position: its chains of hashes, its limits, and its second thought one byte later.
//!
//! This is the search of zlib 1.2 and 1.3 (`deflate.c`: `longest_match`, `deflate_fast`, `deflate_slow`) for streams that
//! were made with the default strategy and a window of 32 KiB, asked for any position instead of for all in turn. What
//! it says need not be what the stream has: whoever asks compares, and keeps the difference.

use std::cell::RefCell;

use super::{Level, Token};

/// The window, and how far back a match may begin at most.
const WINDOW: usize = 32_768;
pub(super) const MAX_DISTANCE: usize = WINDOW - 262;
/// Longest match.
const LONGEST: usize = 258;
/// A match of three bytes that is farther away costs more than the bytes.
const TOO_FAR: usize = 4096;
/// No position.
const NONE: u32 = u32::MAX;
/// Entries for the widest hash that zlib can be told to use.
const WIDEST: usize = 1 << 16;

/// Something that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Below three: nothing.
    length: usize,
    start: usize,
}

const NOTHING: Found = Found { length: 2, start: 0 };

/// What is looked up.
#[derive(Debug)]
pub(super) struct Tables {
    /// The last position of each hash.
    head: Box<[u32; WIDEST]>,
    /// The one before each position. Only those of positions that were entered are ever read.
    previous: Box<[u32; WINDOW]>,
    /// The last position of each hash that has other bytes than the predecessor, plus one.
    changed: Box<[u32; WIDEST]>,
}

thread_local! {
    /// Tables to use again: a site has a thousand small files, and fresh memory costs more than most of them.
    static SPARE: RefCell<Vec<Tables>> = const { RefCell::new(Vec::new()) };
}

impl Tables {
    /// Tables with anything in them.
    pub(super) fn take() -> Self {
        let fresh = || Self { head: filled(NONE), previous: filled(NONE), changed: filled(0) };
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(fresh)
    }

    /// Keeps them for the next.
    pub(super) fn give(self) {
        SPARE.with_borrow_mut(|spare| spare.push(self));
    }

    /// Forgets all hashes of so many bits.
    fn clear(&mut self, bits: u32) {
        let used = 1_usize << bits;
        self.head.iter_mut().take(used).for_each(|place| *place = NONE);
        self.changed.iter_mut().take(used).for_each(|place| *place = 0);
    }
}

/// Finds what zlib finds.
#[derive(Debug)]
pub(super) struct Matcher<'a> {
    plain: &'a [u8],
    level: Level,
    mask: u32,
    shift: u32,
    tables: &'a mut Tables,
    /// The last position that has other bytes than the predecessor, plus one.
    marked: usize,
    /// Up to where positions are in the chains.
    entered: usize,
    /// What was found at this position on the way to the token before.
    carried: Option<(usize, Found)>,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(plain: &'a [u8], level: Level, hash_bits: u32, tables: &'a mut Tables) -> Self {
        let bits = hash_bits.clamp(8, 16);
        tables.clear(bits);
        Self {
            plain,
            level,
            mask: (1 << bits) - 1,
            shift: bits.div_ceil(3),
            tables,
            marked: 0,
            entered: 0,
            carried: None,
        }
    }

    #[inline]
    fn hash(&self, at: usize) -> Option<usize> {
        let [a, b, c] = *self.plain.get(at..)?.first_chunk()?;
        let hash = u32::from(a) << (2 * self.shift) ^ u32::from(b) << self.shift ^ u32::from(c);
        Some((hash & self.mask) as usize)
    }

    /// Enters positions below `to` into the chains: all that a search from there on can see, and that were not yet.
    pub(super) fn enter(&mut self, to: usize) {
        // What lies farther back than the window was not needed so far, and never will be.
        self.entered = self.entered.max(to.saturating_sub(WINDOW));
        self.enter_all(to);
    }

    fn enter_all(&mut self, to: usize) {
        let Self { plain, tables, mask, shift, .. } = self;
        let Tables { head, previous, .. } = &mut **tables;
        let from = self.entered;
        let Some(bytes) = plain.get(from..(to + 2).min(plain.len())) else { return };
        for (at, [a, b, c]) in (from..).zip(bytes.array_windows()) {
            let hash = u32::from(*a) << (2 * *shift) ^ u32::from(*b) << *shift ^ u32::from(*c);
            #[expect(clippy::cast_possible_truncation, reason = "no file is that long")]
            let place = at as u32;
            if let (Some(previous), Some(head)) =
                (previous.get_mut(at % WINDOW), head.get_mut((hash & *mask) as usize % WIDEST))
            {
                *previous = std::mem::replace(head, place);
            }
        }
        self.entered = from + bytes.len().saturating_sub(2);
    }

    /// Says that the positions from one to another have other bytes than the predecessor.
    pub(super) fn mark(&mut self, from: usize, to: usize) {
        for at in from..to {
            let Some(hash) = self.hash(at) else { return };
            #[expect(clippy::cast_possible_truncation, reason = "no file is that long")]
            if let Some(last) = self.tables.changed.get_mut(hash % WIDEST) {
                *last = at as u32 + 1;
            }
            self.marked = at + 1;
        }
    }

    /// Goes over a token, and enters its positions as the fast levels do: of a long match only the first.
    pub(super) fn pass(&mut self, at: usize, length: usize) {
        if length > self.level.lazy {
            self.enter_all(at + 1);
            self.entered = at + length;
        } else {
            self.enter_all(at + length);
        }
    }

    /// True if the bytes at `at` match `least` or more behind `from` that the predecessor did not have: those marked last
    /// of all that begin alike. Three that are far away do not count, as for zlib.
    #[inline]
    pub(super) fn has_fresh(&self, at: usize, from: usize, least: usize) -> bool {
        if self.marked <= from {
            return false;
        }
        let last =
            self.hash(at).and_then(|hash| self.tables.changed.get(hash % WIDEST)).map_or(0, |last| *last as usize);
        last > from && last <= at && self.is_match(last - 1, at, least)
    }

    /// True if there is more than `length` at `at` or, if zlib would think again, one byte later; or as much nearer than
    /// `start`.
    #[inline]
    pub(super) fn has_better(&self, at: usize, start: usize, length: usize) -> bool {
        self.has_fresh(at, start, length)
            || length < self.level.lazy
                && !self.level.is_fast
                && self.has_fresh(at + 1, at.saturating_sub(MAX_DISTANCE), length + 1)
    }

    fn is_match(&self, start: usize, at: usize, least: usize) -> bool {
        let (Some(there), Some(here)) = (self.plain.get(start..at), self.plain.get(at..)) else { return false };
        let least = if at - start > TOO_FAR { least.max(4) } else { least };
        // A match that goes on into itself begins with what lies between.
        let least = least.min(there.len());
        there.get(..least).is_some_and(|there| Some(there) == here.get(..least))
    }

    /// The token that zlib would have at this position, if one begins here. On the fast levels, whatever was passed is
    /// in the chains; on the others, everything before.
    pub(super) fn token(&mut self, at: usize) -> Token {
        if !self.level.is_fast {
            self.enter(at);
        }
        let here = match self.carried.take() {
            Some((place, found)) if place == at => found,
            _ => self.find(at, NOTHING.length),
        };
        let literal = Token::Literal(self.plain.get(at).copied().unwrap_or(0));
        let matched = |found: Found| {
            let length = u16::try_from(found.length).unwrap_or(0);
            Token::Match { length, distance: u16::try_from(at - found.start).unwrap_or(0) }
        };
        if self.level.is_fast {
            return if here.length < 3 { literal } else { matched(here) };
        }
        if here.length < 3 {
            self.enter(at + 1);
            let next = self.find(at + 1, NOTHING.length);
            self.carried = Some((at + 1, next));
            return literal;
        }
        if here.length >= self.level.lazy {
            return matched(here);
        }
        self.enter(at + 1);
        let next = self.find(at + 1, here.length);
        if next.length <= here.length {
            return matched(here);
        }
        self.carried = Some((at + 1, next));
        literal
    }

    /// The longest match at `at` that is longer than `least`, the nearest of them.
    fn find(&mut self, at: usize, least: usize) -> Found {
        let Some(hash) = self.hash(at) else { return NOTHING };
        let mut candidate = self.tables.head.get(hash % WIDEST).copied().unwrap_or(NONE);
        // zlib takes position 0 for none.
        let limit = at.saturating_sub(MAX_DISTANCE);
        if candidate == NONE || candidate == 0 || (candidate as usize) < limit {
            return NOTHING;
        }
        let most = (self.plain.len() - at).min(LONGEST);
        let Some(here) = self.plain.get(at..at + most) else { return NOTHING };
        let nice = self.level.nice.min(most);
        let mut chain = if least >= self.level.good { self.level.chain >> 2 } else { self.level.chain };
        let mut best = Found { length: least, start: at };
        // The two bytes that a longer match has to have, where most candidates differ; none if there is no room for one.
        let last = |length: usize| here.get(length - 1..=length).and_then(|two| two.first_chunk::<2>().copied());
        let mut wanted = last(least);
        loop {
            let start = candidate as usize;
            let there = self.plain.get(start + best.length - 1..).and_then(|rest| rest.first_chunk::<2>());
            if wanted.is_some() && wanted.as_ref() == there {
                let length = same(self.plain.get(start..start + most).unwrap_or_default(), here);
                if length > best.length {
                    best = Found { length, start };
                    wanted = last(length);
                    if length >= nice {
                        break;
                    }
                }
            }
            candidate = self.tables.previous.get(start % WINDOW).copied().unwrap_or(NONE);
            chain -= 1;
            if candidate == NONE || candidate as usize <= limit || chain == 0 {
                break;
            }
        }
        let is_poor = !self.level.is_fast && best.length == 3 && at - best.start > TOO_FAR;
        if best.start == at || is_poor { NOTHING } else { best }
    }
}

/// How many bytes two slices have in common at their beginnings.
#[inline]
pub(super) fn same(a: &[u8], b: &[u8]) -> usize {
    let mut length = 0;
    for (x, y) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let differing = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differing != 0 {
            return length + (differing.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    length
        + a.get(length..)
            .unwrap_or_default()
            .iter()
            .zip(b.get(length..).unwrap_or_default())
            .take_while(|(x, y)| x == y)
            .count()
}

fn filled<const N: usize>(value: u32) -> Box<[u32; N]> {
    vec![value; N].into_boxed_slice().try_into().unwrap_or_else(|_| unreachable!("of that length"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deflate::Params;

    /// Rows in which three bytes are often the same as before, near and far.
    fn rows() -> Vec<u8> {
        (0..12_000_u64)
            .flat_map(|at| format!("{:05},{:03}\n", at, at.wrapping_mul(0x9e37_79b9) >> 7 & 0x3ff).into_bytes())
            .collect()
    }

    #[test]
    fn what_was_not_needed_before_is_not_missed() {
        let plain = rows();
        let level = Params::default().level();
        let (mut often, mut seldom) = (Tables::take(), Tables::take());
        let mut often = Matcher::new(&plain, level, 15, &mut often);
        let mut seldom = Matcher::new(&plain, level, 15, &mut seldom);
        let mut far = 0;
        // Places within the window of the one before, and far behind it.
        for at in (1..plain.len()).step_by(7) {
            often.enter(at);
            if at % 5 == 0 && at / 50_000 % 2 == 1 {
                seldom.enter(at);
                let found = seldom.find(at, 2);
                assert_eq!(found, often.find(at, 2), "{at}");
                far = far.max(at - found.start);
            }
        }
        assert!(far > MAX_DISTANCE / 2 && plain.len() > 3 * WINDOW, "{far}");
    }

    #[test]
    fn fresh_bytes_count_where_they_would_make_another_token() {
        let mut plain = b"....abcdefgh....abcdefgX".to_vec();
        plain.extend([b'.'; 5000]);
        plain.extend(b"abcY");
        let mut tables = Tables::take();
        let mut matcher = Matcher::new(&plain, Params::default().level(), 15, &mut tables);
        assert!(!matcher.has_fresh(16, 0, 3), "nothing is fresh yet");
        matcher.mark(4, 12);
        for (from, least, expected) in [(0, 3, true), (0, 7, true), (0, 8, false), (4, 3, true), (5, 3, false)] {
            assert_eq!(matcher.has_fresh(16, from, least), expected, "{from}, {least}");
        }
        // Three bytes that are far away are no match.
        let last = plain.len() - 4;
        assert!(!matcher.has_fresh(last, 0, 3));
    }
}

//! What zlib finds at a position: its chains of hashes, its limits, and its second thought one byte later.
//!
//! This is the search of zlib 1.2 and 1.3 (`deflate.c`: `longest_match`, `deflate_fast`, `deflate_slow`) for streams that
//! were made with the default strategy and a window of 32 KiB, asked for any position instead of for all in turn. What
//! it says need not be what the stream has: whoever asks compares, and keeps the difference.

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

/// Finds what zlib finds.
#[derive(Debug)]
pub(super) struct Matcher<'a> {
    plain: &'a [u8],
    level: Level,
    mask: u32,
    shift: u32,
    head: Box<[u32; WIDEST]>,
    previous: Box<[u32; WINDOW]>,
    /// The last position of each hash that has other bytes than the predecessor, plus one.
    changed: Box<[u32; WIDEST]>,
    /// Up to where positions are in the chains.
    entered: usize,
    /// What was found at this position on the way to the token before.
    carried: Option<(usize, Found)>,
}

impl<'a> Matcher<'a> {
    pub(super) fn new(plain: &'a [u8], level: Level, hash_bits: u32) -> Self {
        let bits = hash_bits.clamp(8, 16);
        Self {
            plain,
            level,
            mask: (1 << bits) - 1,
            shift: bits.div_ceil(3),
            head: filled(NONE),
            previous: filled(NONE),
            changed: filled(0),
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

    /// Enters all positions below `to` into the chains. `changed` says that they have other bytes than the predecessor.
    pub(super) fn enter(&mut self, to: usize, changed: bool) {
        let to = to.min(self.plain.len().saturating_sub(2));
        while self.entered < to {
            let (at, Some(hash)) = (self.entered, self.hash(self.entered)) else { return };
            #[expect(clippy::cast_possible_truncation, reason = "no file is that long")]
            let place = at as u32;
            if let (Some(previous), Some(head)) = (self.previous.get_mut(at % WINDOW), self.head.get_mut(hash % WIDEST))
            {
                *previous = std::mem::replace(head, place);
            }
            if changed && let Some(last) = self.changed.get_mut(hash % WIDEST) {
                *last = place + 1;
            }
            self.entered += 1;
        }
    }

    /// Goes over a token, and enters its positions as the fast levels do: of a long match only the first.
    pub(super) fn pass(&mut self, at: usize, length: usize) {
        if length > self.level.lazy {
            self.enter(at + 1, false);
            self.entered = at + length;
        } else {
            self.enter(at + length, false);
        }
    }

    /// True if the bytes at `at` may match changed ones that lie behind `from`, which the predecessor did not have.
    #[inline]
    pub(super) fn may_have_changed(&self, at: usize, from: usize) -> bool {
        let last = self.hash(at).and_then(|hash| self.changed.get(hash % WIDEST));
        last.is_some_and(|last| *last as usize > from)
    }

    /// The token that zlib would have at this position, if one begins here. All positions before were entered; this one
    /// may be, `changed` or not.
    pub(super) fn token(&mut self, at: usize, changed: bool) -> Token {
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
            self.enter(at + 1, changed);
            let next = self.find(at + 1, NOTHING.length);
            self.carried = Some((at + 1, next));
            return literal;
        }
        if here.length >= self.level.lazy {
            return matched(here);
        }
        self.enter(at + 1, changed);
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
        let mut candidate = self.head.get(hash % WIDEST).copied().unwrap_or(NONE);
        // zlib takes position 0 for none.
        let limit = at.saturating_sub(MAX_DISTANCE);
        if candidate == NONE || candidate == 0 || (candidate as usize) < limit {
            return NOTHING;
        }
        let ahead = self.plain.len() - at;
        let nice = self.level.nice.min(ahead);
        let mut chain = if least >= self.level.good { self.level.chain >> 2 } else { self.level.chain };
        let mut best = Found { length: least, start: at };
        loop {
            let start = candidate as usize;
            let length = self.common(start, at, best.length);
            if length > best.length {
                best = Found { length, start };
                if length >= nice {
                    break;
                }
            }
            candidate = self.previous.get(start % WINDOW).copied().unwrap_or(NONE);
            chain -= 1;
            if candidate == NONE || candidate as usize <= limit || chain == 0 {
                break;
            }
        }
        let is_poor = !self.level.is_fast && best.length == 3 && at - best.start > TOO_FAR;
        if best.start == at || is_poor { NOTHING } else { best }
    }

    /// How many bytes at `start` and at `at` are the same, if that is more than `least`; anything up to `least`
    /// otherwise.
    #[inline]
    fn common(&self, start: usize, at: usize, least: usize) -> usize {
        let most = (self.plain.len() - at).min(LONGEST);
        if least >= most {
            return 0;
        }
        let (Some(there), Some(here)) = (self.plain.get(start..start + most), self.plain.get(at..at + most)) else {
            return 0;
        };
        // Where most candidates differ.
        if there.get(least) != here.get(least) || there.get(least.wrapping_sub(1)) != here.get(least.wrapping_sub(1)) {
            return 0;
        }
        same(there, here)
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

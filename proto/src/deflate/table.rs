//! The codes of a block as tables, from the next bits to what they mean.
//!
//! Most codes are short. So the first look is at few bits, in a table that stays in the first cache; a code that is
//! longer leads to a second look. An entry says all that there is to know: what the symbol is, its base, how many bits
//! follow it, and how long its code is.

use super::{
    DeflateError,
    codes::{self, DISTANCE, END, LENGTH, LONGEST},
};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its base is a byte.
    Literal,
    /// Its base is a length or a distance, and bits follow.
    Base,
    /// The end of the block.
    End,
    /// Nothing: a symbol that stands for none, or bits that are no code.
    None,
    /// A longer code: look again.
    Link,
}

/// An entry: kind, base, how many bits follow, and how long the code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(u32);

const NO_CODE: Entry = Entry::new(Kind::None, 0, 0);

impl Entry {
    const fn new(kind: Kind, base: u16, extra: u8) -> Self {
        Self((kind as u32) << 28 | (base as u32) << 8 | (extra as u32) << 4)
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        match self.0 >> 28 {
            0 => Kind::Literal,
            1 => Kind::Base,
            2 => Kind::End,
            3 => Kind::None,
            _ => Kind::Link,
        }
    }

    /// A byte, a length or a distance.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "sixteen bits")]
    pub(super) fn base(self) -> u16 {
        (self.0 >> 8) as u16
    }

    /// How many bits follow.
    #[inline]
    pub(super) fn extra(self) -> u32 {
        self.0 >> 4 & 15
    }

    /// Bits of the code.
    #[inline]
    pub(super) fn len(self) -> u32 {
        self.0 & 15
    }
}

/// What a symbol of literals and lengths means.
pub(super) fn literal(symbol: u16) -> Entry {
    match (u8::try_from(symbol), symbol) {
        (Ok(byte), _) => Entry::new(Kind::Literal, byte.into(), 0),
        (_, END) => Entry::new(Kind::End, 0, 0),
        _ => LENGTH
            .get(usize::from(symbol - END - 1))
            .map_or(NO_CODE, |(base, extra)| Entry::new(Kind::Base, *base, *extra)),
    }
}

/// What a symbol of distances means.
pub(super) fn distance(symbol: u16) -> Entry {
    DISTANCE.get(usize::from(symbol)).map_or(NO_CODE, |(base, extra)| Entry::new(Kind::Base, *base, *extra))
}

/// A table whose first look is at as many bits as `FIRST` has entries for, a power of two.
#[derive(Debug, Clone)]
pub(super) struct Table<const FIRST: usize> {
    first: Box<[Entry; FIRST]>,
    /// What longer codes lead to: for each beginning that they share, all that may follow.
    second: Vec<Entry>,
    /// Bits of the second look.
    more: u32,
}

impl<const FIRST: usize> Table<FIRST> {
    const BITS: u32 = FIRST.trailing_zeros();

    /// No codes.
    pub(super) fn new() -> Self {
        let first = vec![NO_CODE; FIRST].into_boxed_slice().try_into();
        Self { first: first.unwrap_or_else(|_| unreachable!("of that length")), second: Vec::new(), more: 0 }
    }

    /// Takes these codes instead.
    ///
    /// # Errors
    /// [`DeflateError::Damaged`] if more codes of some length are wanted than there are.
    pub(super) fn set(&mut self, lengths: &[u8], meaning: impl Fn(u16) -> Entry) -> Result<(), DeflateError> {
        let codes = codes::codes(lengths).ok_or(DeflateError::Damaged("codes"))?;
        self.first.fill(NO_CODE);
        self.second.clear();
        let longest = lengths.iter().copied().max().map_or(0, u32::from).min(LONGEST);
        self.more = longest.saturating_sub(Self::BITS);
        for ((symbol, length), code) in (0_u16..).zip(lengths).zip(codes).filter(|((_, length), _)| **length > 0) {
            let (length, code) = (u32::from(*length), usize::from(code));
            let entry = Entry(meaning(symbol).0 | length);
            match length.checked_sub(Self::BITS) {
                None | Some(0) => {
                    self.first.iter_mut().skip(code).step_by(1 << length).for_each(|place| *place = entry);
                }
                Some(rest) => {
                    let Some(link) = self.first.get_mut(code % FIRST) else { continue };
                    if link.kind() != Kind::Link {
                        let from = u16::try_from(self.second.len()).map_err(|_| DeflateError::Damaged("codes"))?;
                        *link = Entry::new(Kind::Link, from, 0);
                        self.second.resize(self.second.len() + (1 << self.more), NO_CODE);
                    }
                    let from = usize::from(link.base());
                    let places = self.second.iter_mut().skip(from).take(1 << self.more);
                    places.skip(code / FIRST).step_by(1 << rest).for_each(|place| *place = entry);
                }
            }
        }
        Ok(())
    }

    /// What these bits begin with.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "taken modulo a power of two below")]
    pub(super) fn entry(&self, ahead: u64) -> Entry {
        let entry = self.first.get(ahead as usize % FIRST).copied().unwrap_or(NO_CODE);
        if entry.0 >> 28 != Kind::Link as u32 {
            return entry;
        }
        let more = (ahead >> Self::BITS) as usize & ((1 << self.more) - 1);
        self.second.get(usize::from(entry.base()) + more).copied().unwrap_or(NO_CODE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::trees, *};

    /// Every code of a table leads to its symbol, whatever follows it, and nothing else does.
    fn check(lengths: &[u8]) {
        let mut table = Table::<64>::new();
        // What was there before is forgotten.
        table.set(&[1, 2, 2], distance).unwrap();
        table.set(lengths, literal).unwrap();
        let codes = codes::codes(lengths).unwrap();
        for ahead in 0..1_u64 << 15 {
            let found = (0_u16..)
                .zip(lengths)
                .zip(&codes)
                .find(|((_, length), code)| **length > 0 && ahead & ((1 << **length) - 1) == u64::from(**code));
            let expected = found.map_or(NO_CODE, |((symbol, length), _)| Entry(literal(symbol).0 | u32::from(*length)));
            assert_eq!(table.entry(ahead | 1 << 40), expected, "{ahead:b} with {lengths:?}");
        }
    }

    #[test]
    fn codes_of_every_length() {
        check(&(1..=15).chain([15]).collect::<Vec<_>>());
        check(&[0, 1]);
        check(&[]);
        check(&codes::fixed().0);
        assert!(Table::<64>::new().set(&[1, 1, 1], literal).is_err());
    }

    #[test]
    fn symbols_mean_what_the_standard_says() {
        let told = |entry: Entry| (entry.kind(), entry.base(), entry.extra(), entry.len());
        assert_eq!(told(literal(255)), (Kind::Literal, 255, 0, 0));
        assert_eq!(told(literal(256)), (Kind::End, 0, 0, 0));
        assert_eq!(told(literal(284)), (Kind::Base, 227, 5, 0));
        assert_eq!((literal(286).kind(), distance(30).kind()), (Kind::None, Kind::None));
        assert_eq!(told(distance(29)), (Kind::Base, 24_577, 13, 0));
    }

    proptest! {
        #[test]
        fn codes_of_any_block(counts in prop::collection::vec(0_u32..5000, 286)) {
            let mut block = trees::Counts::default();
            for (place, count) in block.literals.iter_mut().zip(counts) {
                *place = count;
            }
            check(&trees::dynamic(&block).literals);
        }
    }
}

//! Field blocks of requests, and the table that they build (RFC 7541).
//!
//! The bytes of the table and of the last block are in one buffer that only grows while a block is read: an entry that
//! is thrown out of the table stays readable for the fields that refer to it, and a field that is indexed costs neither
//! a copy nor a look at its bytes. What is no longer needed is cleared away between blocks, and within a block that is
//! beyond its limit. The buffer therefore holds at most a table, a block and a string of the block's encoded length.

use std::collections::VecDeque;

use super::{Unreadable, static_table};
use crate::fields::{
    Known, Line, Literal, Name, OVERHEAD,
    prefixed::{number, string},
};

/// Bytes that nothing refers to any more may be this many before they are cleared away: clearing costs as much as the
/// table is large, so it shall be rare.
const LITTER: usize = 4096;

/// A list may be this many times its limit: so far it is read on for the sake of the table. A few bytes can name a large
/// entry, which a table of the usual size allows to grow a block four thousand times.
const BEYOND: usize = 8;

/// Whether a list of fields is within the limit for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// The fields can be read.
    Within,
    /// They are beyond it, and none was kept. The table is as if they had been.
    Beyond,
}

/// Decodes the field blocks of one connection, in their order.
#[derive(Debug)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// The dynamic table, newest first; their bytes lie in `bytes` in the other order.
    table: VecDeque<Literal>,
    /// Of the table, by RFC 7541 section 4.1.
    size: usize,
    /// What the client wants it to be, which is not above `most`.
    limit: usize,
    most: usize,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, Copy)]
enum Field {
    /// A place in the static table.
    Static(u8),
    Literal(Literal),
}

impl Decoder {
    /// One whose table may be `most` bytes large.
    pub fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), table: VecDeque::new(), size: 0, limit: most, most, fields: Vec::new() }
    }

    /// Reads a whole field block. Its fields can be read from [`lines`](Self::lines) until the next one, if they are
    /// not more than `max` bytes, counted as in RFC 9113 section 6.5.2.
    ///
    /// # Errors
    ///
    /// [`Unreadable::Invalid`] for anything that is against RFC 7541, [`Unreadable::Bomb`] for fields of many times `max`
    /// bytes. The table is of no use then.
    pub fn decode(&mut self, block: &[u8], max: usize) -> Result<Size, Unreadable> {
        self.fields.clear();
        self.tidy();
        let mut rest = block;
        let mut began = false;
        let mut size = 0;
        while let Some((&first, tail)) = rest.split_first() {
            rest = tail;
            let field = match first {
                0x80.. => self.find(prefix(first, 7, &mut rest)?)?,
                0x40.. => {
                    let literal = self.literal(prefix(first, 6, &mut rest)?, &mut rest)?;
                    self.insert(literal);
                    Field::Literal(literal)
                }
                0x20.. if began => return Err(Unreadable::Invalid),
                0x20.. => {
                    self.resize(prefix(first, 5, &mut rest)?)?;
                    continue;
                }
                _ => Field::Literal(self.literal(prefix(first, 4, &mut rest)?, &mut rest)?),
            };
            began = true;
            size += OVERHEAD
                + match field {
                    Field::Literal(literal) => literal.len(),
                    Field::Static(at) => known(at)?.len(),
                };
            if size <= max {
                self.fields.push(field);
            } else {
                if size > max.saturating_mul(BEYOND) {
                    return Err(Unreadable::Bomb);
                }
                self.fields.clear();
                self.tidy();
            }
        }
        Ok(if size <= max { Size::Within } else { Size::Beyond })
    }

    /// The fields of the last block, in order.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.fields.iter().filter_map(|field| match field {
            Field::Static(at) => known(*at).ok().map(Known::line),
            Field::Literal(literal) => literal.line(&self.bytes),
        })
    }

    /// What the table counts now (RFC 7541 section 4.1).
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes that it keeps.
    #[cfg(test)]
    pub(in crate::http2) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    fn find(&self, index: usize) -> Result<Field, Unreadable> {
        let place = index.checked_sub(1).ok_or(Unreadable::Invalid)?;
        match place.checked_sub(static_table::LEN) {
            None => u8::try_from(place).map(Field::Static).map_err(|_| Unreadable::Invalid),
            Some(place) => self.table.get(place).copied().map(Field::Literal).ok_or(Unreadable::Invalid),
        }
    }

    /// A literal whose name is entry `index`, or follows if that is 0.
    fn literal(&mut self, index: usize, rest: &mut &[u8]) -> Result<Literal, Unreadable> {
        let at = self.bytes.len();
        let kind = if index == 0 {
            self.string(rest)?;
            Name::of(self.bytes.get(at..).unwrap_or_default())
        } else {
            match self.find(index)? {
                Field::Static(place) => {
                    let entry = known(place)?;
                    self.bytes.extend_from_slice(entry.name.as_bytes());
                    entry.kind
                }
                Field::Literal(entry) => {
                    self.bytes.extend_from_within(entry.at..entry.at + entry.name);
                    entry.kind
                }
            }
        };
        let name = self.bytes.len() - at;
        self.string(rest)?;
        Ok(Literal::last(kind, &self.bytes, at, name))
    }

    /// Appends a string (RFC 7541 section 5.2) to `bytes`.
    fn string(&mut self, rest: &mut &[u8]) -> Result<(), Unreadable> {
        let (&first, tail) = rest.split_first().ok_or(Unreadable::Invalid)?;
        *rest = tail;
        string(first, 7, rest, &mut self.bytes).ok_or(Unreadable::Invalid)
    }

    fn insert(&mut self, literal: Literal) {
        let size = literal.len() + OVERHEAD;
        self.evict(self.limit.saturating_sub(size));
        if size <= self.limit {
            self.table.push_front(literal);
            self.size += size;
        }
    }

    /// Throws out the oldest entries until not more than `size` is left.
    fn evict(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.table.pop_back() else { break };
            self.size -= oldest.len() + OVERHEAD;
        }
    }

    fn resize(&mut self, limit: usize) -> Result<(), Unreadable> {
        if limit > self.most {
            return Err(Unreadable::Invalid);
        }
        self.limit = limit;
        self.evict(limit);
        Ok(())
    }

    /// Clears away what nothing refers to, if that is much. Only while there are no fields.
    fn tidy(&mut self) {
        let used = self.size - self.table.len() * OVERHEAD;
        if self.bytes.len() <= used + LITTER {
            return;
        }
        let mut end = 0;
        for entry in self.table.iter_mut().rev() {
            self.bytes.copy_within(entry.at..entry.at + entry.len(), end);
            entry.at = end;
            end += entry.len();
        }
        self.bytes.truncate(end);
        self.bytes.shrink_to(self.most + LITTER);
    }
}

fn known(place: u8) -> Result<&'static Known, Unreadable> {
    static_table::TABLE.get(usize::from(place)).ok_or(Unreadable::Invalid)
}

fn prefix(first: u8, bits: u8, rest: &mut &[u8]) -> Result<usize, Unreadable> {
    number(first, bits, rest).ok_or(Unreadable::Invalid)
}

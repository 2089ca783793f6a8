//! A deflate stream, token by token (RFC 1951 section 3.2.3).

use super::{
    DeflateError, Token,
    bits::Reader,
    codes::{self, Decoder, LENGTHS, ORDER},
    table::{self, Kind as Symbol, Table},
    trees::Lengths,
};

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Plain bytes, so many of them.
    Stored(u16),
    /// Codes that are always the same.
    Fixed,
    /// Codes of its own.
    Dynamic,
}

/// A block that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// No other block follows.
    pub(super) last: bool,
    /// What it is.
    pub(super) kind: Kind,
}

/// Tokens that are read at a time: as many as stay in the first cache.
const CHUNK: usize = 1024;

/// Reads a stream.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    reader: Reader<'a>,
    /// Among the tokens of a block.
    is_within: bool,
    /// No block follows.
    last: bool,
    /// How many bits the codes of the block took.
    header: u64,
    /// The bits behind the length of a stored block's padding.
    padding: u32,
    literals: Table<2048>,
    distances: Table<1024>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(stream: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(stream),
            is_within: false,
            last: false,
            header: 0,
            padding: 0,
            literals: Table::new(),
            distances: Table::new(),
        }
    }

    /// Where the reader stands, in bits.
    pub(super) fn position(&self) -> u64 {
        self.reader.position()
    }

    /// How many bits the codes of the block that began last took, behind its first three.
    pub(super) fn header(&self) -> u64 {
        self.header
    }

    /// The bits that fill the byte before a stored block, if that is what began last.
    pub(super) fn padding(&self) -> u32 {
        self.padding
    }

    /// The bits that fill the last byte; behind the last block.
    ///
    /// # Errors
    /// None in truth.
    pub(super) fn tail(&mut self) -> Result<u32, DeflateError> {
        self.reader.pad()
    }

    /// The next block, once all tokens of the one before were read; `None` behind the last.
    ///
    /// # Errors
    /// [`DeflateError`] if the stream is damaged or ends early.
    pub(super) fn block(&mut self) -> Result<Option<Block>, DeflateError> {
        if self.is_within {
            return Err(DeflateError::Damaged("a block in a block"));
        }
        if self.last {
            return Ok(None);
        }
        self.last = self.reader.take(1)? == 1;
        let kind = self.reader.take(2)?;
        let before = self.reader.position();
        let kind = match kind {
            0 => {
                self.padding = self.reader.pad()?;
                let (length, complement) = (self.reader.take(16)?, self.reader.take(16)?);
                if length != !complement & 0xffff {
                    return Err(DeflateError::Damaged("length of a stored block"));
                }
                self.reader.skip_bytes(length as usize)?;
                Kind::Stored(u16::try_from(length).unwrap_or(u16::MAX))
            }
            1 => {
                let (literals, distances) = codes::fixed();
                self.begin(&literals, &distances)?;
                Kind::Fixed
            }
            2 => {
                let Lengths { literals, distances } = lengths(&mut self.reader)?;
                self.begin(&literals, &distances)?;
                Kind::Dynamic
            }
            _ => return Err(DeflateError::Damaged("kind of a block")),
        };
        self.header = self.reader.position() - before;
        Ok(Some(Block { last: self.last, kind }))
    }

    fn begin(&mut self, literals: &[u8], distances: &[u8]) -> Result<(), DeflateError> {
        self.literals.set(literals, table::literal)?;
        self.distances.set(distances, table::distance)?;
        self.is_within = true;
        Ok(())
    }

    /// Adds some of the tokens that come next; false once the block has ended. A stored block has none.
    ///
    /// # Errors
    /// [`DeflateError`] if the stream is damaged or ends early; those before were added.
    pub(super) fn tokens(&mut self, tokens: &mut Vec<Token>) -> Result<bool, DeflateError> {
        for _ in 0..CHUNK {
            if !self.is_within {
                break;
            }
            match self.token()? {
                Some(token) => tokens.push(token),
                None => self.is_within = false,
            }
        }
        Ok(self.is_within)
    }

    /// The next token; `None` at the end of the block.
    #[inline]
    fn token(&mut self) -> Result<Option<Token>, DeflateError> {
        // Enough for all that a match takes: two codes, and the bits behind them.
        let ahead = self.reader.peek();
        let entry = self.literals.entry(ahead);
        match entry.kind() {
            Symbol::Literal => {
                self.reader.skip(entry.len())?;
                Ok(Some(Token::Literal(entry.base().to_le_bytes()[0])))
            }
            Symbol::Base => {
                let ahead = ahead >> entry.len();
                let length = entry.base() + bits(ahead, entry.extra());
                let ahead = ahead >> entry.extra();
                let far = self.distances.entry(ahead);
                if far.kind() != Symbol::Base {
                    return Err(DeflateError::Damaged("distance that is none"));
                }
                let distance = far.base() + bits(ahead >> far.len(), far.extra());
                self.reader.skip(entry.len() + entry.extra() + far.len() + far.extra())?;
                Ok(Some(Token::Match { length, distance }))
            }
            Symbol::End => {
                self.reader.skip(entry.len())?;
                Ok(None)
            }
            Symbol::None | Symbol::Link => Err(DeflateError::Damaged("bits that are no code")),
        }
    }
}

/// The lowest of these bits, at most thirteen.
#[inline]
fn bits(ahead: u64, count: u32) -> u16 {
    #[expect(clippy::cast_possible_truncation, reason = "masked")]
    let bits = (ahead & ((1 << count) - 1)) as u16;
    bits
}

/// The codes of a block (section 3.2.7).
///
/// # Errors
/// [`DeflateError`] if they are none.
pub(super) fn lengths(reader: &mut Reader<'_>) -> Result<Lengths, DeflateError> {
    let literals = reader.take(5)? as usize + 257;
    let distances = reader.take(5)? as usize + 1;
    let count = reader.take(4)? as usize + 4;
    let mut lengths = [0; LENGTHS];
    for symbol in ORDER.iter().take(count) {
        let length = reader.take(3)?;
        if let (Some(place), Ok(length)) = (lengths.get_mut(usize::from(*symbol)), u8::try_from(length)) {
            *place = length;
        }
    }
    let decoder = Decoder::new(&lengths)?;
    let mut all = Vec::with_capacity(literals + distances);
    while all.len() < literals + distances {
        let (length, times) = match decoder.symbol(reader)? {
            16 => {
                let last = all.last().copied().ok_or(DeflateError::Damaged("codes that repeat nothing"))?;
                (last, 3 + reader.take(2)?)
            }
            17 => (0, 3 + reader.take(3)?),
            18 => (0, 11 + reader.take(7)?),
            length => (u8::try_from(length).unwrap_or(0), 1),
        };
        all.extend(std::iter::repeat_n(length, times as usize));
    }
    let (literals, distances) = all
        .split_at_checked(literals)
        .filter(|(_, rest)| rest.len() == distances)
        .ok_or(DeflateError::Damaged("more codes than announced"))?;
    Ok(Lengths { literals: literals.to_vec(), distances: distances.to_vec() })
}

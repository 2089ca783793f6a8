//! A deflate stream, token by token (RFC 1951 section 3.2.3).

use super::{
    DeflateError, Token,
    bits::Reader,
    codes::{self, DISTANCE, Decoder, END, LENGTH, LENGTHS, ORDER},
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

/// What comes next in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A block begins.
    Block {
        /// No other block follows.
        last: bool,
        /// What it is.
        kind: Kind,
    },
    /// A literal or a match of the block.
    Token(Token),
    /// The block ended.
    End,
}

/// Reads a stream.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    reader: Reader<'a>,
    state: State,
    last: bool,
    /// How many bits the codes of the block took.
    header: u64,
    /// The bits behind the length of a stored block's padding.
    padding: u32,
    literals: Decoder,
    distances: Decoder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between blocks.
    Between,
    /// Among the tokens of a block.
    Tokens,
    /// In a stored block, of which everything was read.
    Stored,
}

impl<'a> Parser<'a> {
    pub(super) fn new(stream: &'a [u8]) -> Self {
        let none = || Decoder::new(&[]).unwrap_or_else(|_| unreachable!("no lengths are no codes"));
        Self {
            reader: Reader::new(stream),
            state: State::Between,
            last: false,
            header: 0,
            padding: 0,
            literals: none(),
            distances: none(),
        }
    }

    /// What comes next; `None` behind the last block.
    ///
    /// # Errors
    /// [`DeflateError`] if the stream is damaged or ends early.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Event>, DeflateError> {
        match self.state {
            State::Tokens => self.token().map(Some),
            State::Stored => {
                self.state = State::Between;
                Ok(Some(Event::End))
            }
            State::Between if self.last => Ok(None),
            State::Between => self.block().map(Some),
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

    fn block(&mut self) -> Result<Event, DeflateError> {
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
                self.state = State::Stored;
                Kind::Stored(u16::try_from(length).unwrap_or(u16::MAX))
            }
            1 => {
                let (literals, distances) = codes::fixed();
                (self.literals, self.distances) = (Decoder::new(&literals)?, Decoder::new(&distances)?);
                self.state = State::Tokens;
                Kind::Fixed
            }
            2 => {
                let Lengths { literals, distances } = lengths(&mut self.reader)?;
                (self.literals, self.distances) = (Decoder::new(&literals)?, Decoder::new(&distances)?);
                self.state = State::Tokens;
                Kind::Dynamic
            }
            _ => return Err(DeflateError::Damaged("kind of a block")),
        };
        self.header = self.reader.position() - before;
        Ok(Event::Block { last: self.last, kind })
    }

    #[inline]
    fn token(&mut self) -> Result<Event, DeflateError> {
        let symbol = self.literals.symbol(&mut self.reader)?;
        if let Ok(byte) = u8::try_from(symbol) {
            return Ok(Event::Token(Token::Literal(byte)));
        }
        if symbol == END {
            self.state = State::Between;
            return Ok(Event::End);
        }
        let entry = LENGTH.get(usize::from(symbol - END - 1));
        let (base, extra) = entry.ok_or(DeflateError::Damaged("length that is none"))?;
        let length = base + u16::try_from(self.reader.take(u32::from(*extra))?).unwrap_or(0);
        let symbol = self.distances.symbol(&mut self.reader)?;
        let entry = DISTANCE.get(usize::from(symbol)).ok_or(DeflateError::Damaged("distance that is none"))?;
        let distance = entry.0 + u16::try_from(self.reader.take(u32::from(entry.1))?).unwrap_or(0);
        Ok(Event::Token(Token::Match { length, distance }))
    }
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

//! What has to be known of a stream beside its plain bytes.

use serde::{Deserialize, Serialize};

use super::{
    DeflateError, Old, Params, Token,
    bits::{Reader, Writer},
    codes::{self, END},
    matcher::Tables,
    parse::{self, Kind, Parser},
    predict::Predictor,
    trees::{self, Counts, Lengths},
};

/// In the place of a distance: no match.
const LITERAL: u16 = u16::MAX;

/// How a deflate stream is made from its plain bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// Bytes of the stream.
    len: u64,
    params: Params,
    blocks: Vec<Block>,
    /// How many tokens in a row were predicted, before each that was not; seven bits a byte, the lowest first.
    gaps: Vec<u8>,
    /// Of each token that was not: the distance of a match less one, or [`LITERAL`]; two bytes, the lower first.
    distances: Vec<u8>,
    /// Of each match among them: its length less three.
    lengths: Vec<u8>,
    /// The bits that fill the last byte.
    tail: u8,
}

/// Some blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Block {
    /// So many as zlib makes them: full ones, or the last, with the codes that it would give.
    Usual(u64),
    /// Plain bytes.
    Stored { len: u16, last: bool, padding: u8 },
    /// So many tokens with the fixed codes.
    Fixed { tokens: u64, last: bool },
    /// So many tokens, with codes as zlib would give them, or others.
    Dynamic { tokens: u64, last: bool, codes: Option<Codes> },
}

/// Codes as they stand in a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Codes {
    bits: u32,
    bytes: Vec<u8>,
}

impl Recipe {
    /// Bytes of the stream.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if the stream has no bytes, which none has.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many blocks are not told apart, as those of one program with one setting are not.
    #[cfg(test)]
    pub(super) fn kinds_of_blocks(&self) -> usize {
        self.blocks.len()
    }

    /// How many tokens were not predicted.
    pub fn corrections(&self) -> usize {
        self.distances.len() / 2
    }
}

/// Describes a stream of these plain bytes. Whoever rebuilds it needs the same predecessor.
///
/// # Errors
/// [`DeflateError`] if it is no stream of these bytes. That it is one is proven by [`rebuild`] alone.
pub fn describe(stream: &[u8], plain: &[u8], params: Params, old: Option<Old<'_>>) -> Result<Recipe, DeflateError> {
    let recipe = sample(stream, plain, params, old, usize::MAX)?;
    // What stands behind the last block is no part of any stream.
    recipe.ok_or(DeflateError::Damaged("plain bytes are missing")).and_then(|(recipe, end)| {
        if end == stream.len() as u64 { Ok(recipe) } else { Err(DeflateError::Damaged("bytes behind the end")) }
    })
}

/// Describes the blocks that begin within the first `most` tokens. `None` if the stream goes on behind that.
fn sample(
    stream: &[u8],
    plain: &[u8],
    params: Params,
    old: Option<Old<'_>>,
    most: usize,
) -> Result<Option<(Recipe, u64)>, DeflateError> {
    let mut tables = Tables::take();
    let sampled = sample_with(stream, plain, Predictor::new(plain, params, old, &mut tables), params, most);
    tables.give();
    sampled
}

fn sample_with(
    stream: &[u8],
    plain: &[u8],
    mut predictor: Predictor<'_>,
    params: Params,
    most: usize,
) -> Result<Option<(Recipe, u64)>, DeflateError> {
    let mut parser = Parser::new(stream);
    let mut notes = Notes::new(params, stream.len() as u64);
    let (mut place, mut total) = (0, 0_usize);
    let mut chunk = Vec::new();
    while let Some(parse::Block { last, kind }) = parser.block()? {
        let before = parser.position() - parser.header();
        let header = parser.header();
        let (mut tokens, mut counts) = (0_usize, Counts::default());
        let mut goes_on = true;
        while goes_on {
            chunk.clear();
            goes_on = parser.tokens(&mut chunk)?;
            for &token in &chunk {
                if place + token.len() > plain.len() {
                    return Err(DeflateError::Damaged("more plain bytes than announced"));
                }
                notes.token(token, predictor.token(place));
                predictor.pass(place, token.len());
                count(&mut counts, token);
                place += token.len();
            }
            tokens += chunk.len();
        }
        total += tokens;
        let is_usual = if last { tokens < params.tokens() && place == plain.len() } else { tokens == params.tokens() };
        let block = match kind {
            Kind::Stored(len) => {
                predictor.pass(place, usize::from(len));
                place += usize::from(len);
                Block::Stored { len, last, padding: u8::try_from(parser.padding()).unwrap_or(0) }
            }
            Kind::Fixed if is_usual && trees::plan(&counts).1 => Block::Usual(1),
            Kind::Fixed => Block::Fixed { tokens: tokens as u64, last },
            Kind::Dynamic => {
                let (lengths, is_fixed) = trees::plan(&counts);
                let codes = cut(stream, before, header)?;
                if !is_fixed && written(&lengths) == codes {
                    if is_usual { Block::Usual(1) } else { Block::Dynamic { tokens: tokens as u64, last, codes: None } }
                } else {
                    Block::Dynamic { tokens: tokens as u64, last, codes: Some(codes) }
                }
            }
        };
        notes.block(block);
        if total >= most && !last {
            return Ok(Some((notes.recipe, 0)));
        }
    }
    notes.recipe.tail = u8::try_from(parser.tail()?).unwrap_or(0);
    Ok((place == plain.len()).then_some((notes.recipe, parser.position() / 8)))
}

/// Collects a recipe.
struct Notes {
    recipe: Recipe,
    gap: u64,
}

impl Notes {
    fn new(params: Params, len: u64) -> Self {
        let (blocks, gaps, lengths, distances) = Default::default();
        Self { recipe: Recipe { len, params, blocks, gaps, lengths, distances, tail: 0 }, gap: 0 }
    }

    #[inline]
    fn token(&mut self, token: Token, predicted: Token) {
        if token == predicted {
            self.gap += 1;
            return;
        }
        let mut gap = std::mem::take(&mut self.gap);
        while gap >= 0x80 {
            self.recipe.gaps.push(gap.to_le_bytes()[0] | 0x80);
            gap >>= 7;
        }
        self.recipe.gaps.push(gap.to_le_bytes()[0]);
        match token {
            Token::Literal(_) => self.recipe.distances.extend(LITERAL.to_le_bytes()),
            Token::Match { length, distance } => {
                self.recipe.distances.extend((distance - 1).to_le_bytes());
                self.recipe.lengths.push(u8::try_from(length - 3).unwrap_or(u8::MAX));
            }
        }
    }

    fn block(&mut self, block: Block) {
        match (self.recipe.blocks.last_mut(), block) {
            (Some(Block::Usual(many)), Block::Usual(one)) => *many += one,
            (_, block) => self.recipe.blocks.push(block),
        }
    }
}

/// Tells predicted tokens from corrected ones.
struct Corrections<'a> {
    gaps: &'a [u8],
    lengths: &'a [u8],
    distances: &'a [u8],
    /// Predicted tokens before the next that is not; `None` if there is none.
    gap: Option<u64>,
}

impl<'a> Corrections<'a> {
    fn new(recipe: &'a Recipe) -> Result<Self, DeflateError> {
        let Recipe { gaps, lengths, distances, .. } = recipe;
        let mut corrections = Self { gaps, lengths, distances, gap: None };
        corrections.gap = corrections.next_gap()?;
        Ok(corrections)
    }

    fn next_gap(&mut self) -> Result<Option<u64>, DeflateError> {
        let (mut gap, mut shift) = (0, 0);
        if self.gaps.is_empty() {
            return Ok(None);
        }
        while let Some(byte) = self.gaps.split_off_first() {
            gap |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Ok(Some(gap));
            }
            if shift > 56 {
                break;
            }
        }
        Err(DeflateError::Recipe("a number that does not end"))
    }

    /// The token at a place where this one is predicted.
    #[inline]
    fn token(&mut self, predicted: Token, plain: u8) -> Result<Token, DeflateError> {
        match &mut self.gap {
            None => return Ok(predicted),
            Some(gap @ 1..) => {
                *gap -= 1;
                return Ok(predicted);
            }
            Some(0) => {}
        }
        self.gap = self.next_gap()?;
        let missing = DeflateError::Recipe("corrections are missing");
        let (low, rest) = self.distances.split_first().ok_or_else(|| missing.clone())?;
        let (high, rest) = rest.split_first().ok_or_else(|| missing.clone())?;
        self.distances = rest;
        match u16::from_le_bytes([*low, *high]) {
            LITERAL => Ok(Token::Literal(plain)),
            distance @ 0..=0x7fff => {
                let length = self.lengths.split_off_first().ok_or(missing)?;
                Ok(Token::Match { length: u16::from(*length) + 3, distance: distance + 1 })
            }
            _ => Err(DeflateError::Recipe("a distance that is none")),
        }
    }
}

/// Makes the stream again.
///
/// Never writes more than the recipe announces. Whether it is the stream that was described is for a digest to tell.
///
/// # Errors
/// [`DeflateError::Recipe`] if the recipe is not for these plain bytes.
pub fn rebuild(plain: &[u8], recipe: &Recipe, old: Option<Old<'_>>) -> Result<Vec<u8>, DeflateError> {
    let len = usize::try_from(recipe.len).map_err(|_| DeflateError::Recipe("length"))?;
    // Whatever a recipe says, streams are hardly longer than what they hold.
    if len > plain.len() + plain.len() / 8 + 1024 {
        return Err(DeflateError::Recipe("length"));
    }
    let mut tables = Tables::take();
    let stream = rebuild_with(plain, recipe, len, Predictor::new(plain, recipe.params, old, &mut tables));
    tables.give();
    stream
}

fn rebuild_with(plain: &[u8], recipe: &Recipe, len: usize, predictor: Predictor<'_>) -> Result<Vec<u8>, DeflateError> {
    let mut work = Rebuild {
        plain,
        params: recipe.params,
        predictor,
        corrections: Corrections::new(recipe)?,
        writer: Writer::with_capacity(len + 8),
        place: 0,
        tokens: Vec::with_capacity(recipe.params.tokens()),
        most: len,
    };
    let mut has_ended = false;
    for block in &recipe.blocks {
        let count = if let Block::Usual(count) = block { *count } else { 1 };
        for _ in 0..count {
            if has_ended {
                return Err(DeflateError::Recipe("blocks behind the last"));
            }
            has_ended = work.block(block)?;
        }
    }
    if !has_ended || work.place != plain.len() {
        return Err(DeflateError::Recipe("plain bytes are left"));
    }
    work.writer.pad(recipe.tail.into());
    let stream = work.writer.finish();
    if stream.len() == len { Ok(stream) } else { Err(DeflateError::Recipe("the stream has another length")) }
}

struct Rebuild<'a> {
    plain: &'a [u8],
    params: Params,
    predictor: Predictor<'a>,
    corrections: Corrections<'a>,
    writer: Writer,
    place: usize,
    tokens: Vec<Token>,
    /// Bytes that may be written.
    most: usize,
}

impl Rebuild<'_> {
    /// Writes one block; true if it is the last.
    fn block(&mut self, block: &Block) -> Result<bool, DeflateError> {
        let (last, fixed) = match block {
            Block::Usual(_) => {
                let counts = self.read(self.params.tokens())?;
                let last = self.tokens.len() < self.params.tokens();
                let (lengths, is_fixed) = trees::plan(&counts);
                self.head(last, if is_fixed { 1 } else { 2 });
                if !is_fixed {
                    trees::write(&lengths, &mut self.writer);
                }
                self.write(&lengths)?;
                return Ok(last);
            }
            Block::Stored { len, last, padding } => {
                self.head(*last, 0);
                self.writer.pad((*padding).into());
                let end = self.place + usize::from(*len);
                let bytes = self.plain.get(self.place..end).ok_or(DeflateError::Recipe("stored bytes are missing"))?;
                self.writer.put((*len).into(), 16);
                self.writer.put((!*len).into(), 16);
                self.writer.put_bytes(bytes);
                self.predictor.pass(self.place, bytes.len());
                self.place = end;
                return if self.writer.len() > self.most { Err(DeflateError::Recipe("too long")) } else { Ok(*last) };
            }
            Block::Fixed { last, .. } => (*last, true),
            Block::Dynamic { last, .. } => (*last, false),
        };
        let (Block::Fixed { tokens, .. } | Block::Dynamic { tokens, .. }) = block else { return Ok(last) };
        let tokens = usize::try_from(*tokens).map_err(|_| DeflateError::Recipe("tokens"))?;
        let counts = self.read(tokens)?;
        if self.tokens.len() != tokens {
            return Err(DeflateError::Recipe("more tokens than plain bytes"));
        }
        self.head(last, if fixed { 1 } else { 2 });
        let lengths = match block {
            Block::Dynamic { codes: Some(codes), .. } => {
                let Codes { bits, bytes } = codes;
                let lengths = parse::lengths(&mut Reader::new(bytes))?;
                let mut reader = Reader::new(bytes);
                let mut left = *bits;
                while left > 0 {
                    let count = left.min(32);
                    self.writer.put(reader.take(count)?, count);
                    left -= count;
                }
                lengths
            }
            Block::Dynamic { .. } => {
                let lengths = trees::dynamic(&counts);
                trees::write(&lengths, &mut self.writer);
                lengths
            }
            _ => {
                let (literals, distances) = codes::fixed();
                Lengths { literals: literals.to_vec(), distances: distances.to_vec() }
            }
        };
        self.write(&lengths)?;
        Ok(last)
    }

    fn head(&mut self, last: bool, kind: u32) {
        self.writer.put(u32::from(last) | kind << 1, 3);
    }

    /// The next tokens, at most so many, and how often each symbol is among them.
    fn read(&mut self, most: usize) -> Result<Counts, DeflateError> {
        let mut counts = Counts::default();
        self.tokens.clear();
        while self.tokens.len() < most
            && let Some(plain) = self.plain.get(self.place)
        {
            let token = self.corrections.token(self.predictor.token(self.place), *plain)?;
            if token.len() > self.plain.len() - self.place {
                return Err(DeflateError::Recipe("a match goes over the end"));
            }
            self.predictor.pass(self.place, token.len());
            self.place += token.len();
            count(&mut counts, token);
            self.tokens.push(token);
        }
        Ok(counts)
    }

    /// Writes the tokens, and the end of the block.
    fn write(&mut self, lengths: &Lengths) -> Result<(), DeflateError> {
        let code = |lengths: &[u8]| -> Result<Vec<(u32, u32)>, DeflateError> {
            let codes = codes::codes(lengths).ok_or(DeflateError::Recipe("codes"))?;
            Ok(codes.into_iter().zip(lengths).map(|(code, length)| (code.into(), u32::from(*length))).collect())
        };
        let (literals, distances) = (code(&lengths.literals)?, code(&lengths.distances)?);
        let find = |codes: &[(u32, u32)], symbol: u16| codes.get(usize::from(symbol)).copied().unwrap_or((0, 0));
        for token in &self.tokens {
            match *token {
                Token::Literal(byte) => {
                    let (code, length) = find(&literals, byte.into());
                    self.writer.put(code, length);
                }
                Token::Match { length, distance } => {
                    let (symbol, bits, extra) = codes::of_length(length);
                    let (code, count) = find(&literals, symbol);
                    self.writer.put(code | bits << count, count + extra);
                    let (symbol, bits, extra) = codes::of_distance(distance);
                    let (code, count) = find(&distances, symbol);
                    self.writer.put(code | bits << count, count + extra);
                }
            }
        }
        let (code, length) = find(&literals, END);
        self.writer.put(code, length);
        if self.writer.len() > self.most { Err(DeflateError::Recipe("too long")) } else { Ok(()) }
    }
}

#[inline]
fn count(counts: &mut Counts, token: Token) {
    let add = |counts: &mut [u32], symbol: u16| {
        if let Some(count) = counts.get_mut(usize::from(symbol)) {
            *count += 1;
        }
    };
    match token {
        Token::Literal(byte) => add(&mut counts.literals, byte.into()),
        Token::Match { length, distance } => {
            add(&mut counts.literals, codes::of_length(length).0);
            add(&mut counts.distances, codes::of_distance(distance).0);
        }
    }
}

/// Bits of a stream.
fn cut(stream: &[u8], from: u64, count: u64) -> Result<Codes, DeflateError> {
    let mut reader = Reader::from(stream, from)?;
    let mut writer = Writer::default();
    let mut left = u32::try_from(count).map_err(|_| DeflateError::Damaged("codes"))?;
    while left > 0 {
        let bits = left.min(32);
        writer.put(reader.take(bits)?, bits);
        left -= bits;
    }
    Ok(Codes { bits: u32::try_from(count).unwrap_or(0), bytes: writer.finish() })
}

/// Codes as zlib writes them.
fn written(lengths: &Lengths) -> Codes {
    let mut writer = Writer::default();
    trees::write(lengths, &mut writer);
    let bits = u32::try_from(writer.position()).unwrap_or(0);
    Codes { bits, bytes: writer.finish() }
}

/// Tokens of a block at most, with the highest level of memory.
const MOST: usize = 1 << 15;

/// Tokens by which levels are told apart.
const SAMPLE: usize = 20_000;

/// How zlib was probably told to deflate: `hint` if that fits, or else what fits best.
///
/// # Errors
/// [`DeflateError`] if it is no stream of these bytes, as far as that is looked at.
pub fn guess(stream: &[u8], plain: &[u8], hint: Params) -> Result<Params, DeflateError> {
    let memory = memory(stream)?.unwrap_or(hint.memory);
    let levels = [hint.level, 6, 9, 5, 7, 8, 4, 3, 2, 1];
    let mut best = (usize::MAX, Params { memory, ..hint });
    for level in levels {
        let params = Params { level, memory };
        let Some((recipe, _)) = sample(stream, plain, params, None, SAMPLE)? else {
            return Err(DeflateError::Damaged("plain bytes are missing"));
        };
        let wrong = recipe.corrections();
        if wrong < best.0 {
            best = (wrong, params);
        }
        if wrong == 0 {
            break;
        }
    }
    Ok(best.1)
}

/// The memory level, from the tokens of the first block if another follows; `None` if zlib makes no block like that.
fn memory(stream: &[u8]) -> Result<Option<u8>, DeflateError> {
    let mut parser = Parser::new(stream);
    let Some(parse::Block { last: false, .. }) = parser.block()? else { return Ok(None) };
    let mut tokens = Vec::new();
    while parser.tokens(&mut tokens)? {
        // No level of memory makes a block of more.
        if tokens.len() > MOST {
            return Ok(None);
        }
    }
    let tokens = tokens.len();
    Ok((1..=9).find(|memory| Params { level: 6, memory: *memory }.tokens() == tokens))
}

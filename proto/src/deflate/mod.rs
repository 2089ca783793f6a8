//! Deflate streams taken apart and put together again, bit for bit.
//!
//! A stream is its plain bytes and the choices of whoever deflated them: what is a literal and what a match, where blocks
//! end, which codes they have. Stock zlib chooses by fixed rules, which are followed here, so most choices need not be
//! kept: a [`Recipe`] holds those that are others. With a predecessor at hand, its choices are taken over where the
//! bytes are the same, which is several times faster than searching anew. Streams of other programs have recipes too, only
//! longer ones.
//!
//! Reading order: [`bits`], [`codes`] and [`table`]; [`parse`] from a stream to tokens; [`matcher`] and [`trees`] follow zlib;
//! [`align`] and [`predict`] use the predecessor; [`recipe`] keeps the rest.
//!
//! Invariants: whoever describes a stream proves the recipe by rebuilding; a recipe from outside costs no more time than
//! the plain bytes do, and no more memory than the stream that it announces.

mod align;
mod bits;
mod codes;
mod matcher;
mod parse;
mod predict;
mod recipe;
mod table;
#[cfg(test)]
mod tests;
mod trees;

use serde::{Deserialize, Serialize};

pub use self::recipe::{Recipe, describe, guess, rebuild};

/// Why a stream or a recipe is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeflateError {
    /// It ends early.
    #[error("the deflate stream ends early")]
    Truncated,
    /// Something in it cannot be.
    #[error("no deflate stream: {0}")]
    Damaged(&'static str),
    /// The recipe is for other plain bytes, or for none at all.
    #[error("no recipe for these bytes: {0}")]
    Recipe(&'static str),
}

/// A literal or a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// A byte.
    Literal(u8),
    /// Bytes that stand somewhere before.
    Match {
        /// How many, 3 to 258.
        length: u16,
        /// How far back, 1 to 32,768.
        distance: u16,
    },
}

impl Token {
    /// Plain bytes.
    fn len(self) -> usize {
        match self {
            Self::Literal(_) => 1,
            Self::Match { length, .. } => usize::from(length),
        }
    }
}

/// How zlib was told to deflate (`deflateInit2`), as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Params {
    /// 1 to 9.
    pub level: u8,
    /// 1 to 9: how wide hashes are, and how many tokens a block has.
    pub memory: u8,
}

impl Default for Params {
    /// zlib's own defaults.
    fn default() -> Self {
        Self { level: 6, memory: 8 }
    }
}

/// What a level means (zlib's `configuration_table`).
#[derive(Debug, Clone, Copy)]
struct Level {
    /// From this length of a match on, a quarter of the chain has to do for a better one.
    good: usize,
    /// From this length on no better one is looked for; on fast levels, the positions of longer ones are not entered.
    lazy: usize,
    /// From this length on a match is taken.
    nice: usize,
    /// How many candidates are looked at.
    chain: usize,
    /// Matches are taken without a second thought.
    is_fast: bool,
}

impl Params {
    fn level(self) -> Level {
        let (good, lazy, nice, chain, is_fast) = match self.level {
            0 | 1 => (4, 4, 8, 4, true),
            2 => (4, 5, 16, 8, true),
            3 => (4, 6, 32, 32, true),
            4 => (4, 4, 16, 16, false),
            5 => (8, 16, 32, 32, false),
            6 => (8, 16, 128, 128, false),
            7 => (8, 32, 128, 256, false),
            8 => (32, 128, 258, 1024, false),
            _ => (32, 258, 258, 4096, false),
        };
        Level { good, lazy, nice, chain, is_fast }
    }

    fn hash_bits(self) -> u32 {
        u32::from(self.memory.clamp(1, 9)) + 7
    }

    /// Tokens of a block that is full.
    fn tokens(self) -> usize {
        (1 << (self.memory.clamp(1, 9) + 6)) - 1
    }
}

/// A predecessor: plain bytes, and the stream that they were deflated to.
#[derive(Debug, Clone, Copy)]
pub struct Old<'a> {
    /// Plain bytes.
    pub plain: &'a [u8],
    /// Their stream.
    pub stream: &'a [u8],
}

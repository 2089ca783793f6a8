//! HPACK (RFC 7541): fields of answers as bytes, and bytes of requests as fields.
//!
//! Encoding has no state: answers use the static table and literals only, so that they are encoded once for all
//! connections. Decoding has the state that the client's encoder asks for.

mod decoder;
mod static_table;

pub use self::decoder::{Decoder, Size};
use crate::fields::prefixed::{put_number, put_string};

/// A field block that cannot be read to its end. What follows on the connection cannot be read without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is none (RFC 9113 section 4.3).
    #[error("a field block that cannot be decoded")]
    Invalid,
    /// Its fields are so much larger than the limit that it is not worth the work.
    #[error("a field block that grows beyond all limits")]
    Bomb,
}

/// How the entries of the static table begin whose name is `:status`, by their value.
const STATUS: [(u16, u8); 7] = [(200, 8), (204, 9), (206, 10), (304, 11), (400, 12), (404, 13), (500, 14)];

/// "The table for what is encoded is empty from here on", if that follows at the beginning of a block (RFC 7541
/// section 6.3).
pub(super) const NO_TABLE: u8 = 0x20;

/// Encodes a field: as an entry of the static table, or else as a literal that is not indexed (RFC 7541
/// section 6.2.2). Names are in lower case.
pub fn encode(name: &str, value: &str, into: &mut Vec<u8>) {
    let mut known = None;
    for (entry, index) in static_table::TABLE.iter().zip(1_usize..) {
        if entry.name == name {
            if entry.value == value {
                return put_number(0x80, 7, index, into);
            }
            known = known.or(Some(index));
        }
    }
    put_number(0, 4, known.unwrap_or(0), into);
    if known.is_none() {
        put_string(0, 7, name.as_bytes(), into);
    }
    put_string(0, 7, value.as_bytes(), into);
}

/// Encodes the status of an answer, which is the first of its fields (RFC 9113 section 8.3.2).
pub fn status(status: u16, into: &mut Vec<u8>) {
    match STATUS.iter().find(|(known, _)| *known == status) {
        Some(&(_, index)) => into.push(0x80 | index),
        None => {
            let digit = |unit: u16| b'0' + u8::try_from(status / unit % 10).unwrap_or(0);
            into.extend_from_slice(&[0x08, 3, digit(100), digit(10), digit(1)]);
        }
    }
}

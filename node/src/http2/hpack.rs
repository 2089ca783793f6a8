//! HPACK (RFC 7541): fields of answers as bytes, and bytes of requests as fields.
//!
//! Encoding has no state: answers use the static table and literals only, so that they are encoded once for all
//! connections. Decoding has the state that the client's encoder asks for.

mod decoder;
mod huffman;
mod name;
mod static_table;

pub use self::{
    decoder::{Decoder, Line, Size},
    name::Name,
};

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
                return integer(0x80, 7, index, into);
            }
            known = known.or(Some(index));
        }
    }
    integer(0, 4, known.unwrap_or(0), into);
    if known.is_none() {
        string(name.as_bytes(), into);
    }
    string(value.as_bytes(), into);
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

/// RFC 7541 section 5.2.
pub(super) fn string(text: &[u8], into: &mut Vec<u8>) {
    let length = huffman::length(text);
    if length < text.len() {
        integer(0x80, 7, length, into);
        huffman::encode(text, into);
    } else {
        integer(0, 7, text.len(), into);
        into.extend_from_slice(text);
    }
}

/// RFC 7541 section 5.1: `bits` of the first byte are of the number, the others are of `first`.
fn integer(first: u8, bits: u8, number: usize, into: &mut Vec<u8>) {
    let most = (1_u8 << bits) - 1;
    let Some(mut rest) = number.checked_sub(usize::from(most)) else {
        return into.push(first | u8::try_from(number).unwrap_or(most));
    };
    into.push(first | most);
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            return into.push(low);
        }
        into.push(0x80 | low);
    }
}

#[cfg(test)]
mod tests {
    use super::integer;

    /// RFC 7541 appendix C.1, and where another byte is needed.
    #[test]
    fn numbers_are_those_of_the_examples() {
        for (bits, number, expected) in [
            (5, 10, [0x0a].as_slice()),
            (5, 1337, &[0x1f, 0x9a, 0x0a]),
            (5, 30, &[30]),
            (5, 31, &[0x1f, 0]),
            (5, 31 + 127, &[0x1f, 127]),
            (5, 31 + 128, &[0x1f, 0x80, 1]),
        ] {
            let mut into = Vec::new();
            integer(0, bits, number, &mut into);
            assert_eq!(into, expected, "{number}");
        }
    }
}

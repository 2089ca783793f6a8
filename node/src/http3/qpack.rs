//! QPACK (RFC 9204) without dynamic tables: fields of answers as bytes, and bytes of requests as fields.
//!
//! Neither side may refer to a dynamic table, so bytes mean the same on every connection, whatever was sent there
//! before, and nothing can be blocked by what was lost: answers are encoded once for all connections, and a request
//! costs no more memory than its bytes.

mod section;
mod static_table;

pub(super) use self::section::{Section, Size};
use self::static_table::TABLE;
use crate::fields::prefixed::{put_number, put_string};

/// What stands before the fields of a section: neither refers to a dynamic table (RFC 9204 section 4.5.1).
pub const PREFIX: [u8; 2] = [0, 0];

/// A section that cannot be read: QPACK_DECOMPRESSION_FAILED (RFC 9204 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a field section that cannot be decoded")]
pub struct Undecodable;

/// Appends a field line: a reference to the static table, or a literal. Names are in lower case.
pub fn encode(name: &str, value: &str, into: &mut Vec<u8>) {
    let mut known = None;
    for (index, entry) in TABLE.iter().enumerate().filter(|(_, entry)| entry.name == name) {
        if entry.value == value {
            // RFC 9204 section 4.5.2: 1, T = 1, index in 6 bits.
            return put_number(0b1100_0000, 6, index, into);
        }
        known = known.or(Some(index));
    }
    match known {
        // RFC 9204 section 4.5.4: 01, N = 0, T = 1, index in 4 bits.
        Some(index) => put_number(0b0101_0000, 4, index, into),
        // RFC 9204 section 4.5.6: 001, N = 0, H, length in 3 bits.
        None => put_string(0b0010_0000, 3, name.as_bytes(), into),
    }
    put_string(0, 7, value.as_bytes(), into);
}

/// Appends the status of an answer.
pub fn status(status: u16, into: &mut Vec<u8>) {
    let digits = [100, 10, 1].map(|unit| b'0' + u8::try_from(status / unit % 10).unwrap_or(0));
    encode(":status", str::from_utf8(&digits).unwrap_or("500"), into);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(name: &str, value: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(name, value, &mut bytes);
        bytes
    }

    #[test]
    fn fields_of_the_static_table_are_one_or_two_bytes() {
        assert_eq!(encoded(":status", "200"), [0xd9]);
        assert_eq!(encoded("accept-ranges", "bytes"), [0xe0]);
        assert_eq!(encoded("vary", "accept-encoding"), [0xfb]);
        // Index 98 does not fit in six bits: 63, and 35 more.
        assert_eq!(encoded("x-frame-options", "sameorigin"), [0xff, 35]);
        let mut bytes = Vec::new();
        status(416, &mut bytes);
        assert_eq!(bytes, [&[0x5f, 9][..], &encoded_string("416")].concat());
    }

    /// RFC 9204 appendix B.1: a literal with the name of index 1.
    #[test]
    fn names_of_the_static_table_are_references() {
        assert_eq!(encoded("etag", "{}"), [&[0x57, 2][..], b"{}"].concat());
        assert_eq!(encoded(":path", "/\u{1}"), [0x51, 2, b'/', 1]);
        assert_eq!(encoded("content-encoding", "{"), [0x5f, 42 - 15, 1, b'{']);
    }

    #[test]
    fn everything_else_is_literal() {
        assert_eq!(encoded("{", "}"), [0x21, b'{', 1, b'}']);
        // The example of RFC 7541 appendix C.6.1, behind a name of three bits.
        assert_eq!(encoded("{", "302"), [0x21, b'{', 0x82, 0x64, 0x02]);
        let long = "{".repeat(127 + 300);
        assert_eq!(encoded("{", &long), [&[0x21, b'{', 0x7f, 0xac, 0x02][..], long.as_bytes()].concat());
    }

    fn encoded_string(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_string(0, 7, text.as_bytes(), &mut bytes);
        bytes
    }
}

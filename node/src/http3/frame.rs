//! How frames begin (RFC 9114 section 7.1), and where each kind of them may stand.

/// Kinds of frames (RFC 9114 section 7.2, RFC 9218 section 7.2).
pub(super) mod kind {
    pub(in crate::http3) const DATA: u64 = 0;
    pub(in crate::http3) const HEADERS: u64 = 1;
    pub(in crate::http3) const CANCEL_PUSH: u64 = 3;
    pub(in crate::http3) const SETTINGS: u64 = 4;
    pub(in crate::http3) const PUSH_PROMISE: u64 = 5;
    pub(in crate::http3) const GOAWAY: u64 = 7;
    pub(in crate::http3) const MAX_PUSH_ID: u64 = 0xd;
    pub(in crate::http3) const PRIORITY_UPDATE: u64 = 0xf_0700;
    pub(in crate::http3) const PRIORITY_UPDATE_OF_PUSH: u64 = 0xf_0701;

    /// Frames of HTTP/2 that HTTP/3 has no counterpart for (RFC 9114 section 7.2.8).
    pub(in crate::http3) const OF_HTTP2: [u64; 4] = [2, 6, 8, 9];
}

/// What stands before the payload of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u64,
    /// Bytes of the payload.
    pub(super) len: u64,
    /// Bytes of the header itself.
    pub(super) size: usize,
}

impl Header {
    /// The header that `bytes` begin with; `None` if there is more of it to come.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let (kind, len) = (varint(&mut rest)?, varint(&mut rest)?);
        Some(Self { kind, len, size: bytes.len() - rest.len() })
    }

    /// Where the whole frame ends, if it is one that fits into memory.
    pub(super) fn end(&self) -> Option<usize> {
        usize::try_from(self.len).ok()?.checked_add(self.size)
    }
}

/// True if a frame of this kind is known, and never before the head of a request on its stream (RFC 9114 section 4.1 and
/// table 1 of section 7).
pub(super) fn is_misplaced_before_head(kind: u64) -> bool {
    matches!(
        kind,
        kind::DATA
            | kind::CANCEL_PUSH
            | kind::SETTINGS
            | kind::PUSH_PROMISE
            | kind::GOAWAY
            | kind::MAX_PUSH_ID
            | kind::PRIORITY_UPDATE
            | kind::PRIORITY_UPDATE_OF_PUSH
    ) || kind::OF_HTTP2.contains(&kind)
}

/// The number that `bytes` begin with (RFC 9000 section 16), which is taken from them; `None` if there is more of it to
/// come.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let (&first, tail) = bytes.split_first()?;
    let more = (1_usize << (first >> 6)) - 1;
    let (low, rest) = tail.split_at_checked(more)?;
    *bytes = rest;
    Some(low.iter().fold(u64::from(first & 0x3f), |number, byte| number << 8 | u64::from(*byte)))
}

/// Appends a number, as short as it can be. More than 62 bits are cut off.
pub(super) fn put_varint(number: u64, into: &mut Vec<u8>) {
    let (mark, bytes): (u64, usize) = match number {
        0..0x40 => (0, 1),
        0x40..0x4000 => (1, 2),
        0x4000..0x4000_0000 => (2, 4),
        _ => (3, 8),
    };
    let shifted = number & (u64::MAX >> 2) | mark << (8 * bytes - 2);
    into.extend(shifted.to_be_bytes().into_iter().skip(8 - bytes));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9000 appendix A.1.
    #[test]
    fn numbers_are_those_of_the_examples() {
        for (number, bytes) in [
            (37, &[0x25][..]),
            (15_293, &[0x7b, 0xbd]),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
            (151_288_809_941_952_652, &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
        ] {
            let mut into = Vec::new();
            put_varint(number, &mut into);
            assert_eq!(into, bytes);
            let mut rest = bytes;
            assert_eq!((varint(&mut rest), rest.len()), (Some(number), 0));
            assert_eq!(varint(&mut &bytes[..bytes.len() - 1]), None);
        }
        // One that is longer than it need be.
        assert_eq!(varint(&mut [0x40, 0x25].as_slice()), Some(37));
    }

    #[test]
    fn a_header_is_a_kind_and_a_length() {
        assert_eq!(Header::read(&[1, 0x40, 0x25, 9]), Some(Header { kind: 1, len: 37, size: 3 }));
        assert_eq!(Header::read(&[1]), None);
        assert_eq!(Header::read(&[0x80, 0xf, 7]), None);
    }

    proptest! {
        #[test]
        fn what_is_put_is_read(number in 0..1_u64 << 62) {
            let mut bytes = Vec::new();
            put_varint(number, &mut bytes);
            prop_assert_eq!(varint(&mut bytes.as_slice()), Some(number));
        }
    }
}

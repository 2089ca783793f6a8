//! Numbers and strings that share their first byte with what they are for (RFC 7541 section 5, which RFC 9204 section
//! 4.1 takes over).

use super::huffman;

/// Bytes after a prefix that a number may have: enough for 256 MiB, far beyond any limit.
const MORE: u32 = 4;

/// Appends a number: `bits` of the first byte are of it, the others are of `first`.
pub(crate) fn put_number(first: u8, bits: u8, number: usize, into: &mut Vec<u8>) {
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

/// Appends a string, in the code of Huffman if that is shorter: `bits` of the first byte are of its length, the one
/// before them says which, the others are of `first`.
pub(crate) fn put_string(first: u8, bits: u8, text: &[u8], into: &mut Vec<u8>) {
    let length = huffman::length(text);
    if length < text.len() {
        put_number(first | 1 << bits, bits, length, into);
        huffman::encode(text, into);
    } else {
        put_number(first, bits, text.len(), into);
        into.extend_from_slice(text);
    }
}

/// Reads a number whose first `bits` are in `first`; `None` if it does not end, or is beyond all limits.
pub(crate) fn number(first: u8, bits: u8, rest: &mut &[u8]) -> Option<usize> {
    let most = (1_u8 << bits) - 1;
    let mut number = usize::from(first & most);
    if number < usize::from(most) {
        return Some(number);
    }
    for nth in 0..MORE {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        number += usize::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Reads a string whose length begins with `bits` of `first`, behind the bit that says how it is written, and appends
/// it; `None` if it is none.
pub(crate) fn string(first: u8, bits: u8, rest: &mut &[u8], into: &mut Vec<u8>) -> Option<()> {
    let length = number(first, bits, rest)?;
    let (text, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    if first >> bits & 1 == 0 {
        into.extend_from_slice(text);
        Some(())
    } else {
        huffman::decode(text, into).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 appendix C.1, and where another byte is needed.
    #[test]
    fn numbers_are_those_of_the_examples() {
        for (bits, value, expected) in [
            (5, 10, [0x0a].as_slice()),
            (5, 1337, &[0x1f, 0x9a, 0x0a]),
            (5, 30, &[30]),
            (5, 31, &[0x1f, 0]),
            (5, 31 + 127, &[0x1f, 127]),
            (5, 31 + 128, &[0x1f, 0x80, 1]),
        ] {
            let mut into = Vec::new();
            put_number(0, bits, value, &mut into);
            assert_eq!(into, expected, "{value}");
            let (first, mut rest) = into.split_first().unwrap();
            assert_eq!((number(*first, bits, &mut rest), rest.len()), (Some(value), 0));
        }
        for wrong in [&[][..], &[0x80], &[0x80; 4], &[0x80, 0x80, 0x80, 0x80, 0]] {
            assert_eq!(number(0x1f, 5, &mut &*wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn strings_behind_any_prefix() {
        for bits in [3, 5, 7] {
            for text in ["", "a", "accept-encoding", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\u{1}\u{2}"] {
                let (mut written, mut read) = (Vec::new(), Vec::new());
                put_string(0, bits, text.as_bytes(), &mut written);
                let (first, mut rest) = written.split_first().unwrap();
                assert_eq!(string(*first, bits, &mut rest, &mut read), Some(()), "{text:?}");
                assert_eq!((read.as_slice(), rest.len()), (text.as_bytes(), 0));
            }
        }
        assert_eq!(string(3, 7, &mut b"ab".as_slice(), &mut Vec::new()), None);
    }
}

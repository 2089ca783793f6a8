//! The Huffman code of HPACK and QPACK (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: its lengths say everything, and all tables are made of them when this is compiled. A symbol
//! takes one look into a small table; the long codes, of bytes that addresses hardly ever have, take a short search.

/// The length of the code of each byte, and of the end of a string.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

/// The longest code.
const LONGEST: u8 = 30;

/// The longest code that one look finds.
const SHORT: u8 = 8;

/// How many bytes have longer codes.
const LONG: usize = 256 - 74;

/// The codes of one length.
#[derive(Clone, Copy)]
struct Codes {
    /// The first, and the first that is longer: both as the first bits of a word.
    first: u32,
    end: u32,
    /// Where the bytes of these codes begin in `bytes`.
    at: usize,
    length: u8,
}

struct Tables {
    /// The code of each byte, in its lowest bits.
    codes: [u32; 256],
    /// The byte that begins with these bits, and the length of its code; 0 for the codes that are longer.
    short: [(u8, u8); 256],
    /// The longer codes, from the shortest, and their bytes.
    long: [Codes; (LONGEST - SHORT) as usize],
    bytes: [u8; LONG],
}

static TABLES: Tables = tables();

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated when this is compiled")]
const fn tables() -> Tables {
    let none = Codes { first: 0, end: 0, at: 0, length: 0 };
    let mut tables =
        Tables { codes: [0; 256], short: [(0, 0); 256], long: [none; (LONGEST - SHORT) as usize], bytes: [0; LONG] };
    let mut code = 0_u32;
    let mut long = 0;
    let mut length = 1;
    while length <= LONGEST {
        let shift = 32 - length as u32;
        let (first, at) = (code, long);
        let mut byte = 0;
        while byte < 256 {
            if LENGTHS[byte] == length {
                tables.codes[byte] = code;
                if length > SHORT {
                    tables.bytes[long] = byte as u8;
                    long += 1;
                } else {
                    let mut rest = 0;
                    while rest < 1 << (SHORT - length) {
                        tables.short[((code as usize) << (SHORT - length)) + rest] = (byte as u8, length);
                        rest += 1;
                    }
                }
                code += 1;
            }
            byte += 1;
        }
        if length > SHORT {
            tables.long[(length - SHORT - 1) as usize] =
                Codes { first: first << shift, end: code << shift, at, length };
        }
        code <<= 1;
        length += 1;
    }
    assert!(long == LONG, "every byte has a code");
    tables
}

/// Not a code, or not ended as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotHuffman;

/// How long `text` is when encoded.
pub(super) fn length(text: &[u8]) -> usize {
    let length = |byte: &u8| LENGTHS.get(usize::from(*byte)).copied().map_or(0, usize::from);
    text.iter().map(length).sum::<usize>().div_ceil(8)
}

/// Encodes `text`.
pub(super) fn encode(text: &[u8], into: &mut Vec<u8>) {
    let mut bits = 0_u64;
    let mut count = 0_u32;
    for &byte in text {
        let at = usize::from(byte);
        let (Some(&code), Some(&length)) = (TABLES.codes.get(at), LENGTHS.get(at)) else { continue };
        bits = (bits << length) | u64::from(code);
        count += u32::from(length);
        while count >= 8 {
            count -= 8;
            into.push((bits >> count & 0xff) as u8);
        }
    }
    if count > 0 {
        // The rest of the last byte begins the code of the end: ones.
        into.push((bits << (8 - count) & 0xff) as u8 | 0xff >> count);
    }
}

/// Decodes `code`. What is in `into` after an error is of no use.
///
/// # Errors
///
/// [`NotHuffman`] if the end of a string is in it, or if it ends with more than a part of that (RFC 7541 section 5.2).
pub(super) fn decode(code: &[u8], into: &mut Vec<u8>) -> Result<(), NotHuffman> {
    into.reserve(code.len().saturating_mul(8) / 5 + 1);
    let mut rest = code;
    // The next bits, from the highest on; `count` of them are there, and zeros follow.
    let mut bits = 0_u64;
    let mut count = 0_u32;
    loop {
        if count < u32::from(LONGEST) {
            if let Some((word, tail)) = rest.split_first_chunk::<4>() {
                bits |= u64::from(u32::from_be_bytes(*word)) << (32 - count);
                count += 32;
                rest = tail;
            } else {
                for &byte in rest {
                    bits |= u64::from(byte) << (56 - count);
                    count += 8;
                }
                rest = &[];
            }
        }
        let (byte, length) = match TABLES.short.get((bits >> 56) as usize) {
            Some(&(byte, length)) if length > 0 => (byte, length),
            _ => long((bits >> 32) as u32).ok_or(NotHuffman)?,
        };
        let Some(left) = count.checked_sub(u32::from(length)) else { break };
        into.push(byte);
        bits <<= length;
        count = left;
    }
    // What is left is the beginning of the end: less than a byte of ones.
    if count < 8 && bits.leading_ones() == count { Ok(()) } else { Err(NotHuffman) }
}

/// The byte whose code `bits` begin with, if the code is longer than one look shows; `None` for the end.
fn long(bits: u32) -> Option<(u8, u8)> {
    let codes = TABLES.long.iter().find(|codes| bits < codes.end)?;
    let nth = bits.checked_sub(codes.first)? >> (32 - u32::from(codes.length));
    TABLES.bytes.get(codes.at + nth as usize).map(|&byte| (byte, codes.length))
}

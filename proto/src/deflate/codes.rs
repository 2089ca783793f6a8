//! Huffman codes of deflate: from the lengths of codes to the codes (RFC 1951 section 3.2.2), and back from bits.

use super::{DeflateError, bits::Reader};

/// Longest code of a literal, length or distance.
pub(super) const LONGEST: u32 = 15;

/// Symbols of literals and lengths; the last two stand for nothing, and have codes in fixed blocks.
pub(super) const LITERALS: usize = 288;
/// Symbols of distances; the last two stand for nothing.
pub(super) const DISTANCES: usize = 30;
/// Symbols of the lengths of codes.
pub(super) const LENGTHS: usize = 19;
/// The symbol that ends a block.
pub(super) const END: u16 = 256;

/// The order in which the lengths of the codes of lengths are sent (section 3.2.7).
pub(super) const ORDER: [u8; LENGTHS] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Where a code of a length begins, and how many bits follow it (section 3.2.5).
pub(super) const LENGTH: [(u16, u8); 29] = {
    let mut table = [(0, 0); 29];
    let (mut at, mut base) = (0, 3);
    while at < 28 {
        let extra = if at < 8 { 0 } else { (at - 4) / 4 };
        #[expect(
            clippy::indexing_slicing,
            clippy::cast_possible_truncation,
            reason = "evaluated when this is compiled"
        )]
        {
            table[at] = (base, extra as u8);
        }
        base += 1 << extra;
        at += 1;
    }
    table[28] = (258, 0);
    table
};

/// The same for distances.
pub(super) const DISTANCE: [(u16, u8); DISTANCES] = {
    let mut table = [(0, 0); DISTANCES];
    let (mut at, mut base) = (0, 1);
    while at < DISTANCES {
        let extra = if at < 4 { 0 } else { at / 2 - 1 };
        #[expect(
            clippy::indexing_slicing,
            clippy::cast_possible_truncation,
            reason = "evaluated when this is compiled"
        )]
        {
            table[at] = (base, extra as u8);
        }
        base = if at + 1 < DISTANCES { base + (1 << extra) } else { 0 };
        at += 1;
    }
    table
};

/// Lengths of the codes of a fixed block (section 3.2.6).
pub(super) fn fixed() -> ([u8; LITERALS], [u8; DISTANCES]) {
    let length = |symbol| match symbol {
        0..144 | 280.. => 8,
        144..256 => 9,
        256..280 => 7,
    };
    (std::array::from_fn(length), [5; DISTANCES])
}

/// Finds the symbol of the next bits.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    /// For any so many bits: the symbol that they begin with, shifted, and how long its code is; zero for none.
    table: Vec<u16>,
    bits: u32,
}

impl Decoder {
    /// # Errors
    /// [`DeflateError::Damaged`] if more codes of some length are wanted than there are.
    pub(super) fn new(lengths: &[u8]) -> Result<Self, DeflateError> {
        let bits = lengths.iter().copied().max().map_or(1, u32::from).max(1);
        let mut table = vec![0; 1 << bits];
        let codes = codes(lengths).ok_or(DeflateError::Damaged("codes"))?;
        for ((symbol, length), code) in (0_u16..).zip(lengths).zip(codes).filter(|((_, length), _)| **length > 0) {
            let entry = symbol << 4 | u16::from(*length);
            table.iter_mut().skip(code as usize).step_by(1 << length).for_each(|place| *place = entry);
        }
        Ok(Self { table, bits })
    }

    /// # Errors
    /// [`DeflateError`] if the bits are none of the codes, or the stream ends in one.
    #[inline]
    pub(super) fn symbol(&self, reader: &mut Reader<'_>) -> Result<u16, DeflateError> {
        let ahead = reader.peek() & ((1 << self.bits) - 1);
        #[expect(clippy::cast_possible_truncation, reason = "masked above")]
        let entry = self.table.get(ahead as usize).copied().unwrap_or(0);
        if entry == 0 {
            return Err(DeflateError::Damaged("bits that are no code"));
        }
        reader.skip(u32::from(entry & 15))?;
        Ok(entry >> 4)
    }
}

/// The code of each symbol, with its first bit lowest; `None` if the lengths want more codes than there are.
pub(super) fn codes(lengths: &[u8]) -> Option<Vec<u16>> {
    let mut counts = [0_u32; 16];
    for length in lengths {
        *counts.get_mut(usize::from(*length))? += 1;
    }
    let mut next = [0_u32; 16];
    let mut code = 0;
    for (length, (count, next)) in counts.iter().zip(&mut next).enumerate().skip(1) {
        *next = code;
        code += count;
        if code > 1 << length {
            return None;
        }
        code <<= 1;
    }
    let code = |length: &u8| match length {
        0 => Some(0),
        _ => {
            let next = next.get_mut(usize::from(*length))?;
            let code = u16::try_from(*next).ok()?;
            *next += 1;
            Some(code.reverse_bits() >> (16 - u32::from(*length)))
        }
    };
    lengths.iter().map(code).collect()
}

/// The symbol of a length of 3 to 258, and the bits that follow it with their number.
#[inline]
pub(super) fn of_length(length: u16) -> (u16, u32, u32) {
    let rest = u32::from(length).saturating_sub(3);
    if length == 258 {
        return (285, 0, 0);
    }
    split(rest, 2, 257)
}

/// The same for a distance of 1 to 32,768.
#[inline]
pub(super) fn of_distance(distance: u16) -> (u16, u32, u32) {
    split(u32::from(distance).saturating_sub(1), 1, 0)
}

/// Numbers with the same leading bits share a symbol: the two highest, or the three, each with what is left as bits.
#[inline]
fn split(number: u32, fine: u32, first: u16) -> (u16, u32, u32) {
    let high = number >> fine;
    let extra = (32 - high.leading_zeros()).saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, reason = "at most 29 symbols")]
    let symbol = ((extra << fine) + (number >> extra)) as u16 + first;
    (symbol, number & ((1 << extra) - 1), extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_standard() {
        assert_eq!((LENGTH[0], LENGTH[8], LENGTH[27], LENGTH[28]), ((3, 0), (11, 1), (227, 5), (258, 0)));
        assert_eq!((DISTANCE[0], DISTANCE[4], DISTANCE[29]), ((1, 0), (5, 1), (24_577, 13)));
    }

    #[test]
    fn every_length_and_distance_has_its_symbol() {
        for length in 3..=258_u16 {
            let (symbol, bits, count) = of_length(length);
            let (base, extra) = LENGTH[usize::from(symbol - 257)];
            assert_eq!((u32::from(base) + bits, u32::from(extra)), (length.into(), count), "{length}");
        }
        for distance in 1..=32_768_u16 {
            let (symbol, bits, count) = of_distance(distance);
            let (base, extra) = DISTANCE[usize::from(symbol)];
            assert_eq!((u32::from(base) + bits, u32::from(extra)), (distance.into(), count), "{distance}");
        }
    }

    #[test]
    fn too_many_codes_are_refused() {
        assert!(Decoder::new(&[1, 1, 1]).is_err() && Decoder::new(&[16]).is_err());
        assert_eq!(codes(&[2, 1, 3, 3]), Some(vec![0b01, 0b0, 0b011, 0b111]));
        // A single code leaves bits that are none.
        let decoder = Decoder::new(&[1]).unwrap();
        let mut reader = Reader::new(&[0b10]);
        assert_eq!((decoder.symbol(&mut reader), decoder.symbol(&mut reader).is_err()), (Ok(0), true));
    }
}

//! Bits of a deflate stream, lowest first (RFC 1951 section 3.1.1).

use super::DeflateError;

/// Reads bits. What lies behind the end is an error, never zeros.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    buffer: u64,
    held: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, buffer: 0, held: 0 }
    }

    /// Begins so many bits into the bytes.
    ///
    /// # Errors
    /// [`DeflateError::Truncated`] if there are not that many.
    pub(super) fn from(bytes: &'a [u8], position: u64) -> Result<Self, DeflateError> {
        let at = usize::try_from(position / 8).ok().filter(|at| *at <= bytes.len()).ok_or(DeflateError::Truncated)?;
        let mut reader = Self { bytes, at, buffer: 0, held: 0 };
        reader.take(u32::try_from(position % 8).unwrap_or(0))?;
        Ok(reader)
    }

    /// At least 56 bits in the buffer, or all that are left.
    #[inline]
    fn fill(&mut self) {
        match self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            Some(word) => {
                self.buffer |= u64::from_le_bytes(*word) << self.held;
                let taken = (63 - self.held) >> 3;
                self.at += taken as usize;
                self.held |= 56;
            }
            None => {
                while self.held <= 56
                    && let Some(byte) = self.bytes.get(self.at)
                {
                    self.buffer |= u64::from(*byte) << self.held;
                    self.at += 1;
                    self.held += 8;
                }
            }
        }
    }

    /// The next bits, at least 48 of them if so many are left, with anything behind them.
    #[inline]
    pub(super) fn peek(&mut self) -> u64 {
        if self.held < 48 {
            self.fill();
        }
        self.buffer
    }

    /// Goes over bits that were peeked at.
    ///
    /// # Errors
    /// [`DeflateError::Truncated`] if fewer are left.
    #[inline]
    pub(super) fn skip(&mut self, count: u32) -> Result<(), DeflateError> {
        self.held = self.held.checked_sub(count).ok_or(DeflateError::Truncated)?;
        self.buffer >>= count;
        Ok(())
    }

    /// The next `count` bits, at most 32.
    ///
    /// # Errors
    /// [`DeflateError::Truncated`] if fewer are left.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> Result<u32, DeflateError> {
        if self.held < count {
            self.fill();
        }
        let bits = self.buffer & ((1_u64 << count) - 1);
        self.skip(count)?;
        // At most 32 bits.
        #[expect(clippy::cast_possible_truncation, reason = "masked above")]
        Ok(bits as u32)
    }

    /// How many bits were read.
    pub(super) fn position(&self) -> u64 {
        (self.at as u64) * 8 - u64::from(self.held)
    }

    /// What is left of a byte that was begun, at most seven bits.
    ///
    /// # Errors
    /// None in truth: the bits are there.
    pub(super) fn pad(&mut self) -> Result<u32, DeflateError> {
        self.take(self.held % 8)
    }

    /// Goes over so many whole bytes; to be called between bytes.
    ///
    /// # Errors
    /// [`DeflateError::Truncated`] if fewer are left.
    pub(super) fn skip_bytes(&mut self, count: usize) -> Result<(), DeflateError> {
        let from = self.at - (self.held / 8) as usize;
        let to = from.checked_add(count).filter(|to| *to <= self.bytes.len()).ok_or(DeflateError::Truncated)?;
        (self.at, self.buffer, self.held) = (to, 0, 0);
        Ok(())
    }
}

/// Writes bits.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    buffer: u64,
    held: u32,
}

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Writes `count` bits, at most 32, of which none above them is set.
    #[inline]
    pub(super) fn put(&mut self, bits: u32, count: u32) {
        debug_assert!(count <= 32 && u64::from(bits) >> count == 0);
        self.buffer |= u64::from(bits) << self.held;
        self.held += count;
        if self.held >= 32 {
            self.bytes.extend_from_slice(&self.buffer.to_le_bytes()[..4]);
            self.buffer >>= 32;
            self.held -= 32;
        }
    }

    /// Bits written.
    pub(super) fn position(&self) -> u64 {
        self.bytes.len() as u64 * 8 + u64::from(self.held)
    }

    /// Whole bytes written.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + (self.held / 8) as usize
    }

    /// Fills a byte that was begun with these bits.
    pub(super) fn pad(&mut self, bits: u32) {
        let missing = (8 - self.held % 8) % 8;
        self.put(bits & ((1 << missing) - 1), missing);
    }

    /// Writes whole bytes; to be called between bytes.
    pub(super) fn put_bytes(&mut self, bytes: &[u8]) {
        self.flush();
        self.bytes.extend_from_slice(bytes);
    }

    /// All of it; a byte that was begun ends in zeros.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.pad(0);
        self.flush();
        self.bytes
    }

    fn flush(&mut self) {
        while self.held >= 8 {
            self.bytes.push(self.buffer.to_le_bytes()[0]);
            self.buffer >>= 8;
            self.held -= 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_end_is_an_error() {
        let mut reader = Reader::new(&[0b1010_0101, 0xff]);
        assert_eq!(reader.take(4), Ok(0b0101));
        assert_eq!(reader.take(12), Ok(0b1111_1111_1010));
        assert_eq!((reader.position(), reader.take(1)), (16, Err(DeflateError::Truncated)));
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!((reader.take(3), reader.pad(), reader.skip_bytes(1)), (Ok(1), Ok(0), Ok(())));
        assert_eq!((reader.position(), reader.take(8)), (16, Ok(3)));
        assert_eq!(reader.skip_bytes(1), Err(DeflateError::Truncated));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pieces in prop::collection::vec((any::<u32>(), 0..=32_u32), 0..200)) {
            let pieces: Vec<_> = pieces.into_iter().map(|(bits, n)| ((u64::from(bits) & ((1 << n) - 1)) as u32, n)).collect();
            let mut writer = Writer::default();
            pieces.iter().for_each(|(bits, count)| writer.put(*bits, *count));
            let total: u64 = pieces.iter().map(|(_, count)| u64::from(*count)).sum();
            prop_assert_eq!(writer.len() as u64, total / 8);
            let bytes = writer.finish();
            prop_assert_eq!(bytes.len() as u64, total.div_ceil(8));
            let mut reader = Reader::new(&bytes);
            for (bits, count) in pieces {
                prop_assert_eq!(reader.take(count), Ok(bits));
            }
            prop_assert_eq!(reader.position(), total);
        }
    }
}

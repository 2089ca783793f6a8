//! A request and an answer of HTTP/3 as bytes (RFC 9114, RFC 9204), as far as a client that only counts bodies needs
//! them: no field but the status is looked at.

use anyhow::{Context as _, bail, ensure};

use super::super::request::Exchange;

const DATA: u64 = 0;
const HEADERS: u64 = 1;

/// The control stream of a client that wants nothing special: its kind, and empty SETTINGS.
pub(crate) const CONTROL: [u8; 3] = [0, 4, 0];

/// Entries of the static table of QPACK that begin an answer: `:status` and its value (RFC 9204 appendix A).
const STATUS: [(u8, u16); 2] = [(0xd9, 200), (0xda, 304)];

/// The request as one HEADERS frame.
pub(crate) fn request(exchange: &Exchange) -> anyhow::Result<Vec<u8>> {
    // `:method: GET` and `:scheme: https`, whole; then the names `:authority` and `:path`.
    let mut section = vec![0, 0, 0xd1, 0xd7, 0x50];
    string(0, 0x7f, &exchange.authority, &mut section)?;
    section.push(0x51);
    string(0, 0x7f, exchange.path, &mut section)?;
    for (name, value) in exchange.headers() {
        string(0x20, 0x07, name, &mut section)?;
        string(0, 0x7f, value, &mut section)?;
    }
    let length = u16::try_from(section.len()).ok().filter(|length| *length < 1 << 14).context("a long request")?;
    Ok([&[1][..], &(1 << 14 | length).to_be_bytes(), &section].concat())
}

/// A string whose length begins in the lowest bits of its first byte, as many as are set in `most`.
fn string(first: u8, most: u8, text: &str, into: &mut Vec<u8>) -> anyhow::Result<()> {
    match text.len().checked_sub(usize::from(most)) {
        None => into.push(first | u8::try_from(text.len())?),
        Some(more) => {
            into.push(first | most);
            ensure!(more < 0x80, "a long value");
            into.push(u8::try_from(more)?);
        }
    }
    into.extend_from_slice(text.as_bytes());
    Ok(())
}

/// An answer, counted as it comes.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// A frame that is not complete, but for DATA.
    held: Vec<u8>,
    /// Bytes to come of a DATA frame.
    left: u64,
    pub(crate) status: Option<u16>,
    pub(crate) body: u64,
}

impl Answer {
    /// Takes the next piece of the stream.
    pub(crate) fn feed(&mut self, mut piece: &[u8]) -> anyhow::Result<()> {
        loop {
            let some = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
            piece = piece.get(some..).unwrap_or_default();
            self.left -= some as u64;
            self.body += some as u64;
            if piece.is_empty() {
                return Ok(());
            }
            let used = if self.held.is_empty() {
                self.frame(piece)?
            } else {
                let before = self.held.len();
                let mut held = std::mem::take(&mut self.held);
                held.extend_from_slice(piece);
                let used = self.frame(&held)?;
                if used == 0 {
                    self.held = held;
                    return Ok(());
                }
                used.saturating_sub(before)
            };
            if used == 0 {
                self.held = piece.to_vec();
                return Ok(());
            }
            piece = piece.get(used..).unwrap_or_default();
        }
    }

    /// The frame that `bytes` begin with: of DATA the header, of others all; gives how long that is, 0 if it is not
    /// complete.
    fn frame(&mut self, bytes: &[u8]) -> anyhow::Result<usize> {
        let mut rest = bytes;
        let (Some(kind), Some(length)) = (number(&mut rest), number(&mut rest)) else { return Ok(0) };
        let header = bytes.len() - rest.len();
        if kind == DATA {
            self.left = length;
            return Ok(header);
        }
        let Some(payload) = usize::try_from(length).ok().and_then(|length| rest.get(..length)) else { return Ok(0) };
        if kind == HEADERS && self.status.is_none() {
            let [0, 0, first, ..] = payload else { bail!("a head that needs a dynamic table") };
            let known = STATUS.iter().find(|(index, _)| index == first);
            self.status = Some(known.context("a status that is neither 200 nor 304")?.1);
        }
        Ok(header + payload.len())
    }
}

/// A number (RFC 9000 section 16), taken from `bytes`.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    let (low, rest) = rest.split_at_checked((1 << (first >> 6)) - 1)?;
    *bytes = rest;
    Some(low.iter().fold(u64::from(first & 0x3f), |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::super::super::request::sample;
    use super::*;

    #[test]
    fn a_request() {
        let expected = b"\x01\x40\x2b\0\0\xd1\xd7\x50\x0blocalhost:1\x51\x02/a\x27\x08accept-encoding\x04gzip";
        assert_eq!(request(&sample(5)).unwrap(), expected.as_slice());
    }

    #[test]
    fn answers_in_any_pieces() {
        let bytes = b"\x21\x02ab\x01\x04\0\0\xd9\xe0\0\x03abc\0\0\0\x40\x04defg";
        for piece in 1..=bytes.len() {
            let mut answer = Answer::default();
            bytes.chunks(piece).for_each(|piece| answer.feed(piece).unwrap());
            assert_eq!((answer.status, answer.body), (Some(200), 7), "{piece}");
        }
        assert!(Answer::default().feed(b"\x01\x03\0\0\xdb").is_err(), "404");
    }
}

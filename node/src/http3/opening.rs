//! The beginning of a request's stream, up to the end of its head (RFC 9114 sections 4.1 and 7): bytes in, a field
//! section out.
//!
//! The head comes whole in the first piece nearly always: then nothing is copied. Frames that nobody knows are skipped
//! without being kept, and one that says it is larger than any head is not waited for.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    code::Code,
    frame::{Header, is_misplaced_before_head, kind},
    limits::HEAD_BYTES,
};

/// What has come of a request whose head is not complete.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// A frame that is not complete, from its header on.
    held: BytesMut,
    /// Bytes to come of a frame that is skipped.
    skip: u64,
}

/// A head that is complete.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// The field section.
    pub(super) section: Bytes,
    /// True if something came behind it already.
    pub(super) goes_on: bool,
}

/// Bytes that are no beginning of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The head is larger than any that is read.
    TooLarge,
    /// The stream is of no use.
    Stream(Code),
    /// Nor is the connection.
    Connection(Code),
}

/// What a look at bytes has found.
enum Scan {
    Section {
        at: usize,
        end: usize,
    },
    /// Everything before this is done with, and more is needed.
    More(usize),
}

impl Opening {
    /// Takes the next piece of the stream.
    ///
    /// # Errors
    ///
    /// A [`Fault`]; nothing more is read then.
    pub(super) fn feed(&mut self, piece: Bytes) -> Result<Option<Opened>, Fault> {
        if self.held.is_empty() {
            return Ok(match scan(&piece, &mut self.skip)? {
                Scan::Section { at, end } => Some(Opened { section: piece.slice(at..end), goes_on: end < piece.len() }),
                Scan::More(done) => {
                    // A copy: a piece may be a few bytes of a large buffer, all of which it keeps.
                    self.held.extend_from_slice(piece.get(done..).unwrap_or_default());
                    None
                }
            });
        }
        self.held.extend_from_slice(&piece);
        Ok(match scan(&self.held, &mut self.skip)? {
            Scan::Section { at, end } => {
                let whole = self.held.split().freeze();
                Some(Opened { section: whole.slice(at..end), goes_on: end < whole.len() })
            }
            Scan::More(done) => {
                self.held.advance(done);
                None
            }
        })
    }

    /// What it means that the stream ends here.
    pub(super) fn ended(&self) -> Fault {
        if self.held.is_empty() && self.skip == 0 {
            Fault::Stream(Code::RequestIncomplete)
        } else {
            Fault::Connection(Code::Frame)
        }
    }
}

fn scan(bytes: &[u8], skip: &mut u64) -> Result<Scan, Fault> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        if *skip > 0 {
            let gone = usize::try_from(*skip).unwrap_or(usize::MAX).min(rest.len());
            at += gone;
            *skip -= gone as u64;
            if *skip > 0 || gone == rest.len() {
                return Ok(Scan::More(at));
            }
            continue;
        }
        let Some(header) = Header::read(rest) else { return Ok(Scan::More(at)) };
        if header.kind == kind::HEADERS {
            let end = header.end().filter(|end| *end <= HEAD_BYTES).ok_or(Fault::TooLarge)?;
            return Ok(if rest.len() < end {
                Scan::More(at)
            } else {
                Scan::Section { at: at + header.size, end: at + end }
            });
        }
        if is_misplaced_before_head(header.kind) {
            return Err(Fault::Connection(Code::FrameUnexpected));
        }
        at += header.size;
        *skip = header.len;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http3::frame::put_varint;

    fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_varint(kind, &mut bytes);
        put_varint(payload.len() as u64, &mut bytes);
        bytes.extend_from_slice(payload);
        bytes
    }

    /// The section, whatever pieces it comes in; or the fault.
    fn read(bytes: &[u8], piece: usize) -> Result<Opened, Fault> {
        let mut opening = Opening::default();
        for piece in bytes.chunks(piece) {
            if let Some(opened) = opening.feed(Bytes::copy_from_slice(piece))? {
                return Ok(opened);
            }
        }
        Err(opening.ended())
    }

    #[test]
    fn a_head_in_any_pieces() {
        let section = b"\0\0 what is asked".as_slice();
        let grease = [frame(0x21, b"whatever"), frame(0x21, b""), frame(0x40 * 1000 + 1, &[7; 300])].concat();
        let bytes = [grease, frame(kind::HEADERS, section)].concat();
        for piece in 1..=bytes.len() {
            let opened = read(&bytes, piece).unwrap();
            assert_eq!((&opened.section[..], opened.goes_on), (section, false), "{piece}");
        }
        let more = [bytes, frame(kind::DATA, b"content")].concat();
        assert!(read(&more, more.len()).unwrap().goes_on);
    }

    #[test]
    fn what_may_not_come_before_it() {
        for kind in [0, 2, 3, 4, 5, 6, 7, 8, 9, 0xd, 0xf_0700, 0xf_0701] {
            let bytes = [frame(kind, b""), frame(kind::HEADERS, b"\0\0")].concat();
            assert_eq!(read(&bytes, 99), Err(Fault::Connection(Code::FrameUnexpected)), "{kind}");
        }
    }

    #[test]
    fn streams_that_end_too_soon() {
        assert_eq!(read(b"", 1), Err(Fault::Stream(Code::RequestIncomplete)));
        assert_eq!(read(&frame(0x21, b"a"), 1), Err(Fault::Stream(Code::RequestIncomplete)));
        for cut in [&[1][..], &[1, 5, 0], &[0x21, 5, 0], &[0x40]] {
            assert_eq!(read(cut, 1), Err(Fault::Connection(Code::Frame)), "{cut:?}");
        }
    }

    #[test]
    fn a_head_beyond_all_limits_is_not_waited_for() {
        assert_eq!(read(&[1, 0xbf, 0xff, 0xff, 0xff], 9), Err(Fault::TooLarge));
        assert_eq!(read(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 9), Err(Fault::TooLarge));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1..50_usize) {
            let whole = read(&bytes, usize::MAX);
            match (read(&bytes, piece), whole) {
                (Ok(pieces), Ok(whole)) => prop_assert_eq!(pieces.section, whole.section),
                (pieces, whole) => prop_assert_eq!(pieces, whole),
            }
        }
    }
}

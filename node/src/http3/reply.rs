//! One answer on its way: its head as bytes, its body without a copy, and whether it arrived.
//!
//! An answer that ends in any other way than by [`Reply::send`] is reset, so that no client takes a part for the whole
//! (RFC 9114 section 4.1.1).

use bytes::Bytes;
use h3::error::Code;
use quinn::{ConnectionError, SendStream, StoppedError, VarInt, WriteError};

use super::{limits::PIECE, priority, qpack, quic::code};
use crate::{
    block::Block,
    body::{Body, Urgency},
    engine::Sink,
};

/// Types of frames (RFC 9114 section 7.2).
const DATA: u8 = 0;
const HEADERS: u8 = 1;

/// The first byte of a length of four bytes (RFC 9000 section 16).
const FOUR_BYTES: u32 = 0x8000_0000;

/// What a frame has before its payload if its length is not known when it begins.
const BEFORE: usize = 5;

/// The longest frame header: a type and eight bytes of length.
const LONGEST: usize = 9;

/// What most heads fit in.
const USUAL_HEAD: usize = 1024;

/// Collects the head of an answer as a HEADERS frame.
pub(super) struct Encoder {
    frame: Vec<u8>,
    bodiless: bool,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { frame: Vec::with_capacity(USUAL_HEAD), bodiless: false }
    }

    /// The frame, and whether a body may follow (RFC 9110 section 6.4.1).
    ///
    /// `None` if nothing was collected, or more than a frame of this size can hold.
    fn finish(mut self) -> Option<(Vec<u8>, bool)> {
        let len = u32::try_from(self.frame.len().checked_sub(BEFORE)?).ok().filter(|len| *len < 1 << 30)?;
        let mut before = [HEADERS; BEFORE];
        before[1..].copy_from_slice(&(FOUR_BYTES | len).to_be_bytes());
        self.frame.get_mut(..BEFORE)?.copy_from_slice(&before);
        Some((self.frame, !self.bodiless))
    }
}

impl Sink for Encoder {
    fn head(&mut self, status: u16, fields: &[&Block]) {
        self.frame.clear();
        self.frame.extend_from_slice(&[0; BEFORE]);
        self.frame.extend_from_slice(&qpack::PREFIX);
        qpack::status(status, &mut self.frame);
        for (name, value) in fields.iter().flat_map(|block| block.fields()) {
            qpack::encode(name, value, &mut self.frame);
        }
        self.bodiless = matches!(status, 100..=199 | 204 | 304);
    }
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client has all of it, or closed the connection when all of it was handed over.
    Delivered,
    /// The client did not want it any more, or nothing at all.
    Cancelled,
    /// The connection ended in another way, or there was nothing to be sent.
    CutOff,
}

/// The sending half of a request.
pub(super) struct Reply {
    stream: SendStream,
    ended: bool,
}

impl Reply {
    pub(super) fn new(stream: SendStream) -> Self {
        Self { stream, ended: false }
    }

    /// Sends an answer, and waits until the client has it. `asked` is how soon the client wants it; `bodiless` answers
    /// have only a head.
    ///
    /// The head, the frame of the whole body and its first piece are handed over together, so that they share packets.
    /// No deadline: a client that takes nothing is told to go by its connection.
    pub(super) async fn send(
        mut self,
        head: Encoder,
        mut body: Body,
        asked: Option<Urgency>,
        bodiless: bool,
    ) -> Ending {
        let Some((mut frame, may_follow)) = head.finish() else { return Ending::CutOff };
        if bodiless || !may_follow {
            body = Body::empty();
        }
        let order = priority::order(asked.unwrap_or(body.urgency()));
        if order != 0 {
            // Only a stream that is gone has none, and writing says so.
            let _ = self.stream.set_priority(order);
        }
        if body.left() > 0 {
            data_frame(body.left(), &mut frame);
        }
        match self.write(frame.into(), body).await {
            Ok(()) => {}
            Err(WriteError::Stopped(_)) => return self.cancel(),
            Err(WriteError::ConnectionLost(error)) if is_of_client(&error) => return Ending::Cancelled,
            Err(_) => return Ending::CutOff,
        }
        self.ended = true;
        if self.stream.finish().is_err() {
            return Ending::CutOff;
        }
        match self.stream.stopped().await {
            Ok(None) => Ending::Delivered,
            Ok(Some(_)) => self.cancel(),
            // Whoever has everything may go without a word of thanks.
            Err(StoppedError::ConnectionLost(error)) if is_of_client(&error) => Ending::Delivered,
            Err(_) => Ending::CutOff,
        }
    }

    async fn write(&mut self, head: Bytes, mut body: Body) -> Result<(), WriteError> {
        match body.take(PIECE) {
            Some(piece) => self.stream.write_all_chunks(&mut [head, piece]).await?,
            None => self.stream.write_chunk(head).await?,
        }
        while let Some(piece) = body.take(PIECE) {
            self.stream.write_chunk(piece).await?;
        }
        Ok(())
    }

    /// Ends without an answer.
    pub(super) fn reset(&mut self, reason: VarInt) {
        self.ended = true;
        let _ = self.stream.reset(reason);
    }

    /// What is left of an answer that the client does not want: nothing (RFC 9000 section 3.5).
    fn cancel(&mut self) -> Ending {
        self.reset(code(Code::H3_REQUEST_CANCELLED));
        Ending::Cancelled
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.ended {
            self.reset(code(Code::H3_INTERNAL_ERROR));
        }
    }
}

/// True if the client closed the connection.
fn is_of_client(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_))
}

/// Appends the header of a DATA frame with this many bytes.
fn data_frame(len: u64, into: &mut Vec<u8>) {
    into.reserve(LONGEST);
    into.push(DATA);
    let eight = (3 << 62) | len;
    let shorter = |mark: u64, bytes: usize| {
        let all = (mark | len).to_be_bytes();
        all.into_iter().skip(8 - bytes)
    };
    match len {
        0..0x40 => into.extend(shorter(0, 1)),
        0x40..0x4000 => into.extend(shorter(0x4000, 2)),
        0x4000..0x4000_0000 => into.extend(shorter(0x8000_0000, 4)),
        _ => into.extend(eight.to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9000 appendix A.1.
    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        let frame = |len| {
            let mut bytes = Vec::new();
            data_frame(len, &mut bytes);
            bytes
        };
        assert_eq!(frame(37), [0, 0x25]);
        assert_eq!(frame(15_293), [0, 0x7b, 0xbd]);
        assert_eq!(frame(494_878_333), [0, 0x9d, 0x7f, 0x3e, 0x7d]);
        assert_eq!(frame(151_288_809_941_952_652), [0, 0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]);
    }

    #[test]
    fn a_head_is_one_frame() {
        let block = Block::new([("etag", "\"a\""), ("accept-ranges", "bytes")]);
        let mut encoder = Encoder::new();
        encoder.head(200, &[&block]);
        let (frame, may_follow) = encoder.finish().expect("a head");
        assert_eq!(frame, [&[1, 0x80, 0, 0, 9, 0, 0, 0xd9, 0x57, 3][..], b"\"a\"", &[0xe0]].concat());
        assert!(may_follow);
    }

    #[test]
    fn some_answers_have_no_body() {
        for (status, expected) in [(200, true), (204, false), (304, false), (404, true), (416, true)] {
            let mut encoder = Encoder::new();
            encoder.head(status, &[]);
            assert_eq!(encoder.finish().map(|(_, may_follow)| may_follow), Some(expected), "{status}");
        }
        assert!(Encoder::new().finish().is_none());
    }
}

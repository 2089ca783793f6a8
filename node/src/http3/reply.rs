//! One answer on its way: its head as bytes, its body without a copy, and whether it arrived.
//!
//! An answer that ends in any other way than by [`Reply::send`] is reset, so that no client takes a part for the whole
//! (RFC 9114 section 4.1.1).

use std::pin::pin;

use bytes::Bytes;
use quinn::{ConnectionError, SendStream, StoppedError, WriteError};

use super::{
    code::Code,
    frame::{kind, put_varint},
    limits::PIECE,
    priority, qpack,
    session::UnderWay,
};
use crate::{
    block::Block,
    body::{Body, Urgency},
    engine::Sink,
};

/// The kind of a HEADERS frame, as it is written.
const HEADERS: u8 = 1;

/// The first byte of a length of four bytes (RFC 9000 section 16).
const FOUR_BYTES: u32 = 0x8000_0000;

/// What a frame has before its payload if its length is not known when it begins.
const BEFORE: usize = 5;

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
        for block in fields {
            self.frame.extend_from_slice(block.section());
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
    /// have only a head. `under_way` knows whether the client changes its mind.
    ///
    /// The head, the frame of the whole body and its first piece are handed over together, so that they share packets.
    /// No deadline: a client that takes nothing is told to go by its connection.
    pub(super) async fn send(
        mut self,
        head: Encoder,
        mut body: Body,
        asked: Option<Urgency>,
        bodiless: bool,
        under_way: &UnderWay,
    ) -> Ending {
        let Some((mut frame, may_follow)) = head.finish() else { return Ending::CutOff };
        if bodiless || !may_follow {
            body = Body::empty();
        }
        let urgency = asked.unwrap_or(body.urgency());
        let is_large = body.left() > PIECE as u64;
        if body.left() > 0 {
            put_varint(kind::DATA, &mut frame);
            put_varint(body.left(), &mut frame);
        }
        // Writing does not hear of it while the whole connection has no room.
        let mut stopped = pin!(self.stream.stopped());
        let written = tokio::select! {
            biased;
            written = self.write(frame.into(), body, urgency, under_way) => written,
            Ok(Some(reason)) = &mut stopped => Err(WriteError::Stopped(reason)),
        };
        match written {
            Ok(()) => {}
            Err(WriteError::Stopped(_)) => return self.cancel(),
            Err(WriteError::ConnectionLost(error)) if is_of_client(&error) => return Ending::Cancelled,
            Err(_) => return Ending::CutOff,
        }
        self.ended = true;
        if self.stream.finish().is_err() {
            return Ending::CutOff;
        }
        let delivered = if is_large { self.reordered(stopped, urgency, under_way).await } else { stopped.await };
        match delivered {
            Ok(None) => Ending::Delivered,
            Ok(Some(_)) => self.cancel(),
            // Whoever has everything may go without a word of thanks.
            Err(StoppedError::ConnectionLost(error)) if is_of_client(&error) => Ending::Delivered,
            Err(_) => Ending::CutOff,
        }
    }

    async fn write(
        &mut self,
        head: Bytes,
        mut body: Body,
        urgency: Urgency,
        under_way: &UnderWay,
    ) -> Result<(), WriteError> {
        let mut order = 0;
        self.order(under_way.reordered().unwrap_or(urgency), &mut order);
        let handed = |len: usize| under_way.session().desk().handed(len as u64);
        match body.take(PIECE) {
            Some(piece) => {
                let len = piece.len();
                self.stream.write_all_chunks(&mut [head, piece]).await?;
                handed(len);
            }
            None => self.stream.write_chunk(head).await?,
        }
        while body.left() > 0 {
            under_way.session().turn().await;
            let Some(piece) = body.take(PIECE) else { break };
            self.order(under_way.reordered().unwrap_or(urgency), &mut order);
            let len = piece.len();
            self.stream.write_chunk(piece).await?;
            handed(len);
        }
        Ok(())
    }

    /// Waits for the delivery of what was handed over, and still sends it sooner or later as the client wishes.
    async fn reordered<T>(&self, delivered: impl Future<Output = T>, urgency: Urgency, under_way: &UnderWay) -> T {
        let mut delivered = pin!(delivered);
        // Whatever it was when the last piece was handed over.
        let mut order = i32::MAX;
        self.order(under_way.reordered().unwrap_or(urgency), &mut order);
        loop {
            tokio::select! {
                biased;
                delivered = &mut delivered => return delivered,
                () = under_way.session().reordering() => {
                    self.order(under_way.reordered().unwrap_or(urgency), &mut order);
                }
            }
        }
    }

    /// Sends sooner or later than `now`, if that is another order.
    fn order(&self, urgency: Urgency, now: &mut i32) {
        let order = priority::order(urgency);
        if order != std::mem::replace(now, order) {
            // Only a stream that is gone has none, and writing says so.
            let _ = self.stream.set_priority(order);
        }
    }

    /// Ends without an answer.
    pub(super) fn reset(&mut self, reason: Code) {
        self.ended = true;
        let _ = self.stream.reset(reason.into());
    }

    /// What is left of an answer that the client does not want: nothing (RFC 9000 section 3.5).
    fn cancel(&mut self) -> Ending {
        self.reset(Code::RequestCancelled);
        Ending::Cancelled
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.ended {
            self.reset(Code::Internal);
        }
    }
}

/// True if the client closed the connection.
fn is_of_client(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_))
}

#[cfg(test)]
mod tests {
    use super::*;

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

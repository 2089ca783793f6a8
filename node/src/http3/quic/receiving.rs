//! Streams of a client, counted before anyone keeps what they bring.
//!
//! The layer above keeps a frame until it is complete, however long that frame says it is. So bytes are counted before
//! it sees them, and a client that sends more than any head needs gets an error instead of memory.

use std::{
    cell::Cell,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use h3::{
    error::Code,
    quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId},
};
use quinn::{ConnectionError, ReadError, VarInt};

use super::{code, lost_with_stream, stream_id};
use crate::http3::limits::{CONTROL_BYTES, CONTROL_BYTES_IN_ALL, CONTROL_BYTES_OF_REQUEST, HEADS_BYTES, PIECE_COST};

/// What the streams of a connection share.
pub(in crate::http3) struct Shared {
    pub(super) quic: quinn::Connection,
    /// The sending half of the request that was accepted last.
    pub(super) newest: Cell<Option<quinn::SendStream>>,
    /// Room for heads that are not read to their end.
    heads: Cell<usize>,
    /// Room for what else the client says now, and what will be added to it over the connection's life.
    control: Cell<usize>,
    later: Cell<usize>,
}

impl Shared {
    pub(in crate::http3) fn new(quic: quinn::Connection) -> Rc<Self> {
        let (control, later) = (Cell::new(CONTROL_BYTES), Cell::new(CONTROL_BYTES_IN_ALL - CONTROL_BYTES));
        Rc::new(Self { quic, newest: Cell::default(), heads: Cell::new(HEADS_BYTES), control, later })
    }

    /// The sending half of the request that was accepted last, once.
    pub(in crate::http3) fn newest(&self) -> Option<quinn::SendStream> {
        self.newest.take()
    }

    /// Makes room for what a client may say about one more request.
    pub(super) fn widen(&self) {
        let taken = CONTROL_BYTES.saturating_sub(self.control.get());
        let more = CONTROL_BYTES_OF_REQUEST.min(taken).min(self.later.get());
        self.control.set(self.control.get() + more);
        self.later.set(self.later.get() - more);
    }
}

/// What a stream is for.
pub(super) enum Kind {
    /// What the client says beside requests.
    Control,
    /// How many bytes may still come, and how many of the connection's are taken by those that came.
    Request { left: usize, held: usize },
}

/// A stream of the client, counted.
pub(in crate::http3) struct Receiving {
    stream: quinn::RecvStream,
    pub(super) id: StreamId,
    kind: Kind,
    pub(super) shared: Rc<Shared>,
}

impl Receiving {
    pub(super) fn new(
        stream: quinn::RecvStream,
        kind: Kind,
        shared: &Rc<Shared>,
    ) -> Result<Self, ConnectionErrorIncoming> {
        let id = stream_id(stream.id())?;
        Ok(Self { stream, id, kind, shared: Rc::clone(shared) })
    }

    /// Counts a piece of `len` bytes.
    ///
    /// # Errors
    /// If there is no room for it: one request is too large, or the whole connection is.
    fn take(&mut self, len: usize) -> Result<(), StreamErrorIncoming> {
        let shared = &self.shared;
        let cost = len.saturating_add(PIECE_COST);
        let excessive = Code::H3_EXCESSIVE_LOAD;
        match &mut self.kind {
            Kind::Request { left, held } => {
                let (Some(rest), Some(room)) = (left.checked_sub(len), shared.heads.get().checked_sub(cost)) else {
                    return Err(StreamErrorIncoming::StreamTerminated { error_code: excessive.value() });
                };
                *left = rest;
                *held += cost;
                shared.heads.set(room);
            }
            Kind::Control => {
                let Some(room) = shared.control.get().checked_sub(cost) else {
                    shared.quic.close(code(excessive), b"too much said beside requests");
                    return Err(lost_with_stream(ConnectionError::LocallyClosed));
                };
                shared.control.set(room);
            }
        }
        Ok(())
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        // This future has no state: a reader that has to wait is registered with the stream.
        let chunk = ready!(pin!(self.stream.read_chunk(usize::MAX, true)).poll(cx))?;
        Poll::Ready(Ok(chunk.map(|chunk| chunk.bytes)))
    }
}

impl quic::RecvStream for Receiving {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let Some(bytes) = ready!(self.poll_chunk(cx)).map_err(unread)? else { return Poll::Ready(Ok(None)) };
        self.take(bytes.len())?;
        // A copy: the chunk may be a few bytes of a large receive buffer, all of which it keeps.
        Poll::Ready(Ok(Some(Bytes::copy_from_slice(&bytes))))
    }

    fn stop_sending(&mut self, reason: u64) {
        let _ = self.stream.stop(VarInt::from_u64(reason).unwrap_or(VarInt::MAX));
    }

    fn recv_id(&self) -> StreamId {
        self.id
    }
}

impl Drop for Receiving {
    /// What else a request has is not read, and the client is told so (RFC 9114 section 4.1). Most requests have
    /// nothing else: to have seen that saves the telling.
    fn drop(&mut self) {
        let Kind::Request { held, .. } = self.kind else { return };
        self.shared.heads.set(self.shared.heads.get() + held);
        let ended = self.poll_chunk(&mut Context::from_waker(Waker::noop()));
        if !matches!(ended, Poll::Ready(Ok(None) | Err(_))) {
            let _ = self.stream.stop(code(Code::H3_NO_ERROR));
        }
    }
}

fn unread(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(reason) => StreamErrorIncoming::StreamTerminated { error_code: reason.into_inner() },
        ReadError::ConnectionLost(error) => lost_with_stream(error),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}

//! QUIC as the HTTP/3 layer sees it: its traits over quinn, and a bound on what it keeps of a client's bytes.
//!
//! The layer reads: settings, control frames, heads of requests. It is not given the sending half of a request, because
//! answers are written past it, in the bytes that go on the wire and without a copy. So its own writes on a request are
//! dropped here, and its verdicts come back as errors, which [`super::request`] answers.
//!
//! What it is given to read, [`receiving`] counts.

mod receiving;

use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt, stream};
use h3::{
    error::Code,
    quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf},
};
use quinn::{ConnectionError, VarInt, WriteError};

pub(super) use self::receiving::Shared;
use self::receiving::{Kind, Receiving};
use super::limits::HEAD_BYTES;

/// A code as QUIC carries it.
pub(super) fn code(code: Code) -> VarInt {
    VarInt::from_u64(code.value()).unwrap_or(VarInt::MAX)
}

/// Something that is asked for again and again. One allocation for a connection's life, and wakers that stay.
type Again<T> = Pin<Box<dyn Stream<Item = Result<T, ConnectionError>>>>;

fn opening(quic: &quinn::Connection) -> Again<quinn::SendStream> {
    Box::pin(stream::unfold(quic.clone(), |quic| async { Some((quic.open_uni().await, quic)) }))
}

/// A connection, from the side that answers.
pub(super) struct Connection {
    shared: Rc<Shared>,
    requests: Again<(quinn::SendStream, quinn::RecvStream)>,
    streams: Again<quinn::RecvStream>,
    opener: Opener,
}

impl Connection {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        let quic = &shared.quic;
        Self {
            requests: Box::pin(stream::unfold(quic.clone(), |quic| async { Some((quic.accept_bi().await, quic)) })),
            streams: Box::pin(stream::unfold(quic.clone(), |quic| async { Some((quic.accept_uni().await, quic)) })),
            opener: Opener { quic: quic.clone(), opening: opening(quic) },
            shared,
        }
    }
}

impl quic::Connection<Bytes> for Connection {
    type RecvStream = Receiving;
    type OpenStreams = Opener;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Receiving, ConnectionErrorIncoming>> {
        let accepted = ready!(self.streams.poll_next_unpin(cx)).unwrap_or(Err(ConnectionError::LocallyClosed));
        let stream = accepted.map_err(lost)?;
        Poll::Ready(Receiving::new(stream, Kind::Control, &self.shared))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Request, ConnectionErrorIncoming>> {
        let accepted = ready!(self.requests.poll_next_unpin(cx)).unwrap_or(Err(ConnectionError::LocallyClosed));
        let (send, receive) = accepted.map_err(lost)?;
        self.shared.newest.set(Some(send));
        self.shared.widen();
        let receiving = Receiving::new(receive, Kind::Request { left: HEAD_BYTES, held: 0 }, &self.shared)?;
        Poll::Ready(Ok(Request(receiving)))
    }

    fn opener(&self) -> Opener {
        Opener { quic: self.shared.quic.clone(), opening: opening(&self.shared.quic) }
    }
}

impl quic::OpenStreams<Bytes> for Connection {
    type BidiStream = Request;
    type SendStream = Control;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Request, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Control, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opener.close(code, reason);
    }
}

/// Opens streams of our own: control streams, never requests.
pub(super) struct Opener {
    quic: quinn::Connection,
    opening: Again<quinn::SendStream>,
}

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = Request;
    type SendStream = Control;

    fn poll_open_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<Request, StreamErrorIncoming>> {
        let connection_error = ConnectionErrorIncoming::InternalError("servers ask for nothing".to_owned());
        Poll::Ready(Err(StreamErrorIncoming::ConnectionErrorIncoming { connection_error }))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Control, StreamErrorIncoming>> {
        let opened = ready!(self.opening.poll_next_unpin(cx)).unwrap_or(Err(ConnectionError::LocallyClosed));
        let stream = opened.map_err(lost_with_stream)?;
        let id = stream_id(stream.id())
            .map_err(|connection_error| StreamErrorIncoming::ConnectionErrorIncoming { connection_error })?;
        Poll::Ready(Ok(Control { stream, id, writing: None }))
    }

    fn close(&mut self, reason: Code, text: &[u8]) {
        self.quic.close(code(reason), text);
    }
}

/// A stream of our own, which says little: settings, and that the connection ends.
pub(super) struct Control {
    stream: quinn::SendStream,
    id: StreamId,
    writing: Option<WriteBuf<Bytes>>,
}

impl quic::SendStream<Bytes> for Control {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        if let Some(data) = &mut self.writing {
            while data.has_remaining() {
                let written = ready!(Pin::new(&mut self.stream).poll_write(cx, data.chunk())).map_err(unwritten)?;
                data.advance(written);
            }
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if self.writing.is_some() {
            let connection_error = ConnectionErrorIncoming::InternalError("written before it was ready".to_owned());
            return Err(StreamErrorIncoming::ConnectionErrorIncoming { connection_error });
        }
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        Poll::Ready(self.stream.finish().map_err(|error| StreamErrorIncoming::Unknown(Box::new(error))))
    }

    fn reset(&mut self, reason: u64) {
        let _ = self.stream.reset(VarInt::from_u64(reason).unwrap_or(VarInt::MAX));
    }

    fn send_id(&self) -> StreamId {
        self.id
    }
}

/// A request: its receiving half, and a sending half that sends nothing.
pub(super) struct Request(Receiving);

impl quic::RecvStream for Request {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.0.poll_data(cx)
    }

    fn stop_sending(&mut self, reason: u64) {
        self.0.stop_sending(reason);
    }

    fn recv_id(&self) -> StreamId {
        self.0.id
    }
}

impl quic::SendStream<Bytes> for Request {
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, _: T) -> Result<(), StreamErrorIncoming> {
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        Poll::Ready(Ok(()))
    }

    /// Only a request that is rejected before anyone sees it is reset from here.
    fn reset(&mut self, reason: u64) {
        let Some(mut newest) = self.0.shared.newest.take() else { return };
        if reason == Code::H3_REQUEST_REJECTED.value() && u64::from(newest.id()) == self.0.id.into_inner() {
            let _ = newest.reset(code(Code::H3_REQUEST_REJECTED));
        } else {
            self.0.shared.newest.set(Some(newest));
        }
    }

    fn send_id(&self) -> StreamId {
        self.0.id
    }
}

fn stream_id(id: quinn::StreamId) -> Result<StreamId, ConnectionErrorIncoming> {
    let invalid = |_| ConnectionErrorIncoming::InternalError("stream id beyond QUIC".to_owned());
    StreamId::try_from(u64::from(id)).map_err(invalid)
}

fn lost(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(closed) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: closed.error_code.into_inner() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other)),
    }
}

fn lost_with_stream(error: ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error: lost(error) }
}

fn unwritten(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(reason) => StreamErrorIncoming::StreamTerminated { error_code: reason.into_inner() },
        WriteError::ConnectionLost(error) => lost_with_stream(error),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}

//! Streams of a client, counted before anyone keeps what they bring: a client that sends more than any head needs gets
//! an error instead of memory.

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use quinn::{ReadError, RecvStream};

use super::{
    aside::{Aside, Flow, Opened},
    code::Code,
    counters::count,
    limits::{CONTROL_BYTES, CONTROL_BYTES_OF_REQUEST, HEAD_BYTES, HEADS_BYTES, PIECE_COST},
    session::Session,
};

/// What the streams of a connection share.
pub(super) struct Room {
    quic: quinn::Connection,
    session: Rc<Session>,
    /// Room for heads that are not read to their end.
    heads: Cell<usize>,
    /// Room for what else the client says; each request adds to it.
    control: Cell<usize>,
    opened: RefCell<Opened>,
}

impl Room {
    pub(super) fn new(quic: quinn::Connection, session: Rc<Session>) -> Rc<Self> {
        let (heads, control) = (Cell::new(HEADS_BYTES), Cell::new(CONTROL_BYTES));
        Rc::new(Self { quic, session, heads, control, opened: RefCell::default() })
    }

    /// Makes room for what a client may say about one more request.
    pub(super) fn widen(&self) {
        self.control.set((self.control.get() + CONTROL_BYTES_OF_REQUEST).min(CONTROL_BYTES));
    }

    /// Closes the connection without a word: a rule of the operator wants that.
    pub(super) fn close(&self) {
        self.quic.close(Code::NoError.into(), b"");
    }

    /// Closes the connection: the client broke the protocol.
    pub(super) fn violated(&self, code: Code) {
        if self.quic.close_reason().is_none() {
            count(&self.session.counters().violations);
            self.quic.close(code.into(), b"");
        }
    }
}

/// Reads what a client says beside its requests, to the end of the stream or of the connection.
pub(super) async fn aside(mut stream: RecvStream, room: Rc<Room>) {
    let mut aside = Aside::default();
    // Opening a stream costs as well, if nothing ever comes.
    let mut cost = PIECE_COST;
    let verdict = loop {
        let Some(left) = room.control.get().checked_sub(cost) else { break Err(Code::ExcessiveLoad) };
        room.control.set(left);
        match stream.read_chunk(usize::MAX, true).await {
            Ok(Some(chunk)) => {
                cost = PIECE_COST.saturating_add(chunk.bytes.len());
                let mut update = |update| room.session.reorder(update);
                match aside.feed(&chunk.bytes, &mut room.opened.borrow_mut(), &mut update) {
                    Ok(Flow::On) => {}
                    Ok(Flow::Stop) => {
                        let _ = stream.stop(Code::StreamCreation.into());
                        break Ok(());
                    }
                    Err(code) => break Err(code),
                }
            }
            Ok(None) | Err(ReadError::Reset(_)) => break aside.end(),
            // The connection is lost.
            Err(_) => break Ok(()),
        }
    };
    if let Err(code) = verdict {
        room.violated(code);
    }
}

/// The stream of a request, counted.
pub(super) struct Receiving {
    stream: RecvStream,
    room: Rc<Room>,
    /// How many bytes may still come, and how many of the connection's are taken by those that came.
    left: usize,
    held: usize,
    /// Whether the client ended it, once that was looked for.
    ended: Option<bool>,
}

/// Why there is no next piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unread {
    /// This request is too large, or the whole connection is.
    TooLarge,
    /// The client does not want it any more.
    Reset,
    /// The connection is lost.
    Lost,
}

impl Receiving {
    pub(super) fn new(stream: RecvStream, room: &Rc<Room>) -> Self {
        room.widen();
        Self { stream, room: Rc::clone(room), left: HEAD_BYTES, held: 0, ended: None }
    }

    /// What else the streams of the connection share.
    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// The next piece of a head; `None` at the end of the stream.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Unread> {
        let chunk = self.stream.read_chunk(usize::MAX, true).await.map_err(|error| match error {
            ReadError::Reset(_) => Unread::Reset,
            _ => Unread::Lost,
        })?;
        let Some(chunk) = chunk else {
            self.ended = Some(true);
            return Ok(None);
        };
        let len = chunk.bytes.len();
        let cost = len.saturating_add(PIECE_COST);
        let (Some(left), Some(room)) = (self.left.checked_sub(len), self.room.heads.get().checked_sub(cost)) else {
            return Err(Unread::TooLarge);
        };
        self.left = left;
        self.held += cost;
        self.room.heads.set(room);
        Ok(Some(chunk.bytes))
    }

    /// True if the client has ended the stream, and nothing is left on it. Nothing more can be read.
    pub(super) fn is_ended(&mut self) -> bool {
        if let Some(ended) = self.ended {
            return ended;
        }
        // This future has no state: one that has to wait is registered with the stream, and forgotten by stopping it.
        let read = pin!(self.stream.read_chunk(usize::MAX, true)).poll(&mut Context::from_waker(Waker::noop()));
        let ended = matches!(read, Poll::Ready(Ok(None) | Err(_)));
        self.ended = Some(ended);
        ended
    }

    /// Asks the client to send nothing more, for this reason.
    pub(super) fn stop(&mut self, code: Code) {
        self.ended = Some(true);
        let _ = self.stream.stop(code.into());
    }
}

impl Drop for Receiving {
    /// What else a request has is not read, and the client is told so (RFC 9114 section 4.1). Most requests have
    /// nothing else: to have seen that saves the telling.
    fn drop(&mut self) {
        self.room.heads.set(self.room.heads.get() + self.held);
        if !self.is_ended() {
            self.stop(Code::NoError);
        }
    }
}

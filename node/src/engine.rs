//! What a protocol version is to a connection: bytes in, bytes out, no sockets, no clocks.
//!
//! An [`Engine`] reads requests from decrypted bytes, asks a [`Desk`] for the answers, and writes them. It owns its
//! protocol's state and limits; whoever drives it owns the socket, TLS and the deadlines. Everything it is given comes
//! from outside: it never panics, never keeps more than its limits allow, and says why it ends.

use bytes::{Bytes, BytesMut};

use crate::{admission::rules::counts::Held, block::Block, body::Body, head::Head};

/// Pieces shorter than this are copied: that costs less than counting their owners.
const SHARE_FROM: usize = 1024;

/// Answers requests. One for each connection, so it may remember what it answered.
pub trait Desk {
    /// Writes the head of the answer to `sink`, and gives its body.
    fn answer(&mut self, head: &Head<'_>, sink: &mut dyn Sink) -> Body;

    /// The same for a request that is none, or is beyond a limit of the protocol.
    fn refuse(&mut self, refusal: Refusal, sink: &mut dyn Sink) -> Body;

    /// What is to be done with the connection on which an answer was given, asked for once behind each.
    fn aside(&mut self) -> Option<Aside> {
        None
    }

    /// So many bytes of a body were handed to the connection. Only from those that have no [`Outbox`], which counts them.
    fn handed(&mut self, _bytes: u64) {}

    /// True if the connection is to end once what was asked is answered: nothing that it asks for would be given.
    fn is_done(&self) -> bool {
        false
    }
}

/// What an operator's rule does to a connection, beside the answer.
#[derive(Debug)]
pub enum Aside {
    /// The answer is not sent, and nothing else is read, before this is over.
    Held(Held),
    /// It ends, and the answer is not sent at all.
    Closed,
}

/// Where the head of an answer is written: the engine's own encoding of it.
pub trait Sink {
    /// The whole head: the status, and all fields. Called once for each answer.
    fn head(&mut self, status: u16, fields: &[&Block]);
}

/// A request that no desk sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// 400: not HTTP, or HTTP that two readers could understand in two ways.
    Malformed,
    /// 408: the head did not come in time.
    Slow,
    /// 414: the target is longer than any address of a site.
    TargetTooLong,
    /// 417: an expectation that nobody here can meet.
    Expectation,
    /// 431: the head is too large.
    HeadTooLarge,
    /// 501: a transfer coding that is not known.
    TransferCoding,
    /// 505: not a version that is spoken here.
    Version,
}

impl Refusal {
    /// The status of the answer (RFC 9110 section 15, RFC 6585 section 5).
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Slow => 408,
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::HeadTooLarge => 431,
            Self::TransferCoding => 501,
            Self::Version => 505,
        }
    }
}

/// Where an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything that was asked is answered.
    Idle,
    /// Answers are under way, though flow control may hold them.
    Busy,
    /// Nothing more will be read; once everything is sent, the connection closes.
    Finished,
}

/// One protocol version on one connection.
pub trait Engine {
    /// Reads what it can of `input`, and leaves what is incomplete. May leave requests unread while it is busy.
    fn receive(&mut self, input: &mut BytesMut, desk: &mut dyn Desk);

    /// Writes about `budget` bytes at most, and nothing if there is nothing to be sent now.
    fn transmit(&mut self, out: &mut Outbox, budget: usize);

    /// Says to the client that this connection ends, and finishes what was asked.
    fn drain(&mut self);

    /// The head of a request did not come in time: whatever the protocol has to say about that.
    fn overdue(&mut self, desk: &mut dyn Desk);

    /// Asks the client for a sign of life, if the protocol can, and gives back memory that a quiet connection does not
    /// need.
    fn ping(&mut self) {}

    /// Gives back memory that is not needed while the client takes nothing.
    fn spare(&mut self) {}

    /// Where it is.
    fn state(&self) -> State;

    /// Bytes of its own (not of bodies) that wait to be sent: a client that makes it talk without listening.
    fn backlog(&self) -> usize;

    /// Requests read so far.
    fn requests(&self) -> u64;

    /// True if it ended because the client made work without end.
    fn is_abused(&self) -> bool {
        false
    }
}

/// Bytes on their way to a socket, in order: own ones, and shared ones that are not copied.
#[derive(Debug, Default)]
pub struct Outbox {
    own: Vec<u8>,
    pieces: Vec<Piece>,
    len: usize,
    body: u64,
    long: usize,
}

#[derive(Debug)]
enum Piece {
    /// Up to this end in `own`, from where the last one ended.
    Own(usize),
    Shared(Bytes),
}

impl Outbox {
    /// Appends a copy of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) {
        self.own.extend_from_slice(bytes);
        self.len += bytes.len();
        match self.pieces.last_mut() {
            Some(Piece::Own(end)) => *end = self.own.len(),
            _ if bytes.is_empty() => {}
            _ => self.pieces.push(Piece::Own(self.own.len())),
        }
    }

    /// Appends bytes of a body, shared unless they are few.
    pub fn share(&mut self, bytes: Bytes) {
        self.body += bytes.len() as u64;
        if bytes.len() < SHARE_FROM {
            self.put(&bytes);
        } else {
            self.len += bytes.len();
            self.pieces.push(Piece::Shared(bytes));
        }
    }

    /// The same for a part of `bytes`, which is not counted as owned if it is few. `at..at + len` beyond its end is
    /// cut off.
    pub fn share_part(&mut self, bytes: &Bytes, at: usize, len: usize) {
        let end = at.saturating_add(len).min(bytes.len());
        let Some(part) = bytes.get(at..end) else { return };
        if part.len() < SHARE_FROM {
            self.body += part.len() as u64;
            self.put(part);
        } else {
            self.share(bytes.slice(at..end));
        }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of them are of bodies.
    pub fn body_bytes(&self) -> u64 {
        self.body
    }

    /// How many of them are of long bodies.
    pub fn long_bytes(&self) -> usize {
        self.long
    }

    /// So many of those that were shared last are of a long body.
    pub fn count_long(&mut self, bytes: usize) {
        self.long += bytes;
    }

    /// All pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = 0;
        self.pieces.iter().map(move |piece| match piece {
            Piece::Own(end) => {
                let own = self.own.get(at..*end).unwrap_or_default();
                at = *end;
                own
            }
            Piece::Shared(bytes) => bytes,
        })
    }

    /// How many pieces.
    pub fn count(&self) -> usize {
        self.pieces.len()
    }

    /// Forgets everything, and keeps the room.
    pub fn clear(&mut self) {
        self.own.clear();
        self.pieces.clear();
        self.len = 0;
        self.body = 0;
        self.long = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_their_order() {
        let mut out = Outbox::default();
        let large = Bytes::from(vec![7; 3000]);
        out.put(b"head");
        out.put(b" more");
        out.share(Bytes::from_static(b" few"));
        out.share_part(&large, 10, 2000);
        out.share_part(&large, 2990, 2000);
        out.put(b"end");
        let all: Vec<u8> = out.pieces().flatten().copied().collect();
        assert_eq!(all, [b"head more few".as_slice(), &[7; 2000], &[7; 10], b"end"].concat());
        assert_eq!((out.len(), out.body_bytes(), out.count()), (all.len(), 2014, 3));
        out.clear();
        assert!(out.is_empty() && out.pieces().next().is_none());
        out.put(b"");
        assert_eq!(out.count(), 0);
    }
}

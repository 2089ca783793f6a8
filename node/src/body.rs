//! The body of a response: nothing, bytes in memory, or a pack read a piece at a time, one piece ahead.
//!
//! A response never holds more of a file than two pieces, however large the file is and however slow its reader. It
//! holds what it needs of its snapshot (bytes, or an open pack), so it ends on the cut it began with.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::content::{Content, Packed};

/// Bytes read at once: large enough that the hop to a blocking thread does not show, small enough that thousands of
/// slow readers fit into memory.
const PIECE: u64 = 128 << 10;

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    /// No body. Its size is left open, so that nobody derives a `Content-Length` for the answer to a HEAD request, or
    /// for a 304 (RFC 9110 section 8.6).
    Empty,
    /// Bytes in memory, until they are taken.
    Memory(Bytes),
    /// The rest of what is read from a pack.
    Packed(Pieces),
}

/// Pieces of a pack, in order.
#[derive(Debug)]
pub struct Pieces {
    packed: Packed,
    /// The first byte that nobody was asked to read yet.
    next: u64,
    /// Bytes not yet handed on.
    left: u64,
    ahead: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl From<Content> for Body {
    fn from(content: Content) -> Self {
        match content {
            Content::Memory(bytes) => Self::Memory(bytes),
            Content::Packed(packed) => {
                let left = packed.len();
                Self::Packed(Pieces { packed, next: 0, left, ahead: None })
            }
        }
    }
}

impl Pieces {
    fn read_ahead(&mut self) -> Option<JoinHandle<io::Result<Vec<u8>>>> {
        let range = self.next..self.packed.len().min(self.next.saturating_add(PIECE));
        if range.is_empty() {
            return None;
        }
        self.next = range.end;
        let packed = self.packed.clone();
        Some(tokio::task::spawn_blocking(move || packed.read(range)))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(mut ahead) = self.ahead.take().or_else(|| self.read_ahead()) else { return Poll::Ready(None) };
        let Poll::Ready(joined) = Pin::new(&mut ahead).poll(cx) else {
            self.ahead = Some(ahead);
            return Poll::Pending;
        };
        let piece = joined.unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Ok(bytes) = &piece {
            self.left = self.left.saturating_sub(bytes.len() as u64);
            self.ahead = self.read_ahead();
        } else {
            // The length was announced: ending early is what tells the client.
            self.next = self.packed.len();
        }
        Poll::Ready(Some(piece.map(Bytes::from)))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let bytes = match this {
            Self::Empty => return Poll::Ready(None),
            Self::Memory(bytes) if bytes.is_empty() => None,
            Self::Memory(bytes) => Some(Ok(std::mem::take(bytes))),
            Self::Packed(pieces) => ready!(pieces.poll_piece(cx)),
        };
        Poll::Ready(bytes.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Memory(bytes) => bytes.is_empty(),
            Self::Packed(pieces) => pieces.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::default(),
            Self::Memory(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Packed(pieces) => SizeHint::with_exact(pieces.left),
        }
    }
}

//! The head of an answer as frames, written where it waits to be sent.
//!
//! The block is copied behind a frame header that is filled in when the length and the body are known; only a head
//! larger than the client's frames is copied a second time.

use super::{
    frame::{HEADER, flag, header, kind, put},
    hpack,
};
use crate::{block::Block, engine::Sink};

/// Writes one head.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    into: &'a mut Vec<u8>,
    at: usize,
    /// The block begins with the acknowledgement of a smaller table (RFC 7541 section 4.2).
    no_table: &'a mut bool,
}

impl<'a> Reply<'a> {
    /// Appends to `into`.
    pub(super) fn new(into: &'a mut Vec<u8>, no_table: &'a mut bool) -> Self {
        Self { at: into.len(), into, no_table }
    }

    /// Completes the frames of stream `id`, with `payload` bytes at most in each. Gives false if there was no head.
    pub(super) fn finish(self, id: u32, end: bool, payload: usize) -> bool {
        let Self { into, at, .. } = self;
        let Some(length) = into.len().checked_sub(at + HEADER) else { return false };
        let end = if end { flag::END_STREAM } else { 0 };
        if length <= payload {
            if let Some(place) = into.get_mut(at..at + HEADER) {
                place.copy_from_slice(&header(length, kind::HEADERS, flag::END_HEADERS | end, id));
            }
            return true;
        }
        let block = into.split_off(at + HEADER);
        into.truncate(at);
        let (mut kind, mut flags) = (kind::HEADERS, end);
        let mut pieces = block.chunks(payload).peekable();
        while let Some(piece) = pieces.next() {
            let last = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
            put(into, kind, flags | last, id, piece);
            (kind, flags) = (kind::CONTINUATION, 0);
        }
        true
    }
}

impl Sink for Reply<'_> {
    fn head(&mut self, status: u16, fields: &[&Block]) {
        debug_assert_eq!(self.into.len(), self.at, "a second head");
        self.into.truncate(self.at);
        self.into.extend_from_slice(&[0; HEADER]);
        if std::mem::take(self.no_table) {
            self.into.push(hpack::NO_TABLE);
        }
        hpack::status(status, self.into);
        for block in fields {
            self.into.extend_from_slice(block.packed());
        }
    }
}

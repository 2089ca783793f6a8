//! The body of an answer: parts of files and of small texts, in order, none of which is copied.
//!
//! A body holds what it needs of its snapshot, so an answer ends on the cut it began with, whatever is served by then.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

use crate::{admission::shares::Place, content::Content, engine::Outbox};

/// How soon an answer is needed, by RFC 9218 section 4.1: 0 first, 7 last.
pub type Urgency = u8;

/// What answers have that say nothing about it (RFC 9218 section 4.1).
pub const USUAL: Urgency = 3;

/// Answers of so many bytes are not over at once, whoever asks: their pieces may wait for those of others.
pub const LONG: u64 = 256 << 10;

/// What is left to be sent of an answer, after its head.
#[derive(Debug)]
pub struct Body {
    now: Bytes,
    /// How much of `now` is gone.
    at: usize,
    rest: VecDeque<Bytes>,
    left: u64,
    urgency: Urgency,
    /// True if there were [`LONG`] or more when the first were moved.
    is_long: bool,
    /// What is given back when it is over, however it ends.
    held: Option<Box<Place>>,
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self::new(Bytes::new())
    }

    /// These bytes.
    pub fn new(bytes: Bytes) -> Self {
        let left = bytes.len() as u64;
        Self { now: bytes, at: 0, rest: VecDeque::new(), left, urgency: USUAL, is_long: false, held: None }
    }

    /// A part of these bytes.
    pub fn part(content: &Content, range: Range<u64>) -> Self {
        let mut body = Self::empty();
        body.push(content, range);
        body
    }

    /// Appends a part of these bytes.
    pub fn push(&mut self, content: &Content, range: Range<u64>) {
        for piece in content.pieces(range) {
            self.push_bytes(piece);
        }
    }

    /// Appends bytes.
    pub fn push_bytes(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.left += bytes.len() as u64;
        if self.now.is_empty() {
            self.now = bytes;
        } else {
            self.rest.push_back(bytes);
        }
    }

    /// The same, with this urgency.
    #[must_use]
    pub fn with_urgency(mut self, urgency: Urgency) -> Self {
        self.urgency = urgency;
        self
    }

    /// The same, with a place that is free again when it is over.
    #[must_use]
    pub fn holding(mut self, place: Option<Place>) -> Self {
        self.held = place.map(Box::new);
        self
    }

    /// How soon it is needed, unless the client says otherwise.
    pub fn urgency(&self) -> Urgency {
        self.urgency
    }

    /// Bytes left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Moves at most `max` bytes to `out`. Gives how many; fewer only at the end.
    pub fn fill(&mut self, max: usize, out: &mut Outbox) -> usize {
        let mut moved = 0;
        self.is_long |= self.left >= LONG;
        while moved < max && self.left > 0 {
            let len = self.now.len().saturating_sub(self.at).min(max - moved);
            out.share_part(&self.now, self.at, len);
            moved += len;
            self.take_off(len);
        }
        if self.is_long {
            out.count_long(moved);
        }
        moved
    }

    /// The next bytes, at most `max`; `None` at the end.
    pub fn take(&mut self, max: usize) -> Option<Bytes> {
        if self.left == 0 || max == 0 {
            return None;
        }
        let len = self.now.len().saturating_sub(self.at).min(max);
        let piece = self.now.slice(self.at..self.at + len);
        self.take_off(len);
        Some(piece)
    }

    /// Counts `len` bytes of `now` as gone.
    fn take_off(&mut self, len: usize) {
        self.at += len;
        self.left = self.left.saturating_sub(len as u64);
        if self.at >= self.now.len() {
            self.now = self.rest.pop_front().unwrap_or_default();
            self.at = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_order_whatever_the_steps() {
        let whole: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let content = Content::memory(whole.clone());
        for step in [1, 7, 1000, 4999, 9000] {
            let make = || {
                let mut body = Body::part(&content, 100..2000);
                body.push_bytes(Bytes::from_static(b"between"));
                body.push(&content, 4000..9999);
                body.push(&content, 10..10);
                body
            };
            let expected = [&whole[100..2000], b"between", &whole[4000..]].concat();
            let (mut body, mut out) = (make(), Outbox::default());
            assert_eq!(body.left(), expected.len() as u64);
            while body.left() > 0 {
                assert!((1..=step).contains(&body.fill(step, &mut out)));
            }
            assert_eq!(body.fill(step, &mut out), 0);
            assert_eq!(out.pieces().flatten().copied().collect::<Vec<_>>(), expected);
            let (mut body, mut taken) = (make(), Vec::new());
            while let Some(piece) = body.take(step) {
                assert!((1..=step).contains(&piece.len()));
                taken.extend_from_slice(&piece);
            }
            assert_eq!(taken, expected);
        }
        assert!(Body::empty().take(10).is_none());
    }

    #[test]
    fn what_was_long_is_so_to_its_end() {
        for (len, is_long) in [(LONG - 1, false), (LONG, true)] {
            let (mut body, mut out) = (Body::new(vec![0; usize::try_from(len).unwrap()].into()), Outbox::default());
            while body.left() > 0 {
                body.fill(60_000, &mut out);
            }
            assert_eq!((out.long_bytes() as u64, out.body_bytes()), (if is_long { len } else { 0 }, len));
            out.clear();
            assert_eq!(out.long_bytes(), 0);
        }
    }
}

//! HTTP/1.1 and 1.0 on one connection, without a socket (RFC 9112).
//!
//! Requests are read one after the other and answered in that order; small answers are put together, so that what was
//! asked in one batch goes out in one. Heads are written into a buffer of the engine, bodies are only pointed at.
//!
//! What two readers could understand in two ways is refused, and ends the connection: that is what request smuggling
//! lives on. So does any request with content. No byte of it is ever read, so none can be taken for a request; a site
//! that is only read loses nothing but the connections of those who do not know that. Nobody is told to continue
//! (RFC 9110 section 10.1.1), and `Upgrade` is ignored.
//!
//! A connection that ends is [`State::Finished`]: its last answer says so, and whoever drives the engine reads on for a
//! while before it closes, or a reset could overtake the answer (RFC 9112 section 9.6).

mod answer;
mod framing;
mod request;
mod target;

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

use self::{answer::Writer, framing::Persistence};
use crate::{
    body::Body,
    engine::{Desk, Engine, Outbox, Refusal, State},
    head::{Head, Method},
};

/// Answers that wait at once: about what a client sends in one batch.
const ANSWERS: usize = 32;

/// A body longer than this is sent before the next request is read.
const SMALL: u64 = 64 * 1024;

/// Empty lines before a request that are let pass, for old clients that sent one after a body (RFC 9112 section 2.2).
const EMPTY_LINES: u8 = 4;

/// From here on, what is sent is thrown out of the buffer even if something waits behind it.
const SENT: usize = 16 * 1024;

/// One connection.
///
/// What stays in the input while answers wait is read when [`Engine::receive`] is called again: after every
/// [`Engine::transmit`], then, and not only when bytes came.
#[derive(Debug, Default)]
pub struct Http1 {
    /// Heads of answers, in order.
    heads: Vec<u8>,
    /// How much of `heads` is sent.
    sent: usize,
    answers: VecDeque<Answer>,
    unread: Unread,
    /// How much of the unread input is known to hold no whole head.
    scanned: usize,
    empty_lines: u8,
    requests: u64,
    /// The next answer is the last.
    draining: bool,
    /// Nothing more is read.
    closing: bool,
}

#[derive(Debug)]
struct Answer {
    /// Bytes of its head that are not sent.
    head: usize,
    body: Body,
}

/// What the input held when it was last read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Unread {
    #[default]
    Nothing,
    Something,
    /// A request whose answer has no body.
    Head,
}

impl Unread {
    fn of(input: &[u8]) -> Self {
        match input {
            [] => Self::Nothing,
            input if input.starts_with(b"HEAD ") => Self::Head,
            _ => Self::Something,
        }
    }
}

impl Http1 {
    /// A connection on which nothing was said yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// True if another answer can wait behind those that do.
    fn has_room(&self) -> bool {
        self.answers.len() < ANSWERS && self.answers.back().is_none_or(|answer| answer.body.left() <= SMALL)
    }

    /// Reads and answers one request. False if there is none yet.
    fn read(&mut self, input: &mut BytesMut, desk: &mut dyn Desk) -> bool {
        while input.starts_with(b"\r\n") && self.empty_lines < EMPTY_LINES {
            input.advance(2);
            self.empty_lines += 1;
            self.scanned = 0;
        }
        if input.is_empty() || input.as_ref() == b"\r" {
            return false;
        }
        let mut head = Head::default();
        match request::read(input, self.scanned, &mut head) {
            Ok(None) => {
                self.scanned = input.len();
                false
            }
            Ok(Some(request)) => {
                let persistence = if self.draining { Persistence::Ends } else { request.persistence };
                self.answer(persistence, head.method == Method::Head, |sink| desk.answer(&head, sink));
                self.requests += 1;
                input.advance(request.len);
                (self.scanned, self.empty_lines) = (0, 0);
                true
            }
            Err(refusal) => {
                self.refuse(refusal, Unread::of(input), desk);
                true
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal, unread: Unread, desk: &mut dyn Desk) {
        self.answer(Persistence::Ends, unread == Unread::Head, |sink| desk.refuse(refusal, sink));
    }

    /// Queues what is written by `give`.
    fn answer(&mut self, persistence: Persistence, without_body: bool, give: impl FnOnce(&mut Writer<'_>) -> Body) {
        let before = self.heads.len();
        let body = give(&mut Writer::new(&mut self.heads, persistence));
        let head = self.heads.len() - before;
        debug_assert!(head > 0, "an answer without a head");
        // A body without a head would be read as the head of an answer.
        let body = if without_body || head == 0 { Body::empty() } else { body };
        self.answers.push_back(Answer { head, body });
        self.closing = persistence == Persistence::Ends || head == 0;
    }

    /// Ends what was only kept for a request that was under way.
    fn settle(&mut self) {
        self.closing |= self.draining && self.answers.is_empty() && self.unread == Unread::Nothing;
    }

    /// Forgets heads that are sent.
    fn tidy(&mut self) {
        if self.answers.is_empty() {
            self.heads.clear();
            self.sent = 0;
        } else if self.sent >= SENT {
            self.heads.drain(..self.sent);
            self.sent = 0;
        }
    }
}

impl Engine for Http1 {
    fn receive(&mut self, input: &mut BytesMut, desk: &mut dyn Desk) {
        while !self.closing && self.has_room() && self.read(input, desk) {}
        if self.closing {
            input.clear();
        }
        self.unread = Unread::of(input);
        self.settle();
    }

    fn transmit(&mut self, out: &mut Outbox, budget: usize) {
        let mut left = budget;
        while let Some(answer) = self.answers.front_mut()
            && left > 0
        {
            let len = answer.head.min(left);
            out.put(self.heads.get(self.sent..self.sent + len).unwrap_or_default());
            self.sent += len;
            answer.head -= len;
            left -= len;
            if answer.head > 0 {
                break;
            }
            left -= answer.body.fill(left, out).min(left);
            if answer.body.left() > 0 {
                break;
            }
            self.answers.pop_front();
        }
        self.tidy();
        self.settle();
    }

    fn drain(&mut self) {
        if self.closing || self.draining {
            return;
        }
        self.draining = true;
        // A request that has begun gets the answer that says so.
        if self.unread != Unread::Nothing {
            return;
        }
        // If its end is on its way too, the connection ends behind that answer without a word.
        self.closing = self.answers.back_mut().is_none_or(|last| answer::end(&mut self.heads, &mut last.head));
    }

    fn overdue(&mut self, desk: &mut dyn Desk) {
        // While an answer is under way, what waits behind it is not late.
        if self.closing || !self.answers.is_empty() {
            return;
        }
        match self.unread {
            Unread::Nothing => self.closing = true,
            unread => self.refuse(Refusal::Slow, unread, desk),
        }
    }

    fn state(&self) -> State {
        match (self.closing, self.answers.is_empty()) {
            (true, _) => State::Finished,
            (false, true) => State::Idle,
            (false, false) => State::Busy,
        }
    }

    fn backlog(&self) -> usize {
        self.heads.len() - self.sent
    }

    /// Those that were answered; what was refused is not counted.
    fn requests(&self) -> u64 {
        self.requests
    }
}

#[cfg(test)]
mod tests;

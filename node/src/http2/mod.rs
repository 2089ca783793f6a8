//! HTTP/2 for a server (RFC 9113), with HPACK (RFC 7541) and extensible priorities (RFC 9218): bytes in, bytes out.
//!
//! A request is answered when its head is complete, and costs one pass over its bytes: the fields lie in the decoder's
//! buffer while the desk reads them, the head of the answer is copied from blocks that were encoded before, and the
//! body is shared unless it is tiny. What waits to be sent is bounded: heads by the streams that may be open, everything
//! else by what [`abuse`](Http2::abuse) names.
//!
//! Refused: server push, CONNECT, upgrades, and the priorities of RFC 7540, which are read and ignored.

mod abuse;
mod connection;
mod ending;
mod frame;
mod history;
pub mod hpack;
mod opening;
mod priority;
mod reply;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod upload;

use bytes::{Buf, BytesMut};

pub use self::abuse::Abuse;
use self::{
    abuse::Guard,
    connection::Fault,
    ending::Ending,
    frame::{Code, Frame, PAYLOAD, PREFACE, WINDOW, flag, kind},
    history::History,
    hpack::Decoder,
    opening::Pending,
    priority::Priority,
    settings::Settings,
    stream::Streams,
};
use crate::engine::{Desk, Engine, Outbox, State};

/// The largest id of a stream: GOAWAY with it says that the connection ends, but not yet where (RFC 9113 section 6.8).
const LAST: u32 = 0x7fff_ffff;

/// What PING carries: whether the client is there.
const ALIVE: [u8; 8] = *b"alive?\0\0";

/// What PING carries behind the first GOAWAY: its answer comes after everything that the client sent without knowing.
const DRAINED: [u8; 8] = *b"drained?";

/// Room for what waits to be sent that a quiet connection keeps.
const QUIET: usize = 1024;

/// What one connection may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Http2Limits {
    /// Requests at once.
    pub streams: u32,
    /// Bytes of the fields of a request, counted as in RFC 9113 section 6.5.2.
    pub head: usize,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self { streams: 100, head: 32 * 1024 }
    }
}

/// The server's side of a connection.
#[derive(Debug)]
pub struct Http2 {
    limits: Http2Limits,
    phase: Phase,
    ending: Ending,
    decoder: Decoder,
    /// Frames that wait to be sent, all but DATA.
    control: Vec<u8>,
    /// How often `control` was sent.
    batch: u64,
    /// Heads in `control` whose streams are closed: for the client they are open until it gets them.
    heads: usize,
    /// Heads in `control` whose streams the client reset.
    withdrawn: usize,
    streams: Streams,
    history: History,
    guard: Guard,
    abuse: Option<Abuse>,
    /// The last stream that was answered or refused.
    served: u32,
    /// The client's settings.
    settings: Settings,
    /// The client knows the settings of this side.
    acknowledged: bool,
    /// The next block acknowledges that the client's table is smaller.
    no_table: bool,
    /// What may be sent, and what may be received, on all streams together.
    outbound: i64,
    inbound: i64,
    /// A head that is not complete, and its bytes.
    pending: Option<Pending>,
    block: Vec<u8>,
    /// Priorities of streams that are not open yet, at most as many as may be open.
    early: Vec<(u32, Priority)>,
    pinged: bool,
}

/// What is expected of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Preface,
    Settings,
    Frames,
    /// Nothing: the connection is over.
    Over,
}

impl Http2 {
    /// A connection whose client has not sent anything yet.
    pub fn new(limits: Http2Limits) -> Self {
        let mut control = Vec::with_capacity(QUIET);
        let list = u32::try_from(limits.head).unwrap_or(u32::MAX);
        frame::put(&mut control, kind::SETTINGS, 0, 0, &settings::own(limits.streams, list));
        Self {
            limits,
            phase: Phase::Preface,
            ending: Ending::No,
            decoder: Decoder::new(settings::TABLE),
            control,
            batch: 0,
            heads: 0,
            withdrawn: 0,
            streams: Streams::new(WINDOW),
            history: History::default(),
            guard: Guard::default(),
            abuse: None,
            served: 0,
            settings: Settings::default(),
            acknowledged: false,
            no_table: false,
            outbound: WINDOW,
            inbound: WINDOW,
            pending: None,
            block: Vec::new(),
            early: Vec::new(),
            pinged: false,
        }
    }

    /// Why the client was sent away, if it was for what it did and not for an error.
    pub fn abuse(&self) -> Option<Abuse> {
        self.abuse
    }

    /// True if the client was asked for a sign of life and has given none.
    pub fn unanswered_ping(&self) -> bool {
        self.pinged
    }

    /// Sends what waits.
    fn flush(&mut self, out: &mut Outbox) {
        if !self.control.is_empty() {
            out.put(&self.control);
            self.control.clear();
            self.batch += 1;
            (self.heads, self.withdrawn) = (0, 0);
            self.guard.flushed();
        }
    }

    /// Reads the next piece of `input`. Gives how long it was; 0 if it is not complete.
    fn read(&mut self, input: &[u8], desk: &mut dyn Desk) -> Result<usize, Fault> {
        if self.phase == Phase::Preface {
            let length = input.len().min(PREFACE.len());
            return match input.get(..length) {
                Some(PREFACE) => {
                    self.phase = Phase::Settings;
                    Ok(length)
                }
                Some(start) if PREFACE.starts_with(start) => Ok(0),
                _ => Err(Fault::Connection(Code::Protocol)),
            };
        }
        let Some(frame) = Frame::read(input)? else { return Ok(0) };
        if self.phase == Phase::Settings {
            if frame.kind != kind::SETTINGS || frame.has(flag::ACK) {
                return Err(Fault::Connection(Code::Protocol));
            }
            self.phase = Phase::Frames;
        }
        if let Err(fault) = self.frame(&frame, desk) {
            self.fail(fault);
        }
        Ok(frame.len())
    }
}

impl Engine for Http2 {
    /// Reads all frames that are complete. One takes 16,393 bytes at most.
    fn receive(&mut self, input: &mut BytesMut, desk: &mut dyn Desk) {
        let mut at = 0;
        while self.phase != Phase::Over {
            match self.read(input.get(at..).unwrap_or_default(), desk) {
                Ok(0) => break,
                Ok(length) => at += length,
                Err(fault) => self.fail(fault),
            }
        }
        self.settle();
        if self.phase == Phase::Over || at >= input.len() {
            input.clear();
        } else {
            input.advance(at);
        }
    }

    /// Everything that is no DATA goes first, whatever the budget; the last frame of DATA may go beyond it.
    fn transmit(&mut self, out: &mut Outbox, budget: usize) {
        let end = out.len().saturating_add(budget);
        self.flush(out);
        while out.len() < end && self.outbound > 0 {
            let most = self.settings.payload.min(PAYLOAD);
            let Some(sent) = self.streams.send(most, &mut self.outbound, out) else { break };
            self.guard.sent(sent.bytes);
            if let Some(stream) = sent.ended {
                self.guard.completed();
                if stream.upload.is_some() {
                    self.cut(sent.id, Code::NoError);
                }
            }
        }
        self.settle();
        self.flush(out);
    }

    fn drain(&mut self) {
        if self.ending == Ending::No && self.phase != Phase::Over {
            self.ending = Ending::Announced;
            frame::put_goaway(&mut self.control, LAST, Code::NoError);
            frame::put(&mut self.control, kind::PING, 0, 0, &DRAINED);
        }
    }

    fn overdue(&mut self, _desk: &mut dyn Desk) {
        if self.ending == Ending::Announced {
            // Long enough for whatever was on its way.
            self.name_last();
            self.settle();
        } else {
            self.end(Code::NoError);
        }
    }

    fn ping(&mut self) {
        if self.phase == Phase::Over {
            return;
        }
        if self.streams.is_empty() {
            self.streams.clear();
            self.control.shrink_to(QUIET);
        }
        if !self.pinged {
            self.pinged = true;
            frame::put(&mut self.control, kind::PING, 0, 0, &ALIVE);
        }
    }

    fn spare(&mut self) {
        self.control.shrink_to(QUIET);
        self.block.shrink_to(QUIET);
        self.early.shrink_to_fit();
    }

    fn is_abused(&self) -> bool {
        self.abuse().is_some()
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Over => State::Finished,
            _ if self.streams.is_empty() && self.heads + self.withdrawn == 0 => State::Idle,
            _ => State::Busy,
        }
    }

    fn backlog(&self) -> usize {
        self.control.len()
    }

    fn requests(&self) -> u64 {
        self.guard.requests()
    }
}

//! What each frame does to a connection (RFC 9113 section 6); heads are in [`opening`](super::opening).

use super::{
    ALIVE, Abuse, DRAINED, Http2, LAST,
    ending::{Ending, Said},
    frame::{self, Code, Frame, WINDOW, WINDOW_MAX, flag, kind},
    history::Past,
    priority::Priority,
    upload,
};
use crate::engine::Desk;

/// What a frame made impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Connection(Code),
    Stream(u32, Code),
    Abuse(Abuse),
}

impl From<Code> for Fault {
    fn from(code: Code) -> Self {
        Self::Connection(code)
    }
}

impl From<Abuse> for Fault {
    fn from(abuse: Abuse) -> Self {
        Self::Abuse(abuse)
    }
}

impl Http2 {
    pub(super) fn frame(&mut self, frame: &Frame<'_>, desk: &mut dyn Desk) -> Result<(), Fault> {
        if self.pending.is_some() && frame.kind != kind::CONTINUATION {
            return Err(Fault::Connection(Code::Protocol));
        }
        match frame.kind {
            kind::DATA => self.data(frame),
            kind::HEADERS => self.headers(frame, desk),
            kind::PRIORITY => self.dependency(frame),
            kind::RST_STREAM => self.client_reset(frame),
            kind::SETTINGS => self.client_settings(frame),
            kind::PUSH_PROMISE => Err(Fault::Connection(Code::Protocol)),
            kind::PING => self.client_ping(frame),
            kind::GOAWAY => self.client_goaway(frame),
            kind::WINDOW_UPDATE => self.window_update(frame),
            kind::CONTINUATION => self.continuation(frame, desk),
            kind::PRIORITY_UPDATE => self.priority_update(frame),
            _ => Ok(()),
        }
    }

    /// Section 6.1.
    fn data(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let Frame { id, payload, .. } = *frame;
        let data = frame.unpadded()?;
        let end = frame.has(flag::END_STREAM);
        upload::take(&mut self.inbound, payload.len())?;
        if let Some(by) = upload::refill(&mut self.inbound, WINDOW) {
            frame::put_window(&mut self.control, 0, by);
        }
        if data.is_empty() && !end {
            self.guard.empty()?;
        }
        let Some(stream) = self.streams.get_mut(id) else {
            return match self.history.of(id) {
                Past::Idle => Err(Fault::Connection(Code::Protocol)),
                Past::Skipped | Past::Closed => Err(Fault::Connection(Code::StreamClosed)),
                Past::Cut => Ok(()),
            };
        };
        let on_stream = |code| Fault::Stream(id, code);
        let upload = stream.upload.as_mut().ok_or(on_stream(Code::StreamClosed))?;
        upload.data(payload.len(), data.len()).map_err(on_stream)?;
        if end {
            upload.end().map_err(on_stream)?;
            stream.upload = None;
        } else if let Some(by) = upload.open() {
            frame::put_window(&mut self.control, id, by);
        }
        Ok(())
    }

    /// Section 6.3: of the priorities of RFC 7540 only what is wrong with them matters.
    fn dependency(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if frame.id == 0 {
            return Err(Fault::Connection(Code::Protocol));
        }
        self.guard.prioritized()?;
        let code = match frame.exactly::<5>() {
            Ok(fields) if depends_on(&fields) != frame.id => return Ok(()),
            Ok(_) => Code::Protocol,
            Err(code) => code,
        };
        // A stream that is not open cannot be reset.
        Err(if self.streams.get_mut(frame.id).is_some() { Fault::Stream(frame.id, code) } else { code.into() })
    }

    /// RFC 9218 section 7.1.
    fn priority_update(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let (id, value) = frame.payload.split_first_chunk::<4>().ok_or(Code::FrameSize)?;
        let id = u32::from_be_bytes(*id) & LAST;
        if frame.id != 0 || id.is_multiple_of(2) {
            return Err(Fault::Connection(Code::Protocol));
        }
        self.guard.prioritized()?;
        let priority = Priority::parse(value);
        if id <= self.history.last() {
            self.streams.prioritize(id, priority);
        } else if let Some((_, early)) = self.early.iter_mut().find(|(early, _)| *early == id) {
            *early = priority;
        } else if self.streams.len() + self.early.len() < self.limits.streams as usize {
            self.early.push((id, priority));
        } else {
            return Err(Fault::Connection(Code::Protocol));
        }
        Ok(())
    }

    /// Section 6.4.
    fn client_reset(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        frame.exactly::<4>()?;
        if let Some(said) = self.forget(frame.id) {
            self.withdrawn += usize::from(said == Said::Waiting);
            self.guard.reset()?;
        } else if self.history.of(frame.id) == Past::Idle {
            return Err(Fault::Connection(Code::Protocol));
        }
        self.history.closed(frame.id);
        Ok(())
    }

    /// Section 6.5.
    fn client_settings(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if frame.id != 0 {
            return Err(Fault::Connection(Code::Protocol));
        }
        if frame.has(flag::ACK) {
            frame.exactly::<0>()?;
            self.acknowledged = true;
            return Ok(());
        }
        self.guard.acknowledge()?;
        let before = self.settings;
        self.settings.apply(frame.payload)?;
        self.no_table |= self.settings.small_table && !before.small_table;
        self.streams.resize(self.settings.window)?;
        frame::put(&mut self.control, kind::SETTINGS, flag::ACK, 0, &[]);
        Ok(())
    }

    /// Section 6.7.
    fn client_ping(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if frame.id != 0 {
            return Err(Fault::Connection(Code::Protocol));
        }
        let carried = frame.exactly::<8>()?;
        if !frame.has(flag::ACK) {
            self.guard.acknowledge()?;
            frame::put(&mut self.control, kind::PING, flag::ACK, 0, &carried);
        } else if carried == ALIVE {
            self.pinged = false;
        } else if carried == DRAINED {
            self.name_last();
        }
        Ok(())
    }

    /// Section 6.8: the client will not ask for more, and what it asked for is answered.
    fn client_goaway(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if frame.id != 0 {
            return Err(Fault::Connection(Code::Protocol));
        }
        frame.payload.split_first_chunk::<8>().ok_or(Code::FrameSize)?;
        if matches!(self.ending, Ending::No | Ending::Announced) {
            self.ending = Ending::Parting;
        }
        Ok(())
    }

    /// Section 6.9.
    fn window_update(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let id = frame.id;
        let by = i64::from(u32::from_be_bytes(frame.exactly::<4>()?) & LAST);
        self.guard.window()?;
        if id == 0 {
            self.outbound += by;
            return match by {
                0 => Err(Fault::Connection(Code::Protocol)),
                _ if self.outbound > WINDOW_MAX => Err(Fault::Connection(Code::FlowControl)),
                _ => Ok(()),
            };
        }
        if self.streams.get_mut(id).is_none() {
            return match self.history.of(id) {
                Past::Idle => Err(Fault::Connection(Code::Protocol)),
                _ => Ok(()),
            };
        }
        if by == 0 {
            return Err(Fault::Stream(id, Code::Protocol));
        }
        self.streams.open(id, by).map_err(|code| Fault::Stream(id, code))
    }
}

/// The stream that another one depends on (RFC 9113 section 6.3).
pub(super) fn depends_on(fields: &[u8; 5]) -> u32 {
    let [a, b, c, d, _] = *fields;
    u32::from_be_bytes([a & 0x7f, b, c, d])
}

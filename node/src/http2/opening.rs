//! Heads of requests: from HEADERS and CONTINUATION to an answer (RFC 9113 sections 4.3, 6.2 and 6.10).
//!
//! Whatever a stream is, the block of its fields is decoded: the table for the fields of all others depends on it.

use super::{
    Abuse, Http2,
    abuse::Guard,
    connection::{Fault, depends_on},
    ending::Ending,
    frame::{Code, Frame, flag},
    history::Past,
    hpack::{Size, Unreadable},
    priority::Priority,
    reply::Reply,
    stream::Stream,
    upload::Upload,
};
use crate::{
    body::Body,
    engine::{Desk, Refusal},
    fields::request::{self, Flaw},
    head::{Head, Method},
};

/// A head may be this many times its limit before it is decoded, so that one that is too large can be said to be.
const ENCODED: usize = 2;

/// A head whose block goes on.
#[derive(Debug)]
pub(super) struct Pending {
    opening: Opening,
    frames: u32,
}

/// What a block of fields is.
#[derive(Debug, Clone, Copy)]
struct Opening {
    id: u32,
    /// True if nothing follows on the stream.
    ended: bool,
    purpose: Purpose,
}

#[derive(Debug, Clone, Copy)]
enum Purpose {
    /// A request, and what was said about its priority before.
    Request(Option<Priority>),
    Trailers,
    /// An error of the stream. It is decoded for what comes after it.
    Wrong(Code),
    /// The same for what comes too late.
    Late,
}

impl Http2 {
    /// Section 6.2.
    pub(super) fn headers(&mut self, frame: &Frame<'_>, desk: &mut dyn Desk) -> Result<(), Fault> {
        let mut block = frame.unpadded()?;
        let mut purpose = self.purpose(frame)?;
        if frame.has(flag::PRIORITY) {
            let (fields, rest) = block.split_first_chunk::<5>().ok_or(Code::FrameSize)?;
            block = rest;
            if depends_on(fields) == frame.id {
                purpose = Purpose::Wrong(Code::Protocol);
            }
        }
        let opening = Opening { id: frame.id, ended: frame.has(flag::END_STREAM), purpose };
        if frame.has(flag::END_HEADERS) {
            return self.fields(opening, block, desk);
        }
        Guard::continued(0, block.len(), self.most())?;
        self.block.extend_from_slice(block);
        self.pending = Some(Pending { opening, frames: 0 });
        Ok(())
    }

    /// Section 6.10.
    pub(super) fn continuation(&mut self, frame: &Frame<'_>, desk: &mut dyn Desk) -> Result<(), Fault> {
        let most = self.most();
        let pending = self.pending.as_mut().filter(|pending| pending.opening.id == frame.id).ok_or(Code::Protocol)?;
        pending.frames += 1;
        Guard::continued(pending.frames, self.block.len() + frame.payload.len(), most)?;
        self.block.extend_from_slice(frame.payload);
        if frame.has(flag::END_HEADERS) {
            let opening = pending.opening;
            let block = std::mem::take(&mut self.block);
            self.pending = None;
            self.fields(opening, &block, desk)?;
        }
        Ok(())
    }

    /// The largest block that is decoded.
    fn most(&self) -> usize {
        self.limits.head.saturating_mul(ENCODED)
    }

    /// What HEADERS are on this stream (section 5.1).
    fn purpose(&mut self, frame: &Frame<'_>) -> Result<Purpose, Code> {
        let id = frame.id;
        if let Some(stream) = self.streams.get_mut(id) {
            return Ok(match &stream.upload {
                None => Purpose::Wrong(Code::StreamClosed),
                Some(_) if !frame.has(flag::END_STREAM) => Purpose::Wrong(Code::Protocol),
                Some(_) => Purpose::Trailers,
            });
        }
        match self.history.of(id) {
            Past::Idle if id.is_multiple_of(2) => return Err(Code::Protocol),
            Past::Idle => {}
            Past::Skipped => return Err(Code::Protocol),
            Past::Closed => return Err(Code::StreamClosed),
            Past::Cut => return Ok(Purpose::Late),
        }
        self.history.open(id);
        if self.ending == Ending::Named {
            self.history.cut(id);
            return Ok(Purpose::Late);
        }
        self.served = id;
        let early = self.early.iter().find(|(early, _)| *early == id).map(|(_, priority)| *priority);
        self.early.retain(|(early, _)| *early > id);
        // Streams that the client reset make room at once, but what is still said about them is bounded too.
        let (open, most) = (self.streams.len() + self.heads, self.limits.streams as usize);
        let full = open >= most || open + self.withdrawn >= 2 * most;
        Ok(if full { Purpose::Wrong(Code::RefusedStream) } else { Purpose::Request(early) })
    }

    /// A block is complete.
    fn fields(&mut self, opening: Opening, block: &[u8], desk: &mut dyn Desk) -> Result<(), Fault> {
        let id = opening.id;
        let size = self.decoder.decode(block, self.limits.head).map_err(|unreadable| match unreadable {
            Unreadable::Invalid => Fault::Connection(Code::Compression),
            Unreadable::Bomb => Fault::Abuse(Abuse::HeadBomb),
        })?;
        match opening.purpose {
            Purpose::Late => Ok(()),
            Purpose::Wrong(code) => Err(Fault::Stream(id, code)),
            Purpose::Request(early) => self.request(opening, early, size, desk),
            Purpose::Trailers => {
                let Some(stream) = self.streams.get_mut(id) else { return Ok(()) };
                let upload = stream.upload.take();
                let complete = upload.is_none_or(|upload| upload.end().is_ok());
                if complete && size == Size::Within && request::trailers(self.decoder.lines()) {
                    Ok(())
                } else {
                    Err(Fault::Stream(id, Code::Protocol))
                }
            }
        }
    }

    /// Answers a request.
    fn request(
        &mut self,
        opening: Opening,
        early: Option<Priority>,
        size: Size,
        desk: &mut dyn Desk,
    ) -> Result<(), Fault> {
        let Opening { id, ended, .. } = opening;
        let malformed = Fault::Stream(id, Code::Protocol);
        self.guard.requested();
        let mut head = Head::default();
        let read = match size {
            Size::Within => request::read(self.decoder.lines(), &mut head),
            Size::Beyond => Err(Flaw::Refused(Refusal::HeadTooLarge)),
        };
        let announced = read.unwrap_or_default();
        if read == Err(Flaw::Malformed) || (ended && announced.is_some_and(|length| length > 0)) {
            return Err(malformed);
        }
        let mut reply = Reply::new(&mut self.control, &mut self.no_table);
        let body = match read {
            Err(Flaw::Refused(refusal)) => {
                let body = desk.refuse(refusal, &mut reply);
                if head.method == Method::Head { Body::empty() } else { body }
            }
            _ => desk.answer(&head, &mut reply),
        };
        let complete = body.left() == 0;
        if !reply.finish(id, complete, self.settings.payload) {
            self.cut(id, Code::Internal);
        } else if complete {
            self.guard.completed();
            self.heads += 1;
            if !ended {
                self.cut(id, Code::NoError);
            }
        } else {
            let said = head.priority.only().map(Priority::parse);
            let priority = early.or(said).unwrap_or(Priority::usual(body.urgency()));
            let upload = (!ended).then(|| Upload::new(announced));
            self.streams.insert(id, Stream::new(body, priority, upload, self.batch));
        }
        Ok(())
    }
}

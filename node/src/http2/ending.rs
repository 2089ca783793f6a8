//! How streams and connections end before their time (RFC 9113 sections 5.4 and 6.8).

use super::{
    Abuse, Http2, Phase,
    connection::Fault,
    frame::{self, Code},
};

/// How far the end of the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    No,
    /// The client was told, and may have asked more before it heard.
    Announced,
    /// The client itself asks for nothing more: it ends with what is under way.
    Parting,
    /// The client knows the last stream that is answered. Later ones are not.
    Named,
}

/// Where the head of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Waiting,
    Sent,
}

impl Http2 {
    /// Ends the connection at once (RFC 9113 section 5.4.1).
    pub(super) fn end(&mut self, code: Code) {
        if self.phase != Phase::Over {
            frame::put_goaway(&mut self.control, self.served, code);
            self.over();
        }
    }

    pub(super) fn over(&mut self) {
        self.phase = Phase::Over;
        self.streams.clear();
        self.pending = None;
        self.block = Vec::new();
    }

    /// Ends a stream that the client got wrong (RFC 9113 section 5.4.2).
    pub(super) fn reset(&mut self, id: u32, code: Code) -> Result<(), Abuse> {
        if code == Code::RefusedStream && !self.acknowledged {
            self.guard.early()?;
        } else {
            self.guard.provoked()?;
        }
        self.cut(id, code);
        Ok(())
    }

    /// Ends a stream. What still comes on it is ignored.
    pub(super) fn cut(&mut self, id: u32, code: Code) {
        self.heads += usize::from(self.forget(id) == Some(Said::Waiting));
        self.history.cut(id);
        frame::put_reset(&mut self.control, id, code);
    }

    /// Removes a stream that did not come to its end, and gives what became of the head of its answer.
    pub(super) fn forget(&mut self, id: u32) -> Option<Said> {
        let stream = self.streams.remove(id)?;
        Some(if stream.batch == self.batch { Said::Waiting } else { Said::Sent })
    }

    pub(super) fn fail(&mut self, fault: Fault) {
        let fault = match fault {
            Fault::Stream(id, code) => self.reset(id, code).err().map(Fault::Abuse),
            other => Some(other),
        };
        match fault {
            Some(Fault::Connection(code)) => self.end(code),
            Some(Fault::Abuse(abuse)) => {
                self.abuse = Some(abuse);
                self.end(Code::EnhanceYourCalm);
            }
            _ => {}
        }
    }

    /// Names the last stream that is answered (RFC 9113 section 6.8).
    pub(super) fn name_last(&mut self) {
        if matches!(self.ending, Ending::Announced | Ending::Parting) {
            frame::put_goaway(&mut self.control, self.served, Code::NoError);
            self.ending = Ending::Named;
        }
    }

    /// Ends a connection that shall end, if nothing is under way, and nothing on its way that the client sent before it
    /// knew (RFC 9113 section 6.8).
    pub(super) fn settle(&mut self) {
        let is_due = matches!(self.ending, Ending::Parting | Ending::Named);
        if is_due && self.streams.is_empty() && self.pending.is_none() && self.phase != Phase::Over {
            self.name_last();
            self.over();
        }
    }
}

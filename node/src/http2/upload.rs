//! The content of a request: counted, never kept.
//!
//! No answer depends on it, and each is given as soon as the head is read. The client may go on sending until the answer
//! is complete, within a bound; then it is asked to stop (RFC 9113 section 8.1).

use super::frame::{Code, WINDOW};

/// How much of a content is read while its answer is under way. A client that sends everything before it reads gets
/// that far; nothing on a site that is only read needs more.
const MOST: i64 = 256 * 1024;

/// What is still to come of a request.
#[derive(Debug)]
pub(super) struct Upload {
    /// Its length, as announced.
    announced: Option<u64>,
    got: u64,
    window: i64,
    /// By how much the window may still be opened.
    more: i64,
}

impl Upload {
    /// A content of this length, if it was announced.
    pub(super) fn new(announced: Option<u64>) -> Self {
        Self { announced, got: 0, window: WINDOW, more: MOST - WINDOW }
    }

    /// Data came, in a frame that counts `frame` bytes.
    ///
    /// # Errors
    ///
    /// The code of the error of the stream: more than the window allows, or than was announced.
    pub(super) fn data(&mut self, frame: usize, data: usize) -> Result<(), Code> {
        self.got += data as u64;
        take(&mut self.window, frame)?;
        if self.announced.is_some_and(|announced| self.got > announced) { Err(Code::Protocol) } else { Ok(()) }
    }

    /// It ended.
    ///
    /// # Errors
    ///
    /// The code of the error of the stream: less than was announced (RFC 9113 section 8.1.1).
    pub(super) fn end(&self) -> Result<(), Code> {
        if self.announced.is_some_and(|announced| self.got != announced) { Err(Code::Protocol) } else { Ok(()) }
    }

    /// By how much the window is to be opened now.
    pub(super) fn open(&mut self) -> Option<u32> {
        let by = refill(&mut self.window, self.more)?;
        self.more -= i64::from(by);
        Some(by)
    }
}

/// Takes a frame's bytes from a window of this side.
pub(super) fn take(window: &mut i64, bytes: usize) -> Result<(), Code> {
    *window -= i64::try_from(bytes).unwrap_or(WINDOW);
    if *window < 0 { Err(Code::FlowControl) } else { Ok(()) }
}

/// Fills up a window that is half empty, by `most` at most. Gives by how much.
pub(super) fn refill(window: &mut i64, most: i64) -> Option<u32> {
    let by = (WINDOW - *window).min(most);
    if *window > WINDOW / 2 || by <= 0 {
        return None;
    }
    *window += by;
    u32::try_from(by).ok()
}

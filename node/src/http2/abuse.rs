//! What a client may do without asking for anything, and what it costs it to do more: the connection.
//!
//! HTTP/2 lets a client make a server work with a few bytes. Every such way has a bound here, in proportion to what the
//! connection was good for: a client that reads pages for hours does all of these now and then, an attack does one of
//! them only.

/// Streams that may end badly beyond those that were answered to the end. A browser that leaves a page resets all that
/// is open, which is a hundred at most; so may one whose whole cache turns out to be of use.
const BAD_ENDS: u64 = 100;

/// Streams that may be refused before the client has acknowledged how many it may open: until then it may open as many
/// as it likes (RFC 9113 section 6.5.2), and some do.
const EARLY: u64 = 1000;

/// CONTINUATION frames of one head. At the usual payload they would hold half a megabyte, and the smallest that anyone
/// is known to send still hold a head of the usual size.
const CONTINUATIONS: u32 = 32;

/// DATA frames without data beyond the requests: no client has a use for them, but some end a content with one.
const EMPTY: u64 = 100;

/// SETTINGS and PING that may wait for their acknowledgement. A client changes its settings once or twice, and measures
/// with one PING at a time.
const ACKS: u32 = 100;

/// PRIORITY and PRIORITY_UPDATE at any time, and for each request: some clients build a tree of priorities first, and
/// browsers say of a picture that came into view that it did.
const PRIORITIES: (u64, u64) = (200, 8);

/// WINDOW_UPDATE at any time, and for each request: the stream's and the connection's, at most twice.
const WINDOWS: (u64, u64) = (1000, 4);

/// Bytes of bodies that earn another WINDOW_UPDATE. Real windows are opened by thousands.
const WINDOW: u64 = 128;

/// A bound that a client did not keep: it was sent away with ENHANCE_YOUR_CALM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Abuse {
    /// It asks and resets (CVE-2023-44487).
    RapidReset,
    /// It makes this side reset (CVE-2025-8671), or asks for more at once than it may.
    ProvokedReset,
    /// A head in too many or too large pieces (CVE-2024-27316).
    Continuation,
    /// A head that is small until it is decoded (CVE-2016-6581).
    HeadBomb,
    /// DATA without data (CVE-2019-9518).
    EmptyData,
    /// PING or SETTINGS, without reading the answers (CVE-2019-9512, CVE-2019-9515).
    Acks,
    /// One priority after the other (CVE-2019-9513).
    Priority,
    /// Windows that are opened bit by bit (CVE-2019-9511).
    WindowUpdate,
}

/// What a connection was good for, and what it was not.
#[derive(Debug, Default)]
pub(super) struct Guard {
    requests: u64,
    completed: u64,
    body: u64,
    resets: u64,
    provoked: u64,
    early: u64,
    empty: u64,
    acks: u32,
    priorities: u64,
    windows: u64,
}

impl Guard {
    /// A request was read.
    pub(super) fn requested(&mut self) {
        self.requests += 1;
    }

    /// Requests read.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// An answer was sent to its end.
    pub(super) fn completed(&mut self) {
        self.completed += 1;
    }

    /// A part of a body was sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.body += bytes as u64;
    }

    /// What waited was sent, acknowledgements among it.
    pub(super) fn flushed(&mut self) {
        self.acks = 0;
    }

    /// The client reset a stream before its answer was sent.
    pub(super) fn reset(&mut self) -> Result<(), Abuse> {
        self.resets += 1;
        self.bad_end(Abuse::RapidReset)
    }

    /// The client made this side reset a stream.
    pub(super) fn provoked(&mut self) -> Result<(), Abuse> {
        self.provoked += 1;
        self.bad_end(Abuse::ProvokedReset)
    }

    /// The client asked for more at once than it may, but could not know yet.
    pub(super) fn early(&mut self) -> Result<(), Abuse> {
        self.early += 1;
        within(self.early, EARLY, Abuse::ProvokedReset)
    }

    fn bad_end(&self, abuse: Abuse) -> Result<(), Abuse> {
        within(self.resets + self.provoked, self.completed + BAD_ENDS, abuse)
    }

    /// A head goes on for the nth time, and has so many of `most` bytes.
    pub(super) fn continued(nth: u32, bytes: usize, most: usize) -> Result<(), Abuse> {
        if nth > CONTINUATIONS || bytes > most { Err(Abuse::Continuation) } else { Ok(()) }
    }

    /// DATA came without data, and was not the last.
    pub(super) fn empty(&mut self) -> Result<(), Abuse> {
        self.empty += 1;
        within(self.empty, EMPTY + self.requests, Abuse::EmptyData)
    }

    /// Something is to be acknowledged.
    pub(super) fn acknowledge(&mut self) -> Result<(), Abuse> {
        self.acks += 1;
        if self.acks > ACKS { Err(Abuse::Acks) } else { Ok(()) }
    }

    /// A priority was said in a frame of its own.
    pub(super) fn prioritized(&mut self) -> Result<(), Abuse> {
        self.priorities += 1;
        let (always, each) = PRIORITIES;
        within(self.priorities, always + each * self.requests, Abuse::Priority)
    }

    /// A window was opened.
    pub(super) fn window(&mut self) -> Result<(), Abuse> {
        self.windows += 1;
        let (always, each) = WINDOWS;
        within(self.windows, always + each * self.requests + self.body / WINDOW, Abuse::WindowUpdate)
    }
}

fn within(count: u64, most: u64, abuse: Abuse) -> Result<(), Abuse> {
    if count > most { Err(abuse) } else { Ok(()) }
}

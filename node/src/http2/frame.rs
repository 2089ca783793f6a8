//! Frames: their headers, kinds, flags and error codes (RFC 9113 sections 4, 6 and 7).
//!
//! Nothing here knows a connection's state. A frame that is larger than allowed is refused before its payload is there.

/// What a client sends first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The length of a frame's header.
pub(super) const HEADER: usize = 9;

/// The largest payload that is read, and that is sent unless the client says otherwise: the least that everyone must
/// read (RFC 9113 section 6.5.2). Larger ones would hold up what is more urgent.
pub(super) const PAYLOAD: usize = 16_384;

/// The largest flow-control window (RFC 9113 section 6.9.1).
pub(super) const WINDOW_MAX: i64 = 0x7fff_ffff;

/// The windows before anyone says otherwise (RFC 9113 section 6.9.2).
pub(super) const WINDOW: i64 = 65_535;

/// The kinds of frames.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PUSH_PROMISE: u8 = 5;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
    /// RFC 9218 section 7.1.
    pub(in super::super) const PRIORITY_UPDATE: u8 = 0x10;
}

/// The flags of frames.
pub(super) mod flag {
    /// Of SETTINGS and PING.
    pub(in super::super) const ACK: u8 = 1;
    pub(in super::super) const END_STREAM: u8 = 1;
    pub(in super::super) const END_HEADERS: u8 = 4;
    pub(in super::super) const PADDED: u8 = 8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// Why a stream or a connection ends (RFC 9113 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    NoError = 0,
    Protocol = 1,
    Internal = 2,
    FlowControl = 3,
    StreamClosed = 5,
    FrameSize = 6,
    RefusedStream = 7,
    Compression = 9,
    EnhanceYourCalm = 11,
}

/// A frame that was received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) id: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame that `input` begins with, if it is all there; an error if it is larger than allowed.
    pub(super) fn read(input: &'a [u8]) -> Result<Option<Self>, Code> {
        let Some((&[a, b, c, kind, flags, d, e, f, g], rest)) = input.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > PAYLOAD {
            return Err(Code::FrameSize);
        }
        let id = u32::from_be_bytes([d & 0x7f, e, f, g]);
        Ok(rest.get(..length).map(|payload| Self { kind, flags, id, payload }))
    }

    /// How many bytes it took.
    pub(super) fn len(&self) -> usize {
        HEADER + self.payload.len()
    }

    /// True if this flag is set.
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload without its padding (RFC 9113 sections 6.1 and 6.2).
    pub(super) fn unpadded(&self) -> Result<&'a [u8], Code> {
        if !self.has(flag::PADDED) {
            return Ok(self.payload);
        }
        let (&padding, rest) = self.payload.split_first().ok_or(Code::FrameSize)?;
        let end = rest.len().checked_sub(usize::from(padding)).ok_or(Code::Protocol)?;
        Ok(rest.get(..end).unwrap_or_default())
    }

    /// The payload, which has this length and no other.
    pub(super) fn exactly<const N: usize>(&self) -> Result<[u8; N], Code> {
        self.payload.try_into().map_err(|_| Code::FrameSize)
    }
}

/// The header of a frame. `length` is below 2^24.
pub(super) fn header(length: usize, kind: u8, flags: u8, id: u32) -> [u8; HEADER] {
    let [.., a, b, c] = length.to_be_bytes();
    let [d, e, f, g] = id.to_be_bytes();
    [a, b, c, kind, flags, d, e, f, g]
}

/// Appends a frame.
pub(super) fn put(into: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    into.extend_from_slice(&header(payload.len(), kind, flags, id));
    into.extend_from_slice(payload);
}

/// Appends RST_STREAM (RFC 9113 section 6.4).
pub(super) fn put_reset(into: &mut Vec<u8>, id: u32, code: Code) {
    put(into, kind::RST_STREAM, 0, id, &(code as u32).to_be_bytes());
}

/// Appends GOAWAY (RFC 9113 section 6.8).
pub(super) fn put_goaway(into: &mut Vec<u8>, last: u32, code: Code) {
    let [a, b, c, d] = last.to_be_bytes();
    let [e, f, g, h] = (code as u32).to_be_bytes();
    put(into, kind::GOAWAY, 0, 0, &[a, b, c, d, e, f, g, h]);
}

/// Appends WINDOW_UPDATE (RFC 9113 section 6.9).
pub(super) fn put_window(into: &mut Vec<u8>, id: u32, by: u32) {
    put(into, kind::WINDOW_UPDATE, 0, id, &by.to_be_bytes());
}

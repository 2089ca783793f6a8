//! Frames of HTTP/2 (RFC 9113 section 4 and 6), as far as a client that only counts bodies needs them.

use anyhow::ensure;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// Setting: entries of the other side's decoder of headers.
pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const ENABLE_PUSH: u16 = 2;
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

/// Longest payload, as this client never allows more than the default.
const LONGEST: usize = 1 << 14;

/// What a client has to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// Bytes of a body; `end` with the last.
    Data { stream: u32, bytes: usize, end: bool },
    /// The first bytes of a block of headers.
    Headers { stream: u32, block: &'a [u8], end: bool },
    /// A setting of the server.
    Setting { id: u16, value: u32 },
    /// All its settings have been told, and want an acknowledgement.
    Settled,
    /// Wants the same bytes back.
    Ping(&'a [u8]),
    /// A stream ended before its answer.
    Reset { stream: u32, code: u32 },
    /// The server takes no more requests.
    GoAway { code: u32 },
}

/// Cuts a stream of bytes into frames. Only frames other than DATA are kept until they are whole.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: Vec<u8>,
    frame: Option<Frame>,
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    left: usize,
}

impl Frames {
    /// Takes the next bytes of the connection.
    pub(crate) fn take(
        &mut self,
        mut bytes: &[u8],
        mut tell: impl FnMut(Event<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        loop {
            let Some(mut frame) = self.frame.take() else {
                let (header, rest) = bytes.split_at(bytes.len().min(9 - self.header.len()));
                self.header.extend_from_slice(header);
                bytes = rest;
                let [a, b, c, kind, flags, s, t, u, v] = *self.header.as_slice() else { return Ok(()) };
                self.header.clear();
                let left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                ensure!(left <= LONGEST, "a frame of {left} bytes");
                let stream = u32::from_be_bytes([s, t, u, v]) & (u32::MAX >> 1);
                let frame = Frame { kind, flags, stream, left };
                ensure!(kind > HEADERS || flags & (PADDED | PRIORITY) == 0, "padding, which is not reckoned with");
                if left == 0 {
                    complete(frame, &[], &mut tell)?;
                } else {
                    self.frame = Some(frame);
                }
                continue;
            };
            if bytes.is_empty() {
                self.frame = Some(frame);
                return Ok(());
            }
            let (payload, rest) = bytes.split_at(bytes.len().min(frame.left));
            bytes = rest;
            frame.left -= payload.len();
            let whole = frame.left == 0;
            if frame.kind == DATA {
                let end = whole && frame.flags & END_STREAM != 0;
                tell(Event::Data { stream: frame.stream, bytes: payload.len(), end })?;
            } else if whole && self.held.is_empty() {
                complete(frame, payload, &mut tell)?;
            } else {
                self.held.extend_from_slice(payload);
                if whole {
                    complete(frame, &self.held, &mut tell)?;
                    self.held.clear();
                }
            }
            if !whole {
                self.frame = Some(frame);
            }
        }
    }
}

/// Tells what a whole frame says.
fn complete(
    frame: Frame,
    payload: &[u8],
    tell: &mut impl FnMut(Event<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Frame { kind, flags, stream, .. } = frame;
    let number = |at: usize| payload.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u32::from_be_bytes(*b));
    match kind {
        DATA => tell(Event::Data { stream, bytes: 0, end: flags & END_STREAM != 0 }),
        HEADERS => tell(Event::Headers { stream, block: payload, end: flags & END_STREAM != 0 }),
        SETTINGS if flags & ACK == 0 => {
            for setting in payload.as_chunks::<6>().0 {
                let [a, b, value @ ..] = *setting;
                tell(Event::Setting { id: u16::from_be_bytes([a, b]), value: u32::from_be_bytes(value) })?;
            }
            tell(Event::Settled)
        }
        PING if flags & ACK == 0 => tell(Event::Ping(payload)),
        RST_STREAM => tell(Event::Reset { stream, code: number(0) }),
        GOAWAY => tell(Event::GoAway { code: number(4) }),
        // Credit for bodies, which no request here has; acknowledgements; what later versions may bring.
        _ => Ok(()),
    }
}

/// Appends a frame.
pub(crate) fn push(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, high, mid, low] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&[high, mid, low, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out, SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]);
        push(&mut out, SETTINGS, ACK, 0, &[]);
        push(&mut out, HEADERS, END_HEADERS, 1, &[0x88, 1, 2]);
        push(&mut out, DATA, 0, 1, b"hello");
        push(&mut out, DATA, END_STREAM, 1, b"");
        push(&mut out, PING, 0, 0, &[7; 8]);
        push(&mut out, WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
        push(&mut out, RST_STREAM, 0, 3, &[0, 0, 0, 8]);
        push(&mut out, GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 11]);
        out
    }

    /// What is told, bytes of bodies added up.
    fn told(parts: impl Iterator<Item = Vec<u8>>) -> (Vec<String>, usize) {
        let (mut frames, mut events, mut body) = (Frames::default(), Vec::new(), 0);
        for part in parts {
            let tell = |event: Event<'_>| {
                if let Event::Data { bytes, .. } = event {
                    body += bytes;
                }
                if !matches!(event, Event::Data { end: false, .. }) {
                    events.push(format!("{event:?}"));
                }
                Ok(())
            };
            frames.take(&part, tell).unwrap();
        }
        (events, body)
    }

    #[test]
    fn frames_in_any_parts_tell_the_same() {
        let bytes = stream();
        let (events, body) = told([bytes.clone()].into_iter());
        assert_eq!(body, 5);
        assert_eq!(
            events,
            [
                "Setting { id: 1, value: 0 }",
                "Setting { id: 3, value: 100 }",
                "Settled",
                "Headers { stream: 1, block: [136, 1, 2], end: false }",
                "Data { stream: 1, bytes: 0, end: true }",
                "Ping([7, 7, 7, 7, 7, 7, 7, 7])",
                "Reset { stream: 3, code: 8 }",
                "GoAway { code: 11 }",
            ]
        );
        for size in 1..20 {
            let parts = bytes.chunks(size).map(<[u8]>::to_vec);
            assert_eq!(told(parts), (events.clone(), body), "parts of {size}");
        }
    }

    #[test]
    fn what_would_be_miscounted_is_refused() {
        let mut padded = Vec::new();
        push(&mut padded, DATA, PADDED, 1, &[1, 0, 0]);
        assert!(Frames::default().take(&padded, |_| Ok(())).is_err());
        assert!(Frames::default().take(&[0, 0x40, 1, DATA, 0, 0, 0, 0, 1], |_| Ok(())).is_err());
    }
}

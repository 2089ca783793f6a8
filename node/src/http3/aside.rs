//! What a client says beside its requests, on streams of its own (RFC 9114 sections 6.2 and 7.2, RFC 9204 section 4):
//! settings, how soon it wants what, and what it may not say. Bytes in, verdicts out.
//!
//! Nothing here is kept but a frame that is not complete, and a few numbers: what the client can do with pushes and
//! dynamic tables does not matter to a server that uses neither, but what it must not say about them does.

use std::collections::BTreeSet;

use bytes::{Buf as _, BytesMut};

use super::{
    code::Code,
    frame::{Header, kind, varint},
    priority,
};
use crate::{
    body::{USUAL, Urgency},
    head::Lines,
};

/// Kinds of streams (RFC 9114 section 6.2, RFC 9204 section 4.2).
const CONTROL: u64 = 0;
const PUSH: u64 = 1;
const ENCODER: u64 = 2;
const DECODER: u64 = 3;

/// A frame of which the content matters. Settings are some pairs of numbers, of which ten are known; the others are
/// shorter.
const MOST: u64 = 4 << 10;

/// Settings of HTTP/2 that HTTP/3 has no counterpart for (RFC 9114 section 7.2.4.1).
const SETTINGS_OF_HTTP2: std::ops::RangeInclusive<u64> = 2..=5;

/// Bytes that a number of an instruction may have.
const NUMBER: u8 = 10;

/// What a client has opened of the streams of which there may be one each.
#[derive(Debug, Default)]
pub(super) struct Opened(BTreeSet<u64>);

/// One stream of the client, as far as it came.
#[derive(Debug)]
pub(super) enum Aside {
    /// Its kind is not known yet.
    Unknown(Vec<u8>),
    Control(Control),
    /// Instructions to a dynamic table of no size.
    Encoder,
    /// About sections that referred to one: how many bytes of a number came, if it is within one.
    Decoder(Option<u8>),
    /// Reserved, or of an extension: not read.
    Ignored,
}

/// What is to be done with a stream that is fine so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// More is read.
    On,
    /// Nothing more is read (RFC 9114 section 6.2.3).
    Stop,
}

/// A request whose answer is wanted sooner or later than was said (RFC 9218 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Update {
    /// The number of its stream.
    pub(super) stream: u64,
    pub(super) urgency: Urgency,
}

impl Default for Aside {
    fn default() -> Self {
        Self::Unknown(Vec::new())
    }
}

impl Aside {
    /// Takes the next piece of the stream. What the client wants is handed to `update`.
    ///
    /// # Errors
    ///
    /// The code to close the connection with.
    pub(super) fn feed(
        &mut self,
        piece: &[u8],
        opened: &mut Opened,
        update: &mut dyn FnMut(Update),
    ) -> Result<Flow, Code> {
        if let Self::Unknown(held) = self {
            held.extend_from_slice(piece);
            let mut rest = held.as_slice();
            let Some(kind) = varint(&mut rest) else { return Ok(Flow::On) };
            if kind == PUSH || (kind <= DECODER && !opened.0.insert(kind)) {
                return Err(Code::StreamCreation);
            }
            let rest = rest.to_vec();
            *self = match kind {
                CONTROL => Self::Control(Control::default()),
                ENCODER => Self::Encoder,
                DECODER => Self::Decoder(None),
                _ => Self::Ignored,
            };
            return self.take(&rest, update);
        }
        self.take(piece, update)
    }

    fn take(&mut self, piece: &[u8], update: &mut dyn FnMut(Update)) -> Result<Flow, Code> {
        match self {
            Self::Control(control) => control.feed(piece, update)?,
            // RFC 9204 section 4.3.1: the only capacity there can be is none. Whatever else is said needs more.
            Self::Encoder if piece.iter().any(|byte| *byte != 0x20) => return Err(Code::EncoderStream),
            Self::Decoder(within) => decoder(piece, within)?,
            Self::Ignored => return Ok(Flow::Stop),
            Self::Encoder | Self::Unknown(_) => {}
        }
        Ok(Flow::On)
    }

    /// The client ends the stream, or breaks it off.
    ///
    /// # Errors
    ///
    /// The code to close the connection with.
    pub(super) fn end(&self) -> Result<(), Code> {
        match self {
            Self::Control(_) | Self::Encoder | Self::Decoder(_) => Err(Code::ClosedCriticalStream),
            Self::Unknown(_) | Self::Ignored => Ok(()),
        }
    }
}

/// RFC 9204 section 4.4: a stream may be cancelled; nothing can be acknowledged, and nothing was inserted.
fn decoder(piece: &[u8], within: &mut Option<u8>) -> Result<(), Code> {
    for &byte in piece {
        *within = match *within {
            Some(NUMBER..) => return Err(Code::DecoderStream),
            Some(bytes) => (byte & 0x80 != 0).then_some(bytes + 1),
            None if byte & 0xc0 != 0x40 => return Err(Code::DecoderStream),
            None => (byte & 0x3f == 0x3f).then_some(1),
        };
    }
    Ok(())
}

/// The control stream.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// A frame that is not complete, from its header on.
    held: BytesMut,
    /// Bytes to come of a frame that is skipped.
    skip: u64,
    has_settings: bool,
    goaway: Option<u64>,
    pushes: Option<u64>,
}

impl Control {
    fn feed(&mut self, piece: &[u8], update: &mut dyn FnMut(Update)) -> Result<(), Code> {
        self.held.extend_from_slice(piece);
        loop {
            let gone = usize::try_from(self.skip).unwrap_or(usize::MAX).min(self.held.len());
            self.held.advance(gone);
            self.skip -= gone as u64;
            let Some(header) = Header::read(&self.held) else { return Ok(()) };
            if !self.has_settings && header.kind != kind::SETTINGS {
                return Err(Code::MissingSettings);
            }
            if !is_known(header.kind)? {
                self.held.advance(header.size);
                self.skip = header.len;
                continue;
            }
            if header.len > MOST {
                return Err(Code::ExcessiveLoad);
            }
            let end = header.end().ok_or(Code::ExcessiveLoad)?;
            if self.held.len() < end {
                return Ok(());
            }
            let frame = self.held.split_to(end);
            self.frame(header.kind, frame.get(header.size..).unwrap_or_default(), update)?;
        }
    }

    fn frame(&mut self, kind: u64, payload: &[u8], update: &mut dyn FnMut(Update)) -> Result<(), Code> {
        match kind {
            kind::SETTINGS if self.has_settings => Err(Code::FrameUnexpected),
            kind::SETTINGS => {
                self.has_settings = true;
                settings(payload)
            }
            // RFC 9114 section 5.2: the numbers of a client are those of pushes, and only become smaller.
            kind::GOAWAY => {
                let id = only(payload)?;
                if self.goaway.replace(id).is_some_and(|before| before < id) { Err(Code::Id) } else { Ok(()) }
            }
            kind::MAX_PUSH_ID => {
                let id = only(payload)?;
                if self.pushes.replace(id).is_some_and(|before| before > id) { Err(Code::Id) } else { Ok(()) }
            }
            kind::PRIORITY_UPDATE => {
                let mut rest = payload;
                let stream = varint(&mut rest).ok_or(Code::Frame)?;
                // RFC 9218 section 7.2: the streams of requests.
                if stream % 4 != 0 {
                    return Err(Code::Id);
                }
                let mut lines = Lines::default();
                lines.push(rest);
                // What is left out is what it is without a word (RFC 9218 section 7).
                update(Update { stream, urgency: priority::asked(&lines).unwrap_or(USUAL) });
                Ok(())
            }
            // Of what was never promised.
            kind::CANCEL_PUSH => only(payload).and(Err(Code::Id)),
            _ => Err(Code::Id),
        }
    }
}

/// True for frames whose content matters, false for those to skip.
fn is_known(kind: u64) -> Result<bool, Code> {
    match kind {
        kind::SETTINGS
        | kind::GOAWAY
        | kind::MAX_PUSH_ID
        | kind::CANCEL_PUSH
        | kind::PRIORITY_UPDATE
        | kind::PRIORITY_UPDATE_OF_PUSH => Ok(true),
        kind::DATA | kind::HEADERS | kind::PUSH_PROMISE => Err(Code::FrameUnexpected),
        kind if kind::OF_HTTP2.contains(&kind) => Err(Code::FrameUnexpected),
        _ => Ok(false),
    }
}

/// A payload that is one number.
fn only(payload: &[u8]) -> Result<u64, Code> {
    let mut rest = payload;
    varint(&mut rest).filter(|_| rest.is_empty()).ok_or(Code::Frame)
}

/// RFC 9114 section 7.2.4: none of them changes what is sent here, but what is no list of settings is an error.
fn settings(payload: &[u8]) -> Result<(), Code> {
    let (mut rest, mut seen) = (payload, BTreeSet::new());
    while !rest.is_empty() {
        let name = varint(&mut rest).ok_or(Code::Frame)?;
        varint(&mut rest).ok_or(Code::Frame)?;
        if SETTINGS_OF_HTTP2.contains(&name) || !seen.insert(name) {
            return Err(Code::Settings);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http3::frame::put_varint;

    fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_varint(kind, &mut bytes);
        put_varint(payload.len() as u64, &mut bytes);
        bytes.extend_from_slice(payload);
        bytes
    }

    /// What comes of a stream in pieces of this size, and what it asked for.
    fn said(bytes: &[u8], piece: usize) -> (Result<Flow, Code>, Vec<Update>) {
        let (mut aside, mut opened, mut updates) = (Aside::default(), Opened::default(), Vec::new());
        let mut flow = Ok(Flow::On);
        for piece in bytes.chunks(piece) {
            flow = aside.feed(piece, &mut opened, &mut |update| updates.push(update));
            if flow != Ok(Flow::On) {
                break;
            }
        }
        (flow, updates)
    }

    fn control(frames: &[Vec<u8>]) -> Result<Flow, Code> {
        let bytes = [&[vec![0]], frames].concat().concat();
        let (whole, _) = said(&bytes, usize::MAX);
        assert_eq!(said(&bytes, 1).0, whole, "in pieces: {bytes:?}");
        whole
    }

    #[test]
    fn settings_come_first_and_once() {
        let settings = frame(4, &[6, 0x44, 0, 0x21, 1]);
        assert_eq!(control(std::slice::from_ref(&settings)), Ok(Flow::On));
        assert_eq!(control(&[settings.clone(), settings.clone()]), Err(Code::FrameUnexpected));
        for other in [0, 1, 7, 0xd, 0x21] {
            assert_eq!(control(&[frame(other, &[0]), settings.clone()]), Err(Code::MissingSettings), "{other}");
        }
        for (payload, code) in [
            (&[2, 1][..], Code::Settings),
            (&[5, 1], Code::Settings),
            (&[6, 1, 6, 1], Code::Settings),
            (&[6], Code::Frame),
            (&[6, 0x80, 0], Code::Frame),
        ] {
            assert_eq!(control(&[frame(4, payload)]), Err(code), "{payload:?}");
        }
        assert_eq!(control(&[frame(4, &[0x21; 5000])]), Err(Code::ExcessiveLoad));
    }

    #[test]
    fn frames_of_the_control_stream() {
        let after = |frames: &[Vec<u8>]| control(&[&[frame(4, &[])], frames].concat());
        for kind in [0, 1, 2, 5, 6, 8, 9] {
            assert_eq!(after(&[frame(kind, &[0])]), Err(Code::FrameUnexpected), "{kind}");
        }
        assert_eq!(after(&[frame(0x21, &[7; 9000]), frame(0xf0_0000, &[])]), Ok(Flow::On));
        assert_eq!(after(&[frame(7, &[4]), frame(7, &[4]), frame(7, &[0])]), Ok(Flow::On));
        assert_eq!(after(&[frame(7, &[4]), frame(7, &[8])]), Err(Code::Id));
        assert_eq!(after(&[frame(0xd, &[4]), frame(0xd, &[8])]), Ok(Flow::On));
        assert_eq!(after(&[frame(0xd, &[4]), frame(0xd, &[3])]), Err(Code::Id));
        assert_eq!(after(&[frame(3, &[0])]), Err(Code::Id));
        assert_eq!(after(&[frame(0xf_0701, b"\0u=1")]), Err(Code::Id));
        for kind in [3, 7, 0xd] {
            for payload in [&[][..], &[0, 0], &[0x80]] {
                assert_eq!(after(&[frame(kind, payload)]), Err(Code::Frame), "{kind}: {payload:?}");
            }
        }
    }

    #[test]
    fn how_soon_an_answer_is_wanted() {
        let updates = [b"\x04u=1, i".as_slice(), b"\x08u=9", b"\x40\x40u=0"].map(|payload| frame(0xf_0700, payload));
        let bytes = [&[0][..], &frame(4, &[]), &updates.concat()].concat();
        let expected = [(4, 1), (8, USUAL), (64, 0)].map(|(stream, urgency)| Update { stream, urgency }).to_vec();
        for piece in [1, 7, usize::MAX] {
            assert_eq!(said(&bytes, piece), (Ok(Flow::On), expected.clone()));
        }
        assert_eq!(control(&[frame(4, &[]), frame(0xf_0700, b"\x03u=1")]), Err(Code::Id));
        assert_eq!(control(&[frame(4, &[]), frame(0xf_0700, b"")]), Err(Code::Frame));
    }

    #[test]
    fn streams_are_what_they_begin_with() {
        for (bytes, expected) in [
            (&[1, 0][..], Err(Code::StreamCreation)),
            (&[2, 0x20, 0x20], Ok(Flow::On)),
            (&[2, 0x3f], Err(Code::EncoderStream)),
            (&[2, 0x21], Err(Code::EncoderStream)),
            (&[2, 0xc0], Err(Code::EncoderStream)),
            (&[2, 0x43], Err(Code::EncoderStream)),
            (&[2, 0], Err(Code::EncoderStream)),
            (&[3, 0x40, 0x7f, 0x80, 1, 0x44], Ok(Flow::On)),
            (&[3, 0], Err(Code::DecoderStream)),
            (&[3, 5], Err(Code::DecoderStream)),
            (&[3, 0x80], Err(Code::DecoderStream)),
            (&[3, 0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80], Err(Code::DecoderStream)),
            (&[0x21, 1, 2, 3], Ok(Flow::Stop)),
            (&[0x40, 0x54], Ok(Flow::Stop)),
            (&[0x40], Ok(Flow::On)),
        ] {
            assert_eq!(said(bytes, usize::MAX).0, expected, "{bytes:?}");
            assert_eq!(said(bytes, 1).0, expected, "{bytes:?}");
        }
    }

    #[test]
    fn there_is_one_of_each_and_none_of_them_ends() {
        for kind in [0, 2, 3] {
            let (mut first, mut second, mut opened) = (Aside::default(), Aside::default(), Opened::default());
            assert_eq!(first.end(), Ok(()));
            assert_eq!(first.feed(&[kind], &mut opened, &mut |_| ()), Ok(Flow::On));
            assert_eq!(first.end(), Err(Code::ClosedCriticalStream));
            assert_eq!(second.feed(&[kind], &mut opened, &mut |_| ()), Err(Code::StreamCreation));
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1..40_usize) {
            let control = [&[0, 4, 0][..], bytes.as_slice()].concat();
            for bytes in [&bytes, &control] {
                prop_assert_eq!(said(bytes, piece), said(bytes, usize::MAX));
            }
        }
    }
}

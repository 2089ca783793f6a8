//! A client made of bytes: what it sends is written frame by frame, and what it gets is read as a few words for each.

mod abuse;
mod arbitrary;
mod client;
mod compression;
mod ending;
mod flow;
mod frames;
mod order;
mod requests;

use bytes::{Bytes, BytesMut};

use super::{
    Http2, Http2Limits,
    frame::{PREFACE, flag, header, kind},
    hpack::{self, Decoder},
};
use crate::{
    block::Block,
    body::Body,
    engine::{Desk, Engine, Outbox, Refusal, Sink},
    head::{Field, Head, Method},
};

/// What the desk saw of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    method: Method,
    path: String,
    query: bool,
    authority: Option<String>,
    range: Vec<String>,
}

/// Answers `/<n>` with n bytes, `/304` with none, `/long` with a head of 40,000 bytes, and `/silence` not at all.
#[derive(Debug, Default)]
struct Site {
    seen: Vec<Seen>,
    refused: Vec<Refusal>,
    urgency: Option<u8>,
}

/// The first `length` bytes of every body.
fn content(length: usize) -> Bytes {
    (0..length).map(|at| (at ^ at >> 8 ^ at >> 16).to_le_bytes()[0]).collect()
}

impl Desk for Site {
    fn answer(&mut self, head: &Head<'_>, sink: &mut dyn Sink) -> Body {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.seen.push(Seen {
            method: head.method,
            path: text(head.path),
            query: head.query.is_some(),
            authority: head.authority.map(text),
            range: head.lines(Field::Range).iter().map(text).collect(),
        });
        let usual = Block::new([("content-type", "text/plain")]);
        let length = match head.path {
            b"/304" => {
                sink.head(304, &[&usual]);
                return Body::empty();
            }
            b"/long" => {
                sink.head(200, &[&usual, &Block::new([("long", "\u{e9}".repeat(20_000).as_str())])]);
                return Body::new(content(5));
            }
            b"/silence" => return Body::empty(),
            path => text(path).trim_start_matches('/').parse().unwrap_or(0),
        };
        sink.head(200, &[&usual, &Block::new([("content-length", length.to_string().as_str())])]);
        let body = if head.method == Method::Head { Body::empty() } else { Body::new(content(length)) };
        match self.urgency {
            Some(urgency) => body.with_urgency(urgency),
            None => body,
        }
    }

    fn refuse(&mut self, refusal: Refusal, sink: &mut dyn Sink) -> Body {
        self.refused.push(refusal);
        sink.head(refusal.status(), &[]);
        Body::empty()
    }
}

/// A connection between a client of bytes and the engine.
struct Line {
    engine: Http2,
    site: Site,
    input: BytesMut,
    decoder: Decoder,
    /// A head that is not complete.
    block: Vec<u8>,
}

impl Line {
    /// Nothing was sent yet.
    fn new(limits: Http2Limits) -> Self {
        let (input, block) = (BytesMut::new(), Vec::new());
        Self { engine: Http2::new(limits), site: Site::default(), input, decoder: Decoder::new(4096), block }
    }

    /// Both sides have said their settings; these are the client's.
    fn with(settings: &[(u16, u32)]) -> Self {
        let mut line = Self::new(Http2Limits::default());
        line.send(&[PREFACE.to_vec(), settings_frame(settings), frame(kind::SETTINGS, flag::ACK, 0, &[])].concat());
        assert_eq!(line.get(), "SETTINGS 18; SETTINGS ack");
        line
    }

    fn met() -> Self {
        Self::with(&[])
    }

    fn send(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.engine.receive(&mut self.input, &mut self.site);
    }

    /// What the engine sends now, with this budget.
    fn some(&mut self, budget: usize) -> Vec<u8> {
        let mut out = Outbox::default();
        self.engine.transmit(&mut out, budget);
        out.pieces().flatten().copied().collect()
    }

    /// Everything that the engine sends now, in words.
    fn get(&mut self) -> String {
        let mut bytes = self.some(usize::MAX);
        assert!(self.some(usize::MAX).is_empty(), "not everything was sent at once");
        let mut words = Vec::new();
        while let Some(frame) = next(&mut bytes) {
            words.extend(self.words(&frame));
        }
        words.join("; ")
    }

    /// Sends, and gets.
    fn talk(&mut self, frames: &[Vec<u8>]) -> String {
        self.send(&frames.concat());
        self.get()
    }

    fn words(&mut self, frame: &Got) -> Option<String> {
        let Got { kind, flags, id, payload } = frame;
        let end = if flags & flag::END_STREAM != 0 { " end" } else { "" };
        let ack = if flags & flag::ACK != 0 { " ack" } else { "" };
        let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        Some(match *kind {
            kind::DATA => format!("DATA {id} {}{end}", payload.len()),
            kind::HEADERS | kind::CONTINUATION => {
                self.block.extend_from_slice(payload);
                if flags & flag::END_HEADERS == 0 {
                    return Some(format!("PART {id} {}{end}", payload.len()));
                }
                self.decoder.decode(&std::mem::take(&mut self.block), 1 << 20).unwrap();
                let status = self.decoder.lines().next().map(|line| String::from_utf8_lossy(line.value).into_owned());
                format!("HEAD {id} {}{end}", status.unwrap_or_default())
            }
            kind::RST_STREAM => format!("RST {id} {}", word(0)),
            kind::SETTINGS if ack.is_empty() => format!("SETTINGS {}", payload.len()),
            kind::SETTINGS => "SETTINGS ack".to_owned(),
            kind::PING => format!("PING {}{ack}", String::from_utf8_lossy(payload).trim_end_matches('\0')),
            kind::GOAWAY => format!("GOAWAY {} {}", word(0), word(4)),
            kind::WINDOW_UPDATE => format!("WINDOW {id} {}", word(0)),
            other => format!("{other}?"),
        })
    }
}

/// A frame that the engine sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    kind: u8,
    flags: u8,
    id: u32,
    payload: Vec<u8>,
}

/// Takes the first frame of `bytes`.
fn next(bytes: &mut Vec<u8>) -> Option<Got> {
    let (&[a, b, c, kind, flags, d, e, f, g], rest) = bytes.split_first_chunk::<9>()?;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    let got = Got { kind, flags, id: u32::from_be_bytes([d, e, f, g]), payload: rest[..length].to_vec() };
    bytes.drain(..9 + length);
    Some(got)
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    [&header(payload.len(), kind, flags, id), payload].concat()
}

fn settings_frame(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(kind::SETTINGS, 0, 0, &payload)
}

fn window(id: u32, by: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, id, &by.to_be_bytes())
}

fn reset(id: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, id, &8_u32.to_be_bytes())
}

fn data(id: u32, flags: u8, length: usize) -> Vec<u8> {
    frame(kind::DATA, flags, id, &vec![0; length])
}

/// A field block.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        hpack::encode(name, value, &mut block);
    }
    block
}

/// The fields of a request for `path`, and more.
fn request<'a>(path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<u8> {
    fields(&[&[(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", path)], more].concat())
}

/// A request for `path`, complete.
fn get(id: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, id, &request(path, &[]))
}

/// A request for `path` whose content follows.
fn post(id: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS, id, &request(path, &[]))
}

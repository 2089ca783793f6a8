//! What reads bytes of strangers, as functions of bytes alone: for fuzzing.
//!
//! Each function takes any bytes, and panics if something does not hold that has to hold for all. `node/fuzz` runs them
//! under libFuzzer; the test here runs them on the files of `node/fuzz/corpus`, and on mutations of those that are the same
//! every time. Not part of what the node does.

use std::{net::IpAddr, time::Instant};

use bytes::{Bytes, BytesMut};

use crate::{
    admission::rules::{Material, Rules, conditions::Request},
    block::Block,
    body::Body,
    engine::{Desk, Engine, Outbox, Refusal, Sink},
    fields::{Line, request},
    head::{Field, Head},
    http1::Http1,
    http2::{
        Http2, Http2Limits,
        hpack::{Decoder, Size},
    },
    http3,
    proxied::{self, MAX_HEADER, Parsed, Trust, visitor},
};

/// A target: any bytes, and a panic if something does not hold.
pub type Target = fn(&[u8]);

/// All targets, by the names of their folders in the corpus.
pub const TARGETS: [(&str, Target); 8] = [
    ("http1", http1),
    ("http2", http2),
    ("hpack", hpack),
    ("http3_request", http3::fuzz::request),
    ("http3_aside", http3::fuzz::aside),
    ("preamble", preamble),
    ("forwarded", forwarded),
    ("rules", rules),
];

/// Limit of a head in these targets.
const HEAD: usize = 32 * 1024;

/// Answers everything with what it understood.
struct Echo;

impl Desk for Echo {
    fn answer(&mut self, head: &Head<'_>, sink: &mut dyn Sink) -> Body {
        let len = head.path.len() % 1000;
        sink.head(200, &[&Block::new([("content-length", len.to_string().as_str())])]);
        Body::new(Bytes::from(vec![b'x'; len]))
    }

    fn refuse(&mut self, refusal: Refusal, sink: &mut dyn Sink) -> Body {
        sink.head(refusal.status(), &[&Block::new([("content-length", "1")])]);
        Body::new(Bytes::from_static(b"x"))
    }
}

/// Everything that `engine` says to `bytes` that come in pieces of at most `piece` bytes.
fn said(engine: &mut dyn Engine, bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut input, mut out, mut said) = (BytesMut::new(), Outbox::default(), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(piece);
        loop {
            engine.receive(&mut input, &mut Echo);
            out.clear();
            engine.transmit(&mut out, 1 << 20);
            if out.is_empty() {
                break;
            }
            said.extend(out.pieces().flatten());
        }
        assert!(input.len() <= (64 << 10) + piece.len(), "it keeps what it does not use");
        assert_eq!(engine.backlog(), 0, "it keeps what it could have said");
    }
    engine.overdue(&mut Echo);
    out.clear();
    engine.transmit(&mut out, 1 << 20);
    said.extend(out.pieces().flatten());
    said
}

/// HTTP/1: how the bytes come in does not matter.
pub fn http1(bytes: &[u8]) {
    let whole = said(&mut Http1::new(), bytes, bytes.len());
    for piece in [1, 7] {
        assert_eq!(said(&mut Http1::new(), bytes, piece), whole, "in pieces of {piece}");
    }
}

/// HTTP/2, behind the preface. What is sent in between decides what a client may do next, so pieces may mean something
/// else than the whole.
pub fn http2(bytes: &[u8]) {
    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes].concat();
    for piece in [bytes.len(), 5] {
        said(&mut Http2::new(Http2Limits { head: HEAD, ..Http2Limits::default() }), &bytes, piece);
    }
}

/// HPACK: the bytes are blocks, each behind its length, on one connection.
pub fn hpack(mut bytes: &[u8]) {
    let mut decoder = Decoder::new(4096);
    while let Some((&len, rest)) = bytes.split_first() {
        let (block, rest) = rest.split_at(usize::from(len).min(rest.len()));
        bytes = rest;
        match decoder.decode(block, HEAD) {
            Ok(Size::Within) => fields(|| decoder.lines()),
            Ok(Size::Beyond) => {}
            Err(_) => return,
        }
    }
}

/// A request of fields that were decoded.
pub(crate) fn fields<'a, I: Iterator<Item = Line<'a>>>(lines: impl Fn() -> I) {
    let size: usize = lines().map(|line| line.name.len() + line.value.len() + 32).sum();
    assert!(size <= HEAD, "fields beyond their limit: {size}");
    let mut head = Head::default();
    if request::read(lines(), &mut head).is_ok() {
        assert!(head.path.first().is_none_or(|first| matches!(first, b'/' | b'*')), "{head:?}");
        assert!(head.path.len() <= request::TARGET && !head.path.contains(&b'?'));
    }
    request::trailers(lines());
}

/// The PROXY protocol: a header that is there is the same whatever follows, and one that is not may still come.
pub fn preamble(bytes: &[u8]) {
    let whole = proxied::parse(bytes);
    if let Parsed::Header { len, .. } = whole {
        assert!(len <= bytes.len() && len <= MAX_HEADER);
        let own = bytes.get(..len).unwrap_or_default();
        assert_eq!(proxied::parse(own), whole);
        for before in 0..len {
            assert_eq!(proxied::parse(own.get(..before).unwrap_or_default()), Parsed::Incomplete);
        }
    }
    if whole == Parsed::Incomplete {
        assert!(bytes.len() < MAX_HEADER, "it would be waited for without end");
    }
}

/// `Forwarded` and `X-Forwarded-For`, in turn, a line each: who is not trusted is not heard.
pub fn forwarded(bytes: &[u8]) {
    let trust = Trust { networks: ["10.0.0.0/8"].iter().filter_map(|text| text.parse().ok()).collect() };
    let mut head = Head::default();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        head.push(if number % 2 == 0 { Field::Forwarded } else { Field::XForwardedFor }, line);
    }
    let [proxy, stranger] = [[10, 0, 0, 1], [192, 0, 2, 1]].map(IpAddr::from);
    visitor(&trust, proxy, &head);
    assert_eq!(visitor(&trust, stranger, &head), stranger);
}

/// The file of the rules, and a request that meets them.
pub fn rules(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(rules) = Rules::new(&Material::of(text), None) else { return };
    let mut head = Head { path: b"/a/%62.csv", ..Head::default() };
    head.push(Field::UserAgent, b"curl/8");
    let request = Request::new(IpAddr::from([192, 0, 2, 1]), &head);
    let found = rules.iter().position(|rule| rule.why_not(&request).is_none());
    let decided = rules.decide(&request, 0, Instant::now());
    let decided = decided.and_then(|(rule, _)| rules.iter().position(|other| std::ptr::eq(rule, other)));
    assert_eq!(decided, found);
}

#[cfg(test)]
mod tests {
    use std::{fs, panic, path::Path};

    use super::*;

    /// Mutations of each file, and of each target together; more if `DIFUSOR_FUZZ_ROUNDS` says so.
    const ROUNDS: u64 = 2000;

    /// SplitMix64 (Steele, Lea, Flood 2014).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        fn below(&mut self, most: usize) -> usize {
            usize::try_from(self.next() % most.max(1) as u64).unwrap()
        }
    }

    /// Changes a few things, as fuzzers do.
    fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(5) {
            let at = random.below(bytes.len() + 1);
            let end = at + random.below((bytes.len() - at).min(40) + 1);
            let byte = random.next().to_le_bytes()[0];
            match random.below(8) {
                0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
                1 if at < bytes.len() => bytes[at] = byte,
                2 => bytes.insert(at, byte),
                3 => drop(bytes.drain(at..end)),
                4 => {
                    let part = bytes[at..end].to_vec();
                    let times = 1 + random.below(30);
                    bytes.splice(at..at, part.repeat(times));
                }
                5 => bytes.truncate(at),
                6 => {
                    let other = &seeds[random.below(seeds.len())];
                    let from = random.below(other.len() + 1);
                    bytes.splice(at..end, other[from..].iter().copied());
                }
                _ if at < bytes.len() => bytes[at] = [0, 0xff, 0x7f, 0x80, b'\r', b'\n', b'"', b'*'][random.below(8)],
                _ => {}
            }
        }
        bytes.truncate(64 << 10);
        bytes
    }

    /// Replays a target, and says which bytes it was if one fails.
    fn replay(name: &str, target: Target) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        assert!(seeds.len() >= 3, "{name} has no corpus");
        let run = |bytes: &[u8]| {
            let ended = panic::catch_unwind(|| target(bytes));
            assert!(ended.is_ok(), "{name}: {}", bytes.escape_ascii());
        };
        seeds.iter().for_each(|seed| run(seed));
        let rounds = std::env::var("DIFUSOR_FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
        let mut random = Random(std::env::var("DIFUSOR_FUZZ_SEED").map_or(1, |seed| seed.parse().unwrap()));
        for _ in 0..rounds {
            run(&mutate(&mut random, &seeds));
        }
    }

    macro_rules! replays {
        ($($name:ident $at:literal,)*) => {
            $(#[test]
            fn $name() {
                let (name, target) = TARGETS[$at];
                assert_eq!(name, stringify!($name));
                replay(name, target);
            })*
        };
    }

    replays! {
        http1 0, http2 1, hpack 2, http3_request 3, http3_aside 4, preamble 5, forwarded 6, rules 7,
    }
}

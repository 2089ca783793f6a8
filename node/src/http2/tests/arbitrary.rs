//! Whatever comes, in whatever pieces.

use proptest::prelude::*;

use super::*;
use crate::engine::State;

/// A frame that may be right: small ids, known kinds, payloads that often fit.
fn some_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..24),
        2 => Just(request("/20000", &[("priority", "u=1, i")])),
        1 => Just(request("/304", &[])),
        1 => any::<u32>().prop_map(|word| word.to_be_bytes().to_vec()),
        1 => (0_u16..10, any::<u32>()).prop_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()),
        1 => Just(b"drained?".to_vec()),
    ];
    let flags = prop_oneof![Just(0), Just(1), Just(4), Just(5), any::<u8>()];
    let id = prop_oneof![3 => (0_u32..40).prop_map(|nth| 2 * nth + 1), 2 => Just(0), 1 => any::<u32>()];
    (prop_oneof![6 => Just(1_u8), 6 => 0_u8..0x12], flags, id, payload)
        .prop_map(|(kind, flags, id, payload)| frame(kind, flags, id, &payload))
}

/// What a driver may do at any time.
#[derive(Debug, Clone)]
enum Act {
    Send(Vec<u8>),
    Transmit(usize),
    Drain,
    Ping,
    Overdue,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        40 => some_frame().prop_map(Act::Send),
        10 => (1_u32..60).prop_map(|nth| Act::Send(get(2 * nth - 1, "/20000"))),
        5 => (1_u32..60, 0_u32..9999).prop_map(|(nth, by)| Act::Send([window(2 * nth - 1, by), window(0, by + 1)].concat())),
        4 => (1_u32..60).prop_map(|nth| Act::Send(post(2 * nth - 1, "/20000"))),
        4 => (1_u32..60).prop_map(|nth| Act::Send(reset(2 * nth - 1))),
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Act::Send),
        20 => (0_usize..50_000).prop_map(Act::Transmit),
        1 => Just(Act::Drain),
        2 => Just(Act::Ping),
        1 => Just(Act::Overdue),
    ]
}

/// A conversation in which nothing goes wrong, and what comes of it.
fn conversation() -> (Vec<u8>, String) {
    let mut bytes = [PREFACE.to_vec(), settings_frame(&[(4, 1000)])].concat();
    for nth in 0..20_u32 {
        let id = 4 * nth + 1;
        let block = request("/1500", &[("range", "bytes=0-"), ("priority", "u=1")]);
        let (first, rest) = block.split_at(nth as usize);
        bytes.extend(get(id, "/300"));
        bytes.extend(frame(kind::HEADERS, flag::END_STREAM, id + 2, first));
        bytes.extend(frame(kind::CONTINUATION, flag::END_HEADERS, id + 2, rest));
        bytes.extend(frame(kind::PING, 0, 0, b"01234567"));
        bytes.extend(window(id + 2, 600));
        bytes.extend(frame(0xbb, 0xff, 7, &[nth.to_le_bytes()[0]; 30]));
    }
    let mut line = Line::new(Http2Limits::default());
    line.send(&bytes);
    let words = line.get();
    assert_eq!((words.matches(" end").count(), words.matches("PING").count()), (40, 20), "{words}");
    (bytes, words)
}

proptest! {
    #[test]
    fn bytes_never_panic(greeted: bool, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut line = if greeted { Line::met() } else { Line::new(Http2Limits::default()) };
        line.send(&bytes);
        line.get();
    }

    #[test]
    fn frames_never_panic(acts in prop::collection::vec(act(), 0..120)) {
        let mut line = Line::met();
        for act in acts {
            match act {
                Act::Send(bytes) => {
                    line.send(&bytes);
                    prop_assert!(line.input.len() < 9 + 16_384);
                    prop_assert!(line.engine.state() != State::Finished || line.input.is_empty());
                }
                Act::Transmit(budget) => {
                    let mut bytes = line.some(budget);
                    prop_assert!(bytes.len() <= budget + (1 << 16));
                    // Everything that is sent can be read.
                    while let Some(frame) = next(&mut bytes) { line.words(&frame); }
                    prop_assert!(bytes.is_empty());
                }
                Act::Drain => line.engine.drain(),
                Act::Ping => line.engine.ping(),
                Act::Overdue => line.engine.overdue(&mut line.site),
            }
            prop_assert!(line.engine.streams.len() <= 100);
            prop_assert!(line.engine.backlog() < 1 << 16);
            prop_assert!(line.engine.state() != State::Finished || line.engine.streams.is_empty());
        }
        line.get();
        prop_assert_eq!(line.engine.backlog(), 0);
    }

    /// The pieces in which bytes come change nothing, if they are answered when all are there.
    #[test]
    fn pieces_make_no_difference(cuts in prop::collection::vec(0_usize..5000, 0..40)) {
        let (bytes, expected) = conversation();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let mut line = Line::new(Http2Limits::default());
        for cut in cuts.windows(2) {
            line.send(&bytes[cut[0]..cut[1]]);
        }
        prop_assert_eq!(line.get(), expected);
        prop_assert!(line.input.is_empty());
    }

    /// Nor do they change which answers come, if each is sent when it can be.
    #[test]
    fn pieces_answered_at_once_are_answered_the_same(size in 1_usize..200) {
        let (bytes, expected) = conversation();
        let mut line = Line::new(Http2Limits::default());
        let mut words = Vec::new();
        for piece in bytes.chunks(size) {
            line.send(piece);
            words.push(line.get());
        }
        let count = |words: &str, what: &str| words.split("; ").filter(|word| word.contains(what)).count();
        let words = words.join("; ");
        for what in ["HEAD", "PING", "RST", "GOAWAY", "end"] {
            prop_assert_eq!(count(&words, what), count(&expected, what), "{}", what);
        }
        prop_assert_eq!(line.site.seen.len(), 40);
    }
}

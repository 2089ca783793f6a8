//! What a client may do to no end, and when it is sent away.

use super::*;
use crate::{engine::State, http2::Abuse};

/// Sends what `step` says again and again, for a new stream each time. All but the last are let pass, the last is not.
/// Between them so much is sent to the client, if anything.
fn endures(line: &mut Line, times: u32, sent: Option<usize>, abuse: Abuse, step: impl Fn(&Line, u32) -> Vec<u8>) {
    for nth in 0..times {
        assert_eq!(line.engine.abuse(), None, "{abuse:?}, {nth} of {times}");
        assert_ne!(line.engine.state(), State::Finished, "{abuse:?}, {nth} of {times}");
        if let Some(budget) = sent {
            line.some(budget);
        }
        let bytes = step(line, (line.engine.served + 1) | 1);
        line.send(&bytes);
    }
    assert_eq!(line.engine.abuse(), Some(abuse));
    assert_eq!(line.engine.state(), State::Finished);
    let words = line.get();
    assert!(words.ends_with(&format!("GOAWAY {} 11", line.engine.served)), "{words}");
}

/// A connection on which bodies do not move.
fn stuck() -> Line {
    Line::with(&[(4, 0)])
}

#[test]
fn rapid_reset() {
    endures(&mut stuck(), 101, Some(0), Abuse::RapidReset, |_, id| [get(id, "/5"), reset(id)].concat());
    // What was answered to the end may be followed by as much that was not.
    let mut line = Line::met();
    for id in (1..100).step_by(2) {
        assert!(line.talk(&[get(id, "/5")]).ends_with("end"));
    }
    line.send(&settings_frame(&[(4, 0)]));
    endures(&mut line, 151, Some(0), Abuse::RapidReset, |_, id| [get(id, "/5"), reset(id)].concat());
}

#[test]
fn provoked_resets() {
    type Step = fn(u32) -> Vec<u8>;
    let steps: [(&str, Step); 5] = [
        ("a window by nothing", |id| [get(id, "/5"), window(id, 0)].concat()),
        ("a window that overflows", |id| [get(id, "/5"), window(id, 0x7fff_ffff), window(id, 1)].concat()),
        ("data on a stream that ended", |id| [get(id, "/5"), data(id, 0, 1)].concat()),
        ("a dependency on itself", |id| [get(id, "/5"), frame(kind::PRIORITY, 0, id, &[0; 4])].concat()),
        ("no request at all", |id| frame(kind::HEADERS, 5, id, &[0x82])),
    ];
    for (why, step) in steps {
        println!("{why}");
        endures(&mut stuck(), 101, Some(0), Abuse::ProvokedReset, |_, id| step(id));
    }
}

#[test]
fn more_at_once_than_allowed() {
    let mut line = stuck();
    line.send(&(0..100).flat_map(|nth| get(2 * nth + 1, "/5")).collect::<Vec<_>>());
    endures(&mut line, 101, None, Abuse::ProvokedReset, |_, id| get(id, "/5"));
    assert_eq!(line.site.seen.len(), 100);
    // Before it knows how many are allowed it may try.
    let mut line = Line::new(Http2Limits::default());
    line.send(&[PREFACE.to_vec(), settings_frame(&[(4, 0)])].concat());
    line.send(&(0..100).flat_map(|nth| get(2 * nth + 1, "/5")).collect::<Vec<_>>());
    endures(&mut line, 1001, None, Abuse::ProvokedReset, |_, id| get(id, "/5"));
    // Nor are answers piled up for a client that does not take them.
    let mut line = Line::met();
    line.send(&(0..100).flat_map(|nth| get(2 * nth + 1, "/304")).collect::<Vec<_>>());
    let backlog = line.engine.backlog();
    line.send(&(100..200).flat_map(|nth| get(2 * nth + 1, "/304")).collect::<Vec<_>>());
    assert_eq!((line.site.seen.len(), line.engine.backlog()), (100, backlog + 100 * 13));
}

#[test]
fn endless_heads() {
    endures(&mut Line::met(), 34, None, Abuse::Continuation, |line, _| {
        let kind = if line.engine.pending.is_none() { kind::HEADERS } else { kind::CONTINUATION };
        frame(kind, 0, 1, &[])
    });
    endures(&mut Line::met(), 5, None, Abuse::Continuation, |line, _| {
        assert!(line.engine.block.len() <= 64 << 10);
        let kind = if line.engine.pending.is_none() { kind::HEADERS } else { kind::CONTINUATION };
        frame(kind, 0, 1, &[0x82; 16_384])
    });
}

#[test]
fn heads_that_grow() {
    let mut line = Line::met();
    let large = [vec![0x40, 0x7f, 0xa1, 0x1e], vec![b'a'; 4000], vec![0]].concat();
    line.talk(&[frame(kind::HEADERS, 5, 1, &[request("/5", &[]), large].concat())]);
    endures(&mut line, 2, None, Abuse::HeadBomb, |_, id| {
        frame(kind::HEADERS, 5, id, &vec![0xbe; if id == 3 { 60 } else { 70 }])
    });
    assert_eq!(line.site.refused, [Refusal::HeadTooLarge]);
}

#[test]
fn data_without_data() {
    let mut line = stuck();
    line.talk(&[post(1, "/5"), data(1, 0, 1)]);
    endures(&mut line, 102, None, Abuse::EmptyData, |_, _| data(1, 0, 0));
    let mut line = stuck();
    line.talk(&[post(1, "/5")]);
    let padding = frame(kind::DATA, flag::PADDED, 1, &[3, 0, 0, 0]);
    endures(&mut line, 102, None, Abuse::EmptyData, |_, _| padding.clone());
    // Also on a stream that is gone.
    let mut line = Line::met();
    line.talk(&[post(1, "/5")]);
    endures(&mut line, 102, None, Abuse::EmptyData, |_, _| data(1, 0, 0));
}

#[test]
fn acknowledgements_that_nobody_reads() {
    for step in [frame(kind::PING, 0, 0, b"01234567"), settings_frame(&[(4, 7)])] {
        endures(&mut Line::met(), 101, None, Abuse::Acks, |_, _| step.clone());
        let mut line = Line::met();
        for _ in 0..1000 {
            assert!(line.talk(std::slice::from_ref(&step)).ends_with("ack"));
        }
    }
}

#[test]
fn one_priority_after_the_other() {
    let tree = frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 3, 7]);
    let update = frame(kind::PRIORITY_UPDATE, 0, 0, b"\0\0\0\x65u=1");
    for step in [tree, update] {
        endures(&mut Line::met(), 201, None, Abuse::Priority, |_, _| step.clone());
        let mut line = Line::met();
        line.talk(&[get(1, "/5")]);
        endures(&mut line, 209, None, Abuse::Priority, |_, _| step.clone());
    }
}

#[test]
fn windows_opened_bit_by_bit() {
    for id in [0, 1] {
        let mut line = stuck();
        line.talk(&[get(1, "/1000000")]);
        endures(&mut line, 1005, None, Abuse::WindowUpdate, |_, _| window(id, 1));
    }
    // Each opens the window for a byte, which is sent.
    let mut line = stuck();
    line.talk(&[get(1, "/1000000")]);
    endures(&mut line, 1012, Some(1), Abuse::WindowUpdate, |_, _| window(1, 1));
    // A client that opens them with each frame goes on as long as it likes.
    let mut line = Line::with(&[(4, 300)]);
    line.talk(&[get(1, "/3000000")]);
    for _ in 0..9998 {
        assert_eq!(line.talk(&[window(0, 300), window(1, 300)]), "DATA 1 300");
    }
}

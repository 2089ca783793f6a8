//! Frames, streams and what is wrong with them (RFC 9113 sections 3 to 6).

use super::*;

const END: u8 = flag::END_HEADERS | flag::END_STREAM;

/// A SETTINGS frame with one value.
fn set(id: u16, value: u32) -> Vec<u8> {
    settings_frame(&[(id, value)])
}

#[test]
fn every_frame_has_its_rules() {
    let a = || request("/5", &[]);
    let priority = |on: u32| [&on.to_be_bytes()[..], &[7]].concat();
    for (why, frames, expected) in [
        ("DATA on no stream", vec![data(0, 0, 1)], "GOAWAY 0 1"),
        ("DATA on an idle stream", vec![data(1, 0, 1)], "GOAWAY 0 1"),
        ("DATA on a stream of the server", vec![get(3, "/304"), data(2, 0, 1)], "HEAD 3 304 end; GOAWAY 3 1"),
        ("DATA on a closed stream", vec![get(1, "/304"), data(1, 0, 1)], "HEAD 1 304 end; GOAWAY 1 5"),
        ("DATA on a stream that was left out", vec![get(3, "/304"), data(1, 0, 1)], "HEAD 3 304 end; GOAWAY 3 5"),
        ("DATA on a stream that ended", vec![get(1, "/5"), data(1, 0, 1)], "HEAD 1 200; RST 1 5"),
        ("DATA with more padding than bytes", vec![post(1, "/5"), frame(0, 8, 1, &[1])], "HEAD 1 200; GOAWAY 1 1"),
        ("DATA without its padding's length", vec![post(1, "/5"), frame(0, 8, 1, &[])], "HEAD 1 200; GOAWAY 1 6"),
        ("DATA with padding", vec![post(1, "/5"), frame(0, 9, 1, &[2, 1, 0, 0])], "HEAD 1 200; DATA 1 5 end"),
        ("HEADERS on no stream", vec![get(0, "/5")], "GOAWAY 0 1"),
        ("HEADERS on a stream of the server", vec![get(2, "/5")], "GOAWAY 0 1"),
        ("HEADERS on a closed stream", vec![get(1, "/304"), get(1, "/5")], "HEAD 1 304 end; GOAWAY 1 5"),
        ("HEADERS on a stream that was left out", vec![get(3, "/304"), get(1, "/5")], "HEAD 3 304 end; GOAWAY 3 1"),
        ("HEADERS on a stream that was reset", vec![post(1, "/5"), reset(1), get(1, "/5")], "HEAD 1 200; GOAWAY 1 5"),
        (
            "HEADERS with padding",
            vec![frame(1, END | 8, 1, &[vec![3], a(), vec![0; 3]].concat())],
            "HEAD 1 200; DATA 1 5 end",
        ),
        ("HEADERS with more padding than bytes", vec![frame(1, END | 8, 1, &[9, 0x82])], "GOAWAY 0 1"),
        (
            "HEADERS with a dependency",
            vec![frame(1, END | 0x20, 1, &[priority(3), a()].concat())],
            "HEAD 1 200; DATA 1 5 end",
        ),
        ("HEADERS that depend on themselves", vec![frame(1, END | 0x20, 1, &[priority(1), a()].concat())], "RST 1 1"),
        ("HEADERS with half a dependency", vec![frame(1, END | 0x20, 1, &[0; 4])], "GOAWAY 1 6"),
        (
            "HEADERS with everything",
            vec![frame(1, END | 0x28, 1, &[vec![2], priority(0x8000_0000), a(), vec![0; 2]].concat())],
            "HEAD 1 200; DATA 1 5 end",
        ),
        ("HEADERS that cannot be decoded", vec![frame(1, END, 1, &[0x80])], "GOAWAY 1 9"),
        ("PRIORITY", vec![frame(2, 0, 9, &priority(3))], ""),
        ("PRIORITY on no stream", vec![frame(2, 0, 0, &priority(3))], "GOAWAY 0 1"),
        ("PRIORITY of another length", vec![get(1, "/5"), frame(2, 0, 1, &[0; 4])], "HEAD 1 200; RST 1 6"),
        ("PRIORITY of another length, idle", vec![frame(2, 0, 1, &[0; 6])], "GOAWAY 0 6"),
        ("PRIORITY on itself", vec![get(1, "/5"), frame(2, 0, 1, &priority(1))], "HEAD 1 200; RST 1 1"),
        ("PRIORITY on itself, idle", vec![frame(2, 0, 1, &priority(1))], "GOAWAY 0 1"),
        ("RST_STREAM", vec![get(1, "/5"), reset(1)], "HEAD 1 200"),
        ("RST_STREAM on no stream", vec![reset(0)], "GOAWAY 0 1"),
        ("RST_STREAM on an idle stream", vec![reset(1)], "GOAWAY 0 1"),
        ("RST_STREAM on a closed stream", vec![get(1, "/304"), reset(1), reset(1)], "HEAD 1 304 end"),
        ("RST_STREAM of another length", vec![get(1, "/5"), frame(3, 0, 1, &[0; 3])], "HEAD 1 200; GOAWAY 1 6"),
        ("SETTINGS", vec![set(4, 100), set(0xffff, 7)], "SETTINGS ack; SETTINGS ack"),
        ("SETTINGS acknowledged", vec![frame(4, 1, 0, &[])], ""),
        ("SETTINGS acknowledged with something", vec![frame(4, 1, 0, &[0; 6])], "GOAWAY 0 6"),
        ("SETTINGS on a stream", vec![frame(4, 0, 1, &[])], "GOAWAY 0 1"),
        ("SETTINGS of another length", vec![frame(4, 0, 0, &[0; 5])], "GOAWAY 0 6"),
        ("SETTINGS with another push", vec![set(2, 2)], "GOAWAY 0 1"),
        ("SETTINGS with a window that is too large", vec![set(4, 1 << 31)], "GOAWAY 0 3"),
        ("SETTINGS with frames that are too small", vec![set(5, 16_383)], "GOAWAY 0 1"),
        ("PUSH_PROMISE", vec![get(1, "/304"), frame(5, 4, 1, &[0, 0, 0, 2, 0x82])], "HEAD 1 304 end; GOAWAY 1 1"),
        ("PING", vec![frame(6, 0, 0, b"01234567")], "PING 01234567 ack"),
        ("PING with a reserved bit", vec![frame(6, 0, 1 << 31, b"01234567")], "PING 01234567 ack"),
        ("PING acknowledged", vec![frame(6, 1, 0, b"01234567")], ""),
        ("PING on a stream", vec![frame(6, 0, 1, b"01234567")], "GOAWAY 0 1"),
        ("PING of another length", vec![frame(6, 0, 0, b"0123456")], "GOAWAY 0 6"),
        ("GOAWAY", vec![get(1, "/5"), frame(7, 0, 0, &[0; 20])], "HEAD 1 200; DATA 1 5 end; GOAWAY 1 0"),
        ("GOAWAY on a stream", vec![frame(7, 0, 1, &[0; 8])], "GOAWAY 0 1"),
        ("GOAWAY of another length", vec![frame(7, 0, 0, &[0; 7])], "GOAWAY 0 6"),
        ("WINDOW_UPDATE on an idle stream", vec![window(1, 1)], "GOAWAY 0 1"),
        ("WINDOW_UPDATE on a stream of the server", vec![get(3, "/304"), window(2, 1)], "HEAD 3 304 end; GOAWAY 3 1"),
        ("WINDOW_UPDATE on a closed stream", vec![get(1, "/304"), window(1, 0)], "HEAD 1 304 end"),
        ("WINDOW_UPDATE by nothing", vec![get(1, "/5"), window(1, 0)], "HEAD 1 200; RST 1 1"),
        ("WINDOW_UPDATE by nothing for all", vec![window(0, 0)], "GOAWAY 0 1"),
        ("WINDOW_UPDATE of another length", vec![frame(8, 0, 0, &[0; 5])], "GOAWAY 0 6"),
        ("CONTINUATION of nothing", vec![frame(9, 4, 1, &a())], "GOAWAY 0 1"),
        ("CONTINUATION of a head that is complete", vec![get(1, "/5"), frame(9, 4, 1, &a())], "HEAD 1 200; GOAWAY 1 1"),
        (
            "CONTINUATION",
            vec![frame(1, 1, 1, &a()[..5]), frame(9, 0, 1, &[]), frame(9, 4, 1, &a()[5..])],
            "HEAD 1 200; DATA 1 5 end",
        ),
        ("CONTINUATION on another stream", vec![frame(1, 1, 1, &a()), frame(9, 4, 3, &[])], "GOAWAY 1 1"),
        ("PING between", vec![frame(1, 1, 1, &a()), frame(6, 0, 0, &[0; 8])], "GOAWAY 1 1"),
        ("HEADERS between", vec![frame(1, 1, 1, &a()), get(3, "/5")], "GOAWAY 1 1"),
        ("an unknown frame between", vec![frame(1, 1, 1, &a()), frame(0xb, 0, 1, &[])], "GOAWAY 1 1"),
        ("an unknown frame", vec![frame(0xb, 0xff, 1, &[1]), frame(0xff, 0, 0, &[]), get(1, "/304")], "HEAD 1 304 end"),
        ("PRIORITY_UPDATE on a stream", vec![frame(0x10, 0, 1, b"\0\0\0\x01u=1")], "GOAWAY 0 1"),
        ("PRIORITY_UPDATE of nothing", vec![frame(0x10, 0, 0, b"\0\0\0\0u=1")], "GOAWAY 0 1"),
        ("PRIORITY_UPDATE of a stream of the server", vec![frame(0x10, 0, 0, b"\0\0\0\x02u=1")], "GOAWAY 0 1"),
        ("PRIORITY_UPDATE that is too short", vec![frame(0x10, 0, 0, &[0; 3])], "GOAWAY 0 6"),
        (
            "PRIORITY_UPDATE of a closed stream",
            vec![get(1, "/304"), frame(0x10, 0, 0, &[0, 0, 0, 1])],
            "HEAD 1 304 end",
        ),
    ] {
        // Some answers shall be under way when the next frame comes, so that all frames come at once.
        let mut line = Line::met();
        assert_eq!(line.talk(&frames), expected, "{why}");
        let over = expected.contains("GOAWAY");
        assert_eq!(line.engine.state() == crate::engine::State::Finished, over, "{why}");
        let next = if over { "" } else { "PING 01234567 ack" };
        assert_eq!(line.talk(&[frame(6, 0, 0, b"01234567")]), next, "{why}");
        assert!(line.engine.abuse().is_none(), "{why}");
    }
}

#[test]
fn frames_beyond_the_limit_are_refused_before_they_are_there() {
    for (length, expected) in [(16_384, ""), (16_385, "GOAWAY 0 6")] {
        let mut line = Line::met();
        assert_eq!(line.talk(&[header(length, 0xb, 0, 0).to_vec()]), expected);
    }
}

#[test]
fn the_preface_comes_first_and_settings_second() {
    for (why, bytes, expected) in [
        ("nothing", vec![], "SETTINGS 18"),
        ("half a preface", PREFACE[..9].to_vec(), "SETTINGS 18"),
        ("another protocol", b"GET / HTTP/1.1\r\n".to_vec(), "SETTINGS 18; GOAWAY 0 1"),
        ("one that is not HTTP", b"X".to_vec(), "SETTINGS 18; GOAWAY 0 1"),
        ("a preface that turns wrong", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r.".to_vec(), "SETTINGS 18; GOAWAY 0 1"),
        ("a preface", PREFACE.to_vec(), "SETTINGS 18"),
        ("settings", [PREFACE.to_vec(), settings_frame(&[])].concat(), "SETTINGS 18; SETTINGS ack"),
        ("no settings", [PREFACE.to_vec(), get(1, "/5")].concat(), "SETTINGS 18; GOAWAY 0 1"),
        ("an acknowledgement", [PREFACE.to_vec(), frame(4, 1, 0, &[])].concat(), "SETTINGS 18; GOAWAY 0 1"),
    ] {
        let mut line = Line::new(Http2Limits::default());
        line.send(&bytes);
        assert_eq!(line.get(), expected, "{why}");
    }
}

#[test]
fn the_settings_say_what_is_kept_to() {
    let mut line = Line::new(Http2Limits { streams: 7, head: 1000 });
    let mut bytes = line.some(0);
    let payload = next(&mut bytes).unwrap().payload;
    assert_eq!(payload, [0, 3, 0, 0, 0, 7, 0, 6, 0, 0, 3, 0xe8, 0, 9, 0, 0, 0, 1]);
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let mut line = Line::new(Http2Limits { streams: 3, ..Http2Limits::default() });
    line.talk(&[PREFACE.to_vec(), settings_frame(&[])]);
    // Two with a body, one without: for the client all are open. What is refused still counts for the table.
    let fourth = [request("/5", &[]), b"\x40\x01a\x01b".to_vec()].concat();
    let words = line.talk(&[get(1, "/5"), get(3, "/5"), get(5, "/304"), frame(1, END, 7, &fourth)]);
    assert_eq!(words, "HEAD 1 200; HEAD 3 200; HEAD 5 304 end; RST 7 7; DATA 1 5 end; DATA 3 5 end");
    let again = [request("/5", &[]), vec![0xbe]].concat();
    assert_eq!(line.talk(&[frame(1, END, 9, &again)]), "HEAD 9 200; DATA 9 5 end");
    // What the client resets makes room (section 5.1.2). Its heads wait to be sent all the same: there is an end to it.
    let resets: Vec<_> = (11..23).step_by(2).flat_map(|id| [get(id, "/5"), reset(id)]).collect();
    let words = line.talk(&[resets, vec![get(23, "/5")]].concat());
    let heads: String = (11..23).step_by(2).map(|id| format!("HEAD {id} 200; ")).collect();
    assert_eq!(words, heads + "RST 23 7");
    assert_eq!(line.talk(&[get(25, "/304")]), "HEAD 25 304 end");
}

#[test]
fn heads_of_answers_are_split_for_the_client() {
    let mut line = Line::met();
    let words = line.talk(&[get(1, "/long")]);
    assert_eq!(words, "PART 1 16384; PART 1 16384; HEAD 1 200; DATA 1 5 end");
    let mut line = Line::with(&[(5, 100_000)]);
    assert_eq!(line.talk(&[get(1, "/long")]), "HEAD 1 200; DATA 1 5 end");
}

#[test]
fn a_smaller_table_is_acknowledged_once() {
    let mut line = Line::with(&[(1, 100)]);
    for (id, first) in [(1, [0x20, 0x8b]), (3, [0x8b, 0x0f])] {
        line.send(&[get(id, "/304"), settings_frame(&[(1, 0)])].concat());
        let mut bytes = line.some(0);
        assert_eq!(next(&mut bytes).unwrap().payload[..2], first, "{id}");
    }
    let mut line = Line::with(&[(1, 65_536)]);
    line.send(&get(1, "/304"));
    assert_eq!(next(&mut line.some(0)).unwrap().payload[0], 0x8b);
}

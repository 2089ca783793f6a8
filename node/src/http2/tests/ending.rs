//! How connections end, and how it is found out that they have.

use super::*;
use crate::engine::State;

const ANNOUNCED: &str = "GOAWAY 2147483647 0; PING drained?";

fn drained() -> Vec<u8> {
    frame(kind::PING, flag::ACK, 0, b"drained?")
}

#[test]
fn a_connection_in_use_ends_when_the_client_knows() {
    let mut line = Line::with(&[(4, 0)]);
    line.talk(&[get(1, "/5")]);
    line.engine.drain();
    assert_eq!((line.get().as_str(), line.engine.state()), (ANNOUNCED, State::Busy));
    // It asked before it knew.
    assert_eq!(line.talk(&[get(3, "/5")]), "HEAD 3 200");
    assert_eq!(line.talk(&[drained()]), "GOAWAY 3 0");
    // It ought to know. The table is kept in order for what belongs to the streams before.
    let late = [request("/5", &[]), b"\x40\x01a\x01b".to_vec()].concat();
    assert_eq!(line.talk(&[frame(kind::HEADERS, 5, 5, &late), data(5, 1, 0), drained()]), "");
    assert_eq!(line.talk(&[window(1, 5)]), "DATA 1 5 end");
    assert_eq!(line.engine.state(), State::Busy);
    assert_eq!(line.talk(&[window(3, 5)]), "DATA 3 5 end");
    assert_eq!((line.engine.state(), line.engine.requests()), (State::Finished, 2));
}

#[test]
fn a_connection_in_use_ends_with_its_last_answer() {
    let mut line = Line::with(&[(4, 0)]);
    line.talk(&[get(1, "/5")]);
    line.engine.drain();
    line.engine.drain();
    assert_eq!(line.get(), ANNOUNCED);
    assert_eq!(line.talk(&[window(1, 5)]), "DATA 1 5 end");
    assert_eq!(line.engine.state(), State::Idle);
    assert_eq!(line.talk(&[drained()]), "GOAWAY 1 0");
    assert_eq!(line.engine.state(), State::Finished);
}

/// What the client sent before it heard is answered, however quiet it was.
#[test]
fn a_quiet_connection_ends_when_the_client_knows() {
    let mut line = Line::met();
    line.talk(&[get(1, "/5")]);
    line.engine.drain();
    assert_eq!((line.get().as_str(), line.engine.state()), (ANNOUNCED, State::Idle));
    assert_eq!(line.talk(&[get(3, "/5")]), "HEAD 3 200; DATA 3 5 end");
    assert_eq!(line.talk(&[drained()]), "GOAWAY 3 0");
    assert_eq!(line.engine.state(), State::Finished);
    assert_eq!(line.talk(&[get(5, "/5")]), "");
    assert!(line.input.is_empty());
}

#[test]
fn a_client_that_does_not_say_that_it_knows_is_not_waited_for() {
    for busy in [false, true] {
        let mut line = if busy { Line::with(&[(4, 0)]) } else { Line::met() };
        line.talk(&[get(1, "/5")]);
        line.engine.drain();
        assert_eq!(line.get(), ANNOUNCED);
        line.engine.overdue(&mut line.site);
        assert_eq!(line.get(), "GOAWAY 1 0", "{busy}");
        if busy {
            assert_eq!((line.engine.state(), line.talk(&[window(1, 5)])), (State::Busy, "DATA 1 5 end".to_owned()));
        }
        assert_eq!(line.engine.state(), State::Finished);
    }
}

#[test]
fn a_head_under_way_is_awaited() {
    let mut line = Line::met();
    let block = request("/5", &[]);
    line.send(&frame(kind::HEADERS, flag::END_STREAM, 1, &block[..3]));
    line.engine.drain();
    assert_eq!((line.get().as_str(), line.engine.state()), (ANNOUNCED, State::Idle));
    let rest = frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block[3..]);
    assert_eq!(line.talk(&[rest]), "HEAD 1 200; DATA 1 5 end");
    assert_eq!(line.talk(&[drained()]), "GOAWAY 1 0");
    assert_eq!(line.engine.state(), State::Finished);
}

#[test]
fn an_error_ends_everything_and_names_no_more_than_before() {
    let mut line = Line::with(&[(4, 0)]);
    line.talk(&[get(1, "/5")]);
    line.engine.drain();
    line.talk(&[drained()]);
    assert_eq!(line.talk(&[get(3, "/5"), window(0, 0)]), "GOAWAY 1 1");
    assert_eq!(line.engine.state(), State::Finished);
    line.engine.drain();
    line.engine.ping();
    assert_eq!(line.get(), "");
}

#[test]
fn a_client_that_leaves_is_answered_to_the_end() {
    let mut line = Line::with(&[(4, 0)]);
    let leave = frame(kind::GOAWAY, 0, 0, &[0; 8]);
    assert_eq!(line.talk(&[get(1, "/5"), leave.clone(), leave]), "HEAD 1 200");
    assert_eq!(line.talk(&[window(1, 5)]), "DATA 1 5 end; GOAWAY 1 0");
    assert_eq!(line.engine.state(), State::Finished);
}

#[test]
fn overdue_is_the_end() {
    let mut line = Line::met();
    line.send(&frame(kind::HEADERS, 0, 1, &request("/5", &[])));
    line.engine.overdue(&mut line.site);
    assert_eq!((line.engine.state(), line.get()), (State::Finished, "GOAWAY 1 0".to_owned()));
    let mut line = Line::new(Http2Limits::default());
    line.engine.overdue(&mut line.site);
    assert_eq!(line.get(), "SETTINGS 18; GOAWAY 0 0");
}

#[test]
fn a_sign_of_life_is_awaited() {
    let mut line = Line::met();
    assert!(!line.engine.unanswered_ping());
    line.engine.ping();
    line.engine.ping();
    assert_eq!(line.get(), "PING alive?");
    assert!(line.engine.unanswered_ping());
    line.talk(&[frame(kind::PING, flag::ACK, 0, b"01234567"), get(1, "/5")]);
    assert!(line.engine.unanswered_ping());
    line.talk(&[frame(kind::PING, flag::ACK, 0, b"alive?\0\0")]);
    assert!(!line.engine.unanswered_ping());
}

#[test]
fn the_state_says_what_is_under_way() {
    let mut line = Line::met();
    assert_eq!(line.engine.state(), State::Idle);
    line.send(&get(1, "/304"));
    assert_eq!(line.engine.state(), State::Busy);
    assert!(line.engine.backlog() > 0);
    line.get();
    assert_eq!((line.engine.state(), line.engine.backlog()), (State::Idle, 0));
    line.send(&get(3, "/100000"));
    line.get();
    assert_eq!((line.engine.state(), line.engine.backlog()), (State::Busy, 0));
    line.send(&reset(3));
    assert_eq!((line.engine.state(), line.engine.requests()), (State::Idle, 2));
}

//! How connections end: by draining, by lateness, by their own word.

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const SAID: &str = "connection: close\r\n\r\n";

#[test]
fn a_new_connection_is_idle() {
    let line = Line::default();
    assert_eq!((line.engine.state(), line.engine.backlog(), line.engine.requests()), (State::Idle, 0, 0));
}

#[test]
fn draining_ends_what_is_idle() {
    let mut line = Line::default();
    line.say(GET);
    line.settle(usize::MAX);
    line.engine.drain();
    assert_eq!((line.engine.state(), line.text().contains("close")), (State::Finished, false));
    line.say(GET);
    line.settle(usize::MAX);
    assert_eq!((line.statuses().len(), line.input.len()), (1, 0));
}

#[test]
fn draining_is_said_by_the_answer_that_is_under_way() {
    let mut line = Line::default();
    line.say([GET, GET].concat());
    line.hear(10);
    line.engine.drain();
    line.engine.drain();
    assert_eq!(line.engine.state(), State::Finished);
    line.settle(usize::MAX);
    assert_eq!((line.text().matches("connection: close").count(), line.statuses().len()), (1, 2));
    assert!(line.text().ends_with(&format!("{SAID}GET / h")), "{}", line.text());
}

#[test]
fn draining_after_the_head_ends_behind_the_body() {
    let mut line = Line::default();
    line.say("GET /n/1000 HTTP/1.1\r\nHost: h\r\n\r\n");
    line.hear(line.engine.backlog() + 10);
    line.engine.drain();
    assert_eq!(line.engine.state(), State::Busy);
    assert_eq!(line.hear(usize::MAX), 990);
    assert_eq!((line.engine.state(), line.text().contains("close")), (State::Finished, false));
}

#[test]
fn draining_lets_the_next_answer_say_it() {
    // A request has begun, or comes while an answer is under way that cannot say it any more.
    let mut begun = Line::default();
    begun.say("GET / HT");
    begun.engine.drain();
    assert_eq!(begun.engine.state(), State::Idle);
    begun.say("TP/1.1\r\nHost: h\r\n\r\n");
    let mut next = Line::default();
    next.say("GET /n/70000 HTTP/1.1\r\nHost: h\r\n\r\n");
    next.hear(1000);
    next.engine.drain();
    next.say([GET, GET].concat());
    assert_eq!((begun.engine.state(), next.engine.state()), (State::Finished, State::Busy));
    for mut line in [begun, next] {
        line.settle(usize::MAX);
        assert_eq!((line.engine.state(), line.text().matches(SAID).count()), (State::Finished, 1));
        assert!(line.text().ends_with(&format!("{SAID}GET / h")), "{}", line.text());
    }
}

#[test]
fn draining_does_not_wait_for_empty_lines() {
    let mut line = Line::default();
    line.say("\r");
    line.engine.drain();
    line.say("\n");
    assert_eq!(line.engine.state(), State::Finished);
}

#[test]
fn a_late_head_gets_408() {
    for (start, body) in [("G", "refused"), ("GET / HTTP/1.1\r\nHost: h\r\n", "refused"), ("HEAD / HTTP", "")] {
        let mut line = Line::default();
        line.say(GET);
        line.settle(usize::MAX);
        line.say(start);
        line.engine.overdue(&mut line.desk);
        assert_eq!(line.engine.state(), State::Finished);
        line.engine.overdue(&mut line.desk);
        line.settle(usize::MAX);
        assert_eq!((line.statuses(), line.engine.requests()), (vec![200, 408], 1), "{start:?}");
        assert!(line.text().ends_with(&format!("{SAID}{body}")), "{}", line.text());
    }
}

#[test]
fn what_never_spoke_ends_in_silence() {
    let mut line = Line::default();
    line.engine.overdue(&mut line.desk);
    assert_eq!((line.engine.state(), line.hear(usize::MAX)), (State::Finished, 0));
}

#[test]
fn nothing_is_late_behind_an_answer() {
    let mut line = Line::default();
    line.say("GET /n/100000 HTTP/1.1\r\nHost: h\r\n\r\nGET");
    line.engine.overdue(&mut line.desk);
    assert_eq!(line.engine.state(), State::Busy);
    line.settle(usize::MAX);
    assert_eq!((line.statuses(), line.engine.state()), (vec![200], State::Idle));
}

#[test]
fn versions_differ_in_what_is_usual() {
    for (request, said, state) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", None, State::Idle),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", None, State::Idle),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: a, Close\r\n\r\n", Some("close"), State::Finished),
        ("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", None, State::Idle),
        ("GET / HTTP/1.0\r\n\r\n", Some("close"), State::Finished),
        ("GET / HTTP/1.0\r\nHost: h\r\nConnection: Keep-Alive\r\n\r\n", Some("keep-alive"), State::Idle),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", Some("close"), State::Finished),
    ] {
        let (answer, got) = exchange(request);
        let line = answer.lines().find_map(|line| line.strip_prefix("connection: "));
        assert_eq!((line, got), (said, state), "{request:?}");
    }
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "an answer without a head"))]
fn a_body_without_a_head_is_not_sent() {
    let (answer, state) = exchange("GET /headless HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((answer.as_str(), state), ("", State::Finished));
}

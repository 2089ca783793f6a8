//! Connections as bytes in and bytes out, against a desk that says what it was asked.

mod life;
mod pipelining;

use bytes::Bytes;

use super::*;
use crate::{block::Block, engine::Sink};

/// Answers with what it was asked. `/n/123` has a body of that many bytes, and `/headless` no head.
#[derive(Default)]
struct Echo {
    refused: Vec<Refusal>,
}

impl Desk for Echo {
    fn answer(&mut self, head: &Head<'_>, sink: &mut dyn Sink) -> Body {
        let text = |bytes| str::from_utf8(bytes).unwrap();
        let length = text(head.path).strip_prefix("/n/").map(|digits| digits.parse::<usize>().unwrap());
        let query = if head.query.is_some() { "?" } else { "" };
        let asked =
            format!("{} {}{query} {}", head.method.name(), text(head.path), text(head.authority.unwrap_or(b"-")));
        let body = length.map_or_else(|| asked.clone().into_bytes(), |length| vec![b'.'; length]);
        if head.path == b"/headless" {
            return Body::new(Bytes::from(body));
        }
        let (length, asked) = (
            Block::new([("content-length", body.len().to_string().as_str())]),
            Block::new([("asked", asked.as_str())]),
        );
        sink.head(200, &[&length, &asked]);
        if head.method == Method::Head { Body::empty() } else { Body::new(Bytes::from(body)) }
    }

    fn refuse(&mut self, refusal: Refusal, sink: &mut dyn Sink) -> Body {
        self.refused.push(refusal);
        sink.head(refusal.status(), &[&Block::new([("content-length", "7")])]);
        Body::new(Bytes::from_static(b"refused"))
    }
}

/// A connection with both its ends.
#[derive(Default)]
struct Line {
    engine: Http1,
    desk: Echo,
    input: BytesMut,
    output: Vec<u8>,
}

impl Line {
    fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.input.extend_from_slice(bytes.as_ref());
        self.engine.receive(&mut self.input, &mut self.desk);
    }

    /// Takes what is to be sent, at most `budget` bytes. Gives how much that was.
    fn hear(&mut self, budget: usize) -> usize {
        let mut out = Outbox::default();
        self.engine.transmit(&mut out, budget);
        assert!(out.len() <= budget);
        out.pieces().for_each(|piece| self.output.extend_from_slice(piece));
        out.len()
    }

    /// Lets both run until there is nothing left to do.
    fn settle(&mut self, budget: usize) {
        while self.hear(budget) > 0 {
            self.engine.receive(&mut self.input, &mut self.desk);
        }
        assert_eq!(self.engine.backlog(), 0);
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.output).unwrap()
    }

    /// Statuses of all answers so far.
    fn statuses(&self) -> Vec<u16> {
        let lines = self.text().split("HTTP/1.1 ").skip(1);
        lines.map(|line| line.split_once(' ').unwrap().0.parse().unwrap()).collect()
    }
}

/// What is answered to `input`, and where the engine is then.
fn exchange(input: impl AsRef<[u8]>) -> (String, State) {
    let mut line = Line::default();
    line.say(input);
    line.settle(usize::MAX);
    (line.text().to_owned(), line.engine.state())
}

#[test]
fn golden() {
    let (answer, state) = exchange("GET /a?b HTTP/1.1\r\nHost: h:1\r\n\r\n");
    let expected = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\nasked: GET /a? h:1\r\n\r\nGET /a? h:1";
    assert_eq!((answer.as_str(), state), (expected.replace("12", "11").as_str(), State::Idle));
    let (answer, state) = exchange("HEAD /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let expected = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\nasked: HEAD /a h\r\nconnection: close\r\n\r\n";
    assert_eq!((answer, state), (expected.to_owned(), State::Finished));
    let (answer, state) = exchange("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let expected = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\nasked: GET / -\r\nconnection: keep-alive\r\n\r\nGET / -";
    assert_eq!((answer, state), (expected.to_owned(), State::Idle));
    let (answer, state) = exchange("GET / HTTP/1.1\r\n\r\n");
    let expected = "HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\nconnection: close\r\n\r\nrefused";
    assert_eq!((answer, state), (expected.to_owned(), State::Finished));
}

#[test]
fn methods_and_targets_reach_the_desk() {
    for (line, expected) in [
        ("GET /", "asked: GET / h\r\n"),
        ("HEAD /x", "asked: HEAD /x h\r\n"),
        ("POST /x", "asked: other /x h\r\n"),
        ("get /x", "asked: other /x h\r\n"),
        ("TRACE /x", "asked: other /x h\r\n"),
        ("OPTIONS *", "asked: OPTIONS * h\r\n"),
        ("OPTIONS /x", "asked: OPTIONS /x h\r\n"),
        ("CONNECT a:443", "asked: other a:443 h\r\n"),
        ("GET http://a:80?q", "asked: GET /? a:80\r\n"),
    ] {
        let (answer, state) = exchange(format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(answer.contains(expected) && state == State::Idle, "{line}: {answer}");
    }
}

#[test]
fn refusals_end_the_connection() {
    for (input, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\u{2}", 400),
        ("GET /\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: x\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nHost: h\r\nExpect: x\r\n\r\n", 417),
        (&format!("GET /{}", "a".repeat(9_300)), 414),
        (&format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(101)), 431),
        ("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ] {
        let mut line = Line::default();
        // Whatever stands behind is not a request any more.
        line.say(format!("{input}GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(line.engine.state(), State::Finished, "{input:?}");
        line.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        line.settle(usize::MAX);
        assert_eq!((line.statuses(), line.input.len(), line.engine.requests()), (vec![status], 0, 0), "{input:?}");
        assert!(line.text().contains("\r\nconnection: close\r\n\r\nrefused"), "{input:?}");
        assert_eq!(line.desk.refused.len(), 1);
    }
}

#[test]
fn a_refused_head_request_gets_no_body() {
    for input in ["HEAD / HTTP/1.1\r\n\r\n", "HEAD /\u{1}\r\n"] {
        let (answer, _) = exchange(input);
        assert!(answer.ends_with("connection: close\r\n\r\n"), "{input:?}: {answer}");
    }
}

#[test]
fn content_is_never_taken_for_a_request() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let length = smuggled.len();
    for (fields, status) in [
        (format!("Content-Length: {length}\r\n"), 200),
        (format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"), 200),
        (format!("Content-Length: {length}\r\nExpect: 100-continue\r\n"), 200),
        ("Transfer-Encoding: chunked\r\n".to_owned(), 200),
        ("Transfer-Encoding: gzip, chunked\r\n".to_owned(), 200),
        (format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), 400),
        (format!("Content-Length: 0\r\nContent-Length: {length}\r\n"), 400),
        (format!("Content-Length: +{length}\r\n"), 400),
        (format!("Content-Length : {length}\r\n"), 400),
        (format!("Content-Length:\r\n {length}\r\n"), 400),
        ("Transfer-Encoding: chunked, identity\r\n".to_owned(), 400),
        ("Transfer-Encoding: xchunked\r\n".to_owned(), 501),
        ("Transfer-Encoding:\u{b}chunked\r\n".to_owned(), 400),
        ("Transfer-Encoding\u{0}: chunked\r\n".to_owned(), 400),
        ("X: y\nTransfer-Encoding: chunked\r\n".to_owned(), 400),
        ("X: y\rTransfer-Encoding: chunked\r\n".to_owned(), 400),
    ] {
        for method in ["GET", "POST"] {
            let mut line = Line::default();
            line.say(format!("{method} / HTTP/1.1\r\nHost: h\r\n{fields}\r\n{smuggled}"));
            line.settle(usize::MAX);
            assert_eq!((line.statuses(), line.engine.state()), (vec![status], State::Finished), "{method} {fields:?}");
            assert!(line.text().contains("\r\nconnection: close\r\n") && !line.text().contains("smuggled"));
        }
    }
    let (answer, state) = exchange(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n{smuggled}"));
    assert!(answer.contains("asked: GET /smuggled") && state == State::Idle);
}

#[test]
fn nobody_is_told_to_continue() {
    let (answer, state) = exchange("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(state, State::Finished);
}

//! What is a request, and what is malformed (RFC 9113 section 8).

use super::*;

const OK: &str = "HEAD 1 200; DATA 1 5 end";
const MALFORMED: &str = "RST 1 1";

/// What comes of a request with these fields, without content.
fn answer(list: &[(&str, &str)]) -> (String, Line) {
    let mut line = Line::met();
    let words = line.talk(&[frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &fields(list))]);
    (words, line)
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "https");
const PATH: (&str, &str) = (":path", "/5");
const AUTHORITY: (&str, &str) = (":authority", "a.example");

#[test]
fn fields_make_a_request_or_none() {
    for (why, list, expected) in [
        ("the usual", [METHOD, SCHEME, PATH, AUTHORITY].as_slice(), OK),
        ("in any order", &[AUTHORITY, PATH, SCHEME, METHOD], OK),
        ("without an authority", &[METHOD, SCHEME, PATH], OK),
        ("with a host instead", &[METHOD, SCHEME, PATH, ("host", "a.example")], OK),
        ("with the same host", &[METHOD, SCHEME, PATH, AUTHORITY, ("host", "A.example")], OK),
        ("with another host", &[METHOD, SCHEME, PATH, AUTHORITY, ("host", "b.example")], MALFORMED),
        ("with a port more", &[METHOD, SCHEME, PATH, AUTHORITY, ("host", "a.example:443")], MALFORMED),
        ("with two hosts", &[METHOD, SCHEME, PATH, ("host", "a"), ("host", "a")], MALFORMED),
        ("with an empty authority", &[METHOD, SCHEME, PATH, (":authority", "")], MALFORMED),
        ("with an empty host", &[METHOD, SCHEME, PATH, ("host", "")], MALFORMED),
        ("with a port that is none", &[METHOD, SCHEME, PATH, (":authority", "a.example:b")], MALFORMED),
        ("with a method that is no token", &[(":method", "GE T"), SCHEME, PATH, AUTHORITY], MALFORMED),
        ("with a user", &[METHOD, SCHEME, PATH, (":authority", "me@a.example")], MALFORMED),
        ("without a method", &[SCHEME, PATH, AUTHORITY], MALFORMED),
        ("without a scheme", &[METHOD, PATH, AUTHORITY], MALFORMED),
        ("without a path", &[METHOD, SCHEME, AUTHORITY], MALFORMED),
        ("with an empty method", &[(":method", ""), SCHEME, PATH], MALFORMED),
        ("with an empty scheme", &[METHOD, (":scheme", ""), PATH], MALFORMED),
        ("with an empty path", &[METHOD, SCHEME, (":path", "")], MALFORMED),
        ("with a path that is none", &[METHOD, SCHEME, (":path", "5")], MALFORMED),
        ("with a whole address", &[METHOD, SCHEME, (":path", "https://a.example/5")], MALFORMED),
        ("with a fragment", &[METHOD, SCHEME, (":path", "/5#a")], MALFORMED),
        ("with a blank in its path", &[METHOD, SCHEME, (":path", "/5 HTTP/1.1")], MALFORMED),
        ("for everything", &[METHOD, SCHEME, (":path", "*")], MALFORMED),
        ("with two methods", &[METHOD, METHOD, SCHEME, PATH], MALFORMED),
        ("with two schemes", &[METHOD, SCHEME, SCHEME, PATH], MALFORMED),
        ("with two paths", &[METHOD, SCHEME, PATH, PATH], MALFORMED),
        ("with two authorities", &[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY], MALFORMED),
        ("with a pseudo-header field that is none", &[METHOD, SCHEME, PATH, (":protocol", "websocket")], MALFORMED),
        ("with one of answers", &[METHOD, SCHEME, PATH, (":status", "200")], MALFORMED),
        ("with one behind another field", &[METHOD, SCHEME, ("accept", "*/*"), PATH], MALFORMED),
        ("with capitals", &[METHOD, SCHEME, PATH, ("Accept", "*/*")], MALFORMED),
        ("with a name that is none", &[METHOD, SCHEME, PATH, ("a b", "")], MALFORMED),
        ("with no name", &[METHOD, SCHEME, PATH, ("", "a")], MALFORMED),
        ("with connection", &[METHOD, SCHEME, PATH, ("connection", "close")], MALFORMED),
        ("with proxy-connection", &[METHOD, SCHEME, PATH, ("proxy-connection", "close")], MALFORMED),
        ("with keep-alive", &[METHOD, SCHEME, PATH, ("keep-alive", "1")], MALFORMED),
        ("with transfer-encoding", &[METHOD, SCHEME, PATH, ("transfer-encoding", "chunked")], MALFORMED),
        ("with upgrade", &[METHOD, SCHEME, PATH, ("upgrade", "h2c")], MALFORMED),
        ("with te: trailers", &[METHOD, SCHEME, PATH, ("te", "trailers")], OK),
        ("with another te", &[METHOD, SCHEME, PATH, ("te", "gzip")], MALFORMED),
        ("with a line break", &[METHOD, SCHEME, PATH, ("a", "b\nc")], MALFORMED),
        ("with a return", &[METHOD, SCHEME, PATH, ("a", "b\rc")], MALFORMED),
        ("with a zero", &[METHOD, SCHEME, PATH, ("a", "b\0c")], MALFORMED),
        ("with a blank before a value", &[METHOD, SCHEME, PATH, ("a", " b")], MALFORMED),
        ("with a blank behind a value", &[METHOD, SCHEME, PATH, ("a", "b\t")], MALFORMED),
        ("with an empty value", &[METHOD, SCHEME, PATH, ("a", "")], OK),
        ("with no content", &[METHOD, SCHEME, PATH, ("content-length", "0")], OK),
        ("with content that is not there", &[METHOD, SCHEME, PATH, ("content-length", "1")], MALFORMED),
        ("with a length that is none", &[METHOD, SCHEME, PATH, ("content-length", "+0")], MALFORMED),
        ("with an empty length", &[METHOD, SCHEME, PATH, ("content-length", "")], MALFORMED),
        ("with a length beyond all", &[METHOD, SCHEME, PATH, ("content-length", "18446744073709551616")], MALFORMED),
        ("with two lengths", &[METHOD, SCHEME, PATH, ("content-length", "0"), ("content-length", "1")], MALFORMED),
        ("that expects to go on", &[METHOD, SCHEME, PATH, ("expect", "100-Continue")], OK),
        ("that expects more", &[METHOD, SCHEME, PATH, ("expect", "a pony")], "HEAD 1 417 end"),
        ("that connects", &[(":method", "CONNECT"), AUTHORITY], "HEAD 1 200 end"),
        ("that connects nowhere", &[(":method", "CONNECT")], MALFORMED),
        ("that connects to a path", &[(":method", "CONNECT"), SCHEME, PATH, AUTHORITY], MALFORMED),
        ("without fields", &[], MALFORMED),
    ] {
        let (words, line) = answer(list);
        assert_eq!(words, expected, "{why}");
        assert_eq!(line.engine.requests(), 1, "{why}");
        assert_eq!(line.site.seen.is_empty(), expected == MALFORMED || expected.contains("417"), "{why}");
    }
}

#[test]
fn the_desk_sees_the_head() {
    let (_, line) = answer(&[
        (":method", "HEAD"),
        (":path", "/a%20b?c?d"),
        SCHEME,
        AUTHORITY,
        ("cookie", "a=b"),
        ("range", "bytes=0-1"),
        ("range", "bytes=2-3"),
    ]);
    let seen = Seen {
        method: Method::Head,
        path: "/a%20b".to_owned(),
        query: true,
        authority: Some("a.example".to_owned()),
        range: vec!["bytes=0-1".to_owned(), "bytes=2-3".to_owned()],
    };
    assert_eq!(line.site.seen, [seen]);
    for (list, method, path, authority) in [
        ([(":method", "OPTIONS"), SCHEME, (":path", "*"), ("host", "b")].as_slice(), Method::Options, "*", Some("b")),
        (&[(":method", "CONNECT"), (":authority", "b:80")], Method::Other, "", Some("b:80")),
        (&[(":method", "POST"), SCHEME, (":path", "/")], Method::Other, "/", None),
    ] {
        let (_, line) = answer(list);
        let seen = &line.site.seen[0];
        assert_eq!((seen.method, seen.path.as_str(), seen.authority.as_deref()), (method, path, authority));
        assert!(!seen.query && seen.range.is_empty());
    }
}

#[test]
fn what_the_table_holds_is_seen_as_what_is_written_out() {
    let mut line = Line::met();
    // A range and a name that is none, both indexed, then used again.
    let mut first = request("/5", &[]);
    first.extend(b"\x72\x05bytes\x40\x01A\x01b".iter());
    assert_eq!(line.talk(&[frame(kind::HEADERS, 5, 1, &first)]), "RST 1 1");
    let again = [request("/5", &[]), vec![0xbf]].concat();
    assert_eq!(line.talk(&[frame(kind::HEADERS, 5, 3, &again)]), "HEAD 3 200; DATA 3 5 end");
    assert_eq!(line.site.seen[0].range, ["bytes"]);
    let again = [request("/5", &[]), vec![0xbe]].concat();
    assert_eq!(line.talk(&[frame(kind::HEADERS, 5, 5, &again)]), "RST 5 1");
}

#[test]
fn what_is_too_large_is_answered_as_such() {
    let target = |length: usize| format!("/5?{}", "a".repeat(length - 3));
    for (length, expected, refused) in
        [(9_300, OK, [].as_slice()), (9_301, "HEAD 1 414 end", &[Refusal::TargetTooLong])]
    {
        let (words, line) = answer(&[METHOD, SCHEME, (":path", &target(length))]);
        assert_eq!((words.as_str(), line.site.refused.as_slice()), (expected, refused), "{length}");
    }
    // The fields before count 32 each and their bytes; then the limit is met exactly, or missed by one.
    let before = [METHOD, SCHEME, PATH];
    let counted: usize = before.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    for (more, expected) in [(0, OK), (1, "HEAD 1 431 end")] {
        let value = "a".repeat(32 * 1024 - counted - 33 + more);
        let block = fields(&[METHOD, SCHEME, PATH, ("a", &value)]);
        let (first, rest) = block.split_at(16_384);
        let mut line = Line::met();
        let words = line.talk(&[
            frame(kind::HEADERS, flag::END_STREAM, 1, first),
            frame(kind::CONTINUATION, flag::END_HEADERS, 1, rest),
        ]);
        assert_eq!(words, expected);
        assert_eq!(line.talk(&[get(3, "/5")]), "HEAD 3 200; DATA 3 5 end", "the connection goes on");
    }
}

#[test]
fn a_desk_that_says_nothing_is_an_error_of_this_side() {
    let mut line = Line::met();
    assert_eq!(line.talk(&[get(1, "/silence"), get(3, "/304")]), "RST 1 2; HEAD 3 304 end");
}

#[test]
fn content_is_read_over() {
    for (why, length, parts, expected) in [
        ("as announced", "4", [data(1, 0, 3), data(1, 1, 1)], "HEAD 1 200"),
        ("and ended without more", "4", [data(1, 0, 4), data(1, 1, 0)], "HEAD 1 200"),
        ("less than announced", "5", [data(1, 0, 3), data(1, 1, 1)], "HEAD 1 200; RST 1 1"),
        ("more than announced", "3", [data(1, 0, 3), data(1, 0, 1)], "HEAD 1 200; RST 1 1"),
        ("after it ended", "3", [data(1, 1, 3), data(1, 0, 1)], "HEAD 1 200; RST 1 5"),
        ("with trailers", "3", [data(1, 0, 3), frame(1, 5, 1, &fields(&[("a", "b")]))], "HEAD 1 200"),
        ("cut short by trailers", "4", [data(1, 0, 3), frame(1, 5, 1, &fields(&[("a", "b")]))], "HEAD 1 200; RST 1 1"),
        (
            "with trailers that go on",
            "3",
            [data(1, 0, 3), frame(1, 4, 1, &fields(&[("a", "b")]))],
            "HEAD 1 200; RST 1 1",
        ),
        ("with a path behind", "3", [data(1, 0, 3), frame(1, 5, 1, &fields(&[PATH]))], "HEAD 1 200; RST 1 1"),
        (
            "with bad trailers",
            "3",
            [data(1, 0, 3), frame(1, 5, 1, &fields(&[("upgrade", "a")]))],
            "HEAD 1 200; RST 1 1",
        ),
        ("and a head behind its end", "3", [data(1, 1, 3), get(1, "/5")], "HEAD 1 200; RST 1 5"),
    ] {
        // Without a window the answer is still under way when the content comes.
        let mut line = Line::with(&[(4, 0)]);
        let list = [(":method", "POST"), SCHEME, PATH, ("content-length", length)];
        let words =
            line.talk(&[vec![frame(kind::HEADERS, flag::END_HEADERS, 1, &fields(&list))], parts.to_vec()].concat());
        assert_eq!(words, expected, "{why}");
        assert_eq!(line.site.seen.len(), 1, "{why}");
        let rest = if expected.contains("RST") { "" } else { "DATA 1 5 end" };
        assert_eq!(line.talk(&[window(1, 100)]), rest, "{why}");
    }
}

#[test]
fn the_client_is_asked_to_stop_when_its_answer_is_complete() {
    let mut line = Line::met();
    assert_eq!(
        line.talk(&[post(1, "/5"), post(3, "/304")]),
        "HEAD 1 200; HEAD 3 304 end; RST 3 0; DATA 1 5 end; RST 1 0"
    );
    assert_eq!(line.engine.state(), crate::engine::State::Idle);
    // What is under way by then is ignored, trailers that name an entry of the table included.
    let trailers = frame(kind::HEADERS, 5, 1, b"\x40\x01a\x01b");
    assert_eq!(line.talk(&[data(1, 0, 100), trailers, data(3, 1, 100)]), "");
    let more = [request("/5", &[]), vec![0xbe]].concat();
    assert_eq!(line.talk(&[frame(kind::HEADERS, 5, 5, &more)]), "HEAD 5 200; DATA 5 5 end");
}

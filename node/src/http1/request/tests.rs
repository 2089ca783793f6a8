//! Heads as tables: what they say, what is refused, where the limits are, and that it is the same however they come in.

use proptest::prelude::*;

use super::*;

const HOST: &str = "Host: h\r\n";

fn ask(input: &[u8]) -> Result<Option<Request>, Refusal> {
    read(input, 0, &mut Head::default())
}

/// Status of the refusal; 0 for a request, 1 if more must come.
fn status(input: &[u8]) -> u16 {
    match ask(input) {
        Ok(Some(_)) => 0,
        Ok(None) => 1,
        Err(refusal) => refusal.status(),
    }
}

/// The same, with the input growing as `cuts` say.
fn status_in_pieces(input: &[u8], cuts: &[usize]) -> u16 {
    let mut scanned = 0;
    for cut in cuts.iter().copied().chain([input.len()]) {
        match read(&input[..cut], scanned, &mut Head::default()) {
            Ok(None) => scanned = cut,
            Ok(Some(_)) => return 0,
            Err(refusal) => return refusal.status(),
        }
    }
    1
}

#[test]
fn a_request_with_everything() {
    let input = b"HEAD http://other:81/a%20b?c HTTP/1.1\r\nHost: example.org\r\nAccept-Encoding: gzip, br\r\nX: y\r\n\
        Cookie: a\r\nRange:bytes=0-1 \t\r\nIF-NONE-MATCH: \"a\"\r\nif-none-match:\t\"b\"\r\nUpgrade: h2c\r\n\
        Connection: Upgrade\r\nUser-Agent: \xff\r\nReferer:\r\n\r\nGET";
    let mut head = Head::default();
    let request = read(input, 0, &mut head).unwrap().unwrap();
    assert_eq!(request, Request { len: input.len() - 3, persistence: Persistence::Stays });
    let mut expected = Head {
        method: Method::Head,
        path: b"/a%20b",
        query: Some(b"c"),
        authority: Some(b"other:81"),
        ..Head::default()
    };
    let fields: [(Field, &[u8]); 6] = [
        (Field::AcceptEncoding, b"gzip, br"),
        (Field::Range, b"bytes=0-1"),
        (Field::IfNoneMatch, b"\"a\""),
        (Field::IfNoneMatch, b"\"b\""),
        (Field::UserAgent, b"\xff"),
        (Field::Referer, b""),
    ];
    fields.into_iter().for_each(|(field, value)| expected.push(field, value));
    assert_eq!(head, expected);
}

#[test]
fn lines() {
    for (input, expected) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0),
        ("GET / HTTP/1.1\r\nhost:h\r\n\r\n", 0),
        ("GET / HTTP/1.1\r\nHost: h\r\nA:\r\nB: \t \r\n\r\n", 0),
        ("GET / HTTP/1.0\r\n\r\n", 0),
        ("get / HTTP/1.1\r\nHost: h\r\n\r\n", 0),
        ("M-SEARCH / HTTP/1.1\r\nHost: h\r\n\r\n", 0),
        ("", 1),
        ("G", 1),
        ("GET / HTTP/1.1", 1),
        ("GET / HTTP/1.1\r\nHost: h\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: h\r\n\r", 1),
        // Nothing is decided before the line is whole.
        ("GET / HTTP/3", 1),
        ("GET / HTTP/1.1\r\nHost : h", 1),
        // Other versions.
        ("GET /\r\n", 505),
        ("GET /index.html\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET / HTTP/2.0\r\n", 505),
        ("GET / HTTP/0.9\r\n", 505),
        ("GET / HTTP/1.2\r\n", 505),
        ("GET / HTTP/9.9\r\n\r\n", 505),
        ("GET / HTTP/1.10\r\n\r\n", 400),
        ("GET / HTTP/11\r\n\r\n", 400),
        ("GET / HTTP/2\r\n\r\n", 400),
        ("GET / http/1.1\r\n\r\n", 400),
        ("GET / HTTP/ 1.1\r\n\r\n", 400),
        ("GET / HTTPS/1.1\r\n\r\n", 400),
        ("GET / XTTP/2.0\r\n\r\n", 400),
        ("GET\r\n\r\n", 400),
        ("GET x\r\n\r\n", 400),
        ("POST /\r\n\r\n", 400),
        ("hello\r\n", 400),
        // Request lines.
        ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /  HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400),
        ("GET / x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (" GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("G(T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GE\u{1}T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /\u{1} HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /\u{0} HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET a HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        // The first byte is enough.
        ("\u{16}\u{3}\u{1}", 400),
        ("\n", 400),
        ("\0", 400),
        // Line ends.
        ("GET / HTTP/1.1\nHost: h\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\nContent-Length: 5\r\n\r\n", 400),
        ("GET / HTTP/1.1\rHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\rA: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\n\r \n", 400),
        // Fields.
        ("GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA\t: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\n A: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\tc\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA:\r\n b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA b: c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\u{0}c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA\u{0}: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: \u{7f}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA\u{e9}: b\r\n\r\n", 400),
        // The host.
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nhOST: g\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 0),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: a@b\r\n\r\n", 400),
        ("GET http://a/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        // Content.
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", 0),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: x\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nExpect: x\r\n\r\n", 417),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
    ] {
        assert_eq!(status(input.as_bytes()), expected, "{input:?}");
        let every: Vec<_> = (0..input.len()).collect();
        assert_eq!(status_in_pieces(input.as_bytes(), &every), expected, "{input:?}, byte by byte");
    }
}

#[test]
fn limits() {
    let target = |len: usize| format!("GET /{} HTTP/1.1\r\n{HOST}\r\n", "a".repeat(len - 1));
    let start = |len: usize| format!("GET /{}", "a".repeat(len - 1));
    let method = |len: usize| format!("{} / HTTP/1.1\r\n{HOST}\r\n", "M".repeat(len));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{HOST}{}\r\n", "a: b\r\n".repeat(count - 1));
    let head = |len: usize| {
        let line = "GET / HTTP/1.1\r\nHost: h\r\na: \r\n\r\n";
        line.replace("a: ", &format!("a: {}", "b".repeat(len - line.len())))
    };
    for (name, input, expected) in [
        ("target", target(TARGET), 0),
        ("target", target(TARGET + 1), 414),
        ("target", target(60_000), 414),
        ("start of a target", start(TARGET), 1),
        ("start of a target", start(TARGET + 1), 414),
        ("start of a target", start(60_000), 414),
        ("target without an end", format!("{}\r\n", start(TARGET + 1)), 414),
        ("target with a bad byte", target(TARGET + 1).replace("GET /a", "GET /\u{1}"), 414),
        ("target and line feed", target(TARGET + 1).replace("\r\n", "\n"), 414),
        ("method", method(METHOD), 0),
        ("method", method(METHOD + 1), 400),
        ("start of a method", "M".repeat(METHOD), 1),
        ("start of a method", "M".repeat(METHOD + 1), 400),
        ("start of a method", "M".repeat(60_000), 400),
        ("fields", fields(FIELDS), 0),
        ("fields", fields(FIELDS + 1), 431),
        ("fields without an end", fields(FIELDS + 1).trim_end().to_owned() + "\r\n", 431),
        ("head", head(HEAD), 0),
        ("head", head(HEAD + 1), 431),
        ("head", head(200_000), 431),
        ("head and a bad line behind its limit", head(HEAD + 2).replace("\r\n\r\n", "\r\n\n"), 431),
        ("start of a head", head(HEAD + 1).trim_end().to_owned(), 1),
        ("start of a head", head(HEAD + 5).trim_end().to_owned(), 431),
    ] {
        assert_eq!(status(input.as_bytes()), expected, "{name}");
        for step in [1, 1000, TARGET, HEAD] {
            // Every byte of a short one, and of a long one those near the limits.
            let near =
                |cut: &usize| step > 1 || [METHOD, TARGET, HEAD, input.len()].iter().any(|at| cut.abs_diff(*at) < 12);
            let cuts: Vec<_> = (1..input.len()).step_by(step).filter(near).collect();
            assert_eq!(status_in_pieces(input.as_bytes(), &cuts), expected, "{name} in steps of {step}");
        }
    }
}

#[test]
fn bare_line_feeds_are_found_anywhere() {
    let head = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(9);
    assert!(!has_bare_line_feed(&head));
    for at in (0..head.len()).filter(|at| head[*at] == b'\r') {
        let mut lines = head.clone();
        lines.remove(at);
        assert!(has_bare_line_feed(&lines), "{at}");
    }
}

proptest! {
    #[test]
    fn any_bytes(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = ask(&input);
    }

    /// The same is said whatever comes in at once: nearly requests, cut anywhere.
    #[test]
    fn pieces_do_not_matter(
        input in "[GHPO]{1,4}[ /a*?#:%\u{1}]{1,5}HTTP/[12][.][019](\r\n|\n|\r| )((Host|A|content-length)[: ]{1,2}[a-h5 :\r\u{1}]{0,5}(\r\n|\n|\r\n )){0,3}\r?\n.?",
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).filter(|cut| *cut > 0).collect();
        cuts.sort_unstable();
        prop_assert_eq!(status_in_pieces(input.as_bytes(), &cuts), status(input.as_bytes()));
    }
}

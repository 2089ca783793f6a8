//! Many requests in one batch, and batches in any pieces.

use proptest::prelude::*;

use super::*;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[test]
fn small_answers_go_out_together_and_in_order() {
    let mut line = Line::default();
    line.say((0..5).map(|at| get(&format!("/{at}"))).collect::<String>());
    assert_eq!((line.engine.requests(), line.engine.state()), (5, State::Busy));
    let backlog = line.engine.backlog();
    let all = line.hear(usize::MAX);
    assert!(backlog > 0 && backlog < all);
    assert_eq!((line.engine.backlog(), line.engine.state()), (0, State::Idle));
    let asked: Vec<_> = line.text().lines().filter_map(|text| text.strip_prefix("asked: ")).collect();
    assert_eq!(asked, ["GET /0 h", "GET /1 h", "GET /2 h", "GET /3 h", "GET /4 h"]);
}

#[test]
fn no_more_answers_wait_than_fit() {
    let mut line = Line::default();
    line.say(get("/").repeat(100));
    assert_eq!(line.engine.requests(), ANSWERS as u64);
    line.hear(usize::MAX);
    // What waits in the input is read when the driver comes again.
    line.say("");
    assert_eq!(line.engine.requests(), 2 * ANSWERS as u64);
    line.settle(usize::MAX);
    assert_eq!((line.engine.requests(), line.statuses().len(), line.engine.state()), (100, 100, State::Idle));
}

#[test]
fn a_large_answer_is_sent_before_the_next_is_read() {
    let (small, large) = (SMALL.to_string(), (SMALL + 1).to_string());
    let mut line = Line::default();
    line.say([get(&format!("/n/{small}")), get(&format!("/n/{large}")), get("/")].concat());
    assert_eq!(line.engine.requests(), 2);
    line.hear(usize::try_from(SMALL).unwrap());
    line.say("");
    assert_eq!(line.engine.requests(), 2);
    // The heads of both, and nothing more than small is left.
    line.hear(usize::try_from(SMALL).unwrap());
    line.say("");
    assert_eq!(line.engine.requests(), 3);
    line.settle(1000);
    assert_eq!(line.statuses(), [200, 200, 200]);
}

#[test]
fn sent_heads_are_thrown_away_though_something_always_waits() {
    let mut line = Line::default();
    line.say(get("/"));
    let one = line.hear(usize::MAX);
    line.say(get("/"));
    for _ in 0..2_000 {
        line.say(get("/"));
        assert_eq!(line.hear(one), one);
        assert!(line.engine.backlog() > 0 && line.engine.heads.len() < 2 * SENT, "{}", line.engine.heads.len());
    }
    line.settle(usize::MAX);
    assert_eq!((line.statuses().len(), line.engine.heads.len()), (2_002, 0));
}

#[test]
fn empty_lines_before_requests_are_skipped() {
    let mut line = Line::default();
    line.say(["\r\n", &get("/"), "\r\n\r\n\r\n\r\n", &get("/"), "\r\n"].concat());
    line.settle(usize::MAX);
    assert_eq!((line.statuses(), line.engine.state(), line.input.len()), (vec![200, 200], State::Idle, 0));
    line.say("\r");
    line.say("\n");
    line.say(get("/"));
    line.settle(usize::MAX);
    assert_eq!(line.statuses(), [200, 200, 200]);
}

#[test]
fn nothing_is_read_behind_the_last_request() {
    let last = "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let (answer, state) = exchange([&get("/"), last, &get("/")].concat());
    assert_eq!((answer.matches("HTTP/1.1 ").count(), state), (2, State::Finished));
    assert!(answer.ends_with("connection: close\r\n\r\nGET /last h"), "{answer}");
}

#[test]
fn a_short_request_behind_the_pieces_of_a_long_one() {
    let long = get(&format!("/{}", "a".repeat(500)));
    let mut line = Line::default();
    line.say(&long[..long.len() - 1]);
    line.say(["\n", &get("/")].concat());
    assert_eq!(line.engine.requests(), 2);
}

/// A conversation from parts that are sometimes requests.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        6 => "/[a-c]{0,3}".prop_map(|path| get(&path).into_bytes()),
        2 => (0usize..3_000).prop_map(|length| get(&format!("/n/{length}")).into_bytes()),
        1 => Just(get("/n/70000").into_bytes()),
        1 => Just(b"HEAD /h HTTP/1.1\r\nHost: h\r\nAccept: a\r\n\r\n".to_vec()),
        1 => Just(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc".to_vec()),
        1 => Just(b"GET / HTTP/1.1\r\nHost : h\r\n\r\n".to_vec()),
        1 => Just(b"GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n".to_vec()),
        1 => Just(b"GET /unfinished HTTP/1.1\r\nHo".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..30),
    ];
    proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    /// Bytes come and go in any pieces, and what is answered is the same.
    #[test]
    fn pieces_do_not_matter(
        input in conversation(),
        pieces in proptest::collection::vec((1usize..200, 0usize..5_000), 1..30),
    ) {
        let mut whole = Line::default();
        whole.say(&input);
        whole.settle(usize::MAX);
        let mut line = Line::default();
        let mut rest = input.as_slice();
        for (piece, budget) in pieces.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, then) = rest.split_at(piece.min(rest.len()));
            line.say(now);
            line.hear(budget);
            rest = then;
        }
        line.settle(777);
        prop_assert_eq!(&line.output, &whole.output);
        prop_assert_eq!(line.engine.state(), whole.engine.state());
        prop_assert_eq!(line.engine.requests(), whole.engine.requests());
    }

    #[test]
    fn any_bytes(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..8), budget in 1usize..100) {
        let mut line = Line::default();
        for piece in &pieces {
            line.say(piece);
            line.hear(budget);
        }
        line.engine.overdue(&mut line.desk);
        line.settle(budget);
        prop_assert_eq!(line.engine.state(), State::Finished);
    }
}

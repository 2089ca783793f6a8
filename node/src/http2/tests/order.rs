//! Who is sent first (RFC 9218).

use super::*;

/// Windows that nothing here fills.
fn wide() -> Line {
    let mut line = Line::with(&[(4, 1 << 30)]);
    line.send(&window(0, 1 << 30));
    line
}

/// A request that says how soon it is needed.
fn ask(id: u32, path: &str, priority: &str) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, id, &request(path, &[("priority", priority)]))
}

fn update(id: u32, priority: &str) -> Vec<u8> {
    frame(kind::PRIORITY_UPDATE, 0, 0, &[&id.to_be_bytes(), priority.as_bytes()].concat())
}

/// The streams of the frames of DATA, one after the other; the last frame of each is marked.
fn turns(words: &str) -> String {
    let turn = |words: &str| {
        let mut words = words.strip_prefix("DATA ")?.split(' ');
        Some(words.next()?.to_owned() + if words.nth(1).is_some() { "." } else { "" })
    };
    words.split("; ").filter_map(turn).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_urgent_comes_first() {
    for (why, frames, expected) in [
        ("in the order of requests", vec![get(1, "/5"), get(3, "/5"), get(5, "/5")], "1. 3. 5."),
        ("by urgency", vec![ask(1, "/5", "u=7"), ask(3, "/5", "u=2"), ask(5, "/5", "u=0")], "5. 3. 1."),
        (
            "with those that say nothing between",
            vec![ask(1, "/5", "u=4"), get(3, "/5"), ask(5, "/5", "u=2")],
            "5. 3. 1.",
        ),
        ("small ones as a whole", vec![get(1, "/40000"), get(3, "/40000")], "1 1 1. 3 3 3."),
        (
            "large ones in turns until they are small",
            vec![get(1, "/100000"), get(3, "/100000")],
            "1 3 1 3 1 1 1 1 1. 3 3 3 3 3.",
        ),
        ("incremental ones in turns", vec![ask(1, "/40000", "i"), ask(3, "/40000", "i")], "1 3 1 3 1. 3."),
        (
            "a page beside a large file",
            vec![get(1, "/300000"), get(3, "/30000")],
            "1 3 3. 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1.",
        ),
        ("said later", vec![get(1, "/5"), get(3, "/5"), update(3, "u=1")], "3. 1."),
        ("said before", vec![update(3, "u=1"), get(1, "/5"), get(3, "/5")], "3. 1."),
        ("said before, twice", vec![update(3, "u=1"), update(3, "u=5"), get(1, "/5"), get(3, "/5")], "1. 3."),
        (
            "said before, and otherwise with the request",
            vec![update(3, "u=1"), get(1, "/5"), ask(3, "/5", "u=7")],
            "3. 1.",
        ),
        ("said of a stream that is left out", vec![update(1, "u=1"), get(3, "/5"), get(5, "/5")], "3. 5."),
        ("taken back", vec![ask(1, "/5", "u=1"), get(3, "/5"), ask(5, "/5", "u=2"), update(1, "")], "5. 3. 1."),
        ("not at all", vec![ask(1, "/5", "u=9"), ask(3, "/5", "?!"), ask(5, "/5", "u=3")], "1. 3. 5."),
    ] {
        let mut line = wide();
        assert_eq!(turns(&line.talk(&frames)), expected, "{why}");
    }
}

#[test]
fn the_site_says_what_is_urgent_unless_the_client_does() {
    let mut line = wide();
    line.send(&get(1, "/5"));
    line.site.urgency = Some(6);
    line.send(&get(3, "/5"));
    line.site.urgency = Some(1);
    line.send(&[get(5, "/5"), ask(7, "/5", "u=0"), ask(9, "/5", "i")].concat());
    assert_eq!(turns(&line.get()), "7. 5. 1. 9. 3.");
}

/// One that is urgent waits for its window, and the others do not wait for it.
#[test]
fn who_cannot_send_holds_up_nobody() {
    let mut line = wide();
    line.send(&settings_frame(&[(4, 3)]));
    assert_eq!(turns(&line.talk(&[ask(1, "/5", "u=0"), ask(3, "/5", "u=7")])), "1 3");
    assert_eq!(turns(&line.talk(&[window(3, 1)])), "3");
    assert_eq!(turns(&line.talk(&[window(3, 1), window(1, 2)])), "1. 3.");
}

#[test]
fn large_files_all_move_on() {
    let mut line = wide();
    line.send(&(0..20).flat_map(|nth| get(2 * nth + 1, "/1000000")).collect::<Vec<_>>());
    for round in 0..30 {
        let mut seen: Vec<u32> = (0..20)
            .map(|_| line.some(1))
            .filter_map(|mut bytes| {
                let mut last = None;
                while let Some(frame) = next(&mut bytes) {
                    last = Some(frame.id);
                }
                last
            })
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 20, "round {round}");
    }
}

#[test]
fn the_budget_is_kept_but_for_the_last_frame() {
    let mut line = wide();
    line.send(&get(1, "/1000000"));
    let head = line.some(0).len();
    assert!(head > 9 && head < 200);
    assert_eq!(line.some(0).len(), 0);
    assert_eq!(line.some(1).len(), 9 + 16_384);
    assert_eq!(line.some(40_000).len(), 3 * (9 + 16_384));
}

#[test]
fn no_more_priorities_are_kept_than_streams() {
    let mut line = wide();
    let mut bytes: Vec<u8> = (0..99).flat_map(|nth| update(2 * nth + 101, "u=1")).collect();
    bytes.extend([get(1, "/5"), update(103, "u=2")].concat());
    assert_eq!(turns(&line.talk(&[bytes])), "1.");
    assert_eq!(line.talk(&[update(1001, "u=2")]), "");
    assert_eq!(line.talk(&[update(1003, "u=2")]), "GOAWAY 1 1");
}

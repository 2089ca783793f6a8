//! That everything is asked for, and goes on the wire as it is meant.

use bytes::Bytes;

use super::*;
use crate::flips::forms::Coding;

fn menu() -> Menu {
    Menu {
        small: vec![String::new(), "a.json".into(), "índice.html".into()],
        large: vec!["b.json".into()],
        passing: (1..=40).map(|seq| (seq, format!("{seq}.zip"))).collect(),
    }
}

fn verdict(name: &str, len: usize) -> Verdict {
    let body = Bytes::from(vec![7; len]);
    let plain = blake3::hash(&body);
    let known = Known { name: name.into(), tag: "\"t\"".into(), coding: Coding::Identity, plain, body };
    Verdict { cut: 20, current: 20, known: Some(known), is_had: true }
}

#[test]
fn everything_is_asked_for() {
    let (menu, timeline) = (menu(), Timeline::default());
    timeline.submit(21);
    timeline.confirm(20);
    let mut asker = Asker::new(1, true);
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for _ in 0..20_000 {
        let asked = asker.ask(&menu, &timeline, 3);
        assert_eq!((asked.seen, asked.confirmed), (3, 20));
        let zip = asked.name.strip_suffix(".zip").and_then(|seq| seq.parse::<u64>().ok());
        let kinds = [
            ("head", asked.is_head),
            ("condition", asked.known.is_some()),
            ("part", asked.part.is_some()),
            ("page", asked.page.is_some()),
            ("no coding", asked.accept.is_empty()),
            ("site", asked.name.is_empty()),
            ("large", asked.name == "b.json"),
            ("nowhere", asked.name == NOWHERE),
            ("past", zip.is_some_and(|seq| (9..20).contains(&seq))),
            ("gone", zip.is_some_and(|seq| seq < 9)),
            ("next", zip == Some(21)),
            ("after next", zip == Some(22)),
        ];
        for (kind, _) in kinds.iter().filter(|(_, holds)| *holds) {
            *counts.entry(kind).or_default() += 1;
        }
        if let Some(part) = &asked.part {
            assert!(part.first <= part.last && part.last < part.whole.body.len(), "{part:?}");
        }
        let name = asked.name.clone();
        asker.learn(&asked, verdict(&name, if name == "b.json" { 100_000 } else { 900 }), Instant::now());
    }
    assert_eq!(counts.len(), 12, "{counts:?}");
    assert!(counts.values().all(|count| *count >= 20), "{counts:?}");
}

#[test]
fn the_same_seed_asks_the_same() {
    let timeline = Timeline::default();
    let asked = || -> Vec<String> {
        let mut asker = Asker::new(7, false);
        (0..100).map(|_| asker.ask(&menu(), &timeline, 0).line()).collect()
    };
    assert_eq!(asked(), asked());
}

#[test]
fn pages_belong_to_one_connection() {
    let (menu, timeline) = (menu(), Timeline::default());
    for (is_alone, stays) in [(true, true), (true, false), (false, true)] {
        let mut asker = Asker::new(3, is_alone);
        let asked = Asked { name: "índice.html".into(), ..asker.ask(&menu, &timeline, 0) };
        let answer = verdict("índice.html", 10);
        asker.learn(&asked, Verdict { is_had: false, known: None, ..answer.clone() }, Instant::now());
        assert!(asker.page.is_none());
        asker.learn(&asked, answer, Instant::now());
        if !stays {
            asker.reconnect();
        }
        assert_eq!(asker.page.is_some(), is_alone && stays);
    }
}

#[test]
fn requests_are_written() {
    let known = verdict("ñ a.html", 10).known.unwrap();
    let page = Page { name: "índice.html".into(), cut: 1, since: Instant::now() };
    let part = Part { whole: known.clone(), field: "bytes=1-".into(), first: 1, last: 9 };
    let mut asked = Asker::new(1, true).ask(&menu(), &Timeline::default(), 0);
    asked = Asked { name: "ñ a.html".into(), is_head: true, accept: "br", ..asked };
    asked = Asked { known: Some(known), part: Some(part), page: Some(page), ..asked };
    let request = asked.request("https://localhost:1", "localhost:1", ()).unwrap();
    assert_eq!(request.uri(), "https://localhost:1/%C3%B1%20a.html");
    assert_eq!(request.method(), Method::HEAD);
    for (name, value) in [
        ("accept-encoding", "br"),
        ("if-none-match", "\"t\""),
        ("if-range", "\"t\""),
        ("range", "bytes=1-"),
        ("referer", "https://localhost:1/%C3%ADndice.html"),
    ] {
        assert_eq!(request.headers()[name], value);
    }
    assert!(!request.headers().contains_key("host"));
    assert_eq!(asked.request("", "localhost:1", ()).unwrap().headers()["host"], "localhost:1");
    assert!(asked.line().starts_with("HEAD /%C3%B1%20a.html, accept-encoding: br, if-none-match: \"t\", range: "));
}

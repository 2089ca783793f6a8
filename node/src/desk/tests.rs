//! Pages that are loaded while a cut is replaced: all of a page is of one cut, and nothing else is of an old one.

mod rules;

use difusor_proto::units::Bytes;

use super::*;
use crate::{
    admission::budgets::{BudgetsConfig, ByteRate, RequestRate},
    head::Field,
    observe::Totals,
    site::{
        Site,
        fixture::{Fixture, answer::Answer},
    },
};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// When the tests begin, Unix milliseconds.
const START: u64 = 1_623_037_200_000;

/// The life of a page, in milliseconds.
const LIFE: u64 = 10_000;

/// Two cuts, of which the second is not served yet, and a thread that serves.
struct World {
    counter: Rc<Counter>,
    serving: Arc<Serving>,
    second: Arc<Site>,
}

impl World {
    fn new() -> Self {
        let mut world = Self::before_the_first_cut();
        let fixture = Fixture::new();
        let one = fixture.later(
            1,
            &[
                ("index.html", b"page 1"),
                ("other/index.html", b"other 1"),
                ("data.json", b"data 1"),
                ("same.html", b"same"),
                ("only1.json", b"only 1"),
            ],
        );
        let two = fixture.later(
            2,
            &[
                ("index.html", b"page 2"),
                ("other/index.html", b"other 2"),
                ("data.json", b"data 2"),
                ("same.html", b"same"),
                ("only2.json", b"only 2"),
            ],
        );
        let one = Arc::new(fixture.site(&one));
        world.second = Arc::new(fixture.build(&two, &fixture.options(), Some(&one)).unwrap());
        world.serving.flip(one);
        world
    }

    fn before_the_first_cut() -> Self {
        let serving = Arc::new(Serving::default());
        let counter = Station::new(Arc::clone(&serving), 1).counter(0);
        counter.tick(START);
        let fixture = Fixture::new();
        let second = Arc::new(fixture.site(&fixture.cut(2, &[])));
        Self { counter, serving, second }
    }

    fn flip(&self) {
        self.serving.flip(Arc::clone(&self.second));
    }
}

/// One request after another on a connection.
fn ask(visit: &mut Visit, method: Method, path: &str, fields: &[(Field, &str)]) -> Answer {
    let mut head = Head { method, path: path.as_bytes(), authority: Some(b"prep.example"), ..Head::default() };
    fields.iter().for_each(|(field, value)| head.push(*field, value.as_bytes()));
    let mut answer = Answer::default();
    let body = visit.answer(&head, &mut answer);
    answer.with(body)
}

fn get(visit: &mut Visit, path: &str, fields: &[(Field, &str)]) -> Answer {
    ask(visit, Method::Get, path, fields)
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

const OF_ROOT: (Field, &str) = (Field::Referer, "https://prep.example/");

fn dest(dest: &str) -> (Field, &str) {
    (Field::SecFetchDest, dest)
}

#[test]
fn what_a_page_is_made_of_comes_from_its_cut() {
    let life = u64::try_from(PAGE_LIFE.as_millis()).unwrap();
    assert_eq!(life, LIFE);
    for (fields, later, cut) in [
        (&[OF_ROOT][..], 0, 1),
        (&[OF_ROOT, dest("empty")], 0, 1),
        (&[OF_ROOT, dest("image")], 0, 1),
        (&[OF_ROOT, dest("script")], 0, 1),
        (&[OF_ROOT, dest("style")], 9_999, 1),
        (&[(Field::Referer, "https://prep.example:8443/?a=b#c"), dest("empty")], 0, 1),
        (&[(Field::Referer, "https://prep.example/#/nacional")], 0, 1),
        (&[(Field::Referer, "http://PREP.example:80/")], 0, 1),
        // Another site that shows it.
        (&[(Field::Referer, "http://localhost/")], 0, 2),
        (&[(Field::Referer, "https://portal.prep.example/")], 0, 2),
        // After its life.
        (&[OF_ROOT], LIFE, 2),
        (&[OF_ROOT, dest("empty")], LIFE + 1, 2),
        (&[OF_ROOT, dest("empty")], 100 * LIFE, 2),
        // Whoever does not say so is not part of it.
        (&[], 0, 2),
        (&[dest("empty")], 0, 2),
        (&[dest("image")], 0, 2),
        // Another address of the same page.
        (&[(Field::Referer, "https://prep.example/index.html")], 0, 1),
        // Another page.
        (&[(Field::Referer, "https://prep.example/other/")], 0, 2),
        (&[(Field::Referer, "https://prep.example")], 0, 2),
        (&[(Field::Referer, "https://prep.example//")], 0, 2),
        (&[(Field::Referer, "/")], 0, 2),
        (&[(Field::Referer, "ftp://prep.example/")], 0, 2),
        (&[(Field::Referer, "https:///")], 0, 2),
        (&[(Field::Referer, "")], 0, 2),
        (&[OF_ROOT, OF_ROOT], 0, 2),
        // Pages of their own.
        (&[OF_ROOT, dest("document")], 0, 2),
        (&[OF_ROOT, dest("iframe")], 0, 2),
        (&[OF_ROOT, dest("frame")], 0, 2),
        (&[OF_ROOT, dest("embed")], 0, 2),
        (&[OF_ROOT, dest("object")], 0, 2),
    ] {
        let world = World::new();
        let mut visit = world.counter.visit(PEER, Protocol::H2);
        let page = get(&mut visit, "/", &[dest("document")]);
        assert_eq!((text(&page), page.field("difusor-cut")), ("page 1", Some("20210606_2001/1")));
        assert_eq!(text(&get(&mut visit, "/data.json", fields)), "data 1", "before the flip");
        world.flip();
        world.counter.tick(START + later);
        let answer = get(&mut visit, "/data.json", fields);
        assert_eq!(text(&answer), format!("data {cut}"), "{fields:?} {later}");
        assert_eq!(answer.field("difusor-cut"), Some(format!("20210606_200{cut}/{cut}").as_str()));
        let head = ask(&mut visit, Method::Head, "/data.json", fields);
        assert_eq!(head.fields, answer.fields, "{fields:?} {later}");
        // Nobody else is held back.
        let mut other = world.counter.visit(PEER, Protocol::H2);
        assert_eq!(text(&get(&mut other, "/data.json", fields)), "data 2");
    }
}

#[test]
fn what_either_cut_has_is_found() {
    let world = World::new();
    let mut visit = world.counter.visit(PEER, Protocol::H2);
    get(&mut visit, "/", &[]);
    world.flip();
    for (path, fields, expected) in [
        ("/only1.json", &[OF_ROOT][..], "only 1"),
        ("/only1.json", &[], "only 1"),
        ("/only2.json", &[OF_ROOT], "only 2"),
        ("/only2.json", &[], "only 2"),
        ("/data.json", &[OF_ROOT], "data 1"),
        ("/other/", &[OF_ROOT, dest("empty")], "other 1"),
    ] {
        let answer = get(&mut visit, path, fields);
        assert_eq!((answer.status, text(&answer)), (200, expected), "{path} {fields:?}");
        let cut = &expected[expected.len() - 1..];
        assert_eq!(answer.field("difusor-cut"), Some(format!("20210606_200{cut}/{cut}").as_str()));
    }
    assert_eq!(get(&mut visit, "/other", &[OF_ROOT]).field("difusor-cut"), Some("20210606_2001/1"));
    // What neither has is missing from the current one.
    let missing = get(&mut visit, "/nope", &[OF_ROOT]);
    assert_eq!((missing.status, missing.field("difusor-cut")), (404, Some("20210606_2002/2")));
}

#[test]
fn a_page_that_is_asked_for_anew_is_current_and_takes_its_parts_along() {
    for asked in [&[][..], &[dest("document")], &[OF_ROOT, dest("document")]] {
        let world = World::new();
        let mut visit = world.counter.visit(PEER, Protocol::H2);
        get(&mut visit, "/", &[]);
        world.flip();
        assert_eq!(text(&get(&mut visit, "/data.json", &[OF_ROOT])), "data 1");
        assert_eq!(text(&get(&mut visit, "/", asked)), "page 2");
        assert_eq!(text(&get(&mut visit, "/data.json", &[OF_ROOT])), "data 2");
    }
}

#[test]
fn a_page_that_the_client_has_already_counts_from_when_it_was_asked_for() {
    // Before a flip: its parts are of the cut in which it was found unchanged.
    let world = World::new();
    let of_same = (Field::Referer, "https://prep.example/same.html");
    let tag = get(&mut world.counter.visit(PEER, Protocol::H2), "/same.html", &[]).field("etag").unwrap().to_owned();
    let mut visit = world.counter.visit(PEER, Protocol::H2);
    assert_eq!(get(&mut visit, "/same.html", &[(Field::IfNoneMatch, &tag)]).status, 304);
    world.counter.tick(START + 2 * LIFE);
    assert_eq!(get(&mut visit, "/same.html", &[(Field::IfNoneMatch, &tag)]).status, 304);
    world.flip();
    world.counter.tick(START + 3 * LIFE - 1);
    assert_eq!(text(&get(&mut visit, "/data.json", &[of_same])), "data 1");
    // After it: of the new one.
    assert_eq!(get(&mut visit, "/same.html", &[(Field::IfNoneMatch, &tag)]).status, 304);
    assert_eq!(text(&get(&mut visit, "/data.json", &[of_same])), "data 2");
}

#[test]
fn only_pages_that_were_given_are_remembered() {
    let range = (Field::Range, "bytes=0-0");
    for (method, path, fields) in [
        (Method::Head, "/", &[][..]),
        (Method::Options, "/", &[]),
        (Method::Other, "/", &[]),
        // Parts of pages, be they pages or not.
        (Method::Get, "/", &[dest("empty")]),
        (Method::Get, "/", &[range]),
        (Method::Get, "/", &[(Field::IfMatch, "\"x\"")]),
        (Method::Get, "/data.json", &[]),
        (Method::Get, "/other", &[]),
        (Method::Get, "/nope", &[]),
    ] {
        let world = World::new();
        let mut visit = world.counter.visit(PEER, Protocol::H2);
        ask(&mut visit, method, path, fields);
        world.flip();
        let referer = format!("https://prep.example{path}");
        let answer = get(&mut visit, "/data.json", &[(Field::Referer, &referer)]);
        assert_eq!(text(&answer), "data 2", "{method:?} {path} {fields:?}");
    }
}

#[test]
fn other_answers_do_not_make_it_forget_the_page() {
    let world = World::new();
    let mut visit = world.counter.visit(PEER, Protocol::H2);
    get(&mut visit, "/", &[]);
    get(&mut visit, "/data.json", &[]);
    get(&mut visit, "/nope", &[]);
    get(&mut visit, "/other/", &[OF_ROOT, dest("empty")]);
    ask(&mut visit, Method::Head, "/other/", &[]);
    world.flip();
    assert_eq!(text(&get(&mut visit, "/data.json", &[OF_ROOT])), "data 1");
    // Nor does a page in another window.
    assert_eq!(text(&get(&mut visit, "/other/", &[])), "other 2");
    let of_other = (Field::Referer, "https://prep.example/other/");
    assert_eq!(text(&get(&mut visit, "/data.json", &[of_other])), "data 2");
    assert_eq!(text(&get(&mut visit, "/data.json", &[OF_ROOT])), "data 1");
}

/// Styles and scripts ask for more, and a program in a page makes up its address.
#[test]
fn what_the_parts_of_a_page_ask_for_is_of_its_cut_too() {
    let fixture = Fixture::new();
    let policy = Policy {
        fallback: vec![crate::policy::Fallback { prefix: "/publicacion/".into(), page: "index.html".into() }],
        ..Policy::default()
    };
    let serving = Arc::new(Serving::default());
    let mut station = Station::new(Arc::clone(&serving), 1);
    station.policy = Arc::new(policy);
    let counter = station.counter(0);
    counter.tick(START);
    let files = |cut: &'static str| {
        [("index.html", "shell"), ("app.css", cut), ("app.js", cut), ("data.json", cut), ("font.bin", cut)]
            .map(|(name, text)| (name, text.as_bytes()))
    };
    serving.flip(Arc::new(fixture.site(&fixture.later(1, &files("1")))));
    let mut visit = counter.visit(PEER, Protocol::H2);
    get(&mut visit, "/", &[dest("document")]);
    get(&mut visit, "/app.css", &[OF_ROOT, dest("style")]);
    get(&mut visit, "/app.js", &[OF_ROOT, dest("script")]);
    get(&mut visit, "/data.json", &[OF_ROOT, dest("empty")]);
    serving.flip(Arc::new(fixture.site(&fixture.later(2, &files("2")))));
    for (referer, cut) in [
        ("https://prep.example/app.css", "1"),
        ("https://prep.example/app.js", "1"),
        ("https://prep.example/publicacion/nacional/14", "1"),
        // Data asks for nothing.
        ("https://prep.example/data.json", "2"),
        ("https://prep.example/nada/", "2"),
    ] {
        let answer = get(&mut visit, "/font.bin", &[(Field::Referer, referer)]);
        assert_eq!(text(&answer), cut, "{referer}");
        // What is not current is nobody else's.
        assert_eq!(answer.field("cache-control") == Some("no-cache"), cut == "1", "{referer}");
    }
    // What came after the flip without a page before it is current, and so is what it asks for.
    let mut other = counter.visit(PEER, Protocol::H2);
    get(&mut other, "/app.css", &[OF_ROOT]);
    assert_eq!(text(&get(&mut other, "/font.bin", &[(Field::Referer, "https://prep.example/app.css")])), "2");
}

#[test]
fn the_oldest_of_many_pages_is_forgotten() {
    let fixture = Fixture::new();
    let names: Vec<_> = (0..=recall::MAX_PAGES).map(|page| format!("{}{page}.html", "d".repeat(200))).collect();
    let cut = |seq: u64| {
        let text = seq.to_string();
        let data = ("data.json".to_owned(), text.clone());
        let pages = names.iter().map(|name| (name.clone(), format!("{name} {text}")));
        let files: Vec<_> = pages.chain([data]).collect();
        let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
        Arc::new(fixture.site(&fixture.later(seq, &files)))
    };
    let world = World::before_the_first_cut();
    world.serving.flip(cut(1));
    let mut visit = world.counter.visit(PEER, Protocol::H2);
    for name in &names {
        assert_eq!(get(&mut visit, &format!("/{name}"), &[]).status, 200);
    }
    world.serving.flip(cut(2));
    for (page, name) in names.iter().enumerate() {
        let referer = format!("https://prep.example/{name}");
        let expected = if page == 0 { "2" } else { "1" };
        assert_eq!(text(&get(&mut visit, "/data.json", &[(Field::Referer, &referer)])), expected, "{page}");
    }
}

#[test]
fn snapshots_that_are_let_go_leave_the_current_one() {
    let world = World::new();
    let mut visit = world.counter.visit(PEER, Protocol::H2);
    get(&mut visit, "/", &[]);
    world.flip();
    let fixture = Fixture::new();
    for seq in 3..8u64 {
        world.serving.flip(Arc::new(fixture.site(&fixture.later(seq, &[("data.json", b"newer")]))));
    }
    assert_eq!(text(&get(&mut visit, "/data.json", &[OF_ROOT])), "newer");
}

#[test]
fn before_the_first_cut_and_from_then_on() {
    let world = World::before_the_first_cut();
    let mut visit = world.counter.visit(PEER, Protocol::H2);
    assert_eq!(get(&mut visit, "/", &[OF_ROOT]).status, 503);
    let served = World::new();
    world.serving.flip(served.serving.current().unwrap());
    assert_eq!(text(&get(&mut visit, "/", &[OF_ROOT])), "page 1");
}

#[test]
fn what_is_no_request_gets_its_page() {
    let world = World::new();
    let mut visit = world.counter.visit(PEER, Protocol::H2);
    for (refusal, status) in [
        (Refusal::Malformed, 400),
        (Refusal::Slow, 408),
        (Refusal::TargetTooLong, 414),
        (Refusal::Expectation, 417),
        (Refusal::HeadTooLarge, 431),
        (Refusal::TransferCoding, 501),
        (Refusal::Version, 505),
    ] {
        let mut answer = Answer::default();
        let body = visit.refuse(refusal, &mut answer);
        let answer = answer.with(body);
        answer.check(false);
        assert_eq!((answer.status, refusal.status()), (status, status));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        assert!(text(&answer).contains(&format!("<p>{status}:")));
    }
    get(&mut visit, "/", &[]);
    get(&mut visit, "/nope", &[]);
    let counts = Totals::default().and(&world.counter.tally);
    assert_eq!((counts.requests(), counts.classes()), (9, [0, 1, 0, 6, 2]));
}

#[test]
fn fields_of_time_are_those_of_the_last_tick() {
    let world = World::new();
    let mut visit = world.counter.visit(PEER, Protocol::H2);
    let date = |visit: &mut Visit| get(visit, "/", &[]).field("date").unwrap().to_owned();
    for (now, expected) in [
        (START, "Mon, 07 Jun 2021 03:40:00 GMT"),
        (START + 999, "Mon, 07 Jun 2021 03:40:00 GMT"),
        (START + 1_000, "Mon, 07 Jun 2021 03:40:01 GMT"),
        (START + 61_500, "Mon, 07 Jun 2021 03:41:01 GMT"),
        // A clock that is set back.
        (START, "Mon, 07 Jun 2021 03:40:00 GMT"),
    ] {
        world.counter.tick(now);
        assert_eq!(date(&mut visit), expected);
    }
    let before = world.counter.now();
    std::thread::yield_now();
    world.counter.tick(START);
    assert!(world.counter.now() >= before && before.elapsed() < Duration::from_secs(60));
}

#[test]
fn connections_differ_in_their_lifetimes_and_each_keeps_its_own() {
    let world = World::new();
    let mut visits: Vec<_> = (0..8).map(|_| world.counter.visit(PEER, Protocol::H2)).collect();
    let lives: Vec<_> =
        visits.iter_mut().map(|visit| get(visit, "/", &[]).field("cache-control").unwrap().to_owned()).collect();
    let again: Vec<_> =
        visits.iter_mut().map(|visit| get(visit, "/", &[]).field("cache-control").unwrap().to_owned()).collect();
    assert_eq!(lives, again);
    assert!(lives.iter().collect::<std::collections::HashSet<_>>().len() > 2);
}

/// A thread with small budgets: five requests at once, and a kilobyte of bodies.
fn frugal(trust: &[&str]) -> Rc<Counter> {
    let world = World::new();
    let config = BudgetsConfig {
        requests: RequestRate { a_second: 1, at_once: 5 },
        bytes: ByteRate { a_second: Bytes(10), at_once: Bytes(1000) },
        ..BudgetsConfig::default()
    };
    let trust = Trust::try_from(trust.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    let door = Door::new(&config, &trust).unwrap();
    let counter = Station { door, trust: Arc::new(trust), ..Station::new(Arc::clone(&world.serving), 1) }.counter(0);
    counter.tick(START);
    counter
}

#[test]
fn who_asks_too_much_is_told_when_to_come_again() {
    let counter = frugal(&[]);
    let [visitor, other]: [IpAddr; 2] = ["192.0.2.1", "198.51.100.1"].map(|text| text.parse().unwrap());
    // On as many connections as it likes.
    for _ in 0..5 {
        assert_eq!(get(&mut counter.visit(visitor, Protocol::H2), "/", &[]).status, 200);
    }
    let refused = get(&mut counter.visit(visitor, Protocol::H1), "/", &[]);
    assert_eq!(refused.status, 429);
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(refused.field("ratelimit"), Some("\"requests\";r=0;t=1"));
    assert_eq!(
        refused.field("ratelimit-policy"),
        Some("\"requests\";q=5;w=5, \"bytes\";q=1000;w=100;qu=\"content-bytes\"")
    );
    assert_eq!(refused.field("cache-control"), Some("no-store"));
    assert!(text(&refused).contains("demasiadas"));
    assert_eq!(ask(&mut counter.visit(visitor, Protocol::H1), Method::Head, "/", &[]).body, b"");
    assert_eq!(get(&mut counter.visit(other, Protocol::H2), "/", &[]).status, 200);
    assert_eq!(get(&mut counter.visit(PEER, Protocol::H2), "/", &[]).status, 200, "this machine is exempt");
    let totals = Totals::default().and(&counter.tally);
    assert_eq!((totals.limited, totals.requests()), ([2, 0], 9));
}

#[test]
fn whoever_does_not_hear_it_has_to_come_again() {
    let counter = frugal(&["10.0.0.0/8"]);
    let mut visit = counter.visit("192.0.2.1".parse().unwrap(), Protocol::H1);
    for _ in 0..5 + 99 {
        get(&mut visit, "/", &[]);
        assert!(!visit.is_done());
    }
    get(&mut visit, "/", &[]);
    assert!(visit.is_done());
    // A proxy asks for others, too.
    let mut proxy = counter.visit("10.0.0.1".parse().unwrap(), Protocol::H1);
    for _ in 0..200 {
        get(&mut proxy, "/", &[(Field::XForwardedFor, "198.51.100.1")]);
        assert!(!proxy.is_done());
    }
}

#[test]
fn bytes_that_were_given_are_paid_off() {
    let counter = frugal(&[]);
    let visitor: IpAddr = "2001:db8::1".parse().unwrap();
    let budgets = counter.door.budgets().unwrap();
    assert_eq!(get(&mut counter.visit(visitor, Protocol::H3), "/", &[]).status, 200);
    budgets.give(visitor, 2000, counter.now());
    // Its neighbour in the /64 is the same customer.
    let refused = get(&mut counter.visit("2001:db8::2".parse().unwrap(), Protocol::H3), "/", &[]);
    assert_eq!(refused.status, 429);
    assert!(refused.field("ratelimit").unwrap().starts_with("\"bytes\";r=0;t=10"));
    assert_eq!(get(&mut counter.visit("2001:db8:0:1::1".parse().unwrap(), Protocol::H3), "/", &[]).status, 200);
}

#[test]
fn visitors_behind_a_proxy_have_budgets_of_their_own() {
    let counter = frugal(&["10.0.0.0/8"]);
    let mut proxy = counter.visit("10.0.0.1".parse().unwrap(), Protocol::H1);
    for visitor in 1..20 {
        let from = format!("198.51.{visitor}.1");
        let fields = [(Field::XForwardedFor, from.as_str())];
        let answers = (0..6).map(|_| get(&mut proxy, "/", &fields).status).collect::<Vec<_>>();
        assert_eq!(answers, [200, 200, 200, 200, 200, 429], "{from}");
    }
}

/// Downloads are given up first, then pictures; results never, nor what costs nothing.
#[test]
fn what_is_given_up_when_there_is_too_much_to_do() {
    let (fixture, serving, large) = (Fixture::new(), Arc::new(Serving::default()), vec![7; 100_000]);
    let files: [(&str, &[u8]); 3] = [("index.html", b"page"), ("a.png", b"picture"), ("all.csv", &large)];
    serving.flip(Arc::new(fixture.site(&fixture.cut(1, &files))));
    let counter = Station::new(Arc::clone(&serving), 1).counter(0);
    counter.tick(START);
    let statuses = |expected: [u16; 3]| {
        let mut visit = counter.visit(PEER, Protocol::H2);
        assert_eq!(["/", "/a.png", "/all.csv"].map(|path| get(&mut visit, path, &[]).status), expected);
        assert_eq!(ask(&mut visit, Method::Head, "/all.csv", &[]).status, 200);
    };
    statuses([200, 200, 200]);
    // All places for downloads are taken, half of them by this visitor.
    let delays = |ms: u64, n: usize| (0..n).for_each(|_| counter.load.sample(Duration::from_millis(ms)));
    delays(30, 500);
    let mut held = Vec::new();
    while counter.load.gives_up(PEER).is_none() {
        held.extend(counter.load.place(PEER));
    }
    statuses([200, 200, 503]);
    let busy = get(&mut counter.visit(PEER, Protocol::H1), "/all.csv", &[]);
    let again: u64 = busy.field("retry-after").unwrap().parse().unwrap();
    assert!((5..15).contains(&again) && text(&busy).contains("resultados van primero"));
    assert_eq!(get(&mut counter.visit("192.0.2.1".parse().unwrap(), Protocol::H1), "/all.csv", &[]).status, 200);
    drop(held);
    delays(200, 25);
    statuses([200, 503, 503]);
    delays(0, 25);
    statuses([200, 200, 200]);
    assert_eq!(Totals::default().and(&counter.tally).gave_up, [1, 3]);
}

//! Rules as a whole: the first one decides, and the made-ready ones find what trying everything finds.

use proptest::prelude::*;

use super::*;
use crate::head::{Field, Head, Method};

fn rules(text: &str) -> Rules {
    Rules::new(&Material::of(text), None).unwrap()
}

fn refused(text: &str) -> String {
    Rules::new(&Material::of(text), None).unwrap_err().to_string()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The name of the rule that is about this request.
fn met(rules: &Rules, from: &str, head: &Head<'_>) -> Option<String> {
    rules.find(&Request::new(address(from), head)).map(|rule| rule.name().to_string())
}

fn get(path: &str) -> Head<'_> {
    Head { path: path.as_bytes(), ..Head::default() }
}

#[test]
fn the_example_does_what_it_says() {
    let rules = rules(EXAMPLE);
    let with = |path, fields: &[(Field, &'static str)]| {
        let mut head = get(path);
        fields.iter().for_each(|(field, value)| head.push(*field, value.as_bytes()));
        head
    };
    let firefox = (Field::UserAgent, "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0");
    let speaks = (Field::AcceptLanguage, "es-HN");
    for (from, head, name) in [
        ("198.51.100.9", with("/x.csv", &[]), Some("newsroom")),
        ("2001:db8:77:1::1", with("/", &[]), Some("newsroom")),
        ("203.0.113.9", with("/", &[firefox, speaks]), Some("known-attackers")),
        ("203.0.113.7", with("/", &[firefox, speaks]), None),
        ("203.0.113.9", with("/.well-known/x", &[firefox, speaks]), None),
        ("192.0.2.1", with("/x.csv", &[]), Some("scripts-on-csv")),
        ("192.0.2.1", with("/a/%78.c%73v", &[(Field::UserAgent, "My-Python-Requests/3")]), Some("scripts-on-csv")),
        ("192.0.2.1", Head { method: Method::Head, ..with("/x.csv", &[]) }, None),
        ("192.0.2.1", with("/x.csv", &[firefox, speaks]), None),
        ("192.0.2.1", with("/", &[firefox]), Some("no-browser-asks-like-that")),
        ("192.0.2.1", with("/", &[firefox, (Field::SecFetchMode, "navigate")]), None),
        ("192.0.2.1", with("/", &[]), None),
    ] {
        assert_eq!(met(&rules, from, &head).as_deref(), name, "{from} {head:?}");
    }
    let head = with("/x.csv", &[firefox]);
    let why: Vec<_> = rules.iter().map(|rule| rule.why_not(&Request::new(address("203.0.113.7"), &head))).collect();
    let unmet = |text: &str| Some(Why::Unmet(text.into()));
    assert_eq!(why[0], unmet("networks, 2 of them"));
    assert_eq!(why[1], Some(Why::Excepted("networks, 1 of them".into())));
    assert_eq!(why[2], unmet("user_agents \"*python-requests*\", \"Go-http-client/*\", \"\""));
    assert_eq!(why[3], unmet("paths \"/\""));
}

#[test]
fn headers_are_asked_in_three_ways() {
    let rule = |wanted: &str| rules(&format!("[[rule]]\nname = \"a\"\nheaders = [{{ {wanted} }}]\naction = \"deny\""));
    let mut head = get("/");
    head.authority = Some(b"prep.example:8443");
    head.push(Field::Referer, b"https://evil.example/a/b");
    head.push(Field::Via, b"1.1 a");
    head.push(Field::Via, b"1.1 b");
    for (wanted, is_met) in [
        ("name = \"Referer\", present = true", true),
        ("name = \"referer\", present = false", false),
        ("name = \"origin\", present = false", true),
        ("name = \"referer\", glob = \"https://evil.example/*\"", true),
        ("name = \"referer\", glob = \"https://EVIL.example/*\"", false),
        ("name = \"via\", exact = \"1.1 b\"", true),
        ("name = \"via\", exact = \"1.1\"", false),
        ("name = \"host\", glob = \"prep.*\"", true),
        ("name = \"host\", present = false", false),
        ("name = \"origin\", glob = \"*\"", false),
    ] {
        assert_eq!(met(&rule(wanted), "192.0.2.1", &head).is_some(), is_met, "{wanted}");
    }
}

#[test]
fn mistakes_are_named_with_their_line() {
    let rule = |line: &str| format!("held = 7\n[[rule]]\nname = \"a\"\n{line}\naction = \"deny\"\n");
    for (text, parts) in [
        (rule("networks = [\"10.0.0.0/8\", \"10.0.0.300\"]"), &["line 4", "`10.0.0.300`", "192.0.2.0/24"][..]),
        (rule("networks = []"), &["line 4", "empty list"]),
        (rule("paths = [\"x.csv\"]"), &["line 4", "\"/x.csv\""]),
        (rule("paths = [\"/a%20b\"]"), &["line 4", "%XX"]),
        (rule("methods = [\"POST\"]"), &["line 4", "`POST`", "other"]),
        (rule("colour = 1"), &["line 4", "colour"]),
        (rule("not = { path = [\"/\"] }"), &["line 4", "path"]),
        (rule("headers = [{ name = \"x-a\", present = true }]"), &["line 4", "`x-a`", "user-agent", "host"]),
        (rule("headers = [{ name = \"via\" }]"), &["line 4", "`via`", "exact"]),
        ("[[rule]]\nname = \"a\"".into(), &["line 1", "action"]),
        ("[[rule]]\nname = \"a\"\naction = \"drop\"".into(), &["line 3", "drop"]),
        ("[[rule]]\nname = \"a\"\naction = { tarpit = \"31 s\" }".into(), &["line 3", "30 s"]),
        ("[[rule]]\nname = \"a\"\naction = { tarpit = \"0 s\" }".into(), &["line 3", "more than nothing"]),
        ("[[rule]]\nname = \"a\"\naction = { throttle = { a_second = 0, at_once = 1 } }".into(), &["line 3"]),
        ("[[rule]]\nname = \"a b\"\naction = \"deny\"".into(), &["line 2", "`a b`", "a-z"]),
        (format!("{}{}", rule(""), rule("").replace("held = 7", "")), &["line 8", "`a`", "before"]),
        ("held = 5000\n".into(), &["line 1", "4096"]),
    ] {
        let error = refused(&text);
        assert!(error.contains("rules.toml"), "{error}");
        parts.iter().for_each(|part| assert!(error.contains(part), "{part} in {error}"));
    }
    let many = |n| (0..n).map(|n| format!("[[rule]]\nname = \"r{n}\"\naction = \"deny\"\n")).collect::<String>();
    assert_eq!(rules(&many(MAX_RULES)).iter().count(), MAX_RULES);
    assert!(refused(&many(MAX_RULES + 1)).contains("`r64` is one too many"));
}

#[test]
fn what_stayed_keeps_its_counts_and_its_debts() {
    let throttle = |at_once: u32| {
        format!("[[rule]]\nname = \"t\"\naction = {{ throttle = {{ a_second = 1, at_once = {at_once} }} }}\n")
    };
    let (head, now) = (get("/"), Instant::now());
    let request = Request::new(address("192.0.2.1"), &head);
    let ask = |rules: &Rules| rules.decide(&request, 3, now).map(|(_, ruling)| format!("{ruling:?}")).unwrap();
    let first = rules(&throttle(2));
    assert_eq!([ask(&first), ask(&first)], ["Pass", "Pass"]);
    assert!(ask(&first).starts_with("Late("));
    let other = "[[rule]]\nname = \"first\"\npaths = [\"/a\"]\naction = \"deny\"\n";
    let second = Rules::new(&Material::of(&format!("{other}{}", throttle(2))), Some(&first)).unwrap();
    assert!(ask(&second).starts_with("Late("));
    let counts = |rules: &Rules| rules.iter().last().unwrap().counts().collect::<Vec<_>>();
    assert_eq!(counts(&second), [("passed", 2), ("limited", 2)]);
    // Another rate is another measure; counts go on.
    let third = Rules::new(&Material::of(&throttle(1)), Some(&second)).unwrap();
    assert_eq!(ask(&third), "Pass");
    assert_eq!(counts(&third), [("passed", 3), ("limited", 2)]);
    // Another action is another rule.
    let fourth = Rules::new(
        &Material::of(&throttle(1).replace("{ throttle = { a_second = 1, at_once = 1 } }", "\"deny\"")),
        Some(&third),
    )
    .unwrap();
    assert_eq!(counts(&fourth), [("denied", 0)]);
}

#[test]
fn no_more_is_held_than_may_be() {
    let rules = rules(
        "held = 2\n[[rule]]\nname = \"pit\"\naction = { tarpit = \"30 s\" }\n[[rule]]\nname = \"never\"\naction = \"deny\"",
    );
    let (head, now) = (get("/"), Instant::now());
    let ask = |among: bool| {
        let request = Request::new(address("192.0.2.1"), &head);
        let request = if among { request.among_others() } else { request };
        rules.decide(&request, 0, now).unwrap().1
    };
    assert!(matches!(ask(true), Ruling::Deny), "a proxy's connection");
    let held = [ask(false), ask(false)];
    for ruling in &held {
        let Ruling::Hold(held) = ruling else { panic!("{ruling:?}") };
        assert_eq!(held.until() - now, Duration::from_secs(30));
    }
    assert!(matches!(ask(false), Ruling::Deny));
    assert_eq!(rules.held(), 2);
    drop(held);
    assert!(matches!(ask(false), Ruling::Hold(_)));
    assert_eq!(rules.held(), 0);
    let counts: Vec<_> = rules.iter().map(|rule| rule.counts().collect::<Vec<_>>()).collect();
    assert_eq!(counts, [vec![("held", 3), ("denied", 2)], vec![("denied", 0)]]);
}

/// A rule as a test draws it.
#[derive(Debug, Clone)]
struct Drawn {
    networks: Option<Vec<IpNet>>,
    methods: Option<Vec<Method>>,
    paths: Option<Vec<&'static str>>,
    agents: Option<Vec<&'static str>>,
    has_referer: Option<bool>,
}

const PATHS: [&str; 5] = ["/a", "/b", "/a/b", "/a/b.csv", "/%61"];
const AGENTS: [&str; 3] = ["", "curl/8", "Mozilla/5.0 bot"];
const METHODS: [Method; 4] = [Method::Get, Method::Head, Method::Options, Method::Other];

fn drawn() -> impl Strategy<Value = Drawn> {
    let some = |of: &'static [&'static str]| prop::option::of(prop::collection::vec(prop::sample::select(of), 1..3));
    let network = (0_u32..8, 29_u8..=32)
        .prop_map(|(host, prefix)| IpNet::new(IpAddr::V4((0xc000_0200 | host).into()), prefix).unwrap().trunc());
    (
        prop::option::of(prop::collection::vec(network, 1..4)),
        prop::option::of(prop::collection::vec(prop::sample::select(&METHODS[..]), 1..3)),
        some(&["/a", "/b", "/**", "/a/b"]),
        some(&["", "CURL/8", "mozilla/5.0 BOT"]),
        prop::option::of(any::<bool>()),
    )
        .prop_map(|(networks, methods, paths, agents, has_referer)| Drawn {
            networks,
            methods,
            paths,
            agents,
            has_referer,
        })
}

impl Drawn {
    /// As it stands in a file, each condition on a line of its own.
    fn lines(&self) -> Vec<String> {
        let quoted = |items: Vec<String>| items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", ");
        let line = |name: &str, items: Option<Vec<String>>| items.map(|items| format!("{name} = [{}]", quoted(items)));
        let texts =
            |items: &Option<Vec<&str>>| items.as_ref().map(|items| items.iter().map(|&item| item.into()).collect());
        [
            line("networks", self.networks.as_ref().map(|some| some.iter().map(IpNet::to_string).collect())),
            line("methods", self.methods.as_ref().map(|some| some.iter().map(|method| method.name().into()).collect())),
            line("paths", texts(&self.paths)),
            line("user_agents", texts(&self.agents)),
            self.has_referer.map(|present| format!("headers = [{{ name = \"referer\", present = {present} }}]")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Each condition, and whether it holds, as one would say it.
    fn hold(&self, from: IpAddr, method: Method, path: &str, agent: &str, has_referer: bool) -> Vec<bool> {
        let path = path.replace("%61", "a");
        [
            self.networks.as_ref().map(|some| some.iter().any(|network| network.contains(&from))),
            self.methods.as_ref().map(|some| some.contains(&method)),
            self.paths.as_ref().map(|some| some.iter().any(|&glob| glob == "/**" || glob == path)),
            self.agents.as_ref().map(|some| some.iter().any(|glob| glob.eq_ignore_ascii_case(agent))),
            self.has_referer.map(|wanted| wanted == has_referer),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

proptest! {
    #[test]
    fn it_decides_as_one_would_who_reads_the_file(
        given in prop::collection::vec((drawn(), prop::option::of(drawn())), 0..6),
        host in 0_u32..16,
        method in prop::sample::select(&METHODS[..]),
        path in prop::sample::select(&PATHS[..]),
        agent in prop::sample::select(&AGENTS[..]),
        has_referer in any::<bool>(),
    ) {
        let text: String = given.iter().enumerate().map(|(number, (all, none))| {
            let not = none.as_ref().map(|none| format!("not = {{ {} }}\n", none.lines().join(", "))).unwrap_or_default();
            format!("[[rule]]\nname = \"{number}\"\naction = \"deny\"\n{}\n{not}", all.lines().join("\n"))
        }).collect();
        let from = IpAddr::V4((0xc000_0200 | host).into());
        let mut head = Head { method, path: path.as_bytes(), ..Head::default() };
        if !agent.is_empty() {
            head.push(Field::UserAgent, agent.as_bytes());
        }
        if has_referer {
            head.push(Field::Referer, b"x");
        }
        let holds = |drawn: &Drawn| drawn.hold(from, method, path, agent, has_referer);
        let expected = given.iter().position(|(all, none)| {
            holds(all).into_iter().all(|holds| holds)
                && !none.as_ref().is_some_and(|none| holds(none).into_iter().any(|holds| holds))
        });
        let rules = rules(&text);
        let found = rules.find(&Request::new(from, &head)).map(|rule| rule.name().to_string());
        prop_assert_eq!(found, expected.map(|number| number.to_string()), "{}", text);
    }
}

/// How long it takes to load a hundred thousand networks, and what a request costs then. Prints; checks nothing but that it
/// finds them: `cargo test --release -p difusor-node --lib rules::tests::what_it_costs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_it_costs() {
    let v4 =
        (0..90_000_u32).map(|n| format!("{}/24", std::net::Ipv4Addr::from_bits(n.wrapping_mul(2_654_435_761) & !0xff)));
    let v6 = (0..10_000_u128)
        .map(|n| format!("{}/48", std::net::Ipv6Addr::from_bits(0x2001 << 112 | n.wrapping_mul(2_654_435_761) << 80)));
    let quoted: Vec<String> = v4.chain(v6).map(|network| format!("{network:?}")).collect();
    let first = format!("[[rule]]\nname = \"many\"\nnetworks = [{}]\naction = \"deny\"\n", quoted.join(", "));
    let begun = Instant::now();
    let many = rules(&first);
    println!(
        "{} networks: {:?}",
        many.iter()
            .next()
            .unwrap()
            .why_not(&Request::new(address("::"), &get("/")))
            .map_or_else(String::new, |why| format!("{why:?}")),
        begun.elapsed()
    );
    let all = rules(&format!("{first}{}", EXAMPLE.replace("held = 512", "")));
    let mut head = get("/publicacion/data/presidente.json");
    head.push(
        Field::UserAgent,
        b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    );
    head.push(Field::AcceptLanguage, b"es");
    for (what, rules) in [("one rule of 100,000 networks", &many), ("and the example's four rules", &all)] {
        let now = Instant::now();
        let (rounds, mut found) = (1_000_000_u32, 0);
        let begun = Instant::now();
        for n in 0..rounds {
            let from = IpAddr::V4(n.wrapping_mul(0x9e37_79b9).into());
            found += u32::from(rules.decide(&Request::new(from, &head), 0, now).is_some());
        }
        println!(
            "{what}: {:.0} ns a request, {found} of {rounds} met",
            begun.elapsed().as_secs_f64() * 1e9 / f64::from(rounds)
        );
    }
}

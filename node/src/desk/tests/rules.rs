//! The operator's rules, as visitors meet them.

use std::{fs, time::Duration};

use super::*;
use crate::{admission::rules::book::Rulebook, engine::Aside};

const VISITOR: &str = "192.0.2.1";

/// A thread with these rules, a proxy at 10.0.0.1, and hardly a budget.
fn ruled(text: &str) -> (Rc<Counter>, Arc<Rulebook>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rules.toml"), text).unwrap();
    let book = Arc::new(Rulebook::open(&folder.path().join("rules.toml")).unwrap());
    let config = BudgetsConfig { requests: RequestRate { a_second: 1, at_once: 3 }, ..BudgetsConfig::default() };
    let world = World::new();
    let counter = Station {
        door: Door::new(&config, &Trust::default()).unwrap(),
        rules: Some(Arc::clone(&book)),
        trust: Arc::new(Trust { networks: vec!["10.0.0.1/32".parse().unwrap()] }),
        ..Station::new(Arc::clone(&world.serving), 1)
    }
    .counter(0);
    counter.tick(START);
    (counter, book, folder)
}

fn from(counter: &Rc<Counter>, address: &str) -> Visit {
    counter.visit(address.parse().unwrap(), Protocol::H2)
}

#[test]
fn the_first_rule_decides_before_the_budgets() {
    let (counter, book, _folder) = ruled(
        r#"
        rule = [
            { name = "friends", networks = ["192.0.2.0/24"], not = { paths = ["/data.json"] }, action = "allow" },
            { name = "slow", paths = ["/other/"], action = { throttle = { a_second = 1, at_once = 2 } } },
            { name = "no-data", paths = ["/data.json"], action = "deny" },
        ]"#,
    );
    // Far beyond the budget.
    let mut friend = from(&counter, VISITOR);
    assert!((0..20).all(|_| get(&mut friend, "/", &[]).status == 200));
    let denied = get(&mut friend, "/data.json", &[]);
    assert_eq!((denied.status, denied.field("cache-control")), (403, Some("no-store")));
    assert!(text(&denied).starts_with("<!doctype html>") && denied.field("difusor-cut").is_none());
    let head = ask(&mut friend, Method::Head, "/data.json", &[]);
    assert_eq!((head.fields, head.body), (denied.fields, vec![]));
    assert!(friend.aside().is_none());

    let mut other = from(&counter, "198.51.100.1");
    let statuses: Vec<u16> = (0..3).map(|_| get(&mut other, "/other/", &[]).status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    let late = get(&mut other, "/other/", &[]);
    assert_eq!((late.field("retry-after"), late.field("ratelimit")), (Some("1"), None));
    // What passed was charged as usual: one of three is left.
    let statuses: Vec<u16> = (0..2).map(|_| get(&mut other, "/", &[]).status).collect();
    assert_eq!(statuses, [200, 429]);

    let counts: Vec<(String, String, u64)> = book.status().counts;
    let counts: Vec<(&str, &str, u64)> =
        counts.iter().map(|(rule, what, n)| (rule.as_str(), what.as_str(), *n)).collect();
    assert_eq!(
        counts,
        [("friends", "allowed", 20), ("slow", "passed", 2), ("slow", "limited", 2), ("no-data", "denied", 2)]
    );
}

#[test]
fn connections_of_proxies_are_neither_held_nor_closed() {
    let (counter, book, _folder) = ruled(
        r#"
        rule = [
            { name = "pit", paths = ["/pit"], action = { tarpit = "5 s" } },
            { name = "out", networks = ["192.0.2.1"], action = "close" },
        ]"#,
    );
    let mut own = from(&counter, VISITOR);
    assert_eq!(get(&mut own, "/", &[]).status, 403);
    assert!(matches!(own.aside(), Some(Aside::Closed)) && own.aside().is_none());
    assert_eq!((get(&mut own, "/pit", &[]).status, get(&mut own, "/pit", &[]).status), (403, 403));
    // One place for a connection.
    assert_eq!(book.status().held, 1);
    let Some(Aside::Held(held)) = own.aside() else { panic!() };
    assert!(held.until() - counter.now() >= Duration::from_secs(5));
    drop(held);
    assert_eq!(book.status().held, 0);

    let mut proxy = from(&counter, "10.0.0.1");
    let by = |visitor| [(Field::XForwardedFor, visitor)];
    assert_eq!(get(&mut proxy, "/", &by(VISITOR)).status, 403);
    assert_eq!(get(&mut proxy, "/pit", &by("192.0.2.2")).status, 403);
    assert!(proxy.aside().is_none());
    assert_eq!(get(&mut proxy, "/", &by("192.0.2.2")).status, 200);
}

#[test]
fn new_rules_hold_from_the_next_tick_on() {
    let (counter, book, folder) = ruled("");
    let mut visit = from(&counter, VISITOR);
    assert_eq!(get(&mut visit, "/", &[]).status, 200);
    let path = folder.path().join("rules.toml");
    fs::write(&path, "rule = [{ name = \"none\", action = \"deny\" }]").unwrap();
    book.look(true);
    counter.tick(START);
    assert_eq!(get(&mut visit, "/", &[]).status, 403);
    fs::write(&path, "rule = [{ name = \"none\", action = \"dney\" }]").unwrap();
    book.look(true);
    counter.tick(START);
    assert_eq!(get(&mut visit, "/", &[]).status, 403, "the rules of before stay");
    fs::remove_file(&path).unwrap();
    book.look(true);
    counter.tick(START);
    assert_eq!(get(&mut visit, "/", &[]).status, 200);
}

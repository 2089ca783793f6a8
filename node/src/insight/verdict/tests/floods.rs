//! Floods of every kind, beside people who look at results: each is named for what it is, and not while it is not there.

use super::*;

/// A calm evening, then `seconds` of this flood: the report at its end. Then all is quiet again.
fn flood(kinds: &[Kind], seconds: u64, more: impl FnMut(&mut Night)) -> Arc<Report> {
    let mut night = Night::calm();
    // Not at a flip.
    while night.at % CADENCE != 150 {
        night.with(1, 30, 0, |_| {});
    }
    let report = night.with(seconds, 30, 0, more);
    assert_eq!((report.verdict, &report.kinds[..]), (Verdict::Attack, kinds), "{} {:?}", report.words, night.stood);
    assert!(report.confidence >= 0.5 && report.confidence <= 1.0);
    let calm = night.with(60, 30, 0, |_| {});
    assert_eq!(calm.verdict, Verdict::Quiet, "{}", calm.words);
    // It came once and went once.
    assert_eq!(night.stood.len(), 3, "{:?}", night.stood);
    report
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn one_source() {
    let attacker = address("198.51.100.7");
    let report = flood(&[Kind::OneSource], 30, |night| {
        for number in 0..3_000 {
            night.ask(attacker, "/", if number % 50 == 0 { 200 } else { 429 }, 300);
        }
    });
    assert!(report.words.starts_with("Attack from few addresses: 198.51.100.7 sends 9"), "{}", report.words);
    assert!(report.words.ends_with("the others are served as always."), "{}", report.words);
    assert_eq!((report.offenders[0].who.as_str(), report.offenders.len()), ("198.51.100.7", 2), "{report:?}");
}

/// Whoever else is refused is not said to be served.
#[test]
fn one_source_beside_many_who_are_refused() {
    let attacker = address("198.51.100.7");
    let report = flood(&[Kind::OneSource], 30, |night| {
        (0..3_000).for_each(|_| night.ask(attacker, "/", 429, 300));
        for _ in 0..240 {
            let person = night.person();
            night.ask(person, "/", 429, 300);
        }
    });
    assert!(report.words.contains("of what the others ask for, 7"), "{}", report.words);
}

#[test]
fn one_network() {
    let report = flood(&[Kind::OneNetwork], 30, |night| {
        for number in 0..1_500_u32 {
            let attacker = IpAddr::V4(Ipv4Addr::from(0xcb00_7100 + number % 250));
            night.ask(attacker, "/", if number % 100 == 0 { 200 } else { 429 }, 300);
        }
    });
    assert!(report.words.starts_with("Attack from one network: 203.0.113.0/24 sends 9"), "{}", report.words);
    assert_eq!(report.offenders[0].who, "203.0.113.0/24", "{report:?}");
}

/// Thousands of sources, each asking for the same file again and again: they are given it.
#[test]
fn many_on_one_path() {
    let report = flood(&[Kind::OnePath], 60, |night| {
        for number in 0..3_000 {
            let attacker = IpAddr::V4(Ipv4Addr::from(0x5000_0000 + (number % 2_000) * 4_099));
            night.ask(attacker, "/data/national.json", 200, 8_000);
        }
    });
    assert!(report.words.contains("are for /data/national.json"), "{}", report.words);
    assert!(report.estimates.spread_paths < 0.4, "{report:?}");
}

#[test]
fn one_path_that_no_cut_has() {
    let report = flood(&[Kind::OnePath], 30, |night| {
        for _ in 0..1_000 {
            let attacker = IpAddr::V4(Ipv4Addr::from(u32::try_from(night.draw(1 << 31)).unwrap()));
            night.ask(attacker, "/xmlrpc.php", 404, 500);
        }
    });
    assert!(report.words.contains("/xmlrpc.php, which no cut has"), "{}", report.words);
}

#[test]
fn a_scan_by_many() {
    let report = flood(&[Kind::Scan], 30, |night| {
        for _ in 0..500 {
            let attacker = IpAddr::V4(Ipv4Addr::from(u32::try_from(night.draw(1 << 31)).unwrap()));
            let path = night.draw(1_000_000);
            night.ask(attacker, &format!("/admin/{path}"), 404, 500);
        }
    });
    assert!(report.words.contains("are for what no cut has"), "{}", report.words);
    assert!(report.estimates.fates.iter().any(|(fate, share)| fate == "unknown" && *share > 0.6), "{report:?}");
}

#[test]
fn slow_clients() {
    let attacker = address("198.51.100.9");
    let report = flood(&[Kind::SlowClients], 30, |night| {
        night.ends.opened += 40;
        night.ends.handshakes += 40;
        night.ends.closed += 40;
        night.ends.cut_off += 40;
        (0..40).for_each(|_| night.trouble(attacker));
    });
    assert!(report.words.contains("198.51.100.9 makes"), "{}", report.words);
    assert!(report.offenders.iter().any(|offender| offender.before_requests), "{report:?}");
}

#[test]
fn handshakes_that_fail() {
    let report = flood(&[Kind::HandshakeFlood], 30, |night| {
        night.ends.opened += 200;
        night.ends.closed += 200;
        night.ends.failed += 200;
        for number in 0..200 {
            night.trouble(IpAddr::V4(Ipv4Addr::from(0x5000_0000 + number * 4_099)));
        }
    });
    assert!(report.words.contains("handshakes a second fail"), "{}", report.words);
    assert!(!report.words.contains("of that"), "nobody stands out: {}", report.words);
}

#[test]
fn handshakes_that_nothing_follows() {
    let report = flood(&[Kind::HandshakeFlood], 30, |night| {
        night.ends.opened += 500;
        night.ends.handshakes += 500;
        night.ends.closed += 500;
    });
    assert!(report.words.contains("of them ask for anything"), "{}", report.words);
}

#[test]
fn abuse_of_the_protocol() {
    let attacker = address("2001:db8:1:2::3");
    let report = flood(&[Kind::ProtocolAbuse], 30, |night| {
        night.ends.abusive += 5;
        (0..5).for_each(|_| night.trouble(attacker));
    });
    assert!(report.words.contains("break the protocol; 2001:db8:1:2::/64 makes 100 % of that"), "{}", report.words);
}

#[test]
fn requests_that_are_none() {
    let report = flood(&[Kind::ProtocolAbuse], 30, |night| {
        for _ in 0..200 {
            let attacker = IpAddr::V4(Ipv4Addr::from(u32::try_from(night.draw(1 << 31)).unwrap()));
            night.ask(attacker, "", 400, 200);
        }
    });
    assert!(report.words.contains("are not HTTP"), "{}", report.words);
}

#[test]
fn a_drain_by_one() {
    let attacker = address("198.51.100.20");
    let report =
        flood(&[Kind::BulkDrain], 30, |night| (0..20).for_each(|_| night.ask(attacker, "/base.zip", 200, 20_000_000)));
    assert!(report.words.contains("198.51.100.20 takes "), "{}", report.words);
}

#[test]
fn a_drain_by_many_who_take_nothing() {
    let report = flood(&[Kind::BulkDrain], 75, |night| {
        for number in 0..20 {
            let attacker = IpAddr::V4(Ipv4Addr::from(0x5000_0000 + number * 4_099));
            night.promise(attacker, "/base.zip", 200, 20_000_000);
        }
    });
    assert!(report.words.contains("of that is taken"), "{}", report.words);
}

/// A crowd comes after the flip, and an attack in the middle of it.
#[test]
fn both_at_once() {
    let mut night = Night::calm();
    night.with(CADENCE - night.at % CADENCE, 30, 0, |_| {});
    let attacker = address("198.51.100.7");
    let report = night.with(40, 30, 900, |night| (0..4_000).for_each(|_| night.ask(attacker, "/", 429, 300)));
    assert_eq!((report.verdict, &report.kinds[..]), (Verdict::Mixed, &[Kind::OneSource][..]), "{}", report.words);
    assert!(report.words.starts_with("Demand, and an attack from few addresses: 198.51.100.7"), "{}", report.words);
    assert!(report.words.contains("the others are served as always"), "{}", report.words);
    // The attack ends, the crowd stays for a while.
    let report = night.with(35, 30, 900, |_| {});
    assert_eq!(report.verdict, Verdict::Demand, "{}", report.words);
}

/// A link to one file somewhere: many new people, one path, no flip. They take it, and they do not repeat it.
#[test]
fn a_link_to_one_file_is_no_attack() {
    let mut night = Night::calm();
    night.with(150, 30, 0, |_| {});
    let report = night.with(30, 5, 0, |night| {
        for _ in 0..600 {
            let reader = IpAddr::V4(Ipv4Addr::from(u32::try_from(night.draw(1 << 31)).unwrap()));
            night.ask(reader, "/acta.pdf", 200, 200_000);
        }
    });
    assert_eq!(report.verdict, Verdict::Demand, "{}", report.words);
    assert!(report.estimates.returning.unwrap() < 0.2 && report.estimates.top_path > 0.8, "{report:?}");
}

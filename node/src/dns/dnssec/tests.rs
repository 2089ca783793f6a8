//! Every answer, checked as a resolver checks it.

use std::{collections::BTreeSet, time::Duration};

use difusor_proto::units::Span;
use hickory_proto::{
    dnssec::{
        Verifier as _,
        rdata::{DNSKEY, DNSSECRData, NSEC, RRSIG},
    },
    op::{Edns, Message, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType},
};

use super::{chain::Chain, key::ZoneKey, signer::Signer, watch};
use crate::dns::{
    DnsConfig, Names,
    answer::{Answerer, By, MAX_UDP},
    cookie::Cookies,
    places::Places,
    roster::{Group, Host, Roster, Server},
};

const NOW: u32 = 1_700_000_000;

const KINDS: [RecordType; 14] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::HTTPS,
    RecordType::TXT,
    RecordType::NS,
    RecordType::SOA,
    RecordType::CAA,
    RecordType::DNSKEY,
    RecordType::CDS,
    RecordType::CDNSKEY,
    RecordType::NSEC,
    RecordType::DS,
    RecordType::MX,
    RecordType::ANY,
];

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn key() -> ZoneKey {
    ZoneKey::parse(&ZoneKey::make().unwrap()).unwrap()
}

struct World {
    names: Names,
    roster: Roster,
    signer: Signer,
    places: Places,
    cookies: Cookies,
}

fn world(keys: Vec<ZoneKey>) -> World {
    let config = DnsConfig {
        bind: vec!["127.0.0.1:53".parse().unwrap()],
        zone: "results.example.org".into(),
        names: vec!["@".into(), "www".into(), "a.b".into()],
        caa: vec!["issue letsencrypt.org".into(), "iodef mailto:a@example.org".into()],
        ttl: Span(Duration::from_secs(20)),
        ..DnsConfig::default()
    };
    let host = |last: u8| Host { four: vec![[192, 0, 2, last].into()], six: vec![], weight: 1 };
    let group = |zone: &str, hosts: &[u8]| Group {
        zone: zone.parse().unwrap(),
        at: None,
        hosts: hosts.iter().map(|last| host(*last)).collect(),
        is_full: false,
    };
    let server = |node: &str, ip: &str| Server { node: node.parse().unwrap(), addresses: vec![ip.parse().unwrap()] };
    let text = |at: &str, value: &str| (name(at), value.to_owned());
    let roster = Roster {
        // The last two behind one address.
        groups: vec![group("mx", &[9, 1, 200]), group("us", &[77, 77])],
        servers: vec![server("mx-1", "192.0.2.53"), server("us-1", "2001:db8::53")],
        texts: vec![
            text("_acme-challenge.results.example.org.", "one"),
            text("_acme-challenge.results.example.org.", "another"),
            text("elsewhere.example.net.", "not of this zone"),
        ],
        serial: 7,
        ..Roster::default()
    };
    let names = config.names().unwrap().unwrap();
    let signer = Signer::new(names.apex.clone(), keys).unwrap();
    World { names, roster, signer, places: Places::default(), cookies: Cookies::new([1; 32]) }
}

fn question(at: &Name, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(at.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP).set_dnssec_ok(true);
    message.set_edns(edns);
    message.to_vec().unwrap()
}

impl World {
    fn chain(&self) -> Chain {
        Chain::of(&self.names, &self.roster, true)
    }

    fn raw(&self, query: &[u8], now: u32, dice: u64) -> Vec<u8> {
        let World { names, roster, signer, places, cookies } = self;
        let (chain, signer) = (&self.chain(), Some(signer));
        let answerer =
            Answerer { names, roster, chain, signer, places, cookies, id: "mx-1", ttl: 20, most: 3, http3: true };
        answerer.answer(query, "10.1.2.3:5000".parse().unwrap(), By::Udp, now, dice).unwrap().bytes
    }

    fn ask(&self, at: &Name, kind: RecordType, dice: u64) -> Message {
        let bytes = self.raw(&question(at, kind), NOW, dice);
        assert!(bytes.len() <= usize::from(MAX_UDP), "{at} {kind}: {} bytes", bytes.len());
        let response = Message::from_vec(&bytes).unwrap();
        assert!(response.edns.as_ref().unwrap().flags().dnssec_ok && !response.metadata.truncation);
        response
    }
}

/// Checks every set of a section with one of the keys, and gives the records without the signatures.
fn verified(section: &[Record], keys: &[DNSKEY], now: u32) -> Vec<Record> {
    let rrsig = |record: &Record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) => Some(rrsig.clone()),
        _ => None,
    };
    let sets: BTreeSet<(Name, RecordType)> = section
        .iter()
        .filter(|record| rrsig(record).is_none())
        .map(|record| (record.name.clone(), record.record_type()))
        .collect();
    for (at, kind) in &sets {
        let set = || section.iter().filter(|record| record.name == *at && record.record_type() == *kind);
        let of_set = |record: &&Record| {
            record.name == *at && rrsig(record).is_some_and(|rrsig| rrsig.input().type_covered == *kind)
        };
        let signatures: Vec<RRSIG> = section.iter().filter(of_set).filter_map(rrsig).collect();
        let is_good = |rrsig: &RRSIG| {
            let input = rrsig.input();
            assert!((input.sig_inception.get()..=input.sig_expiration.get()).contains(&now), "{at} {kind}");
            assert!(set().all(|record| record.ttl == input.original_ttl));
            keys.iter().any(|key| {
                key.calculate_key_tag().unwrap() == input.key_tag
                    && key.verify_rrsig(at, DNSClass::IN, rrsig, set()).is_ok()
            })
        };
        assert!(signatures.iter().any(is_good), "{at} {kind}: {signatures:?}");
    }
    section.iter().filter(|record| rrsig(record).is_none()).cloned().collect()
}

fn links(authority: &[Record]) -> Vec<(Name, NSEC)> {
    let link = |record: &Record| match &record.data {
        RData::DNSSEC(DNSSECRData::NSEC(nsec)) => Some((record.name.clone(), nsec.clone())),
        _ => None,
    };
    authority.iter().filter_map(link).collect()
}

/// True if a link says that a name between its ends is not there (RFC 4035 section 5.4).
fn covers(link: &(Name, NSEC), apex: &Name, at: &Name) -> bool {
    let (from, to) = (&link.0, link.1.next_domain_name());
    from < at && (at < to || to == apex)
}

#[test]
fn every_answer_is_signed_and_everything_else_is_proven_not_to_be_there() {
    let world = world(vec![key()]);
    let apex = world.names.apex.clone();
    let keys = [world.signer.keys()[0].dnskey.clone()];
    let there: Vec<Name> = world.chain().names().map(|(at, _)| at.clone()).collect();
    assert!(there.is_sorted() && there[0] == apex && there.len() == 6, "{there:?}");
    let others = ["b", "nope", "0", "zzz", "x.www", "x.y.ns-mx-1", "a.b.a.b", "c.b", "*", "*.www", "WWW", "a.ns-us-1"];
    let others = others.map(|label| name(&format!("{label}.results.example.org.")));
    for at in there.iter().chain(&others) {
        for kind in KINDS {
            let response = world.ask(at, kind, 5);
            let answers = verified(&response.answers, &keys, NOW);
            let authority = verified(&response.authorities, &keys, NOW);
            let has = world.chain().names().find(|(one, _)| *one == at).map(|(_, kinds)| kinds.clone());
            let is_there = has.as_ref().is_some_and(|kinds| kinds.contains(&kind) || kind == RecordType::NSEC);
            if kind == RecordType::ANY && response.metadata.response_code == ResponseCode::NoError {
                assert_eq!(answers.len(), 1);
                continue;
            }
            // What the chain says is what is answered.
            assert_eq!(!answers.is_empty(), is_there, "{at} {kind}: {response}");
            if is_there {
                continue;
            }
            assert!(authority.iter().any(|record| record.record_type() == RecordType::SOA));
            let links = links(&authority);
            assert!(authority.iter().all(|record| record.ttl == 20));
            match (has, response.metadata.response_code) {
                (Some(_), ResponseCode::NoError) => {
                    let [(owner, nsec)] = &links[..] else { panic!("{links:?}") };
                    assert!(
                        owner == at && !nsec.type_set().contains(kind) && nsec.type_set().contains(RecordType::RRSIG)
                    );
                }
                // Nothing there but something below.
                (None, ResponseCode::NoError) => {
                    let [link] = &links[..] else { panic!("{links:?}") };
                    assert!(covers(link, &apex, at) && at.zone_of(link.1.next_domain_name()), "{at} {link:?}");
                }
                (None, ResponseCode::NXDomain) => {
                    assert!(links.iter().any(|link| covers(link, &apex, at)), "{at} {links:?}");
                    // Nor is there a wildcard at the nearest name above that is there.
                    let covering = links.iter().find(|link| covers(link, &apex, at)).unwrap();
                    let ends = [&covering.0, covering.1.next_domain_name()];
                    let mut nearest = at.base_name();
                    while !ends.iter().any(|end| nearest.zone_of(end)) {
                        nearest = nearest.base_name();
                    }
                    let wildcard = nearest.prepend_label("*").unwrap();
                    assert!(links.iter().any(|link| covers(link, &apex, &wildcard)), "{wildcard} {links:?}");
                }
                (has, code) => panic!("{at} {kind}: {code} and {has:?}"),
            }
        }
    }
}

#[test]
fn any_choice_of_nodes_is_signed() {
    let world = world(vec![key()]);
    let keys = [world.signer.keys()[0].dnskey.clone()];
    let mut seen = BTreeSet::new();
    for dice in 0..200 {
        let response = world.ask(&name("wWw.results.example.org."), RecordType::A, dice);
        let found = verified(&response.answers, &keys, NOW);
        seen.insert(found.iter().map(|record| record.data.to_string()).collect::<Vec<_>>());
    }
    assert!(seen.len() > 5, "{seen:?}");
    // Both nodes behind one address: once.
    assert!(seen.iter().all(|set| set.iter().filter(|ip| *ip == "192.0.2.77").count() <= 1), "{seen:?}");
}

#[test]
fn whoever_does_not_ask_for_signatures_gets_none() {
    let world = world(vec![key()]);
    for (at, kind) in [("www", RecordType::A), ("nope", RecordType::A), ("www", RecordType::MX)] {
        let mut message = Message::query();
        message.add_query(Query::query(name(&format!("{at}.results.example.org.")), kind));
        let response = Message::from_vec(&world.raw(&message.to_vec().unwrap(), NOW, 5)).unwrap();
        let all = response.answers.iter().chain(&response.authorities);
        assert!(all.clone().count() > 0 && all.clone().all(|record| !matches!(record.data, RData::DNSSEC(_))));
    }
    let of = |kind| world.ask(&name("www.results.example.org."), kind, 5).answers;
    // Of all signatures one, which is not signed itself.
    assert!(matches!(&of(RecordType::RRSIG)[..], [record] if record.record_type() == RecordType::RRSIG));
    assert!(of(RecordType::DS).is_empty());
}

#[test]
fn before_anybody_is_known_nothing_is_denied() {
    let mut world = world(vec![key()]);
    world.roster = Roster::default();
    let apex = world.names.apex.clone();
    for kind in [RecordType::SOA, RecordType::DNSKEY, RecordType::HTTPS] {
        let response = world.ask(&apex, kind, 5);
        assert!(response.metadata.response_code == ResponseCode::NoError && !response.answers.is_empty(), "{kind}");
    }
    let others = ["ns-mx-1", "_acme-challenge", "nope", "www"].map(|label| apex.prepend_label(label).unwrap());
    for at in others.iter().chain([&apex]) {
        for kind in [RecordType::A, RecordType::AAAA, RecordType::NS, RecordType::MX, RecordType::TXT, RecordType::NSEC]
        {
            let response = world.ask(at, kind, 5);
            assert_eq!(response.metadata.response_code, ResponseCode::ServFail, "{at} {kind}");
            assert!(response.answers.is_empty() && response.authorities.is_empty());
        }
    }
}

#[test]
fn bytes_by_chance_break_nothing_and_stay_small() {
    let world = world(vec![key()]);
    let good = question(&name("x.www.results.example.org."), RecordType::A);
    let mut dice = 7_u32;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = 2 + dice as usize % (bytes.len() - 2);
            bytes[at] = if at == 2 { 0 } else { u8::try_from(dice >> 24).unwrap() };
        }
        let answer = world.raw(&bytes, NOW, 5);
        assert!(answer.len() <= usize::from(MAX_UDP) && Message::from_vec(&answer).is_ok());
    }
}

#[test]
fn a_signature_is_good_for_days_and_made_once_in_hours() {
    let world = world(vec![key()]);
    let keys = [world.signer.keys()[0].dnskey.clone()];
    let of = |now: u32| {
        let bytes = world.raw(&question(&name("www.results.example.org."), RecordType::HTTPS), now, 5);
        let answers = Message::from_vec(&bytes).unwrap().answers;
        // Clocks of resolvers that are off by some minutes, and an answer that was kept for an hour.
        for seen in [now - 3000, now, now + 2 * 24 * 3600] {
            verified(&answers, &keys, seen);
        }
        answers[1].data.to_string()
    };
    let begun = NOW - NOW % (6 * 3600);
    assert_eq!(of(begun), of(begun + 6 * 3600 - 1));
    assert_ne!(of(begun), of(begun + 6 * 3600));
}

#[test]
fn while_a_key_changes_both_sign_the_keys_and_one_the_rest() {
    let (old, new) = (ZoneKey::make().unwrap(), ZoneKey::make().unwrap());
    let [old, new] = [&old, &new].map(|text| move || ZoneKey::parse(text).unwrap());
    let stages = [vec![old()], vec![old(), new()], vec![new(), old()], vec![new()]].map(world);
    for (at, next) in stages.iter().zip(stages.iter().skip(1)) {
        for (keys_of, answers_of) in [(at, at), (at, next), (next, at)] {
            let response = keys_of.ask(&keys_of.names.apex, RecordType::DNSKEY, 5);
            let published: Vec<DNSKEY> = keys_of.signer.keys().iter().map(|key| key.dnskey.clone()).collect();
            // Whichever the zone above names, the set of keys can be checked with it.
            for key in &published {
                assert_eq!(verified(&response.answers, std::slice::from_ref(key), NOW).len(), published.len());
            }
            let is_told = answers_of.ask(&answers_of.names.apex, RecordType::CDS, 5);
            assert_eq!(verified(&is_told.answers, &published, NOW).len(), answers_of.signer.keys().len());
            let soa = answers_of.raw(&question(&answers_of.names.apex, RecordType::SOA), NOW, 5);
            assert_eq!(watch::judge(&soa, &keys_of.signer, NOW), watch::Seen::Fine);
            verified(&Message::from_vec(&soa).unwrap().answers, &published, NOW);
        }
    }
}

#[test]
fn others_that_no_resolver_would_believe_are_told_apart() {
    let (here, there) = (world(vec![key()]), world(vec![key()]));
    let asked = question(&here.names.apex, RecordType::SOA);
    let tag = there.signer.keys()[0].tag;
    assert_eq!(watch::judge(&there.raw(&asked, NOW, 5), &there.signer, NOW), watch::Seen::Fine);
    assert_eq!(watch::judge(&there.raw(&asked, NOW, 5), &here.signer, NOW), watch::Seen::Foreign { tag });
    // Its clock is a week behind.
    let late = there.raw(&asked, NOW - 7 * 24 * 3600, 5);
    assert_eq!(watch::judge(&late, &there.signer, NOW), watch::Seen::Wrong { tag });
    let mut forged = there.raw(&asked, NOW, 5);
    let at = forged.windows(2).rposition(|two| two == tag.to_be_bytes()).unwrap() + 60;
    forged[at] ^= 1;
    assert_eq!(watch::judge(&forged, &there.signer, NOW), watch::Seen::Wrong { tag });
    let mut plain = Message::query();
    plain.add_query(Query::query(here.names.apex.clone(), RecordType::SOA));
    let unsigned = there.raw(&plain.to_vec().unwrap(), NOW, 5);
    assert_eq!(watch::judge(&unsigned, &there.signer, NOW), watch::Seen::Unsigned);
    assert_eq!(watch::judge(b"nothing", &there.signer, NOW), watch::Seen::Silent);
}

//! Queries as resolvers send them, and what no resolver sends.

use std::time::Duration;

use difusor_proto::units::Span;
use hickory_proto::rr::rdata::svcb::SvcParamValue as Param;

use super::*;
use crate::dns::{
    DnsConfig,
    dnssec::key::ZoneKey,
    places::Table,
    roster::{Group, Host},
};

const NOW: u32 = 1_700_000_000;

struct World {
    names: Names,
    roster: Roster,
    signer: Option<Signer>,
    places: Places,
    cookies: Cookies,
}

fn world() -> World {
    let config = DnsConfig {
        bind: vec!["127.0.0.1:53".parse().unwrap()],
        zone: "results.example.org".into(),
        names: vec!["@".into(), "www".into(), "a.b".into()],
        caa: vec!["issue letsencrypt.org".into()],
        ttl: Span(Duration::from_secs(20)),
        ..DnsConfig::default()
    };
    let group = |zone: &str, four: &str| Group {
        zone: zone.parse().unwrap(),
        at: None,
        hosts: vec![Host { four: vec![four.parse().unwrap()], six: vec!["2001:db8::1".parse().unwrap()], weight: 1 }],
        is_full: false,
    };
    let server = |node: &str, ip: &str| Server { node: node.parse().unwrap(), addresses: vec![ip.parse().unwrap()] };
    let roster = Roster {
        groups: vec![group("mx", "192.0.2.1"), group("us", "198.51.100.1")],
        servers: vec![server("mx-1", "192.0.2.53"), server("us-1", "2001:db8::53")],
        texts: vec![(Name::from_ascii("_acme-challenge.results.example.org.").unwrap(), "token".into())],
        serial: 7,
        ..Roster::default()
    };
    let places = "10.1.0.0/16 mx\n10.2.0.0/16 us\n2001:db8:1::/48 us".parse::<Table>().unwrap().into();
    World { names: config.names().unwrap().unwrap(), roster, signer: None, places, cookies: Cookies::new([1; 32]) }
}

impl World {
    fn raw(&self, query: &[u8], from: &str, by: By) -> Option<Answered> {
        let World { names, roster, signer, places, cookies } = self;
        let (chain, signer) = (&Chain::of(names, roster, signer.is_some()), signer.as_ref());
        let answerer =
            Answerer { names, roster, chain, signer, places, cookies, id: "mx-1", ttl: 20, most: 2, http3: true };
        answerer.answer(query, from.parse().unwrap(), by, NOW, 5)
    }

    fn ask(&self, message: &Message) -> Message {
        let answered = self.raw(&message.to_vec().unwrap(), "10.1.2.3:5000", By::Udp).unwrap();
        let response = Message::from_vec(&answered.bytes).unwrap();
        assert_eq!((response.metadata.id, response.metadata.recursion_available), (message.metadata.id, false));
        response
    }

    fn look(&self, name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
        let response = self.ask(&query(name, kind));
        let records = response.answers.iter().map(|record| record.data.to_string());
        (response.metadata.response_code, records.collect())
    }
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with(mut message: Message, option: Option<EdnsOption>) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    option.into_iter().for_each(|option| edns.options_mut().insert(option));
    message.set_edns(edns);
    message
}

#[test]
fn what_the_zone_has() {
    let world = world();
    for (name, kind, expected) in [
        ("results.example.org.", RecordType::A, &["192.0.2.1", "198.51.100.1"][..]),
        ("WWW.Results.Example.org.", RecordType::A, &["192.0.2.1", "198.51.100.1"]),
        ("a.b.results.example.org.", RecordType::AAAA, &["2001:db8::1"]),
        ("results.example.org.", RecordType::NS, &["ns-mx-1.results.example.org.", "ns-us-1.results.example.org."]),
        ("ns-mx-1.results.example.org.", RecordType::A, &["192.0.2.53"]),
        ("ns-us-1.results.example.org.", RecordType::AAAA, &["2001:db8::53"]),
        ("_acme-challenge.results.example.org.", RecordType::TXT, &["token"]),
        ("results.example.org.", RecordType::CAA, &["0 issue \"letsencrypt.org.\""]),
        // There, and nothing of that kind.
        ("b.results.example.org.", RecordType::A, &[]),
        ("ns-us-1.results.example.org.", RecordType::A, &[]),
        ("results.example.org.", RecordType::MX, &[]),
        ("www.results.example.org.", RecordType::SOA, &[]),
    ] {
        let (code, found) = world.look(name, kind);
        if kind == RecordType::CAA {
            assert!(
                found.len() == 1 && found[0].contains("letsencrypt.org") && !found[0].contains("org."),
                "{found:?}"
            );
        } else {
            assert_eq!(
                (code, found),
                (ResponseCode::NoError, expected.iter().map(ToString::to_string).collect()),
                "{name} {kind}"
            );
        }
    }
    for (name, kind, code) in [
        ("nope.results.example.org.", RecordType::A, ResponseCode::NXDomain),
        ("example.org.", RecordType::A, ResponseCode::Refused),
        ("notresults.example.org.", RecordType::A, ResponseCode::Refused),
        (".", RecordType::NS, ResponseCode::Refused),
        ("results.example.org.", RecordType::AXFR, ResponseCode::Refused),
    ] {
        assert_eq!(world.look(name, kind), (code, vec![]), "{name} {kind}");
    }
    let any = world.ask(&query("results.example.org.", RecordType::ANY));
    assert!(matches!(&any.answers[..], [record] if matches!(record.data, RData::HINFO(_))));
    // Whoever asks who answers is told where they are; what is not there is known as such for as long as an address.
    assert_eq!(world.ask(&query("results.example.org.", RecordType::NS)).additionals.len(), 2);
    let gone = world.ask(&query("nope.results.example.org.", RecordType::A));
    let [soa] = &gone.authorities[..] else { panic!("{gone:?}") };
    let RData::SOA(data) = &soa.data else { panic!("{soa:?}") };
    assert!(gone.metadata.authoritative);
    assert_eq!(
        (data.serial, data.minimum, soa.ttl, data.rname.to_string()),
        (7, 20, 20, "hostmaster.results.example.org.".into())
    );
    let https = world.ask(&query("www.results.example.org.", RecordType::HTTPS));
    let RData::HTTPS(HTTPS(record)) = &https.answers[0].data else { panic!("{https:?}") };
    assert_eq!((record.svc_priority, record.target_name.is_root()), (1, true));
    assert_eq!(record.svc_params, [(SvcParamKey::Alpn, Param::Alpn(Alpn(vec!["h3".into(), "h2".into()])))]);
}

#[test]
fn the_nearest_zone_by_the_clients_network_or_the_resolver() {
    let world = world();
    let first = |message: &Message| {
        let response = world.ask(message);
        let subnet = response.edns.as_ref().and_then(|edns| edns.option(EdnsCode::Subnet).cloned());
        let scope = match subnet {
            Some(EdnsOption::Subnet(subnet)) => {
                Some((subnet.addr().to_string(), subnet.source_prefix(), subnet.scope_prefix()))
            }
            _ => None,
        };
        (response.answers[0].data.to_string(), scope)
    };
    let ask = || query("results.example.org.", RecordType::A);
    let of = |text: &str, bits| Some(EdnsOption::Subnet(ClientSubnet::new(text.parse().unwrap(), bits, 0)));
    // The resolver is in Mexico.
    assert_eq!(first(&ask()), ("192.0.2.1".into(), None));
    assert_eq!(first(&with(ask(), of("10.2.3.0", 24))), ("198.51.100.1".into(), Some(("10.2.3.0".into(), 24, 24))));
    assert_eq!(
        first(&with(ask(), of("2001:db8:1::", 56))),
        ("198.51.100.1".into(), Some(("2001:db8:1::".into(), 56, 56)))
    );
    // It says less than would be needed, so that where the resolver is has to do; and nothing.
    assert_eq!(first(&with(ask(), of("10.0.0.0", 8))).1, Some(("10.0.0.0".into(), 8, 8)));
    assert_eq!(first(&with(ask(), of("0.0.0.0", 0))).1, Some(("0.0.0.0".into(), 0, 0)));
    // What is the same for everyone is for everyone.
    let soa = world.ask(&with(query("results.example.org.", RecordType::SOA), of("10.2.3.0", 24)));
    assert!(
        matches!(soa.edns.unwrap().option(EdnsCode::Subnet), Some(EdnsOption::Subnet(subnet)) if subnet.scope_prefix() == 0)
    );
}

#[test]
fn cookies_prove_where_a_client_is() {
    let world = world();
    let ask = |cookie: &[u8], by: By| {
        let message =
            with(query("results.example.org.", RecordType::A), Some(EdnsOption::Unknown(COOKIE, cookie.to_vec())));
        let answered = world.raw(&message.to_vec().unwrap(), "10.1.2.3:5000", by).unwrap();
        let response = Message::from_vec(&answered.bytes).unwrap();
        let cookie = match response.edns.as_ref().and_then(|edns| edns.option(EdnsCode::from(COOKIE))) {
            Some(EdnsOption::Unknown(_, cookie)) => cookie.clone(),
            _ => Vec::new(),
        };
        (response.metadata.response_code, cookie, answered.is_proven)
    };
    let (code, cookie, is_proven) = ask(b"12345678", By::Udp);
    assert_eq!((code, cookie.len(), is_proven), (ResponseCode::NoError, 24, false));
    assert!(ask(&cookie, By::Udp).2 && ask(b"12345678", By::Tcp).2);
    assert_eq!(ask(b"1234", By::Udp), (ResponseCode::FormErr, vec![], false));
}

#[test]
fn what_no_resolver_sends() {
    let world = world();
    let raw = |bytes: &[u8]| world.raw(bytes, "192.0.2.9:53", By::Udp).map(|answered| answered.code);
    let good = query("results.example.org.", RecordType::A).to_vec().unwrap();
    assert_eq!(raw(&good), Some(ResponseCode::NoError));
    for len in 0..HEADER {
        assert_eq!(raw(&good[..len]), None, "{len}");
    }
    for len in HEADER..good.len() {
        assert!(matches!(raw(&good[..len]), Some(ResponseCode::FormErr)), "{len}");
    }
    // A response, which must not be answered.
    let mut response = good.clone();
    response[2] |= 0x80;
    assert_eq!(raw(&response), None);
    let mut notify = query("results.example.org.", RecordType::SOA);
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(raw(&notify.to_vec().unwrap()), Some(ResponseCode::NotImp));
    let mut two = query("results.example.org.", RecordType::A);
    two.add_query(Query::query(Name::from_ascii("x.").unwrap(), RecordType::A));
    assert_eq!(raw(&two.to_vec().unwrap()), Some(ResponseCode::FormErr));
    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(raw(&chaos.to_vec().unwrap()), Some(ResponseCode::Refused));
    let mut later = with(query("results.example.org.", RecordType::A), None);
    later.edns.as_mut().unwrap().set_version(1);
    // The same number as BADSIG, of which the one is for versions and the other for signatures.
    assert_eq!(u16::from(world.ask(&later).metadata.response_code), 16);
    // Bytes by chance are answered or not, and break nothing.
    let mut dice = 7_u32;
    for _ in 0..50_000 {
        let mut bytes = good.clone();
        for _ in 0..3 {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = dice as usize % bytes.len();
            bytes[at] = (dice >> 24) as u8;
        }
        if let Some(answered) = world.raw(&bytes, "192.0.2.9:53", By::Udp) {
            assert!(answered.bytes.len() <= 512 || bytes.len() > good.len(), "{}", answered.bytes.len());
        }
    }
}

#[test]
fn a_response_fits_or_says_that_it_does_not() {
    let mut world = world();
    let name = Name::from_ascii("_acme-challenge.results.example.org.").unwrap();
    world.roster.texts = (0..20).map(|at| (name.clone(), format!("{at}{}", "x".repeat(200)))).collect();
    let message = query("_acme-challenge.results.example.org.", RecordType::TXT);
    let ask = |message: &Message, by| {
        let answered = world.raw(&message.to_vec().unwrap(), "10.1.2.3:5000", by).unwrap();
        let response = Message::from_vec(&answered.bytes).unwrap();
        (answered.bytes.len(), response.metadata.truncation, response.answers.len(), response.queries.len())
    };
    let (len, truncated, answers, queries) = ask(&message, By::Udp);
    assert!(len <= 512 && truncated && answers == 0 && queries == 1);
    let (len, truncated, ..) = ask(&with(message.clone(), None), By::Udp);
    assert!(len <= usize::from(MAX_UDP) && truncated);
    let (len, truncated, answers, _) = ask(&message, By::Tcp);
    assert!(len > 4000 && !truncated && answers == 20);
    let slip = Message::from_vec(&Answerer::slip(&message.to_vec().unwrap()).unwrap()).unwrap();
    assert!(slip.metadata.truncation && slip.answers.is_empty() && slip.metadata.id == 4711);
}

#[test]
fn nobody_gains_by_asking() {
    let world = world();
    // The most that comes of the least: a query of some sixty bytes, and what is answered without a cookie.
    for kind in [
        RecordType::A,
        RecordType::AAAA,
        RecordType::NS,
        RecordType::ANY,
        RecordType::HTTPS,
        RecordType::TXT,
        RecordType::CAA,
    ] {
        let asked = with(query("results.example.org.", kind), None).to_vec().unwrap();
        let answered = world.raw(&asked, "192.0.2.9:53", By::Udp).unwrap().bytes;
        assert!(answered.len() < 6 * asked.len(), "{kind}: {} for {}", answered.len(), asked.len());
    }
}

#[test]
fn the_delegation_is_for_the_zone_above() {
    let World { names, roster, .. } = world();
    let text = delegation(&names, &roster.servers, None);
    assert_eq!(text.lines().count(), 4);
    let key = ZoneKey::parse(&ZoneKey::make().unwrap()).unwrap();
    let ds = format!("results.example.org. 3600 IN DS {} 13 2 ", key.tag);
    let text = delegation(&names, &roster.servers, Signer::new(names.apex.clone(), vec![key]).as_ref());
    assert!(text.lines().count() == 5 && text.contains(&ds), "{text}");
    assert!(text.contains("results.example.org. 3600 IN NS ns-mx-1.results.example.org."), "{text}");
    assert!(text.contains("ns-us-1.results.example.org. 3600 IN AAAA 2001:db8::53"), "{text}");
}

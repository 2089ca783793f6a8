//! What is changed in a zone, for zones that are empty, right, or somebody else's.

use super::*;

fn plan() -> Plan {
    let name = |text| Name::from_ascii(text).unwrap();
    Plan {
        servers: vec!["192.0.2.53:53".parse().unwrap()],
        zone: name("example.org."),
        names: vec![name("results.example.org."), name("example.org.")],
        ttl: 20,
        key: "k".into(),
    }
}

fn target(addresses: &[&str]) -> Target {
    Target { addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(), port: None }
}

fn sets(addresses: &[&str]) -> Sets {
    wanted(&plan(), &target(addresses), true)
}

/// The update as text.
fn changes(wanted: &Sets, have: &Sets) -> Vec<String> {
    let message = update(&plan().zone, wanted, have);
    // As the other side reads it.
    let message = message.map(|message| Message::from_vec(&message.to_vec().unwrap()).unwrap());
    if let Some(message) = &message {
        assert_eq!((message.metadata.op_code, message.metadata.recursion_desired), (OpCode::Update, false));
        assert_eq!(message.queries, [Query::query(plan().zone, RecordType::SOA)]);
        assert!(message.answers.is_empty() && message.additionals.is_empty());
    }
    message.iter().flat_map(|message| &message.authorities).map(|record| record.to_string().trim().to_owned()).collect()
}

#[test]
fn only_what_differs_is_replaced_and_as_a_whole() {
    let both = sets(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    assert_eq!(changes(&both, &both), [""; 0]);
    let four = changes(&sets(&["192.0.2.2", "2001:db8::1"]), &both);
    assert_eq!(
        four,
        [
            "example.org. 0 ANY A UPDATE",
            "example.org. 20 IN A 192.0.2.2",
            "results.example.org. 0 ANY A UPDATE",
            "results.example.org. 20 IN A 192.0.2.2",
        ]
    );
    // Nobody has an address of the other family: that set goes, and is not asked for again.
    let less = sets(&["192.0.2.1", "192.0.2.2"]);
    assert_eq!(changes(&less, &both), ["example.org. 0 ANY AAAA UPDATE", "results.example.org. 0 ANY AAAA UPDATE"]);
    assert_eq!(changes(&less, &less), [""; 0]);
    // Into an empty zone: everything.
    let all = changes(&both, &Sets::new());
    assert!(all.iter().any(|record| record.starts_with("results.example.org. 20 IN HTTPS 1 . alpn=h3,h2")), "{all:?}");
    assert_eq!(all.len(), 14);
    // Another lifetime is a difference.
    let longer = wanted(&Plan { ttl: 60, ..plan() }, &target(&["192.0.2.1"]), true);
    assert_eq!(changes(&longer, &sets(&["192.0.2.1"])).len(), 8);
}

#[test]
fn what_stands_there_is_read_from_answers_with_authority() {
    let (plan, there) = (plan(), sets(&["192.0.2.1", "2001:db8::1"]));
    let questions = questions(&plan);
    assert_eq!(questions.len(), 7);
    let answers: Vec<Message> = questions
        .iter()
        .map(|question| {
            let mut answer = Message::response(question.metadata.id, OpCode::Query);
            answer.metadata.authoritative = true;
            let query = &question.queries[0];
            answer.add_query(query.clone());
            let set = there.get(&(query.name().clone(), query.query_type()));
            for data in set.iter().flat_map(|set| &set.data) {
                answer.add_answer(Record::from_rdata(query.name().clone(), 20, data.clone()));
            }
            if query.query_type() == RecordType::SOA {
                let data =
                    hickory_proto::rr::rdata::SOA::new(query.name().clone(), query.name().clone(), 1, 60, 60, 600, 60);
                answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::SOA(data)));
            }
            // Of another name, as behind an alias.
            answer.add_answer(Record::from_rdata(Name::root(), 20, RData::A(A::new(192, 0, 2, 99))));
            Message::from_vec(&answer.to_vec().unwrap()).unwrap()
        })
        .collect();
    assert_eq!(read(&plan, &questions, &answers).unwrap(), there);
    let wrong = |change: &dyn Fn(&mut Message), at: usize| {
        let mut answers = answers.clone();
        change(&mut answers[at]);
        read(&plan, &questions, &answers).unwrap_err()
    };
    assert_eq!(wrong(&|answer| answer.metadata.id ^= 1, 3), Unread::Strange);
    assert_eq!(wrong(&|answer| answer.queries.clear(), 3), Unread::Strange);
    assert_eq!(wrong(&|answer| answer.metadata.authoritative = false, 3), Unread::NoAuthority);
    assert_eq!(wrong(&|answer| answer.answers.clear(), 0), Unread::NoAuthority);
    let refused = wrong(&|answer| answer.metadata.response_code = ResponseCode::Refused, 1);
    assert_eq!(refused, Unread::Code(ResponseCode::Refused));
    assert_eq!(read(&plan, &[], &[]), Err(Unread::Strange));
}

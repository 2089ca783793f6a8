//! What should stand in a zone, what does, and the message that makes the one of the other (RFC 2136): pure.
//!
//! Of the names that lead to the site, the addresses and the HTTPS record are this node's, each set as a whole: a message
//! takes away what is there and puts in what should be, which a server does at once or not at all. Nothing else is touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hickory_proto::{
    op::{Message, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA},
    },
};

use super::{Plan, duty::Target};
use crate::dns::answer;

/// The records that are kept right.
const KINDS: [RecordType; 3] = [RecordType::A, RecordType::AAAA, RecordType::HTTPS];

/// What stands at a name, under a type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    ttl: u32,
    data: BTreeSet<RData>,
}

/// By name and type; nothing may stand there.
pub type Sets = BTreeMap<(Name, RecordType), Set>;

/// Why answers do not tell what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// The server does not say.
    Code(ResponseCode),
    /// It has it from another.
    NoAuthority,
    /// It is no answer to what was asked.
    Strange,
}

/// What should stand there.
pub fn wanted(plan: &Plan, target: &Target, http3: bool) -> Sets {
    let data = |kind: RecordType| -> BTreeSet<RData> {
        let of = |ip: &IpAddr| match (kind, ip) {
            (RecordType::A, IpAddr::V4(ip)) => Some(RData::A(A(*ip))),
            (RecordType::AAAA, IpAddr::V6(ip)) => Some(RData::AAAA(AAAA(*ip))),
            _ => None,
        };
        match kind {
            RecordType::HTTPS => [answer::https(http3, target.port)].into(),
            _ => target.addresses.iter().filter_map(of).collect(),
        }
    };
    keys(plan).map(|(name, kind)| ((name, kind), Set { ttl: plan.ttl, data: data(kind) })).collect()
}

fn keys(plan: &Plan) -> impl Iterator<Item = (Name, RecordType)> {
    plan.names.iter().flat_map(|name| KINDS.map(|kind| (name.clone(), kind)))
}

/// The questions that tell what stands there, after one for the zone itself.
pub fn questions(plan: &Plan) -> Vec<Message> {
    let question = |(name, kind)| {
        let mut message = Message::query();
        message.add_query(Query::query(name, kind));
        message
    };
    [(plan.zone.clone(), RecordType::SOA)].into_iter().chain(keys(plan)).map(question).collect()
}

/// What stands there, of the answers to [`questions`].
///
/// # Errors
/// [`Unread`].
pub fn read(plan: &Plan, questions: &[Message], answers: &[Message]) -> Result<Sets, Unread> {
    for (question, answer) in questions.iter().zip(answers) {
        if answer.metadata.id != question.metadata.id || answer.queries != question.queries {
            return Err(Unread::Strange);
        }
        match answer.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => {}
            code => return Err(Unread::Code(code)),
        }
        if !answer.metadata.authoritative {
            return Err(Unread::NoAuthority);
        }
    }
    let Some((zone, sets)) = answers.split_first() else { return Err(Unread::Strange) };
    if !zone.answers.iter().any(|record| record.name == plan.zone && record.record_type() == RecordType::SOA) {
        return Err(Unread::NoAuthority);
    }
    let set = |name: &Name, kind: RecordType, answer: &Message| {
        let own = || answer.answers.iter().filter(|record| record.name == *name && record.record_type() == kind);
        Set {
            ttl: own().next().map_or(0, |record| record.ttl),
            data: own().map(|record| record.data.clone()).collect(),
        }
    };
    Ok(keys(plan).zip(sets).map(|((name, kind), answer)| ((name.clone(), kind), set(&name, kind, answer))).collect())
}

/// The message that makes what should stand there of what does; `None` if that is so.
pub fn update(zone: &Name, wanted: &Sets, have: &Sets) -> Option<Message> {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(zone.clone(), RecordType::SOA));
    for (key @ (name, kind), set) in wanted {
        let there = have.get(key);
        let is_right =
            there.is_some_and(|there| there.data == set.data && (there.ttl == set.ttl || set.data.is_empty()));
        if is_right {
            continue;
        }
        // The whole set of a type goes: class ANY, no data (section 2.5.2).
        let mut gone = Record::update0(name.clone(), 0, *kind).into_record_of_rdata();
        gone.dns_class = DNSClass::ANY;
        message.add_authority(gone);
        message.add_authorities(set.data.iter().map(|data| Record::from_rdata(name.clone(), set.ttl, data.clone())));
    }
    (!message.authorities.is_empty()).then_some(message)
}

#[cfg(test)]
mod tests;

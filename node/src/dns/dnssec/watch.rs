//! Whether other nodes sign with a key that is known here: a resolver has the keys from one of them and answers from another.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use difusor_proto::{NodeId, process};
use hickory_proto::{
    dnssec::{Verifier as _, rdata::DNSSECRData},
    op::{Edns, Message, Query, ResponseCode},
    rr::{DNSClass, RData, RecordType},
};

use super::signer::Signer;
use crate::{
    dns::{answer::MAX_UDP, update::exchange::exchange},
    peers::View,
};

/// How often one of the others is asked, in turns.
pub const EVERY: Duration = Duration::from_secs(5);

/// How another node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// With a signature of a key that is known here.
    Fine,
    /// Not at all: that is for others to judge.
    Silent,
    /// Without a signature.
    Unsigned,
    /// With a signature of another key.
    Foreign {
        /// Its tag.
        tag: u16,
    },
    /// With a signature that is not good, or not now.
    Wrong {
        /// Its tag.
        tag: u16,
    },
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fine => f.write_str("signs with a key that is known here"),
            Self::Silent => f.write_str("does not answer DNS"),
            Self::Unsigned => {
                f.write_str("answers without DNSSEC: give it the same `dnssec` and files of keys, and restart it")
            }
            Self::Foreign { tag } => {
                write!(
                    f,
                    "signs with key {tag}, which this node does not have: give both the same files of keys, and restart them"
                )
            }
            Self::Wrong { tag } => {
                write!(f, "signs with key {tag}, and the signature is not good now: look at both clocks")
            }
        }
    }
}

impl Seen {
    /// True if a resolver that has the keys from here takes its answers for forged.
    pub fn is_unlike(self) -> bool {
        matches!(self, Self::Unsigned | Self::Foreign { .. } | Self::Wrong { .. })
    }
}

/// What is asked: something that every node has.
fn question(signer: &Signer) -> Option<Vec<u8>> {
    let mut query = Message::query();
    query.add_query(Query::query(signer.apex().clone(), RecordType::SOA));
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP);
    edns.set_dnssec_ok(true);
    query.set_edns(edns);
    query.to_vec().ok()
}

/// What an answer says, at Unix seconds.
pub fn judge(answer: &[u8], signer: &Signer, now: u32) -> Seen {
    let Ok(answer) = Message::from_vec(answer) else { return Seen::Silent };
    if answer.metadata.response_code != ResponseCode::NoError {
        return Seen::Silent;
    }
    let rrsig = answer.answers.iter().find_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) if rrsig.input().type_covered == RecordType::SOA => Some(rrsig),
        _ => None,
    });
    let Some(rrsig) = rrsig else { return Seen::Unsigned };
    let input = rrsig.input();
    let tag = input.key_tag;
    let mut named = signer.keys().iter().filter(|key| key.tag == tag).peekable();
    if named.peek().is_none() {
        return Seen::Foreign { tag };
    }
    let is_now = (input.sig_inception.get()..=input.sig_expiration.get()).contains(&now);
    let is_good =
        named.any(|key| key.dnskey.verify_rrsig(signer.apex(), DNSClass::IN, rrsig, answer.answers.iter()).is_ok());
    if is_now && is_good { Seen::Fine } else { Seen::Wrong { tag } }
}

/// What was seen of the others.
#[derive(Debug, Default)]
pub struct Watch {
    seen: BTreeMap<NodeId, Seen>,
    last: Option<NodeId>,
}

impl Watch {
    /// Asks the next of the others, says what has changed, and counts in `unlike` those that no resolver would believe.
    pub async fn step(&mut self, signer: &Signer, view: &View, unlike: &AtomicU64) {
        let Some(members) = &view.members else { return };
        let others = || {
            members.nodes.iter().filter(|member| !member.reach.dns.is_empty() && view.me.as_ref() != Some(&member.node))
        };
        self.seen.retain(|node, _| others().any(|member| member.node == *node));
        let is_after = |node: &NodeId| self.last.as_ref().is_none_or(|last| node > last);
        let Some(next) = others().find(|member| is_after(&member.node)).or_else(|| others().next()) else {
            return unlike.store(0, Relaxed);
        };
        self.last = Some(next.node.clone());
        let seen = ask(&next.reach.dns, signer).await;
        let before = self.seen.insert(next.node.clone(), seen);
        if seen.is_unlike() && before != Some(seen) {
            tracing::error!(node = %next.node, "resolvers will take answers for forged: it {seen}");
        } else if seen == Seen::Fine && before.is_some_and(Seen::is_unlike) {
            tracing::info!(node = %next.node, "it {seen} again");
        }
        unlike.store(self.seen.values().filter(|seen| seen.is_unlike()).count() as u64, Relaxed);
    }
}

async fn ask(servers: &[SocketAddr], signer: &Signer) -> Seen {
    let Some(question) = question(signer) else { return Seen::Silent };
    for server in servers {
        if let Ok(answers) = exchange(*server, std::slice::from_ref(&question)).await
            && let Some(answer) = answers.first()
        {
            let now = u32::try_from(process::unix_us() / 1_000_000).unwrap_or(u32::MAX);
            return judge(answer, signer, now);
        }
    }
    Seen::Silent
}

//! From a query to its response: bytes in, bytes out.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::{
    dnssec::rdata::DNSSECRData,
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{
            A, AAAA, HINFO, HTTPS, NS, SOA, TXT,
            opt::{ClientSubnet, EdnsCode, EdnsOption},
            svcb::{Alpn, SVCB, SvcParamKey, SvcParamValue},
        },
    },
};

use super::{
    Names,
    cookie::{CLIENT, Cookies},
    dnssec::{chain::Chain, signer::Signer},
    places::Places,
    roster::{Host, Roster, Server},
};

/// The largest response over UDP: one that no path has to break up (DNS Flag Day 2020).
pub const MAX_UDP: u16 = 1232;

/// How long resolvers keep what hardly ever changes, seconds: who answers for the zone, and where.
const LASTING: u32 = 3600;

/// The least bytes of a query: its header.
const HEADER: usize = 12;

/// The code of the option for cookies (RFC 7873 section 4).
const COOKIE: u16 = 10;

/// What all answers of a moment follow from.
pub struct Answerer<'a> {
    /// The names of the zone.
    pub names: &'a Names,
    /// Who may be answered.
    pub roster: &'a Roster,
    /// The names that follow from it.
    pub chain: &'a Chain,
    /// Signs, if the zone is signed.
    pub signer: Option<&'a Signer>,
    /// Where clients are.
    pub places: &'a Places,
    /// Makes cookies.
    pub cookies: &'a Cookies,
    /// This node's name, for whoever asks who answers (RFC 5001).
    pub id: &'a str,
    /// How long resolvers keep addresses, seconds.
    pub ttl: u32,
    /// Addresses in an answer, at most.
    pub most: usize,
    /// True if HTTP/3 is spoken.
    pub http3: bool,
}

/// A response, and what it is worth.
#[derive(Debug)]
pub struct Answered {
    /// What is sent.
    pub bytes: Vec<u8>,
    /// True if whoever asked is known to be where it says that it is.
    pub is_proven: bool,
    /// Its code, for those who count.
    pub code: ResponseCode,
}

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// In a datagram.
    Udp,
    /// Over a connection, so its source is where it says that it is.
    Tcp,
}

/// What was found for a name and a type.
struct Found {
    code: ResponseCode,
    answers: Vec<Record>,
    /// True if it depends on where the client is.
    is_local: bool,
}

impl Answerer<'_> {
    /// The response to a query from `from`, at Unix seconds; `None` if nothing is to be said. `dice` decides by chance.
    pub fn answer(&self, query: &[u8], from: SocketAddr, by: By, now: u32, dice: u64) -> Option<Answered> {
        // A response to a response would never end.
        let (head, flags) = (query.get(..2)?, query.get(2)?);
        if query.len() < HEADER || flags & 0x80 != 0 {
            return None;
        }
        let Ok(asked) = Message::from_vec(query) else {
            let id = head.try_into().map_or(0, u16::from_be_bytes);
            return finish(&Message::error_msg(id, OpCode::Query, ResponseCode::FormErr), 512, false);
        };
        let mut response = Message::response(asked.metadata.id, asked.metadata.op_code);
        response.metadata.recursion_desired = asked.metadata.recursion_desired;
        let mut is_proven = by == By::Tcp;
        let mut subnet = None;
        // Whoever does not ask for signatures gets none (RFC 3225).
        let signer = self.signer.filter(|_| asked.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok));
        if let Some(edns) = &asked.edns {
            let mut own = Edns::new();
            own.set_max_payload(MAX_UDP);
            own.set_version(0);
            own.set_dnssec_ok(edns.flags().dnssec_ok);
            if edns.version() > 0 {
                own.set_rcode_high(ResponseCode::BADVERS.high());
                response.metadata.response_code = ResponseCode::BADVERS;
                response.set_edns(own);
                return finish(&response, usize::from(MAX_UDP), is_proven);
            }
            if let Some(EdnsOption::Unknown(_, cookie)) = edns.option(EdnsCode::from(COOKIE)) {
                let client = cookie.get(..CLIENT).and_then(|client| <[u8; CLIENT]>::try_from(client).ok());
                // A client's part alone, or with a server's of 8 to 32 bytes (RFC 7873 section 5.2.2).
                let Some(client) = client.filter(|_| matches!(cookie.len(), CLIENT | 16..=40)) else {
                    response.metadata.response_code = ResponseCode::FormErr;
                    response.set_edns(own);
                    return finish(&response, usize::from(MAX_UDP), is_proven);
                };
                is_proven |= self.cookies.is_own(cookie, from.ip(), now);
                let fresh = self.cookies.make(client, from.ip(), now).to_vec();
                own.options_mut().insert(EdnsOption::Unknown(COOKIE, fresh));
            }
            if edns.option(EdnsCode::NSID).is_some()
                && let Ok(id) = hickory_proto::rr::rdata::opt::NSIDPayload::new(self.id.as_bytes())
            {
                own.options_mut().insert(EdnsOption::NSID(id));
            }
            if let Some(EdnsOption::Subnet(of)) = edns.option(EdnsCode::Subnet) {
                subnet = Some(*of);
            }
            response.set_edns(own);
        }
        let found = match (asked.metadata.op_code, asked.queries.as_slice()) {
            (OpCode::Query, [query]) => {
                response.add_query(query.clone());
                self.find(query, subnet, from.ip(), now, dice)
            }
            (OpCode::Query, _) => Found::nothing(ResponseCode::FormErr),
            _ => Found::nothing(ResponseCode::NotImp),
        };
        let Found { mut code, answers, is_local } = found;
        // A set has each record once (RFC 2181 section 5), such as of two nodes behind one address.
        let answers = answers.into_iter().fold(Vec::new(), |mut once, record| {
            if !once.contains(&record) {
                once.push(record);
            }
            once
        });
        if answers.is_empty() && self.roster.groups.is_empty() && is_answer(code) {
            // Nobody knows yet who is there: another server is asked, and nothing is remembered.
            code = ResponseCode::ServFail;
        }
        response.metadata.response_code = code;
        response.metadata.authoritative = is_answer(code);
        // For whom this is good, so that a resolver does not give it to clients elsewhere (RFC 7871 section 7.2.1).
        if let (Some(subnet), Some(edns)) = (subnet, &mut response.edns) {
            // As wide as it was asked for: a wider one might hold networks that are elsewhere.
            let scope = if is_local { subnet.source_prefix() } else { 0 };
            edns.options_mut().insert(EdnsOption::Subnet(ClientSubnet::new(
                subnet.addr(),
                subnet.source_prefix(),
                scope,
            )));
        }
        let sign = |set: &[Record]| signer.map(|signer| signer.sign(set, now)).unwrap_or_default();
        let signatures = sign(&answers);
        if answers.is_empty() && response.metadata.authoritative {
            let mut sets = vec![self.soa()];
            if let (Some(_), [query]) = (signer, asked.queries.as_slice()) {
                sets.extend(self.chain.proof(&query.name().to_lowercase(), self.ttl));
            }
            for set in sets {
                let signatures = sign(std::slice::from_ref(&set));
                response.add_authority(set);
                response.add_authorities(signatures);
            }
        }
        response.add_answers(answers.into_iter().chain(signatures));
        if let [query] = asked.queries.as_slice()
            && matches!(query.query_type(), RecordType::NS)
        {
            response.add_additionals(glue(&self.names.apex, &self.roster.servers));
        }
        let most = match (by, &asked.edns) {
            (By::Tcp, _) => usize::from(u16::MAX),
            (By::Udp, None) => 512,
            (By::Udp, Some(edns)) => usize::from(edns.max_payload().clamp(512, MAX_UDP)),
        };
        finish(&response, most, is_proven)
    }

    /// What there is.
    fn find(&self, query: &Query, subnet: Option<ClientSubnet>, resolver: IpAddr, now: u32, dice: u64) -> Found {
        let name = query.name().to_lowercase();
        if query.query_class() != DNSClass::IN || !self.names.apex.zone_of(&name) {
            return Found::nothing(ResponseCode::Refused);
        }
        let kind = query.query_type();
        if matches!(kind, RecordType::AXFR | RecordType::IXFR) {
            return Found::nothing(ResponseCode::Refused);
        }
        if !self.chain.is_there(&name) {
            return Found::nothing(ResponseCode::NXDomain);
        }
        let (is_apex, is_site) = (name == self.names.apex, self.names.site.contains(&name));
        let server = self.server_at(&name);
        let texts = || self.roster.texts.iter().filter(|(at, _)| *at == name);
        let record = |ttl: u32, data: RData| Record::from_rdata(query.name().clone(), ttl, data);
        let (mut answers, mut is_local) = (Vec::new(), false);
        match kind {
            // Whoever wants all gets little (RFC 8482 section 4.2).
            RecordType::ANY => answers.push(record(LASTING, RData::HINFO(HINFO::new("RFC8482".into(), String::new())))),
            RecordType::A | RecordType::AAAA if is_site => {
                is_local = !self.places.is_empty();
                let of = |host: &Host| match kind {
                    RecordType::A => !host.four.is_empty(),
                    _ => !host.six.is_empty(),
                };
                let known = subnet.filter(|subnet| subnet.source_prefix() > 0);
                let place = known.and_then(|subnet| self.places.find(subnet.addr(), subnet.source_prefix()));
                let place = place.or_else(|| self.places.find(resolver, u8::MAX));
                for host in self.roster.pick(place.as_deref(), self.most, dice, of) {
                    let of: Vec<RData> = match kind {
                        RecordType::A => host.four.iter().map(|ip| RData::A(A(*ip))).collect(),
                        _ => host.six.iter().map(|ip| RData::AAAA(AAAA(*ip))).collect(),
                    };
                    answers.extend(of.into_iter().map(|data| record(self.ttl, data)));
                }
            }
            RecordType::A | RecordType::AAAA => {
                for ip in server.iter().flat_map(|server| &server.addresses) {
                    match (kind, ip) {
                        (RecordType::A, IpAddr::V4(ip)) => answers.push(record(LASTING, RData::A(A(*ip)))),
                        (RecordType::AAAA, IpAddr::V6(ip)) => answers.push(record(LASTING, RData::AAAA(AAAA(*ip)))),
                        _ => {}
                    }
                }
            }
            RecordType::HTTPS if is_site => {
                answers.push(record(self.ttl, https(self.http3, self.roster.port)));
            }
            RecordType::SOA if is_apex => answers.push(self.soa()),
            RecordType::NS if is_apex => {
                let names =
                    self.roster.servers.iter().map(|server| server_name(&self.names.apex, server.node.as_str()));
                answers.extend(names.map(|name| record(LASTING, RData::NS(NS(name)))));
            }
            RecordType::CAA if is_apex => answers.extend(self.names.caa.iter().map(|caa| record(LASTING, caa.clone()))),
            RecordType::DNSKEY | RecordType::CDS | RecordType::CDNSKEY if is_apex => {
                let published = self.signer.iter().flat_map(|signer| signer.published(kind));
                answers.extend(published.map(|data| record(LASTING, data)));
            }
            // What proves that others are not there; and of all signatures, that one (as RFC 8482 section 4.1 has it for ANY).
            RecordType::NSEC | RecordType::RRSIG if !self.roster.groups.is_empty() => {
                let nsec = self.signer.zip(self.chain.at(&name, self.ttl));
                answers.extend(nsec.into_iter().flat_map(|(signer, nsec)| match kind {
                    RecordType::NSEC => vec![record(self.ttl, nsec.data)],
                    _ => signer.sign(&[nsec], now),
                }));
            }
            RecordType::TXT => {
                answers.extend(texts().map(|(_, text)| record(self.ttl, RData::TXT(TXT::new(vec![text.clone()])))));
            }
            _ => {}
        }
        Found { code: ResponseCode::NoError, answers, is_local }
    }

    /// The node that answers DNS under this name.
    fn server_at(&self, name: &Name) -> Option<&Server> {
        let is_below = name.num_labels() == self.names.apex.num_labels().saturating_add(1);
        let node = name.iter().next().filter(|_| is_below)?.strip_prefix(b"ns-")?;
        // Longer names do not fit a label.
        self.roster
            .servers
            .iter()
            .find(|server| server.node.as_str().as_bytes().get(..60.min(server.node.as_str().len())) == Some(node))
    }

    fn soa(&self) -> Record {
        let first = self.roster.servers.first().map_or("none", |server| server.node.as_str());
        let (refresh, retry, expire) = (3600, 600, 604_800);
        let soa = SOA::new(
            server_name(&self.names.apex, first),
            self.names.contact.clone(),
            self.roster.serial,
            refresh,
            retry,
            expire,
            // How long it is kept that something is not there (RFC 2308 section 4).
            self.ttl,
        );
        Record::from_rdata(self.names.apex.clone(), self.ttl, RData::SOA(soa))
    }

    /// A response that says that the answer has to be asked for over TCP: for networks that ask too much, once in a while,
    /// so that whoever is really there gets one (the slip of response rate limiting).
    pub fn slip(query: &[u8]) -> Option<Vec<u8>> {
        let asked = Message::from_vec(query).ok()?;
        let mut response = Message::response(asked.metadata.id, asked.metadata.op_code);
        response.metadata.truncation = true;
        response.add_queries(asked.queries.iter().cloned());
        if asked.edns.is_some() {
            let mut own = Edns::new();
            own.set_max_payload(MAX_UDP);
            response.set_edns(own);
        }
        response.to_vec().ok()
    }
}

/// True for what this server says of its zone.
fn is_answer(code: ResponseCode) -> bool {
    matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
}

/// How the site is spoken to (RFC 9460), and at which port if it is not 443.
pub(super) fn https(http3: bool, port: Option<u16>) -> RData {
    let alpn = if http3 { vec!["h3".into(), "h2".into()] } else { vec!["h2".into()] };
    let mut params = vec![(SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(alpn)))];
    params.extend(port.map(|port| (SvcParamKey::Port, SvcParamValue::Port(port))));
    RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), params)))
}

/// The name of a node that answers DNS.
pub(super) fn server_name(apex: &Name, node: &str) -> Name {
    // A node's name is a label; with three bytes before it, it may be too long for one.
    let label: String = format!("ns-{node}").chars().take(63).collect();
    Name::from_ascii(label).and_then(|name| name.append_domain(apex)).unwrap_or_else(|_| apex.clone())
}

/// Where those are who answer for the zone.
fn glue(apex: &Name, servers: &[Server]) -> Vec<Record> {
    let of = |server: &Server| {
        let name = server_name(apex, server.node.as_str());
        let record = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => Record::from_rdata(name.clone(), LASTING, RData::A(A(*ip))),
            IpAddr::V6(ip) => Record::from_rdata(name.clone(), LASTING, RData::AAAA(AAAA(*ip))),
        };
        server.addresses.iter().map(record).collect::<Vec<_>>()
    };
    servers.iter().flat_map(of).collect()
}

/// The records to be entered in the zone above, as text: the delegation, where the servers are, and the keys.
pub fn delegation(names: &Names, servers: &[Server], signer: Option<&Signer>) -> String {
    let ns = servers.iter().map(|server| {
        let name = server_name(&names.apex, server.node.as_str());
        Record::from_rdata(names.apex.clone(), LASTING, RData::NS(NS(name)))
    });
    let ds = signer.iter().flat_map(|signer| signer.keys()).filter_map(|key| key.ds(&names.apex));
    let ds = ds.map(|ds| Record::from_rdata(names.apex.clone(), LASTING, RData::DNSSEC(DNSSECRData::DS(ds))));
    ns.chain(glue(&names.apex, servers)).chain(ds).map(|record| format!("{record}\n")).collect()
}

impl Found {
    fn nothing(code: ResponseCode) -> Self {
        Self { code, answers: Vec::new(), is_local: false }
    }
}

/// The bytes of a response, which is cut short if it has more than `most`: then it is to be asked for over TCP.
fn finish(response: &Message, most: usize, is_proven: bool) -> Option<Answered> {
    debug_assert_eq!(response.metadata.message_type, MessageType::Response);
    let code = response.metadata.response_code;
    let bytes = response.to_vec().ok()?;
    if bytes.len() <= most {
        return Some(Answered { bytes, is_proven, code });
    }
    let mut short = Message::response(response.metadata.id, response.metadata.op_code);
    short.metadata = response.metadata;
    short.metadata.truncation = true;
    short.add_queries(response.queries.iter().cloned());
    if let Some(edns) = &response.edns {
        short.set_edns(edns.clone());
    }
    Some(Answered { bytes: short.to_vec().ok()?, is_proven, code })
}

#[cfg(test)]
mod tests;

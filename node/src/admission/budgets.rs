//! What one source may ask for: requests, and bytes of answers.
//!
//! Requests are charged before they are answered. Bytes are charged when an answer begins, with all that it is going to
//! have, since that is what this node will have to send; a source that owes more than it may have at once is answered 429
//! until it owes less. What a source is, [`super::source`] says; the network that it lies in may have four times as much,
//! so that nobody goes through the addresses of a network one by one. Connections are charged when they come.
//!
//! A carrier puts thousands of people behind one address (RFC 6888). So the defaults are what thousands of people ask for
//! who look at results at once, a small part of what a node can answer, and far more than a single one ever needs.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    num::NonZero,
    time::{Duration, Instant},
};

use difusor_proto::units::{Bytes, Span};
use ipnet::IpNet;
use serde::Deserialize;

use super::{
    rates::{Charge, Rate, Rates},
    source::Source,
};
use crate::proxied::Trust;

/// How much more a network may have than one source.
const OF_NETWORK: u64 = 4;

/// Sources, and networks, that are told apart at once. 8 bytes each for either budget: 12 MiB together.
const SOURCES: usize = 1 << 19;
const NETWORKS: usize = 1 << 18;

/// What is decided about budgets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetsConfig {
    /// Who is never limited.
    pub exempt: Trust,
    /// Requests of one source.
    pub requests: RequestRate,
    /// Bytes of bodies for one source.
    pub bytes: ByteRate,
    /// Connections that one source opens.
    pub connections: RequestRate,
    /// How long the first ban is; none if zero.
    pub ban: Span,
    /// How long the longest is.
    pub longest_ban: Span,
}

/// Requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestRate {
    /// In the long run.
    pub a_second: u64,
    /// At once.
    pub at_once: u64,
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByteRate {
    /// In the long run.
    pub a_second: Bytes,
    /// At once.
    pub at_once: Bytes,
}

impl Default for BudgetsConfig {
    fn default() -> Self {
        // This machine: a load test from here is none of a visitor.
        let here = ["127.0.0.0/8", "::1/128"].iter().filter_map(|text| text.parse::<IpNet>().ok());
        Self {
            exempt: Trust { networks: here.collect() },
            requests: RequestRate { a_second: 5_000, at_once: 20_000 },
            bytes: ByteRate { a_second: Bytes(32 << 20), at_once: Bytes(1 << 30) },
            connections: RequestRate { a_second: 500, at_once: 5_000 },
            ban: Span(Duration::from_secs(60)),
            longest_ban: Span(Duration::from_secs(15 * 60)),
        }
    }
}

/// A rate of nothing would lock everyone out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("admission.{0}: more than nothing, or nobody is answered; `exempt = [\"0.0.0.0/0\", \"::/0\"]` limits nobody")]
pub struct NothingError(&'static str);

/// Which budget was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// Requests.
    Requests,
    /// Bytes.
    Bytes,
    /// Connections.
    Connections,
}

/// Too much was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Which budget.
    pub budget: Budget,
    /// When there is some again.
    pub wait: Duration,
}

/// A source and its network, as the tables know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payer {
    source: u64,
    network: u64,
}

/// All budgets, shared by all threads.
#[derive(Debug)]
pub struct Budgets {
    keys: RandomState,
    exempt: Trust,
    begun: Instant,
    requests: [Rates; 2],
    bytes: [Rates; 2],
    connections: [Rates; 2],
    policy: String,
}

/// What one connection has paid ahead, and what it has not paid yet: words that all threads share are not written for each
/// request. A connection pays for one request first, then for twice as many each time.
#[derive(Debug)]
pub struct Purse {
    payer: Payer,
    ahead: u64,
    next: u64,
    bytes: u64,
}

/// Requests that are paid ahead at most, and bytes that are owed.
const AHEAD: u64 = 16;
const OWED: u64 = 64 << 10;

impl Purse {
    /// Nothing is paid yet.
    pub fn new(payer: Payer) -> Self {
        Self { payer, ahead: 0, next: 1, bytes: 0 }
    }

    /// Charges a request.
    ///
    /// # Errors
    /// [`Spent`] if it is not to be answered now.
    pub fn ask(&mut self, budgets: &Budgets, now: Instant) -> Result<(), Spent> {
        if let Some(ahead) = self.ahead.checked_sub(1) {
            self.ahead = ahead;
            return Ok(());
        }
        if self.next > 1 && budgets.ask_many(self.payer, self.next, now).is_ok() {
            self.ahead = self.next - 1;
            self.next = (self.next * 2).min(AHEAD);
            return Ok(());
        }
        let asked = budgets.ask_of(self.payer, now);
        // Who is short of them gets them one by one.
        self.next = if self.next == 1 && asked.is_ok() { 2 } else { 1 };
        asked
    }

    /// Charges the bytes of an answer, soon.
    pub fn give(&mut self, budgets: &Budgets, bytes: u64, now: Instant) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= OWED {
            self.pay(budgets, now);
        }
    }

    /// Charges what is owed.
    pub fn pay(&mut self, budgets: &Budgets, now: Instant) {
        budgets.give_to(self.payer, std::mem::take(&mut self.bytes), now);
    }
}

impl BudgetsConfig {
    /// Refuses what cannot be meant.
    ///
    /// # Errors
    /// [`NothingError`].
    pub fn check(&self) -> Result<(), NothingError> {
        self.rates().map(drop)
    }

    /// Connections of one source, a second and at once.
    ///
    /// # Errors
    /// [`NothingError`].
    pub(super) fn connection_rate(&self) -> Result<(NonZero<u64>, NonZero<u64>), NothingError> {
        let RequestRate { a_second, at_once } = self.connections;
        NonZero::new(a_second).zip(NonZero::new(at_once)).ok_or(NothingError("connections"))
    }

    fn rates(&self) -> Result<[Rate; 3], NothingError> {
        let rate = |name, a_second: u64, at_once: u64| {
            let some = NonZero::new(a_second).zip(NonZero::new(at_once));
            some.map(|(per_second, burst)| Rate { per_second, burst }).ok_or(NothingError(name))
        };
        Ok([
            rate("requests", self.requests.a_second, self.requests.at_once)?,
            rate("bytes", self.bytes.a_second.0, self.bytes.at_once.0)?,
            rate("connections", self.connections.a_second, self.connections.at_once)?,
        ])
    }
}

impl Budgets {
    /// Budgets that nobody has used.
    ///
    /// # Errors
    /// [`NothingError`] if one is of nothing.
    pub fn new(config: &BudgetsConfig) -> Result<Self, NothingError> {
        let [requests, bytes, connections] = config.rates()?;
        let keys = RandomState::new();
        let pair = |rate: Rate| {
            let times =
                |value: NonZero<u64>| value.saturating_mul(NonZero::new(OF_NETWORK).unwrap_or(NonZero::<u64>::MIN));
            let network = Rate { per_second: times(rate.per_second), burst: times(rate.burst) };
            [Rates::sharing(rate, SOURCES, keys.clone()), Rates::sharing(network, NETWORKS, keys.clone())]
        };
        Ok(Self {
            exempt: config.exempt.clone(),
            begun: Instant::now(),
            policy: policy(requests, bytes),
            requests: pair(requests),
            bytes: pair(bytes),
            connections: pair(connections),
            keys,
        })
    }

    /// Who pays for this visitor; `None` if it is exempt. Good for as long as these budgets are.
    pub fn payer(&self, visitor: IpAddr) -> Option<Payer> {
        let source = Source::of(visitor);
        let payer = || Payer { source: self.keys.hash_one(source), network: self.keys.hash_one(source.network()) };
        (!self.exempt.includes(visitor)).then(payer)
    }

    /// Charges a request of this visitor.
    ///
    /// # Errors
    /// [`Spent`] if it is not to be answered now.
    pub fn ask(&self, visitor: IpAddr, now: Instant) -> Result<(), Spent> {
        self.payer(visitor).map_or(Ok(()), |payer| self.ask_of(payer, now))
    }

    /// The same of who pays.
    ///
    /// # Errors
    /// [`Spent`] if it is not to be answered now.
    pub fn ask_of(&self, payer: Payer, now: Instant) -> Result<(), Spent> {
        self.ask_many(payer, 1, now)
    }

    /// Charges so many requests.
    ///
    /// # Errors
    /// [`Spent`] if they are not to be answered now. Nothing is charged then.
    fn ask_many(&self, payer: Payer, requests: u64, now: Instant) -> Result<(), Spent> {
        let now = self.micros(now);
        let [of_source, of_network] = &self.bytes;
        if let Some(wait) = of_source.owes_at(payer.source, now).max(of_network.owes_at(payer.network, now)) {
            return Err(Spent { budget: Budget::Bytes, wait });
        }
        charge(&self.requests, payer, requests, now).map_err(|wait| Spent { budget: Budget::Requests, wait })
    }

    /// Charges a connection from this address.
    ///
    /// # Errors
    /// [`Spent`] if it is not to be let in now.
    pub fn connect(&self, address: IpAddr, now: Instant) -> Result<(), Spent> {
        let Some(payer) = self.payer(address) else { return Ok(()) };
        let late = charge(&self.connections, payer, 1, self.micros(now));
        late.map_err(|wait| Spent { budget: Budget::Connections, wait })
    }

    /// Charges the bytes of an answer.
    pub fn give(&self, visitor: IpAddr, bytes: u64, now: Instant) {
        if let Some(payer) = self.payer(visitor) {
            self.give_to(payer, bytes, now);
        }
    }

    /// The same for who pays.
    pub fn give_to(&self, payer: Payer, bytes: u64, now: Instant) {
        if bytes > 0 {
            let now = self.micros(now);
            let [of_source, of_network] = &self.bytes;
            of_source.debit_at(payer.source, bytes, now);
            of_network.debit_at(payer.network, bytes, now);
        }
    }

    /// The value of `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Bytes of all tables.
    pub fn memory(&self) -> usize {
        self.requests.iter().chain(&self.bytes).chain(&self.connections).map(Rates::memory).sum()
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begun).as_micros()).unwrap_or(u64::MAX)
    }
}

/// Charges a source and its network. What is refused for the network was charged to the source: it is the one
/// that asks.
fn charge([of_source, of_network]: &[Rates; 2], payer: Payer, cost: u64, now: u64) -> Result<(), Duration> {
    for charge in [of_source.charge_at(payer.source, cost, now), of_network.charge_at(payer.network, cost, now)] {
        if let Charge::Late(wait) = charge {
            return Err(wait);
        }
    }
    Ok(())
}

impl Spent {
    /// Whole seconds until it may be asked for again, at least one.
    pub fn seconds(&self) -> u64 {
        self.wait.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
    }

    /// The value of `RateLimit`.
    pub fn limit(&self) -> String {
        format!("\"{}\";r=0;t={}", self.budget.name(), self.seconds())
    }
}

impl Budget {
    /// Those that requests are charged to, in the order of their numbers.
    pub const OF_REQUESTS: [Self; 2] = [Self::Requests, Self::Bytes];

    /// Its name, for labels and fields.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Bytes => "bytes",
            Self::Connections => "connections",
        }
    }
}

/// Quotas, and the windows in which they come back, in whole seconds.
fn policy(requests: Rate, bytes: Rate) -> String {
    let item = |budget: Budget, rate: Rate, unit: &str| {
        let window = rate.burst.get().div_ceil(rate.per_second.get());
        format!("\"{}\";q={};w={window}{unit}", budget.name(), rate.burst)
    };
    [item(Budget::Requests, requests, ""), item(Budget::Bytes, bytes, ";qu=\"content-bytes\"")].join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budgets(config: BudgetsConfig) -> (Budgets, Instant) {
        let budgets = Budgets::new(&config).unwrap();
        let begun = budgets.begun;
        (budgets, begun)
    }

    fn small() -> BudgetsConfig {
        BudgetsConfig {
            requests: RequestRate { a_second: 10, at_once: 20 },
            bytes: ByteRate { a_second: Bytes(1000), at_once: Bytes(5000) },
            ..BudgetsConfig::default()
        }
    }

    #[test]
    fn requests_and_bytes_are_told_apart() {
        let (budgets, begun) = budgets(small());
        let [visitor, other]: [IpAddr; 2] = ["192.0.2.1", "198.51.100.1"].map(|text| text.parse().unwrap());
        let asked = (0..50).filter(|_| budgets.ask(visitor, begun).is_ok()).count();
        assert_eq!(asked, 20);
        let spent = budgets.ask(visitor, begun).unwrap_err();
        assert_eq!((spent.budget, spent.seconds()), (Budget::Requests, 1));
        assert_eq!(spent.limit(), "\"requests\";r=0;t=1");
        assert_eq!(budgets.ask(other, begun), Ok(()));

        budgets.give(other, 20_000, begun);
        let spent = budgets.ask(other, begun).unwrap_err();
        assert_eq!((spent.budget, spent.seconds()), (Budget::Bytes, 15));
        assert_eq!(budgets.ask(other, begun + Duration::from_secs(16)), Ok(()));
        assert_eq!(budgets.policy(), "\"requests\";q=20;w=2, \"bytes\";q=5000;w=5;qu=\"content-bytes\"");
    }

    #[test]
    fn what_is_paid_ahead_is_no_more_than_there_is() {
        let (budgets, begun) = budgets(small());
        let visitor: IpAddr = "192.0.2.1".parse().unwrap();
        let mut purse = Purse::new(budgets.payer(visitor).unwrap());
        assert_eq!((0..50).filter(|_| purse.ask(&budgets, begun).is_ok()).count(), 20);
        assert!(budgets.ask(visitor, begun).is_err());
        // A second brings ten, whoever asks for them.
        let later = begun + Duration::from_secs(1);
        let mut other = Purse::new(budgets.payer(visitor).unwrap());
        let both = (0..50).filter(|_| purse.ask(&budgets, later).is_ok() | other.ask(&budgets, later).is_ok());
        assert!((5..=10).contains(&both.count()));

        let mut purse = Purse::new(budgets.payer("198.51.100.1".parse().unwrap()).unwrap());
        purse.give(&budgets, OWED - 1, begun);
        assert_eq!(purse.ask(&budgets, begun), Ok(()));
        purse.pay(&budgets, begun);
        assert_eq!(purse.ask(&budgets, begun).unwrap_err().budget, Budget::Bytes);
    }

    #[test]
    fn a_network_has_four_times_as_much_as_a_source() {
        let (budgets, begun) = budgets(small());
        let mut asked = 0;
        for host in 1..=200 {
            let visitor: IpAddr = format!("192.0.2.{host}").parse().unwrap();
            asked += (0..20).filter(|_| budgets.ask(visitor, begun).is_ok()).count();
        }
        assert_eq!(asked, 80);
        assert_eq!(budgets.ask("192.0.3.1".parse().unwrap(), begun), Ok(()));
    }

    #[test]
    fn who_is_exempt_is_not_counted() {
        let (budgets, begun) = budgets(small());
        let here = "127.0.0.1".parse().unwrap();
        budgets.give(here, u64::MAX, begun);
        assert!((0..1000).all(|_| budgets.ask(here, begun).is_ok()));
        assert!(budgets.memory() <= 64 << 20);
    }

    #[test]
    fn a_budget_of_nothing_is_refused() {
        let nothing = RequestRate { a_second: 0, at_once: 1 };
        let error = BudgetsConfig { requests: nothing, ..BudgetsConfig::default() }.check().unwrap_err();
        assert!(error.to_string().contains("admission.requests"), "{error}");
    }
}

//! Who is let in no more, for a while: sources that did what no visitor does, again and again.
//!
//! An offence has a weight, and weights are forgotten at a steady rate ([`Rates`]): what happens to honest clients now and
//! then (a phone leaves its network within a download, a scanner fails its handshake) never adds up, not even for the
//! thousands behind one carrier's address (RFC 6888); what a program does does. Being limited is no offence: whoever asks
//! too much is answered 429, and only whoever does not hear that, ten times over, is banned.
//!
//! A ban is of a source, or of its network if enough of that one's sources offend, and ends by itself: after a minute first,
//! twice as long each time, up to a quarter of an hour. Other nodes tell of theirs: that counts here as a part of what is
//! needed, so no single node can shut anyone out of all.
//!
//! Never more than [`MOST`] bans at once; for a new one, the one that would end first gives way. Whoever must never be
//! banned is exempt.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    num::NonZero,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use difusor_proto::units::Span;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::{
    rates::{Charge, Rate, Rates},
    source::{Network, Source},
};
use crate::proxied::Trust;

/// Bans at once: some 8 MiB. A list for the kernel can be as long.
const MOST: usize = SHARDS * IN_SHARD;
const SHARDS: usize = 64;
const IN_SHARD: usize = 1024;

/// Sources, and networks, whose offences are remembered: 8 bytes each.
const KEYS: usize = 1 << 16;

/// The weight that is one too much, and what of it is forgotten each second. Ten thousand failed handshakes, or ten
/// connections of protocol abuse, at once; a hundred a second, or one in ten seconds, for ever: as many phones behind one
/// carrier's address lose their network within a download.
const TOO_MUCH: u64 = 10_000;
const FORGOTTEN: u64 = 100;

/// How much more a network may do than one source.
const OF_NETWORK: u64 = 8;

/// Refused connections, beyond those that are let in, before a source is banned for them: ten times as many.
const DEAF: u64 = 10;

/// News of bans that may wait to be read; who reads too slowly misses the oldest.
const NEWS: usize = 4096;

/// Lines of bans in the log in a minute: a flood from everywhere shall not fill the disk.
const LINES: u64 = 20;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Offence {
    /// A connection that made work without a purpose: resets, pings, heads that never end.
    Abuse,
    /// What came was not the protocol.
    Violation,
    /// A connection that held what it asked for, or asked without ever coming to an end.
    Stalled,
    /// A handshake that failed or never ended.
    Handshake,
    /// Connections far beyond what was refused already.
    Deaf,
    /// Another node has banned it.
    Told,
}

impl Offence {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Abuse, Self::Violation, Self::Stalled, Self::Handshake, Self::Deaf, Self::Told];

    /// Its name, for labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abuse => "abuse",
            Self::Violation => "violation",
            Self::Stalled => "stalled",
            Self::Handshake => "handshake",
            Self::Deaf => "deaf",
            Self::Told => "told",
        }
    }

    fn weight(self) -> u64 {
        match self {
            // Nothing that a browser does ends like this.
            Self::Abuse => TOO_MUCH / 10,
            Self::Violation => TOO_MUCH / 100,
            Self::Stalled | Self::Handshake | Self::Deaf => 1,
            // Two nodes within a minute, as some of it is forgotten meanwhile; or one, and a fifth of what is needed here.
            Self::Told => TOO_MUCH / 5 * 4 + 1,
        }
    }
}

/// What is decided about bans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long the first ban of a source is; none if zero.
    pub first: Span,
    /// How long the longest is.
    pub longest: Span,
    /// Connections a second that one source may open, and at once.
    pub connections: (NonZero<u64>, NonZero<u64>),
}

/// A ban.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Who: an address or a network.
    pub network: IpNet,
    /// For what.
    pub offence: Offence,
    /// How long it still is, whole seconds.
    pub seconds: u64,
}

/// Whose a ban is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Source(Source),
    Network(Network),
}

#[derive(Debug, Clone, Copy)]
struct Sentence {
    until: Instant,
    /// How long the next one is.
    next: Duration,
    offence: Offence,
}

/// Offences and bans, shared by all threads.
#[derive(Debug)]
pub struct Offenders {
    exempt: Vec<Trust>,
    terms: Terms,
    begun: Instant,
    offences: [Rates; 2],
    refusals: Rates,
    bans: Vec<Mutex<HashMap<Key, Sentence>>>,
    keys: RandomState,
    /// Entries of `bans`, those that are over included.
    held: AtomicUsize,
    banned: [AtomicU64; Offence::ALL.len()],
    news: broadcast::Sender<Ban>,
}

impl Offenders {
    /// Nobody is banned yet. Who is in one of `exempt` never is.
    pub fn new(terms: Terms, exempt: Vec<Trust>) -> Self {
        let rate = |per_second: u64, burst: u64| Rate {
            per_second: NonZero::new(per_second).unwrap_or(NonZero::<u64>::MIN),
            burst: NonZero::new(burst).unwrap_or(NonZero::<u64>::MIN),
        };
        let (a_second, at_once) = terms.connections;
        let deaf = rate(a_second.get().saturating_mul(DEAF), at_once.get().saturating_mul(DEAF));
        Self {
            exempt,
            terms,
            begun: Instant::now(),
            offences: [
                Rates::new(rate(FORGOTTEN, TOO_MUCH), KEYS),
                Rates::new(rate(FORGOTTEN * OF_NETWORK, TOO_MUCH * OF_NETWORK), KEYS),
            ],
            refusals: Rates::new(deaf, KEYS),
            bans: (0..SHARDS).map(|_| Mutex::default()).collect(),
            keys: RandomState::new(),
            held: AtomicUsize::new(0),
            banned: Default::default(),
            news: broadcast::Sender::new(NEWS),
        }
    }

    /// True if nobody is let in from there.
    pub fn is_banned(&self, address: IpAddr, now: Instant) -> bool {
        if self.held.load(Relaxed) == 0 {
            return false;
        }
        let source = Source::of(address);
        let is_live = |key| self.shard(key).get(&key).is_some_and(|sentence| sentence.until > now);
        is_live(Key::Source(source)) || is_live(Key::Network(source.network()))
    }

    /// Remembers an offence; bans who did it if it was one too much. `now` is the clock's, and no thread's idea of it: threads that
    /// are not agreed on the time forget less than a second in each.
    pub fn blame(&self, address: IpAddr, offence: Offence, now: Instant) {
        if self.terms.first.0.is_zero() || self.is_exempt(address) {
            return;
        }
        let (source, micros) = (Source::of(address), self.micros(now));
        let [of_source, of_network] = &self.offences;
        let is_late = |charge| matches!(charge, Charge::Late(_));
        if is_late(of_network.charge(source.network(), offence.weight(), micros)) {
            self.ban(Key::Network(source.network()), offence, now);
        }
        if is_late(of_source.charge(source, offence.weight(), micros)) {
            self.ban(Key::Source(source), offence, now);
        }
    }

    /// A connection was refused as its source had opened as many as it may.
    pub fn refused(&self, address: IpAddr, now: Instant) {
        if self.terms.first.0.is_zero() || self.is_exempt(address) {
            return;
        }
        let source = Source::of(address);
        if let Charge::Late(_) = self.refusals.charge(source, 1, self.micros(now)) {
            self.ban(Key::Source(source), Offence::Deaf, now);
        }
    }

    /// Another node has banned this source or network. Anything that is neither is nothing that a node bans.
    pub fn told(&self, of: IpNet, now: Instant) {
        let source = Source::of(of.addr());
        if self.terms.first.0.is_zero() || self.is_exempt(of.addr()) {
            return;
        }
        let micros = self.micros(now);
        let [of_source, of_network] = &self.offences;
        let (key, charge) = if of == source.net() {
            (Key::Source(source), of_source.charge(source, Offence::Told.weight(), micros))
        } else if of == source.network().net() {
            let weight = Offence::Told.weight() * OF_NETWORK;
            (Key::Network(source.network()), of_network.charge(source.network(), weight, micros))
        } else {
            return;
        };
        if let Charge::Late(_) = charge {
            self.ban(key, Offence::Told, now);
        }
    }

    /// Every ban from now on.
    pub fn news(&self) -> broadcast::Receiver<Ban> {
        self.news.subscribe()
    }

    /// Bans now, the longest first; `most` at most.
    pub fn list(&self, now: Instant, most: usize) -> Vec<Ban> {
        let mut all: Vec<Ban> = Vec::new();
        for shard in &self.bans {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let live = shard.iter().filter(|(_, sentence)| sentence.until > now);
            all.extend(live.map(|(key, sentence)| key.ban(sentence, now)));
        }
        all.sort_unstable_by_key(|ban| std::cmp::Reverse((ban.seconds, ban.network)));
        all.truncate(most);
        all
    }

    /// Bans since the start, by what they were for.
    pub fn banned(&self) -> [(Offence, u64); Offence::ALL.len()] {
        let mut counts = Offence::ALL.map(|offence| (offence, 0));
        for ((_, count), counter) in counts.iter_mut().zip(&self.banned) {
            *count = counter.load(Relaxed);
        }
        counts
    }

    /// Lets everyone of this network in again, and forgets what they did. Gives how many bans that ended.
    pub fn pardon(&self, of: IpNet) -> usize {
        let mut pardoned = 0;
        for shard in &self.bans {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let before = shard.len();
            shard.retain(|key, _| !of.contains(&key.net()));
            pardoned += before - shard.len();
        }
        self.held.fetch_sub(pardoned, Relaxed);
        pardoned
    }

    /// Bytes of all tables when they are full.
    pub fn memory(&self) -> usize {
        let rates: usize = self.offences.iter().chain([&self.refusals]).map(Rates::memory).sum();
        rates + MOST * 2 * size_of::<(Key, Sentence)>()
    }

    fn ban(&self, key: Key, offence: Offence, now: Instant) {
        let mut shard = self.shard(key);
        let (first, longest) = (self.terms.first.0, self.terms.longest.0);
        let length = match shard.get(&key) {
            Some(sentence) if sentence.until > now => return,
            // Good for as long as the longest ban is, it starts anew.
            Some(sentence) if sentence.until + longest > now => sentence.next,
            _ => first,
        };
        if shard.len() >= IN_SHARD && !shard.contains_key(&key) {
            let ends_first = shard.iter().min_by_key(|(_, sentence)| sentence.until).map(|(key, _)| *key);
            if let Some(ends_first) = ends_first {
                shard.remove(&ends_first);
                self.held.fetch_sub(1, Relaxed);
            }
        }
        let sentence = Sentence { until: now + length, next: (length * 2).min(longest.max(first)), offence };
        if shard.insert(key, sentence).is_none() {
            self.held.fetch_add(1, Relaxed);
        }
        drop(shard);
        let ban = key.ban(&sentence, now);
        let nth = self.banned.iter().map(|count| count.load(Relaxed)).sum::<u64>();
        if let Some(count) = self.banned.get(offence as usize) {
            count.fetch_add(1, Relaxed);
        }
        let minutes = now.saturating_duration_since(self.begun).as_secs() / 60;
        if nth < (minutes + 1) * LINES {
            tracing::warn!(network = %ban.network, offence = offence.name(), seconds = ban.seconds, "banned");
        }
        // Nobody need listen.
        let _ = self.news.send(ban);
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        self.exempt.iter().any(|trust| trust.includes(address))
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, HashMap<Key, Sentence>> {
        let at = usize::try_from(self.keys.hash_one(key) % SHARDS as u64).unwrap_or(0);
        #[allow(clippy::indexing_slicing, reason = "a remainder by the number of shards")]
        self.bans[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begun).as_micros()).unwrap_or(u64::MAX)
    }
}

impl Key {
    fn net(self) -> IpNet {
        match self {
            Self::Source(source) => source.net(),
            Self::Network(network) => network.net(),
        }
    }

    fn ban(self, sentence: &Sentence, now: Instant) -> Ban {
        let seconds = sentence.until.saturating_duration_since(now).as_millis().div_ceil(1000);
        Ban { network: self.net(), offence: sentence.offence, seconds: u64::try_from(seconds).unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(value: u64) -> NonZero<u64> {
        NonZero::new(value).unwrap()
    }

    fn offenders() -> (Offenders, Instant) {
        let span = |seconds| Span(Duration::from_secs(seconds));
        let terms = Terms { first: span(60), longest: span(900), connections: (some(10), some(20)) };
        let exempt = Trust { networks: vec!["127.0.0.0/8".parse().unwrap()] };
        let offenders = Offenders::new(terms, vec![exempt]);
        let begun = offenders.begun;
        (offenders, begun)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How often it takes until a ban.
    fn takes(offenders: &Offenders, who: &str, offence: Offence, now: Instant) -> Option<usize> {
        (1..20_000).find(|_| {
            offenders.blame(address(who), offence, now);
            offenders.is_banned(address(who), now)
        })
    }

    #[test]
    fn what_no_visitor_does_is_banned_for_a_while_and_then_for_longer() {
        let (offenders, begun) = offenders();
        let mut news = offenders.news();
        let who = "2001:db8:1:2::7";
        assert_eq!(takes(&offenders, who, Offence::Abuse, begun), Some(11));
        assert!(offenders.is_banned(address("2001:db8:1:2:ffff::1"), begun), "the same customer");
        assert!(!offenders.is_banned(address("2001:db8:1:3::7"), begun), "another");
        let ban = Ban { network: "2001:db8:1:2::/64".parse().unwrap(), offence: Offence::Abuse, seconds: 60 };
        assert_eq!((news.try_recv().unwrap(), offenders.list(begun, 10)), (ban, vec![ban]));

        let after = begun + Duration::from_secs(61);
        assert!(!offenders.is_banned(address(who), after));
        assert!(takes(&offenders, who, Offence::Abuse, after).is_some());
        assert_eq!(offenders.list(after, 10)[0].seconds, 120);
        let (mut now, mut last) = (after, 120);
        for _ in 0..5 {
            now += Duration::from_secs(last + 1);
            takes(&offenders, who, Offence::Abuse, now).unwrap();
            last = offenders.list(now, 10)[0].seconds;
        }
        assert_eq!(last, 900);
        // Good for long enough, it starts anew.
        now += Duration::from_secs(2000);
        takes(&offenders, who, Offence::Abuse, now).unwrap();
        assert_eq!(offenders.list(now, 10)[0].seconds, 60);
    }

    #[test]
    fn what_happens_to_thousands_now_and_then_adds_up_to_nothing() {
        let (offenders, begun) = offenders();
        let carrier = address("192.0.2.1");
        for second in 0..3600 {
            let now = begun + Duration::from_secs(second);
            (0..99).for_each(|_| offenders.blame(carrier, Offence::Stalled, now));
            assert!(!offenders.is_banned(carrier, now));
        }
        assert_eq!(takes(&offenders, "198.51.100.1", Offence::Stalled, begun), Some(10_001));
    }

    #[test]
    fn a_network_is_banned_for_many() {
        let (offenders, begun) = offenders();
        let mut blamed = 0;
        'all: for _ in 0..10 {
            for host in 0..=255 {
                offenders.blame(address(&format!("192.0.2.{host}")), Offence::Abuse, begun);
                blamed += 1;
                if offenders.is_banned(address("192.0.2.77"), begun) {
                    break 'all;
                }
            }
        }
        assert_eq!(blamed, 81);
        assert!(!offenders.is_banned(address("192.0.3.77"), begun));
        assert_eq!(offenders.list(begun, 10)[0].network, "192.0.2.0/24".parse().unwrap());
        assert_eq!(offenders.pardon("192.0.0.0/16".parse().unwrap()), 1);
        assert!(!offenders.is_banned(address("192.0.2.77"), begun) && offenders.held.load(Relaxed) == 0);
    }

    #[test]
    fn whoever_does_not_hear_that_it_is_refused_is_banned() {
        let (offenders, begun) = offenders();
        let deaf = address("192.0.2.1");
        for _ in 0..200 {
            offenders.refused(deaf, begun);
            assert!(!offenders.is_banned(deaf, begun));
        }
        offenders.refused(deaf, begun);
        assert!(offenders.is_banned(deaf, begun));
        assert_eq!(offenders.banned()[Offence::Deaf as usize], (Offence::Deaf, 1));
    }

    #[test]
    fn what_one_node_tells_is_most_of_what_is_needed() {
        let (offenders, begun) = offenders();
        for net in ["192.0.2.1/32", "198.51.100.0/24", "2001:db8:1:2::/64", "2001:db8:7::/48"] {
            let net: IpNet = net.parse().unwrap();
            offenders.told(net, begun);
            assert!(!offenders.is_banned(net.addr(), begun), "{net}");
            // Another one, a minute later.
            let later = begun + Duration::from_secs(59);
            offenders.told(net, later);
            assert!(offenders.is_banned(net.addr(), later), "{net}");
        }
        // No node bans a country, nor who is exempt.
        for net in ["10.0.0.0/8", "::/0", "127.0.0.1/32"] {
            let net: IpNet = net.parse().unwrap();
            (0..10).for_each(|_| offenders.told(net, begun));
            assert!(!offenders.is_banned(net.addr(), begun), "{net}");
        }
    }

    #[test]
    fn a_full_list_forgets_who_would_be_let_in_first() {
        let (offenders, begun) = offenders();
        let who = |at: usize| Key::Source(Source::of(IpAddr::from(u32::try_from(at).unwrap().to_be_bytes())));
        for at in 0..2 * MOST {
            offenders.ban(who(at), Offence::Abuse, begun + Duration::from_micros(at as u64));
        }
        let live = offenders.list(begun + Duration::from_secs(1), usize::MAX);
        assert_eq!((live.len(), offenders.held.load(Relaxed)), (MOST, MOST));
        let Key::Source(last) = who(2 * MOST - 1) else { panic!() };
        assert!(live.iter().any(|ban| ban.network == last.net()));
        assert!(offenders.memory() < 20 << 20, "{}", offenders.memory());
    }
}

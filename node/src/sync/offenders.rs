//! What nodes tell each other of who floods them, by way of the coordinator and among themselves. Whom another node has banned
//! counts here as a part of what it takes.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use difusor_proto::{NodeId, limits::MAX_OFFENDERS, peer::Banned, wire::Offender};
use ipnet::IpNet;
use tokio::sync::{
    broadcast::{Receiver, error::TryRecvError},
    mpsc,
};
use tokio_util::sync::CancellationToken;

use super::{HEARTBEAT, Sync};
use crate::admission::{
    door::Door,
    offenders::{Ban, Offence},
};

/// Who was banned since this was asked last; `None` if nobody was. What others told of is not told again: it would never
/// end. What is too much for one frame is told in the next.
pub(super) fn since(news: &mut Receiver<Ban>) -> Option<Vec<Offender>> {
    let mut banned = Vec::new();
    while banned.len() < MAX_OFFENDERS {
        match news.try_recv() {
            Ok(ban) if ban.offence == Offence::Told => {}
            Ok(Ban { network, seconds, .. }) => banned.push(Offender {
                address: network.addr(),
                prefix: network.prefix_len(),
                seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
            }),
            // The oldest were missed.
            Err(TryRecvError::Lagged(_)) => {}
            Err(_) => break,
        }
    }
    (!banned.is_empty()).then_some(banned)
}

/// How long the word of a node about an offender is one word, at least: longer than it takes until a word is forgotten
/// ([`Offence::Told`] by what is forgotten in a second), so that nobody bans elsewhere by saying it again.
const ONE_WORD: Duration = Duration::from_secs(90);

/// Words of one node that are heard in that time. Whoever says more is not heard, and nobody else for it.
const WORDS: usize = 1024;

/// What other nodes said lately: since some time, and in the time before that.
#[derive(Debug, Default)]
pub(crate) struct Words(Mutex<Spoken>);

#[derive(Debug, Default)]
struct Spoken {
    since: Option<Instant>,
    now: HashMap<NodeId, HashSet<IpNet>>,
    before: HashMap<NodeId, HashSet<IpNet>>,
}

impl Words {
    /// True if this was not said in the last while.
    fn is_new(&self, by: &NodeId, of: IpNet, now: Instant) -> bool {
        let mut spoken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.saturating_duration_since(*spoken.since.get_or_insert(now));
        if age >= ONE_WORD {
            let last = std::mem::take(&mut spoken.now);
            spoken.before = if age < 2 * ONE_WORD { last } else { HashMap::new() };
            spoken.since = Some(now);
        }
        if spoken.before.get(by).is_some_and(|said| said.contains(&of)) {
            return false;
        }
        let said = spoken.now.entry(by.clone()).or_default();
        said.len() < WORDS && said.insert(of)
    }

    /// Another node has banned them.
    pub(super) fn hear(&self, door: &Door, node: &NodeId, banned: &[Offender]) {
        self.hear_at(door, node, banned, Instant::now());
    }

    fn hear_at(&self, door: &Door, node: &NodeId, banned: &[Offender], now: Instant) {
        let Some(offenders) = door.offenders() else { return };
        for offender in banned.iter().take(MAX_OFFENDERS) {
            if let Ok(network) = IpNet::new(offender.address, offender.prefix)
                && self.is_new(node, network, now)
            {
                tracing::debug!(%node, %network, "told of an offender");
                offenders.told(network, now);
            }
        }
    }
}

impl Sync {
    /// Tells other nodes of who is banned here, and hears of whom they have banned. Who says so is known for certain where the
    /// coordinator hands it on; among nodes, one that lies can speak for others, so that counts while there is no coordinator.
    pub async fn mind_offenders(self: Arc<Self>, mut told: mpsc::Receiver<Banned>, cancel: CancellationToken) {
        let mut news = self.door.offenders().map(|offenders| offenders.news());
        let mut beat = tokio::time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(Banned { by, banned, .. }) = told.recv() => {
                    if !self.connected.load(Relaxed) {
                        self.words.hear(&self.door, &by, &banned);
                    }
                }
                _ = beat.tick() => {
                    if let Some(banned) = news.as_mut().and_then(since) {
                        self.peers.banned(banned);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{admission::budgets::BudgetsConfig, proxied::Trust};

    #[test]
    fn what_is_told_is_heard_and_not_told_again() {
        let [here, there] = [(); 2].map(|()| Door::new(&BudgetsConfig::default(), &Trust::default()).unwrap());
        let [mut news, mut theirs] = [&here, &there].map(|door| door.offenders().unwrap().news());
        let (who, now) = ("192.0.2.1".parse().unwrap(), Instant::now());
        assert_eq!(since(&mut news), None);
        while !here.is_banned(who, now) {
            here.blame(who, Offence::Abuse, now);
        }
        let told = since(&mut news).unwrap();
        assert_eq!(told, [Offender { address: who, prefix: 32, seconds: 60 }]);
        let node: NodeId = "node-1".parse().unwrap();
        let words = Words::default();
        // It comes from the coordinator, and from others.
        (0..5).for_each(|_| words.hear(&there, &node, &told));
        assert!(!there.is_banned(who, Instant::now()));
        // Two who say so are enough.
        words.hear(&there, &"node-2".parse().unwrap(), &told);
        assert!(there.is_banned(who, Instant::now()));
        assert_eq!(since(&mut theirs), None);
        // No node shuts out a country, or breaks anything.
        for (address, prefix) in [(who, 0), (who, 33), ("2001:db8::".parse().unwrap(), 255)] {
            (0..10).for_each(|_| Words::default().hear(&there, &node, &[Offender { address, prefix, seconds: 9 }]));
        }
        assert!(!there.is_banned("192.0.2.2".parse().unwrap(), Instant::now()));
    }

    #[test]
    fn nobody_bans_elsewhere_by_saying_it_again_and_again() {
        let door = Door::new(&BudgetsConfig::default(), &Trust::default()).unwrap();
        let (words, begun) = (Words::default(), Instant::now());
        let [one, other]: [NodeId; 2] = ["node-1", "node-2"].map(|name| name.parse().unwrap());
        let who = Offender { address: "192.0.2.1".parse().unwrap(), prefix: 32, seconds: 60 };
        for second in 0..3_600 {
            let now = begun + Duration::from_secs(second);
            words.hear_at(&door, &one, &[who], now);
            assert!(!door.is_banned(who.address, now), "after {second} s");
        }
        // Two who say so are enough.
        let last = begun + Duration::from_secs(7_200);
        words.hear_at(&door, &one, &[who], last);
        assert!(!door.is_banned(who.address, last));
        words.hear_at(&door, &other, &[who], last);
        assert!(door.is_banned(who.address, last));
    }

    #[test]
    fn whoever_says_very_much_is_not_heard_and_others_are() {
        let (words, begun) = (Words::default(), Instant::now());
        let [one, other]: [NodeId; 2] = ["node-1", "node-2"].map(|name| name.parse().unwrap());
        let net = |at: u32| IpNet::new(at.to_be_bytes().into(), 32).unwrap();
        let heard = |by: &NodeId, now| (0..5_000).filter(|at| words.is_new(by, net(*at), now)).count();
        assert_eq!((heard(&one, begun), heard(&other, begun), heard(&one, begun)), (WORDS, WORDS, 0));
        assert!(words.is_new(&one, net(9_999), begun + ONE_WORD) && !words.is_new(&one, net(0), begun + ONE_WORD));
        assert_eq!(heard(&one, begun + 4 * ONE_WORD), WORDS);
    }

    #[test]
    fn a_frame_holds_so_many() {
        let door = Door::new(&BudgetsConfig::default(), &Trust::default()).unwrap();
        let mut news = door.offenders().unwrap().news();
        let now = Instant::now();
        for at in 0..300_u32 {
            let who = (u32::from_be_bytes([10, 0, 0, 0]) + at * 256).to_be_bytes().into();
            (0..11).for_each(|_| door.blame(who, Offence::Abuse, now));
        }
        let told = [(); 3].map(|()| since(&mut news).map_or(0, |banned| banned.len()));
        assert_eq!(told, [MAX_OFFENDERS, 300 - MAX_OFFENDERS, 0]);
    }
}

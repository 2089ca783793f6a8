//! What nodes tell each other of who floods them, by way of the coordinator and among themselves. Whom another node has banned
//! counts here as a part of what it takes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
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

/// How long the word of a node about an offender is one word, by whichever way it comes: from the coordinator and from others.
const ONE_WORD: Duration = Duration::from_secs(10);

/// Words that are remembered: what all nodes may say in that time, and more.
const WORDS: usize = 1 << 14;

/// What other nodes said lately.
#[derive(Debug, Default)]
pub(crate) struct Words(Mutex<HashMap<(NodeId, IpNet), Instant>>);

impl Words {
    /// True if this was not said in the last while.
    fn is_new(&self, by: &NodeId, of: IpNet, now: Instant) -> bool {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() >= WORDS {
            words.retain(|_, said| now.saturating_duration_since(*said) < ONE_WORD);
        }
        let is_new = |said: &Instant| now.saturating_duration_since(*said) >= ONE_WORD;
        if !words.get(&(by.clone(), of)).is_none_or(is_new) || words.len() >= WORDS {
            return false;
        }
        words.insert((by.clone(), of), now);
        true
    }

    /// Another node has banned them.
    pub(super) fn hear(&self, door: &Door, node: &NodeId, banned: &[Offender]) {
        let Some(offenders) = door.offenders() else { return };
        let now = Instant::now();
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
    /// Tells other nodes of who is banned here, and hears of whom they have banned, without the coordinator.
    pub async fn mind_offenders(self: Arc<Self>, mut told: mpsc::Receiver<Banned>, cancel: CancellationToken) {
        let mut news = self.door.offenders().map(|offenders| offenders.news());
        let mut beat = tokio::time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(Banned { by, banned, .. }) = told.recv() => self.words.hear(&self.door, &by, &banned),
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
    fn what_one_node_says_is_one_word_for_a_while() {
        let (words, begun) = (Words::default(), Instant::now());
        let [one, other]: [NodeId; 2] = ["node-1", "node-2"].map(|name| name.parse().unwrap());
        let [who, whom]: [IpNet; 2] = ["192.0.2.1/32", "192.0.2.0/24"].map(|net| net.parse().unwrap());
        assert!(words.is_new(&one, who, begun) && words.is_new(&other, who, begun) && words.is_new(&one, whom, begun));
        assert!(!words.is_new(&one, who, begun + ONE_WORD - Duration::from_millis(1)));
        assert!(words.is_new(&one, who, begun + ONE_WORD));
        // Whoever says very much is not heard, and is forgotten.
        for at in 0..u32::try_from(WORDS).unwrap() {
            words.is_new(&one, IpNet::new(at.to_be_bytes().into(), 32).unwrap(), begun + ONE_WORD);
        }
        assert!(!words.is_new(&other, whom, begun + ONE_WORD) && words.0.lock().unwrap().len() <= WORDS);
        assert!(words.is_new(&other, whom, begun + 2 * ONE_WORD));
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

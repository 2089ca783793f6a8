//! What nodes tell each other of who floods them. Whom another node has banned counts here as a part of what it takes.

use std::time::Instant;

use difusor_proto::{NodeId, limits::MAX_OFFENDERS, wire::Offender};
use ipnet::IpNet;
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

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

/// Another node has banned them.
pub(super) fn hear(door: &Door, node: &NodeId, banned: &[Offender]) {
    let Some(offenders) = door.offenders() else { return };
    let now = Instant::now();
    for offender in banned.iter().take(MAX_OFFENDERS) {
        if let Ok(network) = IpNet::new(offender.address, offender.prefix) {
            tracing::debug!(%node, %network, "told of an offender");
            offenders.told(network, now);
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
        hear(&there, &node, &told);
        assert!(!there.is_banned(who, Instant::now()));
        hear(&there, &node, &told);
        assert!(there.is_banned(who, Instant::now()));
        assert_eq!(since(&mut theirs), None);
        // No node shuts out a country, or breaks anything.
        for (address, prefix) in [(who, 0), (who, 33), ("2001:db8::".parse().unwrap(), 255)] {
            (0..10).for_each(|_| hear(&there, &node, &[Offender { address, prefix, seconds: 9 }]));
        }
        assert!(!there.is_banned("192.0.2.2".parse().unwrap(), Instant::now()));
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

//! Who is let in when a connection comes: not who is banned, and no more of anyone than the budget of connections allows.
//!
//! Whoever accepts asks here before it spends anything, and says here what connections were found to do. Refusing costs
//! less than the system spent on the connection already.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use super::{
    budgets::{Budgets, BudgetsConfig, NothingError},
    offenders::{Offence, Offenders, Terms},
};
use crate::proxied::Trust;

/// Why someone is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwelcome {
    /// For what was done before.
    Banned,
    /// Its source, or the network of that, opens connections faster than it may.
    Hasty,
    /// What is served here is older than what others serve: another node is tried.
    Behind,
}

/// Shared by all threads. By default it is open to everyone, without limits.
#[derive(Debug, Clone, Default)]
pub struct Door {
    budgets: Option<Arc<Budgets>>,
    offenders: Option<Arc<Offenders>>,
    is_behind: Arc<AtomicBool>,
}

impl Door {
    /// With these limits. Those who speak for others are never banned.
    ///
    /// # Errors
    /// [`NothingError`] if a budget is of nothing.
    pub fn new(config: &BudgetsConfig, proxies: &Trust) -> Result<Self, NothingError> {
        let budgets = Budgets::new(config)?;
        let terms = Terms { first: config.ban, longest: config.longest_ban, connections: config.connection_rate()? };
        let offenders = Offenders::new(terms, vec![config.exempt.clone(), proxies.clone()]);
        Ok(Self { budgets: Some(Arc::new(budgets)), offenders: Some(Arc::new(offenders)), is_behind: Arc::default() })
    }

    /// What one source may ask for; `None` is as much as it likes.
    pub fn budgets(&self) -> Option<&Budgets> {
        self.budgets.as_deref()
    }

    /// Who is banned, and for what; `None` if nobody ever is.
    pub fn offenders(&self) -> Option<&Arc<Offenders>> {
        self.offenders.as_ref()
    }

    /// True if nothing that comes from there is looked at.
    pub fn is_banned(&self, address: IpAddr, now: Instant) -> bool {
        self.offenders.as_ref().is_some_and(|offenders| offenders.is_banned(address, now))
    }

    /// From now on nobody is let in but who is on this machine, or everyone again: whoever was shown a newer cut elsewhere must
    /// not be shown an older one here.
    pub fn turn_away(&self, is_behind: bool) {
        self.is_behind.store(is_behind, Relaxed);
    }

    /// True while nobody is let in.
    pub fn turns_away(&self) -> bool {
        self.is_behind.load(Relaxed)
    }

    /// Lets a connection in from an address that is known to be its own.
    ///
    /// # Errors
    /// [`Unwelcome`].
    pub fn enter(&self, address: IpAddr, now: Instant) -> Result<(), Unwelcome> {
        if self.is_banned(address, now) {
            return Err(Unwelcome::Banned);
        }
        if self.turns_away() && !address.to_canonical().is_loopback() {
            return Err(Unwelcome::Behind);
        }
        if self.budgets.as_ref().is_some_and(|budgets| budgets.connect(address, now).is_err()) {
            if let Some(offenders) = &self.offenders {
                offenders.refused(address, now);
            }
            return Err(Unwelcome::Hasty);
        }
        Ok(())
    }

    /// Remembers what a connection from there did.
    pub fn blame(&self, address: IpAddr, offence: Offence, now: Instant) {
        if let Some(offenders) = &self.offenders {
            offenders.blame(address, offence, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::budgets::RequestRate, *};

    #[test]
    fn the_door() {
        let connections = RequestRate { a_second: 1, at_once: 3 };
        let config = BudgetsConfig { connections, ..BudgetsConfig::default() };
        let proxies = Trust { networks: vec!["198.51.100.0/24".parse().unwrap()] };
        let door = Door::new(&config, &proxies).unwrap();
        let [one, other, proxy, here]: [IpAddr; 4] =
            ["192.0.2.1", "203.0.113.1", "198.51.100.1", "127.0.0.1"].map(|text| text.parse().unwrap());
        let now = Instant::now();
        let entered = (0..10).filter(|_| door.enter(one, now).is_ok()).count();
        assert_eq!((entered, door.enter(one, now)), (3, Err(Unwelcome::Hasty)));
        assert_eq!(door.enter(other, now), Ok(()));
        door.turn_away(true);
        assert_eq!((door.enter(other, now), door.enter(here, now)), (Err(Unwelcome::Behind), Ok(())));
        door.turn_away(false);
        assert_eq!(door.enter(other, now), Ok(()));
        assert!((0..100).all(|_| door.enter(here, now).is_ok()));
        // Deaf: thirty refusals and one more.
        (0..20).for_each(|_| assert!(!door.is_banned(one, now) && door.enter(one, now).is_err()));
        (0..100).for_each(|_| assert!(door.enter(one, now).is_err()));
        assert_eq!(door.enter(one, now), Err(Unwelcome::Banned));
        for (address, is_banned) in [(other, true), (proxy, false), (here, false)] {
            (0..100).for_each(|_| door.blame(address, Offence::Abuse, now));
            assert_eq!(door.is_banned(address, now), is_banned, "{address}");
        }
        assert_eq!(Door::default().enter(one, now), Ok(()));
    }
}

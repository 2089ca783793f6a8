//! How this node is, and whether visitors should be sent to it: pure, from what was seen and the time.
//!
//! Each thing that can be wrong ([`Reason`]) has a weight: the operator should look at it, or visitors should go elsewhere.
//! What is seen once is not believed, so that a moment is not a failure: each has a time for which it must last, and a time
//! for which it must be good again, which doubles with every relapse. Nobody is sick for being as old as all others.

pub mod monitor;
pub mod page;
pub mod probe;

use std::time::Duration;

use difusor_proto::peer::Condition;
use serde::{Deserialize, Serialize};

/// The longest that a node has to be well before it is believed, after many relapses.
const LONGEST: Duration = Duration::from_secs(120);

/// A node that was well for so long begins anew.
const FORGIVEN: Duration = Duration::from_secs(600);

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $text:literal $condition:ident after $after:literal good $good:literal,)*) => {
        /// What can be wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All, in the order of their bits.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What a node is that has it.
            pub fn condition(self) -> Condition {
                match self { $(Self::$name => Condition::$condition,)* }
            }

            /// For how long it has to be seen, and then not to be seen, before it is believed.
            fn times(self) -> (Duration, Duration) {
                let (after, good) = match self { $(Self::$name => ($after, $good),)* };
                (Duration::from_millis(after), Duration::from_millis(good))
            }
        }
    };
}

reasons! {
    /// There is no cut to be served.
    Empty "empty" Sick after 0 good 0,
    /// It ends.
    Ending "ending" Draining after 0 good 0,
    /// The operator drained it.
    Drained "drained" Draining after 0 good 0,
    /// It does not answer itself over its public address.
    Silent "silent" Sick after 0 good 3000,
    /// It answers itself with other bytes than the cut has.
    WrongBytes "wrong-bytes" Sick after 0 good 3000,
    /// A file of the cut is not given to visitors, since the disk has spoiled it.
    Withheld "withheld" Sick after 0 good 1000,
    /// The certificate is not valid: browsers refuse it.
    Certificate "certificate" Sick after 0 good 0,
    /// The certificate ends soon.
    CertificateEnds "certificate-ends" Degraded after 0 good 0,
    /// Nothing can be written.
    DiskBroken "disk-broken" Sick after 1000 good 5000,
    /// There is little room on the disk.
    DiskLow "disk-low" Degraded after 1000 good 5000,
    /// The others serve a newer cut.
    Behind "behind" Sick after 500 good 0,
    /// The clock is off by more than caches and certificates bear.
    Clock "clock" Sick after 1000 good 3000,
    /// The clock is off.
    ClockDrifts "clock-drifts" Degraded after 3000 good 3000,
    /// Its threads answer late.
    Late "late" Degraded after 2000 good 5000,
    /// It gives up downloads, or more.
    Overloaded "overloaded" Degraded after 2000 good 5000,
    /// The others cannot reach its public address.
    Deaf "deaf" Degraded after 0 good 0,
    /// No other node is there.
    Alone "alone" Degraded after 5000 good 1000,
    /// It is not in touch with the coordinator.
    NoCoordinator "no-coordinator" Degraded after 15000 good 0,
    /// It is not in the list of members, or neither the coordinator nor any other node takes it for one.
    NotAMember "not-a-member" Sick after 0 good 0,
    /// The coordinator says that it is no node; the others take it for one.
    Expelled "expelled" Degraded after 0 good 0,
    /// It has just begun, and has not heard yet what the others serve.
    Joining "joining" Sick after 0 good 0,
}

impl Reason {
    /// Its bit in what nodes tell each other.
    pub fn bit(self) -> u32 {
        1 << (self as u32)
    }

    /// Those of these bits that are known.
    pub fn of_bits(bits: u32) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |reason| bits & reason.bit() != 0)
    }
}

/// Whether a node should get visitors, and why not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ready`, `degraded`: it serves and somebody should look at it; `draining`, `sick`: visitors should go elsewhere.
    pub state: Condition,
    /// What is wrong.
    pub reasons: Vec<Reason>,
}

impl Health {
    /// Its reasons as bits.
    pub fn bits(&self) -> u32 {
        self.reasons.iter().fold(0, |bits, reason| bits | reason.bit())
    }

    /// True if visitors may be sent to it.
    pub fn is_fit(&self) -> bool {
        self.state.is_fit()
    }
}

/// What is remembered of one reason.
#[derive(Debug, Clone, Copy, Default)]
struct Track {
    /// Since when it has been seen without a break, or has not.
    since: Duration,
    seen: bool,
    /// True if it is believed.
    held: bool,
    /// How often it came back.
    relapses: u32,
    /// When it was let go last.
    ended: Option<Duration>,
}

/// What is believed, and since when.
#[derive(Debug)]
pub struct Judge {
    tracks: Vec<Track>,
}

impl Default for Judge {
    fn default() -> Self {
        Self { tracks: vec![Track::default(); Reason::ALL.len()] }
    }
}

impl Judge {
    /// What follows from what is seen now: bits of reasons. `now` is the time since some start.
    pub fn see(&mut self, seen: u32, now: Duration) -> Health {
        let mut health = Health::default();
        for (reason, track) in Reason::ALL.iter().zip(&mut self.tracks) {
            if track.see(*reason, seen & reason.bit() != 0, now) {
                health.state = health.state.max(reason.condition());
                health.reasons.push(*reason);
            }
        }
        health
    }
}

impl Track {
    fn see(&mut self, reason: Reason, seen: bool, now: Duration) -> bool {
        let (after, good) = reason.times();
        if seen != self.seen {
            (self.seen, self.since) = (seen, now);
        }
        let lasts = now.saturating_sub(self.since);
        if seen && !self.held && lasts >= after {
            self.held = true;
            let is_relapse = self.ended.is_some_and(|ended| now.saturating_sub(ended) < FORGIVEN);
            self.relapses = if is_relapse { self.relapses.saturating_add(1) } else { 0 };
        }
        let good = good.saturating_mul(1 << self.relapses.min(16)).min(LONGEST.max(good));
        if !seen && self.held && lasts >= good {
            self.held = false;
            self.ended = Some(now);
        }
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// What is believed after each step, of a reason that is seen or not.
    fn steps(judge: &mut Judge, reason: Reason, steps: &[(u64, bool)]) -> Vec<Condition> {
        let see = |(at, seen): &(u64, bool)| judge.see(if *seen { reason.bit() } else { 0 }, ms(*at)).state;
        steps.iter().map(see).collect()
    }

    #[test]
    fn a_moment_is_no_failure() {
        use Condition::{Ready, Sick};
        let mut judge = Judge::default();
        let seen = [(0, true), (900, true), (950, false), (2000, true), (2999, true), (3000, true)];
        assert_eq!(steps(&mut judge, Reason::Clock, &seen), [Ready, Ready, Ready, Ready, Ready, Sick]);
        let good = [(4000, false), (6000, false), (6500, true), (7000, false), (9999, false), (10_000, false)];
        assert_eq!(steps(&mut judge, Reason::Clock, &good), [Sick, Sick, Sick, Sick, Sick, Ready]);
    }

    #[test]
    fn relapses_take_longer_each_time_and_are_forgiven() {
        let mut judge = Judge::default();
        let mut now = 0;
        let mut recovery = |judge: &mut Judge, pause: u64| {
            now += pause;
            assert_eq!(steps(judge, Reason::WrongBytes, &[(now, true)]), [Condition::Sick]);
            let begun = now + 1;
            now = begun;
            while judge.see(0, ms(now)).state == Condition::Sick {
                now += 100;
            }
            now - begun
        };
        assert_eq!(recovery(&mut judge, 0), 3000);
        assert_eq!(recovery(&mut judge, 1000), 6000);
        assert_eq!(recovery(&mut judge, 1000), 12_000);
        for _ in 0..10 {
            recovery(&mut judge, 1000);
        }
        assert_eq!(recovery(&mut judge, 1000), 120_000);
        assert_eq!(recovery(&mut judge, 600_000), 3000);
    }

    #[test]
    fn the_worst_reason_decides_and_all_are_named() {
        let mut judge = Judge::default();
        let all = Reason::CertificateEnds.bit() | Reason::Ending.bit();
        let health = judge.see(all, ms(0));
        assert_eq!(health.state, Condition::Draining);
        assert_eq!(health.reasons, [Reason::Ending, Reason::CertificateEnds]);
        assert_eq!((health.bits(), health.is_fit()), (all, false));
        assert_eq!(Reason::of_bits(all | 1 << 31).collect::<Vec<_>>(), health.reasons);
        assert!(judge.see(Reason::CertificateEnds.bit(), ms(1)).is_fit());
        assert_eq!(
            serde_json::to_string(&health).unwrap(),
            r#"{"state":"draining","reasons":["ending","certificate-ends"]}"#
        );
    }

    #[test]
    fn names_are_those_of_the_documents() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
        assert!(Reason::ALL.len() <= 32);
    }
}

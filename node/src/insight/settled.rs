//! The verdict that stands, which does not change its mind every second.
//!
//! A new verdict has to be found three times in a row before it stands; an attack that is not found any more stands for twice
//! as long as a window, and demand for three times: what pauses for a moment is not over. Kinds of an attack come as it does,
//! and go when it does not show them for as long.

use std::collections::BTreeMap;

use super::{
    history::NOW,
    verdict::{Judgement, Kind, Verdict},
};

/// How long a verdict has to be found before it stands, seconds.
const COMES: f64 = 3.0;

/// How long an attack stands once it is not found any more: its last requests leave the window first.
const ATTACK_STAYS: f64 = 2.0 * NOW;

/// How long demand does: people go slower than they come.
const DEMAND_STAYS: f64 = 3.0 * NOW;

/// What stands.
#[derive(Debug, Default)]
pub struct Settled {
    stands: Judgement,
    /// How long an attack, and demand, has been found without a break, and how long ago it was last, seconds.
    attack: Signal,
    demand: Signal,
    /// The same of each kind.
    kinds: BTreeMap<Kind, Signal>,
}

/// Something that is found, or not.
#[derive(Debug, Default, Clone, Copy)]
struct Signal {
    found_for: f64,
    ago: f64,
    stands: bool,
}

impl Signal {
    fn hear(&mut self, is_found: bool, seconds: f64, stays: f64) {
        if is_found {
            self.found_for += seconds;
            self.ago = 0.0;
            self.stands |= self.found_for >= COMES;
        } else {
            self.found_for = 0.0;
            self.ago += seconds;
            self.stands &= self.ago < stays;
        }
    }
}

impl Settled {
    /// What stands after this was found, so many seconds after the last. True if it is another verdict, or attacks are made in
    /// other ways.
    pub fn hear(&mut self, found: Judgement, seconds: f64) -> bool {
        let is_demand = matches!(found.verdict, Verdict::Demand | Verdict::Mixed);
        self.attack.hear(found.verdict.is_attack(), seconds, ATTACK_STAYS);
        self.demand.hear(is_demand, seconds, DEMAND_STAYS);
        for kind in Kind::ALL {
            self.kinds.entry(kind).or_default().hear(found.kinds.contains(&kind), seconds, ATTACK_STAYS);
        }
        let verdict = match (self.attack.stands, self.demand.stands) {
            (false, false) => Verdict::Quiet,
            (false, true) => Verdict::Demand,
            (true, false) => Verdict::Attack,
            (true, true) => Verdict::Mixed,
        };
        let mut kinds: Vec<Kind> =
            self.kinds.iter().filter(|(_, signal)| signal.stands).map(|(kind, _)| *kind).collect();
        if !verdict.is_attack() {
            kinds.clear();
        } else if kinds.is_empty() {
            // An attack that shows a different side each second.
            kinds = if found.kinds.is_empty() { self.stands.kinds.clone() } else { found.kinds.clone() };
        }
        let has_changed = verdict != self.stands.verdict || kinds != self.stands.kinds;
        if found.verdict == verdict {
            self.stands = Judgement { kinds, ..found };
        } else if has_changed {
            self.stands = Judgement { verdict, kinds, confidence: 0.5, findings: self.reasons(verdict, found) };
        }
        has_changed
    }

    /// What stands.
    pub fn stands(&self) -> &Judgement {
        &self.stands
    }

    /// Of a verdict that stands without being what was just found: what was, if it says the same of attacks, or what was
    /// said before.
    fn reasons(&self, verdict: Verdict, found: Judgement) -> Vec<super::verdict::evidence::Finding> {
        if found.verdict.is_attack() == verdict.is_attack() { found.findings } else { self.stands.findings.clone() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(verdict: Verdict, kinds: &[Kind]) -> Judgement {
        Judgement { verdict, kinds: kinds.to_vec(), confidence: 0.9, findings: Vec::new() }
    }

    fn quiet() -> Judgement {
        of(Verdict::Quiet, &[])
    }

    #[test]
    fn a_moment_is_nothing() {
        let mut settled = Settled::default();
        for _ in 0..2 {
            assert!(!settled.hear(of(Verdict::Attack, &[Kind::Scan]), 1.0));
        }
        assert!(!settled.hear(quiet(), 1.0));
        assert_eq!(settled.stands().verdict, Verdict::Quiet);
    }

    #[test]
    fn an_attack_comes_soon_and_goes_late() {
        let mut settled = Settled::default();
        let changes = (0..5).filter(|_| settled.hear(of(Verdict::Attack, &[Kind::Scan]), 1.0)).count();
        assert_eq!((changes, settled.stands().verdict), (1, Verdict::Attack));
        assert_eq!(settled.stands().confidence, 0.9);
        let stood = (0..60).take_while(|_| !settled.hear(quiet(), 1.0)).count();
        assert_eq!(stood, 19);
        assert_eq!(settled.stands(), &quiet());
    }

    #[test]
    fn kinds_come_and_go_with_the_attack() {
        let mut settled = Settled::default();
        (0..4).for_each(|_| drop(settled.hear(of(Verdict::Attack, &[Kind::Scan]), 1.0)));
        let both = of(Verdict::Attack, &[Kind::OneSource, Kind::Scan]);
        assert!(!settled.hear(both.clone(), 1.0) && !settled.hear(both.clone(), 1.0));
        assert!(settled.hear(both, 1.0));
        assert_eq!(settled.stands().kinds, [Kind::OneSource, Kind::Scan]);
        // Demand that comes while it lasts makes it both.
        let mixed = of(Verdict::Mixed, &[Kind::OneSource, Kind::Scan]);
        (0..4).for_each(|_| drop(settled.hear(mixed.clone(), 1.0)));
        assert_eq!(settled.stands().verdict, Verdict::Mixed);
        (0..25).for_each(|_| drop(settled.hear(of(Verdict::Demand, &[]), 1.0)));
        assert_eq!((settled.stands().verdict, settled.stands().kinds.len()), (Verdict::Demand, 0));
    }

    proptest! {
        /// Whatever is found each second: in a minute it changes no more often than signals can.
        #[test]
        fn it_does_not_flap(found in prop::collection::vec((0_usize..4, 0_usize..8), 60)) {
            let mut settled = Settled::default();
            let mut verdicts = vec![Verdict::Quiet];
            for (verdict, kind) in found {
                let verdict = Verdict::ALL[verdict];
                let kinds = if verdict.is_attack() { vec![Kind::ALL[kind]] } else { Vec::new() };
                settled.hear(of(verdict, &kinds), 1.0);
                prop_assert_eq!(settled.stands().verdict.is_attack(), !settled.stands().kinds.is_empty());
                if verdicts.last() != Some(&settled.stands().verdict) {
                    verdicts.push(settled.stands().verdict);
                }
            }
            // Each signal rises at once and falls after twenty seconds at the soonest.
            prop_assert!(verdicts.len() <= 12, "{:?}", verdicts);
        }
    }
}

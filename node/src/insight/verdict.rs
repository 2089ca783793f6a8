//! What is going on: a pure function of what is now and what was usual.
//!
//! A crowd and a flood both come suddenly and in numbers. What tells them apart (Jung, Krishnamurthy and Rabinovich, "Flash
//! crowds and denial of service attacks", WWW 2002): in a crowd there are more people, but each asks as before, for what
//! the site has, and many were there before; in an attack a few ask far more than anyone else, or those who ask are new, and
//! what they ask for follows from nothing that the site does. Bhatia, Mohay, Schmidt and Tickle ("Modelling web-server flash
//! events", NCA 2012) describe crowds by volume, sources and what is asked for; those are what is looked at here, and one
//! more thing, which no other site knows: when it gave cause to come. That is the flip.
//!
//! So a lot of requests are never an attack by themselves, not even from one address: carriers have thousands of people
//! behind one (RFC 6888). What counts as evidence is in [`evidence`]: requests that are refused, connections that come to
//! nothing, bytes that are asked for and not taken.

pub mod evidence;

use serde::{Deserialize, Serialize};

use self::evidence::{Finding, attacks, crowd};
use super::view::{Baseline, View};

/// How an attack is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One source asks for far more than anyone else, and is refused.
    OneSource,
    /// Many sources of one network do together.
    OneNetwork,
    /// Many sources ask for one path.
    OnePath,
    /// Paths that no cut has, one after the other.
    Scan,
    /// Connections that are held without being used.
    SlowClients,
    /// Handshakes that fail, or that nothing follows.
    HandshakeFlood,
    /// What no client does that wants an answer.
    ProtocolAbuse,
    /// Bytes for their own sake.
    BulkDrain,
}

impl Kind {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::OneSource,
        Self::OneNetwork,
        Self::OnePath,
        Self::Scan,
        Self::SlowClients,
        Self::HandshakeFlood,
        Self::ProtocolAbuse,
        Self::BulkDrain,
    ];

    /// Its name, for labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneSource => "one_source",
            Self::OneNetwork => "one_network",
            Self::OnePath => "one_path",
            Self::Scan => "scan",
            Self::SlowClients => "slow_clients",
            Self::HandshakeFlood => "handshake_flood",
            Self::ProtocolAbuse => "protocol_abuse",
            Self::BulkDrain => "bulk_drain",
        }
    }
}

/// What is going on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As always.
    #[default]
    Quiet,
    /// More people than usual.
    Demand,
    /// Someone does harm, or tries to.
    Attack,
    /// Both at once.
    Mixed,
}

impl Verdict {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Quiet, Self::Demand, Self::Attack, Self::Mixed];

    /// Its name, for labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Demand => "demand",
            Self::Attack => "attack",
            Self::Mixed => "mixed",
        }
    }

    /// True if an attack is a part of it.
    pub fn is_attack(self) -> bool {
        matches!(self, Self::Attack | Self::Mixed)
    }
}

/// What was found, and why.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Judgement {
    /// What is going on.
    pub verdict: Verdict,
    /// How attacks are made, each once; none if there is no attack.
    pub kinds: Vec<Kind>,
    /// How far the evidence is beyond what it takes, from 0.5 (just so) to 1. No probability: nobody knows how often
    /// there are attacks.
    pub confidence: f64,
    /// The evidence, the strongest first.
    pub findings: Vec<Finding>,
}

/// Judges what is now by what was usual.
pub fn judge(now: &View, usual: &Baseline) -> Judgement {
    let mut attacks = attacks(now, usual);
    attacks.sort_by(|one, other| other.strength.total_cmp(&one.strength));
    let mut kinds: Vec<Kind> = attacks.iter().map(|attack| attack.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    // What attackers are given is not asked for by a crowd.
    let theirs = attacks.iter().map(|attack| attack.given).fold(0.0, f64::max);
    let crowd = crowd(now, usual, theirs);
    let verdict = match (kinds.is_empty(), crowd.is_demand) {
        (true, false) => Verdict::Quiet,
        (true, true) => Verdict::Demand,
        (false, false) => Verdict::Attack,
        (false, true) => Verdict::Mixed,
    };
    let strength = attacks.iter().map(|attack| attack.strength).fold(0.0, f64::max);
    let confidence = match verdict {
        Verdict::Quiet | Verdict::Demand => crowd.strength,
        Verdict::Attack => strength,
        Verdict::Mixed => strength.min(crowd.strength),
    };
    let mut findings: Vec<Finding> = attacks.into_iter().map(|attack| attack.finding).collect();
    if verdict.is_attack() {
        findings.push(Finding::Others(evidence::others(now)));
    }
    if verdict != Verdict::Attack {
        findings.extend(crowd.findings);
    }
    Judgement { verdict, kinds, confidence, findings }
}

#[cfg(test)]
mod tests;

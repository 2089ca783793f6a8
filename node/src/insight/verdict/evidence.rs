//! What speaks for an attack, and what for a crowd; every threshold with its reason.
//!
//! Shares are of the window and lower bounds where they come from sketches, so nobody is accused by an error of theirs.

use super::Kind;
use crate::insight::{
    history::{AFTER_FLIP, NOW},
    view::{Baseline, Part, View},
    window::Fate,
};

/// Requests a second below which nothing is worth a word: a thousandth of what the smallest node answers.
const FEW: f64 = 50.0;

/// Connections a second that come to nothing before that is worth a word: checks of balancers and monitors, phones that lose
/// their network and browsers that open connections ahead of need make some.
const FEW_ENDS: f64 = 10.0;

/// Bytes a second below which nobody drains a node: a twelfth of a line of 1 Gbit/s.
const FEW_BYTES: f64 = 10e6;

/// A part that stands out. In a crowd no one does but carriers (Jung et al., section 4: a crowd is many clients, each with a
/// usual rate); a fifth is what a single one must have to matter to the others.
const LARGE: f64 = 0.2;

/// Refused so often that it cannot be somebody who reads the answers: browsers and pollers wait when they are told to, and ask
/// for what pages name. A carrier that asks for twice its budget would come this far.
const REFUSED: f64 = 0.5;

/// Paths that no cut has: pages lead to nothing missing, and the few icons that browsers ask for by themselves are some
/// percent of what is asked for. And how many different ones make a scan rather than one broken link.
const UNKNOWN: f64 = 0.3;
const UNKNOWN_PATHS: f64 = 100.0;

/// How much more than usual is a surge. Between flips requests come and go by a factor of two or so; after a flip half as much
/// again is enough, since that is when demand is expected.
const SURGE: f64 = 3.0;
const SURGE_AFTER_FLIP: f64 = 1.5;

/// What is less than this is taken for this, requests a second and sources: twice nothing is nothing.
const FLOOR: f64 = 20.0;

/// Nobody knows what is usual before a minute has passed.
const YOUNG: f64 = 60.0;

/// One path has this part of all requests in no crowd of browsers: a page brings a dozen files with it.
const ONE_PATH: f64 = 0.8;

/// How often each source asks for it in the window. Answers may be cached for five seconds at least (`site.fresh.least`), so
/// browsers ask twice, and people who reload a few times more.
const REPEATED: f64 = 5.0;

/// In a crowd many were there before (Jung et al., section 4.2); below this nearly everyone is new.
const STRANGERS: f64 = 0.2;

/// Connections of all that were opened, or ended, which came to nothing. Half of all handshakes fail only if someone makes
/// them fail; slow ones are a few percent on bad days of mobile networks.
const FRUITLESS: f64 = 0.5;
const SLOW: f64 = 0.3;

/// Clients do not break the protocol by chance: one a second is somebody who tries.
const ABUSES: f64 = 1.0;
const MALFORMED: f64 = 0.2;

/// Of all bytes, what one source takes in a drain; and how much larger its answers are than those of others. Many people
/// behind one address ask for what all ask for.
const OF_BYTES: f64 = 0.3;
const LARGER: f64 = 10.0;

/// Of the bytes that were promised in a minute, what is taken at least: slow lines take what they are sent a little later,
/// and people who go on to the next page leave the rest of the one before.
const TAKEN: f64 = 0.3;

/// One thing that was found. What names someone is for the status alone; see [`crate::insight::words`].
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each line says what its numbers are")]
pub enum Finding {
    /// A source, or a network, sends this share of all requests, of which that share is refused.
    Few { part: Part, is_network: bool },
    /// One path has this share, and each source asks for it so often.
    OnePath { path: String, share: f64, times: f64, strangers: bool },
    /// One path that no cut has.
    NoSuchPath { path: String, share: f64 },
    /// So many a second ask for what no cut has; different ones in the window.
    Scan { share: f64, rate: f64, paths: f64 },
    /// Connections a second that were let go for asking or reading nothing.
    Slow { rate: f64, share: f64 },
    /// Handshakes a second that failed.
    Failed { rate: f64, share: f64 },
    /// Connections a second that were opened, and requests on each of them.
    Fruitless { rate: f64, requests: f64 },
    /// Connections a second that broke the protocol.
    Abuse { rate: f64 },
    /// Requests that are none.
    Malformed { share: f64 },
    /// A source that takes most bytes, in answers that are so much larger than those of others.
    Drain { part: Part, share: f64, times: f64 },
    /// Only this part of the bytes is taken.
    Untaken { taken: f64, rate: f64 },
    /// Who makes most of the trouble before anything is asked.
    Trouble { part: Part, is_network: bool },
    /// Of those who are not the few that were named, this part gets what it asks for; `None` if there are none.
    Others(Option<f64>),
    /// So many sources, so many requests a second, and how many times as many as usual.
    Crowd { sources: f64, rate: f64, times: f64 },
    /// The part that gets what the cut has, and how long ago it flipped.
    Pages { share: f64, since_flip: Option<f64> },
    /// Nobody has more than this share.
    Nobody { share: f64 },
    /// One address has this share and gets what it asks for.
    Carrier { share: f64 },
    /// So many sources, so many requests a second.
    Usual { sources: f64, rate: f64 },
    /// It is not known yet what is usual.
    Young,
}

/// Evidence of an attack.
#[derive(Debug, Clone, PartialEq)]
pub struct Attack {
    /// How it is made.
    pub kind: Kind,
    /// From 0.5 to 1.
    pub strength: f64,
    /// What was found.
    pub finding: Finding,
    /// Requests of the attackers that were given what they asked for.
    pub given: f64,
}

/// What speaks for a crowd, or for nothing new.
#[derive(Debug, Clone, PartialEq)]
pub struct Crowd {
    /// True if there are more people than usual.
    pub is_demand: bool,
    /// From 0.5 to 1.
    pub strength: f64,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// How far `value` is from `least` towards `most`, from 0.5 to 1, if so many were seen.
fn strength(value: f64, least: f64, most: f64, seen: f64) -> f64 {
    let far = ((value - least) / (most - least)).clamp(0.0, 1.0);
    // Of fifty, a share is known within a seventh; of thousands, well enough.
    0.5 + 0.5 * far * (seen / (seen + 50.0))
}

/// All that speaks for an attack.
pub(super) fn attacks(now: &View, usual: &Baseline) -> Vec<Attack> {
    let mut found = Vec::new();
    found.extend(few(now));
    found.extend(paths(now, usual));
    found.extend(connections(now, usual));
    found.extend(bytes(now, usual));
    found
}

/// True if this one matters to the others, and is refused.
fn is_refused(now: &View, part: &Part) -> bool {
    part.share >= LARGE && part.refused >= REFUSED && now.rate(part.count) >= FEW
}

/// Few that send much of what is refused. The network is named when no source of it makes up the most of it.
fn few(now: &View) -> Vec<Attack> {
    let attack = |kind, part: &Part| Attack {
        kind,
        strength: strength(part.share.min(part.refused), LARGE, 0.8, part.count),
        finding: Finding::Few { part: part.clone(), is_network: kind == Kind::OneNetwork },
        given: part.count * (1.0 - part.refused),
    };
    let sources: Vec<&Part> = now.top_sources.iter().filter(|part| is_refused(now, part)).collect();
    let mut found: Vec<Attack> = sources.iter().map(|part| attack(Kind::OneSource, part)).collect();
    let one = sources.first().map_or(0.0, |part| part.count);
    let network = now.top_networks.iter().find(|part| is_refused(now, part) && one < part.count * 0.5);
    if let Some(network) = network {
        found.retain(|attack| attack.kind != Kind::OneSource);
        found.push(attack(Kind::OneNetwork, network));
    }
    found
}

/// What is asked for: what no cut has, or one thing again and again.
fn paths(now: &View, usual: &Baseline) -> Vec<Attack> {
    let (requests, unknown) = (now.requests(), now.fate(Fate::Unknown));
    let share = if requests > 0.0 { unknown / requests } else { 0.0 };
    let top = now.top_paths.first();
    let no_path = top.filter(|path| path.refused >= 0.9 && path.share >= UNKNOWN && now.rate(path.count) >= FEW);
    let mut found = Vec::new();
    if let Some(path) = no_path {
        found.push(Attack {
            kind: Kind::OnePath,
            strength: strength(path.share, UNKNOWN, 0.9, path.count),
            finding: Finding::NoSuchPath { path: path.who.clone(), share: path.share },
            given: 0.0,
        });
    }
    let scanned = unknown - no_path.map_or(0.0, |path| path.count);
    if share >= UNKNOWN.max(SURGE * usual.levels.unknown)
        && now.paths >= UNKNOWN_PATHS
        && now.rate(scanned) >= FEW / 2.0
        && scanned >= 0.5 * unknown
    {
        found.push(Attack {
            kind: Kind::Scan,
            strength: strength(share, UNKNOWN, 0.9, unknown),
            finding: Finding::Scan { share, rate: now.rate(unknown), paths: now.paths },
            given: 0.0,
        });
    }
    let Some(path) = top.filter(|path| path.share >= ONE_PATH && now.rate(path.count) >= FEW) else { return found };
    // Those whom many stand behind ask often, too: they are not counted with the others.
    let (few, theirs) = large(now);
    let times = (path.count - theirs).max(0.0) / (now.sources - few).max(1.0);
    let strangers = now.returning.is_some_and(|returning| returning < STRANGERS);
    let is_after_flip = now.since_flip.is_some_and(|since| since <= AFTER_FLIP);
    let is_surge = is_known(usual) && now.rate(now.requests()) >= SURGE * usual.levels.requests.max(FLOOR);
    let untaken = now.taken.is_some_and(|taken| taken < TAKEN);
    let is_repeated = times >= REPEATED && now.sources - few >= REPEATED && path.refused < 0.9;
    if is_surge && (is_repeated || (strangers && !is_after_flip && untaken)) {
        found.push(Attack {
            kind: Kind::OnePath,
            strength: strength(times, REPEATED * 0.8, 4.0 * REPEATED, path.count),
            finding: Finding::OnePath { path: path.who.clone(), share: path.share, times, strangers },
            given: path.count * (1.0 - path.refused),
        });
    }
    found
}

/// Connections that come to nothing.
fn connections(now: &View, usual: &Baseline) -> Vec<Attack> {
    let ends = &now.ends;
    let count = |n: u64| n as f64;
    let attack = |kind, strength, finding| Attack { kind, strength, finding, given: 0.0 };
    let mut found = Vec::new();

    let slow = count(ends.cut_off + ends.overdue) + now.fate(Fate::Slow);
    let share = slow / count(ends.closed.max(ends.cut_off + ends.overdue)).max(1.0);
    if now.rate(slow) >= FEW_ENDS && share >= SLOW {
        let finding = Finding::Slow { rate: now.rate(slow), share: share.min(1.0) };
        found.push(attack(Kind::SlowClients, strength(share, SLOW, 0.9, slow), finding));
    }
    let failed = count(ends.failed);
    let share = failed / (failed + count(ends.handshakes)).max(1.0);
    if now.rate(failed) >= FEW_ENDS && share >= FRUITLESS {
        let finding = Finding::Failed { rate: now.rate(failed), share };
        found.push(attack(Kind::HandshakeFlood, strength(share, FRUITLESS, 1.0, failed), finding));
    }
    // Whoever makes a connection asks for something; balancers that only look make few of them.
    let (opened, shaken) = (count(ends.opened), count(ends.handshakes));
    let requests = now.requests() / shaken.max(1.0);
    let is_surge = now.rate(opened) >= FEW.max(SURGE * usual.levels.opened);
    if is_surge && shaken >= FRUITLESS * opened && requests < FRUITLESS {
        let finding = Finding::Fruitless { rate: now.rate(opened), requests };
        found.push(attack(Kind::HandshakeFlood, strength(1.0 - requests, FRUITLESS, 1.0, opened), finding));
    }
    let abusive = count(ends.abusive);
    if now.rate(abusive) >= ABUSES {
        let finding = Finding::Abuse { rate: now.rate(abusive) };
        found.push(attack(Kind::ProtocolAbuse, strength(now.rate(abusive), 0.0, 10.0 * ABUSES, abusive), finding));
    }
    let malformed = now.fate(Fate::Malformed);
    let share = malformed / now.requests().max(1.0);
    if now.rate(malformed) >= FEW_ENDS && share >= MALFORMED {
        let finding = Finding::Malformed { share };
        found.push(attack(Kind::ProtocolAbuse, strength(share, MALFORMED, 0.9, malformed), finding));
    }
    // Who it is stands behind what it is.
    let by = now.trouble_source.as_ref().filter(|part| part.share >= FRUITLESS).map(|part| (part, false));
    let by = by.or(now.trouble_network.as_ref().filter(|part| part.share >= FRUITLESS).map(|part| (part, true)));
    if let (Some(first), Some((part, is_network))) = (found.first(), by) {
        let finding = Finding::Trouble { part: part.clone(), is_network };
        found.push(Attack { finding, strength: 0.5, ..first.clone() });
    }
    found
}

/// Bytes that are asked for, for their own sake.
fn bytes(now: &View, usual: &Baseline) -> Vec<Attack> {
    let promised = now.sums.promised as f64;
    let mut found = Vec::new();
    if now.rate(promised) < FEW_BYTES {
        return found;
    }
    if let Some(part) = &now.largest {
        let others = (promised - part.bytes).max(1.0) / (now.requests() - part.count).max(1.0);
        let share = part.bytes / promised;
        let times = part.bytes / part.count.max(1.0) / others;
        let is_surge = now.rate(promised) >= SURGE * usual.levels.promised;
        // Without others there is nobody to compare with, or to keep from anything.
        let has_others = now.sources >= REPEATED;
        if share >= OF_BYTES && times >= LARGER && has_others && (is_surge || !is_known(usual)) {
            found.push(Attack {
                kind: Kind::BulkDrain,
                strength: strength(share, OF_BYTES, 0.9, part.count),
                finding: Finding::Drain { part: part.clone(), share: share.min(1.0), times },
                given: part.count,
            });
        }
    }
    if let Some(taken) = now.taken.filter(|taken| *taken < TAKEN) {
        found.push(Attack {
            kind: Kind::BulkDrain,
            strength: strength(1.0 - taken, 1.0 - TAKEN, 1.0, now.requests()),
            finding: Finding::Untaken { taken, rate: now.rate(promised) },
            given: now.good(),
        });
    }
    found
}

fn is_known(usual: &Baseline) -> bool {
    usual.seconds >= YOUNG
}

/// How many stand out, and how much they ask for.
fn large(now: &View) -> (f64, f64) {
    let large = now.top_sources.iter().filter(|part| part.share >= LARGE / 10.0);
    large.fold((0.0, 0.0), |(few, sum), part| (few + 1.0, sum + part.count))
}

/// What those get who are not of the few that stand out and are refused.
pub(super) fn others(now: &View) -> Option<f64> {
    let source = now.top_sources.iter().filter(|part| is_refused(now, part));
    let sources =
        source.fold((0.0, 0.0), |(all, refused), part| (all + part.count, refused + part.count * part.refused));
    let network = now.top_networks.iter().find(|part| is_refused(now, part));
    let network = network.map_or((0.0, 0.0), |part| (part.count, part.count * part.refused));
    let (few, refused) = if network.0 > sources.0 { network } else { sources };
    let (all, refused) = (now.requests() - few, (now.refused() - refused).max(0.0));
    // What is left of the few by the error of a sketch is no one else.
    (all >= NOW && all >= 0.01 * now.requests()).then(|| (1.0 - refused / all).clamp(0.0, 1.0))
}

/// Whether more people than usual come for what there is, beside `theirs`, which attackers were given.
pub(super) fn crowd(now: &View, usual: &Baseline, theirs: f64) -> Crowd {
    let good = (now.good() - theirs).max(0.0);
    let rate = now.rate(good);
    let since_flip = now.since_flip.filter(|since| *since <= 2.0 * AFTER_FLIP);
    let surge = if now.since_flip.is_some_and(|since| since <= AFTER_FLIP) { SURGE_AFTER_FLIP } else { SURGE };
    let times = rate / usual.levels.good.max(FLOOR);
    let more_sources = now.sources / usual.levels.sources.max(FLOOR);
    let share = now.good() / now.requests().max(1.0);
    let is_demand = is_known(usual) && rate >= FEW && times >= surge;
    let mut findings = Vec::new();
    if is_demand {
        findings.push(Finding::Crowd { sources: now.sources, rate, times });
        findings.push(Finding::Pages { share, since_flip });
    } else if is_known(usual) {
        findings.push(Finding::Usual { sources: now.sources, rate: now.rate(now.requests()) });
    } else {
        findings.push(Finding::Usual { sources: now.sources, rate: now.rate(now.requests()) });
        findings.push(Finding::Young);
    }
    match now.top_sources.first().filter(|_| now.requests() >= FEW) {
        Some(part) if part.share >= LARGE && part.refused < REFUSED => {
            findings.push(Finding::Carrier { share: part.share });
        }
        Some(part) if is_demand && part.share < LARGE => findings.push(Finding::Nobody { share: part.share }),
        _ => {}
    }
    let strength = if is_demand {
        strength(times.max(more_sources), surge, 3.0 * surge, good)
    } else {
        // Sure once it is known what is usual.
        0.5 + 0.5 * (usual.seconds / (10.0 * YOUNG)).min(1.0)
    };
    Crowd { is_demand, strength, findings }
}

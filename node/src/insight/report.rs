//! What is found, as the status and the metrics show it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    verdict::{Judgement, Kind, Verdict},
    view::{Baseline, Part, View},
    window::Fate,
    words::{Names, reasons, words},
};

/// A share of requests that makes one worth being listed.
const LISTED: f64 = 0.01;

/// What was found at the last reading, about a second ago. For the operator: it names those who send much that is refused.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What is going on.
    pub verdict: Verdict,
    /// How attacks are made, if there is one.
    pub kinds: Vec<Kind>,
    /// How far the evidence is beyond what it takes, from 0.5 to 1; 0 before the first reading.
    pub confidence: f64,
    /// All of it in one sentence.
    pub words: String,
    /// The reasons, one by one.
    pub reasons: Vec<String>,
    /// Since when it is so, Unix milliseconds.
    pub since_ms: u64,
    /// What it follows from.
    pub estimates: Estimates,
    /// Sources and networks that send more than one in a hundred requests, most of which are refused, or that make most
    /// of the trouble before they ask anything.
    pub offenders: Vec<Offender>,
    /// Files that are asked for most.
    pub paths: Vec<Asked>,
}

/// Numbers of the last ten seconds, unless they say otherwise. Shares are from 0 to 1.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimates {
    /// Different sources, within some 1.6 %.
    pub sources: f64,
    /// Different sources in the last minute.
    pub sources_minute: f64,
    /// Of the sources, the part that was here in the ten minutes before.
    pub returning: Option<f64>,
    /// Requests a second.
    pub requests: f64,
    /// The same as it is usual, of the last ten minutes.
    pub requests_usual: f64,
    /// What was learnt from for that, seconds.
    pub usual_seconds: f64,
    /// Connections opened a second.
    pub connections: f64,
    /// Requests on each of them.
    pub requests_each: f64,
    /// What became of requests, as shares of all.
    pub fates: Vec<(String, f64)>,
    /// The part that said what it has.
    pub conditional: f64,
    /// Of the bytes promised in the last minute, the part that was handed to connections.
    pub taken: Option<f64>,
    /// The part of the requests of the last minute that came within a minute of a flip.
    pub after_flip: f64,
    /// How evenly requests are spread over sources: 0 is one, 1 is all alike.
    pub spread_sources: f64,
    /// The same over paths.
    pub spread_paths: f64,
    /// What the first source, network and path have of all requests, at least.
    pub top_source: f64,
    /// The first network.
    pub top_network: f64,
    /// The first path.
    pub top_path: f64,
    /// Handshakes a second that failed or took too long.
    pub handshakes_failed: f64,
    /// Connections a second that were let go for asking or reading nothing.
    pub cut_off: f64,
    /// Connections a second that broke the protocol.
    pub abusive: f64,
    /// Connections a second that there was no place for.
    pub turned_away: f64,
}

/// One who sends much that is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offender {
    /// An address, an IPv6 /64, or a network (/24, /48).
    pub who: String,
    /// Of all requests; of all trouble, if it is `before_requests`.
    pub share: f64,
    /// Of its own requests.
    pub refused: f64,
    /// True if it is for connections that came to nothing.
    pub before_requests: bool,
}

/// One path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Its beginning.
    pub path: String,
    /// Of all requests.
    pub share: f64,
}

impl Report {
    /// Of what stands, and what is now.
    pub fn of(stands: &Judgement, now: &View, usual: &Baseline, since_ms: u64) -> Self {
        let is_offender = |part: &&Part| part.share >= LISTED && part.refused >= 0.5;
        let offender = |part: &Part, before_requests| Offender {
            who: part.who.clone(),
            share: part.share,
            refused: part.refused,
            before_requests,
        };
        let refused = now.top_sources.iter().chain(&now.top_networks).filter(is_offender);
        let trouble = now.trouble_source.iter().chain(&now.trouble_network).filter(|part| part.share >= 0.5);
        let trouble = trouble.filter(|part| now.rate(part.count) >= 1.0);
        let files = now.top_paths.iter().filter(|path| path.share >= LISTED && path.refused < 0.5);
        Self {
            verdict: stands.verdict,
            kinds: stands.kinds.clone(),
            confidence: stands.confidence,
            words: words(stands, Names::Shown),
            reasons: reasons(stands, Names::Shown),
            since_ms,
            estimates: Estimates::of(now, usual),
            offenders: refused
                .map(|part| offender(part, false))
                .chain(trouble.map(|part| offender(part, true)))
                .collect(),
            paths: files.map(|path| Asked { path: path.who.clone(), share: path.share }).collect(),
        }
    }

    /// How long it has been so, at Unix milliseconds.
    pub fn stands_for(&self, now_ms: u64) -> Duration {
        Duration::from_millis(now_ms.saturating_sub(self.since_ms))
    }
}

impl Estimates {
    fn of(now: &View, usual: &Baseline) -> Self {
        let requests = now.requests().max(1.0);
        let top = |parts: &[Part]| parts.first().map_or(0.0, |part| part.share);
        let rate = |count: u64| now.rate(count as f64);
        Self {
            sources: now.sources.round(),
            sources_minute: now.sources_minute.round(),
            returning: now.returning,
            requests: now.rate(now.requests()),
            requests_usual: usual.levels.requests,
            usual_seconds: usual.seconds,
            connections: rate(now.ends.opened),
            requests_each: now.requests() / (now.ends.opened.max(1) as f64),
            fates: Fate::ALL.iter().map(|fate| (fate.name().to_owned(), now.fate(*fate) / requests)).collect(),
            conditional: now.sums.conditional as f64 / requests,
            taken: now.taken,
            after_flip: now.after_flip,
            spread_sources: now.spread_sources,
            spread_paths: now.spread_paths,
            top_source: top(&now.top_sources),
            top_network: top(&now.top_networks),
            top_path: top(&now.top_paths),
            handshakes_failed: rate(now.ends.failed + now.ends.overdue),
            cut_off: rate(now.ends.cut_off),
            abusive: rate(now.ends.abusive),
            turned_away: rate(now.ends.turned_away),
        }
    }
}

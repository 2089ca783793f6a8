//! What the node makes of those who ask: the verdict as a state, and the estimates behind it. No addresses, no paths.

use std::fmt;

use super::Page;
use crate::insight::{
    report::Report,
    verdict::{Kind, Verdict},
};

pub(super) fn encode(page: &mut Page<'_>, report: &Report) -> fmt::Result {
    let numbers = &report.estimates;
    page.gauges(
        "difusor_verdict",
        "1 for what is going on: as always, more people than usual, an attack, or both",
        Verdict::ALL.map(|verdict| ([("verdict", verdict.name())], f64::from(u8::from(verdict == report.verdict)))),
    )?;
    page.gauges(
        "difusor_attack",
        "1 for each way in which an attack is made while there is one",
        Kind::ALL.map(|kind| ([("kind", kind.name())], f64::from(u8::from(report.kinds.contains(&kind))))),
    )?;
    let help = "How far the evidence is beyond what it takes, from 0.5 to 1";
    page.gauge("difusor_verdict_confidence", None, help, report.confidence)?;
    page.gauges(
        "difusor_sources",
        "Different sources (IPv4 addresses, IPv6 /64), within two percent",
        [([("window", "10s")], numbers.sources), ([("window", "60s")], numbers.sources_minute)],
    )?;
    page.gauge("difusor_requests_usual", None, "Requests a second, of the last ten minutes", numbers.requests_usual)?;
    page.gauges(
        "difusor_requests_share",
        "What became of the requests of the last ten seconds",
        numbers.fates.iter().map(|(fate, share)| ([("fate", fate.as_str())], *share)),
    )?;
    page.gauges(
        "difusor_top_share",
        "What the one that comes most often has of the requests of the last ten seconds",
        [
            ([("of", "source")], numbers.top_source),
            ([("of", "network")], numbers.top_network),
            ([("of", "path")], numbers.top_path),
        ],
    )?;
    page.gauges(
        "difusor_spread",
        "How evenly requests are spread: 0 if all are of one, 1 if none comes more often than another",
        [([("over", "sources")], numbers.spread_sources), ([("over", "paths")], numbers.spread_paths)],
    )?;
    let help = "The part of the requests of the last minute that came within a minute of a flip";
    page.gauge("difusor_after_flip_share", None, help, numbers.after_flip)?;
    let help = "The part of the requests that said what they have";
    page.gauge("difusor_conditional_share", None, help, numbers.conditional)?;
    if let Some(taken) = numbers.taken {
        let help = "Of the bytes promised in the last minute, the part that connections were handed";
        page.gauge("difusor_taken_share", None, help, taken)?;
    }
    if let Some(returning) = numbers.returning {
        let help = "Of the sources, the part that was here in the ten minutes before";
        page.gauge("difusor_returning_share", None, help, returning)?;
    }
    Ok(())
}

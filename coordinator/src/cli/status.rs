//! `status`: the cut that is served, every node, and what is wrong.

use std::{fmt::Write as _, time::Duration};

use anyhow::Context as _;
use difusor_proto::CutKey;

use crate::{
    client::Client,
    fleet::{CutView, Fleet, NodeView, Seen},
};

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);

/// Goes to the top left, and clears the screen from there (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[J";

pub(super) async fn run(client: &Client, json: bool, watch: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(&client.status().await?).context("printing")?);
        return Ok(());
    }
    print!("{}", text(&client.status().await?)?);
    if !watch {
        return Ok(());
    }
    loop {
        tokio::time::sleep(LOOK).await;
        // A coordinator that is started anew is waited for.
        let shown = match client.status().await {
            Ok(fleet) => text(&fleet)?,
            Err(error) => format!("{error}\n"),
        };
        print!("{CLEAR}{shown}");
    }
}

/// What a node is, in a word or some.
fn health(seen: &NodeView) -> String {
    let own = match &seen.health {
        _ if !seen.connected => "?".to_owned(),
        None => "-".to_owned(),
        Some(health) if health.reasons.is_empty() => health.condition.name().to_owned(),
        Some(health) => format!("{}: {}", health.condition.name(), health.reasons.join(", ")),
    };
    if seen.drained && !own.contains("drained") { format!("{own} (to be drained)") } else { own }
}

/// When the nodes were seen to serve the cut. Nothing before its flip.
fn flip_seen(cut: &CutView) -> anyhow::Result<String> {
    let mut text = String::new();
    let Some(instant) = cut.flip_at_us else { return Ok(text) };
    let all: Vec<Seen> = cut.nodes.values().filter_map(|progress| progress.seen).collect();
    let milliseconds = |us: u64| us as f64 / 1000.0;
    let at = jiff::Timestamp::from_microsecond(i64::try_from(instant)?)?;
    write!(
        text,
        "flip of {} at {at:.3}: seen from outside on {} of {} nodes",
        cut.cut.seq,
        all.len(),
        cut.nodes.len()
    )?;
    if let (Some(skew), Some(blur)) = (cut.seen_skew_us, all.iter().map(|seen| seen.blur_us).max()) {
        write!(text, ", {:.1} ms apart (each ± {:.1} ms)", milliseconds(skew), milliseconds(blur))?;
    }
    if let Some(skew) = cut.skew_us {
        write!(text, "; by their own word {:.1} ms apart", milliseconds(skew))?;
    }
    text.push('\n');
    for (node, why) in cut.nodes.iter().filter_map(|(node, progress)| Some((node, progress.unseen.as_ref()?))) {
        writeln!(text, "  {node} was not seen: {why}")?;
    }
    Ok(text)
}

fn text(fleet: &Fleet) -> anyhow::Result<String> {
    let name = |cut: Option<CutKey>| cut.map_or("-".into(), |cut| format!("{} ({})", cut.seq, cut.label));
    let mut text = String::new();
    writeln!(text, "serving {}   rolling out {}", name(fleet.current), name(fleet.target))?;
    writeln!(
        text,
        "{:<16} {:<14} {:<5} {:<22} {:<22} {:>8} {:>9}  health",
        "node", "zone", "up", "serves", "staged", "rtt ms", "rss MiB"
    )?;
    for (node, seen) in &fleet.nodes {
        let report = seen.report.clone().unwrap_or_default();
        let up = if seen.connected { "yes" } else { "NO" };
        let (rtt, rss) = (report.rtt_us / 1000, report.rss >> 20);
        let (serves, staged) = (name(seen.serves), name(seen.staged));
        let health = health(seen);
        writeln!(text, "{node:<16} {:<14} {up:<5} {serves:<22} {staged:<22} {rtt:>8} {rss:>9}  {health}", seen.zone)?;
    }
    for (node, seen) in fleet.nodes.iter().filter(|(_, seen)| seen.connected) {
        for (other, why) in seen.health.iter().flat_map(|health| &health.avoids) {
            writeln!(text, "{node} sends nobody to {other}: {why}")?;
        }
    }
    if let Some(flip) = fleet.current.and_then(|current| fleet.cuts.iter().rev().find(|cut| cut.cut == current)) {
        text += &flip_seen(flip)?;
    }
    for seen in &fleet.replicas {
        let since = jiff::Timestamp::from_millisecond(i64::try_from(seen.since_ms)?)?;
        let missing = match seen.missing {
            0 => "complete".to_owned(),
            packs => format!("{packs} MISSING ({} MiB)", seen.missing_bytes >> 20),
        };
        writeln!(
            text,
            "replica {}: {} packs held ({} MiB), {missing}, since {since:.0}",
            seen.to,
            seen.held,
            seen.bytes >> 20
        )?;
        if let Some(error) = &seen.last_error {
            writeln!(text, "  last attempt: {error}")?;
        }
    }
    for (reason, count) in &fleet.refused {
        writeln!(text, "refused {reason}: {count}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use difusor_proto::Digest;

    use super::*;
    use crate::fleet::Progress;

    #[test]
    fn a_flip_as_it_was_seen_is_one_line_and_one_for_each_that_was_not() {
        let cut = CutKey { seq: 7, label: "20240602_2035".parse().unwrap(), root: Digest::of(b"") };
        let mut view = CutView {
            cut,
            package_bytes: 0,
            plain_bytes: 0,
            entries: 0,
            received_us: 0,
            ingest_us: 0,
            durable_us: None,
            flip_at_us: None,
            skew_us: None,
            seen_skew_us: None,
            nodes: Default::default(),
        };
        assert_eq!(flip_seen(&view).unwrap(), "", "it has not flipped");
        let instant = 1_717_372_800_123_000;
        view.flip_at_us = Some(instant);
        view.skew_us = Some(400);
        let mut fleet = Fleet { current: Some(cut), ..Fleet::default() };
        fleet.begin(view);
        for (node, late) in [("a", 500), ("b", 1_800)] {
            fleet.seen(&node.parse().unwrap(), &cut, Seen { at_us: instant + late, blur_us: 2_500 });
        }
        let unseen = Progress { unseen: Some("no answer from 192.0.2.1:443".into()), ..Progress::default() };
        fleet.cuts[0].nodes.insert("c".parse().unwrap(), unseen);
        let said = text(&fleet).unwrap();
        let line = "flip of 7 at 2024-06-03T00:00:00.123Z: seen from outside on 2 of 3 nodes, 1.3 ms apart (each ± 2.5 ms); by \
                    their own word 0.4 ms apart\n  c was not seen: no answer from 192.0.2.1:443\n";
        assert!(said.contains(line), "{said}");
        // A node that comes later than that has not flipped with the others.
        fleet.seen(&"c".parse().unwrap(), &cut, Seen { at_us: instant + 5_000_000, blur_us: 2_500 });
        assert_eq!(fleet.cuts[0].seen_skew_us, Some(1_300));
    }
}

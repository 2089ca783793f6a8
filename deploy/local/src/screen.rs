//! What `cargo run` shows: bars while something takes long, and a table that grows by a cut at a time.

#![allow(clippy::print_stdout, reason = "this is what a screen is for")]

use std::collections::BTreeMap;

use difusor_coordinator::fleet::Fleet;
use difusor_proto::{CutKey, NodeId};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::report::CutReport;

/// Bars on a terminal, lines anywhere else.
pub struct Screen {
    bars: MultiProgress,
    nodes: BTreeMap<NodeId, ProgressBar>,
    work: Option<ProgressBar>,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen {
    /// An empty screen.
    pub fn new() -> Self {
        Self { bars: MultiProgress::new(), nodes: BTreeMap::new(), work: None }
    }

    /// Prints a line that stays.
    pub fn line(&self, text: &str) {
        if self.bars.is_hidden() {
            println!("{text}");
        } else {
            let _ = self.bars.println(text);
        }
    }

    /// Shows that something is going on, until the next call or [`Screen::done`].
    pub fn work(&mut self, what: &str) {
        self.done();
        let bar = self.bars.add(ProgressBar::new_spinner().with_message(what.to_owned()));
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        self.work = Some(bar);
    }

    /// Nothing is going on any more.
    pub fn done(&mut self) {
        if let Some(bar) = self.work.take() {
            bar.finish_and_clear();
        }
        for (_, bar) in std::mem::take(&mut self.nodes) {
            bar.finish_and_clear();
        }
    }

    /// Shows how far each node is with a cut.
    pub fn progress(&mut self, fleet: &Fleet, cut: Option<&CutKey>) {
        let Some(cut) = cut else { return };
        let Some(view) = fleet.cuts.iter().rev().find(|view| view.cut == *cut) else { return };
        for (node, progress) in &view.nodes {
            let bar = self.nodes.entry(node.clone()).or_insert_with(|| {
                let template = "  {prefix:<12} {bar:32} {bytes:>10} / {total_bytes:<10} {msg}";
                let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
                self.bars.add(ProgressBar::new(progress.delta_bytes).with_style(style).with_prefix(node.to_string()))
            });
            bar.set_length(progress.delta_bytes);
            bar.set_position(progress.sent_bytes);
            bar.set_message(match (progress.flipped_us, progress.staged_us) {
                (Some(_), _) => "flipped",
                (None, Some(_)) => "staged",
                _ => "",
            });
        }
    }

    /// Heads the table.
    pub fn head(&self) {
        self.line(&format!(
            "{:<20} {:>9} {:>9} {:>7} {:>8}  {:<14} {:>10} {:>8} {:>8} {:>8} {:>8}",
            "cut", "zip MB", "plain MB", "files", "ingest", "node", "delta MB", "staged", "flipped", "lag", "skew"
        ));
    }

    /// Adds a cut to the table, a line for each node. Times in milliseconds since the last byte of the package.
    pub fn cut(&self, cut: &CutReport) {
        let name = format!("{} {}", cut.seq, cut.label);
        let mut lead = format!(
            "{name:<20} {:>9.1} {:>9.1} {:>7} {:>8.0}",
            mb(cut.package_bytes),
            mb(cut.plain_bytes),
            cut.entries,
            cut.ingest_ms
        );
        let mut skew = format!("{:.1}", mb(cut.skew_us) * 1000.0);
        for node in &cut.nodes {
            self.line(&format!(
                "{lead:<57}  {:<14} {:>10.2} {:>8.0} {:>8.0} {:>8.0} {skew:>8}",
                node.node.as_str(),
                mb(node.received_bytes),
                node.staged_ms,
                node.flipped_ms,
                node.served_ms
            ));
            lead.clear();
            skew.clear();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people, to two digits")]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

//! The figures as Markdown, and as they are written to `--json`.

use serde::{Deserialize, Serialize};

use super::difusor::Ours;
use super::goals::{self, Goal};
use super::pairs::Kind;
use super::peers::{Peer, Theirs};
use super::recipes::{Recipe, Recipes};

/// Pairs of a group from which on one line stands for all of them.
const MANY: usize = 4;

/// Everything that was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) scale: String,
    pub(super) rows: Vec<Row>,
    pub(super) recipes: Option<Recipes>,
}

/// A pair of packages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Bytes of the second package.
    pub(super) package: u64,
    pub(super) files: usize,
    /// Files that a holder of the first lacks.
    pub(super) changed: usize,
    pub(super) difusor: Option<Ours>,
    /// `None` where the program is missing.
    pub(super) peers: Vec<(Peer, Option<Theirs>)>,
}

impl Row {
    /// Takes over what another run measured of this row.
    pub(super) fn update(&mut self, other: Self) {
        self.peers.retain(|(peer, _)| other.theirs(*peer).is_none());
        self.peers.extend(other.peers);
        self.difusor = other.difusor.or(self.difusor.take());
    }

    /// The cheapest peer.
    pub(super) fn best(&self) -> Option<(Peer, u64)> {
        let bytes = self.peers.iter().filter_map(|(peer, theirs)| Some((*peer, theirs.as_ref()?.bytes)));
        bytes.min_by_key(|(_, bytes)| *bytes)
    }

    /// The pairs of one group are shown together if they are many: those of one folder.
    fn group(&self) -> &str {
        let folder = self.name.split_once(", ").filter(|_| self.kind == Kind::Real);
        folder.map_or(self.name.as_str(), |(folder, _)| folder)
    }

    fn bytes(&self, peer: Peer) -> Option<u64> {
        if peer == Peer::Difusor {
            return self.difusor.as_ref().map(|ours| ours.bytes);
        }
        self.theirs(peer).map(|theirs| theirs.bytes)
    }

    fn theirs(&self, peer: Peer) -> Option<&Theirs> {
        self.peers.iter().find(|(other, _)| *other == peer).and_then(|(_, theirs)| theirs.as_ref())
    }

    fn part(&self, bytes: u64) -> f64 {
        100.0 * bytes as f64 / self.package.max(1) as f64
    }

    /// Ours to the best peer's.
    fn ratio(&self) -> Option<f64> {
        Some(self.bytes(Peer::Difusor)? as f64 / self.best()?.1.max(1) as f64)
    }

    /// Megabytes of the package a second.
    fn rate(&self, seconds: f64) -> f64 {
        self.package as f64 / 1e6 / seconds.max(1e-6)
    }
}

/// A row in a word, while the others are still being measured.
pub(super) fn line(row: &Row) -> String {
    let parts = Peer::ALL.into_iter().filter_map(|peer| Some(format!("{peer:?} {:.2} %", row.part(row.bytes(peer)?))));
    format!("{}: {}", row.name, parts.collect::<Vec<_>>().join(", "))
}

pub(super) fn tables(record: &Record, peers: &[Peer]) -> String {
    let rows: Vec<&Row> = record.rows.iter().collect();
    let mut parts = vec![bytes(&rows, peers), times(&rows, peers)];
    parts.extend(record.recipes.as_ref().map(recipes));
    parts.push(met(&record.rows));
    parts.extend(missing(&record.rows));
    parts.join("\n\n")
}

/// Rows as they are shown: groups of many as one.
fn shown<'a>(rows: &[&'a Row]) -> Vec<(String, Vec<&'a Row>)> {
    let mut groups: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in rows {
        match groups.iter_mut().find(|(name, _)| name == row.group()) {
            Some((_, group)) => group.push(row),
            None => groups.push((row.group().to_owned(), vec![row])),
        }
    }
    let mut shown = Vec::new();
    for (name, group) in groups {
        if group.len() >= MANY {
            shown.push((format!("{name}, {} pairs, median", group.len()), group));
        } else {
            shown.extend(group.into_iter().map(|row| (row.name.clone(), vec![row])));
        }
    }
    shown
}

fn bytes(rows: &[&Row], peers: &[Peer]) -> String {
    let names = peers.iter().map(|peer| peer.name());
    let mut lines = vec![
        format!("| % of the next package | MB | {} | ours / best peer |", names.collect::<Vec<_>>().join(" | ")),
        format!("|---|---|{}---|", "---|".repeat(peers.len())),
    ];
    for (name, group) in shown(rows) {
        let cells = peers.iter().map(|peer| cell(&group, |row| row.bytes(*peer).map(|bytes| row.part(bytes))));
        let (cells, ratio) = (cells.collect::<Vec<_>>().join(" | "), cell(&group, Row::ratio));
        let size = cell(&group, |row| Some(row.package as f64 / 1e6));
        lines.push(format!("| {name} | {size} | {cells} | {ratio} |"));
    }
    lines.join("\n")
}

fn times(rows: &[&Row], peers: &[Peer]) -> String {
    let others: Vec<_> = peers.iter().copied().filter(|peer| *peer != Peer::Difusor).collect();
    let names = others.iter().map(|peer| format!(" {} (encode; peak) |", peer.name()));
    let mut lines = vec![
        format!(
            "| MB of the package a second; peak MB | encode | decode | peak encode / decode | signed list, % |{}",
            names.collect::<String>()
        ),
        format!("|---|---|---|---|---|{}", "---|".repeat(others.len())),
    ];
    for (name, group) in shown(rows) {
        let ours =
            |value: fn(&Row, &Ours) -> f64| cell(&group, |row| row.difusor.as_ref().map(|ours| value(row, ours)));
        let encode = ours(|row, ours| row.rate(ours.encode_s));
        let decode = ours(|row, ours| row.rate(ours.decode_s));
        let peaks = [ours(|_, ours| ours.encode_peak as f64 / 1e6), ours(|_, ours| ours.decode_peak as f64 / 1e6)];
        let list = ours(|row, ours| row.part(ours.bytes - ours.blobs));
        let cells = others.iter().map(|peer| {
            let rate = cell(&group, |row| row.theirs(*peer).map(|theirs| row.rate(theirs.encode_s)));
            let peak = cell(&group, |row| row.theirs(*peer).map(|theirs| theirs.peak as f64 / 1e6));
            format!(" {rate}; {peak} |")
        });
        let cells: String = cells.collect();
        lines.push(format!("| {name} | {encode} | {decode} | {} | {list} |{cells}", peaks.join(" / ")));
    }
    lines.join("\n")
}

/// The median of a group with three digits, or a dash.
fn cell(group: &[&Row], value: impl Fn(&Row) -> Option<f64>) -> String {
    let mut values: Vec<f64> = group.iter().filter_map(|row| value(row)).collect();
    values.sort_by(f64::total_cmp);
    match values.get(values.len() / 2) {
        Some(value) if *value >= 99.95 => format!("{value:.0}"),
        Some(value) if *value >= 9.995 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
        None => "-".to_owned(),
    }
}

fn recipes(recipes: &Recipes) -> String {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let mut lines = vec![
        format!(
            "A table of {:.1} MB whose stream has {:.1} MB, on one core; zlib takes {:.2} s for it. {} of {} streams of the cut need no correction.",
            megabytes(recipes.plain_bytes),
            megabytes(recipes.stream_bytes),
            recipes.zlib_s,
            recipes.exact,
            recipes.streams
        ),
        String::new(),
        "| recipe | describe, s | rebuild, s | corrections | kB |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    let mut row = |name: &str, recipe: Recipe| {
        let Recipe { describe_s, rebuild_s, corrections, bytes } = recipe;
        lines
            .push(format!("| {name} | {describe_s:.2} | {rebuild_s:.2} | {corrections} | {:.1} |", bytes as f64 / 1e3));
    };
    row("alone", recipes.alone);
    row("with its predecessor", recipes.with_predecessor);
    lines.join("\n")
}

fn met(rows: &[Row]) -> String {
    let goals = goals::of(rows);
    let missed: Vec<_> = goals.iter().filter(|goal| !goal.is_met()).collect();
    let mut lines = vec![format!("{} of {} goals are met.", goals.len() - missed.len(), goals.len())];
    let mut told = Vec::new();
    for goal in &missed {
        let alike = |other: &&&Goal<'_>| (other.row.group(), other.what) == (goal.row.group(), goal.what);
        let figures: Vec<_> = missed.iter().filter(alike).map(|goal| goal.measured).collect();
        let Goal { row, what, limit, measured } = goal;
        if figures.len() < MANY {
            lines.push(format!("- missed: {}: {measured:.3} {what}, at most {limit}", row.name));
        } else if !told.contains(&(row.group(), *what)) {
            told.push((row.group(), *what));
            let (least, most) = figures.iter().fold((f64::MAX, 0.0), |(a, b), one| (one.min(a), one.max(b)));
            let many = figures.len();
            lines.push(format!(
                "- missed: {}, {many} pairs: {least:.2} to {most:.2} {what}, at most {limit}",
                row.group()
            ));
        }
    }
    lines.join("\n")
}

/// How to install what is missing.
fn missing(rows: &[Row]) -> Option<String> {
    let peers = rows.iter().flat_map(|row| &row.peers).filter(|(_, theirs)| theirs.is_none());
    let mut programs: Vec<_> = peers.filter_map(|(peer, _)| peer.program()).collect();
    programs.sort_unstable();
    programs.dedup();
    let programs = programs.join(" ");
    (!programs.is_empty()).then(|| format!("Columns with a dash need programs of Debian: apt install {programs}"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row of a package of 100 kB with what we take, and what the best of two peers takes.
    pub(in super::super) fn row(name: &str, kind: Kind, ours: u64, best: u64) -> Row {
        let theirs = |bytes| Theirs { bytes, encode_s: 2.0, decode_s: None, peak: 3_000_000, setting: String::new() };
        let difusor = Ours {
            bytes: ours,
            blobs: ours - 1_000,
            encode_s: 0.1,
            encode_peak: 50_000_000,
            decode_s: 0.05,
            decode_peak: 40_000_000,
            served_s: 1.0,
        };
        Row {
            name: name.to_owned(),
            kind,
            package: 100_000,
            files: 10,
            changed: 5,
            difusor: Some(difusor),
            peers: vec![(Peer::Rsync, Some(theirs(best + 7))), (Peer::Casync, None), (Peer::Patch, Some(theirs(best)))],
        }
    }

    #[test]
    fn the_tables() {
        let mut rows = vec![row("plain, peak", Kind::Plain, 2_000, 10_000)];
        rows.extend((1..=5).map(|i| row(&format!("federal-2018, {i}"), Kind::Real, 10_000 * i, 10_000)));
        let record = Record { scale: "tiny".into(), rows, recipes: None };
        let text = tables(&record, &[Peer::Difusor, Peer::Rsync, Peer::Casync, Peer::Patch]);
        for line in [
            "| % of the next package | MB | difusor | rsync -z | casync | zstd -19 --patch-from | ours / best peer |",
            "| plain, peak | 0.10 | 2.00 | 10.0 | - | 10.0 | 0.20 |",
            "| federal-2018, 5 pairs, median | 0.10 | 30.0 | 10.0 | - | 10.0 | 3.00 |",
            "| plain, peak | 1.00 | 2.00 | 50.0 / 40.0 | 1.00 | 0.05; 3.00 | -; - | 0.05; 3.00 |",
            "2 of 7 goals are met.",
            "- missed: federal-2018, 5 pairs: 1.00 to 5.00 times the best peer, at most 0.5",
            "apt install casync",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn rows_that_are_measured_again() {
        let mut first = row("plain, peak", Kind::Plain, 2_000, 10_000);
        let mut again = row("plain, peak", Kind::Plain, 2_000, 9_000);
        again.difusor = None;
        again.peers.truncate(1);
        first.update(again);
        assert_eq!(first.bytes(Peer::Difusor), Some(2_000));
        assert_eq!((first.bytes(Peer::Rsync), first.bytes(Peer::Patch)), (Some(9_007), Some(10_000)));
    }
}

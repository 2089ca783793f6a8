//! The tables of a cut, made in parallel leaf by leaf, and the files that go with them.

use rayon::prelude::*;

use crate::ballot::ELECTIONS;
use crate::layout::{Layout, Node};
use crate::night::Cut;
use crate::prng::{Domain, Stream};
use crate::tally::Tally;
use crate::zipfile::{self, Entry};
use crate::{reading, table};

/// One election's table at a cut, and the sums of its leaves.
pub(crate) struct Table {
    pub(crate) bytes: Vec<u8>,
    tallies: Vec<Tally>,
}

impl Table {
    /// What a node's rows add up to.
    pub(crate) fn sum(&self, node: &Node) -> Tally {
        Tally::sum(self.tallies.get(node.leaves.clone()).unwrap_or_default())
    }
}

/// The table of an election.
pub(crate) fn table(cut: &Cut, layout: &Layout) -> Table {
    let (chunks, tallies): (Vec<_>, Vec<_>) = layout
        .leaves
        .par_iter()
        .map(|leaf| table::rows(cut.seed, layout, leaf, cut.start, (cut.now, cut.span)))
        .unzip();
    let mut bytes = table::head(layout, cut.time, &Tally::sum(&tallies));
    bytes.reserve_exact(chunks.iter().map(Vec::len).sum());
    if cut.shuffled {
        shuffle(cut, layout, &chunks).into_iter().for_each(|row| bytes.extend_from_slice(row));
    } else {
        chunks.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
    }
    Table { bytes, tallies }
}

/// The rows in an order that is the cut's own (Fisher and Yates).
fn shuffle<'a>(cut: &Cut, layout: &Layout, chunks: &'a [Vec<u8>]) -> Vec<&'a [u8]> {
    let end = layout.dialect.newline;
    let mut rows: Vec<&[u8]> =
        chunks.iter().flat_map(|chunk| chunk.split_inclusive(move |byte| *byte == end)).collect();
    let moment = usize::try_from(cut.now).unwrap_or(usize::MAX);
    let mut chance = Stream::new(cut.seed, Domain::Order, layout.election, moment);
    for last in (1..rows.len()).rev() {
        rows.swap(last, usize::try_from(chance.below(last as u64 + 1)).unwrap_or(0));
    }
    rows
}

/// Where the tables can be downloaded, for the configuration.
pub(crate) fn addresses(cut: &Cut, layouts: &[Layout], nested: bool) -> Vec<String> {
    if nested {
        return vec![format!("assets/{}", cut.file_name)];
    }
    names(layouts).map(|name| format!("assets/csv/{name}.csv")).collect()
}

/// The entries that hold the tables: plain files, or one zip of zips.
pub(crate) fn entries(cut: &Cut, layouts: &[Layout], tables: Vec<Table>, nested: bool) -> Vec<Entry> {
    let parts: Vec<(&str, Vec<Entry>)> = names(layouts)
        .zip(layouts)
        .zip(tables)
        .map(|((name, layout), table)| (name, part(cut, layout, table)))
        .collect();
    if !nested {
        let folder = |entry: Entry| Entry { path: format!("assets/csv/{}", entry.path), ..entry };
        let readme = Entry::fixed(format!("assets/csv/{}", reading::README), reading::readme());
        return parts.into_iter().flat_map(|(_, files)| files).map(folder).chain([readme]).collect();
    }
    let inner: Vec<Entry> = parts
        .into_par_iter()
        .map(|(name, mut files)| {
            files.push(Entry::fixed(reading::README.to_owned(), reading::readme()));
            let (bytes, _) = zipfile::pack(files, cut.stamps());
            Entry::fresh(format!("{}_{name}.zip", cut.file_name.trim_end_matches(".zip")), bytes)
        })
        .collect();
    let (bytes, _) = zipfile::pack(inner, cut.stamps());
    vec![Entry::fresh(format!("assets/{}", cut.file_name), bytes)]
}

fn names(layouts: &[Layout]) -> impl Iterator<Item = &'static str> {
    layouts.iter().map(|layout| ELECTIONS.get(layout.election).map_or("", |election| election.name))
}

fn part(cut: &Cut, layout: &Layout, table: Table) -> Vec<Entry> {
    let name = ELECTIONS.get(layout.election).map_or("", |election| election.name);
    vec![
        Entry::fresh(format!("{name}.csv"), table.bytes),
        Entry::fixed(format!("{name}_CANDIDATURAS.csv"), reading::candidates(cut.seed, layout)),
    ]
}

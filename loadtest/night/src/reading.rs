//! What goes with the tables: the list of candidates and the note on how to read them.

use crate::layout::{Layout, Level};
use crate::names;
use crate::prng::{Domain, Stream};

/// Name of the note.
pub(crate) const README: &str = "LEEME.txt";

/// The note on how to read the tables, in UTF-8.
pub(crate) fn readme() -> Vec<u8> {
    include_bytes!("site/LEEME.txt").to_vec()
}

/// The candidates of an election: one for each choice in each entity, in the table's dialect.
pub(crate) fn candidates(seed: u64, layout: &Layout) -> Vec<u8> {
    let dialect = layout.dialect;
    let mut out = Vec::new();
    dialect.line(&mut out, ["ID_ESTADO", "PARTIDO_CI", "CANDIDATURA_PROPIETARIA", "CANDIDATURA_SUPLENTE"]);
    let areas = layout.nodes.iter().filter(|node| node.level != Level::District);
    for area in areas {
        let mut stream = Stream::new(seed, Domain::Candidate, layout.election, area.entity);
        let entity = area.entity.to_string();
        for choice in &layout.columns {
            let [first, second] = [names::person(&mut stream), names::person(&mut stream)];
            dialect.line(&mut out, [entity.as_str(), choice.label, first.as_str(), second.as_str()]);
        }
    }
    out
}

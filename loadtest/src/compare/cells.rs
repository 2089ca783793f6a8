//! The cells of the table: what is measured, and with how many connections.
//!
//! Closed loops: each client asks again as soon as it has its answer, and there are enough of them that a server that
//! is ready for more finds more to do.

use super::files::Asset;
use super::identity::Tickets;

/// Which protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    H1,
    H2,
    H3,
}

impl Protocol {
    /// Its name in the TLS handshake.
    pub(crate) fn alpn(self) -> &'static [u8] {
        match self {
            Self::H1 => b"http/1.1",
            Self::H2 => b"h2",
            Self::H3 => b"h3",
        }
    }
}

/// Clients in a closed loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) protocol: Protocol,
    pub(super) asset: Asset,
    /// The client has the file already.
    pub(super) storm: bool,
    pub(super) connections: u32,
    /// Requests at once on each.
    pub(super) streams: u32,
}

/// What a cell measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Answers per second.
    Load(Load),
    /// New connections per second, each with one small request.
    Handshakes(Tickets),
    /// Memory of connections that nobody uses.
    Idle(Protocol),
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    /// Its first word up to the hyphen is its group.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether a quick look has it.
    pub(super) quick: bool,
}

/// All rows, in their order.
pub(super) const CELLS: [Cell; 18] = [
    load("h1-10k", Protocol::H1, Asset::Page, 48, 1, true),
    load("h1-100k", Protocol::H1, Asset::Small, 48, 1, false),
    load("h1-1m", Protocol::H1, Asset::Large, 32, 1, false),
    load("h1-20m", Protocol::H1, Asset::Archive, 8, 1, true),
    load("h2-10k", Protocol::H2, Asset::Page, 16, 32, true),
    load("h2-100k", Protocol::H2, Asset::Small, 16, 16, false),
    load("h2-1m", Protocol::H2, Asset::Large, 8, 8, false),
    load("h2-20m", Protocol::H2, Asset::Archive, 4, 2, false),
    load("h3-10k", Protocol::H3, Asset::Page, 16, 16, true),
    load("h3-100k", Protocol::H3, Asset::Small, 16, 8, false),
    load("h3-1m", Protocol::H3, Asset::Large, 8, 4, false),
    load("h3-20m", Protocol::H3, Asset::Archive, 4, 1, false),
    storm("304-h1", Protocol::H1, 48, 1),
    storm("304-h2", Protocol::H2, 16, 32),
    cell("tls-full", Kind::Handshakes(Tickets::Ignored), true),
    cell("tls-resumed", Kind::Handshakes(Tickets::Used), false),
    cell("idle-h1", Kind::Idle(Protocol::H1), false),
    cell("idle-h2", Kind::Idle(Protocol::H2), false),
];

const fn cell(name: &'static str, kind: Kind, quick: bool) -> Cell {
    Cell { name, kind, quick }
}

const fn load(
    name: &'static str,
    protocol: Protocol,
    asset: Asset,
    connections: u32,
    streams: u32,
    quick: bool,
) -> Cell {
    cell(name, Kind::Load(Load { protocol, asset, storm: false, connections, streams }), quick)
}

const fn storm(name: &'static str, protocol: Protocol, connections: u32, streams: u32) -> Cell {
    cell(name, Kind::Load(Load { protocol, asset: Asset::Page, storm: true, connections, streams }), false)
}

impl Cell {
    /// Whether a server needs HTTP/3 for it.
    pub(super) fn needs_http3(&self) -> bool {
        matches!(self.kind, Kind::Load(Load { protocol: Protocol::H3, .. }) | Kind::Idle(Protocol::H3))
    }

    /// How much more is better, or less.
    pub(super) fn unit(&self) -> Unit {
        match self.kind {
            Kind::Load(_) => Unit::Requests,
            Kind::Handshakes(_) => Unit::Handshakes,
            Kind::Idle(_) => Unit::Memory,
        }
    }
}

/// What the figure of a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Per second; more is better.
    Requests,
    /// Per second; more is better.
    Handshakes,
    /// Bytes for a connection; less is better.
    Memory,
}

/// The cells that a list of names and groups asks for, in the order of the table.
///
/// # Errors
/// Names the word that is neither.
pub(super) fn chosen(words: &[String]) -> Result<Vec<Cell>, String> {
    let means = |word: &str, cell: &Cell| cell.name == word || cell.name.split('-').next() == Some(word);
    if let Some(word) = words.iter().find(|word| !CELLS.iter().any(|cell| means(word, cell))) {
        let names: Vec<_> = CELLS.iter().map(|cell| cell.name).collect();
        return Err(format!(
            "no cell `{word}`; there are {}, and the groups h1, h2, h3, 304, tls and idle",
            names.join(", ")
        ));
    }
    Ok(CELLS.iter().filter(|cell| words.iter().any(|word| means(word, cell))).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_chosen_by_name_and_by_group() {
        let names = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            chosen(&words).map(|cells| cells.iter().map(|cell| cell.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["tls", "h1-10k"]).unwrap(), ["h1-10k", "tls-full", "tls-resumed"]);
        assert_eq!(names(&["h3"]).unwrap().len(), 4);
        assert!(names(&["h4"]).unwrap_err().contains("h2-20m"));
        assert!(CELLS.iter().filter(|cell| cell.quick).count() >= 4);
    }
}

//! The site's result files: JSON for the nation, each entity and each district, and the configuration.
//!
//! Every one carries the cut's time, so every one changes at each cut. Its list of sheets is as long as the size aimed
//! at allows and names the same sheets at every cut.

use crate::ballot::ELECTIONS;
use crate::digits::{push_number, push_padded, push_percent};
use crate::layout::{Layout, Leaf, Level, Node};
use crate::night::Cut;
use crate::sheet;
use crate::tally::Tally;

/// Bytes of a file without its lists, from which on the parties are listed in full, and of one sheet in the list.
const HEAD: usize = 700;
const FULL: usize = 3_400;
const ITEM: usize = 600;

/// JSON written front to back; commas come by themselves. Texts need no escaping: all are our own.
struct Json(Vec<u8>);

impl Json {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn comma(&mut self) {
        if !matches!(self.0.last(), None | Some(b'{' | b'[' | b':')) {
            self.0.push(b',');
        }
    }

    fn key(&mut self, key: &str) {
        self.comma();
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        push_number(&mut self.0, value);
    }

    fn percent(&mut self, key: &str, part: u64, whole: u64) {
        self.key(key);
        push_percent(&mut self.0, part, whole);
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.key(key);
        self.0.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn open(&mut self, bracket: u8) {
        self.comma();
        self.0.push(bracket);
    }

    fn close(&mut self, bracket: u8) {
        self.0.push(bracket);
    }
}

/// Where a node's file lies.
pub(crate) fn path(layout: &Layout, node: &Node) -> String {
    let Some(election) = ELECTIONS.get(layout.election) else { return String::new() };
    let folder = format!("assets/JSON/{}", election.name);
    let name = election.short;
    match node.level {
        Level::Nation => format!("{folder}/NACIONAL/{name}_NACIONAL.json"),
        Level::Entity => format!("{folder}/ENTIDAD/{name}_E{:02}.json", node.entity),
        Level::District => format!("{folder}/DISTRITO/{name}_E{:02}_D{:03}.json", node.entity, node.district),
    }
}

/// A node's file; `size` is what it should come to once its sheets have arrived.
pub(crate) fn result(cut: &Cut, layout: &Layout, node: &Node, sums: &Tally, size: usize) -> Vec<u8> {
    let mut json = Json::new();
    json.open(b'{');
    stamp(&mut json, cut);
    json.text(
        "nivelNodo",
        match node.level {
            Level::Nation => "NACIONAL",
            Level::Entity => "ENTIDAD",
            Level::District => "DISTRITO",
        },
    );
    json.number("idNodo", (node.entity * 1_000 + node.district) as u64);
    json.text("nombreNodo", &node.name);
    json.number("totalActas", sums.expected);
    for (key, part) in [("actasCapturadas", sums.captured), ("actasContabilizadas", sums.counted)] {
        json.key(key);
        json.open(b'{');
        json.number("total", part);
        json.percent("porcentaje", part, sums.expected);
        json.close(b'}');
    }
    json.number("listaNominal", sums.counted_roll);
    json.percent("porcentajeParticipacionCiudadana", sums.total(), sums.counted_roll);
    json.number("totalVotos", sums.total());
    json.key("votos");
    json.open(b'[');
    for votes in sums.votes.iter().take(layout.columns.len()).chain([&sums.unregistered, &sums.nulls]) {
        json.comma();
        push_number(&mut json.0, *votes);
    }
    json.close(b']');
    if size >= HEAD + ITEM {
        parties(&mut json, layout, sums);
    }
    if let Some(room) = size.checked_sub(FULL) {
        sheets(&mut json, cut, layout, node, room / ITEM);
    }
    json.close(b'}');
    json.0
}

/// The configuration: what the current cut is and where its tables are, all of which `tables` lists.
pub(crate) fn configuration(cut: &Cut, tables: &[String]) -> Vec<u8> {
    let mut json = Json::new();
    json.open(b'{');
    json.key("configuracion");
    json.open(b'{');
    stamp(&mut json, cut);
    json.text("urlBaseDatos", tables.first().map_or("", String::as_str));
    json.key("basesDatos");
    json.open(b'[');
    for table in tables {
        json.open(b'"');
        json.0.extend_from_slice(table.as_bytes());
        json.close(b'"');
    }
    json.close(b']');
    json.close(b'}');
    json.close(b'}');
    json.0
}

fn stamp(json: &mut Json, cut: &Cut) {
    json.text("horaCorte", &cut.hour);
    json.text("fechaCorte", &cut.date);
    json.flag("cortePrueba", cut.test_data);
    json.flag("corteEspeciales", false);
    json.text("archivoCorte", &cut.file_name);
}

fn parties(json: &mut Json, layout: &Layout, sums: &Tally) {
    let whole = sums.total();
    json.key("votacionPartidosConDistribucion");
    json.open(b'[');
    for ((id, choice), votes) in (1_u64..).zip(&layout.columns).zip(sums.votes) {
        json.open(b'{');
        json.number("idPartido", id);
        json.text("nombrePartido", choice.name);
        json.text("siglasPartido", choice.label);
        json.text("colorPartido", choice.color);
        json.number("total", votes);
        json.percent("porcentaje", votes, whole);
        json.close(b'}');
    }
    json.close(b']');
}

/// The first `count` sheets of the node.
fn sheets(json: &mut Json, cut: &Cut, layout: &Layout, node: &Node, count: usize) {
    let rows = layout.leaves_of(node).iter().flat_map(|leaf| leaf.rows.clone().map(move |row| (leaf, row)));
    json.key("actas");
    json.open(b'[');
    for (leaf, row) in rows.take(count) {
        one_sheet(json, cut, layout, leaf, row);
    }
    json.close(b']');
}

fn one_sheet(json: &mut Json, cut: &Cut, layout: &Layout, leaf: &Leaf, row: usize) {
    let slot = sheet::slot(cut.seed, leaf, row);
    let sheet = sheet::sheet(cut.seed, layout.election, leaf, row, slot.roll, (cut.now, cut.span));
    json.open(b'{');
    json.key("casilla");
    json.0.push(b'"');
    push_padded(&mut json.0, slot.section, 4);
    json.0.push(slot.kind);
    push_padded(&mut json.0, slot.station, 2);
    json.0.push(b'"');
    json.number("listaNominal", slot.roll);
    json.flag("actaCapturada", sheet.is_some());
    if let Some(sheet) = sheet.filter(sheet::Sheet::counts) {
        json.number("totalVotos", sheet.total());
        json.key("votacion");
        json.open(b'[');
        for (choice, votes) in layout.columns.iter().zip(sheet.votes) {
            json.open(b'{');
            json.text("siglasPartido", choice.label);
            json.number("total", votes);
            json.close(b'}');
        }
        json.close(b']');
    }
    json.close(b'}');
}

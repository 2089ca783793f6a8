//! The table of an election: title, cut time, summary, then one row for each tally sheet, filled in place.

use jiff::civil::DateTime;

use crate::ballot::ELECTIONS;
use crate::clock;
use crate::dialect::{Charset, Dialect};
use crate::digits::{push_hex, push_number, push_padded, push_percent};
use crate::layout::{Layout, Leaf};
use crate::sheet::{self, Remark, Sheet, Slot};
use crate::tally::Tally;

const SUMMARY: [&str; 13] = [
    "ACTAS_ESPERADAS",
    "ACTAS_REGISTRADAS",
    "ACTAS_FUERA_CATALOGO",
    "ACTAS_CAPTURADAS",
    "PORCENTAJE_ACTAS_CAPTURADAS",
    "ACTAS_CONTABILIZADAS",
    "PORCENTAJE_ACTAS_CONTABILIZADAS",
    "PORCENTAJE_ACTAS_INCONSISTENCIAS",
    "ACTAS_NO_CONTABILIZADAS",
    "LISTA_NOMINAL_ACTAS_CONTABILIZADAS",
    "TOTAL_VOTOS_C_CS",
    "TOTAL_VOTOS_S_CS",
    "PORCENTAJE_PARTICIPACION_CIUDADANA",
];

const BEFORE_VOTES: [&str; 16] = [
    "CLAVE_CASILLA",
    "CLAVE_ACTA",
    "ID_ESTADO",
    "ESTADO",
    "ID_DISTRITO",
    "DISTRITO",
    "SECCION",
    "ID_CASILLA",
    "TIPO_CASILLA",
    "EXT_CONTIGUA",
    "UBICACION_CASILLA",
    "TIPO_ACTA",
    "TOTAL_BOLETAS_SOBRANTES",
    "TOTAL_PERSONAS_VOTARON",
    "TOTAL_REP_PARTIDO_CI_VOTARON",
    "TOTAL_VOTOS_SACADOS",
];

const AFTER_VOTES: [&str; 16] = [
    "NO_REGISTRADOS",
    "NULOS",
    "TOTAL_VOTOS_ASENTADO",
    "TOTAL_VOTOS_CALCULADO",
    "LISTA_NOMINAL",
    "REPRESENTANTES_PP_CI",
    "OBSERVACIONES",
    "CONTABILIZADA",
    "MECANISMOS_TRASLADO",
    "SHA",
    "FECHA_HORA_ACOPIO",
    "FECHA_HORA_CAPTURA",
    "FECHA_HORA_VERIFICACION",
    "ORIGEN",
    "DIGITALIZACION",
    "TIPO_DOCUMENTO",
];

/// Everything above the rows.
pub(crate) fn head(layout: &Layout, cut: DateTime, sums: &Tally) -> Vec<u8> {
    let dialect = layout.dialect;
    let mut out = Vec::with_capacity(2_048);
    if dialect.charset == Charset::Utf8Bom {
        out.extend_from_slice(b"\xef\xbb\xbf");
    }
    if dialect.declares {
        out.extend_from_slice(b"sep=");
        out.push(dialect.separator);
        dialect.end(&mut out);
    }
    dialect.line(&mut out, ELECTIONS.get(layout.election).map(|election| election.title));
    clock::push_time(&mut out, cut, dialect.dates, false);
    out.extend_from_slice(b" (UTC-6)");
    dialect.end(&mut out);
    dialect.line(&mut out, SUMMARY);
    summary(&mut out, dialect.separator, sums);
    dialect.end(&mut out);
    dialect.end(&mut out);
    let choices = layout.columns.iter().map(|choice| choice.label);
    dialect.line(&mut out, BEFORE_VOTES.into_iter().chain(choices).chain(AFTER_VOTES));
    out
}

fn summary(out: &mut Vec<u8>, separator: u8, sums: &Tally) {
    let votes = sums.total();
    for number in [sums.expected, sums.captured, 0, sums.captured] {
        push_number(out, number);
        out.push(separator);
    }
    push_percent(out, sums.captured, sums.expected);
    out.push(separator);
    push_number(out, sums.counted);
    out.push(separator);
    push_percent(out, sums.counted, sums.expected);
    out.push(separator);
    push_percent(out, sums.remarked, sums.expected);
    out.push(separator);
    for number in [sums.captured - sums.counted, sums.counted_roll, votes, votes] {
        push_number(out, number);
        out.push(separator);
    }
    push_percent(out, votes, sums.counted_roll);
}

/// The rows of one leaf at one moment, and their sum.
pub(crate) fn rows(seed: u64, layout: &Layout, leaf: &Leaf, start: DateTime, moment: (i64, i64)) -> (Vec<u8>, Tally) {
    let mut out = Vec::with_capacity(leaf.rows.len() * 384);
    let mut tally = Tally::default();
    let writer = RowWriter { dialect: layout.dialect, start, columns: layout.columns.len() };
    let kind = ELECTIONS.get(layout.election).map_or(0, |election| election.kind);
    for row in leaf.rows.clone() {
        let slot = sheet::slot(seed, leaf, row);
        let sheet = sheet::sheet(seed, layout.election, leaf, row, slot.roll, moment);
        tally.add(slot.roll, sheet.as_ref());
        writer.catalogue(&mut out, leaf, &slot, kind);
        match &sheet {
            Some(sheet) => writer.filled(&mut out, &slot, sheet),
            None => writer.empty(&mut out, &slot),
        }
    }
    (out, tally)
}

struct RowWriter {
    dialect: Dialect,
    start: DateTime,
    columns: usize,
}

impl RowWriter {
    /// The twelve fields that are known beforehand, each followed by a separator.
    fn catalogue(&self, out: &mut Vec<u8>, leaf: &Leaf, slot: &Slot, kind: u64) {
        let separator = self.dialect.separator;
        station_key(out, leaf, slot);
        out.push(separator);
        station_key(out, leaf, slot);
        push_padded(out, kind, 2);
        out.extend_from_slice(&leaf.place);
        push_padded(out, slot.section, 4);
        out.push(separator);
        push_padded(out, slot.station, 2);
        out.extend_from_slice(&[separator, slot.kind, separator, b'0', b'0', separator]);
        push_number(out, slot.setting);
        out.push(separator);
        push_number(out, kind);
        out.push(separator);
    }

    fn empty(&self, out: &mut Vec<u8>, slot: &Slot) {
        self.skip(out, 4 + self.columns + 4);
        push_number(out, slot.roll);
        self.skip(out, 11);
        self.dialect.end(out);
    }

    fn filled(&self, out: &mut Vec<u8>, slot: &Slot, sheet: &Sheet) {
        let separator = self.dialect.separator;
        if sheet.remark == Remark::Illegible {
            self.skip(out, 4 + self.columns + 4);
        } else {
            self.figures(out, slot, sheet);
        }
        push_number(out, slot.roll);
        out.push(separator);
        push_number(out, sheet.deputies);
        out.push(separator);
        out.extend(self.dialect.encode(remark(sheet.remark)));
        out.push(separator);
        out.push(if sheet.counts() { b'1' } else { b'0' });
        out.push(separator);
        out.push(if sheet.by_phone { b'D' } else { b'F' });
        out.push(separator);
        push_hex(out, &sheet.digest);
        for seconds in [sheet.gathered, sheet.captured, sheet.verified] {
            out.push(separator);
            clock::push_time(out, clock::after(self.start, seconds), self.dialect.dates, true);
        }
        let origin = if sheet.by_phone { ["CASILLA", "MOVIL"] } else { ["CATD", "ESCANER"] };
        for word in origin.into_iter().chain(["ACTA PREP"]) {
            out.push(separator);
            out.extend_from_slice(word.as_bytes());
        }
        self.dialect.end(out);
    }

    /// Ballots and votes, each followed by a separator.
    fn figures(&self, out: &mut Vec<u8>, slot: &Slot, sheet: &Sheet) {
        let total = sheet.total();
        let ballots = [slot.roll.saturating_sub(total), total, sheet.deputies, total];
        let votes = sheet.votes.iter().take(self.columns).copied();
        for number in ballots.into_iter().chain(votes).chain([sheet.unregistered, sheet.nulls]) {
            // What a careless clerk leaves blank are the zeros.
            if number == 0 && sheet.remark == Remark::Partial {
                out.extend_from_slice(b"SIN DATO");
            } else {
                push_number(out, number);
            }
            out.push(self.dialect.separator);
        }
        for number in [total, total] {
            push_number(out, number);
            out.push(self.dialect.separator);
        }
    }

    fn skip(&self, out: &mut Vec<u8>, fields: usize) {
        out.resize(out.len() + fields, self.dialect.separator);
    }
}

fn station_key(out: &mut Vec<u8>, leaf: &Leaf, slot: &Slot) {
    push_padded(out, leaf.entity as u64, 2);
    push_padded(out, slot.section, 4);
    out.push(slot.kind);
    push_padded(out, slot.station, 2);
    out.extend_from_slice(b"00");
}

fn remark(remark: Remark) -> &'static str {
    match remark {
        Remark::None => "",
        Remark::Partial => "ALGÚN CAMPO ILEGIBLE O SIN DATO",
        Remark::Illegible => "TODOS ILEGIBLES O SIN DATO",
        Remark::Excess => "EXCEDE LISTA NOMINAL",
    }
}

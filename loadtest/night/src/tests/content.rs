//! What the files say: rows that are filled once, sums that agree, charsets, and how much changes with a cut.

use serde_json::Value;

use super::*;
use crate::dialect::{Charset, Dialect};

const TABLES: [&str; 3] = ["assets/csv/PRESIDENCIA.csv", "assets/csv/SENADURIAS.csv", "assets/csv/DIPUTACIONES.csv"];

/// Lines of a table, as bytes, without the declaration of the separator and the byte order mark.
fn lines(bytes: &[u8], dialect: Dialect) -> Vec<Vec<u8>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == dialect.newline).map(<[u8]>::to_vec).collect();
    assert_eq!(lines.pop(), Some(Vec::new()), "the last line is ended");
    if dialect.declares {
        assert_eq!(lines.remove(0), b"sep=|");
    }
    lines
}

fn fields(line: &[u8], dialect: Dialect) -> Vec<String> {
    line.split(|byte| *byte == dialect.separator).map(|field| String::from_utf8_lossy(field).into_owned()).collect()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

#[test]
fn rows_are_there_from_the_start_and_only_ever_filled() {
    let night = night(|spec| spec.cuts = 12);
    let (mut first, mut last, mut corrected) = (0, 0, 0);
    for (election, path) in TABLES.iter().enumerate() {
        let dialect = Dialect::of(election);
        let mut before: Vec<Vec<u8>> = Vec::new();
        for i in 0..night.len() {
            let all = lines(&files(&night, i)[*path], dialect);
            let (head, rows) = all.split_at(6);
            assert_eq!(rows.len(), 120);
            let width = fields(&head[5], dialect).len();
            assert!(rows.iter().all(|row| fields(row, dialect).len() == width), "{path}, cut {i}");
            let filled = |row: &[u8]| row.ends_with(b"ACTA PREP");
            for (old, new) in before.iter().zip(rows) {
                assert!(!filled(old) || filled(new), "a row of {path} was emptied at cut {i}");
                assert_eq!(fields(old, dialect)[..12], fields(new, dialect)[..12], "the catalogue's half moved");
                corrected += usize::from(filled(old) && old != new);
            }
            let count = rows.iter().filter(|row| filled(row)).count();
            first += if i == 0 { count } else { 0 };
            last += if i == night.len() - 1 { count } else { 0 };
            for row in rows {
                let bytes = if filled(row) { 260..=450 } else { 105..=140 };
                assert!(bytes.contains(&row.len()), "{} bytes", row.len());
            }
            before = rows.to_vec();
        }
    }
    assert!(first < 30 && last > 330, "{first} filled at first, {last} at last");
    assert!((1..30).contains(&corrected), "{corrected} corrections");
}

#[test]
fn summary_rows_and_json_agree() {
    let night = night(|_| {});
    for i in [0, 2, 5] {
        let files = files(&night, i);
        for (election, (path, name)) in TABLES.iter().zip(["Presidencia", "Senadurias", "Diputaciones"]).enumerate() {
            let dialect = Dialect::of(election);
            let all = lines(&files[*path], dialect);
            let column = |name: &str| fields(&all[5], dialect).iter().position(|field| field == name).unwrap();
            let [counted, total, roll] = ["CONTABILIZADA", "TOTAL_VOTOS_CALCULADO", "LISTA_NOMINAL"].map(column);
            let rows: Vec<_> = all[6..].iter().map(|row| fields(row, dialect)).collect();
            let counted: Vec<_> = rows.iter().filter(|row| row[counted] == "1").collect();
            let votes: u64 = counted.iter().map(|row| number(&row[total])).sum();
            let voters: u64 = counted.iter().map(|row| number(&row[roll])).sum();

            let summary = fields(&all[3], dialect);
            assert_eq!([number(&summary[5]), number(&summary[9])], [counted.len() as u64, voters]);
            assert_eq!(number(&summary[10]), votes);

            let folder = format!("assets/JSON/{}", path.trim_start_matches("assets/csv/").trim_end_matches(".csv"));
            let nation: Value =
                serde_json::from_slice(&files[&format!("{folder}/NACIONAL/{name}_NACIONAL.json")]).unwrap();
            assert_eq!(nation["totalVotos"], votes);
            assert_eq!(nation["actasContabilizadas"]["total"], counted.len());
            let sum: u64 = nation["votos"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
            assert_eq!(sum, votes);
            let first: u64 = rows.iter().filter(|row| counted.contains(row)).map(|row| number(&row[16])).sum();
            assert_eq!(nation["votos"][0], first);
            let below: u64 = files
                .iter()
                .filter(|(path, _)| path.starts_with(&format!("{folder}/ENTIDAD/")))
                .map(|(_, bytes)| serde_json::from_slice::<Value>(bytes).unwrap()["totalVotos"].as_u64().unwrap())
                .sum();
            assert_eq!(below, votes, "the entities of {name} add up");
        }
    }
}

#[test]
fn each_table_has_its_own_charset_separator_and_line_end() {
    let files = files(&night(|_| {}), 3);
    let [first, second, third] = TABLES.map(|path| &files[path]);
    assert_eq!([0, 1, 2].map(|k| Dialect::of(k).charset), [Charset::Utf8Bom, Charset::Latin1, Charset::Ascii]);
    assert!(first.starts_with(b"\xef\xbb\xbfPRESIDENCIA\n02/06/2024 20:09 (UTC-6)\n"));
    assert!(std::str::from_utf8(first).is_ok() && !first.is_ascii() && !first.contains(&b'\r'));
    assert!(second.starts_with(b"sep=|\nSENADUR\xcdAS\n2024-06-02 20:09 (UTC-6)\n"));
    assert!(std::str::from_utf8(second).is_err() && !second.contains(&b'\r'));
    assert!(third.starts_with(b"DIPUTACIONES FEDERALES\r02/06/2024 20:09 (UTC-6)\r"));
    assert!(third.is_ascii() && !third.contains(&b'\n'));
}

#[test]
fn json_is_valid_and_nearly_all_of_it_changes_with_the_cut() {
    let night = Night::new(NightSpec::tiny().scaled(4.0)).unwrap();
    let (old, new) = (files(&night, 2), files(&night, 3));
    assert!(old.keys().eq(new.keys()));
    let json: Vec<_> = new.iter().filter(|(path, _)| path.ends_with(".json")).collect();
    assert_eq!(json.len(), night.spec().json_files);
    let changed = json.iter().filter(|(path, bytes)| old[*path] != **bytes).count();
    assert!((0.93..0.97).contains(&(changed as f64 / json.len() as f64)), "{changed} of {}", json.len());
    for (path, bytes) in json {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
        if old[path] != *bytes && !path.ends_with("configuracion.json") {
            assert_eq!(value["archivoCorte"], night.file_name(3));
            assert_eq!(value["horaCorte"], "20:09");
            assert_eq!(value["fechaCorte"], "02 de junio de 2024");
            assert_eq!(value["cortePrueba"], false);
        }
    }
    let rest = |path: &str| !path.ends_with(".json") && !TABLES.contains(&path);
    assert!(new.iter().all(|(path, bytes)| !rest(path) || old[path] == *bytes), "files of the site stay the same");
    assert_eq!(new.keys().filter(|path| rest(path)).count(), night.spec().static_files + 4);
}

#[test]
fn the_configuration_names_the_database() {
    for (nested, address) in [(false, TABLES[0]), (true, "assets/20240602_2003_PREP.zip")] {
        let night = night(|spec| (spec.nested, spec.test_data) = (nested, true));
        let files = files(&night, 1);
        let value: Value = serde_json::from_slice(&files["assets/configuracion.json"]).unwrap();
        assert_eq!(value["configuracion"]["urlBaseDatos"], address);
        assert_eq!(value["configuracion"]["cortePrueba"], true);
        for table in value["configuracion"]["basesDatos"].as_array().unwrap() {
            assert!(files.contains_key(table.as_str().unwrap()));
        }
    }
}

#[test]
fn paths_are_plain_and_the_home_page_is_there() {
    let files = files(&night(|_| {}), 0);
    assert!(files.contains_key("index.html"));
    for path in files.keys() {
        assert!(path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-.".contains(&byte)), "{path}");
        assert!(!path.starts_with('/') && !path.contains("..") && !path.ends_with('/'));
    }
}

#[test]
fn the_smallest_and_odd_nights_can_be_made() {
    for elections in 1..=6 {
        for json_files in [elections + 1, elections + 5, 90] {
            let night = night(|spec| {
                (spec.cuts, spec.elections, spec.rows) = (1, elections, 1);
                (spec.json_files, spec.static_files, spec.largest_file) = (json_files, 3, 0);
            });
            assert_eq!(files(&night, 0).len(), json_files + 3 + 2 * elections + 1, "{elections}, {json_files}");
        }
    }
}

#[test]
fn shuffled_rows_are_the_same_rows() {
    let (plain, shuffled) = (night(|_| {}), night(|spec| spec.shuffled = true));
    for (election, path) in TABLES.iter().enumerate() {
        let dialect = Dialect::of(election);
        let of = |night: &Night, i: usize| lines(&files(night, i)[*path], dialect);
        let (mut before, mut after) = (of(&plain, 3), of(&shuffled, 3));
        assert_eq!(before[..6], after[..6]);
        assert_ne!(before[6..], after[6..]);
        let keys = |all: &[Vec<u8>]| all[6..].iter().map(|row| fields(row, dialect)[0].clone()).collect::<Vec<_>>();
        assert_ne!(keys(&of(&shuffled, 2)), keys(&after));
        before[6..].sort();
        after[6..].sort();
        assert_eq!(before, after);
    }
}

//! What must not be refused: everything sound, in all the forms in which packers write it.

use std::sync::Mutex;

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::*;

fn rows(seed: usize) -> Vec<u8> {
    (0..3000).flat_map(|row| format!("{row}|{}\n", row * seed % 977).into_bytes()).collect()
}

#[test]
fn stored_deflated_and_empty_files_and_folders() {
    let mut writer = ZipWriter::new(Cursor::new(vec![]));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    writer.add_directory("assets", stored).unwrap();
    writer.start_file("assets/año.csv", SimpleFileOptions::default()).unwrap();
    writer.write_all(&rows(3)).unwrap();
    writer.start_file("stored.json", stored).unwrap();
    writer.write_all(b"{}").unwrap();
    writer.start_file("empty.txt", SimpleFileOptions::default()).unwrap();
    writer.set_comment("corte de las 20:00").unwrap();
    let package = writer.finish().unwrap().into_inner();
    let ingested = try_ingest(&package).unwrap();
    assert_true(&package, &ingested);
    let media: Vec<_> = ingested.entries.iter().map(|entry| (entry.path.as_str(), entry.media.as_str())).collect();
    assert_eq!(
        media,
        [("assets/año.csv", "text/csv"), ("empty.txt", "text/plain"), ("stored.json", "application/json")]
    );
    assert_eq!(ingested.entries[2].deflated, None);
}

#[test]
fn sizes_behind_the_data_and_in_64_bits() {
    // As Java and pipes write it: nothing in the local header, a descriptor behind the data.
    let mut writer = ZipWriter::new_stream(vec![]);
    for wide in [false, true] {
        let options = SimpleFileOptions::default().large_file(wide);
        writer.start_file(format!("{wide}.csv"), options).unwrap();
        writer.write_all(&rows(7)).unwrap();
        writer.start_file(format!("{wide}.txt"), options).unwrap();
    }
    let package = writer.finish().unwrap().into_inner();
    assert_eq!(package[6] & 8, 8, "the bit that announces a descriptor");
    assert_true(&package, &try_ingest(&package).unwrap());

    let mut writer = ZipWriter::new(Cursor::new(vec![]));
    writer.start_file("wide.csv", SimpleFileOptions::default().large_file(true)).unwrap();
    writer.write_all(&rows(9)).unwrap();
    let package = writer.finish().unwrap().into_inner();
    assert_true(&package, &try_ingest(&package).unwrap());
}

#[test]
fn zips_inside_are_opened_down_to_the_cap() {
    let mut zip = packed(&[("5.csv", b"deepest")]);
    for level in (1..5).rev() {
        zip = packed(&[(&format!("{level}.csv"), b"1,2"), (&format!("{level}.zip"), &zip)]);
    }
    let package = packed(&[("assets/0.zip", &zip), ("index.html", b"<p>")]);
    let ingested = try_ingest(&package).unwrap();
    assert_true(&package, &ingested);
    let members: Vec<_> = ingested.entries[0].members.iter().map(|member| member.path.as_str()).collect();
    // The package holds 0.zip, which is the first level; 3.zip would be the fourth.
    let expected = ["1.csv", "1.zip", "1.zip!/2.csv", "1.zip!/2.zip", "1.zip!/2.zip!/3.csv", "1.zip!/2.zip!/3.zip"];
    assert_eq!(members, expected);
    assert!(ingested.entries[1].members.is_empty());
}

#[test]
fn what_is_no_archive_is_served_as_it_is() {
    let sound = packed(&[("a.csv", b"1")]);
    for bytes in [&b"not a zip"[..], b"", b"PK\x03\x04", &sound[..sound.len() - 9], &sound[..40]] {
        let package = packed(&[("broken.zip", bytes)]);
        let ingested = try_ingest(&package).unwrap();
        assert_true(&package, &ingested);
        assert!(ingested.entries[0].members.is_empty());
    }
    let package = packed(&[("none.zip", &packed(&[])), ("table.xlsx", &sound)]);
    let ingested = try_ingest(&package).unwrap();
    let members: Vec<_> = ingested.entries.iter().map(|entry| entry.members.len()).collect();
    assert_eq!(members, [0, 1]);
}

#[test]
fn equal_files_have_one_source() {
    let package = packed(&[("b.csv", &rows(5)), ("a.csv", &rows(5)), ("c.csv", &rows(6))]);
    let ingested = try_ingest(&package).unwrap();
    assert_true(&package, &ingested);
    let digests: Vec<_> = ingested.sources.iter().map(|source| source.digest).collect();
    assert_eq!(digests, [Digest::of(&rows(5)), Digest::of(&rows(6))]);
}

#[derive(Default)]
struct Seen(Mutex<Vec<(String, Digest)>>);

impl Visitor for Seen {
    fn plain(&self, path: &SitePath, digest: Digest, plain: Arc<Vec<u8>>) {
        assert_eq!(digest, Digest::of(&plain));
        self.0.lock().unwrap().push((path.to_string(), digest));
    }
}

#[test]
fn the_visitor_sees_each_file_of_the_site_once() {
    let inner = packed(&[("x.csv", &rows(2))]);
    let package = packed(&[("b.csv", &rows(5)), ("a.csv", &rows(5)), ("c.zip", &inner)]);
    let seen = Seen::default();
    let ingested = ingest(&package.into(), &Caps::default(), &seen).unwrap();
    let mut seen = seen.0.into_inner().unwrap();
    seen.sort();
    let entries: Vec<_> = ingested.entries.iter().map(|entry| (entry.path.to_string(), entry.digest)).collect();
    assert_eq!(seen, entries);
}

#[test]
fn made_up_nights_are_accepted() {
    let spec = difusor_night::NightSpec { nested: true, ..difusor_night::NightSpec::tiny() };
    let package = difusor_night::Night::new(spec).unwrap().package(0);
    let ingested = try_ingest(&package.bytes).unwrap();
    assert_true(&package.bytes, &ingested);
    assert_eq!(ingested.entries.len(), package.entries);
    assert!(ingested.entries.iter().any(|entry| entry.members.len() > 1));
}

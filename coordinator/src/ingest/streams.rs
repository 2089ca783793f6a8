//! Where the deflate streams of an archive lie, those of the archives within included.
//!
//! Owns no judgement: an archive that is none, or not sound, has no streams. It is asked about files of packages that
//! were found sound before.

use difusor_proto::opened::Member;

use super::{
    Caps,
    archive::{Archive, Budget},
    directory::Method,
    end, inflate,
};

/// Bytes of a stream below which it is left as it is: a patch and a recipe would not be smaller.
const LEAST: u64 = 64;

/// The streams of an archive, in the order in which they lie; none if it is no archive.
pub fn streams(bytes: &[u8], caps: &Caps) -> Vec<Member> {
    let mut members = Vec::new();
    list(bytes, caps, &Budget::new(caps), caps.depth, "", 0, &mut members);
    in_order(members)
}

/// Members as they lie, each place once.
fn in_order(mut members: Vec<Member>) -> Vec<Member> {
    members.sort_by_key(|member| member.at);
    members.dedup_by_key(|member| member.at);
    members
}

/// Adds the streams of an archive that begins `offset` bytes into what is being listed.
fn list(bytes: &[u8], caps: &Caps, budget: &Budget, depth: u32, prefix: &str, offset: u64, members: &mut Vec<Member>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let Ok(archive) = Archive::open(bytes, caps, budget) else { return };
    for item in archive.items.iter().filter(|item| !item.folder) {
        let name = format!("{prefix}{}", item.path);
        let (at, data) = (offset + item.data_at as u64, item.data(bytes));
        let is_archive = |plain: &[u8]| end::looks_like_zip(plain, false);
        match item.method {
            Method::Stored if is_archive(data) => list(data, caps, budget, depth, &format!("{name}!/"), at, members),
            Method::Stored => {}
            Method::Deflate => {
                let (len, size) = (item.len as u64, item.size as u64);
                let mut within = Vec::new();
                if item.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"))
                    && let Ok(plain) = inflate::plain(bytes, item, Vec::new())
                    && is_archive(&plain)
                {
                    list(&plain, caps, budget, depth, &format!("{name}!/"), 0, &mut within);
                    within = in_order(within);
                }
                if len >= LEAST {
                    members.push(Member { name, at, len, size, members: within });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use difusor_proto::opened::{self, Streams};
    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn zip(files: &[(&str, &[u8], bool)]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes, deflated) in files {
            let method = if *deflated { CompressionMethod::Deflated } else { CompressionMethod::Stored };
            writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn table(seed: usize, cut: usize) -> Vec<u8> {
        let mut out = format!("PREP {cut}\n").into_bytes();
        for row in 0..4_000_usize {
            let mix = blake3_of(seed * 10_000 + row);
            if (row * 7 + seed) % 10 <= cut {
                writeln!(out, "{row:05},{},{},{mix}", row % 311, row % 97).unwrap();
            } else {
                writeln!(out, "{row:05},,,,").unwrap();
            }
        }
        out
    }

    fn blake3_of(number: usize) -> String {
        difusor_proto::Digest::of(&number.to_le_bytes()).to_string()
    }

    /// A zip of zips as the real ones are: `deep` deflates the inner ones once more.
    fn database(cut: usize, deep: bool) -> Vec<u8> {
        let label = format!("20240602_20{cut:02}");
        let inner = |seed: usize| {
            let readme =
                b"LEEME: tablas del programa, una por eleccion; separadas por comas, en UTF-8, una fila por acta.";
            zip(&[(&format!("{label}_{seed}.csv"), &table(seed, cut), true), ("LEEME.txt", readme, true)])
        };
        let (one, two) = (inner(1), inner(2));
        zip(&[
            (&format!("{label}_PRESIDENCIA.zip"), &one, deep),
            (&format!("{label}_SENADURIAS.zip"), &two, deep),
            ("nota.txt", b"stored", false),
        ])
    }

    #[test]
    fn a_zip_of_zips_travels_by_what_changed_in_it() {
        // Packers deflate an inner zip if that saves a few bytes, and so not at every cut.
        let all = [(false, false), (true, true), (false, true), (true, false)];
        for ((was_deep, deep), how) in
            all.into_iter().flat_map(|deep| [(deep, Streams::Follow), (deep, Streams::Alone)])
        {
            let (old, new) = (database(3, was_deep), database(4, deep));
            let caps = Caps::default();
            let (held, members) = (streams(&old, &caps), streams(&new, &caps));
            assert_eq!(members.len(), if deep { 2 } else { 4 }, "{members:?}");
            let coded = opened::encode(&old, &held, &new, &members, how).unwrap();
            assert!(opened::decode(&coded, &old, new.len() as u64).unwrap() == new);
            // A tenth of the rows is new, and nothing of their digests shrinks.
            let fresh = 2 * 400 * 32;
            assert!(coded.len() < fresh * 2, "{} bytes of {}, of which {fresh} are new", coded.len(), new.len());
            // From another predecessor comes nothing, or something else.
            let wrong = opened::decode(&coded, &new, new.len() as u64);
            assert!(wrong.map_or(true, |other| other != new));
            assert!(opened::decode(&coded, &old, new.len() as u64 + 1).is_err());
            for cut in [0, 7, 8, coded.len() / 2, coded.len() - 1] {
                assert!(opened::decode(&coded[..cut], &old, new.len() as u64).is_err());
            }
        }
    }

    #[test]
    fn what_is_no_archive_has_no_streams() {
        assert!(streams(b"no zip at all", &Caps::default()).is_empty());
        let mut broken = database(3, false);
        broken.truncate(broken.len() - 5);
        assert!(streams(&broken, &Caps::default()).is_empty());
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let (old, new) = (database(3, true), database(4, true));
        let caps = Caps::default();
        let coded = opened::encode(&old, &streams(&old, &caps), &new, &streams(&new, &caps), Streams::Follow).unwrap();
        for at in (0..coded.len()).step_by(97) {
            let mut bytes = coded.clone();
            bytes[at] ^= 0x41;
            let _ = opened::decode(&bytes, &old, new.len() as u64);
        }
    }
}

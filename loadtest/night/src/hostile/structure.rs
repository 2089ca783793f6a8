//! Packages whose structures contradict each other, hide something, or end too early.

use super::{
    Hostile, pieces, plus,
    raw::{Piece, end, zip},
    sound, table, table_data, table_with,
};

pub(super) fn wrong() -> Vec<Hostile> {
    let sound = sound();
    let hidden = {
        let mut pieces = pieces();
        let mut ghost = Piece::stored("ghost.html", b"not in the directory");
        ghost.listed = false;
        pieces.insert(1, ghost);
        zip(&pieces)
    };
    let page = pieces().first().map_or(0, |page| page.header().len() + page.data.len());
    let another_name = table_with(|piece| piece.local.name = b"assets/tabla.csv".to_vec());
    let prefixed = [b"#!/bin/sh\n", sound.as_slice()].concat();
    let trailed = [sound.as_slice(), b"trailing"].concat();
    // The highest byte of the offset in the last record.
    let last_record = (sound.len() - 22 - 46 - "assets/".len()) as u64;
    let beyond = {
        let mut bytes = sound.clone();
        let at = bytes.len() - 22 - "assets/".len() - 1;
        bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = 0x7f);
        bytes
    };
    let two_ends = {
        let mut bytes = sound.clone();
        let at = bytes.len() - 2;
        let other = end(0, 0, bytes.len());
        bytes.truncate(at);
        bytes.extend_from_slice(&u16::try_from(other.len()).unwrap_or_default().to_le_bytes());
        [bytes, other].concat()
    };
    let count = |count: u16| {
        let mut bytes = sound.clone();
        let at = bytes.len() - 14;
        for (to, from) in bytes.iter_mut().skip(at).zip([count.to_le_bytes(); 2].as_flattened()) {
            *to = *from;
        }
        bytes
    };
    let volumes = {
        let mut bytes = sound.clone();
        let at = bytes.len() - 18;
        bytes.iter_mut().skip(at).take(1).for_each(|disk| *disk = 1);
        bytes
    };
    let nested = |inner: Vec<u8>| plus(Piece::deflated("assets/inner.zip", &inner));
    let evil = zip(&[Piece::stored("fine.csv", b"1"), Piece::stored("../evil.csv", b"2")]);
    let wrong = zip(&[Piece::deflated("deep.csv", &table()).with(|head| head.crc32 ^= 1)]);
    let deep = zip(&[Piece::stored("middle.zip", &wrong)]);
    vec![
        Hostile::new("an entry that is not in the directory", &["foreign-data"], "ghost.html", hidden).at(page as u64),
        Hostile::new("headers differ in the name", &["header-mismatch"], "assets/table.csv", another_name)
            .at(page as u64),
        Hostile::new("something in front", &["foreign-data"], "", prefixed),
        Hostile::new("something behind", &["foreign-data"], "", trailed).at(sound.len() as u64),
        Hostile::new("an entry that lies beyond the end", &["header-mismatch"], "assets/", beyond).at(last_record),
        Hostile::new("two end records", &["ambiguous"], "", two_ends),
        Hostile::new("fewer entries announced", &["header-mismatch"], "", count(1)),
        Hostile::new("more entries announced", &["header-mismatch"], "", count(9)),
        Hostile::new("a volume of several", &["split-archive"], "", volumes),
        Hostile::new(
            "an inner zip that climbs out",
            &["path-traversal"],
            "assets/inner.zip!/../evil.csv",
            nested(evil),
        ),
        Hostile::new(
            "a wrong CRC two zips deep",
            &["crc-mismatch"],
            "assets/inner.zip!/middle.zip!/deep.csv",
            nested(deep),
        ),
    ]
}

pub(super) fn truncated() -> Vec<Hostile> {
    let sound = sound();
    let find = |signature: &[u8]| sound.windows(4).position(|window| window == signature).unwrap_or(0);
    let (directory, finish) = (find(b"PK\x01\x02"), find(b"PK\x05\x06"));
    let data = usize::try_from(table_data()).unwrap_or_default();
    let header = data - 30 - "assets/table.csv".len();
    let cut = |name, entry, at: usize, offset: usize| {
        let bytes = sound.get(..at).unwrap_or_default().to_vec();
        Hostile::new(name, &["truncated"], entry, bytes).at(offset as u64)
    };
    let mut commented = sound.clone();
    commented.truncate(sound.len() - 2);
    commented.extend_from_slice(b"\x40\x00half of a comment");
    vec![
        cut("ends in the first header", "", 20, 0),
        cut("ends in a local header", "", header + 12, header),
        cut("ends in a name", "", data - 3, header),
        cut("ends in data", "assets/table.csv", data + 100, header),
        cut("ends before the directory", "", directory, directory),
        cut("ends in the directory", "", directory + 60, directory),
        cut("ends before the end record", "", finish, directory),
        cut("ends in the end record", "", finish + 15, directory),
        Hostile::new("ends in the comment", &["truncated"], "", commented).at(finish as u64),
    ]
}

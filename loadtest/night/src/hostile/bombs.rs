//! Small packages that would fill memory or take for ever.

use super::{
    Hostile,
    raw::{Piece, finish, zip},
};

pub(super) fn all() -> Vec<Hostile> {
    let zeros = Piece::zeros("", 64);
    let named = |name: String| zeros.clone().with(|head| head.name = name.clone().into_bytes());
    let flat: Vec<Piece> = (0..40).map(|at| named(format!("zeros/{at:02}.json"))).collect();
    // Each inner zip is within the caps, all together are not.
    let half: Vec<Piece> = flat.iter().take(8).cloned().collect();
    let inner = zip(&half);
    let nested: Vec<Piece> = (0..5).map(|at| Piece::deflated(format!("{at}.zip"), &inner)).collect();
    let deep = zip(&[Piece::deflated("1.zip", &zip(&flat))]);
    vec![
        Hostile::new("a bomb of many files", &["bomb"], "zeros/32.json", zip(&flat)),
        Hostile::new("a bomb in one file", &["bomb"], "zeros.json", zip(&[Piece::zeros("zeros.json", 513)])),
        Hostile::new("a bomb of zips", &["bomb"], "3.zip!/zeros/07.json", zip(&nested)),
        Hostile::new(
            "a bomb two zips deep",
            &["bomb"],
            "0.zip!/1.zip!/zeros/31.json",
            zip(&[Piece::deflated("0.zip", &deep)]),
        ),
        Hostile::new("a bomb that names its data again and again", &["header-mismatch"], "1.json", shared()),
        Hostile::new("a bomb that quotes its headers", &["overlap"], "1.json", quoted()),
        Hostile::new("too many entries", &["too-many-entries"], "", crowd()),
        Hostile::new("no entries", &["no-entries"], "", zip(&[])),
        Hostile::new("folders only", &["no-entries"], "", zip(&[Piece::stored("assets/", b"")])),
    ]
}

/// One local entry, and a directory that lists it under many names.
fn shared() -> Vec<u8> {
    let piece = Piece::zeros("0.json", 64);
    let records = (0..1000).flat_map(|at| {
        let mut alias = piece.clone();
        alias.central.name = format!("{at}.json").into_bytes();
        alias.record(0)
    });
    let directory: Vec<u8> = records.collect();
    finish([piece.header(), piece.data].concat(), &directory, 1000)
}

/// Files that share one stream of zeros: each begins with a stored block that holds the header of the next (D. Fifield,
/// "A better zip bomb", 2019).
fn quoted() -> Vec<u8> {
    let mut last = Piece::zeros("63.json", 16);
    let (mut heads, mut body) = (Vec::new(), Vec::new());
    for at in (0..63).rev() {
        let quote = last.header();
        let mut piece = last.clone();
        let len = u16::try_from(quote.len()).unwrap_or_default();
        let block = [&[0][..], &len.to_le_bytes(), &(!len).to_le_bytes()].concat();
        body = [block, quote.clone(), if body.is_empty() { last.data.clone() } else { body }].concat();
        let mut crc = crc32fast::Hasher::new();
        crc.update(&quote);
        crc.combine(&crc32fast::Hasher::new_with_initial_len(last.local.crc32, last.local.size.into()));
        let crc32 = crc.finalize();
        piece.both(|head| {
            head.name = format!("{at}.json").into_bytes();
            head.crc32 = crc32;
            head.size += u32::from(len);
            head.len += u32::from(len) + 5;
        });
        heads.push(std::mem::replace(&mut last, piece));
    }
    heads.push(last);
    let mut directory = Vec::new();
    let mut at = 0;
    for piece in heads.iter().rev() {
        directory.extend_from_slice(&piece.record(at));
        at += piece.header().len() + 5;
    }
    let first = heads.last().map(Piece::header).unwrap_or_default();
    finish([first, body].concat(), &directory, heads.len())
}

/// More entries than any site has.
fn crowd() -> Vec<u8> {
    let pieces = (0..100_000).map(|at| Piece::stored(format!("{at}.json"), b"{}"));
    zip(&pieces.collect::<Vec<_>>())
}

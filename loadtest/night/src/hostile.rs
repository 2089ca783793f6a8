//! Packages that must be refused, each by its name: what attackers send, and what broken transfers leave.
//!
//! All are small and quickly made, also those that would inflate to gigabytes. [`sound`] is the package that most of
//! them are made from, so that a test can prove that it is the change that is refused.

mod raw;

use self::raw::{Piece, end, finish, zip};

/// A package that must be refused.
pub struct Hostile {
    /// What is wrong with it.
    pub name: &'static str,
    /// Codes of the reasons that are right; more than one where several things are wrong at once.
    pub reasons: &'static [&'static str],
    /// The entry to be named, if it is one entry's fault.
    pub entry: Option<&'static str>,
    /// The byte to be named, where there is exactly one right answer.
    pub offset: Option<u64>,
    /// The package.
    pub bytes: Vec<u8>,
}

impl Hostile {
    fn new(name: &'static str, reasons: &'static [&'static str], entry: &'static str, bytes: Vec<u8>) -> Self {
        let entry = (!entry.is_empty()).then_some(entry);
        Self { name, reasons, entry, offset: None, bytes }
    }

    fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }
}

/// A sound package: a page, a table and a folder.
pub fn sound() -> Vec<u8> {
    zip(&pieces())
}

/// All of them.
pub fn all() -> Vec<Hostile> {
    let mut all = names();
    all.extend(kinds());
    all.extend(lies());
    all.extend(structures());
    all.extend(truncated());
    all.extend(bombs());
    all.extend(not_zips());
    all
}

fn table() -> Vec<u8> {
    (0..500).flat_map(|row| format!("{row:06}|{}|{}\n", row * 7 % 311, row * 13 % 97).into_bytes()).collect()
}

fn pieces() -> Vec<Piece> {
    vec![
        Piece::stored("index.html", b"<!doctype html><title>PREP</title>"),
        Piece::deflated("assets/table.csv", &table()),
        Piece::stored("assets/", b""),
    ]
}

/// The sound package with one entry more.
fn plus(piece: Piece) -> Vec<u8> {
    let mut pieces = pieces();
    pieces.push(piece);
    zip(&pieces)
}

/// The sound package with its table changed.
fn table_with(change: impl Fn(&mut Piece)) -> Vec<u8> {
    let mut pieces = pieces();
    pieces.iter_mut().filter(|piece| piece.local.name.ends_with(b".csv")).for_each(change);
    zip(&pieces)
}

/// Where the data of the table lies in all packages that [`table_with`] makes.
fn table_data() -> u64 {
    let before = pieces().first().map_or(0, |page| page.header().len() + page.data.len());
    (before + 30 + "assets/table.csv".len()) as u64
}

fn names() -> Vec<Hostile> {
    let named =
        |title, reasons, name: &'static str| Hostile::new(title, reasons, name, plus(Piece::stored(name, b"x")));
    let case = |title, reasons, name| Hostile::new(title, reasons, name, plus(Piece::stored(name, b"x")));
    vec![
        named("climbs out", &["path-traversal"], "../evil.html"),
        named("climbs out from a folder", &["path-traversal"], "a/../../b.html"),
        named("climbs and comes back", &["path-traversal"], "assets/../index2.html"),
        Hostile::new(
            "climbs with backslashes",
            &["path-traversal"],
            "..\\\\..\\\\evil.html",
            plus(Piece::stored("..\\..\\evil.html", b"x")),
        ),
        named("absolute", &["path-absolute"], "/etc/passwd"),
        Hostile::new("absolute on a drive", &["path-absolute"], "C:\\\\win", plus(Piece::stored("C:\\win", b"x"))),
        Hostile::new("a NUL in the name", &["path-invalid"], "a\\0.html", plus(Piece::stored("a\0.html", b"x"))),
        Hostile::new("no name", &["path-invalid"], "", plus(Piece::stored("", b"x"))),
        Hostile::new("a name too long", &["path-invalid"], "", plus(Piece::stored("x/".repeat(900) + "x", b"x"))),
        Hostile::new(
            "a name that is not the UTF-8 it claims",
            &["path-invalid"],
            "\u{fffd}.html",
            plus(Piece::stored(b"\xff.html", b"x").with(|head| head.flags = 1 << 11)),
        ),
        case("one name twice", &["duplicate"], "index.html"),
        case("names that differ in case", &["case-collision"], "Index.HTML"),
        case("a file inside a file", &["path-conflict"], "index.html/inner.html"),
        case("a file where a folder is", &["path-conflict"], "assets"),
    ]
}

fn kinds() -> Vec<Hostile> {
    let mode = |name: &'static str, mode: u32| {
        let mut piece = Piece::stored(name, b"/etc/passwd");
        piece.attributes = mode << 16;
        plus(piece)
    };
    let flagged = |flags: u16| plus(Piece::stored("secret.json", b"0123456789ab").with(|head| head.flags = flags));
    let method = |method: u16| plus(Piece::stored("odd.json", b"0123456789ab").with(|head| head.method = method));
    let mut hidden_lock = Piece::stored("secret.json", b"0123456789ab");
    hidden_lock.local.flags = 1;
    vec![
        Hostile::new("a symbolic link", &["symlink"], "link", mode("link", 0o120_777)),
        Hostile::new("a device", &["special-file"], "dev", mode("dev", 0o020_644)),
        Hostile::new("a socket", &["special-file"], "socket", mode("socket", 0o140_644)),
        Hostile::new("a folder with content", &["special-file"], "folder/", mode("folder/", 0o040_755)),
        Hostile::new("encrypted", &["encrypted"], "secret.json", flagged(1)),
        Hostile::new("strongly encrypted", &["encrypted"], "secret.json", flagged(1 | 1 << 6)),
        Hostile::new("encrypted with AES", &["encrypted"], "odd.json", method(99)),
        Hostile::new("encrypted in the local header only", &["encrypted"], "secret.json", plus(hidden_lock)),
        Hostile::new("bzip2", &["unsupported-method"], "odd.json", method(12)),
        Hostile::new("deflate64", &["unsupported-method"], "odd.json", method(9)),
        Hostile::new("zstd", &["unsupported-method"], "odd.json", method(93)),
        Hostile::new("a method nobody knows", &["unsupported-method"], "odd.json", method(0xfffe)),
    ]
}

fn lies() -> Vec<Hostile> {
    let data = table_data();
    let lie = |name, reasons, change: &dyn Fn(&mut Piece)| {
        Hostile::new(name, reasons, "assets/table.csv", table_with(change))
    };
    let behind = |tail: fn(&Piece) -> Vec<u8>| {
        move |piece: &mut Piece| {
            piece.data.extend_from_slice(&tail(piece));
            let len = u32::try_from(piece.data.len()).unwrap_or_default();
            piece.both(|head| head.len = len);
        }
    };
    vec![
        lie("wrong CRC in both headers", &["crc-mismatch"], &|piece| piece.both(|head| head.crc32 ^= 1)).at(data),
        lie("wrong CRC in the directory", &["header-mismatch"], &|piece| piece.central.crc32 ^= 1),
        lie("wrong CRC in the local header", &["header-mismatch"], &|piece| piece.local.crc32 ^= 1),
        lie("declared shorter", &["size-mismatch"], &|piece| piece.both(|head| head.size -= 1)),
        lie("declared longer", &["size-mismatch"], &|piece| piece.both(|head| head.size += 1)).at(data),
        lie("declared far longer", &["size-mismatch"], &|piece| piece.both(|head| head.size = 500 << 20)),
        lie("sizes differ in the headers", &["header-mismatch"], &|piece| piece.local.size += 1),
        lie("data declared shorter", &["damaged-stream"], &|piece| piece.both(|head| head.len -= 1)),
        Hostile::new(
            "data declared longer",
            &["overlap"],
            "assets/",
            table_with(|piece| piece.both(|head| head.len += 9)),
        ),
        Hostile::new(
            "data reaches into the directory",
            &["overlap"],
            "late.json",
            plus(Piece::deflated("late.json", &table()).with(|head| head.len += 9)),
        ),
        lie("rubbish behind the stream", &["size-mismatch"], &behind(|_| b"rubbish".to_vec())),
        lie("one byte behind the stream", &["size-mismatch"], &behind(|_| vec![0])),
        // What a gzip decoder looks for right behind the stream, to pass for its end.
        lie(
            "a gzip trailer behind the stream",
            &["size-mismatch"],
            &behind(|piece| [piece.local.crc32.to_le_bytes(), piece.local.size.to_le_bytes(), *b"more"].concat()),
        ),
        lie("a stored file of another size", &["size-mismatch"], &|piece| piece.both(|head| head.method = 0)),
        lie("damaged at its start", &["damaged-stream"], &|piece| {
            if let Some(first) = piece.data.first_mut() {
                *first = 7;
            }
        }),
        lie("zeros in its middle", &["damaged-stream", "size-mismatch", "crc-mismatch"], &|piece| {
            let middle = piece.data.len() / 2;
            piece.data.iter_mut().skip(middle).take(64).for_each(|byte| *byte = 0);
        }),
    ]
}

fn structures() -> Vec<Hostile> {
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

fn truncated() -> Vec<Hostile> {
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

fn bombs() -> Vec<Hostile> {
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

fn not_zips() -> Vec<Hostile> {
    let page = b"<!doctype html><title>503 Service Unavailable</title>".to_vec();
    let mut noise = vec![0; 100_000];
    crate::prng::Stream::new(7, crate::prng::Domain::Static, 0, 0).fill(&mut noise);
    vec![
        Hostile::new("an error page", &["not-a-zip"], "", page).at(0),
        Hostile::new("nothing", &["not-a-zip"], "", vec![]).at(0),
        Hostile::new("noise", &["not-a-zip"], "", noise).at(0),
        Hostile::new("a gzip", &["not-a-zip"], "", b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\0\0\0\0\0\0\0\0\0".to_vec())
            .at(0),
    ]
}

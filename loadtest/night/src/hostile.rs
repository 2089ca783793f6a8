//! Packages that must be refused, each by its name: what attackers send, and what broken transfers leave.
//!
//! All are small and quickly made, also those that would inflate to gigabytes. [`sound`] is the package that most of
//! them are made from, so that a test can prove that it is the change that is refused.

mod bombs;
mod content;
mod raw;
mod structure;

use self::raw::{Piece, zip};

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
    all.extend(content::lies());
    all.extend(structure::wrong());
    all.extend(structure::truncated());
    all.extend(bombs::all());
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

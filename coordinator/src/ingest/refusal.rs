//! Why a package is refused: a closed set of reasons, each with what to do about it.

use std::fmt;

use difusor_proto::SitePath;
use serde::{Deserialize, Serialize};

/// Longest name of an entry in a report, in characters.
const NAME_SHOWN: usize = 200;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident, $code:literal, $advice:literal;)*) => {
        /// What is wrong with a package.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order in which the checks run.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name of the reason in reports, metrics and the ledger.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What to do about it, in one sentence.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}

reasons! {
    /// Larger than a package may be.
    TooLarge, "too-large", "Check that the source delivers the results package; if it truly is this large, raise the cap.";
    /// No end record, and no zip at the start either.
    NotAZip, "not-a-zip", "Look at what the source delivered: often it is an error page with status 200.";
    /// The bytes end too early.
    Truncated, "truncated", "Fetch the package again and compare its size with the source's.";
    /// Not one file in it.
    NoEntries, "no-entries", "Ask the source for the package again: an empty site is never published.";
    /// More entries than a package may have, members of inner archives counted in.
    TooManyEntries, "too-many-entries", "Treat it as an attack unless the source confirms the number of files; then raise the cap.";
    /// One part of an archive in several volumes.
    SplitArchive, "split-archive", "Ask the source for the package as a single zip.";
    /// An entry is encrypted, or the directory is.
    Encrypted, "encrypted", "Ask the source for the package without a password.";
    /// Neither stored nor deflate.
    UnsupportedMethod, "unsupported-method", "Ask the source to compress with deflate, the method that every reader knows.";
    /// The name climbs out of its folder.
    PathTraversal, "path-traversal", "Treat it as an attack and tell the source at once.";
    /// The name starts at the root or at a drive.
    PathAbsolute, "path-absolute", "Treat it as an attack unless the source packs with full paths by mistake.";
    /// The name is empty, too long, not text, or has backslashes or control characters.
    PathInvalid, "path-invalid", "Ask the source to pack with relative names, `/` between folders and UTF-8.";
    /// A symbolic link.
    Symlink, "symlink", "Ask the source to pack the file itself and not a link to it.";
    /// A device, socket or pipe, or a folder that has content.
    SpecialFile, "special-file", "Ask the source to pack regular files only.";
    /// Two entries of one name.
    Duplicate, "duplicate", "Ask the source which of the two is meant: readers disagree on it.";
    /// Two names that differ in upper and lower case only.
    CaseCollision, "case-collision", "Ask the source to rename one of them: on many systems one replaces the other.";
    /// A file where another entry needs a folder.
    PathConflict, "path-conflict", "Ask the source to rename one of them: no file system can hold both.";
    /// A local header and its record in the directory say different things.
    HeaderMismatch, "header-mismatch", "Fetch it again; if it stays, treat it as an attack: readers would see different files.";
    /// Two entries share bytes.
    Overlap, "overlap", "Treat it as an attack: no packer does this, bombs do.";
    /// Bytes that belong to no entry: a hidden entry, or something before or behind the archive.
    ForeignData, "foreign-data", "Fetch it again; if it stays, ask the source how the package was made.";
    /// Another reader of zips sees another archive.
    Ambiguous, "ambiguous", "Treat it as an attack: the package is made to look different to different readers.";
    /// A file, or all of them together, inflates to more than the caps allow.
    Bomb, "bomb", "Treat it as an attack unless the source confirms the sizes; then raise the cap.";
    /// Real and declared sizes differ.
    SizeMismatch, "size-mismatch", "Fetch the package again; if it stays, ask the source to pack it anew.";
    /// A deflate stream is broken.
    DamagedStream, "damaged-stream", "Fetch the package again and compare its checksum with the source's.";
    /// The plain bytes have another CRC-32 than the one declared.
    CrcMismatch, "crc-mismatch", "Fetch the package again and compare its checksum with the source's.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why a package was refused, with the first entry and byte that show it.
///
/// Equal bytes and caps give an equal refusal, on any number of threads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong.
    pub reason: Reason,
    /// The entry, if it is one entry's fault; members of inner archives are written `outer!/inner`. Safe to print:
    /// control characters are escaped and long names cut.
    pub entry: Option<String>,
    /// Where in the package, in bytes. For a member of an inner archive: where that archive's data starts.
    pub offset: Option<u64>,
    /// What was found and what was expected.
    pub detail: String,
}

impl Refusal {
    /// A refusal of the package as a whole.
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, entry: None, offset: None, detail: detail.into() }
    }

    /// Names the entry, as its raw name reads.
    pub(super) fn of(mut self, raw: &[u8]) -> Self {
        self.entry = Some(printable(raw));
        self
    }

    /// Names the byte.
    pub(super) fn at(mut self, offset: usize) -> Self {
        self.offset = Some(offset as u64);
        self
    }

    /// The same refusal seen from the archive around, where the inner one is `path` with its data at `offset`.
    pub(super) fn inside(mut self, path: &SitePath, offset: usize) -> Self {
        let outer = printable(path.as_str().as_bytes());
        self.entry = Some(match self.entry {
            Some(inner) => format!("{outer}!/{inner}"),
            None => outer,
        });
        self.offset = Some(offset as u64);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if let Some(entry) = &self.entry {
            write!(f, " in `{entry}`")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}. {}", self.detail, self.reason.advice())
    }
}

impl std::error::Error for Refusal {}

/// A name from outside, fit for a terminal and a page.
fn printable(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let mut shown: String = text.chars().take(NAME_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(NAME_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_serialised_names() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.code());
            assert!(reason.advice().ends_with('.'), "{reason}");
        }
    }

    #[test]
    fn a_refusal_reads_as_a_sentence_and_cannot_forge_lines() {
        let refusal = Refusal::new(Reason::CrcMismatch, "found 1, declared 2").of(b"a\n\x1b[2J\xff.json").at(77);
        let path = SitePath::try_from("out.zip").unwrap();
        let text = refusal.inside(&path, 9).to_string();
        assert!(
            text.starts_with("crc-mismatch in `out.zip!/a\\n\\u{1b}[2J\u{fffd}.json` at byte 9: found 1"),
            "{text}"
        );
        assert!(printable(&[b'x'; 9000]).chars().count() == NAME_SHOWN + 1);
    }
}

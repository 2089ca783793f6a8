//! The name of a pack of a cut, as it rests in a folder, in an object store and on the wire.
//!
//! ```text
//! SEQ-LABEL-ROOT-ID.KIND     0000000017-20240602_2005-0123456789ab-65537.cut
//! ```
//!
//! A name can only be made from a text of exactly this form: digits, lower case hex, `_`, `-` and one dot. So it holds
//! no separator, no `..`, nothing that a shell or an address would read as anything else, and two texts never mean one
//! pack. What it says of the cut is believed by nobody: the pack says that itself.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{CutKey, CutLabel};

/// Hex digits of the root in a name.
const ROOT: usize = 12;
/// Digits of the sequence number, at least.
const SEQ: usize = 10;

/// Why a text is no name of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pack is called SEQ-LABEL-ROOT-ID.cut or .delta")]
pub struct PackNameError;

/// In which form a pack keeps its cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackKind {
    /// As it came.
    Cut,
    /// By what differs from another cut.
    Delta,
}

/// The name of a pack. Later cuts compare greater.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackName {
    seq: u64,
    kind: PackKind,
    text: Box<str>,
}

impl PackName {
    /// Number of the cut.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// In which form the cut is kept.
    pub fn kind(&self) -> PackKind {
        self.kind
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if this is the name of a pack of that cut.
    pub fn is_of(&self, cut: &CutKey) -> bool {
        let root: String = cut.root.to_string().chars().take(ROOT).collect();
        self.cut() == format!("{:0SEQ$}-{}-{root}", cut.seq, cut.label)
    }

    /// What all packs of one cut have in common: `SEQ-LABEL-ROOT`.
    pub fn cut(&self) -> &str {
        self.text.rsplit_once('-').map_or(&*self.text, |(cut, _)| cut)
    }
}

/// A number without a sign or more zeros in front than `width` asks for.
fn number(text: &str, width: usize) -> Option<u64> {
    let number = text.parse::<u64>().ok()?;
    (format!("{number:0width$}") == text).then_some(number)
}

impl FromStr for PackName {
    type Err = PackNameError;

    fn from_str(text: &str) -> Result<Self, PackNameError> {
        let read = || {
            let (stem, kind) = text.split_once('.')?;
            let kind = match kind {
                "cut" => PackKind::Cut,
                "delta" => PackKind::Delta,
                _ => return None,
            };
            let mut parts = stem.split('-');
            let (seq, label, root, id) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
            let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            let whole = parts.next().is_none()
                && label.parse::<CutLabel>().is_ok()
                && root.len() == ROOT
                && root.bytes().all(hex)
                && number(id, 1).is_some_and(|id| u32::try_from(id).is_ok());
            whole.then_some(Self { seq: number(seq, SEQ)?, kind, text: text.into() })
        };
        read().ok_or(PackNameError)
    }
}

impl TryFrom<String> for PackName {
    type Error = PackNameError;

    fn try_from(text: String) -> Result<Self, PackNameError> {
        text.parse()
    }
}

impl From<PackName> for String {
    fn from(name: PackName) -> Self {
        name.text.into()
    }
}

impl fmt::Display for PackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "0000000017-20240602_2005-0123456789ab-65537.cut";

    #[test]
    fn names_say_what_they_are_of() {
        let name: PackName = NAME.parse().unwrap();
        assert_eq!((name.seq(), name.kind(), name.as_str()), (17, PackKind::Cut, NAME));
        let delta: PackName = NAME.replace("65537.cut", "3.delta").parse().unwrap();
        assert_eq!((delta.cut(), delta.kind()), (name.cut(), PackKind::Delta));
        assert_eq!(name.cut(), "0000000017-20240602_2005-0123456789ab");
        let huge: PackName = NAME.replace("0000000017", "18446744073709551615").parse().unwrap();
        assert!(huge > name && delta > name);
        let mut root = [0; 32];
        root[..6].copy_from_slice(&[1, 0x23, 0x45, 0x67, 0x89, 0xab]);
        let root = crate::Digest::from_bytes(root);
        let cut = CutKey { seq: 17, label: "20240602_2005".parse().unwrap(), root };
        assert!(name.is_of(&cut) && delta.is_of(&cut));
        assert!(!name.is_of(&CutKey { seq: 18, ..cut }) && !huge.is_of(&cut));
        assert!(!name.is_of(&CutKey { root: crate::Digest::from_bytes([0; 32]), ..cut }));
    }

    #[test]
    fn nothing_else_is_a_name() {
        for (from, to) in [
            ("0000000017", "17"),
            ("0000000017", "00000000017"),
            ("0000000017", "+000000017"),
            ("0000000017", "../0000000017"),
            ("0000000017", "/0000000017"),
            ("20240602_2005", "20241302_2005"),
            ("0123456789ab", "0123456789AB"),
            ("0123456789ab", "0123456789a"),
            ("0123456789ab", "..0123456789"),
            ("65537", "065537"),
            ("65537", "4294967296"),
            ("65537", ""),
            ("65537", "1-65537"),
            (".cut", ".plain"),
            (".cut", ".cut.tmp"),
            (".cut", ".cut/x"),
            (".cut", "\0.cut"),
            (".cut", ""),
        ] {
            let text = NAME.replacen(from, to, 1);
            assert_eq!(text.parse::<PackName>(), Err(PackNameError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_a_name_stays_inside_a_folder(text in "[0-9a-f./\\\\_-]{0,60}|[0-9]{10}-2024060[12]_2005-[0-9a-f]{12}-[0-9]{1,4}\\.(cut|delta)") {
            if let Ok(name) = text.parse::<PackName>() {
                prop_assert_eq!(name.as_str(), text.as_str());
                prop_assert!(!text.contains(['/', '\\']) && !text.contains(".."));
                let inside = std::path::Path::new("folder").join(name.as_str());
                prop_assert_eq!(inside.parent(), Some(std::path::Path::new("folder")));
            }
        }
    }
}

//! Names of entries: what a raw name reads as, and that no two of an archive stand in each other's way.
//!
//! Names are judged as they are written. Readers that make `/a` or `b/../a` into `a` first would never see the attack.

use difusor_proto::{SitePath, path::PathError};

use super::{
    directory::Item,
    fields::{extra, long},
    refusal::{Reason, Refusal},
};

/// General purpose bit 11: name and comment are UTF-8.
const UTF8: u16 = 1 << 11;
/// Extra field of the Info-ZIP Unicode path (section 4.6.9).
const UNICODE_PATH: u16 = 0x7075;

/// The upper half of code page 437, in which names without a mark are written (appendix D).
const CODE_PAGE_437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// The path that a raw name means, and whether it is a folder's.
///
/// UTF-8 is taken as such with or without the mark, since packers on Unix and macOS often leave the mark out; the
/// Unicode extra field wins if it belongs to this name.
///
/// # Errors
/// Why it is no path of a site.
pub(super) fn path(raw: &[u8], flags: u16, fields: &[u8]) -> Result<(SitePath, bool), (Reason, String)> {
    let text = match (unicode_path(raw, fields).unwrap_or_else(|| std::str::from_utf8(raw)), flags & UTF8) {
        (Ok(text), _) => text.to_owned(),
        (Err(_), 0) => raw.iter().map(|byte| code_page_437(*byte)).collect(),
        (Err(error), _) => return Err((Reason::PathInvalid, format!("the name is not the UTF-8 it claims: {error}"))),
    };
    let (file, folder) = text.strip_suffix('/').map_or((text.as_str(), false), |folder| (folder, true));
    let path = SitePath::try_from(file).map_err(|error| {
        let reason = match error {
            PathError::Traversal => Reason::PathTraversal,
            PathError::Absolute => Reason::PathAbsolute,
            PathError::Empty | PathError::Character | PathError::Long => Reason::PathInvalid,
        };
        (reason, error.to_string())
    })?;
    Ok((path, folder))
}

fn unicode_path<'a>(raw: &[u8], fields: &'a [u8]) -> Option<Result<&'a str, std::str::Utf8Error>> {
    let field = extra(fields, UNICODE_PATH)?;
    let current = field.first() == Some(&1) && long(field, 1) == Some(crc32fast::hash(raw));
    current.then(|| std::str::from_utf8(field.get(5..).unwrap_or_default()))
}

fn code_page_437(byte: u8) -> char {
    match byte.checked_sub(128) {
        None => byte.into(),
        Some(upper) => CODE_PAGE_437.chars().nth(upper.into()).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

/// Checks that all paths can stand side by side, also where upper and lower case are one.
///
/// # Errors
/// [`Reason::Duplicate`], [`Reason::CaseCollision`] or [`Reason::PathConflict`] of the lowest entry.
pub(super) fn side_by_side(items: &[Item<'_>]) -> Result<(), Refusal> {
    let mut sorted: Vec<(Vec<u8>, &Item<'_>)> = items.iter().map(|item| (folded(&item.path), item)).collect();
    sorted.sort_unstable_by(|(a, x), (b, y)| (a, x.index).cmp(&(b, y.index)));
    let trouble = sorted.iter().zip(sorted.iter().skip(1)).filter_map(|((a, x), (b, y))| {
        let reason = if a == b {
            match (x.folder, y.folder) {
                (true, true) => return None,
                (false, false) if x.path == y.path => Reason::Duplicate,
                (false, false) => Reason::CaseCollision,
                _ => Reason::PathConflict,
            }
        } else if !x.folder && b.strip_prefix(a.as_slice()).is_some_and(|rest| rest.first() == Some(&0)) {
            Reason::PathConflict
        } else {
            return None;
        };
        let (first, second) = if x.index < y.index { (x, y) } else { (y, x) };
        Some((second, first, reason))
    });
    let Some((second, first, reason)) = trouble.min_by_key(|(second, ..)| second.index) else { return Ok(()) };
    let other = Refusal::new(reason, "").of(first.raw).entry.unwrap_or_default();
    let detail = format!("stands in the way of `{other}`, the entry with the header at byte {}", first.header_at);
    Err(Refusal::new(reason, detail).of(second.raw).at(second.record_at))
}

/// A key under which names that collide are equal, and all that lies in a folder comes right behind it.
fn folded(path: &SitePath) -> Vec<u8> {
    let mut key = path.as_str().to_lowercase().into_bytes();
    for byte in &mut key {
        if *byte == b'/' {
            // No path has a NUL, so nothing sorts between a folder and what it holds.
            *byte = 0;
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &[u8], flags: u16) -> Result<(String, bool), Reason> {
        path(raw, flags, &[]).map(|(path, folder)| (path.to_string(), folder)).map_err(|(reason, _)| reason)
    }

    #[test]
    fn names_in_each_charset() {
        assert_eq!(read("año.csv".as_bytes(), UTF8), Ok(("año.csv".into(), false)));
        assert_eq!(read("año/".as_bytes(), 0), Ok(("año".into(), true)));
        assert_eq!(read(b"a\xa4o.csv", 0), Ok(("año.csv".into(), false)));
        assert_eq!(read(b"a\xa4o.csv", UTF8), Err(Reason::PathInvalid));
        assert_eq!(CODE_PAGE_437.chars().count(), 128);
    }

    #[test]
    fn the_unicode_field_counts_only_for_its_own_name() {
        let field = |of: &[u8]| {
            let crc = crc32fast::hash(of).to_le_bytes();
            [&b"\x75\x70\x0b\x00\x01"[..], &crc, "ñ.json".as_bytes()].concat()
        };
        let mut fields = field(b"n.json");
        fields[2] = 12;
        assert_eq!(path(b"n.json", 0, &fields).unwrap().0.as_str(), "ñ.json");
        let mut fields = field(b"other");
        fields[2] = 12;
        assert_eq!(path(b"n.json", 0, &fields).unwrap().0.as_str(), "n.json");
    }

    #[test]
    fn raw_names_are_not_tidied_first() {
        for (raw, reason) in [
            (&b"../x"[..], Reason::PathTraversal),
            (b"a/../b", Reason::PathTraversal),
            (b"..\\..\\x", Reason::PathTraversal),
            (b"/etc/passwd", Reason::PathAbsolute),
            (b"C:\\win", Reason::PathAbsolute),
            (b"a\\b", Reason::PathInvalid),
            (b"a//", Reason::PathInvalid),
            (b"a\0.json", Reason::PathInvalid),
            (b"", Reason::PathInvalid),
            (b"/", Reason::PathInvalid),
        ] {
            assert_eq!(read(raw, 0), Err(reason), "{raw:?}");
        }
    }
}

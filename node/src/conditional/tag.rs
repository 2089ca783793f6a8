//! Entity tags and lists of them (RFC 9110 section 8.8.3).
//!
//! A tag may hold commas, so its quotes are what separates the members of a list. What follows a malformed member is
//! not read: that costs a client a full answer, and never gives it a wrong one.

use crate::head::Lines;

/// A tag of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag<'a> {
    /// True with `W/`.
    pub(crate) weak: bool,
    /// With its quotes.
    pub(crate) quoted: &'a [u8],
}

/// The tags of one line, up to the first that is malformed.
#[derive(Debug)]
pub(crate) struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        let start = self.0.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let (weak, list) = match std::mem::take(&mut self.0).get(start..)? {
            [b'W', b'/', list @ ..] => (true, list),
            list => (false, list),
        };
        let opaque = list.strip_prefix(b"\"")?.iter().position(|byte| !is_opaque(*byte))?;
        let (quoted, rest) = list.split_at_checked(opaque + 2)?;
        // Two tags without a comma between them are no list.
        let follows = rest.trim_ascii_start();
        if quoted.last() == Some(&b'"') && (follows.is_empty() || follows.starts_with(b",")) {
            self.0 = follows;
            Some(Tag { weak, quoted })
        } else {
            None
        }
    }
}

/// The characters between the quotes; whatever else comes is the closing quote or an error.
fn is_opaque(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)
}

/// The one tag that a value is; `None` if it is anything else.
pub(crate) fn single(value: &[u8]) -> Option<Tag<'_>> {
    let value = value.trim_ascii();
    let tag = Tags(value).next()?;
    let prefix = if tag.weak { 2 } else { 0 };
    (value.len() == tag.quoted.len() + prefix).then_some(tag)
}

/// True if a list has the strong `tag` as a strong one, or is `*` (RFC 9110 section 13.1.1).
pub(crate) fn lists_strongly(lines: &Lines<'_>, tag: &[u8]) -> bool {
    lines.iter().any(|line| is_any(line) || Tags(line).any(|listed| !listed.weak && listed.quoted == tag))
}

/// True if a list has `tag`, be it as a weak one, or another that is as good, or is `*` (RFC 9110 section 13.1.2).
pub(crate) fn lists_weakly(lines: &Lines<'_>, tag: &[u8], mut as_good: impl FnMut(&[u8]) -> bool) -> bool {
    // What most clients send: the one tag, as they were given it.
    if lines.only() == Some(tag) {
        return true;
    }
    let has = |quoted: &[u8]| lines.iter().any(|line| Tags(line).any(|listed| listed.quoted == quoted));
    if lines.iter().any(is_any) || has(tag) {
        return true;
    }
    lines.iter().any(|line| Tags(line).any(|listed| as_good(listed.quoted)))
}

fn is_any(line: &[u8]) -> bool {
    line.trim_ascii() == b"*"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strong(quoted: &[u8]) -> Tag<'_> {
        Tag { weak: false, quoted }
    }

    #[test]
    fn lists_end_at_what_is_malformed() {
        let weak = Tag { weak: true, quoted: b"\"a\"" };
        for (line, expected) in [
            (&b""[..], &[][..]),
            (b" , \t,", &[]),
            (b"\"a\"", &[strong(b"\"a\"")]),
            (b"W/\"a\"", &[weak]),
            (b"  W/\"a\" , ,\"a\",", &[weak, strong(b"\"a\"")]),
            (b"\"\"", &[strong(b"\"\"")]),
            (b"\"a,b\",\"c\\\"", &[strong(b"\"a,b\""), strong(b"\"c\\\"")]),
            (b"\"\xff\"", &[strong(b"\"\xff\"")]),
            (b"\"a\" \"b\"", &[]),
            (b"\"x\",\"a\"\"b\"", &[strong(b"\"x\"")]),
            (b"\"x\", a, \"b\"", &[strong(b"\"x\"")]),
            (b"\"a b\"", &[]),
            (b"\"a\x7f\"", &[]),
            (b"\"a , \"b\"", &[]),
            (b"\"a ", &[]),
            (b"\"a", &[]),
            (b"\"", &[]),
            (b"W/", &[]),
            (b"w/\"a\"", &[]),
            (b"W/ \"a\"", &[]),
            (b"*", &[]),
        ] {
            assert_eq!(Tags(line).collect::<Vec<_>>(), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_single_one() {
        assert_eq!(single(b" \"a\" "), Some(strong(b"\"a\"")));
        assert_eq!(single(b"W/\"a\""), Some(Tag { weak: true, quoted: b"\"a\"" }));
        for value in [&b""[..], b"a", b"\"a\",", b"\"a\", \"b\"", b"\"a\"b", b",\"a\"", b"*"] {
            assert_eq!(single(value), None, "{}", value.escape_ascii());
        }
    }
}

//! Fields of answers, encoded once: as the lines of HTTP/1.1, and as parts of the field sections of HTTP/2 and HTTP/3.
//!
//! A snapshot makes the blocks of every file before it is served, so a request copies a few hundred bytes instead of
//! formatting a dozen fields. The forms of HTTP/2 and HTTP/3 use the static tables and literals that are not indexed (RFC
//! 7541 section 6.2.2, RFC 9204 section 4.5): they mean the same on every connection, whatever was sent there before.

use crate::{http2::hpack, http3::qpack};

/// Some fields of an answer, in order. Names are in lower case.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Block {
    lines: Vec<u8>,
    packed: Vec<u8>,
    section: Vec<u8>,
}

impl Block {
    /// The block of these fields.
    ///
    /// The names and values are of this program, or were checked when they were read: they hold no control characters.
    pub fn new<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut block = Self::default();
        for (name, value) in fields {
            block.push(name, value);
        }
        block
    }

    /// Adds a field.
    pub fn push(&mut self, name: &str, value: &str) {
        debug_assert!(!value.bytes().any(|byte| byte.is_ascii_control()), "{name}: {value:?}");
        self.lines.extend_from_slice(name.as_bytes());
        self.lines.extend_from_slice(b": ");
        self.lines.extend_from_slice(value.as_bytes());
        self.lines.extend_from_slice(b"\r\n");
        hpack::encode(name, value, &mut self.packed);
        qpack::encode(name, value, &mut self.section);
    }

    /// As lines of HTTP/1.1, each with its end.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// As a part of a field block of HTTP/2.
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// As a part of a field section of HTTP/3, behind [`qpack::PREFIX`].
    pub fn section(&self) -> &[u8] {
        &self.section
    }

    /// Name and value of each field.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = str::from_utf8(&self.lines).unwrap_or_default();
        text.split("\r\n").filter_map(|line| line.split_once(": "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let block =
            Block::new([("content-type", "text/html"), ("etag", "\"a: b\""), ("difusor-cut", "20210606_2000/3")]);
        assert_eq!(
            block.lines(),
            b"content-type: text/html\r\netag: \"a: b\"\r\ndifusor-cut: 20210606_2000/3\r\n".as_slice()
        );
        let fields: Vec<_> = block.fields().collect();
        assert_eq!(fields, [("content-type", "text/html"), ("etag", "\"a: b\""), ("difusor-cut", "20210606_2000/3")]);
    }
}

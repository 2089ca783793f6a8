//! Field sections of requests (RFC 9204 section 4.5).
//!
//! One buffer serves all requests of a thread, one after the other: it holds what one section says, in the form in which
//! [`request`](crate::fields::request) reads it, and is overwritten by the next.

use super::{TABLE, Undecodable};
use crate::fields::{
    Known, Line, Literal, Name, OVERHEAD,
    prefixed::{number, string},
};

/// Whether a list of fields is within the limit for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http3) enum Size {
    /// The fields can be read.
    Within,
    /// They are beyond it, and none was kept. What follows in the section was not looked at.
    Beyond,
}

/// The fields of the last section that was decoded.
#[derive(Debug, Default)]
pub(in crate::http3) struct Section {
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, Copy)]
enum Field {
    /// A place in the static table.
    Static(usize),
    Literal(Literal),
}

impl Section {
    /// Reads a whole section of fields that are not more than `max` bytes, counted as in RFC 9114 section 4.2.2.
    ///
    /// # Errors
    ///
    /// [`Undecodable`] for anything that is against RFC 9204, and for references to a dynamic table, which there is none
    /// of.
    pub(in crate::http3) fn decode(&mut self, section: &[u8], max: usize) -> Result<Size, Undecodable> {
        self.bytes.clear();
        self.fields.clear();
        let mut rest = prefix(section).ok_or(Undecodable)?;
        let mut size = 0;
        while let Some((&first, tail)) = rest.split_first() {
            rest = tail;
            let (field, len) = self.line(first, &mut rest).ok_or(Undecodable)?;
            size += len + OVERHEAD;
            if size > max {
                self.fields.clear();
                return Ok(Size::Beyond);
            }
            self.fields.push(field);
        }
        Ok(Size::Within)
    }

    /// The fields, in order.
    pub(in crate::http3) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.fields.iter().filter_map(|field| match field {
            Field::Static(index) => TABLE.get(*index).map(Known::line),
            Field::Literal(literal) => literal.line(&self.bytes),
        })
    }

    /// One line, and how long name and value are.
    fn line(&mut self, first: u8, rest: &mut &[u8]) -> Option<(Field, usize)> {
        match first {
            // RFC 9204 section 4.5.2: an entry of the static table.
            0b1100_0000.. => {
                let index = number(first, 6, rest)?;
                Some((Field::Static(index), TABLE.get(index)?.len()))
            }
            // RFC 9204 section 4.5.4: a literal with the name of such an entry.
            0b0101_0000..=0b0101_1111 | 0b0111_0000..=0b0111_1111 => {
                let (at, entry) = (self.bytes.len(), TABLE.get(number(first, 4, rest)?)?);
                self.bytes.extend_from_slice(entry.name.as_bytes());
                self.literal(entry.kind, at, rest)
            }
            // RFC 9204 section 4.5.6: a literal with a name of its own.
            0b0010_0000..=0b0011_1111 => {
                let at = self.bytes.len();
                string(first, 3, rest, &mut self.bytes)?;
                self.literal(Name::of(self.bytes.get(at..)?), at, rest)
            }
            // Everything else refers to a dynamic table.
            _ => None,
        }
    }

    /// The value behind a name that is in the buffer.
    fn literal(&mut self, kind: Name, at: usize, rest: &mut &[u8]) -> Option<(Field, usize)> {
        let name = self.bytes.len() - at;
        let (&first, tail) = rest.split_first()?;
        *rest = tail;
        string(first, 7, rest, &mut self.bytes)?;
        let literal = Literal::last(kind, &self.bytes, at, name);
        Some((Field::Literal(literal), literal.len()))
    }
}

/// What follows the prefix of a section that needs no entry of a dynamic table (RFC 9204 section 4.5.1): a required
/// count of 0, and a base that is not negative.
fn prefix(section: &[u8]) -> Option<&[u8]> {
    let (required, rest) = section.split_first()?;
    let (&base, mut rest) = rest.split_first()?;
    if *required != 0 || base & 0x80 != 0 {
        return None;
    }
    number(base, 7, &mut rest)?;
    Some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http3::qpack;

    const MAX: usize = 1000;

    fn decoded(bytes: &[u8]) -> Result<Vec<(String, String)>, Undecodable> {
        let mut section = Section::default();
        assert_eq!(section.decode(bytes, MAX)?, Size::Within);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(section.lines().map(|line| (text(line.name), text(line.value))).collect())
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    /// RFC 9204 appendix B.1.
    #[test]
    fn golden() {
        let bytes = [&[0, 0, 0x51, 0x0b][..], b"/index.html"].concat();
        assert_eq!(decoded(&bytes), Ok(vec![pair(":path", "/index.html")]));
        let bytes = b"\0\0\xd1\xd7\xc1\x50\x09localhost\x27\x04difusor-cut\x011";
        let expected = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "localhost")];
        let mut expected: Vec<_> = expected.map(|(name, value)| pair(name, value)).into();
        expected.push(pair("difusor-cut", "1"));
        assert_eq!(decoded(bytes), Ok(expected));
        // N, "never indexed", changes nothing.
        assert_eq!(decoded(b"\0\0\x71\x01/\x31a\x01b"), Ok(vec![pair(":path", "/"), pair("a", "b")]));
        // A base without a need for one.
        assert_eq!(decoded(b"\0\x7f\x05\xd1"), Ok(vec![pair(":method", "GET")]));
    }

    #[test]
    fn what_is_no_section() {
        for wrong in [
            &b""[..],
            b"\0",
            b"\x01\0\xd1",
            b"\0\x80\xd1",
            b"\0\0\xff\x24",
            b"\0\0\x80",
            b"\0\0\x10",
            b"\0\0\x01\x01a",
            b"\0\0\x41\x01a",
            b"\0\0\x61\x01a",
            b"\0\0\x5f",
            b"\0\0\x5f\x54\x01a",
            b"\0\0\x51",
            b"\0\0\x51\x02a",
            b"\0\0\x23ab",
            b"\0\0\x23abc",
            b"\0\0\x23abc\x81\x18",
            b"\0\0\xff\xff\xff\xff\xff\x0f",
        ] {
            assert_eq!(decoded(wrong), Err(Undecodable), "{wrong:?}");
        }
    }

    #[test]
    fn the_limit_is_one_of_what_is_said() {
        let mut section = Section::default();
        // `:method: GET` counts 42.
        let bytes = [&[0, 0][..], &[0xd1; 10]].concat();
        assert_eq!(section.decode(&bytes, 420), Ok(Size::Within));
        assert_eq!(section.lines().count(), 10);
        assert_eq!(section.decode(&bytes, 419), Ok(Size::Beyond));
        assert_eq!(section.lines().count(), 0);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(fields in prop::collection::vec(("[a-z-]{1,20}", ".{0,60}"), 0..8)) {
            let mut bytes = qpack::PREFIX.to_vec();
            fields.iter().for_each(|(name, value)| qpack::encode(name, value, &mut bytes));
            let mut section = Section::default();
            prop_assert_eq!(section.decode(&bytes, 1 << 20), Ok(Size::Within));
            let read: Vec<_> = section.lines().map(|line| (line.name.to_vec(), line.value.to_vec())).collect();
            let expected: Vec<_> = fields.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut section = Section::default();
            if section.decode(&[&[0, 0], bytes.as_slice()].concat(), MAX).is_ok() {
                prop_assert!(section.lines().map(|line| line.name.len() + line.value.len()).sum::<usize>() <= MAX);
            }
        }
    }
}

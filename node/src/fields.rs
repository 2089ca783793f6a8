//! Field sections of HTTP/2 and HTTP/3: what HPACK (RFC 7541) and QPACK (RFC 9204) have in common, and the request that
//! is read from either.
//!
//! [`name`] knows what a name means to a request, [`prefixed`] and [`huffman`] are how numbers and strings are written,
//! [`request`] makes the head of a request of the lines that were decoded. Nothing here has state.

mod huffman;
pub mod name;
pub mod prefixed;
pub(crate) mod request;

pub use self::name::Name;

/// What a line of a table or of a list counts beside its bytes (RFC 7541 section 4.1, RFC 9204 section 3.2.1, RFC 9114
/// section 4.2.2).
pub const OVERHEAD: usize = 32;

/// A field as it was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// What the name means.
    pub kind: Name,
    /// The name.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// True if the value can be one (RFC 9113 section 8.2.1, RFC 9114 section 10.3).
    pub sound: bool,
}

/// An entry of a static table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) kind: Name,
    pub(crate) name: &'static str,
    pub(crate) value: &'static str,
}

impl Known {
    pub(crate) const fn new(kind: Name, name: &'static str, value: &'static str) -> Self {
        Self { kind, name, value }
    }

    /// One that no answer depends on.
    pub(crate) const fn other(name: &'static str, value: &'static str) -> Self {
        Self::new(Name::Other, name, value)
    }

    /// The status of an answer, which no request has.
    pub(crate) const fn status(value: &'static str) -> Self {
        Self::new(Name::UnknownPseudo, ":status", value)
    }

    /// Name and value.
    pub(crate) fn len(&self) -> usize {
        self.name.len() + self.value.len()
    }

    pub(crate) fn line(&self) -> Line<'static> {
        Line { kind: self.kind, name: self.name.as_bytes(), value: self.value.as_bytes(), sound: true }
    }
}

/// A name and, directly behind it, a value, in a buffer of decoded bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Literal {
    pub(crate) kind: Name,
    sound: bool,
    pub(crate) at: usize,
    pub(crate) name: usize,
    value: usize,
}

impl Literal {
    /// The one at the end of `bytes`, which begins at `at` and whose name has `name` bytes.
    pub(crate) fn last(kind: Name, bytes: &[u8], at: usize, name: usize) -> Self {
        let value = bytes.get(at + name..).unwrap_or_default();
        Self { kind, sound: name::sound(value), at, name, value: value.len() }
    }

    /// Name and value.
    pub(crate) fn len(&self) -> usize {
        self.name + self.value
    }

    /// The field; `None` if it is not of these bytes.
    pub(crate) fn line<'a>(&self, bytes: &'a [u8]) -> Option<Line<'a>> {
        let (name, value) = bytes.get(self.at..self.at + self.len())?.split_at_checked(self.name)?;
        Some(Line { kind: self.kind, name, value, sound: self.sound })
    }
}

//! What a field name means to a request: found once for each name, not once for each request that repeats it.

use crate::head::Field;

/// The kinds of field names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// `:method`.
    Method,
    /// `:scheme`.
    Scheme,
    /// `:authority`.
    Authority,
    /// `:path`.
    Path,
    /// Any other that begins with a colon: none is defined for requests here (RFC 9113 section 8.3, RFC 9114 section 4.3).
    UnknownPseudo,
    /// `host`, which must say the same as `:authority`.
    Host,
    /// `te`, of which only `trailers` is left (RFC 9113 section 8.2.2).
    Te,
    /// `content-length`.
    ContentLength,
    /// `expect`.
    Expect,
    /// A field of the connection: HTTP/2 and HTTP/3 have none (RFC 9113 section 8.2.2, RFC 9114 section 4.2).
    Connection,
    /// A field that an answer can depend on.
    Field(Field),
    /// Any other valid name.
    Other,
    /// Not a name in HTTP/2 and HTTP/3 (RFC 9113 section 8.2.1, RFC 9114 section 4.2).
    Invalid,
}

impl Name {
    /// The kind of `name`.
    pub fn of(name: &[u8]) -> Self {
        let (pseudo, rest) = match name.split_first() {
            Some((b':', rest)) => (true, rest),
            _ => (false, name),
        };
        if rest.is_empty() || rest.iter().any(|&byte| !valid(byte)) {
            return Self::Invalid;
        }
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            _ if pseudo => Self::UnknownPseudo,
            b"host" => Self::Host,
            b"te" => Self::Te,
            b"content-length" => Self::ContentLength,
            b"expect" => Self::Expect,
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => Self::Connection,
            _ => Field::from_name(name).map_or(Self::Other, Self::Field),
        }
    }
}

/// The bytes of RFC 9113 section 8.2.1; whoever is stricter (RFC 9110 section 5.1) refuses no more attacks.
fn valid(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && !byte.is_ascii_uppercase() && byte != b':'
}

/// True if `value` can be the value of a field (RFC 9113 section 8.2.1).
pub(super) fn sound(value: &[u8]) -> bool {
    let edge = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    // Without a branch in it, the loop is done sixteen bytes at a time.
    let broken = value.iter().fold(false, |found, &byte| found | (byte == 0) | (byte == b'\r') | (byte == b'\n'));
    !broken && !edge(value.first()) && !edge(value.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_kinds() {
        for (name, kind) in [
            (":path", Name::Path),
            (":protocol", Name::UnknownPseudo),
            (":status", Name::UnknownPseudo),
            ("if-range", Name::Field(Field::IfRange)),
            ("x-forwarded-for", Name::Field(Field::XForwardedFor)),
            ("cookie", Name::Other),
            ("keep-alive", Name::Connection),
            ("", Name::Invalid),
            (":", Name::Invalid),
            ("Range", Name::Invalid),
            ("a b", Name::Invalid),
            ("a:b", Name::Invalid),
            ("::path", Name::Invalid),
            ("a\u{7f}", Name::Invalid),
            ("é", Name::Invalid),
        ] {
            assert_eq!(Name::of(name.as_bytes()), kind, "{name:?}");
        }
    }

    #[test]
    fn values_have_no_breaks_and_no_edges() {
        for value in ["", "a", "a b", "a\tb", "é\u{1}"] {
            assert!(sound(value.as_bytes()), "{value:?}");
        }
        for value in [" ", " a", "a ", "\ta", "a\t", "a\r", "a\nb", "\0"] {
            assert!(!sound(value.as_bytes()), "{value:?}");
        }
    }
}

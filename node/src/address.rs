//! From the path of a request to the name of a file, and back.
//!
//! Decodes once, and refuses whatever two readers could understand in two ways: an encoded slash or backslash,
//! control characters, bytes that are not UTF-8 (overlong forms among them). What comes out is only ever compared
//! with the exact names of a manifest, never joined to a folder: `..` leads nowhere because no file has that name.

use std::{borrow::Cow, fmt::Write as _};

use difusor_proto::limits::MAX_PATH_BYTES;

/// A name in which every byte is written as `%XX`.
const MAX_ENCODED: usize = MAX_PATH_BYTES * 3;

/// The name that the path of a request asks for: without the leading `/`, percent-decoded (RFC 3986 section 2.1).
///
/// `None` if no file of a site can have that name.
pub fn decode(path: &[u8]) -> Option<Cow<'_, [u8]>> {
    let name = path.strip_prefix(b"/")?;
    if name.len() > MAX_ENCODED {
        return None;
    }
    if !name.contains(&b'%') {
        return Some(Cow::Borrowed(name));
    }
    let mut decoded = Vec::with_capacity(name.len());
    let mut bytes = name.iter().copied();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' { octet(bytes.next()?, bytes.next()?)? } else { byte });
    }
    str::from_utf8(&decoded).is_ok().then_some(Cow::Owned(decoded))
}

/// The byte that two hex digits spell, unless encoding it changes what a path means.
fn octet(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let octet = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    (octet != b'/' && octet != b'\\' && !octet.is_ascii_control()).then_some(octet)
}

/// The absolute path under which a client asks for `name`: what [`decode`] reads.
pub fn encode(name: &str) -> String {
    name.bytes().fold(String::from("/"), |mut path, byte| {
        // The characters of a path segment (RFC 3986 section 3.3), and the slash between two.
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
        path
    })
}

/// A query as it came, with what cannot stand in a URI percent-encoded.
pub fn encode_query(query: &[u8]) -> String {
    query.iter().fold(String::with_capacity(query.len()), |mut text, byte| {
        if byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decodes_once() {
        for (path, name) in [
            ("/", ""),
            ("/a/b.json", "a/b.json"),
            ("/a%20b", "a b"),
            ("/a%c3%B1o", "año"),
            ("/%2e%2e/x", "../x"),
            ("/%252e", "%2e"),
            ("//a", "/a"),
            ("/a+b", "a+b"),
        ] {
            assert_eq!(decode(path.as_bytes()).as_deref(), Some(name.as_bytes()), "{path}");
        }
    }

    #[test]
    fn refuses_what_can_be_read_in_two_ways() {
        for path in ["", "*", "a", "/a%2Fb", "/a%2fb", "/a%5Cb", "/%00", "/%0a", "/%7f", "/%", "/%a", "/%zz", "/%+1"] {
            assert_eq!(decode(path.as_bytes()), None, "{path}");
        }
        // Overlong forms of `/` and `.`, a lone continuation byte, a surrogate.
        for path in ["/%c0%af", "/%c0%ae", "/%e0%80%af", "/%80", "/%ed%a0%80"] {
            assert_eq!(decode(path.as_bytes()), None, "{path}");
        }
        assert_eq!(decode(format!("/{}", "%61".repeat(MAX_PATH_BYTES + 1)).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(name in "[^\\\\\\x00-\\x1f\\x7f]{0,40}") {
            let path = encode(&name);
            prop_assert!(path.is_ascii());
            let decoded = decode(path.as_bytes());
            prop_assert_eq!(decoded.as_deref(), Some(name.as_bytes()));
        }

        #[test]
        fn arbitrary_paths_never_panic(path in "[/%a-f0-9.\\\\\\PC]{0,40}") {
            if let Some(name) = decode(path.as_bytes()) {
                prop_assert!(path.starts_with('/') && name.len() < path.len());
            }
        }
    }
}

//! Characters and names that every protocol version shares: tokens (RFC 9110 section 5.6.2) and authorities (RFC 3986
//! section 3.2).

/// A character of a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    let is_mark = matches!(
        byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    );
    is_mark || byte.is_ascii_alphanumeric()
}

/// True for a host with or without a port, and for nothing at all (RFC 9110 section 7.2).
pub(crate) fn is_authority(authority: &[u8]) -> bool {
    let port = match authority {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let (Some(address), Some(port)) = (rest.get(..end), rest.get(end + 1..)) else { return false };
            if address.is_empty() || !address.iter().all(|byte| *byte == b':' || is_name(*byte)) {
                return false;
            }
            port
        }
        _ => {
            let end = authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len());
            let Some((name, port)) = authority.split_at_checked(end) else { return false };
            if !is_reg_name(name) {
                return false;
            }
            port
        }
    };
    match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn is_reg_name(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        let valid = match byte {
            b'%' => bytes.next().is_some_and(u8::is_ascii_hexdigit) && bytes.next().is_some_and(u8::is_ascii_hexdigit),
            byte => is_name(*byte),
        };
        if !valid {
            return false;
        }
    }
    true
}

/// Unreserved characters and sub-delimiters (RFC 3986 section 2).
fn is_name(byte: u8) -> bool {
    let is_mark = matches!(
        byte,
        b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
    );
    is_mark || byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for (authority, expected) in [
            ("", true),
            ("example.org", true),
            ("example.org:", true),
            ("example.org:8443", true),
            ("EXAMPLE.org", true),
            ("127.0.0.1:80", true),
            ("[::1]", true),
            ("[fe80::1%25eth0]", false),
            ("[2001:db8::7]:443", true),
            ("[v1.fe:x]", true),
            ("xn--espaa-rta.es", true),
            ("a_b-c~d", true),
            ("a%41b", true),
            ("a%4", false),
            ("a%", false),
            ("a%gg", false),
            ("a b", false),
            ("a/b", false),
            ("a\\b", false),
            ("a?b", false),
            ("a#b", false),
            ("u@a", false),
            ("a:b", false),
            ("a:1:2", false),
            ("a:123456", false),
            ("a:-1", false),
            ("[::1", false),
            ("[]", false),
            ("[::1]a", false),
            ("::1", false),
            ("a]", false),
            ("a<b>", false),
            ("a\"", false),
            ("a\u{0}", false),
            ("a\t", false),
            ("\u{e9}.org", false),
        ] {
            assert_eq!(is_authority(authority.as_bytes()), expected, "{authority:?}");
        }
    }
}

//! Digests of representations in fields (RFC 9530): which one is wanted, and how it is said.
//!
//! Of `Want-Repr-Digest` only dictionaries of integers are understood; a field that is anything else is ignored whole
//! (RFC 8941 section 4.2, RFC 9530 section 4).

use crate::head::Lines;

/// What a client says about digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Unsaid,
    /// SHA-256, among others perhaps.
    Sha256,
    /// Not SHA-256: others only, or none at all.
    Other,
}

/// What the lines of `Want-Repr-Digest` say.
///
/// A weight of 0 is a refusal, any other up to 10 is a wish. Of two weights for one algorithm the last counts (RFC 8941
/// section 3.2).
pub fn wanted(lines: &Lines<'_>) -> Wanted {
    let mut wanted = Wanted::Unsaid;
    for line in lines.iter() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        for member in line.split(|byte| *byte == b',') {
            match preference(member.trim_ascii()) {
                None => return Wanted::Unsaid,
                Some((b"sha-256", 0)) => wanted = Wanted::Other,
                Some((b"sha-256", _)) => wanted = Wanted::Sha256,
                Some(_) if wanted == Wanted::Unsaid => wanted = Wanted::Other,
                Some(_) => {}
            }
        }
    }
    wanted
}

/// Algorithm and weight of one member, without its parameters.
fn preference(member: &[u8]) -> Option<(&[u8], u8)> {
    let mut parts = member.split(|byte| *byte == b';');
    let member = parts.next()?;
    let equals = member.iter().position(|byte| *byte == b'=')?;
    let (key, weight) = member.split_at_checked(equals)?;
    let weight = match weight.get(1..)? {
        [digit @ b'0'..=b'9'] => digit - b'0',
        b"10" => 10,
        _ => return None,
    };
    (is_key(key) && parts.all(is_parameter)).then_some((key, weight))
}

/// RFC 8941 section 3.1.2.
fn is_key(key: &[u8]) -> bool {
    key.first().is_some_and(|first| matches!(first, b'a'..=b'z' | b'*'))
        && key.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'))
}

/// A key, with a number or token perhaps: nothing here has a parameter that means anything.
fn is_parameter(parameter: &[u8]) -> bool {
    let mut parts = parameter.trim_ascii_start().splitn(2, |byte| *byte == b'=');
    let is_value =
        |value: &[u8]| !value.is_empty() && value.iter().all(|byte| matches!(byte, b'!'..=b'~' if *byte != b'"'));
    parts.next().is_some_and(is_key) && parts.next().is_none_or(is_value)
}

/// The value of `Repr-Digest` for the SHA-256 of a representation (RFC 9530 section 3).
pub fn repr_digest(sha256: &[u8; 32]) -> String {
    let mut field = String::with_capacity("sha-256=::".len() + 44);
    field.push_str("sha-256=:");
    base64(sha256, &mut field);
    field.push(':');
    field
}

/// RFC 4648 section 4, with padding.
fn base64(bytes: &[u8], into: &mut String) {
    for group in bytes.chunks(3) {
        let bits = group.iter().chain(&[0, 0]).take(3).fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        for at in 0..4 {
            let digit = if at <= group.len() { digit(bits >> (18 - 6 * at) & 63) } else { '=' };
            into.push(digit);
        }
    }
}

/// The character of six bits.
fn digit(bits: u32) -> char {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    ALPHABET.get(bits as usize).map_or('=', |digit| char::from(*digit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_wanted() {
        use Wanted::{Other, Sha256, Unsaid};
        for (values, expected) in [
            (&[][..], Unsaid),
            (&[""], Unsaid),
            (&["sha-256=1"], Sha256),
            (&["sha-256=10"], Sha256),
            (&["sha-256=0"], Other),
            (&["sha-512=3, sha-256=10, unixsum=0"], Sha256),
            (&["sha-512=3,\tsha-256=1"], Sha256),
            (&["sha-512=10"], Other),
            (&["sha-512=0"], Other),
            (&["sha-512=3", "sha-256=1"], Sha256),
            (&["sha-256=1", ""], Sha256),
            (&["sha-256=0, sha-256=5"], Sha256),
            (&["sha-256=5, sha-256=0"], Other),
            (&["sha-256=5, sha-512=0"], Sha256),
            (&["sha-256=5;a;b=1; c=d/e"], Sha256),
            // Malformed anywhere is malformed as a whole.
            (&["sha-256"], Unsaid),
            (&["sha-256="], Unsaid),
            (&["sha-256=11"], Unsaid),
            (&["sha-256=-1"], Unsaid),
            (&["sha-256=1.0"], Unsaid),
            (&["sha-256=01"], Unsaid),
            (&["sha-256=?1"], Unsaid),
            (&["sha-256=(1)"], Unsaid),
            (&["sha-256 =1"], Unsaid),
            (&["sha-256= 1"], Unsaid),
            (&["SHA-256=1"], Unsaid),
            (&["sha-256=1,"], Unsaid),
            (&["sha-256=1,,sha-512=2"], Unsaid),
            (&["sha-256=1 sha-512=2"], Unsaid),
            (&["sha-256=1;"], Unsaid),
            (&["sha-256=1;a=\"b\""], Unsaid),
            (&["sha-256=1, 5"], Unsaid),
            (&["sha-256=1", "x"], Unsaid),
        ] {
            let mut lines = Lines::default();
            values.iter().for_each(|value| lines.push(value.as_bytes()));
            assert_eq!(wanted(&lines), expected, "{values:?}");
        }
    }

    #[test]
    fn known_base64() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
        {
            let mut text = String::new();
            base64(plain.as_bytes(), &mut text);
            assert_eq!(text, coded, "{plain}");
        }
        let mut text = String::new();
        base64(&[0xfb, 0xff, 0xfe], &mut text);
        assert_eq!(text, "+//+");
    }

    #[test]
    fn golden() {
        // Of the example of RFC 9530 section 3.
        let sha256 = [
            0x44, 0xaf, 0xf4, 0xab, 0x2d, 0x7c, 0x32, 0x50, 0x52, 0x56, 0x75, 0xa0, 0x8f, 0x0c, 0xfa, 0x95, 0x91, 0x16,
            0x8c, 0xff, 0xe5, 0x17, 0x91, 0xc5, 0xf5, 0xbb, 0xc4, 0x17, 0xc1, 0x5a, 0x6c, 0x38,
        ];
        assert_eq!(repr_digest(&sha256), "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:");
        assert_eq!(repr_digest(&[0; 32]), "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:");
    }

    proptest! {
        #[test]
        fn any_bytes(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut lines = Lines::default();
            lines.push(&value);
            wanted(&lines);
        }
    }
}

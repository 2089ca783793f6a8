//! Several parts in one body: `multipart/byteranges` (RFC 9110 section 14.6, RFC 2046 section 5.1).
//!
//! A body is each part after its [`part_head`], and a [`closing`] at the end. [`length`] says beforehand how long that
//! is.

use std::ops::Range;

use super::content_range;

/// How long a boundary is, in hexadecimal digits of its seed's hash.
const BOUNDARY: usize = 32;

/// What separates the parts, the same for every answer from the same seed: the tag of the form. No form holds a hash of
/// its own tag, as the tag is one of the form.
pub fn boundary(seed: &[u8]) -> String {
    blake3::hash(seed).to_hex().chars().take(BOUNDARY).collect()
}

/// The value of `Content-Type` for the answer.
pub fn content_type(boundary: &str) -> String {
    format!("multipart/byteranges; boundary={boundary}")
}

/// What comes before a part, with the line end that belongs to the boundary and not to the part before.
pub fn part_head(boundary: &str, media: &str, part: &Range<u64>, total: u64) -> Vec<u8> {
    let range = content_range(part, total);
    format!("\r\n--{boundary}\r\ncontent-type: {media}\r\ncontent-range: {range}\r\n\r\n").into_bytes()
}

/// What comes after the last part.
pub fn closing(boundary: &str) -> Vec<u8> {
    format!("\r\n--{boundary}--\r\n").into_bytes()
}

/// The length of the whole body.
pub fn length(boundary: &str, media: &str, parts: &[Range<u64>], total: u64) -> u64 {
    let heads = parts.iter().map(|part| part_head(boundary, media, part, total).len() as u64);
    let bytes = parts.iter().map(|part| part.end.saturating_sub(part.start));
    heads.chain(bytes).sum::<u64>() + closing(boundary).len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, as an answer is put together.
    fn body(bytes: &[u8], parts: &[Range<u64>]) -> Vec<u8> {
        let boundary = boundary(b"\"abc\"");
        let mut body = Vec::new();
        for part in parts {
            body.extend(part_head(&boundary, "text/csv", part, bytes.len() as u64));
            body.extend(&bytes[usize::try_from(part.start).unwrap()..usize::try_from(part.end).unwrap()]);
        }
        body.extend(closing(&boundary));
        body
    }

    #[test]
    fn golden() {
        let expected = "\r\n--91d01d9c9b8a3c4e6eb3a6d4a9e81cd8\r\n\
            content-type: text/csv\r\ncontent-range: bytes 0-3/20\r\n\r\n\
            0123\r\n--91d01d9c9b8a3c4e6eb3a6d4a9e81cd8\r\n\
            content-type: text/csv\r\ncontent-range: bytes 12-19/20\r\n\r\n\
            cdefghij\r\n--91d01d9c9b8a3c4e6eb3a6d4a9e81cd8--\r\n";
        assert_eq!(String::from_utf8(body(b"0123456789abcdefghij", &[0..4, 12..20])).unwrap(), expected);
    }

    #[test]
    fn the_length_is_exact() {
        let bytes = vec![7; 12_000];
        for parts in [vec![], vec![0..10, 99..100, 999..12_000], vec![11_999..12_000, 0..9]] {
            let length = length(&boundary(b"\"abc\""), "text/csv", &parts, 12_000);
            assert_eq!(length, body(&bytes, &parts).len() as u64, "{parts:?}");
        }
    }

    #[test]
    fn boundaries_are_stable_and_of_their_seed() {
        assert_eq!(boundary(b"\"abc\""), boundary(b"\"abc\""));
        assert_ne!(boundary(b"\"abc\""), boundary(b"\"abd\""));
        let boundary = boundary(b"");
        assert!(boundary.len() == BOUNDARY && boundary.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(content_type(&boundary), format!("multipart/byteranges; boundary={boundary}"));
    }
}

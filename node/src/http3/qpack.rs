//! Fields of answers in QPACK (RFC 9204), without a dynamic table.
//!
//! Names and whole fields of the static table are references, everything else is literal: bytes that mean the same on
//! every connection, whatever was sent there before, and that cannot be blocked by what was lost. No Huffman code: it
//! would save a tenth of a packet, and cost more than the rest of the encoding.

/// What stands before the fields of a section: neither refers to a dynamic table (RFC 9204 section 4.5.1).
pub(super) const PREFIX: [u8; 2] = [0, 0];

/// Appends a field line: a reference to the static table, or a literal.
///
/// The name is in lower case.
pub fn encode(name: &str, value: &str, into: &mut Vec<u8>) {
    let (index, values) = known(name);
    if let Some((whole, _)) = values.iter().find(|(_, known)| *known == value) {
        // RFC 9204 section 4.5.2: 1, T = 1, index in 6 bits.
        integer(0b1100_0000, 6, u64::from(*whole), into);
        return;
    }
    match index {
        // RFC 9204 section 4.5.4: 01, N = 0, T = 1, index in 4 bits.
        Some(index) => integer(0b0101_0000, 4, u64::from(index), into),
        // RFC 9204 section 4.5.6: 001, N = 0, H = 0, length in 3 bits.
        None => {
            integer(0b0010_0000, 3, name.len() as u64, into);
            into.extend_from_slice(name.as_bytes());
        }
    }
    // H = 0, length in 7 bits.
    integer(0, 7, value.len() as u64, into);
    into.extend_from_slice(value.as_bytes());
}

/// Appends the status of an answer.
pub(super) fn status(status: u16, into: &mut Vec<u8>) {
    let digits = [100, 10, 1].map(|unit| b'0' + u8::try_from(status / unit % 10).unwrap_or(0));
    encode(":status", str::from_utf8(&digits).unwrap_or("500"), into);
}

/// Appends an integer with a prefix of `bits` bits, below which `first` holds what else is in the byte (RFC 9204 section
/// 4.1.1, RFC 7541 section 5.1).
fn integer(first: u8, bits: u8, value: u64, into: &mut Vec<u8>) {
    let limit = (1_u8 << bits) - 1;
    match u8::try_from(value) {
        Ok(small) if small < limit => into.push(first | small),
        _ => {
            into.push(first | limit);
            let mut rest = value - u64::from(limit);
            while rest >= 0x80 {
                into.push(0x80 | low(rest));
                rest >>= 7;
            }
            into.push(low(rest));
        }
    }
}

/// The lowest seven bits.
fn low(value: u64) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or(0)
}

/// What of RFC 9204 appendix A answers can use: an index with this name, and the indices of its values.
fn known(name: &str) -> (Option<u8>, &'static [(u8, &'static str)]) {
    let (index, values): (u8, &[_]) = match name {
        ":status" => (
            24,
            &[
                (25, "200"),
                (26, "304"),
                (65, "206"),
                (27, "404"),
                (28, "503"),
                (24, "103"),
                (63, "100"),
                (64, "204"),
                (66, "302"),
                (67, "400"),
                (68, "403"),
                (69, "421"),
                (70, "425"),
                (71, "500"),
            ],
        ),
        "age" => (2, &[(2, "0")]),
        "content-disposition" => (3, &[]),
        "content-length" => (4, &[(4, "0")]),
        "date" => (6, &[]),
        "etag" => (7, &[]),
        "last-modified" => (10, &[]),
        "link" => (11, &[]),
        "location" => (12, &[]),
        "accept-ranges" => (32, &[(32, "bytes")]),
        "access-control-allow-headers" => (33, &[(33, "cache-control"), (34, "content-type"), (75, "*")]),
        "access-control-allow-methods" => (76, &[(76, "get"), (77, "get, post, options"), (78, "options")]),
        "access-control-allow-origin" => (35, &[(35, "*")]),
        "access-control-expose-headers" => (79, &[(79, "content-length")]),
        "alt-svc" => (83, &[(83, "clear")]),
        "cache-control" => (
            36,
            &[
                (36, "max-age=0"),
                (37, "max-age=2592000"),
                (38, "max-age=604800"),
                (39, "no-cache"),
                (40, "no-store"),
                (41, "public, max-age=31536000"),
            ],
        ),
        "content-encoding" => (42, &[(42, "br"), (43, "gzip")]),
        "content-security-policy" => (85, &[(85, "script-src 'none'; object-src 'none'; base-uri 'none'")]),
        "content-type" => (
            44,
            &[
                (45, "application/javascript"),
                (46, "application/json"),
                (48, "image/gif"),
                (49, "image/jpeg"),
                (50, "image/png"),
                (51, "text/css"),
                (52, "text/html; charset=utf-8"),
                (53, "text/plain"),
                (54, "text/plain;charset=utf-8"),
            ],
        ),
        "server" => (92, &[]),
        "strict-transport-security" => (
            56,
            &[
                (56, "max-age=31536000"),
                (57, "max-age=31536000; includesubdomains"),
                (58, "max-age=31536000; includesubdomains; preload"),
            ],
        ),
        "timing-allow-origin" => (93, &[(93, "*")]),
        "vary" => (59, &[(59, "accept-encoding"), (60, "origin")]),
        "x-content-type-options" => (61, &[(61, "nosniff")]),
        "x-frame-options" => (97, &[(97, "deny"), (98, "sameorigin")]),
        _ => return (None, &[]),
    };
    (Some(index), values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(name: &str, value: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(name, value, &mut bytes);
        bytes
    }

    #[test]
    fn fields_of_the_static_table_are_one_or_two_bytes() {
        assert_eq!(encoded(":status", "200"), [0xd9]);
        assert_eq!(encoded("accept-ranges", "bytes"), [0xe0]);
        assert_eq!(encoded("vary", "accept-encoding"), [0xfb]);
        // Index 98 does not fit in six bits: 63, and 35 more.
        assert_eq!(encoded("x-frame-options", "sameorigin"), [0xff, 35]);
        let mut bytes = Vec::new();
        status(416, &mut bytes);
        assert_eq!(bytes, [0x5f, 9, 3, b'4', b'1', b'6']);
    }

    /// RFC 9204 appendix B.1: a literal with the name of index 1.
    #[test]
    fn names_of_the_static_table_are_references() {
        assert_eq!(encoded("etag", "\"a\""), [&[0x57, 3][..], b"\"a\""].concat());
        assert_eq!(encoded("last-modified", "x"), [0x5a, 1, b'x']);
        assert_eq!(encoded("content-encoding", "zstd"), [&[0x5f, 42 - 15, 4][..], b"zstd"].concat());
    }

    #[test]
    fn everything_else_is_literal() {
        assert_eq!(encoded("abc", "d"), [&[0x23][..], b"abc", &[1], b"d"].concat());
        assert_eq!(encoded("difusor-cut", "1"), [&[0x27, 4][..], b"difusor-cut", &[1], b"1"].concat());
        let long = "v".repeat(127 + 300);
        assert_eq!(encoded("abc", &long), [&[0x23][..], b"abc", &[0x7f, 0xac, 0x02], long.as_bytes()].concat());
    }
}

//! Where a request ends, and whether the connection stays (RFC 9112 sections 6 and 9.3).
//!
//! Content is only looked for, never read. Whatever could put its end in two places is refused.

use crate::{engine::Refusal, head::Lines};

/// What becomes of the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Persistence {
    /// It stays, as is usual.
    Stays,
    /// It stays if the answer says so: the client is of 1.0.
    StaysIfSaid,
    /// It ends.
    Ends,
}

/// The fields of a request that are the connection's own business.
#[derive(Debug, Default)]
pub(super) struct Own<'a> {
    pub(super) host: Lines<'a>,
    expect: Lines<'a>,
    connection: Lines<'a>,
    content_length: Lines<'a>,
    transfer_encoding: Lines<'a>,
}

impl<'a> Own<'a> {
    /// Keeps a line if it is of one of these fields.
    pub(super) fn take(&mut self, name: &[u8], value: &'a [u8]) -> bool {
        let (lines, full) = match name.len() {
            4 => (&mut self.host, "host"),
            6 => (&mut self.expect, "expect"),
            10 => (&mut self.connection, "connection"),
            14 => (&mut self.content_length, "content-length"),
            17 => (&mut self.transfer_encoding, "transfer-encoding"),
            _ => return false,
        };
        let is_it = name.eq_ignore_ascii_case(full.as_bytes());
        if is_it {
            lines.push(value);
        }
        is_it
    }

    /// What becomes of the connection, if the request can be answered at all. `minor` is that of the version.
    pub(super) fn persistence(&self, minor: u8) -> Result<Persistence, Refusal> {
        let has_content = self.has_content(minor)?;
        if minor > 0 && members(&self.expect).any(|member| !member.eq_ignore_ascii_case(b"100-continue")) {
            return Err(Refusal::Expectation);
        }
        let says = |option: &[u8]| members(&self.connection).any(|member| member.eq_ignore_ascii_case(option));
        Ok(match minor {
            _ if has_content || says(b"close") => Persistence::Ends,
            0 if says(b"keep-alive") => Persistence::StaysIfSaid,
            0 => Persistence::Ends,
            _ => Persistence::Stays,
        })
    }

    /// True if there is content behind the head (RFC 9112 section 6.3).
    fn has_content(&self, minor: u8) -> Result<bool, Refusal> {
        if self.transfer_encoding.is_empty() {
            return length(&self.content_length).map(|length| length > 0);
        }
        if minor == 0 || !self.content_length.is_empty() {
            return Err(Refusal::Malformed);
        }
        chunked(&self.transfer_encoding).map(|()| true)
    }
}

/// Members of a list that are not empty (RFC 9110 section 5.6.1).
fn members<'a>(lines: &Lines<'a>) -> impl Iterator<Item = &'a [u8]> {
    lines
        .iter()
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// What `Content-Length` says; 0 if it is not there. Repetitions must agree (RFC 9112 section 6.3).
fn length(lines: &Lines<'_>) -> Result<u64, Refusal> {
    let mut agreed = None;
    for value in lines.iter().flat_map(|line| line.split(|byte| *byte == b',')) {
        let value = value.trim_ascii();
        let digits = value.iter().try_fold(0u64, |sum, byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            sum.checked_mul(10)?.checked_add(digit)
        });
        match digits {
            Some(length) if !value.is_empty() && agreed.is_none_or(|agreed| agreed == length) => agreed = Some(length),
            _ => return Err(Refusal::Malformed),
        }
    }
    Ok(agreed.unwrap_or(0))
}

/// Whether `Transfer-Encoding` lets the end of the content be known: chunked, once, and last (RFC 9112 section 6.1).
fn chunked(lines: &Lines<'_>) -> Result<(), Refusal> {
    let (mut last, mut unknown) = (false, false);
    for coding in members(lines) {
        let mut parts = coding.splitn(2, |byte| *byte == b';');
        let (name, has_parameters) = (parts.next().unwrap_or_default().trim_ascii_end(), parts.next().is_some());
        let is_chunked = name.eq_ignore_ascii_case(b"chunked");
        if last || (is_chunked && has_parameters) || !name.iter().all(|byte| crate::syntax::is_token(*byte)) {
            return Err(Refusal::Malformed);
        }
        const KNOWN: [&[u8]; 6] = [b"chunked", b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];
        unknown |= !KNOWN.iter().any(|known| name.eq_ignore_ascii_case(known));
        last = is_chunked;
    }
    match (unknown, last) {
        (true, _) => Err(Refusal::TransferCoding),
        (false, true) => Ok(()),
        (false, false) => Err(Refusal::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(minor: u8, fields: &[(&str, &str)]) -> Result<Persistence, Refusal> {
        let mut own = Own::default();
        for (name, value) in fields {
            assert!(own.take(name.as_bytes(), value.as_bytes()), "{name}");
        }
        own.persistence(minor)
    }

    #[test]
    fn own_fields() {
        let mut own = Own::default();
        for name in ["Host", "EXPECT", "connection", "Content-Length", "transfer-Encoding"] {
            assert!(own.take(name.as_bytes(), b"1"), "{name}");
        }
        for name in ["", "hosT1", "date", "upgrade", "user-agent", "sec-fetch-dest", "if-modified-since", "origin"] {
            assert!(!own.take(name.as_bytes(), b"1"), "{name}");
        }
        for lines in [&own.host, &own.expect, &own.connection, &own.content_length, &own.transfer_encoding] {
            assert_eq!(lines.only(), Some(b"1".as_slice()));
        }
    }

    #[test]
    fn connections_stay() {
        use Persistence::{Ends, Stays, StaysIfSaid};
        for (lines, of_1_1, of_1_0) in [
            (&[][..], Stays, Ends),
            (&["keep-alive"], Stays, StaysIfSaid),
            (&["Keep-Alive"], Stays, StaysIfSaid),
            (&["close"], Ends, Ends),
            (&["Close"], Ends, Ends),
            (&["keep-alive, close"], Ends, Ends),
            (&["keep-alive", "close"], Ends, Ends),
            (&["TE,  Keep-Alive"], Stays, StaysIfSaid),
            (&["Upgrade, HTTP2-Settings"], Stays, Ends),
            (&["closed"], Stays, Ends),
            (&["\"close\""], Stays, Ends),
            (&[" , ,close,"], Ends, Ends),
            (&[""], Stays, Ends),
        ] {
            let fields: Vec<_> = lines.iter().map(|line| ("connection", *line)).collect();
            assert_eq!([read(1, &fields), read(0, &fields)], [Ok(of_1_1), Ok(of_1_0)], "{lines:?}");
        }
    }

    #[test]
    fn content() {
        use Persistence::{Ends, Stays};
        use Refusal::{Malformed, TransferCoding};
        let (length, coding) = ("content-length", "transfer-encoding");
        for (fields, expected) in [
            (&[(length, "0")][..], Ok(Stays)),
            (&[(length, "000")], Ok(Stays)),
            (&[(length, "0"), (length, "0")], Ok(Stays)),
            (&[(length, "5")], Ok(Ends)),
            (&[(length, "5, 5")], Ok(Ends)),
            (&[(length, "5"), (length, "05")], Ok(Ends)),
            (&[(length, "18446744073709551615")], Ok(Ends)),
            (&[(length, "18446744073709551616")], Err(Malformed)),
            (&[(length, "5"), (length, "6")], Err(Malformed)),
            (&[(length, "0, 5")], Err(Malformed)),
            (&[(length, "5,")], Err(Malformed)),
            (&[(length, "")], Err(Malformed)),
            (&[(length, "+5")], Err(Malformed)),
            (&[(length, "-5")], Err(Malformed)),
            (&[(length, "0x5")], Err(Malformed)),
            (&[(length, "5 5")], Err(Malformed)),
            (&[(length, "5.0")], Err(Malformed)),
            (&[(coding, "chunked")], Ok(Ends)),
            (&[(coding, "Chunked")], Ok(Ends)),
            (&[(coding, ", chunked ,")], Ok(Ends)),
            (&[(coding, "gzip, chunked")], Ok(Ends)),
            (&[(coding, "gzip;q=1"), (coding, "chunked")], Ok(Ends)),
            (&[(coding, "chunked, gzip")], Err(Malformed)),
            (&[(coding, "chunked, chunked")], Err(Malformed)),
            (&[(coding, "chunked"), (coding, "identity")], Err(Malformed)),
            (&[(coding, "gzip")], Err(Malformed)),
            (&[(coding, "")], Err(Malformed)),
            (&[(coding, ",")], Err(Malformed)),
            (&[(coding, "chunked;a=b")], Err(Malformed)),
            (&[(coding, "chun ked")], Err(Malformed)),
            (&[(coding, "\"chunked\"")], Err(Malformed)),
            (&[(coding, "identity")], Err(TransferCoding)),
            (&[(coding, "xchunked")], Err(TransferCoding)),
            (&[(coding, "br, chunked")], Err(TransferCoding)),
            (&[(coding, "chunked"), (length, "5")], Err(Malformed)),
            (&[(length, "0"), (coding, "chunked")], Err(Malformed)),
            (&[(length, "5"), (coding, "xchunked")], Err(Malformed)),
        ] {
            assert_eq!(read(1, fields), expected, "{fields:?}");
        }
        assert_eq!(read(0, &[(coding, "chunked")]), Err(Malformed));
        assert_eq!(read(0, &[(length, "5"), ("connection", "keep-alive")]), Ok(Ends));
    }

    #[test]
    fn expectations() {
        use Persistence::{Ends, Stays};
        for (value, expected) in [
            ("100-continue", Ok(Stays)),
            ("100-Continue", Ok(Stays)),
            ("", Ok(Stays)),
            ("200-ok", Err(Refusal::Expectation)),
            ("100-continue, magic", Err(Refusal::Expectation)),
            ("100-continue=1", Err(Refusal::Expectation)),
        ] {
            assert_eq!(read(1, &[("expect", value)]), expected, "{value:?}");
            assert_eq!(read(0, &[("expect", value)]), Ok(Ends), "{value:?}");
        }
        assert_eq!(read(1, &[("expect", "100-continue"), ("content-length", "5")]), Ok(Ends));
        // What cannot be read is refused before what cannot be met.
        assert_eq!(read(1, &[("expect", "x"), ("content-length", "x")]), Err(Refusal::Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes(
            lines in proptest::collection::vec((0usize..5, proptest::collection::vec(any::<u8>(), 0..20)), 0..6),
            minor in 0u8..2,
        ) {
            let mut own = Own::default();
            for (at, value) in &lines {
                own.take(["host", "expect", "connection", "content-length", "transfer-encoding"][*at].as_bytes(), value);
            }
            let _ = own.persistence(minor);
        }
    }
}

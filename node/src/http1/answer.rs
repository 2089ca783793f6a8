//! Heads of answers, as lines (RFC 9112 section 4). The version is always 1.1, as RFC 9110 section 2.5 wants it.

use super::framing::Persistence;
use crate::{block::Block, engine::Sink};

const CLOSE: &[u8] = b"connection: close\r\n";
const KEEP_ALIVE: &[u8] = b"connection: keep-alive\r\n";
const END: &[u8] = b"\r\n";

/// Writes the head of one answer.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    into: &'a mut Vec<u8>,
    persistence: Persistence,
}

impl<'a> Writer<'a> {
    pub(super) fn new(into: &'a mut Vec<u8>, persistence: Persistence) -> Self {
        Self { into, persistence }
    }
}

impl Sink for Writer<'_> {
    fn head(&mut self, status: u16, fields: &[&Block]) {
        status_line(status, self.into);
        for block in fields {
            self.into.extend_from_slice(block.lines());
        }
        self.into.extend_from_slice(match self.persistence {
            Persistence::Stays => b"",
            Persistence::StaysIfSaid => KEEP_ALIVE,
            Persistence::Ends => CLOSE,
        });
        self.into.extend_from_slice(END);
    }
}

/// Lets the last head of `heads`, of which `unsent` bytes are not sent, say that the connection ends. False if its end
/// is sent already.
///
/// Of `keep-alive` and `close` in one head the latter counts (RFC 9112 section 9.3).
pub(super) fn end(heads: &mut Vec<u8>, unsent: &mut usize) -> bool {
    if *unsent < END.len() {
        return false;
    }
    heads.truncate(heads.len().saturating_sub(END.len()));
    heads.extend_from_slice(CLOSE);
    heads.extend_from_slice(END);
    *unsent += CLOSE.len();
    true
}

/// The first line. The reason is for people only, and may be missing (RFC 9112 section 4).
fn status_line(status: u16, into: &mut Vec<u8>) {
    let line: &[u8] = match status {
        200 => b"HTTP/1.1 200 OK\r\n",
        206 => b"HTTP/1.1 206 Partial Content\r\n",
        304 => b"HTTP/1.1 304 Not Modified\r\n",
        308 => b"HTTP/1.1 308 Permanent Redirect\r\n",
        404 => b"HTTP/1.1 404 Not Found\r\n",
        _ => {
            let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
            let reason = status.canonical_reason().unwrap_or_default();
            into.extend_from_slice(b"HTTP/1.1 ");
            into.extend_from_slice(status.as_str().as_bytes());
            into.extend_from_slice(b" ");
            into.extend_from_slice(reason.as_bytes());
            END
        }
    };
    into.extend_from_slice(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, persistence: Persistence) -> Vec<u8> {
        let mut head = Vec::new();
        let (one, other) = (Block::new([("a", "1"), ("b", "2")]), Block::new([("c", "3")]));
        Writer::new(&mut head, persistence).head(status, &[&one, &other]);
        head
    }

    #[test]
    fn golden() {
        let lines = b"HTTP/1.1 200 OK\r\na: 1\r\nb: 2\r\nc: 3\r\n".as_slice();
        assert_eq!(head(200, Persistence::Stays), [lines, b"\r\n"].concat());
        assert_eq!(head(200, Persistence::StaysIfSaid), [lines, b"connection: keep-alive\r\n\r\n"].concat());
        assert_eq!(head(200, Persistence::Ends), [lines, b"connection: close\r\n\r\n"].concat());
    }

    #[test]
    fn every_status_has_a_line() {
        for status in 200..600 {
            let mut line = Vec::new();
            status_line(status, &mut line);
            let known = http::StatusCode::from_u16(status).unwrap();
            let expected = format!("HTTP/1.1 {status} {}\r\n", known.canonical_reason().unwrap_or_default());
            assert_eq!(String::from_utf8(line).unwrap(), expected);
        }
    }

    #[test]
    fn a_head_can_say_so_until_its_end_is_sent() {
        let (stays, ends) = (head(404, Persistence::Stays), head(404, Persistence::Ends));
        for sent in 0..=stays.len() {
            let (mut heads, mut unsent) = (stays.clone(), stays.len() - sent);
            let said = end(&mut heads, &mut unsent);
            assert_eq!(said, sent + 2 <= stays.len());
            let expected = if said { &ends } else { &stays };
            assert_eq!((&heads, unsent), (expected, expected.len() - sent));
        }
    }
}

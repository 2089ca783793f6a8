//! An HTTP/1.1 client that does no more than it must: one request at a time, its answer checked for status and length.

use std::time::Instant;

use anyhow::{Context as _, bail};

use super::request::Exchange;
use super::tally::Tally;
use super::wire::Wire;

/// More than any server here sends.
const HEADERS: usize = 32;

/// Longest head that is waited for.
const LONGEST: usize = 16 << 10;

/// An answer that is being read.
#[derive(Debug, Default)]
pub(super) struct Answer {
    status: Option<u16>,
    /// Bytes of the body so far.
    received: u64,
    part: Part,
    /// A head, or a line between chunks, that came in parts.
    held: Vec<u8>,
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    #[default]
    Head,
    /// So much more of the body, and then the answer is complete.
    Body(u64),
    /// The line before a chunk, with the end of the chunk before it.
    Size,
    /// So much more of a chunk.
    Chunk(u64),
    /// The end of the line behind the last chunk; trailers are refused.
    Last,
    Complete,
}

impl Answer {
    /// Whether all of it has come.
    pub(super) fn complete(&self) -> bool {
        self.part == Part::Complete
    }

    /// Fails if it is not the one that was expected.
    pub(super) fn verify(&self, exchange: &Exchange) -> anyhow::Result<()> {
        exchange.verify(self.status.unwrap_or_default(), self.received)
    }

    /// Takes the next bytes of the connection; returns how many of them are of the body.
    pub(super) fn take(&mut self, bytes: &[u8]) -> anyhow::Result<usize> {
        let before = self.received;
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.part {
                Part::Head | Part::Size | Part::Last if self.held.is_empty() => match self.parse(rest)? {
                    Some(length) => rest.get(length..).unwrap_or_default(),
                    None => {
                        self.held.extend_from_slice(rest);
                        &[]
                    }
                },
                Part::Head | Part::Size | Part::Last => {
                    let already = self.held.len();
                    self.held.extend_from_slice(rest);
                    let held = std::mem::take(&mut self.held);
                    match self.parse(&held)? {
                        Some(length) => rest.get(length - already..).unwrap_or_default(),
                        None => {
                            self.held = held;
                            &[]
                        }
                    }
                }
                Part::Body(left) | Part::Chunk(left) => {
                    let (part, more) = rest.split_at(rest.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
                    let left = left - part.len() as u64;
                    self.received += part.len() as u64;
                    self.part = match self.part {
                        Part::Body(_) if left == 0 => Part::Complete,
                        Part::Body(_) => Part::Body(left),
                        _ if left == 0 => Part::Size,
                        _ => Part::Chunk(left),
                    };
                    more
                }
                Part::Complete => bail!("more bytes than the answer has"),
            };
            anyhow::ensure!(self.held.len() <= LONGEST, "a head of more than {LONGEST} bytes");
        }
        Ok(usize::try_from(self.received - before)?)
    }

    /// Length of the head or line, if it is whole.
    fn parse(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        if self.part == Part::Head {
            return self.head(bytes);
        }
        // A chunk ends with an end of line, which the first has not.
        let first = self.part == Part::Size && self.received == 0;
        let skipped = if first || self.part == Part::Last { 0 } else { 2 };
        let line = bytes.get(skipped..).unwrap_or_default();
        let Some(length) = line.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
        let text = line.get(..length).unwrap_or_default();
        self.part = if self.part == Part::Last {
            anyhow::ensure!(text.is_empty(), "trailers");
            Part::Complete
        } else {
            let size = str::from_utf8(text)?.split(';').next().unwrap_or_default();
            match u64::from_str_radix(size.trim(), 16).context("size of a chunk")? {
                0 => Part::Last,
                size => Part::Chunk(size),
            }
        };
        Ok(Some(skipped + length + 2))
    }

    fn head(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = head.parse(bytes).context("head of an answer")? else {
            return Ok(None);
        };
        let status = head.code.context("a head without a status")?;
        let named = |name: &str| head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        let size = named("content-length").map(|header| header.value);
        self.part = match size {
            _ if status == 304 => Part::Complete,
            Some(size) => match str::from_utf8(size)?.trim().parse().context("Content-Length")? {
                0 => Part::Complete,
                size => Part::Body(size),
            },
            None if named("transfer-encoding").is_some_and(|header| header.value == b"chunked") => Part::Size,
            None => bail!("an answer {status} without a length"),
        };
        self.status = Some(status);
        Ok(Some(length))
    }
}

/// Asks once.
pub(super) async fn once(wire: &mut Wire, request: &[u8], exchange: &Exchange, tally: &Tally) -> anyhow::Result<()> {
    let mut answer = Answer::default();
    wire.send(request).await?;
    while !answer.complete() {
        wire.receive(|bytes| {
            tally.received(answer.take(bytes)?);
            Ok(())
        })
        .await?;
    }
    answer.verify(exchange)
}

/// Asks again and again, until dropped or something is wrong.
pub(super) async fn forever(mut wire: Wire, exchange: &Exchange, tally: &Tally) -> anyhow::Result<()> {
    let request = exchange.http1();
    loop {
        let since = Instant::now();
        once(&mut wire, &request, exchange, tally).await?;
        tally.answered(since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZED: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 5\r\n\r\nhello";
    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n02\r\nlo\r\n0\r\n\r\n";

    #[test]
    fn an_answer_in_any_parts() {
        for whole in [SIZED, CHUNKED] {
            for cut in 0..whole.len() {
                let mut answer = Answer::default();
                let (a, b) = whole.split_at(cut);
                let body = answer.take(a).unwrap();
                assert!(!answer.complete());
                assert_eq!(body + answer.take(b).unwrap(), 5, "cut at {cut}");
                assert!(answer.complete());
                assert_eq!((answer.status, answer.received), (Some(200), 5));
            }
            let mut answer = Answer::default();
            assert_eq!(whole.iter().map(|byte| answer.take(&[*byte]).unwrap()).sum::<usize>(), 5);
            assert!(answer.complete());
        }
    }

    #[test]
    fn a_304_has_no_body_whatever_its_length_says() {
        let mut answer = Answer::default();
        answer.take(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n").unwrap();
        assert!(answer.complete());
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let refused = |bytes: &[u8]| Answer::default().take(bytes).is_err();
        assert!(refused(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"));
        assert!(refused(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"));
        assert!(refused(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: b\r\n\r\n"));
        assert!(refused(&[SIZED, b"!"].concat()) && refused(&[CHUNKED, b"!"].concat()));
        assert!(refused(b"SSH-2.0\r\n\r\n"));
        assert!(refused(&[b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'a'; LONGEST]].concat()));
    }
}

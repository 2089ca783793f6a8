//! The head of one request, from its bytes (RFC 9112 sections 2, 3 and 5).
//!
//! What is given for some bytes does not depend on how they came in: nothing is decided before a line is whole, but
//! what its first byte and its length decide.

use std::mem::MaybeUninit;

use super::{
    framing::{Own, Persistence},
    target,
};
use crate::{
    engine::Refusal,
    head::{Field, Head, Method},
    syntax::is_token,
};

/// All of a head, from the method to the empty line.
const HEAD: usize = 32 * 1024;

/// Fields of a head.
const FIELDS: usize = 100;

/// The longest name of a file, with every byte of it encoded, and what stands around it in the absolute form.
const TARGET: usize = 9_300;

/// Longer than any registered method.
const METHOD: usize = 32;

/// What is known of a request besides its head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Bytes of its head.
    pub(super) len: usize,
    /// What becomes of the connection.
    pub(super) persistence: Persistence,
}

/// Reads a request from the beginning of `input` into `head`, which is empty before. `None` if more must come first.
///
/// `scanned` bytes of the input were there when it was last read, and more had to come.
pub(super) fn read<'a>(input: &'a [u8], scanned: usize, head: &mut Head<'a>) -> Result<Option<Request>, Refusal> {
    if !input.first().is_none_or(|first| is_token(*first)) {
        return Err(Refusal::Malformed);
    }
    let fresh = input.get(scanned..).unwrap_or_default();
    if scanned > 0 && !fresh.contains(&b'\n') {
        return incomplete(input);
    }
    let window = input.get(..HEAD).unwrap_or(input);
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, window, &mut fields) {
        Ok(httparse::Status::Complete(len)) => {
            let lines = window.get(..len).unwrap_or_default();
            if has_bare_line_feed(lines) {
                return Err(bad_line(lines).unwrap_or(Refusal::Malformed));
            }
            understand(&parsed, head).map(|persistence| Some(Request { len, persistence }))
        }
        Ok(httparse::Status::Partial) => incomplete(input),
        Err(error) => match refusal(window, error) {
            Some(refusal) => Err(refusal),
            None => incomplete(input),
        },
    }
}

/// From lines to what they mean.
fn understand<'a>(parsed: &httparse::Request<'_, 'a>, head: &mut Head<'a>) -> Result<Persistence, Refusal> {
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Refusal::Malformed);
    };
    if method.len() > METHOD {
        return Err(Refusal::Malformed);
    }
    if target.len() > TARGET {
        return Err(Refusal::TargetTooLong);
    }
    let mut own = Own::default();
    for line in parsed.headers.iter() {
        let name = line.name.as_bytes();
        if !own.take(name, line.value)
            && let Some(field) = Field::from_name(name)
        {
            head.push(field, line.value);
        }
    }
    // RFC 9112 section 3.2: once, and only 1.0 may leave it out.
    let host = match own.host.only() {
        Some(host) => host,
        None if minor == 0 && own.host.is_empty() => b"",
        None => return Err(Refusal::Malformed),
    };
    head.method = Method::from_name(method.as_bytes());
    target::read(target.as_bytes(), method == "CONNECT", host, head).ok_or(Refusal::Malformed)?;
    own.persistence(minor)
}

/// What can be said of a head whose end is not there.
fn incomplete(input: &[u8]) -> Result<Option<Request>, Refusal> {
    match bad_line(input) {
        Some(refusal) => Err(refusal),
        None if input.len() > HEAD => Err(Refusal::HeadTooLarge),
        None => Ok(None),
    }
}

/// What is wrong with a request line by the length of its parts, be it whole or not.
fn bad_line(input: &[u8]) -> Option<Refusal> {
    let is_end = |byte: &u8| matches!(byte, b' ' | b'\r' | b'\n');
    let Some(end) = input.iter().take(METHOD + 1).position(is_end) else {
        return (input.len() > METHOD).then_some(Refusal::Malformed);
    };
    let target = input.get(end..)?.strip_prefix(b" ")?;
    (target.len() > TARGET && !target.iter().take(TARGET + 1).any(is_end)).then_some(Refusal::TargetTooLong)
}

/// What to say about what is wrong in `window`; `None` if it is in a line whose end is not there yet.
fn refusal(window: &[u8], error: httparse::Error) -> Option<Refusal> {
    if let Some(refusal) = bad_line(window) {
        return Some(refusal);
    }
    let lines = window.get(..=window.iter().rposition(|byte| *byte == b'\n')?)?;
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    if lines.len() < window.len() && httparse::Request::new(&mut fields).parse(lines).is_ok() {
        return None;
    }
    Some(match error {
        httparse::Error::TooManyHeaders => Refusal::HeadTooLarge,
        httparse::Error::Version | httparse::Error::Token if is_other_version(lines) => Refusal::Version,
        _ => Refusal::Malformed,
    })
}

/// True if the first line is a request of 0.9, or names another version as one is named.
fn is_other_version(lines: &[u8]) -> bool {
    let line = lines.split(|byte| *byte == b'\n').next().and_then(|line| line.strip_suffix(b"\r")).unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(b"GET"), Some([b'/', ..]), None, None) => true,
        (_, _, Some(b"HTTP/1.0" | b"HTTP/1.1"), _) => false,
        (_, _, Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None) => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}

/// True if a line ends without a carriage return, which some readers take for an end and others do not. In `lines`
/// every carriage return has its line feed.
fn has_bare_line_feed(lines: &[u8]) -> bool {
    // Differences of one block fit a byte, which lets many be counted at once.
    let differences = lines.chunks(64).map(|block| {
        let count = |wanted: u8| block.iter().map(|byte| u8::from(*byte == wanted)).sum::<u8>();
        i64::from(count(b'\n')) - i64::from(count(b'\r'))
    });
    differences.sum::<i64>() != 0
}

#[cfg(test)]
mod tests;

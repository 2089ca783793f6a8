//! From decoded fields to the head of a request: what RFC 9113 section 8 and RFC 9114 section 4 ask of it, and nothing of
//! what it means.
//!
//! A request that two readers could understand in two ways is refused here: a name twice where it may stand once, a
//! host beside another authority, a field of the connection, a length that is none.

use super::{Line, Name};
use crate::{
    engine::Refusal,
    head::{Head, Method},
    syntax::{is_authority, is_token},
};

/// The longest target that is read. An address of a site has three parts of 1,024 characters at most, each of which may
/// be written with three; the rest is slack for a query, which no file depends on.
pub(crate) const TARGET: usize = 9_300;

/// A request that is not answered as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A stream error (RFC 9113 section 8.1.1, RFC 9114 section 4.1.2).
    Malformed,
    /// One that can be answered.
    Refused(Refusal),
}

/// The pseudo-header fields and others that are not handed on as they are.
#[derive(Debug, Default)]
struct Parts<'a> {
    method: Option<&'a [u8]>,
    scheme: Option<&'a [u8]>,
    authority: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
    length: Option<u64>,
    expects: bool,
}

/// Fills `head`. Gives the length of the content that the client announces.
///
/// # Errors
///
/// A [`Flaw`]; `head` is of no use then.
pub(crate) fn read<'a>(lines: impl Iterator<Item = Line<'a>>, head: &mut Head<'a>) -> Result<Option<u64>, Flaw> {
    let parts = Parts::read(lines, head).ok_or(Flaw::Malformed)?;
    head.authority = parts.authority().ok_or(Flaw::Malformed)?;
    head.method = Method::from_name(parts.method.unwrap_or_default());
    let target = parts.target().ok_or(Flaw::Malformed)?;
    if target.len() > TARGET {
        return Err(Flaw::Refused(Refusal::TargetTooLong));
    }
    let mut halves = target.splitn(2, |&byte| byte == b'?');
    head.path = halves.next().unwrap_or_default();
    head.query = halves.next();
    if parts.expects {
        return Err(Flaw::Refused(Refusal::Expectation));
    }
    Ok(parts.length)
}

/// True if these can be the trailers of a request (RFC 9113 section 8.1).
pub(crate) fn trailers<'a>(mut lines: impl Iterator<Item = Line<'a>>) -> bool {
    lines.all(|line| {
        let pseudo = matches!(line.kind, Name::Method | Name::Scheme | Name::Authority | Name::Path);
        line.sound && !pseudo && !matches!(line.kind, Name::UnknownPseudo | Name::Connection | Name::Invalid)
    })
}

impl<'a> Parts<'a> {
    fn read(lines: impl Iterator<Item = Line<'a>>, head: &mut Head<'a>) -> Option<Self> {
        let mut parts = Self::default();
        let mut regular = false;
        for Line { kind, value, sound, .. } in lines {
            if !sound {
                return None;
            }
            let pseudo = match kind {
                Name::Method => &mut parts.method,
                Name::Scheme => &mut parts.scheme,
                Name::Authority => &mut parts.authority,
                Name::Path => &mut parts.path,
                Name::UnknownPseudo | Name::Connection | Name::Invalid => return None,
                _ => {
                    regular = true;
                    parts.field(kind, value, head)?;
                    continue;
                }
            };
            if regular || pseudo.replace(value).is_some() {
                return None;
            }
        }
        Some(parts)
    }

    /// A field that is no pseudo-header field.
    fn field(&mut self, kind: Name, value: &'a [u8], head: &mut Head<'a>) -> Option<()> {
        match kind {
            Name::Field(field) => head.push(field, value),
            Name::Host if self.host.replace(value).is_some() => return None,
            Name::Te if !value.eq_ignore_ascii_case(b"trailers") => return None,
            Name::ContentLength => {
                let length = number(value)?;
                if self.length.replace(length).is_some_and(|other| other != length) {
                    return None;
                }
            }
            Name::Expect => self.expects |= !value.eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
        Some(())
    }

    /// What is asked for, query included. CONNECT asks for nothing that has an address here (RFC 9113 section 8.5).
    fn target(&self) -> Option<&'a [u8]> {
        let method = self.method.filter(|method| method.iter().all(|byte| is_token(*byte)))?;
        match (method, self.scheme, self.path) {
            (b"CONNECT", None, None) => self.authority.map(|_| b"".as_slice()),
            (b"CONNECT" | b"", ..) | (_, Some(b""), _) => None,
            (b"OPTIONS", Some(_), Some(b"*")) => Some(b"*"),
            (_, Some(_), Some(path)) => {
                let blank = |&byte: &u8| byte <= b' ' || byte == 0x7f || byte == b'#';
                (path.first() == Some(&b'/') && !path.iter().any(blank)).then_some(path)
            }
            _ => None,
        }
    }

    /// `:authority`, or the host (RFC 9113 section 8.3.1); `None` if they differ or are none.
    fn authority(&self) -> Option<Option<&'a [u8]>> {
        let authority = match (self.authority, self.host) {
            (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => return None,
            (authority, host) => authority.or(host),
        };
        let fits = |name: &[u8]| !name.is_empty() && is_authority(name);
        authority.is_none_or(fits).then_some(authority)
    }
}

/// RFC 9110 section 8.6.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

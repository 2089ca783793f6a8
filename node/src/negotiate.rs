//! Which forms of a representation a client accepts: `Accept-Encoding` (RFC 9110 section 12.5.3).
//!
//! A list from outside, of any length that the engine lets through: it is read in one pass without allocating, and a
//! member that is malformed counts as not there. What browsers really send is recognised whole.

use crate::head::Lines;

/// The weight of a coding that is welcome without reserve; weights are in thousandths (RFC 9110 section 12.4.2).
const FULL: u16 = 1000;

/// What identity weighs where nothing says so: acceptable, and behind everything that was asked for by name.
const LAST: u16 = 1;

/// How the bytes of a form are coded (RFC 9110 section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// The file's own bytes.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Identity, Self::Gzip, Self::Brotli, Self::Zstd];

    /// Its registered name; `identity` is never sent as `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The coding of this name, in any case; `x-gzip` is gzip (RFC 9110 section 8.4.1.3).
    fn from_name(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }
}

/// What a client accepts: a weight for each coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    identity: u16,
    gzip: u16,
    brotli: u16,
    zstd: u16,
}

impl Accepted {
    /// Nothing but the file's own bytes: what a client gets that does not say what it accepts.
    pub const PLAIN: Self = Self { identity: FULL, gzip: 0, brotli: 0, zstd: 0 };

    /// The weight in thousandths; 0 means refused. The highest weight is sent, and of equal ones the smallest form.
    pub fn weight(&self, coding: Coding) -> u16 {
        match coding {
            Coding::Identity => self.identity,
            Coding::Gzip => self.gzip,
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
        }
    }

    const fn equally(gzip: bool, brotli: bool, zstd: bool) -> Self {
        const fn weight(listed: bool) -> u16 {
            if listed { FULL } else { 0 }
        }
        Self { identity: LAST, gzip: weight(gzip), brotli: weight(brotli), zstd: weight(zstd) }
    }
}

/// What the lines of `Accept-Encoding` say.
///
/// Identity is refused only in so many words: `identity;q=0`, or `*;q=0` without naming it. Any other `*` speaks of the
/// codings that are not named, and leaves identity where it is. Of two weights for one coding the last counts.
pub fn accepted(lines: &Lines<'_>) -> Accepted {
    match lines.only() {
        Some(b"gzip, deflate, br, zstd") => return const { Accepted::equally(true, true, true) },
        Some(b"gzip, deflate, br" | b"gzip, br" | b"br, gzip") => return const { Accepted::equally(true, true, false) },
        Some(b"gzip" | b"gzip, deflate" | b"gzip,deflate" | b"deflate, gzip") => {
            return const { Accepted::equally(true, false, false) };
        }
        None if lines.is_empty() => return Accepted::PLAIN,
        _ => {}
    }
    let (mut identity, mut gzip, mut brotli, mut zstd, mut any) = (None, None, None, None, None);
    for member in lines.iter().flat_map(|line| line.split(|byte| *byte == b',')) {
        let mut parts = member.splitn(2, |byte| *byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let Some(weight) = parts.next().map_or(Some(FULL), weight) else { continue };
        let slot = match Coding::from_name(name) {
            Some(Coding::Identity) => &mut identity,
            Some(Coding::Gzip) => &mut gzip,
            Some(Coding::Brotli) => &mut brotli,
            Some(Coding::Zstd) => &mut zstd,
            None if name == b"*" => &mut any,
            None => continue,
        };
        *slot = Some(weight);
    }
    let unnamed = any.unwrap_or(0);
    Accepted {
        identity: identity.unwrap_or(if any == Some(0) { 0 } else { LAST }),
        gzip: gzip.unwrap_or(unnamed),
        brotli: brotli.unwrap_or(unnamed),
        zstd: zstd.unwrap_or(unnamed),
    }
}

/// `q=0.5` in thousandths (RFC 9110 section 12.4.2). Space around the `=` is let pass.
fn weight(parameter: &[u8]) -> Option<u16> {
    let equals = parameter.iter().position(|byte| *byte == b'=')?;
    let (name, value) = parameter.split_at_checked(equals)?;
    if !name.trim_ascii().eq_ignore_ascii_case(b"q") {
        return None;
    }
    let (whole, fraction) = match value.get(1..)?.trim_ascii() {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] => (whole, fraction),
        _ => return None,
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(b"000").take(3);
    let thousandths = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match (whole, thousandths) {
        (b'0', _) => Some(thousandths),
        (b'1', 0) => Some(FULL),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

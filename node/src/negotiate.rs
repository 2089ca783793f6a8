//! What a client accepts and what it already has: `Accept-Encoding` and `If-None-Match`.
//!
//! Both headers are lists from outside, of any length that the listener lets through: they are read in one pass
//! without allocating, and a member that is malformed counts as not there.

use http::{HeaderMap, header};

/// A content coding that a site can offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// The file's own bytes.
    Identity,
    /// The gzip form.
    Gzip,
}

/// Weights in thousandths, as `Accept-Encoding` gives them; `None` where it says nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Weights {
    gzip: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

/// Which form to send (RFC 9110 section 12.5.3); `None` if the client refuses all there is.
///
/// gzip wins ties. Identity is refused only in so many words: `identity;q=0`, or `*;q=0` without naming it.
pub fn choose(headers: &HeaderMap, gzip_offered: bool) -> Option<Offer> {
    let weights = weights(headers);
    let gzip = if gzip_offered { weights.gzip.or(weights.any).unwrap_or(0) } else { 0 };
    let identity = weights.identity.or(weights.any.filter(|weight| *weight == 0));
    match identity {
        _ if gzip > 0 && gzip >= identity.unwrap_or(0) => Some(Offer::Gzip),
        Some(0) => None,
        _ => Some(Offer::Identity),
    }
}

fn weights(headers: &HeaderMap) -> Weights {
    let mut weights = Weights::default();
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    for member in lines.flat_map(|line| line.split(',')) {
        let mut parts = member.split(';');
        let coding = parts.next().unwrap_or_default().trim();
        let Some(weight) = parts.next().map_or(Some(1000), parameter) else { continue };
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            weights.gzip = Some(weight);
        } else if coding.eq_ignore_ascii_case("identity") {
            weights.identity = Some(weight);
        } else if coding == "*" {
            weights.any = Some(weight);
        }
    }
    weights
}

/// `q=0.5` in thousandths (RFC 9110 section 12.4.2).
fn parameter(text: &str) -> Option<u16> {
    let (name, value) = text.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value = value.trim();
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths =
        fraction.bytes().chain([b'0'; 3]).take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match (whole, thousandths) {
        ("0", _) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// True if `If-None-Match` lists `tag`, or is `*` (RFC 9110 section 13.1.2). `tag` is a strong tag with its quotes.
///
/// The comparison is weak: `W/` before a listed tag is ignored.
pub fn already_has(headers: &HeaderMap, tag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines.into_iter().any(|line| line.trim() == "*" || lists(line, tag))
}

/// True if the list has the tag. A tag may hold commas, so the quotes are what separates members.
fn lists(mut list: &str, tag: &str) -> bool {
    while let Some((_, opened)) = list.split_once('"') {
        let Some((opaque, rest)) = opened.split_once('"') else { return false };
        if tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(opaque) {
            return true;
        }
        list = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: header::HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn accept_encoding() {
        use Offer::{Gzip, Identity};
        for (lines, with_gzip, without) in [
            (&[][..], Some(Identity), Some(Identity)),
            (&[""], Some(Identity), Some(Identity)),
            (&["gzip"], Some(Gzip), Some(Identity)),
            (&["GZIP"], Some(Gzip), Some(Identity)),
            (&["x-gzip"], Some(Gzip), Some(Identity)),
            (&["gzip, deflate, br, zstd"], Some(Gzip), Some(Identity)),
            (&["br", "gzip;q=0.5"], Some(Gzip), Some(Identity)),
            (&["br"], Some(Identity), Some(Identity)),
            (&["*"], Some(Gzip), Some(Identity)),
            (&["*;q=0.1"], Some(Gzip), Some(Identity)),
            (&["gzip;q=0"], Some(Identity), Some(Identity)),
            (&["gzip;q=0.000"], Some(Identity), Some(Identity)),
            (&["gzip;q=0.001"], Some(Gzip), Some(Identity)),
            (&["gzip; Q = 0.5 , identity; q=0.5"], Some(Gzip), Some(Identity)),
            (&["gzip;q=0.5, identity;q=0.501"], Some(Identity), Some(Identity)),
            (&["gzip;q=0.5, *;q=1"], Some(Gzip), Some(Identity)),
            (&["identity;q=0"], None, None),
            (&["identity;q=0, gzip"], Some(Gzip), None),
            (&["*;q=0"], None, None),
            (&["*;q=0, identity"], Some(Identity), Some(Identity)),
            (&["*;q=0, gzip"], Some(Gzip), None),
            // Malformed weights are not there at all.
            (&["gzip;q=2"], Some(Identity), Some(Identity)),
            (&["gzip;q=1.001"], Some(Identity), Some(Identity)),
            (&["gzip;q=0.1234"], Some(Identity), Some(Identity)),
            (&["gzip;q=-1"], Some(Identity), Some(Identity)),
            (&["gzip;level=9"], Some(Identity), Some(Identity)),
            (&["identity;q=x"], Some(Identity), Some(Identity)),
            (&["\u{80}gzip"], Some(Identity), Some(Identity)),
        ] {
            let headers = headers(header::ACCEPT_ENCODING, lines);
            assert_eq!(choose(&headers, true), with_gzip, "{lines:?} with gzip");
            assert_eq!(choose(&headers, false), without, "{lines:?} without gzip");
        }
    }

    #[test]
    fn if_none_match() {
        for (lines, expected) in [
            (&[][..], false),
            (&["\"abc\""], true),
            (&["W/\"abc\""], true),
            (&["\"x\", \"abc\""], true),
            (&["\"x\",W/\"abc\",\"y\""], true),
            (&["\"x\"", "\"abc\""], true),
            (&["\"a,b\", \"abc\""], true),
            (&["*"], true),
            (&[" * "], true),
            (&["abc"], false),
            (&["\"abc"], false),
            (&["\"abcd\""], false),
            (&["\"ab\",\"c\""], false),
            (&["\"ABC\""], false),
            (&["\"*\""], false),
            (&["\"x\" abc \"y\""], false),
        ] {
            assert_eq!(already_has(&headers(header::IF_NONE_MATCH, lines), "\"abc\""), expected, "{lines:?}");
        }
    }
}

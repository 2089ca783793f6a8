//! What proxies say about the visitor in `Forwarded` (RFC 7239) or `X-Forwarded-For`.
//!
//! Every hop appends who it got the request from, so the fields are read from their end, and only as far as each hop
//! is trusted: what stands further left, the visitor could have written. For the same reason an element is found from
//! its end, too: a quote that the visitor opened and left open must not swallow what the proxy appended.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Trust;
use crate::{
    head::{Head, Lines},
    syntax::is_token,
};

/// Who sent the request: the nearest hop that is not trusted, or the last trusted one if it does not say, or not
/// legibly. Without a field that is `peer`. IPv4 addresses are given as such, even if the socket is an IPv6 one.
///
/// A proxy writes one of the two fields, and may let the other pass as the visitor sent it; so if both are there and
/// do not name the same visitor, neither is believed.
pub fn visitor(trust: &Trust, peer: IpAddr, head: &Head<'_>) -> IpAddr {
    let peer = peer.to_canonical();
    if !trust.includes(peer) {
        return peer;
    }
    let standard = || walk(trust, peer, &head.forwarded, element);
    let customary = || walk(trust, peer, &head.x_forwarded_for, address);
    match (head.forwarded.is_empty(), head.x_forwarded_for.is_empty()) {
        (true, true) => peer,
        (false, true) => standard(),
        (true, false) => customary(),
        (false, false) => Some(standard()).filter(|visitor| *visitor == customary()).unwrap_or(peer),
    }
}

/// The first hop from the end that is not trusted. `read` says who an element names.
fn walk(trust: &Trust, peer: IpAddr, lines: &Lines<'_>, read: fn(&str) -> Option<IpAddr>) -> IpAddr {
    let mut hop = peer;
    let lines: Vec<&[u8]> = lines.iter().collect();
    for element in lines.into_iter().rev().flat_map(Backwards::new) {
        let Some(before) = str::from_utf8(element).ok().and_then(read) else { return hop };
        hop = before.to_canonical();
        if !trust.includes(hop) {
            return hop;
        }
    }
    hop
}

/// The elements of a list (RFC 9110 section 5.6.1) from the last to the first, without blanks around them, and
/// without empty ones. Commas within quotes separate nothing.
struct Backwards<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Backwards<'a> {
    fn new(line: &'a [u8]) -> Self {
        Self { rest: Some(line) }
    }
}

impl<'a> Iterator for Backwards<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let Some(line) = self.rest.take() {
            let (before, element) = match last_comma(line).and_then(|at| line.split_at_checked(at)) {
                Some((before, element)) => (Some(before), element.get(1..).unwrap_or_default()),
                None => (None, line),
            };
            self.rest = before;
            let element = element.trim_ascii();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// Where the last element of a list begins, if it is not the only one. Exact if that element is well-formed.
fn last_comma(line: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in line.iter().enumerate().rev() {
        match byte {
            b',' if !quoted => return Some(at),
            b'"' if !(quoted && is_escaped(line, at)) => quoted = !quoted,
            _ => {}
        }
    }
    None
}

/// True if an odd number of backslashes stands before.
fn is_escaped(line: &[u8], at: usize) -> bool {
    let before = line.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Whom a `forwarded-element` names as its `for` (RFC 7239 section 4). `None` if nobody, or if it is not well-formed.
fn element(text: &str) -> Option<IpAddr> {
    let mut named = None;
    let mut rest = text;
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=')?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        let (value, behind) = value(behind)?;
        // A parameter may stand only once in an element.
        if name.eq_ignore_ascii_case("for") && named.replace(value).is_some() {
            return None;
        }
        // The grammar has no blanks here, but people write some.
        rest = match behind.trim_ascii_start() {
            "" => "",
            behind => behind.strip_prefix(';').map(str::trim_ascii_start).filter(|more| !more.is_empty())?,
        };
    }
    address(&named?)
}

/// A value, and what stands behind it. Without quotes it may hold the characters of addresses, though they are no
/// tokens: proxies write them so, and it cannot be understood in two ways.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        let (value, behind) = text.split_at_checked(end)?;
        let fits = !value.is_empty() && value.bytes().all(|byte| is_token(byte) || b":[]".contains(&byte));
        return fits.then(|| (value.to_owned(), behind));
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(chars.next()?),
            char => value.push(char),
        }
    }
}

/// A node with an address (RFC 7239 section 6), or what proxies write into `X-Forwarded-For`: IPv4 or IPv6, the latter
/// with or without brackets, and with or without a port. `unknown` and obfuscated names have no address.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip());
    }
    let bracketed = |text: &str| text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    if let Some(address) = bracketed(text) {
        return Some(address.into());
    }
    // A port may be obfuscated though the address is not.
    let (name, port) = text.rsplit_once(':')?;
    let obscure = port.strip_prefix('_').is_some_and(|port| !port.is_empty() && port.bytes().all(is_token));
    let address = name.parse().ok().map(IpAddr::V4).or_else(|| bracketed(name).map(IpAddr::V6));
    address.filter(|_| obscure)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::head::Field;

    fn trust() -> Trust {
        Trust { networks: ["10.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().unwrap()).into() }
    }

    const PEER: &str = "10.0.0.1";

    fn told(peer: &str, fields: &[(Field, &str)]) -> String {
        let mut head = Head::default();
        for (field, value) in fields {
            head.push(*field, value.as_bytes());
        }
        visitor(&trust(), peer.parse().unwrap(), &head).to_string()
    }

    #[test]
    fn forwarded_is_read_from_its_end() {
        let table: &[(&[&str], &str)] = &[
            (&["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60"),
            (&["For=\"[2001:DB9:cafe::17]:4711\""], "2001:db9:cafe::17"),
            (&["for=\"[2001:db9::17]\""], "2001:db9::17"),
            (&["for=\"192.0.2.43:47011\""], "192.0.2.43"),
            (&["for=\"192.0.2.43:_x1\""], "192.0.2.43"),
            (&["for=\"[2001:db9::17]:_x1\""], "2001:db9::17"),
            (&["for=\"::ffff:192.0.2.9\""], "192.0.2.9"),
            (&["for=\"192.0\\.2.43\""], "192.0.2.43"),
            // Not quoted as they should be, and still clear.
            (&["for=[2001:db9::17]:80"], "2001:db9::17"),
            (&["for=192.0.2.43:80;proto=https"], "192.0.2.43"),
            (&["for=192.0.2.60; proto=http ;by=203.0.113.43"], "192.0.2.60"),
            // From the end, as far as hops are trusted; over several lines.
            (&["for=192.0.2.1, for=192.0.2.2"], "192.0.2.2"),
            (&["for=192.0.2.1, for=10.1.1.1"], "192.0.2.1"),
            (&["for=192.0.2.1", "for=10.1.1.1"], "192.0.2.1"),
            (&["for=192.0.2.1 ,, for=\"[2001:db8::9]\" ,", " , "], "192.0.2.1"),
            (&["for=10.0.0.3, for=10.0.0.2"], "10.0.0.3"),
            // Commas and quotes within quotes.
            (&["for=192.0.2.1, by=\"a,b\";for=10.1.1.1"], "192.0.2.1"),
            (&["for=192.0.2.1, by=\"a\\\",b\";for=10.1.1.1"], "192.0.2.1"),
            (&["for=192.0.2.1, by=\"a\\\\\";for=10.1.1.1"], "192.0.2.1"),
            // What the visitor sent cannot swallow what the proxy appended.
            (&["for=\"192.0.2.1, for=192.0.2.2"], "192.0.2.2"),
            (&["for=192.0.2.1;by=\"\\, for=192.0.2.2"], "192.0.2.2"),
            (&["\"", "for=192.0.2.2"], "192.0.2.2"),
            // Nobody, or not legibly: the last trusted hop.
            (&["for=unknown"], PEER),
            (&["for=_hidden, for=10.1.1.1"], "10.1.1.1"),
            (&["for=192.0.2.1, for=\"_gazonk\""], PEER),
            (&["by=203.0.113.43;proto=http"], PEER),
            (&["for=192.0.2.1;for=192.0.2.2"], PEER),
            (&["for=192.0.2.1, for=192.0.2.2 "], "192.0.2.2"),
            (&["for = 192.0.2.1"], PEER),
            (&["for=192.0.2.1 proto=http"], PEER),
            (&["for=192.0.2.1;"], PEER),
            (&["for=;proto=http"], PEER),
            (&["for=\"192.0.2.1"], PEER),
            (&["for=\"192.0.2.1\"x"], PEER),
            (&["for=\"192.0.2.1:99999\""], PEER),
            (&["for=\"192.0.2.1:_\""], PEER),
            (&["for=\"::1:_x\""], PEER),
            (&["for=[192.0.2.1]"], PEER),
            (&["for=192.0.2.01"], PEER),
            (&["for"], PEER),
            (&["for=\u{e9}"], PEER),
            (&[""], PEER),
        ];
        for (lines, expected) in table {
            let fields: Vec<_> = lines.iter().map(|line| (Field::Forwarded, *line)).collect();
            assert_eq!(told(PEER, &fields), *expected, "{lines:?}");
        }
    }

    #[test]
    fn x_forwarded_for_likewise() {
        let table: &[(&[&str], &str)] = &[
            (&["192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, 192.0.2.2"], "192.0.2.2"),
            (&["192.0.2.1,10.1.1.1"], "192.0.2.1"),
            (&["192.0.2.1", "10.1.1.1", "2001:db8::1"], "192.0.2.1"),
            (&["2001:db9::17"], "2001:db9::17"),
            (&["[2001:db9::17]"], "2001:db9::17"),
            (&["[2001:db9::17]:80"], "2001:db9::17"),
            (&["192.0.2.1:1234"], "192.0.2.1"),
            (&["192.0.2.1, ::ffff:10.1.1.1"], "192.0.2.1"),
            (&["192.0.2.1, unknown, 10.1.1.1"], "10.1.1.1"),
            (&["192.0.2.1, localhost"], PEER),
            (&["192.0.2.1 192.0.2.2"], PEER),
            (&["for=192.0.2.1"], PEER),
            (&["fe80::1%eth0"], PEER),
            (&[","], PEER),
        ];
        for (lines, expected) in table {
            let fields: Vec<_> = lines.iter().map(|line| (Field::XForwardedFor, *line)).collect();
            assert_eq!(told(PEER, &fields), *expected, "{lines:?}");
        }
    }

    #[test]
    fn only_who_is_listed_is_believed() {
        let fields = [(Field::Forwarded, "for=192.0.2.1")];
        assert_eq!(told("11.0.0.1", &fields), "11.0.0.1");
        assert_eq!(told("::ffff:11.0.0.1", &fields), "11.0.0.1");
        assert_eq!(told("::ffff:10.0.0.1", &fields), "192.0.2.1");
        assert_eq!(told("2001:db8::7", &fields), "192.0.2.1");
        assert_eq!(told(PEER, &[]), PEER);
        let peer = PEER.parse().unwrap();
        let head = Head::default();
        assert_eq!(visitor(&Trust::default(), peer, &head), peer);
    }

    #[test]
    fn two_fields_must_agree() {
        let both = |standard, customary| told(PEER, &[(Field::Forwarded, standard), (Field::XForwardedFor, customary)]);
        assert_eq!(both("for=192.0.2.1", "192.0.2.1"), "192.0.2.1");
        assert_eq!(both("for=192.0.2.66", "192.0.2.1"), PEER);
        assert_eq!(both("for=unknown", "192.0.2.1"), PEER);
    }

    proptest! {
        #[test]
        fn arbitrary_fields_never_panic(
            standard in prop::collection::vec("[for=\"\\\\,; 0-9:\\[\\]._\u{e9}]{0,40}", 0..3),
            customary in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..3),
        ) {
            let mut head = Head::default();
            standard.iter().for_each(|line| head.push(Field::Forwarded, line.as_bytes()));
            customary.iter().for_each(|line| head.push(Field::XForwardedFor, line));
            visitor(&trust(), PEER.parse().unwrap(), &head);
        }

        /// Whatever stands left of what the proxy appended, the visitor is who the proxy says.
        #[test]
        fn what_is_appended_counts(
            forged in "[for=\"\\\\,; 0-9:\\[\\]._]{0,40}",
            by in "[ -~]{0,10}",
            same_line in any::<bool>(),
        ) {
            let by = by.replace('\\', "\\\\").replace('"', "\\\"");
            let appended = format!("by=\"{by}\";for=192.0.2.1");
            let line = format!("{forged}, {appended}");
            let mut head = Head::default();
            if same_line {
                head.push(Field::Forwarded, line.as_bytes());
            } else {
                head.push(Field::Forwarded, forged.as_bytes());
                head.push(Field::Forwarded, appended.as_bytes());
            }
            prop_assert_eq!(visitor(&trust(), PEER.parse().unwrap(), &head).to_string(), "192.0.2.1");
        }
    }
}

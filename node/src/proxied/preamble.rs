//! The header of the PROXY protocol, versions 1 and 2 (HAProxy, `doc/proxy-protocol.txt`, section 2).
//!
//! Bytes that cannot become a header any more are told apart from those that still can, so that a connection is
//! closed at the first wrong byte. Extensions (TLVs) are skipped: nothing here depends on them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is read, and so what a caller must be able to buffer. Addresses take 232 bytes; what
/// proxies add beyond (server name, TLS parameters, identifiers of cloud endpoints) stays far below.
pub const MAX_HEADER: usize = 4096;

/// Version 1, its line end included (section 2.1).
const MAX_LINE: usize = 107;

const SIGNATURE_1: &[u8] = b"PROXY ";
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2 before its addresses: signature, version and command, family and protocol, length.
const FIXED: usize = 16;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header.
    Incomplete,
    /// A whole one.
    Header {
        /// How many bytes it takes. What follows is the visitor's.
        len: usize,
        /// The visitor; `None` if the proxy speaks for itself, as for health checks, or does not say.
        source: Option<SocketAddr>,
    },
    /// No header: close the connection.
    Invalid,
}

/// Reads the header that a connection begins with.
pub fn parse(bytes: &[u8]) -> Parsed {
    let begins = |signature: &[u8]| bytes.iter().zip(signature).all(|(byte, expected)| byte == expected);
    if begins(SIGNATURE_2) {
        version_2(bytes)
    } else if begins(SIGNATURE_1) {
        version_1(bytes)
    } else {
        Parsed::Invalid
    }
}

fn version_1(bytes: &[u8]) -> Parsed {
    let line = bytes.get(..MAX_LINE).unwrap_or(bytes);
    // Whichever comes first: what is wrong in pieces must not be right as a whole.
    let Some(end) = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if line.len() < MAX_LINE { Parsed::Incomplete } else { Parsed::Invalid };
    };
    match (line.get(end), line.get(end + 1)) {
        (Some(b'\r'), Some(b'\n')) => {}
        (Some(b'\r'), None) if end + 1 < MAX_LINE => return Parsed::Incomplete,
        _ => return Parsed::Invalid,
    }
    let text = line.get(SIGNATURE_1.len()..end).and_then(|text| str::from_utf8(text).ok());
    match text.map(told) {
        Some(Some(source)) => Parsed::Header { len: end + 2, source },
        _ => Parsed::Invalid,
    }
}

/// What a line tells behind `PROXY `: outer `None` if it is not well-formed, inner `None` if it is `UNKNOWN`.
fn told(text: &str) -> Option<Option<SocketAddr>> {
    let (family, rest) = text.split_once(' ').unwrap_or((text, ""));
    if family == "UNKNOWN" {
        return Some(None);
    }
    let mut words = rest.split(' ');
    let mut address = || {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::from),
            _ => None,
        }
    };
    let (source, _destination) = (address()?, address()?);
    let (port, _destination) = (words.next().and_then(port)?, words.next().and_then(port)?);
    words.next().is_none().then_some(Some(socket(source, port)))
}

/// Without a sign or leading zeros, which the specification forbids.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain)
}

fn version_2(bytes: &[u8]) -> Parsed {
    // Each byte is checked as soon as it is there.
    let command = match bytes.get(12) {
        None => return Parsed::Incomplete,
        Some(0x20) => Command::Local,
        Some(0x21) => Command::Proxy,
        Some(_) => return Parsed::Invalid,
    };
    let family = match (command, bytes.get(13)) {
        (_, None) => return Parsed::Incomplete,
        // The proxy's own connection: whatever it says about families and addresses is ignored.
        (Command::Local, Some(_)) => Family::Unknown,
        (Command::Proxy, Some(0x00)) => Family::Unknown,
        (Command::Proxy, Some(0x11 | 0x12)) => Family::V4,
        (Command::Proxy, Some(0x21 | 0x22)) => Family::V6,
        (Command::Proxy, Some(0x31 | 0x32)) => Family::Unix,
        (Command::Proxy, Some(_)) => return Parsed::Invalid,
    };
    let Some(length) = bytes.get(14..FIXED).and_then(|length| <[u8; 2]>::try_from(length).ok()) else {
        return Parsed::Incomplete;
    };
    let len = FIXED + usize::from(u16::from_be_bytes(length));
    if len > MAX_HEADER || len < FIXED + family.size() {
        return Parsed::Invalid;
    }
    let Some(addresses) = bytes.get(FIXED..len) else { return Parsed::Incomplete };
    Parsed::Header { len, source: family.source(addresses) }
}

#[derive(Clone, Copy)]
enum Command {
    Local,
    Proxy,
}

#[derive(Clone, Copy)]
enum Family {
    Unknown,
    V4,
    V6,
    Unix,
}

impl Family {
    /// Bytes of the two addresses, and of the two ports if there are any.
    fn size(self) -> usize {
        match self {
            Self::Unknown => 0,
            Self::V4 => 12,
            Self::V6 => 36,
            Self::Unix => 216,
        }
    }

    fn source(self, bytes: &[u8]) -> Option<SocketAddr> {
        let (address, ports) = match self {
            Self::V4 => (IpAddr::from(*bytes.first_chunk::<4>()?), bytes.get(8..)?),
            Self::V6 => (IpAddr::from(*bytes.first_chunk::<16>()?), bytes.get(32..)?),
            // A visitor from the proxy's own machine has no address.
            Self::Unknown | Self::Unix => return None,
        };
        Some(socket(address, u16::from_be_bytes(*ports.first_chunk()?)))
    }
}

/// An IPv4 address stays one, however the proxy wrote it: limits and logs must not see two visitors in one.
fn socket(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Parsed::*, *};

    fn header(len: usize, source: &str) -> Parsed {
        Header { len, source: (!source.is_empty()).then(|| source.parse().unwrap()) }
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE_2, &[command, family], &length, rest].concat()
    }

    #[test]
    fn version_1_line_by_line() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(MAX_LINE - 16));
        assert_eq!(longest.len(), MAX_LINE);
        let v6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let worst = format!("PROXY TCP6 {v6} {v6} 65535 65535\r\n");
        let table: &[(&str, Parsed)] = &[
            ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", header(47, "192.168.0.1:56324")),
            ("PROXY TCP4 192.168.0.1 192.168.0.11 0 443\r\nGET", header(43, "192.168.0.1:0")),
            ("PROXY TCP6 2001:db8::1 ::1 56324 443\r\n", header(38, "[2001:db8::1]:56324")),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 443\r\n", header(39, "192.0.2.7:1")),
            (&worst, header(104, &format!("[{v6}]:65535"))),
            ("PROXY UNKNOWN\r\n", header(15, "")),
            ("PROXY UNKNOWN what ever\r\n", header(25, "")),
            (&longest, header(MAX_LINE, "")),
            (&longest[..MAX_LINE - 1], Incomplete),
            (&longest[..MAX_LINE - 2], Incomplete),
            (&longest.replace('\r', "f"), Invalid),
            ("", Incomplete),
            ("PRO", Incomplete),
            ("PROXY TCP4 1.1.1", Incomplete),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r", Incomplete),
            ("GET / HTTP/1.1\r\n", Invalid),
            ("PROXY UNKNOWN what\never\r\n", Invalid),
            ("PROXX", Invalid),
            ("PROXY\r\n", Invalid),
            ("PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n", Invalid),
            ("PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n", Invalid),
            ("PROXY TCP4\r\n", Invalid),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", Invalid),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n", Invalid),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n", Invalid),
            ("PROXY TCP4 1.1.1.1  1.1.1.1 1 1\r\n", Invalid),
            ("PROXY TCP4 1.1.1.01 1.1.1.1 1 1\r\n", Invalid),
            ("PROXY TCP4 1.1.1.256 1.1.1.1 1 1\r\n", Invalid),
            ("PROXY TCP4 ::1 ::1 1 1\r\n", Invalid),
            ("PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n", Invalid),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n", Invalid),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n", Invalid),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n", Invalid),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", Invalid),
            ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\rX", Invalid),
            ("PROXY TCP4 1.1.1.\u{661} 1.1.1.1 1 1\r\n", Invalid),
        ];
        for (bytes, expected) in table {
            assert_eq!(parse(bytes.as_bytes()), *expected, "{bytes:?}");
        }
    }

    #[test]
    fn version_2_byte_by_byte() {
        let v4 = [[192, 0, 2, 7], [10, 0, 0, 1], [0xdc, 4, 1, 0xbb]].concat();
        let v6 =
            [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 16], &[0xdc, 4, 1, 0xbb]].concat();
        let mapped =
            [&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7][..], &[0; 16], &[0xdc, 4, 0, 0]].concat();
        let with_tlv = [&v4[..], &[4, 0, 3, 1, 2, 3]].concat();
        let table = [
            (v2(0x21, 0x11, &v4), header(28, "192.0.2.7:56324")),
            (v2(0x21, 0x12, &v4), header(28, "192.0.2.7:56324")),
            (v2(0x21, 0x11, &with_tlv), header(34, "192.0.2.7:56324")),
            (v2(0x21, 0x21, &v6), header(52, "[2001:db8::1]:56324")),
            (v2(0x21, 0x22, &v6), header(52, "[2001:db8::1]:56324")),
            (v2(0x21, 0x21, &mapped), header(52, "192.0.2.7:56324")),
            (v2(0x21, 0x31, &[0; 216]), header(232, "")),
            (v2(0x21, 0x32, &[0; 220]), header(236, "")),
            (v2(0x21, 0x00, b"ignored"), header(23, "")),
            (v2(0x20, 0x00, b""), header(16, "")),
            // The family of the proxy's own connection is not looked at, and neither are the addresses.
            (v2(0x20, 0x11, &v4), header(28, "")),
            (v2(0x20, 0x77, b"xyz"), header(19, "")),
            (v2(0x21, 0x00, &vec![0; MAX_HEADER - 16]), header(MAX_HEADER, "")),
            (v2(0x21, 0x00, &vec![0; MAX_HEADER - 15]), Invalid),
            (v2(0x21, 0x11, &v4[..11]), Invalid),
            (v2(0x21, 0x21, &v6[..35]), Invalid),
            (v2(0x21, 0x31, &[0; 215]), Invalid),
            (v2(0x21, 0x10, &v4), Invalid),
            (v2(0x21, 0x13, &v4), Invalid),
            (v2(0x21, 0x41, &v4), Invalid),
            (v2(0x22, 0x11, &v4), Invalid),
            (v2(0x11, 0x11, &v4), Invalid),
        ];
        for (bytes, expected) in table {
            assert_eq!(parse(&bytes), expected, "{bytes:02x?}");
            // Whatever follows is not looked at.
            if expected != Invalid {
                assert_eq!(parse(&[&bytes[..], b"\x16\x03\x01"].concat()), expected);
            }
        }
        assert_eq!(parse(b"\r\n\r\n\0\r\nQUIT\r"), Invalid);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            signed in 0..3_usize,
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [[b"".as_slice(), SIGNATURE_1, SIGNATURE_2][signed], &bytes].concat();
            if let Header { len, .. } = parse(&bytes) {
                prop_assert!(len <= bytes.len() && len <= MAX_HEADER);
            }
        }

        #[test]
        fn what_comes_in_pieces_is_waited_for(
            source in any::<SocketAddr>(),
            binary in any::<bool>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let address = source.ip();
            let port = source.port().to_be_bytes();
            let whole = match (binary, address) {
                (false, IpAddr::V4(ip)) => format!("PROXY TCP4 {ip} {ip} {0} {0}\r\n", source.port()).into_bytes(),
                (false, IpAddr::V6(ip)) => format!("PROXY TCP6 {ip} {ip} {0} {0}\r\n", source.port()).into_bytes(),
                (true, IpAddr::V4(ip)) => v2(0x21, 0x11, &[&ip.octets()[..], &ip.octets(), &port, &port].concat()),
                (true, IpAddr::V6(ip)) => v2(0x21, 0x21, &[&ip.octets()[..], &ip.octets(), &port, &port].concat()),
            };
            let expected = Header { len: whole.len(), source: Some(socket(address, source.port())) };
            prop_assert_eq!(parse(&whole), expected);
            prop_assert_eq!(parse(&whole[..cut.index(whole.len())]), Incomplete);
        }
    }
}

//! The host of an authority, the only part of a request that could send a visitor elsewhere.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::Deserialize;

/// A DNS name in lower case without its last dot, an IPv4 address, or an IPv6 address in brackets. Nothing else can be
/// one, so it can stand in an address (RFC 3986 section 3.2.2) and in a field without being escaped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Host(String);

/// Why a text is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no host: write a name such as site.example.org, or an address, without a scheme and a port")]
pub struct HostError(String);

impl Host {
    /// The host of an authority, whose port is only checked: `Host` (RFC 9110 section 7.2), or that of a target.
    pub(super) fn of_authority(authority: &[u8]) -> Option<Self> {
        let authority = str::from_utf8(authority).ok()?;
        let end = match authority.strip_prefix('[') {
            Some(literal) => literal.find(']')? + 2,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        let (host, port) = authority.split_at_checked(end)?;
        let port = if port.is_empty() { port } else { port.strip_prefix(':')? };
        let fits = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
        if fits { Self::new(host) } else { None }
    }

    fn new(text: &str) -> Option<Self> {
        if let Some(literal) = text.strip_prefix('[') {
            let address: Ipv6Addr = literal.strip_suffix(']')?.parse().ok()?;
            return Some(Self(format!("[{address}]")));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        // Lengths of RFC 1035 section 2.3.4; the underscore is not for hosts, but some are named so.
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        (name.len() <= 253 && name.split('.').all(is_label)).then(|| Self(name.to_ascii_lowercase()))
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        Self::new(text).ok_or_else(|| HostError(text.into()))
    }
}

impl TryFrom<String> for Host {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        text.parse()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_authorities() {
        let long = format!("{}.example", "a".repeat(63));
        let table = [
            ("site.example.org", Some("site.example.org")),
            ("Site.Example.ORG.:8080", Some("site.example.org")),
            ("site.example:", Some("site.example")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("192.0.2.7:80", Some("192.0.2.7")),
            ("[2001:DB8:0::1]:80", Some("[2001:db8::1]")),
            ("[::1]", Some("[::1]")),
            (&long, Some(long.as_str())),
            ("", None),
            (".", None),
            (":80", None),
            ("a..b", None),
            (".a", None),
            ("a:b", None),
            ("a:123456", None),
            ("a:80:80", None),
            ("user@site.example", None),
            ("a/b", None),
            ("a\\b", None),
            ("a b", None),
            ("a%2eb", None),
            ("a\r\nb", None),
            ("b\u{fc}cher.example", None),
            ("2001:db8::1", None),
            ("[2001:db8::1", None),
            ("[::1]x", None),
            ("[::1]]", None),
            ("[::1%25eth0]", None),
            ("[v1.x]", None),
            ("[192.0.2.7]", None),
        ];
        for (authority, host) in table {
            let found = Host::of_authority(authority.as_bytes());
            assert_eq!(found.map(|host| host.to_string()).as_deref(), host, "{authority:?}");
        }
        assert_eq!(Host::of_authority(b"a\xff"), None);
        assert_eq!(Host::of_authority(format!("a{long}").as_bytes()), None);
        assert_eq!(Host::of_authority("a.".repeat(127).as_bytes()).map(|host| host.0.len()), Some(253));
        assert_eq!(Host::of_authority("a.".repeat(128).as_bytes()), None);
    }

    #[test]
    fn a_configured_host_has_no_port() {
        assert!("Site.example".parse::<Host>().is_ok());
        for text in ["site.example:443", "https://site.example", "site.example/"] {
            assert!(text.parse::<Host>().unwrap_err().to_string().contains("without a scheme and a port"));
        }
    }
}

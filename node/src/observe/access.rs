//! What the access log says about a request: one line of JSON, of printable ASCII, of bounded length.
//!
//! Everything in it that came from the client is escaped before it is JSON, so that no reader of the log (a terminal
//! among them) can be made to see lines, or commands, that a client wrote. By default it holds no address of a person:
//! networks are enough to tell an attack from a crowd.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use difusor_proto::CutLabel;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Protocol, Share};
use crate::head::{Head, Lines};

/// Longest path in a record. The longest address of a site is longer, but rare; attacks are often longer still.
const MAX_PATH: usize = 512;

/// Longest `Referer` and `User-Agent` in a record: what tells them apart stands before.
const MAX_FIELD: usize = 128;

/// What is logged, and where.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessConfig {
    /// Where to.
    pub to: Destination,
    /// How much of the visitors' addresses.
    pub addresses: Addresses,
    /// Which part of all requests.
    pub sample: Share,
    /// Failed requests (4xx and 5xx) logged beyond the sample, at most so many a second.
    pub errors: u32,
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self { to: Destination::Off, addresses: Addresses::Prefix, sample: Share::HUNDREDTH, errors: 10 }
    }
}

/// Where the log goes. In a configuration `"none"`, `"stdout"`, or the path of a file.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Destination {
    /// There is none.
    #[default]
    Off,
    /// Standard output, for a supervisor that collects it.
    Stdout,
    /// A file, appended to. It may be renamed at any time: a new one is begun.
    File(PathBuf),
}

impl From<String> for Destination {
    fn from(text: String) -> Self {
        match text.as_str() {
            "" | "none" => Self::Off,
            "stdout" => Self::Stdout,
            _ => Self::File(text.into()),
        }
    }
}

/// How much of a visitor's address is written down.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addresses {
    /// All of it.
    Full,
    /// The network: 24 bits of IPv4, 48 of IPv6, zeros for the rest.
    #[default]
    Prefix,
    /// Nothing.
    None,
}

impl Addresses {
    fn shown(self, address: IpAddr) -> Option<IpAddr> {
        match (self, address.to_canonical()) {
            (Self::None, _) => None,
            (Self::Full, address) => Some(address),
            (Self::Prefix, IpAddr::V4(address)) => Some(Ipv4Addr::from_bits(address.to_bits() & (!0 << 8)).into()),
            (Self::Prefix, IpAddr::V6(address)) => Some(Ipv6Addr::from_bits(address.to_bits() & (!0 << 80)).into()),
        }
    }
}

/// An answered request.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When it was answered.
    pub at: SystemTime,
    /// The visitor.
    pub ip: IpAddr,
    /// How it came.
    pub protocol: Protocol,
    /// What was asked; `None` if that could not be read.
    pub head: Option<&'a Head<'a>>,
    /// Status of the answer.
    pub status: u16,
    /// Bytes of the body of the answer.
    pub bytes: u64,
    /// The cut that it is from.
    pub cut: Option<CutLabel>,
    /// How long it took, if that was measured: only those drawn are ([`super::Draw::timed`]).
    pub took: Option<Duration>,
    /// The rule of the operator that has it logged.
    pub rule: Option<&'a str>,
}

/// The names and the order of what stands in a line.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    protocol: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    status: u16,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<CutLabel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
}

impl Record<'_> {
    /// The line, its end included.
    pub(super) fn line(&self, addresses: Addresses) -> String {
        let text = |lines: &Lines<'_>| lines.iter().next().map(|value| printable(value, b' ', MAX_FIELD));
        let line = Line {
            time: Timestamp::try_from(self.at).map(|at| format!("{at:.3}")).unwrap_or_default(),
            ip: addresses.shown(self.ip),
            protocol: self.protocol.name(),
            method: self.head.map(|head| head.method.name()),
            path: self.head.map(|head| printable(head.path, b'!', MAX_PATH)),
            status: self.status,
            bytes: self.bytes,
            cut: self.cut,
            referer: self.head.and_then(|head| referer(&head.referer)),
            user_agent: self.head.and_then(|head| text(&head.user_agent)),
            ms: self.took.map(|took| took.as_micros() as f64 / 1000.0),
            rule: self.rule,
        };
        let mut line = serde_json::to_string(&line).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// The page that linked here, without its query: that can hold what is nobody's business.
fn referer(lines: &Lines<'_>) -> Option<String> {
    let value = lines.iter().next()?;
    let page = value.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    Some(printable(page, b'!', MAX_FIELD))
}

/// Bytes from `first` to `~` as they are, all others as `%XX`; cut before what does not fit in `most` bytes.
fn printable(bytes: &[u8], first: u8, most: usize) -> String {
    let mut text = String::with_capacity(bytes.len().min(most));
    for &byte in bytes {
        let plain = (first..=b'~').contains(&byte);
        if text.len() + if plain { 1 } else { 3 } > most {
            break;
        }
        if plain {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::head::{Field, Method};

    fn record<'a>(head: Option<&'a Head<'a>>) -> Record<'a> {
        Record {
            at: SystemTime::UNIX_EPOCH + Duration::from_micros(1_623_019_200_123_456),
            ip: "192.0.2.77".parse().unwrap(),
            protocol: Protocol::H2,
            head,
            status: 200,
            bytes: 1234,
            cut: Some("20210606_2240".parse().unwrap()),
            took: Some(Duration::from_micros(1_250)),
            rule: None,
        }
    }

    fn value(line: &str) -> Value {
        serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap()
    }

    #[test]
    fn a_line_says_all_there_is() {
        let mut head = Head { method: Method::Get, path: b"/a/b.html", ..Default::default() };
        head.push(Field::Referer, b"https://portal.example/page?token=secret#part");
        head.push(Field::UserAgent, b"Mozilla/5.0 (X11; \"Linux\")");
        let line = record(Some(&head)).line(Addresses::Full);
        assert_eq!(
            line,
            "{\"time\":\"2021-06-06T22:40:00.123Z\",\"ip\":\"192.0.2.77\",\"protocol\":\"h2\",\"method\":\"GET\",\
             \"path\":\"/a/b.html\",\"status\":200,\"bytes\":1234,\"cut\":\"20210606_2240\",\
             \"referer\":\"https://portal.example/page\",\"user_agent\":\"Mozilla/5.0 (X11; \\\"Linux\\\")\",\
             \"ms\":1.25}\n"
        );
        let bare = Record { cut: None, took: None, status: 400, rule: Some("a"), ..record(None) };
        assert_eq!(
            value(&bare.line(Addresses::None)),
            json!({"time": "2021-06-06T22:40:00.123Z", "protocol": "h2", "status": 400, "bytes": 1234, "rule": "a"})
        );
    }

    #[test]
    fn addresses_are_shown_as_far_as_is_asked() {
        for (address, full, prefix) in [
            ("192.0.2.77", "192.0.2.77", "192.0.2.0"),
            ("::ffff:192.0.2.77", "192.0.2.77", "192.0.2.0"),
            ("2001:db8:1234:5678:9abc:def0:1234:5678", "2001:db8:1234:5678:9abc:def0:1234:5678", "2001:db8:1234::"),
        ] {
            let shown = |how: Addresses| how.shown(address.parse().unwrap()).map(|ip| ip.to_string());
            assert_eq!(shown(Addresses::Full).as_deref(), Some(full));
            assert_eq!(shown(Addresses::Prefix).as_deref(), Some(prefix));
            assert_eq!(shown(Addresses::None), None);
        }
    }

    #[test]
    fn what_clients_write_is_escaped_and_cut() {
        assert_eq!(printable(b"/\x1b[2J\r\n\x7f\xe2\x80\xae \"", b'!', 99), "/%1B[2J%0D%0A%7F%E2%80%AE%20\"");
        assert_eq!(printable(b"a b", b' ', 99), "a b");
        assert_eq!(printable(b"abc\n", b'!', 5), "abc");
        assert_eq!(printable(b"ab\ncd", b'!', 5), "ab%0A");
    }

    #[test]
    fn the_configuration_is_what_it_says() {
        let parse = |text: &str| toml::from_str::<AccessConfig>(text);
        assert_eq!(parse("").unwrap(), AccessConfig::default());
        let config = parse("to = \"/var/log/a.log\"\naddresses = \"none\"\nsample = 1\nerrors = 0").unwrap();
        assert_eq!(config.to, Destination::File("/var/log/a.log".into()));
        assert_eq!((config.addresses, config.errors), (Addresses::None, 0));
        assert_eq!(config.sample, Share::try_from(1.0).unwrap());
        assert_eq!(parse("to = \"stdout\"\nsample = 0.01").unwrap().sample, Share::HUNDREDTH);
        for wrong in ["sample = 2", "addresses = \"some\"", "colour = 1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_whatever_is_asked(
            path in prop::collection::vec(any::<u8>(), 0..2000),
            agent in prop::collection::vec(any::<u8>(), 0..400),
            linked in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut head = Head { path: &path, ..Default::default() };
            head.push(Field::UserAgent, &agent);
            head.push(Field::Referer, &linked);
            let line = record(Some(&head)).line(Addresses::Prefix);
            prop_assert!(line.len() < 2 * (MAX_PATH + 2 * MAX_FIELD) + 300);
            prop_assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte) || byte == b'\n'));
            let read = value(&line);
            prop_assert!(read["path"].as_str().unwrap().len() <= MAX_PATH);
            prop_assert_eq!(&read["ip"], "192.0.2.0");
        }
    }
}

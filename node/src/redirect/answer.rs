//! What a request on the plain-HTTP port gets. Pure: bytes in, bytes out.
//!
//! Every method gets 308, not only GET and HEAD: it tells the client to repeat the request as it is (RFC 9110 section
//! 15.4.9), where 301 lets it turn POST into GET. So it is the site that says which methods it knows, in one place.
//!
//! Where a visitor is sent, no request decides: the scheme and the port are ours, the host is one of those configured
//! (or the one that the browser has in its address bar already), and the path always stands behind all three.

use std::fmt::Write as _;

use http::StatusCode;
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};

use super::{challenge::Token, host::Host};

/// Fields of one head. Browsers send twenty.
const MAX_FIELDS: usize = 64;

/// How long a browser may go by the redirect without asking again, seconds. Without a bound it may never ask again
/// (RFC 9110 section 15.4.9), and a mistake in the configuration would stay.
const MAX_AGE: u32 = 86_400;

/// Where to send visitors.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) hosts: Vec<Host>,
    pub(super) port: u16,
    pub(super) answers_challenges: bool,
}

/// What a request gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// These bytes.
    Whole(Vec<u8>),
    /// What the ACME client left for this token.
    Challenge {
        token: Option<Token>,
        /// False if only the head is asked for.
        content: bool,
    },
}

impl Rules {
    /// The answer to a head; `None` while it is not whole.
    pub(super) fn answer(&self, head: &[u8]) -> Option<Answer> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let answer = match request.parse(head) {
            Ok(httparse::Status::Partial) => return None,
            Ok(httparse::Status::Complete(_)) => self.decide(&request).unwrap_or_else(|status| plain(status, true, "")),
            Err(httparse::Error::TooManyHeaders) => Answer::too_large(),
            Err(_) => plain(StatusCode::BAD_REQUEST, true, ""),
        };
        Some(answer)
    }

    fn decide(&self, request: &httparse::Request<'_, '_>) -> Result<Answer, StatusCode> {
        let method = request.method.unwrap_or_default();
        let (asked, target) = asked(request).ok_or(StatusCode::BAD_REQUEST)?;
        let path = target.split('?').next().unwrap_or_default();
        if let Some(token) = Token::of_path(path).filter(|_| self.answers_challenges) {
            return Ok(match method {
                "GET" | "HEAD" => Answer::Challenge { token: token.ok(), content: method == "GET" },
                _ => plain(StatusCode::METHOD_NOT_ALLOWED, true, "Allow: GET, HEAD\r\n"),
            });
        }
        let host = match (asked, self.hosts.as_slice()) {
            (Some(asked), []) => asked,
            (Some(asked), hosts) if hosts.contains(&asked) => asked,
            (_, [first, ..]) => first.clone(),
            (None, []) => return Err(StatusCode::BAD_REQUEST),
        };
        let fields = format!("Location: {}\r\nCache-Control: max-age={MAX_AGE}\r\n", self.location(&host, target));
        Ok(plain(StatusCode::PERMANENT_REDIRECT, method != "HEAD", &fields))
    }

    fn location(&self, host: &Host, target: &str) -> String {
        let mut location = format!("https://{host}");
        if self.port != 443 {
            let _ = write!(location, ":{}", self.port);
        }
        for byte in target.bytes() {
            // What no address may hold (RFC 3986), though clients send some of it; line ends cannot get here at all.
            if byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte) {
                location.push(char::from(byte));
            } else {
                let _ = write!(location, "%{byte:02X}");
            }
        }
        location
    }
}

impl Answer {
    /// The answer to a head that is beyond the limit.
    pub(super) fn too_large() -> Self {
        plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, true, "")
    }
}

/// The host that is asked for, if any, and the path with the query. `None` if the request is not well-formed, or asks
/// for nothing that could have moved (RFC 9112 section 3.2).
fn asked<'a>(request: &httparse::Request<'_, 'a>) -> Option<(Option<Host>, &'a str)> {
    let mut named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
    let host = named.next().map(|field| Host::of_authority(field.value).ok_or(()));
    let host = host.transpose().ok()?;
    // RFC 9112 section 3.2: exactly one, but for HTTP/1.0.
    if named.next().is_some() || (host.is_none() && request.version != Some(0)) {
        return None;
    }
    let target = request.path?;
    if target.starts_with('/') {
        return Some((host, target));
    }
    // As proxies are asked. The authority must be the same as in `Host`: a cache that goes by the one must not keep
    // an answer that was made for the other.
    let (scheme, rest) = target.split_at_checked("http://".len())?;
    let (authority, target) = rest.split_at_checked(rest.find('/')?)?;
    let same = host.is_none() || Host::of_authority(authority.as_bytes()) == host;
    (scheme.eq_ignore_ascii_case("http://") && same).then_some((host, target))
}

/// An answer that says no more than its status. `fields` end in line ends.
fn plain(status: StatusCode, content: bool, fields: &str) -> Answer {
    let text = format!("{} {}\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    Answer::Whole(whole(status, "text/plain", text.as_bytes(), content, fields))
}

/// A whole answer, with or without its content, after which the connection is closed.
pub(super) fn whole(status: StatusCode, media_type: &str, body: &[u8], content: bool, fields: &str) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 {} {}\r\n{fields}Content-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
    );
    if let Ok(date) = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now()) {
        let _ = write!(head, "Date: {date}\r\n");
    }
    head.push_str("\r\n");
    let mut answer = head.into_bytes();
    if content {
        answer.extend_from_slice(body);
    }
    answer
}

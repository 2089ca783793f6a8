//! From a request as HTTP/3 reads it to the head that answers depend on, and what is refused on the way.
//!
//! What the reader below has checked by then: names and values of fields, that `:method` is there, that `:path` and
//! `:scheme` come with an authority, and that `:authority` and `host` say the same (RFC 9114 section 4.3.1). It does not
//! say whether pseudo-header fields came twice, or late: the last one counts.

use http::{HeaderName, HeaderValue, Method as Name, Request, header};

use super::limits::TARGET;
use crate::{
    engine::Refusal,
    head::{Field, Head, Method},
};

/// The head of this request.
///
/// # Errors
/// [`Refusal::TargetTooLong`], [`Refusal::Expectation`], or [`Refusal::Malformed`] by RFC 9114 sections 4.2 and 4.3.1.
pub(super) fn read(request: &Request<()>) -> Result<Head<'_>, Refusal> {
    let uri = request.uri();
    let query = uri.query();
    if uri.path().len() + query.map_or(0, |query| query.len() + 1) > TARGET {
        return Err(Refusal::TargetTooLong);
    }
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    if authority.is_some_and(|authority| authority.contains(&b'@')) {
        return Err(Refusal::Malformed);
    }
    let mut head = Head {
        method: Method::from_name(request.method().as_str().as_bytes()),
        // CONNECT has no path; it is refused whatever it asks for.
        path: if request.method() == Name::CONNECT { b"/" } else { uri.path().as_bytes() },
        query: query.is_some(),
        authority,
        ..Head::default()
    };
    let mut hosts = 0;
    for (name, value) in request.headers() {
        if let Some(field) = Field::from_name(name.as_str().as_bytes()) {
            head.push(field, value.as_bytes());
        } else if name == header::HOST {
            hosts += 1;
        } else if let Some(refusal) = forbidden(name, value) {
            return Err(refusal);
        }
    }
    if hosts > 1 { Err(Refusal::Malformed) } else { Ok(head) }
}

/// What is wrong with a field that no answer depends on: it speaks of a connection of HTTP/1.1 (RFC 9114 section 4.2),
/// or it expects what nobody here does (RFC 9110 section 10.1.1).
fn forbidden(name: &HeaderName, value: &HeaderValue) -> Option<Refusal> {
    match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => Some(Refusal::Malformed),
        "te" if !value.as_bytes().eq_ignore_ascii_case(b"trailers") => Some(Refusal::Malformed),
        "expect" if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Some(Refusal::Expectation),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().uri(format!("https://site.example{target}"));
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a request")
    }

    #[test]
    fn a_head_is_what_answers_depend_on() {
        let fields = [("host", "site.example"), ("range", "bytes=0-1"), ("cookie", "x"), ("te", "trailers")];
        let request = request("/a%20b?x=1", &fields);
        let head = read(&request).expect("a good request");
        assert_eq!((head.method, head.path, head.query), (Method::Get, b"/a%20b".as_slice(), true));
        assert_eq!(head.authority, Some(b"site.example".as_slice()));
        assert_eq!(head.range.only(), Some(b"bytes=0-1".as_slice()));
    }

    #[test]
    fn fields_of_other_protocols_are_malformed() {
        let wrong = [
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
        ];
        for field in wrong {
            assert_eq!(read(&request("/", &[field])), Err(Refusal::Malformed), "{field:?}");
        }
        assert_eq!(read(&request("/", &[("host", "a"), ("host", "b")])), Err(Refusal::Malformed));
        assert_eq!(read(&request("/", &[("expect", "tea")])), Err(Refusal::Expectation));
        assert!(read(&request("/", &[("expect", "100-Continue")])).is_ok());
    }

    #[test]
    fn a_user_is_not_part_of_an_authority() {
        let request = Request::builder().uri("https://user@site.example/").body(()).expect("a request");
        assert_eq!(read(&request), Err(Refusal::Malformed));
    }

    #[test]
    fn targets_have_an_end() {
        assert!(read(&request(&format!("/{}", "a".repeat(TARGET - 1)), &[])).is_ok());
        assert_eq!(read(&request(&format!("/{}", "a".repeat(TARGET)), &[])), Err(Refusal::TargetTooLong));
        assert_eq!(read(&request(&format!("/?{}", "a".repeat(TARGET - 1)), &[])), Err(Refusal::TargetTooLong));
    }

    #[test]
    fn the_server_as_a_whole_can_be_asked() {
        let request = Request::builder().method("OPTIONS").uri("*").body(()).expect("a request");
        let head = read(&request).expect("a good request");
        assert_eq!((head.method, head.path), (Method::Options, b"*".as_slice()));
    }

    #[test]
    fn connect_names_no_path() {
        let request = Request::builder().method("CONNECT").uri("site.example:443").body(()).expect("a request");
        assert_eq!(read(&request).expect("a good request").path, b"/");
    }
}

//! The static table (RFC 7541 appendix A): the facts, and what each name means to a request.

use crate::{
    fields::{Known, Name},
    head::Field,
};

const fn known(kind: Name, name: &'static str, value: &'static str) -> Known {
    Known::new(kind, name, value)
}

const fn field(field: Field, name: &'static str) -> Known {
    known(Name::Field(field), name, "")
}

const fn other(name: &'static str) -> Known {
    Known::other(name, "")
}

const fn status(value: &'static str) -> Known {
    Known::status(value)
}

/// How many entries there are; the dynamic table begins behind them.
pub(super) const LEN: usize = 61;

/// Entry `index` of the table is at `index - 1`.
pub(super) const TABLE: [Known; LEN] = [
    known(Name::Authority, ":authority", ""),
    known(Name::Method, ":method", "GET"),
    known(Name::Method, ":method", "POST"),
    known(Name::Path, ":path", "/"),
    known(Name::Path, ":path", "/index.html"),
    known(Name::Scheme, ":scheme", "http"),
    known(Name::Scheme, ":scheme", "https"),
    status("200"),
    status("204"),
    status("206"),
    status("304"),
    status("400"),
    status("404"),
    status("500"),
    other("accept-charset"),
    known(Name::Field(Field::AcceptEncoding), "accept-encoding", "gzip, deflate"),
    field(Field::AcceptLanguage, "accept-language"),
    other("accept-ranges"),
    field(Field::Accept, "accept"),
    other("access-control-allow-origin"),
    other("age"),
    other("allow"),
    other("authorization"),
    other("cache-control"),
    other("content-disposition"),
    other("content-encoding"),
    other("content-language"),
    known(Name::ContentLength, "content-length", ""),
    other("content-location"),
    other("content-range"),
    other("content-type"),
    other("cookie"),
    other("date"),
    other("etag"),
    known(Name::Expect, "expect", ""),
    other("expires"),
    other("from"),
    known(Name::Host, "host", ""),
    field(Field::IfMatch, "if-match"),
    field(Field::IfModifiedSince, "if-modified-since"),
    field(Field::IfNoneMatch, "if-none-match"),
    field(Field::IfRange, "if-range"),
    field(Field::IfUnmodifiedSince, "if-unmodified-since"),
    other("last-modified"),
    other("link"),
    other("location"),
    other("max-forwards"),
    other("proxy-authenticate"),
    other("proxy-authorization"),
    field(Field::Range, "range"),
    field(Field::Referer, "referer"),
    other("refresh"),
    other("retry-after"),
    other("server"),
    other("set-cookie"),
    other("strict-transport-security"),
    known(Name::Connection, "transfer-encoding", ""),
    field(Field::UserAgent, "user-agent"),
    other("vary"),
    field(Field::Via, "via"),
    other("www-authenticate"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_those_of_the_names() {
        for entry in TABLE {
            assert_eq!(entry.kind, Name::of(entry.name.as_bytes()), "{}", entry.name);
        }
    }
}

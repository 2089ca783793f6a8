//! The static table (RFC 9204 appendix A): the facts, and what each name means to a request.

use crate::{
    fields::{Known, Name},
    head::Field,
};

const fn known(kind: Name, name: &'static str, value: &'static str) -> Known {
    Known::new(kind, name, value)
}

const fn field(field: Field, name: &'static str, value: &'static str) -> Known {
    known(Name::Field(field), name, value)
}

const fn other(name: &'static str, value: &'static str) -> Known {
    Known::other(name, value)
}

const fn status(value: &'static str) -> Known {
    Known::status(value)
}

/// The table, from entry 0 on.
pub(super) const TABLE: [Known; 99] = [
    known(Name::Authority, ":authority", ""),
    known(Name::Path, ":path", "/"),
    other("age", "0"),
    other("content-disposition", ""),
    known(Name::ContentLength, "content-length", "0"),
    other("cookie", ""),
    other("date", ""),
    other("etag", ""),
    field(Field::IfModifiedSince, "if-modified-since", ""),
    field(Field::IfNoneMatch, "if-none-match", ""),
    other("last-modified", ""),
    other("link", ""),
    other("location", ""),
    field(Field::Referer, "referer", ""),
    other("set-cookie", ""),
    known(Name::Method, ":method", "CONNECT"),
    known(Name::Method, ":method", "DELETE"),
    known(Name::Method, ":method", "GET"),
    known(Name::Method, ":method", "HEAD"),
    known(Name::Method, ":method", "OPTIONS"),
    known(Name::Method, ":method", "POST"),
    known(Name::Method, ":method", "PUT"),
    known(Name::Scheme, ":scheme", "http"),
    known(Name::Scheme, ":scheme", "https"),
    status("103"),
    status("200"),
    status("304"),
    status("404"),
    status("503"),
    field(Field::Accept, "accept", "*/*"),
    field(Field::Accept, "accept", "application/dns-message"),
    field(Field::AcceptEncoding, "accept-encoding", "gzip, deflate, br"),
    other("accept-ranges", "bytes"),
    other("access-control-allow-headers", "cache-control"),
    other("access-control-allow-headers", "content-type"),
    other("access-control-allow-origin", "*"),
    other("cache-control", "max-age=0"),
    other("cache-control", "max-age=2592000"),
    other("cache-control", "max-age=604800"),
    other("cache-control", "no-cache"),
    other("cache-control", "no-store"),
    other("cache-control", "public, max-age=31536000"),
    other("content-encoding", "br"),
    other("content-encoding", "gzip"),
    other("content-type", "application/dns-message"),
    other("content-type", "application/javascript"),
    other("content-type", "application/json"),
    other("content-type", "application/x-www-form-urlencoded"),
    other("content-type", "image/gif"),
    other("content-type", "image/jpeg"),
    other("content-type", "image/png"),
    other("content-type", "text/css"),
    other("content-type", "text/html; charset=utf-8"),
    other("content-type", "text/plain"),
    other("content-type", "text/plain;charset=utf-8"),
    field(Field::Range, "range", "bytes=0-"),
    other("strict-transport-security", "max-age=31536000"),
    other("strict-transport-security", "max-age=31536000; includesubdomains"),
    other("strict-transport-security", "max-age=31536000; includesubdomains; preload"),
    other("vary", "accept-encoding"),
    other("vary", "origin"),
    other("x-content-type-options", "nosniff"),
    other("x-xss-protection", "1; mode=block"),
    status("100"),
    status("204"),
    status("206"),
    status("302"),
    status("400"),
    status("403"),
    status("421"),
    status("425"),
    status("500"),
    field(Field::AcceptLanguage, "accept-language", ""),
    other("access-control-allow-credentials", "FALSE"),
    other("access-control-allow-credentials", "TRUE"),
    other("access-control-allow-headers", "*"),
    other("access-control-allow-methods", "get"),
    other("access-control-allow-methods", "get, post, options"),
    other("access-control-allow-methods", "options"),
    other("access-control-expose-headers", "content-length"),
    other("access-control-request-headers", "content-type"),
    field(Field::RequestMethod, "access-control-request-method", "get"),
    field(Field::RequestMethod, "access-control-request-method", "post"),
    other("alt-svc", "clear"),
    other("authorization", ""),
    other("content-security-policy", "script-src 'none'; object-src 'none'; base-uri 'none'"),
    other("early-data", "1"),
    other("expect-ct", ""),
    field(Field::Forwarded, "forwarded", ""),
    field(Field::IfRange, "if-range", ""),
    field(Field::Origin, "origin", ""),
    other("purpose", "prefetch"),
    other("server", ""),
    other("timing-allow-origin", "*"),
    other("upgrade-insecure-requests", "1"),
    field(Field::UserAgent, "user-agent", ""),
    field(Field::XForwardedFor, "x-forwarded-for", ""),
    other("x-frame-options", "deny"),
    other("x-frame-options", "sameorigin"),
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

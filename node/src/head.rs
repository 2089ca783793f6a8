//! The head of a request, as every protocol version gives it: only what an answer, or a rule, can depend on.
//!
//! The three protocol engines fill it from their own bytes without copying, and nothing behind it knows which one did.
//! What else there is is not kept, so a client cannot make a head cost more than its bytes.

/// What is asked of a target (RFC 9110 section 9).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Its representation.
    #[default]
    Get,
    /// The head of the answer to [`Method::Get`].
    Head,
    /// What else could be asked.
    Options,
    /// Anything else, which a site that is only read refuses.
    Other,
}

impl Method {
    /// The method of this name; names are case-sensitive (RFC 9110 section 9.1).
    pub fn from_name(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }

    /// Its name, for logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Other => "other",
        }
    }
}

/// The values of one field, in the order in which they came: a list may be spread over several lines (RFC 9110
/// section 5.3).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Lines<'a> {
    first: Option<&'a [u8]>,
    /// Boxed, for hardly any field ever has a second line, and a head has two dozen of these.
    #[allow(clippy::box_collection, reason = "a third of the size of what is made and dropped with every request")]
    more: Option<Box<Vec<&'a [u8]>>>,
}

impl<'a> Lines<'a> {
    /// Adds a line.
    pub fn push(&mut self, value: &'a [u8]) {
        match self.first {
            None => self.first = Some(value),
            Some(_) => self.more.get_or_insert_default().push(value),
        }
    }

    /// True if the field is not there at all.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Each line.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.first.into_iter().chain(self.more.iter().flat_map(|more| more.iter().copied()))
    }

    /// The value of a field that may stand only once; `None` if it is not there, or there more than once.
    pub fn only(&self) -> Option<&'a [u8]> {
        self.first.filter(|_| self.more.is_none())
    }
}

macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident $variant:ident $name:literal,)*) => {
        /// A field that an answer can depend on, or a rule of the operator.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field {
            $($(#[$doc])* $variant,)*
        }

        impl Field {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The field of this name, in any case; `None` if nothing depends on it.
            pub fn from_name(name: &[u8]) -> Option<Self> {
                // The length decides nearly always, so that most names are compared with one candidate or none.
                $(if name.len() == $name.len() && name.eq_ignore_ascii_case($name.as_bytes()) {
                    return Some(Self::$variant);
                })*
                None
            }

            /// Its name, in lower case.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        /// The head of a request.
        #[derive(Debug, Default, Clone, PartialEq, Eq)]
        pub struct Head<'a> {
            /// What is asked.
            pub method: Method,
            /// The path of the target, still percent-encoded, without the query; `*` for a server as a whole.
            pub path: &'a [u8],
            /// The query of the target, without its `?`, if it has one. No answer's bytes depend on it.
            pub query: Option<&'a [u8]>,
            /// The authority that was asked, port included: `Host`, or `:authority`.
            pub authority: Option<&'a [u8]>,
            $($(#[$doc])* pub $field: Lines<'a>,)*
        }

        impl<'a> Head<'a> {
            /// Adds a line of a field.
            pub fn push(&mut self, field: Field, value: &'a [u8]) {
                match field { $(Field::$variant => self.$field.push(value),)* }
            }

            /// The lines of a field.
            pub fn lines(&self, field: Field) -> &Lines<'a> {
                match field { $(Field::$variant => &self.$field,)* }
            }
        }
    };
}

fields! {
    /// RFC 9110 section 12.5.3.
    accept_encoding AcceptEncoding "accept-encoding",
    /// RFC 9110 section 13.1.1.
    if_match IfMatch "if-match",
    /// RFC 9110 section 13.1.2.
    if_none_match IfNoneMatch "if-none-match",
    /// RFC 9110 section 13.1.3.
    if_modified_since IfModifiedSince "if-modified-since",
    /// RFC 9110 section 13.1.4.
    if_unmodified_since IfUnmodifiedSince "if-unmodified-since",
    /// RFC 9110 section 13.1.5.
    if_range IfRange "if-range",
    /// RFC 9110 section 14.2.
    range Range "range",
    /// RFC 9530 section 4.
    want_repr_digest WantReprDigest "want-repr-digest",
    /// RFC 9218 section 4.
    priority Priority "priority",
    /// RFC 9110 section 10.1.3.
    referer Referer "referer",
    /// What the client will do with the answer (Fetch Metadata, section 2.1).
    sec_fetch_dest SecFetchDest "sec-fetch-dest",
    /// The Fetch standard, section 3.
    origin Origin "origin",
    /// The Fetch standard, section 3.3.2: the method that a preflight asks for.
    request_method RequestMethod "access-control-request-method",
    /// RFC 9110 section 10.1.5.
    user_agent UserAgent "user-agent",
    /// RFC 7239.
    forwarded Forwarded "forwarded",
    /// What proxies wrote before RFC 7239.
    x_forwarded_for XForwardedFor "x-forwarded-for",
    /// RFC 9110 section 12.5.1. This and what follows tell programs from browsers, and are only for rules.
    accept Accept "accept",
    /// RFC 9110 section 12.5.4.
    accept_language AcceptLanguage "accept-language",
    /// RFC 9110 section 7.6.3.
    via Via "via",
    /// Fetch Metadata, section 2.2.
    sec_fetch_mode SecFetchMode "sec-fetch-mode",
    /// Fetch Metadata, section 2.3.
    sec_fetch_site SecFetchSite "sec-fetch-site",
    /// User-Agent Client Hints, section 3.1.
    sec_ch_ua SecChUa "sec-ch-ua",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_any_case() {
        assert_eq!(Field::from_name(b"Range"), Some(Field::Range));
        assert_eq!(Field::from_name(b"IF-NONE-MATCH"), Some(Field::IfNoneMatch));
        assert_eq!(Field::from_name(b"cookie"), None);
        assert_eq!(Field::from_name(b""), None);
    }

    #[test]
    fn lines_keep_their_order() {
        let mut head = Head::default();
        assert!(head.range.is_empty() && head.range.only().is_none());
        head.push(Field::Range, b"a");
        assert_eq!(head.range.only(), Some(b"a".as_slice()));
        head.push(Field::Range, b"b");
        assert_eq!(head.lines(Field::Range).iter().collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(head.range.only(), None);
    }
}

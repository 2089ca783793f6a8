//! The answers that are no file of the cut: short pages in Spanish and English that say what happened, and no more.
//!
//! They name no product, no person and no reason that helps an attacker.

use bytes::Bytes;

use crate::{block::Block, policy::Policy, tick::Class};

/// Fields of answers that programs of other origins may read (the Fetch standard, section 3.3.3).
pub const EXPOSED: &str = "difusor-cut, repr-digest, etag, content-range, accept-ranges, date";

/// A page with its status.
#[derive(Debug)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// How caches may treat it.
    pub class: Class,
    /// Fields beyond those that all pages have.
    extra: &'static [(&'static str, &'static str)],
    /// HTML, as UTF-8.
    pub html: &'static str,
}

/// A page, ready to be sent.
#[derive(Debug)]
pub struct Ready {
    /// The status.
    pub status: u16,
    /// How caches may treat it.
    pub class: Class,
    /// All fields but those of [`crate::tick`].
    pub fields: Block,
    /// The page.
    pub html: Bytes,
}

/// All pages, ready to be sent.
#[derive(Debug)]
pub struct Pages {
    ready: [Ready; ALL.len()],
    transport: Block,
}

/// The text of a page; `$status` stands in it too, for those who only see the text.
macro_rules! html {
    ($status:literal, $es:literal, $en:literal) => {
        concat!(
            "<!doctype html>\n<html lang=\"es\">\n<meta charset=\"utf-8\">\n",
            "<meta name=\"viewport\" content=\"width=device-width\">\n<title>",
            $status,
            "</title>\n<p>",
            $status,
            ": ",
            $es,
            "</p>\n<p lang=\"en\">",
            $status,
            ": ",
            $en,
            "</p>\n"
        )
    };
}

/// What is answered where no file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// No file of the cut has this address. The next cut may have one.
    NotFound,
    /// Anything but reading (RFC 9110 section 15.5.6 wants `Allow`).
    MethodNotAllowed,
    /// The client refuses every form that there is. What there is depends on the field, hence `Vary`.
    NotAcceptable,
    /// A condition of the request does not hold (RFC 9110 section 15.5.13).
    PreconditionFailed,
    /// The site of another name (RFC 9110 section 15.5.20).
    Misdirected,
    /// Nothing was published yet. `Retry-After` is short: the first cut may come at any moment.
    NoCut,
    /// Too much to do: when to come again is for the caller to say.
    Busy,
    /// The disk has spoiled the file here, and it is on its way again. Another node has it.
    Withheld,
    /// 400.
    Malformed,
    /// 408.
    Slow,
    /// 414.
    TargetTooLong,
    /// 417.
    Expectation,
    /// 429: when to come again is for the caller to say.
    TooMany,
    /// 431.
    HeadTooLarge,
    /// 501.
    TransferCoding,
    /// 505.
    Version,
}

const fn page(status: u16, class: Class, extra: &'static [(&'static str, &'static str)], html: &'static str) -> Page {
    Page { status, class, extra, html }
}

/// In the order of [`Kind`].
const ALL: [Page; 16] = [
    page(
        404,
        Class::Missing,
        &[],
        html!("404", "este corte no tiene nada en esta dirección.", "this cut has nothing at this address."),
    ),
    page(
        405,
        Class::Never,
        &[("allow", "GET, HEAD, OPTIONS")],
        html!("405", "aquí solo se puede leer.", "this site can only be read."),
    ),
    page(
        406,
        Class::Never,
        &[("vary", "accept-encoding")],
        html!(
            "406",
            "el navegador no acepta ninguna codificación disponible.",
            "the browser accepts none of the available encodings."
        ),
    ),
    page(412, Class::Never, &[], html!("412", "ya es otra versión.", "this is another version by now.")),
    page(
        421,
        Class::Never,
        &[],
        html!("421", "este servidor no tiene ese sitio.", "this server does not have that site."),
    ),
    page(
        503,
        Class::Never,
        &[("retry-after", "5")],
        html!("503", "todavía no hay resultados publicados.", "no results have been published yet."),
    ),
    page(
        503,
        Class::Never,
        &[],
        html!(
            "503",
            "hay demasiadas peticiones: los resultados van primero. Pruebe de nuevo en unos segundos.",
            "there are too many requests: results go first. Try again in a few seconds."
        ),
    ),
    page(
        503,
        Class::Never,
        &[("retry-after", "5")],
        html!("503", "este archivo se está recuperando.", "this file is being fetched again."),
    ),
    page(400, Class::Never, &[], html!("400", "la petición no se entiende.", "the request cannot be understood.")),
    page(408, Class::Never, &[], html!("408", "la petición tardó demasiado.", "the request took too long.")),
    page(414, Class::Never, &[], html!("414", "la dirección es demasiado larga.", "the address is too long.")),
    page(417, Class::Never, &[], html!("417", "eso no se puede esperar aquí.", "that cannot be expected here.")),
    page(
        429,
        Class::Never,
        &[],
        html!(
            "429",
            "demasiadas peticiones de esta red; espere un momento.",
            "too many requests from this network; wait a moment."
        ),
    ),
    page(431, Class::Never, &[], html!("431", "los encabezados son demasiado grandes.", "the header is too large.")),
    page(501, Class::Never, &[], html!("501", "esa codificación no se conoce.", "that coding is not known.")),
    page(505, Class::Never, &[], html!("505", "esa versión no se habla aquí.", "that version is not spoken here.")),
];

impl Pages {
    /// The pages of a site with this policy.
    pub fn new(policy: &Policy) -> Self {
        let mut transport = Block::default();
        if let Some(value) = policy.strict_transport_security() {
            transport.push("strict-transport-security", &value);
        }
        let ready = ALL.map(|page| {
            let mut fields = Block::new([
                ("content-type", "text/html; charset=utf-8"),
                ("content-length", page.html.len().to_string().as_str()),
                ("x-content-type-options", "nosniff"),
                ("access-control-allow-origin", "*"),
                ("access-control-expose-headers", EXPOSED),
            ]);
            // Whatever comes over TLS says so (RFC 6797 section 7.1).
            for (name, value) in transport.fields() {
                fields.push(name, value);
            }
            for (name, value) in page.extra {
                fields.push(name, value);
            }
            let html = Bytes::from_static(page.html.as_bytes());
            Ready { status: page.status, class: page.class, fields, html }
        });
        Self { ready, transport }
    }

    /// The page of this kind.
    pub fn get(&self, kind: Kind) -> &Ready {
        let [first, ..] = &self.ready;
        self.ready.get(kind as usize).unwrap_or(first)
    }

    /// What is said of TLS itself, with every answer; perhaps nothing.
    pub fn transport(&self) -> &Block {
        &self.transport
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_page() {
        let pages = Pages::new(&Policy::default());
        for (kind, status) in [
            (Kind::NotFound, 404),
            (Kind::MethodNotAllowed, 405),
            (Kind::NotAcceptable, 406),
            (Kind::PreconditionFailed, 412),
            (Kind::Misdirected, 421),
            (Kind::NoCut, 503),
            (Kind::Withheld, 503),
            (Kind::Malformed, 400),
            (Kind::Slow, 408),
            (Kind::TargetTooLong, 414),
            (Kind::Expectation, 417),
            (Kind::TooMany, 429),
            (Kind::HeadTooLarge, 431),
            (Kind::TransferCoding, 501),
            (Kind::Version, 505),
        ] {
            let page = pages.get(kind);
            assert_eq!(page.status, status);
            assert!(page.html.starts_with(b"<!doctype html>"));
            assert!(str::from_utf8(&page.html).unwrap().contains(&status.to_string()));
        }
    }
}

//! The answers that are no file of the cut: short pages in Spanish and English that say what happened, and no more.
//!
//! They name no product, no person and no reason that helps an attacker.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// A page with its status.
#[derive(Debug)]
pub struct Page {
    /// The status.
    pub status: StatusCode,
    cache: &'static str,
    extra: Option<(HeaderName, &'static str)>,
    /// HTML, as UTF-8.
    pub html: &'static str,
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

/// No file of the cut has this address. The next cut may have one, so nobody keeps the answer for long; but a flood of
/// such requests is worth keeping it for a moment.
pub const NOT_FOUND: Page = Page {
    status: StatusCode::NOT_FOUND,
    cache: "public, max-age=5",
    extra: None,
    html: html!("404", "este corte no tiene nada en esta dirección.", "this cut has nothing at this address."),
};

/// Anything but GET and HEAD (RFC 9110 section 15.5.6 wants `Allow`).
pub const METHOD_NOT_ALLOWED: Page = Page {
    status: StatusCode::METHOD_NOT_ALLOWED,
    cache: "no-store",
    extra: Some((header::ALLOW, "GET, HEAD")),
    html: html!("405", "aquí solo se puede leer.", "this site can only be read."),
};

/// The client refuses every form that there is. What there is depends on the header, hence `Vary`.
pub const NOT_ACCEPTABLE: Page = Page {
    status: StatusCode::NOT_ACCEPTABLE,
    cache: "no-store",
    extra: Some((header::VARY, "Accept-Encoding")),
    html: html!(
        "406",
        "el navegador no acepta ninguna codificación disponible.",
        "the browser accepts none of the available encodings."
    ),
};

/// Nothing was published yet. `Retry-After` is short: the first cut may come at any moment.
pub const NO_CUT: Page = Page {
    status: StatusCode::SERVICE_UNAVAILABLE,
    cache: "no-store",
    extra: Some((header::RETRY_AFTER, "5")),
    html: html!("503", "todavía no hay resultados publicados.", "no results have been published yet."),
};

impl Page {
    /// Its complete headers.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CONTENT_LENGTH, self.html.len().into());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.cache));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        if let Some((name, value)) = &self.extra {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers
    }
}

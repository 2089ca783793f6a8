//! What to answer: a pure function of the snapshot and the head of a request.
//!
//! Read from top to bottom, the first answer wins: methods that only a writer needs, no cut yet, no such address, a
//! folder without its slash, no acceptable form, a form that the client has, the form. No clock, no socket, no counter.
//!
//! Dates are sent but never compared: `If-Modified-Since` is ignored (RFC 9110 section 13.1.3 permits that), because a
//! rollback leads to a cut that is older than what the client holds. The tags of `If-None-Match` name bytes, and are
//! equal on every node.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::{
    content::Content,
    negotiate::{self, Offer},
    pages::{self, Page},
    shelf::Representation,
    site::{Entity, Route, Site},
};

/// Names the cut that an answer is from: its label, a slash, its number.
pub const CUT: HeaderName = HeaderName::from_static("difusor-cut");

/// Room for all headers that an answer can have, so that the map never grows.
const HEADERS: usize = 16;

/// An answer, ready to be sent. `Date` is added by the connection.
#[derive(Debug)]
pub struct Plan {
    /// The status.
    pub status: StatusCode,
    /// All headers but `Date`.
    pub headers: HeaderMap,
    /// The body; `None` for HEAD, for 304 and for redirects.
    pub body: Option<Content>,
}

/// The answer to one request. `path` is the path of its target, without the query.
pub fn respond(site: Option<&Site>, method: &Method, path: &str, headers: &HeaderMap) -> Plan {
    let with_body = match *method {
        Method::GET => true,
        Method::HEAD => false,
        _ => return page(&pages::METHOD_NOT_ALLOWED, true, None),
    };
    let Some(site) = site else { return page(&pages::NO_CUT, with_body, None) };
    match site.find(path) {
        None => page(&pages::NOT_FOUND, with_body, Some(site)),
        Some(Route::Folder(location)) => redirect(site, location),
        Some(Route::File(entity)) => file(site, entity, with_body, headers),
    }
}

fn file(site: &Site, entity: &Entity, with_body: bool, asked: &HeaderMap) -> Plan {
    let forms = &entity.forms;
    let (form, gzip) = match (negotiate::choose(asked, forms.gzip.is_some()), &forms.gzip) {
        (None, _) => return page(&pages::NOT_ACCEPTABLE, with_body, Some(site)),
        (Some(Offer::Gzip), Some(gzip)) => (gzip, true),
        _ => (&forms.identity, false),
    };
    let mut headers = common(site, entity.cache.clone());
    headers.insert(header::ETAG, form.tag.clone());
    if forms.gzip.is_some() {
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    if negotiate::already_has(asked, form.tag.to_str().unwrap_or_default()) {
        return Plan { status: StatusCode::NOT_MODIFIED, headers, body: None };
    }
    describe(&mut headers, site, entity, form);
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Plan { status: StatusCode::OK, headers, body: with_body.then(|| form.content.clone()) }
}

/// What even a 304 carries (RFC 9110 section 15.4.5): what a cache must know to go on using what it has.
fn common(site: &Site, cache: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(header::CACHE_CONTROL, cache);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(CUT, site.name().clone());
    headers
}

/// What only comes with the representation itself.
fn describe(headers: &mut HeaderMap, site: &Site, entity: &Entity, form: &Representation) {
    headers.insert(header::CONTENT_TYPE, entity.media.clone());
    headers.insert(header::CONTENT_LENGTH, form.length.clone());
    headers.insert(header::LAST_MODIFIED, site.modified().clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// To a folder's address with its slash, for good and with the same method (RFC 9110 section 15.4.9). Only names of
/// the manifest get here, so the target is always of this site.
fn redirect(site: &Site, location: &HeaderValue) -> Plan {
    let mut headers = common(site, HeaderValue::from_static(crate::site::CACHE_CONTROL));
    headers.insert(header::LOCATION, location.clone());
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    Plan { status: StatusCode::PERMANENT_REDIRECT, headers, body: None }
}

fn page(page: &Page, with_body: bool, site: Option<&Site>) -> Plan {
    let mut headers = page.headers();
    if let Some(site) = site {
        headers.insert(CUT, site.name().clone());
    }
    let body = with_body.then(|| Content::Memory(Bytes::from_static(page.html.as_bytes())));
    Plan { status: page.status, headers, body }
}

#[cfg(test)]
mod tests;

//! Whether an answer is right: a function of what was asked, what came, and what the packages hold.
//!
//! Read from top to bottom: the cut that the answer names must have been published; it must be the one that the address
//! leads to while some cut was current that the client may still be shown; then status, fields and body must be what
//! that cut has at the address. No clock, no socket.

mod content;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;

use super::{
    forms::{Coding, Forms},
    oracle::Oracle,
};

/// The field that names a cut.
const CUT: &str = "difusor-cut";

/// For how long what a page is made of surely comes from the page's own cut: less than the node grants.
const PAGE_LIFE: Duration = Duration::from_secs(8);

/// How many cuts may follow a page's until its cut is not held any more.
const PAGE_CUTS: u64 = 4;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// No connection.
    Unreachable,
    /// No whole answer.
    Broken,
    /// The node did not say how it is.
    Operator,
    /// Another certificate than the one that should be shown.
    Certificate,
    /// A status that nothing asked for.
    Status,
    /// The cut is not named, or it is none.
    Unnamed,
    /// A cut that was not published yet.
    Unpublished,
    /// An older cut than this connection was shown before.
    OlderThanSeen,
    /// An older cut than the coordinator said is served.
    OlderThanConfirmed,
    /// A cut that the address does not lead to.
    WrongCut,
    /// A part of a page that is of another cut than the page.
    TornPage,
    /// 404 for what is there.
    Missing,
    /// A length that is not that of the body.
    Length,
    /// A coding that was not accepted, or a body that is not coded so.
    Coding,
    /// No strong tag, or one that stands for other bytes.
    Tag,
    /// The bytes of another cut.
    OtherCut,
    /// Bytes of no cut.
    Bytes,
    /// 304 for what has changed.
    NotModified,
    /// 206 that does not fit the part that was asked for.
    Part,
    /// A condition that holds was not followed.
    Ignored,
}

/// An answer that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    expected: String,
    got: String,
}

impl Fault {
    pub(super) fn new(kind: Kind, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { kind, expected: expected.into(), got: got.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: expected {}; got {}", self.kind, self.expected, self.got)
    }
}

/// A form that the client has.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// The file's name.
    pub(super) name: String,
    /// With its quotes.
    pub(super) tag: String,
    pub(super) coding: Coding,
    /// The file that it is a form of.
    pub(super) plain: blake3::Hash,
    pub(super) body: Bytes,
}

/// A part of a form that the client has, asked for again with `If-Range`.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) whole: Known,
    /// The value of `Range`.
    pub(super) field: String,
    /// The first byte and the last.
    pub(super) first: usize,
    pub(super) last: usize,
}

/// The page that the last answer on this connection was.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) name: String,
    pub(super) cut: u64,
    /// From before it was asked for.
    pub(super) since: Instant,
}

/// A request, and what its client knew when it sent it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) is_head: bool,
    /// The value of `Accept-Encoding`; empty is none.
    pub(super) accept: &'static str,
    /// Asked for with `If-None-Match`.
    pub(super) known: Option<Known>,
    pub(super) part: Option<Part>,
    /// Asked for as a part of this page.
    pub(super) page: Option<Page>,
    /// The newest cut that this connection was shown.
    pub(super) seen: u64,
    /// The newest cut that the coordinator said is served.
    pub(super) confirmed: u64,
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The newest cut that was handed over when the head came.
    pub(super) submitted: u64,
    /// When the head came.
    pub(super) at: Instant,
}

impl Got {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What follows from an answer that is right.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    /// The cut that it is from.
    pub(super) cut: u64,
    /// The oldest cut that can have been the current one.
    pub(super) current: u64,
    /// The form that came, if it came whole.
    pub(super) known: Option<Known>,
    /// True if the client has the whole file now: it came, or is what the client had.
    pub(super) is_had: bool,
}

/// Weighs an answer.
///
/// # Errors
/// The first thing that is wrong with it.
pub(super) fn judge(oracle: &Oracle, forms: &Forms, asked: &Asked, got: &Got) -> Result<Verdict, Fault> {
    if !matches!(got.status, 200 | 206 | 304 | 404) {
        return Err(Fault::new(Kind::Status, "200, 206, 304 or 404", got.status.to_string()));
    }
    let named = got.field(CUT);
    let cut = named.and_then(|name| oracle.named(name));
    let cut = cut.ok_or_else(|| Fault::new(Kind::Unnamed, "a cut of this night", format!("{CUT} {named:?}")))?;
    if cut > got.submitted {
        let expected = format!("cut {} or an older one", got.submitted);
        return Err(Fault::new(Kind::Unpublished, expected, format!("cut {cut}")));
    }
    // A page of an error names the current cut, a file the one that it is from.
    let explains = |current: u64| match got.status {
        404 => current == cut && oracle.leads_to(&asked.name, current).is_none(),
        _ => oracle.leads_to(&asked.name, current) == Some(cut),
    };
    let Some(current) = admissible(asked, got).find(|current| explains(*current)) else {
        return Err(misplaced(oracle, asked, got, cut, explains));
    };
    let known = match got.status {
        404 => {
            content::length(asked, got)?;
            None
        }
        _ => content::check(oracle, forms, asked, got, cut)?,
    };
    let is_had = got.status == 304 || known.is_some();
    Ok(Verdict { cut, current, known, is_had })
}

/// The oldest cut that may be shown as the current one.
fn oldest(asked: &Asked) -> u64 {
    asked.seen.max(asked.confirmed).max(1)
}

/// True if what the page is made of has to come from its cut.
fn is_bound(page: &Page, got: &Got) -> bool {
    got.at.duration_since(page.since) < PAGE_LIFE && got.submitted <= page.cut + PAGE_CUTS
}

/// The cuts that may have been shown as the current one.
fn admissible(asked: &Asked, got: &Got) -> impl Iterator<Item = u64> {
    let newest = match &asked.page {
        Some(page) if is_bound(page, got) => 0,
        _ => got.submitted,
    };
    asked.page.iter().map(|page| page.cut).chain(oldest(asked)..=newest)
}

/// Why the answer cannot be from `cut`, which none of the admissible cuts explains.
fn misplaced(oracle: &Oracle, asked: &Asked, got: &Got, cut: u64, explains: impl Fn(u64) -> bool) -> Fault {
    let leads_to = |current| match oracle.leads_to(&asked.name, current) {
        Some(seq) => format!("cut {seq}"),
        None => "404".to_owned(),
    };
    let what = |current: u64| format!("{} while cut {current} is served", leads_to(current));
    let answer = format!("{} of cut {cut}", got.status);
    if let Some(page) = asked.page.as_ref().filter(|page| is_bound(page, got)) {
        let expected = format!("{}, as the page /{} is of it", what(page.cut), page.name);
        return Fault::new(Kind::TornPage, expected, answer);
    }
    if let Some(shown) = (1..=got.submitted).rev().find(|current| explains(*current)) {
        let kind = if shown < asked.seen { Kind::OlderThanSeen } else { Kind::OlderThanConfirmed };
        let (oldest, newest) = (oldest(asked), got.submitted);
        let expected = format!(
            "{}, or newer up to cut {newest} (seen on this connection: {}, confirmed: {})",
            what(oldest),
            asked.seen,
            asked.confirmed
        );
        return Fault::new(kind, expected, format!("{answer}, which was current at most until cut {shown}"));
    }
    let kind = if got.status == 404 { Kind::Missing } else { Kind::WrongCut };
    let current = if got.status == 404 { cut } else { oldest(asked) };
    Fault::new(kind, what(current), answer)
}

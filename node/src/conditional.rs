//! What a client already has, or insists on: the conditions of a request (RFC 9110 section 13).
//!
//! Pure, and without a clock: a tag and a date of the form that would be sent, against the fields of the head. What
//! is malformed counts as not there, and what may stand only once and stands there twice is ignored.
//!
//! Dates are weaker here than elsewhere. A rollback serves an older cut than the one a client holds, and then "not
//! modified since" would be true of bytes that the client never saw. So [`evaluate`] takes `If-Modified-Since` as the
//! name of a version: only the very date that was sent with a form gives 304 (RFC 9110 section 13.1.3 lets a server
//! ignore the field).

pub mod date;
pub(crate) mod tag;

use crate::head::{Head, Lines, Method};

/// What the conditions of a request come to (RFC 9110 section 13.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// The answer is what it would be without them; `Range` and `If-Range` are next.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412: the client did not mean this version.
    Failed,
}

/// Weighs the conditions against the form that would be sent: its strong `tag` with the quotes, and when it was last
/// `modified` in Unix seconds.
///
/// The order is that of RFC 9110 section 13.2.2; other methods than GET and HEAD have no conditions (section 13.2.1).
///
/// `also_valid` is asked about each tag of `If-None-Match` that is not `tag`, with its quotes and without `W/`: true
/// says that what it names is as current as the form, and that the answer will carry that tag. It is not asked about
/// `If-Match`, which may guard a range.
pub fn evaluate(head: &Head<'_>, tag: &[u8], modified: u64, also_valid: impl FnMut(&[u8]) -> bool) -> Precondition {
    if !matches!(head.method, Method::Get | Method::Head) {
        return Precondition::Proceed;
    }
    if !head.if_match.is_empty() {
        if !tag::lists_strongly(&head.if_match, tag) {
            return Precondition::Failed;
        }
    } else if only_date(&head.if_unmodified_since, modified).is_some_and(|date| date < seconds(modified)) {
        return Precondition::Failed;
    }
    if !head.if_none_match.is_empty() {
        if tag::lists_weakly(&head.if_none_match, tag, also_valid) {
            return Precondition::NotModified;
        }
    } else if only_date(&head.if_modified_since, modified).is_some_and(|date| date == seconds(modified)) {
        return Precondition::NotModified;
    }
    Precondition::Proceed
}

/// True if a part may be given to whoever guards it by `If-Unmodified-Since`: only for the very date. A later one, which
/// is fine for the whole, can be of bytes that a rollback took back.
pub(crate) fn continues(head: &Head<'_>, modified: u64) -> bool {
    !head.if_range.is_empty()
        || only_date(&head.if_unmodified_since, modified).is_none_or(|date| date == seconds(modified))
}

/// The date of a field that may stand only once. Two-digit years are read near `modified`, for want of a clock.
pub(crate) fn only_date(lines: &Lines<'_>, modified: u64) -> Option<i64> {
    date::parse(lines.only()?, seconds(modified))
}

/// As a number that dates before 1970 can be compared with.
pub(crate) fn seconds(modified: u64) -> i64 {
    i64::try_from(modified).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

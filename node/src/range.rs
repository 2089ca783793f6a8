//! Parts of a form: `Range` and `If-Range` (RFC 9110 sections 14.2 and 13.1.5).
//!
//! A field that is malformed, of another unit or repeated counts as not there, and so does one that costs more than it
//! saves: a request for many small or overlapping parts was an attack before it was ever useful (CVE-2011-3192, RFC
//! 9110 section 14.2). Numbers of any length are read without overflow.

pub mod multipart;

use std::ops::Range;

use crate::{
    conditional::{only_date, seconds, tag},
    head::Lines,
};

/// More parts than a reader of a document asks for at once.
const MOST: usize = 16;

/// Two parts may overlap (RFC 9110 section 14.2); more are asked for only by mistake or malice.
const MOST_OVERLAPPING: usize = 2;

/// What is asked of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranges {
    /// The whole of it: 200.
    All,
    /// Nothing that it has: 416 with [`unsatisfied`].
    Unsatisfiable,
    /// One part: 206 with [`content_range`]. Never empty, and within the form.
    One(Range<u64>),
    /// Two parts or more: 206 in the way of [`multipart`]. Each is as in [`Ranges::One`], they neither overlap nor
    /// touch, and they stand in the order in which they were asked for.
    Many(Vec<Range<u64>>),
}

/// The parts that are asked for, of a form of `len` bytes. For GET only (RFC 9110 section 14.2).
///
/// All of it is given instead for more than sixteen parts, more than two that overlap, and parts that together are
/// longer than the whole. What overlaps or touches is given as one part, at the place of its first.
///
/// Of an empty form no part has a first byte, so only the last bytes of it can be asked for; since no `Content-Range`
/// can name them, the whole is given.
pub fn select(lines: &Lines<'_>, len: u64) -> Ranges {
    let Some(list) = lines.only().and_then(bytes_list) else { return Ranges::All };
    let members = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty());
    let (mut asked, mut members_read): ([Option<Range<u64>>; MOST], usize) = Default::default();
    for member in members {
        let (Some(part), Some(slot)) = (part(member, len), asked.get_mut(members_read)) else { return Ranges::All };
        *slot = part;
        members_read += 1;
    }
    if members_read == 0 {
        return Ranges::All;
    }
    if len == 0 {
        let whole = asked.iter().any(Option::is_some);
        return if whole { Ranges::All } else { Ranges::Unsatisfiable };
    }
    let asked: &[Option<Range<u64>>] = &asked;
    let satisfiable = || asked.iter().flatten();
    let overlapping = satisfiable().filter(|part| satisfiable().filter(|other| overlap(part, other)).count() > 1);
    let total = satisfiable().try_fold(0u64, |sum, part| sum.checked_add(part.end - part.start));
    if overlapping.count() > MOST_OVERLAPPING || total.is_none_or(|total| total > len) {
        return Ranges::All;
    }
    let mut satisfiable = satisfiable();
    match (satisfiable.next(), satisfiable.next()) {
        (None, _) => Ranges::Unsatisfiable,
        (Some(part), None) => Ranges::One(part.clone()),
        _ => joined(asked.iter().flatten()),
    }
}

/// The parts, without those that another one holds or touches.
fn joined<'a>(asked: impl Iterator<Item = &'a Range<u64>>) -> Ranges {
    let mut parts: Vec<Range<u64>> = Vec::with_capacity(MOST);
    for part in asked {
        let (mut part, mut at) = (part.clone(), parts.len());
        while let Some(touched) = parts.iter().position(|other| other.start <= part.end && part.start <= other.end) {
            let other = parts.remove(touched);
            part = other.start.min(part.start)..other.end.max(part.end);
            at = at.min(touched);
        }
        parts.insert(at, part);
    }
    match parts.as_slice() {
        [part] => Ranges::One(part.clone()),
        _ => Ranges::Many(parts),
    }
}

fn overlap(part: &Range<u64>, other: &Range<u64>) -> bool {
    part.start < other.end && other.start < part.end
}

/// What follows `bytes=`; units are compared without regard to case (RFC 9110 section 14.1).
fn bytes_list(value: &[u8]) -> Option<&[u8]> {
    let (unit, list) = value.trim_ascii().split_at_checked(b"bytes=".len())?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(list)
}

/// The part that `0-99`, `100-` or `-100` names, cut off at `len`: within is `None` if it names nothing of the form.
///
/// The whole is `None` if it is malformed. A part of an empty form that can be satisfied is empty (RFC 9110 section
/// 14.1.2).
fn part(member: &[u8], len: u64) -> Option<Option<Range<u64>>> {
    let dash = member.iter().position(|byte| *byte == b'-')?;
    let (first, last) = member.split_at_checked(dash)?;
    let (first, last) = (digits(first)?, digits(last.get(1..)?)?);
    match (first, last) {
        (None, None) => None,
        (None, Some(suffix)) => Some((suffix > 0).then(|| len.saturating_sub(suffix)..len)),
        (Some(first), Some(last)) if last < first => None,
        (Some(first), last) => {
            let end = last.map_or(len, |last| last.saturating_add(1).min(len));
            Some((first < len).then_some(first..end))
        }
    }
}

/// A number, as large as it can be held; within is `None` for no digits, and the whole for anything else.
fn digits(text: &[u8]) -> Option<Option<u64>> {
    let mut number = None;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = Some(number.unwrap_or(0u64).saturating_mul(10).saturating_add(u64::from(byte - b'0')));
    }
    Some(number)
}

/// True if `Range` may be followed: there is no `If-Range`, or it names the form that would be sent.
///
/// Tags are compared strongly. A date counts only if it is that of `Last-Modified` to the second, and only if
/// `identity_only`: forms of different codings share a date, and parts of two of them must never be glued together.
pub fn applies(if_range: &Lines<'_>, tag: &[u8], modified: u64, identity_only: bool) -> bool {
    if if_range.is_empty() {
        return true;
    }
    let Some(value) = if_range.only() else { return false };
    if let Some(named) = tag::single(value) {
        return !named.weak && named.quoted == tag;
    }
    identity_only && only_date(if_range, modified) == Some(seconds(modified))
}

/// The value of `Content-Range` for a part of a form of `total` bytes (RFC 9110 section 14.4).
pub fn content_range(part: &Range<u64>, total: u64) -> String {
    format!("bytes {}-{}/{total}", part.start, part.end.saturating_sub(1))
}

/// The value of `Content-Range` for 416 (RFC 9110 section 15.5.17).
pub fn unsatisfied(total: u64) -> String {
    format!("bytes */{total}")
}

#[cfg(test)]
mod tests;

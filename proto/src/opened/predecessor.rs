//! The archive that another is told by, with all its streams at hand.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    ops::Range,
};

use super::{Member, OpenedError, key, told::Place};
use crate::{
    codec,
    limits::{MAX_DEPTH, MAX_ENTRIES},
};

/// A predecessor with all its streams at hand.
pub(super) struct Predecessor<'a> {
    /// Its bytes, and the plain ones of the archives in it that are deflated.
    bytes: Vec<Cow<'a, [u8]>>,
    streams: Vec<Held>,
    /// What is outside of all streams.
    pub(super) structure: Vec<u8>,
}

struct Held {
    /// In which of the bytes it lies, and where.
    container: usize,
    range: Range<usize>,
    size: u64,
    /// Its plain bytes among the bytes, if it is an archive.
    opened: Option<usize>,
}

impl<'a> Predecessor<'a> {
    pub(super) fn open(old: &'a [u8], places: &[Place]) -> Result<Self, OpenedError> {
        let mut predecessor = Self { bytes: vec![old.into()], streams: Vec::new(), structure: Vec::new() };
        predecessor.list(0, places, MAX_DEPTH)?;
        Ok(predecessor)
    }

    fn list(&mut self, container: usize, places: &[Place], depth: u32) -> Result<(), OpenedError> {
        let Some(depth) = depth.checked_sub(1) else { return Err(OpenedError::Form("too deep")) };
        let (mut end, mut places) = (0_usize, places);
        while let Some((place, rest)) = places.split_first() {
            let (within, rest) = usize::try_from(place.within)
                .ok()
                .and_then(|count| rest.split_at_checked(count))
                .ok_or(OpenedError::Form("streams are missing"))?;
            places = rest;
            if self.streams.len() > MAX_ENTRIES {
                return Err(OpenedError::Form("more streams than an archive may have"));
            }
            let from = usize::try_from(place.gap).ok().and_then(|gap| end.checked_add(gap));
            let range = from.and_then(|from| Some(from..from.checked_add(usize::try_from(place.len).ok()?)?));
            let range = range.ok_or(OpenedError::Form("a stream outside its archive"))?;
            let gap = self.bytes.get(container).and_then(|bytes| bytes.get(end..range.start));
            self.structure.extend_from_slice(gap.ok_or(OpenedError::Form("a stream outside its archive"))?);
            end = range.end;
            let at = self.streams.len();
            self.streams.push(Held { container, range, size: place.size, opened: None });
            if !within.is_empty() {
                let plain = self.plain(at)?.into_owned();
                let opened = self.bytes.len();
                self.bytes.push(plain.into());
                if let Some(held) = self.streams.get_mut(at) {
                    held.opened = Some(opened);
                }
                self.list(opened, within, depth)?;
            }
        }
        let rest = self.bytes.get(container).and_then(|bytes| bytes.get(end..));
        self.structure.extend_from_slice(rest.ok_or(OpenedError::Form("a stream outside its archive"))?);
        Ok(())
    }

    /// Plain bytes of a stream.
    pub(super) fn size(&self, at: usize) -> Result<u64, OpenedError> {
        self.held(at).map(|held| held.size)
    }

    fn held(&self, at: usize) -> Result<&Held, OpenedError> {
        self.streams.get(at).ok_or(OpenedError::Form("a predecessor that is none"))
    }

    /// A stream.
    pub(super) fn stream(&self, at: usize) -> Result<&[u8], OpenedError> {
        let held = self.held(at)?;
        let stream = self.bytes.get(held.container).and_then(|bytes| bytes.get(held.range.clone()));
        stream.ok_or(OpenedError::Form("a stream outside its archive"))
    }

    /// The plain bytes of a stream.
    pub(super) fn plain(&self, at: usize) -> Result<Cow<'_, [u8]>, OpenedError> {
        let held = self.held(at)?;
        match held.opened.and_then(|opened| self.bytes.get(opened)) {
            Some(opened) => Ok(Cow::Borrowed(opened)),
            None => Ok(codec::inflate(self.stream(at)?, held.size)?.into()),
        }
    }
}

/// Where members lie, each in front of those within it.
///
/// # Errors
/// [`OpenedError::Form`] if they overlap, or are too many.
pub(super) fn places(members: &[Member]) -> Result<Vec<Place>, OpenedError> {
    let (mut end, mut all) = (0, Vec::new());
    for member in members {
        let gap = member.at.checked_sub(end).ok_or(OpenedError::Form("streams that overlap"))?;
        end = member.at.saturating_add(member.len);
        let within = places(&member.members)?;
        let count = u32::try_from(within.len()).map_err(|_| OpenedError::Form("too many streams"))?;
        all.push(Place { gap, len: member.len, size: member.size, within: count });
        all.extend(within);
    }
    Ok(all)
}

/// For each of `members`, those within included, the stream of the predecessor that it is told by: the one of its name,
/// or else one whose name differs in digits alone, in the order in which they lie.
pub(super) fn pairs(held: &[Member], members: &[Member]) -> Vec<Option<u32>> {
    let (old, new) = (flat(held), flat(members));
    let mut taken = vec![false; old.len()];
    let mut exact: HashMap<&str, VecDeque<usize>> = HashMap::new();
    let mut alike: HashMap<String, VecDeque<usize>> = HashMap::new();
    for (at, name) in old.iter().enumerate() {
        exact.entry(name).or_default().push_back(at);
        alike.entry(key(name)).or_default().push_back(at);
    }
    let mut take = |queue: Option<&mut VecDeque<usize>>| {
        let queue = queue?;
        while let Some(at) = queue.pop_front() {
            if let Some(free) = taken.get_mut(at).filter(|taken| !**taken) {
                *free = true;
                return u32::try_from(at).ok();
            }
        }
        None
    };
    let found: Vec<_> = new.iter().map(|name| take(exact.get_mut(name))).collect();
    let second = |(name, found): (&&str, Option<u32>)| found.or_else(|| take(alike.get_mut(&key(name))));
    new.iter().zip(found).map(second).collect()
}

/// The names of all members, each before those within it.
fn flat(members: &[Member]) -> Vec<&str> {
    members.iter().flat_map(|member| std::iter::once(member.name.as_str()).chain(flat(&member.members))).collect()
}

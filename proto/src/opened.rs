//! Archives that are opened: a new zip from the one before it, by what changed inside.
//!
//! Deflate hides a changed row: nearly every byte of a zip is another one then. So a zip travels as its structure, the
//! patches of its members' plain bytes, and what has to be known to deflate them as they were ([`Recipe`]). Archives
//! within are opened in turn. Zips are not read here: whoever encodes says where the streams lie, and whoever decodes
//! is told.
//!
//! Decoding promises nothing: the caller compares digests. It takes no more memory than the plain bytes of the members
//! that are worked on at once, which the caller bounds, and of whatever is asked for too much is refused.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    ops::Range,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Digest,
    codec::{self, CodecError, Coding},
    deflate::{self, DeflateError, Old, Params, Recipe},
    limits::{MAX_DEFLATE_RATIO, MAX_DEPTH, MAX_ENTRIES, MAX_PLAIN_BYTES},
};

/// A deflate stream in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The member's name, with those of the archives that it lies in.
    pub name: String,
    /// Where the stream begins, and its bytes.
    pub at: u64,
    /// Bytes of the stream.
    pub len: u64,
    /// Plain bytes.
    pub size: u64,
    /// The streams in the plain bytes, if those are an archive.
    pub members: Vec<Member>,
}

/// Why an archive could not be opened or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenedError {
    /// A patch or a stream of the predecessor.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A stream or a recipe.
    #[error(transparent)]
    Deflate(#[from] DeflateError),
    /// Something lies where nothing is, or there is too much of it.
    #[error("no opened archive: {0}")]
    Form(&'static str),
}

/// An archive, told by its predecessor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    /// Where the streams of the predecessor lie, each in front of those within it.
    old: Vec<Place>,
    /// The archives within, each before the one that it lies in; the last is the whole.
    archives: Vec<Opening>,
}

/// A stream of the predecessor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Bytes between the one before and this.
    gap: u64,
    /// Bytes of the stream, and plain ones.
    len: u64,
    size: u64,
    /// How many streams follow that lie in its plain bytes, on all levels; none unless those are an archive.
    within: u32,
}

/// What an archive is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Opening {
    /// Its streams.
    parts: Vec<Part>,
    /// Bytes outside of the streams, and a frame of them against those of the predecessor.
    structure: (u64, Vec<u8>),
}

/// A stream of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    /// Bytes of structure in front of it.
    gap: u64,
    /// The stream of the predecessor that it is told by, counted through all levels.
    old: Option<u32>,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Content {
    /// The very stream of the predecessor.
    Same,
    /// So many plain bytes as a frame, against those of the predecessor if there are any; and how they are deflated.
    Plain { size: u64, frame: Vec<u8>, recipe: Recipe },
    /// An archive of so many bytes, opened: which of those before.
    Opened { size: u64, archive: u32, recipe: Recipe },
}

/// Stands for the predecessor where only one thing can be meant.
const BASE: Coding = Coding::Patch { base: Digest::from_bytes([0; 32]) };

/// Tells `new` by `old`, whose streams are `held`; `members` are those of `new`.
///
/// # Errors
/// [`OpenedError`] if the members are not where they are said to be.
pub fn encode(old: &[u8], held: &[Member], new: &[u8], members: &[Member]) -> Result<Vec<u8>, OpenedError> {
    let places = places(held)?;
    let predecessor = Predecessor::open(old, &places)?;
    // Members of one name in the order in which they lie.
    let mut names = Names::new();
    for (at, name) in (0..).zip(flat(held)) {
        names.entry(key(name)).or_default().push_back(at);
    }
    let mut work = Encoder { old: &predecessor, names, archives: Vec::new() };
    work.archive(new, members)?;
    let archives = work.archives;
    let plain = postcard::to_stdvec(&Told { old: places, archives }).map_err(|_| OpenedError::Form("too large"))?;
    // What is a frame already does not shrink; recipes and places do.
    let mut bytes = (plain.len() as u64).to_le_bytes().to_vec();
    bytes.extend(codec::compress(&plain)?);
    Ok(bytes)
}

/// Makes an archive of `size` bytes from its predecessor.
///
/// # Errors
/// [`OpenedError`] if these bytes do not tell one.
pub fn decode(bytes: &[u8], old: &[u8], size: u64) -> Result<Vec<u8>, OpenedError> {
    let (len, frame) = bytes.split_first_chunk().ok_or(OpenedError::Form("cut off"))?;
    let len = u64::from_le_bytes(*len);
    // Patches and recipes of an archive are never much larger than itself.
    if len > size.saturating_mul(2).saturating_add(1 << 16) {
        return Err(OpenedError::Form("more than the archive could need"));
    }
    let plain = codec::decode(Coding::Zstd, frame, len, None)?;
    let told: Told = postcard::from_bytes(&plain).map_err(|_| OpenedError::Form("not what it should be"))?;
    told.check()?;
    let predecessor = Predecessor::open(old, &told.old)?;
    told.make(told.archives.len().saturating_sub(1), &predecessor, size)
}

/// The name of a member without what a new cut changes in it: runs of digits are one.
pub(crate) fn key(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    for char in name.chars() {
        let char = if char.is_ascii_digit() { '0' } else { char };
        if char != '0' || !key.ends_with('0') {
            key.push(char);
        }
    }
    key
}

/// The names of all members, each before those within it.
fn flat(members: &[Member]) -> Vec<&str> {
    members.iter().flat_map(|member| std::iter::once(member.name.as_str()).chain(flat(&member.members))).collect()
}

fn places(members: &[Member]) -> Result<Vec<Place>, OpenedError> {
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

/// Streams of the predecessor that none of the new ones is told by, under their [`key`]s.
type Names = HashMap<String, VecDeque<u32>>;

/// A predecessor with all its streams at hand.
struct Predecessor<'a> {
    /// Its bytes, and the plain ones of the archives in it that are deflated.
    bytes: Vec<Cow<'a, [u8]>>,
    streams: Vec<Held>,
    /// What is outside of all streams.
    structure: Vec<u8>,
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
    fn open(old: &'a [u8], places: &[Place]) -> Result<Self, OpenedError> {
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

    fn held(&self, at: usize) -> Result<&Held, OpenedError> {
        self.streams.get(at).ok_or(OpenedError::Form("a predecessor that is none"))
    }

    /// A stream.
    fn stream(&self, at: usize) -> Result<&[u8], OpenedError> {
        let held = self.held(at)?;
        let stream = self.bytes.get(held.container).and_then(|bytes| bytes.get(held.range.clone()));
        stream.ok_or(OpenedError::Form("a stream outside its archive"))
    }

    /// The plain bytes of a stream.
    fn plain(&self, at: usize) -> Result<Cow<'_, [u8]>, OpenedError> {
        let held = self.held(at)?;
        match held.opened.and_then(|opened| self.bytes.get(opened)) {
            Some(opened) => Ok(Cow::Borrowed(opened)),
            None => Ok(codec::inflate(self.stream(at)?, held.size)?.into()),
        }
    }
}

/// Tells archives by their predecessor.
struct Encoder<'a> {
    old: &'a Predecessor<'a>,
    names: Names,
    archives: Vec<Opening>,
}

impl Encoder<'_> {
    /// Adds an archive behind those within it, and says where.
    fn archive(&mut self, new: &[u8], members: &[Member]) -> Result<u32, OpenedError> {
        let (gaps, structure) = split(new, members)?;
        let pairs: Vec<_> =
            members.iter().map(|member| self.names.get_mut(&key(&member.name)).and_then(VecDeque::pop_front)).collect();
        // Archives within are opened one by one, the members of each in parallel.
        let mut within = Vec::with_capacity(members.len());
        for member in members {
            within.push(match member.members.as_slice() {
                [] => None,
                inner => {
                    let plain = codec::inflate(stream_of(new, member)?, member.size)?;
                    let archive = self.archive(&plain, inner)?;
                    Some((plain, archive))
                }
            });
        }
        // The largest first, or one of them would be left to one core at the end.
        let mut order: Vec<_> = members.iter().zip(&pairs).zip(within).enumerate().collect();
        order.sort_by_key(|(_, ((member, _), _))| std::cmp::Reverse(member.size));
        let old = self.old;
        let content = |member: &Member, pair: &Option<u32>, within| {
            Content::of(old, pair.map(|at| at as usize), stream_of(new, member)?, member.size, within)
        };
        let mut contents = order
            .into_par_iter()
            .map(|(at, ((member, pair), within))| Ok((at, content(member, pair, within)?)))
            .collect::<Result<Vec<_>, OpenedError>>()?;
        contents.sort_by_key(|(at, _)| *at);
        let parts = contents.into_iter().zip(gaps).zip(pairs);
        let parts = parts.map(|(((_, content), gap), old)| Part { gap, old, content }).collect();
        let frame = codec::patch(&old.structure, &structure)?;
        self.archives.push(Opening { parts, structure: (structure.len() as u64, frame) });
        u32::try_from(self.archives.len() - 1).map_err(|_| OpenedError::Form("too many archives"))
    }
}

impl Told {
    /// Makes one of the archives, of `size` bytes.
    fn make(&self, archive: usize, old: &Predecessor<'_>, size: u64) -> Result<Vec<u8>, OpenedError> {
        let opening = self.archives.get(archive).ok_or(OpenedError::Form("an archive that is none"))?;
        opening.make(self, old, size)
    }

    /// Bounds what making it can cost: every archive lies in one other at most, which comes behind it, and not too deep;
    /// and all plain bytes together are no more than a package may have.
    fn check(&self) -> Result<(), OpenedError> {
        let parts: usize = self.archives.iter().map(|archive| archive.parts.len()).sum();
        if self.archives.len() > MAX_ENTRIES || parts > MAX_ENTRIES || self.old.len() > MAX_ENTRIES {
            return Err(OpenedError::Form("more than an archive may have"));
        }
        // How deep what lies within goes; `None` once it lies in another.
        let mut depths: Vec<Option<u32>> = Vec::with_capacity(self.archives.len());
        let mut plain = 0_u64;
        for archive in &self.archives {
            let mut depth = 0;
            for part in &archive.parts {
                plain = plain.saturating_add(part.content.announced());
                if let Content::Opened { archive, .. } = part.content {
                    let inner = depths.get_mut(archive as usize).and_then(Option::take);
                    depth = depth.max(inner.ok_or(OpenedError::Form("an archive in itself, or in two others"))? + 1);
                }
            }
            if depth > MAX_DEPTH || plain > MAX_PLAIN_BYTES {
                return Err(OpenedError::Form("deeper or larger than a package may be"));
            }
            depths.push(Some(depth));
        }
        Ok(())
    }
}

impl Opening {
    fn make(&self, told: &Told, old: &Predecessor<'_>, size: u64) -> Result<Vec<u8>, OpenedError> {
        if self.structure.0 > size {
            return Err(OpenedError::Form("more structure than the archive has bytes"));
        }
        let structure = codec::decode(BASE, &self.structure.1, self.structure.0, Some(&old.structure))?;
        let announced = self.parts.iter().map(|part| part.content.announced()).fold(0, u64::saturating_add);
        if announced > size.saturating_mul(MAX_DEFLATE_RATIO) {
            return Err(OpenedError::Form("more plain bytes than the archive could hold"));
        }
        let mut order: Vec<_> = self.parts.iter().enumerate().collect();
        order.sort_by_key(|(_, part)| std::cmp::Reverse(part.content.announced()));
        let mut streams = order
            .into_par_iter()
            .map(|(at, part)| Ok((at, part.make(told, old)?)))
            .collect::<Result<Vec<_>, OpenedError>>()?;
        streams.sort_by_key(|(at, _)| *at);
        let size = usize::try_from(size).map_err(|_| OpenedError::Form("size"))?;
        let total = streams.iter().map(|(_, stream)| stream.len()).sum::<usize>().saturating_add(structure.len());
        if total != size {
            return Err(OpenedError::Form("the archive has another size"));
        }
        let mut archive = Vec::with_capacity(size);
        let mut rest = structure.as_slice();
        for (part, (_, stream)) in self.parts.iter().zip(streams) {
            let gap = usize::try_from(part.gap).ok().and_then(|gap| rest.split_off(..gap));
            archive.extend_from_slice(gap.ok_or(OpenedError::Form("structure is missing"))?);
            archive.extend_from_slice(&stream);
        }
        archive.extend_from_slice(rest);
        Ok(archive)
    }
}

impl Content {
    fn of(
        old: &Predecessor<'_>,
        pair: Option<usize>,
        stream: &[u8],
        size: u64,
        within: Option<(Vec<u8>, u32)>,
    ) -> Result<Self, OpenedError> {
        let before = pair.map(|at| old.stream(at)).transpose()?;
        if before == Some(stream) {
            return Ok(Self::Same);
        }
        let (plain, archive) = match within {
            Some((plain, archive)) => (plain, Some(archive)),
            None => (codec::inflate(stream, size)?, None),
        };
        let old_plain = pair.map(|at| old.plain(at)).transpose()?;
        let predecessor = old_plain.as_deref().zip(before).map(|(plain, stream)| Old { plain, stream });
        let params = deflate::guess(stream, &plain, Params::default())?;
        let recipe = deflate::describe(stream, &plain, params, predecessor)?;
        if let Some(archive) = archive {
            return Ok(Self::Opened { size, archive, recipe });
        }
        let frame = match &old_plain {
            Some(old) => codec::patch(old, &plain)?,
            None => codec::compress(&plain)?,
        };
        Ok(Self::Plain { size, frame, recipe })
    }

    /// Plain bytes that it takes to make it.
    fn announced(&self) -> u64 {
        match self {
            Self::Same => 0,
            Self::Plain { size, .. } | Self::Opened { size, .. } => *size,
        }
    }
}

impl Part {
    fn make(&self, told: &Told, old: &Predecessor<'_>) -> Result<Vec<u8>, OpenedError> {
        let at = self.old.map(|at| at as usize);
        let before = at.map(|at| old.stream(at)).transpose()?;
        let (Content::Plain { size, recipe, .. } | Content::Opened { size, recipe, .. }) = &self.content else {
            return before.map(<[u8]>::to_vec).ok_or(OpenedError::Form("the same as nothing"));
        };
        let old_plain = at.map(|at| old.plain(at)).transpose()?;
        let plain = match &self.content {
            Content::Opened { archive, .. } => told.make(*archive as usize, old, *size)?,
            Content::Plain { frame, .. } => {
                let coding = if old_plain.is_some() { BASE } else { Coding::Zstd };
                codec::decode(coding, frame, *size, old_plain.as_deref())?
            }
            Content::Same => Vec::new(),
        };
        let predecessor = old_plain.as_deref().zip(before).map(|(plain, stream)| Old { plain, stream });
        Ok(deflate::rebuild(&plain, recipe, predecessor)?)
    }
}

/// The stream of a member.
fn stream_of<'a>(archive: &'a [u8], member: &Member) -> Result<&'a [u8], OpenedError> {
    let from = usize::try_from(member.at).ok();
    let to = member.at.checked_add(member.len).and_then(|to| usize::try_from(to).ok());
    from.zip(to).and_then(|(from, to)| archive.get(from..to)).ok_or(OpenedError::Form("a stream outside its archive"))
}

/// The bytes in front of each stream, counted, and all that is outside of them.
fn split(archive: &[u8], members: &[Member]) -> Result<(Vec<u64>, Vec<u8>), OpenedError> {
    let (mut gaps, mut structure, mut end) = (Vec::with_capacity(members.len()), Vec::new(), 0_usize);
    for member in members {
        let at = usize::try_from(member.at).map_err(|_| OpenedError::Form("place"))?;
        let gap = archive.get(end..at).ok_or(OpenedError::Form("streams that overlap"))?;
        gaps.push(gap.len() as u64);
        structure.extend_from_slice(gap);
        end = at + stream_of(archive, member)?.len();
    }
    structure.extend_from_slice(archive.get(end..).unwrap_or_default());
    Ok((gaps, structure))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(told: &Told) -> Vec<u8> {
        let plain = postcard::to_stdvec(told).unwrap();
        [(plain.len() as u64).to_le_bytes().to_vec(), codec::compress(&plain).unwrap()].concat()
    }

    /// Archives of parts that are themselves archives: a digit for each.
    fn archives(inner: &[&str]) -> Told {
        let recipe = deflate::describe(b"\x03\0", b"", Params::default(), None).unwrap();
        let part = |archive: char| {
            let archive = archive.to_digit(10).unwrap();
            Part { gap: 0, old: None, content: Content::Opened { size: 0, archive, recipe: recipe.clone() } }
        };
        let structure = (0, codec::patch(b"", b"").unwrap());
        let archive = |inner: &&str| Opening { parts: inner.chars().map(part).collect(), structure: structure.clone() };
        Told { old: Vec::new(), archives: inner.iter().map(archive).collect() }
    }

    #[test]
    fn archives_lie_in_one_other_at_most() {
        for (inner, size) in [(&[""][..], 0), (&["", "0"], 2), (&["", "", "01"], 4)] {
            assert_eq!(decode(&told(&archives(inner)), b"", size).map(|made| made.len() as u64), Ok(size));
        }
        let deep = ["", "0", "1", "2", "3", "4", "5", "6", "7"];
        for inner in [&[][..], &["0"], &["1", ""], &["", "0", "01"], &["", "00"], &["", "7"], &deep] {
            assert!(matches!(decode(&told(&archives(inner)), b"", 2), Err(OpenedError::Form(_))), "{inner:?}");
        }
    }

    #[test]
    fn places_that_are_none() {
        for old in [
            vec![Place { gap: 5, len: 1, size: 1, within: 0 }],
            vec![Place { gap: 0, len: u64::MAX, size: 1, within: 0 }],
            vec![Place { gap: u64::MAX, len: 1, size: 1, within: 0 }],
            vec![Place { gap: 0, len: 1, size: 1, within: 1 }],
        ] {
            let wrong = Told { old, ..archives(&[""]) };
            assert!(decode(&told(&wrong), b"old", 0).is_err());
        }
    }

    #[test]
    fn names_differ_in_more_than_digits() {
        assert_eq!(key("db/20240602_2000_PREP.zip!/a1.csv"), key("db/20240602_205_PREP.zip!/a22.csv"));
        assert_ne!(key("SENADURIAS.csv"), key("PRESIDENCIA.csv"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), old in prop::collection::vec(any::<u8>(), 0..50)) {
            let _ = decode(&bytes, &old, 100);
            let framed = [(bytes.len() as u64).to_le_bytes().to_vec(), codec::compress(&bytes).unwrap()].concat();
            let _ = decode(&framed, &old, 100);
        }
    }
}

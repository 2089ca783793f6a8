//! Telling an archive by its predecessor.

use std::{borrow::Cow, slice::Iter};

use rayon::prelude::*;

use super::{
    Member, OpenedError, Streams,
    predecessor::Predecessor,
    told::{Content, MAX_GROUP, Opening, Part},
};
use crate::{
    codec::{self, Level},
    deflate::{self, Old, Params, Recipe},
};

/// Plain bytes of a member up to which it is patched together with others: a patch of its own costs more in beginnings
/// and ends than in what changed. Larger ones are worked on by several cores.
const SMALL: u64 = 1 << 20;

/// A stream is told by a recipe if that says at most one token for so many bytes of it.
const WORTH_TELLING: usize = 16;

/// Tells archives by their predecessor.
pub(super) struct Encoder<'a> {
    old: &'a Predecessor<'a>,
    streams: Streams,
    archives: Vec<Opening>,
}

/// A member with what is known of it before it is told.
struct Known<'a> {
    member: &'a Member,
    stream: &'a [u8],
    old: Option<u32>,
    /// Its plain bytes and its place, if it is an archive that was told.
    within: Option<(Vec<u8>, u32)>,
}

/// What a member becomes.
enum Made {
    Alone(Content),
    /// To go into a group: the plain bytes before and after.
    Small {
        old: Vec<u8>,
        new: Vec<u8>,
        recipe: Recipe,
    },
}

impl<'a> Encoder<'a> {
    pub(super) fn new(old: &'a Predecessor<'a>, streams: Streams) -> Self {
        Self { old, streams, archives: Vec::new() }
    }

    /// All archives of `new`, itself last. `pairs` has its members' streams of the predecessor, and of those within.
    pub(super) fn encode(
        mut self,
        new: &[u8],
        members: &[Member],
        pairs: &[Option<u32>],
    ) -> Result<Vec<Opening>, OpenedError> {
        self.archive(new, members, &mut pairs.iter())?;
        Ok(self.archives)
    }

    /// Adds an archive behind those within it, and says where.
    fn archive(
        &mut self,
        new: &[u8],
        members: &[Member],
        pairs: &mut Iter<'_, Option<u32>>,
    ) -> Result<u32, OpenedError> {
        let (gaps, structure) = split(new, members)?;
        // Archives within are told one by one, the members of each in parallel.
        let mut known = Vec::with_capacity(members.len());
        for member in members {
            let (stream, old) = (stream_of(new, member)?, pairs.next().copied().flatten());
            let within = match member.members.as_slice() {
                [] => None,
                inner => {
                    let plain = codec::inflate(stream, member.size)?;
                    let archive = self.archive(&plain, inner, pairs)?;
                    Some((plain, archive))
                }
            };
            known.push(Known { member, stream, old, within });
        }
        let olds: Vec<_> = known.iter().map(|known| known.old).collect();
        // The largest first, or one of them would be left to one core at the end.
        let mut order: Vec<_> = known.into_iter().enumerate().collect();
        order.sort_by_key(|(_, known)| std::cmp::Reverse(known.member.size));
        let (predecessor, streams) = (self.old, self.streams);
        let made = order.into_par_iter().map(|(at, known)| Ok((at, known.make(predecessor, streams)?)));
        let mut made = made.collect::<Result<Vec<_>, OpenedError>>()?;
        made.sort_by_key(|(at, _)| *at);
        let mut groups = Groups::default();
        let mut parts = Vec::with_capacity(made.len());
        for (((_, made), gap), old) in made.into_iter().zip(gaps).zip(olds) {
            let content = match made {
                Made::Alone(content) => content,
                Made::Small { old, new, recipe } => {
                    groups.add(&old, &new)?;
                    Content::Grouped { size: new.len() as u64, recipe }
                }
            };
            parts.push(Part { gap, old, content });
        }
        let frame =
            codec::patch(&predecessor.structure, &structure, Level::patient(&predecessor.structure, &structure))?;
        let structure = (structure.len() as u64, frame);
        self.archives.push(Opening { parts, structure, groups: groups.finish()? });
        u32::try_from(self.archives.len() - 1).map_err(|_| OpenedError::Form("too many archives"))
    }
}

impl Known<'_> {
    fn make(self, predecessor: &Predecessor<'_>, streams: Streams) -> Result<Made, OpenedError> {
        let Self { member, stream, old, within } = self;
        let old = old.map(|at| at as usize);
        let before = old.map(|at| predecessor.stream(at)).transpose()?;
        if before == Some(stream) {
            return Ok(Made::Alone(Content::Same));
        }
        let small = member.size <= SMALL && within.is_none();
        let (plain, archive) = match within {
            Some((plain, archive)) => (plain, Some(archive)),
            None => (codec::inflate(stream, member.size)?, None),
        };
        let verbatim = || Made::Alone(Content::Stream { bytes: stream.to_vec() });
        let Ok(params) = deflate::guess(stream, &plain, Params::default()) else { return Ok(verbatim()) };
        let old_plain = old.map(|at| predecessor.plain(at)).transpose()?;
        if small && old_plain.as_ref().is_none_or(|old| old.len() as u64 <= SMALL) {
            let recipe = deflate::describe(stream, &plain, params, None);
            if let Some(recipe) = recipe.ok().filter(|recipe| recipe.corrections() * WORTH_TELLING <= stream.len()) {
                let old = old_plain.map(Cow::into_owned).unwrap_or_default();
                return Ok(Made::Small { old, new: plain, recipe });
            }
        }
        let with = old_plain.as_deref().zip(before).map(|(plain, stream)| Old { plain, stream });
        let with = with.filter(|_| streams == Streams::Follow);
        let follows = with.is_some();
        let Ok(recipe) = deflate::describe(stream, &plain, params, with) else { return Ok(verbatim()) };
        if let Some(archive) = archive {
            return Ok(Made::Alone(Content::Opened { size: member.size, archive, recipe, follows }));
        }
        let frame = match &old_plain {
            Some(old) => codec::patch(old, &plain, Level::Fast)?,
            None => codec::compress(&plain)?,
        };
        if frame.len() + recipe.corrections() * 2 >= stream.len() {
            return Ok(verbatim());
        }
        Ok(Made::Alone(Content::Plain { size: member.size, frame, recipe, follows }))
    }
}

/// Small members that are patched together.
#[derive(Default)]
struct Groups {
    old: Vec<u8>,
    new: Vec<u8>,
    done: Vec<(u64, Vec<u8>)>,
}

impl Groups {
    fn add(&mut self, old: &[u8], new: &[u8]) -> Result<(), OpenedError> {
        if (self.old.len() + old.len()).max(self.new.len() + new.len()) as u64 > MAX_GROUP {
            self.end()?;
        }
        self.old.extend_from_slice(old);
        self.new.extend_from_slice(new);
        Ok(())
    }

    fn end(&mut self) -> Result<(), OpenedError> {
        if !self.new.is_empty() {
            self.done.push((
                self.new.len() as u64,
                codec::patch(&self.old, &self.new, Level::patient(&self.old, &self.new))?,
            ));
        }
        self.old.clear();
        self.new.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<(u64, Vec<u8>)>, OpenedError> {
        self.end()?;
        Ok(self.done)
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

//! Making an archive from its predecessor and what is told.

use std::{borrow::Cow, collections::HashMap};

use rayon::prelude::*;

use super::{
    BASE, OpenedError,
    predecessor::Predecessor,
    told::{Content, MAX_GROUP, Opening, Part, Told},
};
use crate::{
    codec::{self, Coding},
    deflate::{self, Old},
    limits::MAX_DEFLATE_RATIO,
};

impl Told {
    /// Makes one of the archives, of `size` bytes.
    pub(super) fn make(&self, archive: usize, old: &Predecessor<'_>, size: u64) -> Result<Vec<u8>, OpenedError> {
        let opening = self.archives.get(archive).ok_or(OpenedError::Form("an archive that is none"))?;
        opening.make(self, old, size)
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
        let small = self.small(old)?;
        let mut order: Vec<_> = self.parts.iter().enumerate().collect();
        order.sort_by_key(|(_, part)| std::cmp::Reverse(part.content.announced()));
        let mut streams = order
            .into_par_iter()
            .map(|(at, part)| Ok((at, part.make(told, old, small.get(&at).map(Vec::as_slice))?)))
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

    /// The plain bytes of the grouped parts.
    fn small(&self, old: &Predecessor<'_>) -> Result<HashMap<usize, Vec<u8>>, OpenedError> {
        let groups = self.grouped()?;
        let groups: Vec<_> = groups.iter().zip(&self.groups).collect();
        let made = groups.into_par_iter().map(|(parts, (len, frame))| {
            let part = |at: &usize| self.parts.get(*at).ok_or(OpenedError::Form("a part that is none"));
            let mut before = Vec::new();
            for at in parts {
                let Some(at) = part(at)?.old.map(|at| at as usize) else { continue };
                if (before.len() as u64).saturating_add(old.size(at)?) > MAX_GROUP {
                    return Err(OpenedError::Form("a group of predecessors that is too large"));
                }
                before.extend_from_slice(&old.plain(at)?);
            }
            let plain = codec::decode(BASE, frame, *len, Some(&before))?;
            let mut rest = plain.as_slice();
            let mut cut = |at: &usize| {
                let size = usize::try_from(part(at)?.content.announced()).ok();
                let plain = size.and_then(|size| rest.split_off(..size));
                Ok((*at, plain.ok_or(OpenedError::Form("a group of less than its parts"))?.to_vec()))
            };
            parts.iter().map(&mut cut).collect::<Result<Vec<_>, OpenedError>>()
        });
        Ok(made.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }
}

impl Part {
    /// The stream. `small` are its plain bytes, if they were in a group.
    fn make<'a>(
        &'a self,
        told: &Told,
        old: &'a Predecessor<'_>,
        small: Option<&[u8]>,
    ) -> Result<Cow<'a, [u8]>, OpenedError> {
        let at = self.old.map(|at| at as usize);
        let before = at.map(|at| old.stream(at)).transpose()?;
        let recipe = match (&self.content, self.content.recipe()) {
            (Content::Stream { bytes }, _) => return Ok(bytes.into()),
            (_, Some(recipe)) => recipe,
            (_, None) => return before.map(Cow::Borrowed).ok_or(OpenedError::Form("the same as nothing")),
        };
        let old_plain = match &self.content {
            Content::Grouped { .. } => None,
            _ => at.map(|at| old.plain(at)).transpose()?,
        };
        let plain: Cow<'_, [u8]> = match &self.content {
            Content::Opened { archive, size, .. } => told.make(*archive as usize, old, *size)?.into(),
            Content::Plain { frame, size, .. } => {
                let coding = if old_plain.is_some() { BASE } else { Coding::Zstd };
                codec::decode(coding, frame, *size, old_plain.as_deref())?.into()
            }
            Content::Grouped { .. } => small.unwrap_or_default().into(),
            Content::Same | Content::Stream { .. } => Cow::Borrowed(&[]),
        };
        let with = old_plain.as_deref().zip(before).map(|(plain, stream)| Old { plain, stream });
        let with = with.filter(|_| self.content.follows());
        Ok(deflate::rebuild(&plain, recipe, with)?.into())
    }
}

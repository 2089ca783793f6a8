//! What travels of an archive, and the bounds on what making it can cost.

use serde::{Deserialize, Serialize};

use super::OpenedError;
use crate::{
    deflate::Recipe,
    limits::{MAX_DEPTH, MAX_ENTRIES, MAX_PLAIN_BYTES},
};

/// Plain bytes of a group at most, and of what it is told by: both are in memory at once.
pub(super) const MAX_GROUP: u64 = 32 << 20;

/// An archive, told by its predecessor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Where the streams of the predecessor lie, each in front of those within it.
    pub(super) old: Vec<Place>,
    /// The archives within, each before the one that it lies in; the last is the whole.
    pub(super) archives: Vec<Opening>,
}

/// A stream of the predecessor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Bytes between the one before and this.
    pub(super) gap: u64,
    /// Bytes of the stream, and plain ones.
    pub(super) len: u64,
    pub(super) size: u64,
    /// How many streams follow that lie in its plain bytes, on all levels; none unless those are an archive.
    pub(super) within: u32,
}

/// What an archive is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Opening {
    /// Its streams.
    pub(super) parts: Vec<Part>,
    /// Bytes outside of the streams, and a frame of them against those of the predecessor.
    pub(super) structure: (u64, Vec<u8>),
    /// The plain bytes of small parts, some after the other: how many, and a frame of them against those of their
    /// predecessors.
    pub(super) groups: Vec<(u64, Vec<u8>)>,
}

/// A stream of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Bytes of structure in front of it.
    pub(super) gap: u64,
    /// The stream of the predecessor that it is told by, counted through all levels.
    pub(super) old: Option<u32>,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Content {
    /// The very stream of the predecessor.
    Same,
    /// So many plain bytes as a frame, against those of the predecessor if there are any; and how they are deflated.
    Plain { size: u64, frame: Vec<u8>, recipe: Recipe, follows: bool },
    /// An archive of so many bytes, opened: which of those before.
    Opened { size: u64, archive: u32, recipe: Recipe, follows: bool },
    /// The next so many plain bytes of the groups, deflated without a look at the predecessor.
    Grouped { size: u64, recipe: Recipe },
    /// The stream as it is: nobody knows how it was made.
    Stream { bytes: Vec<u8> },
}

impl Content {
    /// Plain bytes that it takes to make it.
    pub(super) fn announced(&self) -> u64 {
        match self {
            Self::Same | Self::Stream { .. } => 0,
            Self::Plain { size, .. } | Self::Opened { size, .. } | Self::Grouped { size, .. } => *size,
        }
    }

    /// True if the recipe counts on the choices that were made for the predecessor.
    pub(super) fn follows(&self) -> bool {
        matches!(self, Self::Plain { follows: true, .. } | Self::Opened { follows: true, .. })
    }

    pub(super) fn recipe(&self) -> Option<&Recipe> {
        match self {
            Self::Same | Self::Stream { .. } => None,
            Self::Plain { recipe, .. } | Self::Opened { recipe, .. } | Self::Grouped { recipe, .. } => Some(recipe),
        }
    }
}

impl Opening {
    /// Which parts each group is of: one after the other, as far as its bytes go.
    ///
    /// # Errors
    /// [`OpenedError::Form`] if groups and parts do not end together, or one is too large.
    pub(super) fn grouped(&self) -> Result<Vec<Vec<usize>>, OpenedError> {
        let mut small = self.parts.iter().enumerate().filter_map(|(at, part)| match part.content {
            Content::Grouped { size, .. } => Some((at, size)),
            _ => None,
        });
        let mut groups = Vec::with_capacity(self.groups.len());
        for (len, _) in &self.groups {
            if *len > MAX_GROUP {
                return Err(OpenedError::Form("a group that is too large"));
            }
            let (mut parts, mut left) = (Vec::new(), *len);
            while left > 0 {
                let (at, size) = small.next().ok_or(OpenedError::Form("a group of more than its parts"))?;
                left = left.checked_sub(size).ok_or(OpenedError::Form("a part of two groups"))?;
                parts.push(at);
            }
            groups.push(parts);
        }
        // What is empty may stand behind the last group.
        if small.any(|(_, size)| size > 0) { Err(OpenedError::Form("parts of no group")) } else { Ok(groups) }
    }
}

impl Told {
    /// Bounds what making it can cost: every archive lies in one other at most, which comes behind it, and not too deep;
    /// and all plain bytes together are no more than a package may have.
    pub(super) fn check(&self) -> Result<(), OpenedError> {
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

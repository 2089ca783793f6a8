//! Archives that are opened: a new zip from the one before it, by what changed inside.
//!
//! Deflate hides a changed row: nearly every byte of a zip is another one then. So a zip travels as its structure, the
//! patches of its members' plain bytes, and what has to be known to deflate them as they were ([`Recipe`]). Small members
//! are patched together, and archives within are opened in turn; a stream that cannot be described stays as it is. Zips
//! are not read here: whoever encodes says where the streams lie, and whoever decodes is told.
//!
//! Decoding promises nothing: the caller compares digests. It takes no more memory than the plain bytes of the members
//! that are worked on at once, which the caller bounds, and of whatever is asked for too much is refused.
//!
//! Reading order: `told` is what travels, `predecessor` what it is told by, `encoder` and `maker` the two ways.
//!
//! [`Recipe`]: crate::deflate::Recipe

mod encoder;
mod maker;
mod predecessor;
#[cfg(test)]
mod tests;
mod told;

use self::{
    encoder::Encoder,
    predecessor::{Predecessor, pairs, places},
    told::Told,
};
use crate::{
    Digest,
    codec::{self, CodecError, Coding},
    deflate::DeflateError,
};

/// Stands for the predecessor where only one thing can be meant.
const BASE: Coding = Coding::Patch { base: Digest::from_bytes([0; 32]) };

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

/// How streams are described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// With the choices that were made for the predecessor as a first guess: sooner, and some more bytes. Both ends have to
    /// guess alike, so it is for the wire, whose ends agree on its version.
    Follow,
    /// By zlib's rules alone: what is at rest is made again by whatever comes after this program, too.
    Alone,
}

/// Tells `new` by `old`, whose streams are `held`; `members` are those of `new`.
///
/// # Errors
/// [`OpenedError`] if the members are not where they are said to be.
pub fn encode(
    old: &[u8],
    held: &[Member],
    new: &[u8],
    members: &[Member],
    streams: Streams,
) -> Result<Vec<u8>, OpenedError> {
    let old_places = places(held)?;
    let predecessor = Predecessor::open(old, &old_places)?;
    let archives = Encoder::new(&predecessor, streams).encode(new, members, &pairs(held, members))?;
    let told = Told { old: old_places, archives };
    let plain = postcard::to_stdvec(&told).map_err(|_| OpenedError::Form("too large"))?;
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

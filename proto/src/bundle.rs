//! Many small files as one: what changed in all of them since the cut before, in a single frame.
//!
//! Nearly every small file of a site changes at each cut, and nearly all of them in the same few places: a patch for each
//! costs more in beginnings and ends than in what changed. A bundle is one patch of them all, in the order of their
//! paths, against those before; with how each was deflated, so that the holder has the package's own streams again.
//!
//! Files are named by their places in two signed lists, that of the cut and that of the cut before. Nothing here is
//! believed: whoever unpacks compares digests, and inflates what was deflated again.

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Manifest,
    codec::{self, CodecError, Coding, Level},
    deflate::Recipe,
    limits::MAX_ENTRIES,
    manifest::Entry,
};

/// Plain bytes of a bundle at most, and of what it is told by: both are in memory at once.
pub const MAX_BUNDLE: u64 = 64 << 20;

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// Its place in the list of the cut.
    pub entry: u32,
    /// Its predecessor's in the list of the cut before.
    pub before: u32,
    /// How its stream is made.
    pub recipe: Recipe,
}

/// A bundle, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// The cut before, by the root of its list.
    base: Digest,
    files: Vec<Packed>,
}

/// Why a bundle is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A frame.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Something in it cannot be.
    #[error("no bundle: {0}")]
    Form(&'static str),
}

/// Packs files whose plain bytes are `new`, one behind the other, against `old`.
///
/// # Errors
/// [`CodecError`] if the library fails.
pub fn pack(base: Digest, files: Vec<Packed>, old: &[u8], new: &[u8]) -> Result<Vec<u8>, BundleError> {
    let head = postcard::to_stdvec(&Head { base, files }).map_err(|_| BundleError::Form("too large"))?;
    let frame = codec::compress(&head)?;
    let mut bytes = Vec::new();
    for len in [head.len(), frame.len()] {
        bytes.extend_from_slice(&(len as u64).to_le_bytes());
    }
    bytes.extend(frame);
    bytes.extend(codec::patch(old, new, Level::patient(old, new))?);
    Ok(bytes)
}

/// A bundle that came.
#[derive(Debug)]
pub struct Bundle<'a> {
    head: Head,
    frame: &'a [u8],
}

impl<'a> Bundle<'a> {
    /// Reads what stands in front.
    ///
    /// # Errors
    /// [`BundleError`] if it is no bundle.
    pub fn read(bytes: &'a [u8]) -> Result<Self, BundleError> {
        let cut = BundleError::Form("cut off");
        let (len, rest) = bytes.split_first_chunk().ok_or_else(|| cut.clone())?;
        let (coded, rest) = rest.split_first_chunk().ok_or_else(|| cut.clone())?;
        let len = u64::from_le_bytes(*len);
        // Two places and a recipe each; a recipe with more corrections than this is not worth it.
        if len > (MAX_ENTRIES as u64).saturating_mul(256) {
            return Err(BundleError::Form("more files than a site may have"));
        }
        let coded = usize::try_from(u64::from_le_bytes(*coded)).ok().and_then(|at| rest.split_at_checked(at));
        let (coded, frame) = coded.ok_or(cut)?;
        let head = codec::decode(Coding::Zstd, coded, len, None)?;
        let head = postcard::from_bytes(&head).map_err(|_| BundleError::Form("not what it should be"))?;
        Ok(Self { head, frame })
    }

    /// The root of the cut before.
    pub fn base(&self) -> &Digest {
        &self.head.base
    }

    /// Each file with its entry and its predecessor's.
    ///
    /// # Errors
    /// [`BundleError::Form`] if one is in neither list, or they are more than fit in memory.
    pub fn files<'m>(
        &self,
        target: &'m Manifest,
        base: &'m Manifest,
    ) -> Result<Vec<(&Packed, &'m Entry, &'m Entry)>, BundleError> {
        let (mut old, mut new) = (0_u64, 0_u64);
        let mut file = |packed: &Packed| {
            let entry = target.entries.get(packed.entry as usize);
            let before = base.entries.get(packed.before as usize);
            let (entry, before) = entry.zip(before).ok_or(BundleError::Form("a file that is in no list"))?;
            (old, new) = (old.saturating_add(before.size), new.saturating_add(entry.size));
            if old.max(new) > MAX_BUNDLE { Err(BundleError::Form("too large")) } else { Ok((entry, before)) }
        };
        self.head.files.iter().map(|packed| file(packed).map(|(entry, before)| (packed, entry, before))).collect()
    }

    /// The plain bytes of all files, `size` together, from those of their predecessors.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn unpack(&self, old: &[u8], size: u64) -> Result<Vec<u8>, BundleError> {
        // Which predecessor is meant is said in front.
        let coding = Coding::Patch { base: Digest::from_bytes([0; 32]) };
        Ok(codec::decode(coding, self.frame, size, Some(old))?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        deflate::{self, Params},
        manifest::tests::manifest,
    };

    fn packed(entry: u32, before: u32) -> Packed {
        Packed { entry, before, recipe: deflate::describe(b"\x03\0", b"", Params::default(), None).unwrap() }
    }

    #[test]
    fn files_come_out_as_they_went_in() {
        let (old, new): (&[&[u8]], &[&[u8]]) = (&[b"one 1", b"two 1"], &[b"one 2", b"two 22"]);
        let base = manifest(1, &[("a", old[0]), ("b", old[1])]);
        let target = manifest(2, &[("a", new[0]), ("b", new[1]), ("c", b"new")]);
        let root = Digest::of(b"root");
        let bytes = pack(root, vec![packed(0, 0), packed(1, 1)], &old.concat(), &new.concat()).unwrap();
        let bundle = Bundle::read(&bytes).unwrap();
        assert_eq!(bundle.base(), &root);
        let files = bundle.files(&target, &base).unwrap();
        let names: Vec<_> = files.iter().map(|(_, new, old)| (new.path.as_str(), old.path.as_str())).collect();
        assert_eq!(names, [("a", "a"), ("b", "b")]);
        assert_eq!(bundle.unpack(&old.concat(), 11).unwrap(), new.concat());
        assert!(bundle.unpack(&old.concat(), 12).is_err());
        for cut in 0..bytes.len() {
            let whole = Bundle::read(&bytes[..cut]).and_then(|bundle| bundle.unpack(&old.concat(), 11));
            assert!(whole.is_err(), "{cut}");
        }
    }

    #[test]
    fn places_that_are_none() {
        let (base, target) = (manifest(1, &[("a", b"1")]), manifest(2, &[("a", b"2")]));
        for (entry, before) in [(1, 0), (0, 1), (u32::MAX, u32::MAX)] {
            let bytes = pack(Digest::of(b""), vec![packed(entry, before)], b"", b"").unwrap();
            assert!(matches!(Bundle::read(&bytes).unwrap().files(&target, &base), Err(BundleError::Form(_))));
        }
        let mut large = target.clone();
        large.entries[0].size = MAX_BUNDLE / 2 + 1;
        let bytes = pack(Digest::of(b""), vec![packed(0, 0), packed(0, 0)], b"", b"").unwrap();
        assert!(Bundle::read(&bytes).unwrap().files(&large, &base).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(bundle) = Bundle::read(&bytes) {
                let _ = bundle.unpack(b"old", 100);
            }
        }
    }
}

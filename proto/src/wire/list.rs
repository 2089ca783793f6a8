//! The signed list of a cut, as it travels.
//!
//! Most of a list is what the one before said, too: paths, media types, the files that stay. So it goes over as a frame
//! against the list of a cut that the other side has; what is left are digests. Whoever reads it knows nothing before the
//! signature is checked.

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Manifest, Signed,
    codec::{self, CodecError, Coding, Level},
    limits::MAX_MANIFEST_BYTES,
};

/// A signed list in a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The root of the list that it is told by, if there is one.
    base: Option<Digest>,
    /// Bytes of the list.
    len: u64,
    frame: Vec<u8>,
    signature: Vec<u8>,
}

/// Why there is no list in a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The list that it is told by is not here.
    #[error("the list {0} that it is told by is not here")]
    NoBase(Digest),
    /// The frame.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// It says that it is larger than [`MAX_MANIFEST_BYTES`].
    #[error("a list of {0} bytes is more than a site may have")]
    TooLarge(u64),
}

impl List {
    /// A list by itself.
    ///
    /// # Errors
    /// [`CodecError::Zstd`] if the library fails.
    pub fn whole(signed: &Signed<Manifest>) -> Result<Self, CodecError> {
        Ok(Self::of(signed, None, codec::compress(signed.bytes())?))
    }

    /// A list by the one before it, whose root is the digest of its bytes.
    ///
    /// # Errors
    /// [`CodecError::Zstd`] if the library fails.
    pub fn since(base: &Signed<Manifest>, signed: &Signed<Manifest>) -> Result<Self, CodecError> {
        // 75 kB of a national list of 198; the highest level takes ten times as long for 2 kB less.
        let frame = codec::patch(base.bytes(), signed.bytes(), Level::Fast)?;
        Ok(Self::of(signed, Some(Digest::of(base.bytes())), frame))
    }

    fn of(signed: &Signed<Manifest>, base: Option<Digest>, frame: Vec<u8>) -> Self {
        Self { base, len: signed.bytes().len() as u64, frame, signature: signed.signature().to_vec() }
    }

    /// Bytes that it has on the wire, but for some that say how many.
    pub fn bytes(&self) -> u64 {
        (self.frame.len() + self.signature.len()) as u64
    }

    /// The root of the list that it is told by.
    pub fn base(&self) -> Option<Digest> {
        self.base
    }

    /// The signed list; `base` are the bytes of the one that it is told by.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn read(&self, base: Option<&[u8]>) -> Result<Signed<Manifest>, ListError> {
        if self.len > MAX_MANIFEST_BYTES as u64 {
            return Err(ListError::TooLarge(self.len));
        }
        let coding = match self.base {
            Some(root) => {
                base.ok_or(ListError::NoBase(root))?;
                Coding::Patch { base: root }
            }
            None => Coding::Zstd,
        };
        let bytes = codec::decode(coding, &self.frame, self.len, base)?;
        Ok(Signed::from_parts(bytes, self.signature.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        SigningKey,
        manifest::{Manifest, tests::manifest},
    };

    #[test]
    fn a_list_comes_out_as_it_went_in() {
        let (key, _) = SigningKey::generate().unwrap();
        let names: Vec<_> = (0..300).map(|at| format!("casillas/{at}.html")).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
        let before = Manifest { mesh: key.verifying_key().mesh(), ..manifest(1, &files) };
        let mut after = Manifest { seq: 2, ..before.clone() };
        after.entries[7].digest = Digest::of(b"changed");
        let [before, after] = [before, after].map(|list| key.sign(&list).unwrap());
        let whole = List::whole(&after).unwrap();
        assert_eq!((whole.base(), whole.read(None)), (None, Ok(after.clone())));
        let told = List::since(&before, &after).unwrap();
        assert!(told.frame.len() * 4 < whole.frame.len(), "{} and {}", told.frame.len(), whole.frame.len());
        let root = Digest::of(before.bytes());
        assert_eq!((told.base(), told.read(Some(before.bytes()))), (Some(root), Ok(after.clone())));
        assert_eq!(told.read(None), Err(ListError::NoBase(root)));
        assert_ne!(told.read(Some(b"another")).as_ref(), Ok(&after), "told by another list");
    }

    #[test]
    fn more_than_a_list_may_have() {
        let (key, _) = SigningKey::generate().unwrap();
        let signed = key.sign(&manifest(1, &[("a", b"a")])).unwrap();
        let larger = List { len: MAX_MANIFEST_BYTES as u64 + 1, ..List::whole(&signed).unwrap() };
        assert_eq!(larger.read(None), Err(ListError::TooLarge(larger.len)));
        let longer = List { len: 1, ..List::whole(&signed).unwrap() };
        assert!(matches!(longer.read(None), Err(ListError::Codec(_))));
    }
}

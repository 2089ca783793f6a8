//! The list of a cut: every file of the site with its digests, in one canonical encoding.
//!
//! The root digest of a cut is the BLAKE3 of that encoding, so one signature over 32 bytes proves every byte of
//! every file. A [`Manifest`] that was decoded is valid: paths strictly ascending, counts and sizes within bounds.

use serde::{Deserialize, Serialize};

use crate::{
    CutLabel, Digest, MeshId, Sha256, Signed, SitePath, VerifyingKey,
    limits::{MAX_ENTRIES, MAX_FILE_BYTES, MAX_PLAIN_BYTES},
    sign::{SignError, Statement},
};

/// Which cut, without its content: enough to order, compare and name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CutKey {
    /// Position in the archive of the mesh, from 1, without gaps.
    pub seq: u64,
    /// The institute's label.
    pub label: CutLabel,
    /// BLAKE3 of the encoded manifest.
    pub root: Digest,
}

/// The package as received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageId {
    /// BLAKE3 of the zip.
    pub digest: Digest,
    /// SHA-256 of the zip.
    pub sha256: Sha256,
    /// Bytes of the zip.
    pub size: u64,
}

/// The deflate stream of an entry inside its package, from which a gzip form is made without compressing again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deflated {
    /// Bytes of the stream.
    pub len: u64,
    /// CRC-32 of the plain bytes (ISO 3309, as zip and gzip use it).
    pub crc32: u32,
}

/// A file inside an archive that is itself a file of the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The archive's member names from the outside in, joined by `!/`.
    pub path: String,
    /// BLAKE3 of the plain bytes.
    pub digest: Digest,
    /// SHA-256 of the plain bytes.
    pub sha256: Sha256,
    /// Plain bytes.
    pub size: u64,
}

/// One file of the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is served.
    pub path: SitePath,
    /// BLAKE3 of its bytes: the name of its blob.
    pub digest: Digest,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Its bytes.
    pub size: u64,
    /// Media type.
    pub media: String,
    /// Its deflate stream in the package; `None` if it was stored.
    pub deflated: Option<Deflated>,
    /// What lies inside, if it is an archive that was opened.
    pub members: Vec<Member>,
}

/// Everything a cut is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The mesh it was made for.
    pub mesh: MeshId,
    /// Position in the archive, from 1.
    pub seq: u64,
    /// The institute's label.
    pub label: CutLabel,
    /// When the coordinator accepted the package, Unix milliseconds.
    pub accepted_ms: u64,
    /// The package it came from.
    pub package: PackageId,
    /// The files, by ascending path.
    pub entries: Vec<Entry>,
}

/// Why a list is not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not the canonical encoding of a manifest.
    #[error("not a manifest: {0}")]
    Encoding(#[from] postcard::Error),
    /// The sequence number is zero.
    #[error("a cut's sequence number starts at 1")]
    Sequence,
    /// Two entries out of order or of one path.
    #[error("entries are not strictly ascending at `{0}`")]
    Order(String),
    /// More entries or bytes than [`crate::limits`] allows.
    #[error("more entries or bytes than a site may have")]
    Bounds,
}

/// Why a signed list is not that of a cut.
#[derive(Debug, thiserror::Error)]
pub enum OtherList {
    /// It is not signed by the mesh, or says nothing.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// It is of another cut.
    #[error("the list is of another cut than {0}")]
    Cut(u64),
}

impl Manifest {
    /// What a signed list says, if `key` signed it and it is that of `cut`.
    ///
    /// # Errors
    /// [`OtherList`].
    pub fn of_cut(cut: &CutKey, signed: &Signed<Self>, key: &VerifyingKey) -> Result<Self, OtherList> {
        let manifest = signed.open(key)?;
        if manifest.key_of(signed.bytes()) != *cut {
            return Err(OtherList::Cut(cut.seq));
        }
        Ok(manifest)
    }

    /// The canonical encoding, and the key that names it.
    ///
    /// # Errors
    /// [`ManifestError`] if the manifest would not be accepted by a reader.
    pub fn encode(&self) -> Result<(CutKey, Vec<u8>), ManifestError> {
        self.validate()?;
        let bytes = postcard::to_stdvec(self)?;
        Ok((self.key_of(&bytes), bytes))
    }

    /// Reads a canonical encoding.
    ///
    /// # Errors
    /// [`ManifestError`] for anything [`Manifest::encode`] would not have written.
    pub fn decode(bytes: &[u8]) -> Result<(CutKey, Self), ManifestError> {
        let (manifest, rest) = postcard::take_from_bytes::<Self>(bytes)?;
        if !rest.is_empty() {
            return Err(ManifestError::Encoding(postcard::Error::SerdeDeCustom));
        }
        manifest.validate()?;
        Ok((manifest.key_of(bytes), manifest))
    }

    /// The entry at `path`.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()?;
        self.entries.get(at)
    }

    /// Bytes of all files, plain.
    pub fn plain_bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size).sum()
    }

    fn key_of(&self, bytes: &[u8]) -> CutKey {
        CutKey { seq: self.seq, label: self.label, root: Digest::of(bytes) }
    }

    fn validate(&self) -> Result<(), ManifestError> {
        if self.seq == 0 {
            return Err(ManifestError::Sequence);
        }
        let mut last: Option<&SitePath> = None;
        let (mut count, mut plain) = (0_usize, 0_u64);
        for entry in &self.entries {
            if last.is_some_and(|last| *last >= entry.path) {
                return Err(ManifestError::Order(entry.path.to_string()));
            }
            last = Some(&entry.path);
            count += 1 + entry.members.len();
            plain = plain.saturating_add(entry.size);
            if entry.size > MAX_FILE_BYTES {
                return Err(ManifestError::Bounds);
            }
        }
        if count > MAX_ENTRIES || plain > MAX_PLAIN_BYTES { Err(ManifestError::Bounds) } else { Ok(()) }
    }
}

impl Statement for Manifest {
    const DOMAIN: &'static str = "difusor manifest v1";

    fn mesh(&self) -> MeshId {
        self.mesh
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A manifest with the given files, for the tests of this crate.
    pub(crate) fn manifest(seq: u64, files: &[(&str, &[u8])]) -> Manifest {
        let mut entries: Vec<_> = files
            .iter()
            .map(|(path, bytes)| Entry {
                path: SitePath::try_from(*path).unwrap(),
                digest: Digest::of(bytes),
                sha256: Sha256::of(bytes),
                size: bytes.len() as u64,
                media: "text/plain".into(),
                deflated: None,
                members: vec![],
            })
            .collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Manifest {
            mesh: MeshId::of_key(b"key"),
            seq,
            label: "20210606_2000".parse().unwrap(),
            accepted_ms: 1_623_027_600_000,
            package: PackageId { digest: Digest::of(b"zip"), sha256: Sha256::of(b"zip"), size: 3 },
            entries,
        }
    }

    #[test]
    fn golden_root() {
        // A change of this value is a change of the format: every archive in the field becomes unreadable.
        let (key, bytes) = manifest(1, &[("a.txt", b"a"), ("b/c.txt", b"bc")]).encode().unwrap();
        assert_eq!(bytes.len(), 273);
        assert_eq!(key.root.to_string(), "f319cc4a3c94fc985260f4b9586fda170ffe9608e56ddf0e59160aeb4ce8f27c");
    }

    #[test]
    fn round_trip_and_lookup() {
        let written = manifest(7, &[("b", b"2"), ("a", b"1"), ("c/d", b"3")]);
        let (key, bytes) = written.encode().unwrap();
        let (read_key, read) = Manifest::decode(&bytes).unwrap();
        assert_eq!((read_key, &read), (key, &written));
        assert_eq!(read.entry("c/d").unwrap().size, 1);
        assert_eq!(read.entry("c"), None);
        assert_eq!(read.plain_bytes(), 3);
    }

    #[test]
    fn refuses_disorder_bounds_and_tails() {
        let mut swapped = manifest(1, &[("a", b""), ("b", b"")]);
        swapped.entries.reverse();
        assert_eq!(swapped.encode(), Err(ManifestError::Order("a".into())));
        assert_eq!(manifest(0, &[]).encode(), Err(ManifestError::Sequence));
        let mut huge = manifest(1, &[("a", b"")]);
        huge.entries[0].size = MAX_FILE_BYTES + 1;
        assert_eq!(huge.encode(), Err(ManifestError::Bounds));
        let (_, mut bytes) = manifest(1, &[("a", b"")]).encode().unwrap();
        bytes.push(0);
        assert!(Manifest::decode(&bytes).is_err());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = Manifest::decode(&bytes);
        }
    }
}

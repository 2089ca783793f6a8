//! Where each blob lies: a sled database that holds nothing which the packs do not hold too.
//!
//! Sled is opened once a process, with few trees, values far below its page size, no flushing on its own, and under a
//! guard: whatever is wrong with its files, they are moved aside and the index is made anew from the packs.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    StoreError,
    pack::{Kind, Record},
};
use crate::{CutKey, Digest, codec::Coding};

/// Memory that sled may use for pages. The whole index of a night fits.
const CACHE: u64 = 16 << 20;

/// Which form of a blob is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Form {
    /// Plain bytes.
    Identity = 0,
    /// A raw deflate stream.
    Deflate = 1,
    /// A zstd frame.
    Zstd = 2,
    /// A zstd frame against another blob.
    Patch = 3,
}

impl From<Coding> for Form {
    fn from(coding: Coding) -> Self {
        match coding {
            // Opened archives and bundles never rest as such.
            Coding::Identity | Coding::Opened { .. } | Coding::Bundle => Self::Identity,
            Coding::Deflate => Self::Deflate,
            Coding::Zstd => Self::Zstd,
            Coding::Patch { .. } => Self::Patch,
        }
    }
}

/// Where the payload of a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) pack: u32,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) size: u64,
    pub(super) coding: Coding,
}

impl Place {
    pub(super) fn of(pack: u32, record: &Record) -> Self {
        let Record { offset, len, size, coding, .. } = *record;
        Self { pack, offset, len, size, coding }
    }
}

/// A pack that the index knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) id: u32,
    /// Length of the file.
    pub(super) len: u64,
    pub(super) cut: CutKey,
}

/// The places of one cut's manifest and package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CutPlaces {
    pub(super) cut: CutKey,
    pub(super) manifest: Place,
    pub(super) package: Option<Place>,
}

impl CutPlaces {
    /// Those in a pack, if it has a manifest.
    pub(super) fn of(cut: &CutKey, pack: u32, records: &[Record]) -> Option<Self> {
        let find = |kind| records.iter().find(|record| record.kind == kind).map(|record| Place::of(pack, record));
        let package = find(Kind::Package).or_else(|| find(Kind::Told));
        find(Kind::Manifest).map(|manifest| Self { cut: *cut, manifest, package })
    }
}

pub(super) struct Index {
    db: sled::Db,
    blobs: sled::Tree,
    packs: sled::Tree,
    cuts: sled::Tree,
}

impl Index {
    /// Opens the index in `dir`, making an empty one if there is none or none that works. The flag says if it is new.
    pub(super) fn open(dir: &Path) -> Result<(Self, bool), StoreError> {
        match catch_unwind(AssertUnwindSafe(|| Self::try_open(dir))) {
            Ok(Ok(index)) => {
                let fresh = !index.db.was_recovered();
                Ok((index, fresh))
            }
            Ok(Err(error)) => Self::replace(dir, &error.to_string()),
            Err(_) => Self::replace(dir, "sled panicked"),
        }
    }

    fn replace(dir: &Path, why: &str) -> Result<(Self, bool), StoreError> {
        tracing::warn!(%why, "the index cannot be opened: it is set aside and made anew from the packs");
        let aside = (1_u32..).map(|n| dir.with_extension(format!("damaged-{n}"))).find(|path| !path.exists());
        if let Some(aside) = aside.filter(|_| dir.exists()) {
            std::fs::rename(dir, aside).map_err(StoreError::Io)?;
        }
        Self::try_open(dir).map(|index| (index, true)).map_err(StoreError::Index)
    }

    fn try_open(dir: &Path) -> Result<Self, sled::Error> {
        let db = sled::Config::new().path(dir).cache_capacity(CACHE).flush_every_ms(None).open()?;
        let (blobs, packs, cuts) = (db.open_tree("blobs")?, db.open_tree("packs")?, db.open_tree("cuts")?);
        Ok(Self { db, blobs, packs, cuts })
    }

    pub(super) fn clear(&self) -> Result<(), StoreError> {
        self.blobs.clear()?;
        self.packs.clear()?;
        self.cuts.clear()?;
        Ok(())
    }

    /// Waits for the disk.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.db.flush()?;
        Ok(())
    }

    pub(super) fn packs(&self) -> Result<Vec<(String, Known)>, StoreError> {
        let read = |item: sled::Result<(sled::IVec, sled::IVec)>| {
            let (name, known) = item?;
            Ok((String::from_utf8_lossy(&name).into_owned(), value(&known)?))
        };
        self.packs.iter().map(read).collect()
    }

    /// Enters a pack with its blobs. Blobs that are in already keep their place, so that nothing moves under a reader;
    /// unless that is in a pack which is not `live`, as a crash between two trees can leave it.
    pub(super) fn insert<'a>(
        &self,
        name: &str,
        known: &Known,
        blobs: impl Iterator<Item = &'a Record>,
        cut: Option<&CutPlaces>,
        live: impl Fn(u32) -> bool,
    ) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for record in blobs {
            let key = blob_key(&record.digest, record.coding.into());
            let place = self.blobs.get(key)?.and_then(|place| value::<Place>(&place).ok());
            if place.is_none_or(|place| !live(place.pack)) {
                batch.insert(key.as_slice(), bytes(&Place::of(known.id, record))?);
            }
        }
        self.blobs.apply_batch(batch)?;
        if let Some(cut) = cut {
            self.cuts.insert(cut_key(&cut.cut), bytes(cut)?)?;
        }
        // Last: a pack that is listed is listed whole.
        self.packs.insert(name, bytes(known)?)?;
        Ok(())
    }

    /// Takes out a pack and every place in it.
    pub(super) fn remove(&self, name: &str, id: u32) -> Result<(), StoreError> {
        self.packs.remove(name)?;
        self.drop_places(id)?;
        let mut batch = sled::Batch::default();
        for item in &self.cuts {
            let (key, places) = item?;
            if value::<CutPlaces>(&places)?.manifest.pack == id {
                batch.remove(key);
            }
        }
        self.cuts.apply_batch(batch)?;
        Ok(())
    }

    /// Takes a pack out of the list, on disk before this returns, and leaves its places: what is under its name at the
    /// next start is entered anew.
    pub(super) fn unlist(&self, name: &str) -> Result<(), StoreError> {
        self.packs.remove(name)?;
        self.flush()
    }

    /// Takes out the place of every blob in a pack.
    pub(super) fn drop_places(&self, id: u32) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for item in &self.blobs {
            let (key, place) = item?;
            if value::<Place>(&place)?.pack == id {
                batch.remove(key);
            }
        }
        self.blobs.apply_batch(batch)?;
        Ok(())
    }

    /// Forgets one form of a blob.
    pub(super) fn forget(&self, digest: &Digest, form: Form) -> Result<(), StoreError> {
        self.blobs.remove(blob_key(digest, form))?;
        Ok(())
    }

    /// Forgets that a cut is here.
    pub(super) fn forget_cut(&self, cut: &CutKey) -> Result<(), StoreError> {
        self.cuts.remove(cut_key(cut))?;
        Ok(())
    }

    /// A number that no earlier opening of this index was given, on disk before it is returned.
    pub(super) fn epoch(&self) -> Result<u32, StoreError> {
        let next = self.db.update_and_fetch("epoch", |old| {
            let old = old.and_then(|old| old.try_into().ok()).map_or(0, u32::from_le_bytes);
            Some(old.wrapping_add(1).to_le_bytes().to_vec())
        })?;
        self.db.flush()?;
        Ok(next.and_then(|next| next.as_ref().try_into().ok()).map_or(1, u32::from_le_bytes))
    }

    /// Every blob that lies in a pack, in the order of the file.
    pub(super) fn places_in(&self, id: u32) -> Result<Vec<(Digest, Form, Place)>, StoreError> {
        let mut found = Vec::new();
        for item in &self.blobs {
            let (key, place) = item?;
            let place: Place = value(&place)?;
            let digest = key.get(..32).and_then(|digest| digest.try_into().ok()).map(Digest::from_bytes);
            if let Some(digest) = digest.filter(|_| place.pack == id) {
                found.push((digest, place.coding.into(), place));
            }
        }
        found.sort_by_key(|(_, _, place)| place.offset);
        Ok(found)
    }

    pub(super) fn blob(&self, digest: &Digest, form: Form) -> Result<Option<Place>, StoreError> {
        self.blobs.get(blob_key(digest, form))?.map(|place| value(&place)).transpose()
    }

    pub(super) fn cut(&self, cut: &CutKey) -> Result<Option<CutPlaces>, StoreError> {
        self.cuts.get(cut_key(cut))?.map(|places| value(&places)).transpose()
    }

    /// All cuts, oldest first.
    pub(super) fn cuts(&self) -> Result<Vec<CutKey>, StoreError> {
        self.cuts.iter().values().map(|places| Ok(value::<CutPlaces>(&places?)?.cut)).collect()
    }
}

fn blob_key(digest: &Digest, form: Form) -> [u8; 33] {
    let mut key = [0; 33];
    for (to, from) in key.iter_mut().zip(digest.as_bytes().iter().chain([&(form as u8)])) {
        *to = *from;
    }
    key
}

/// Sequence number first, so that iteration is in order; then the root, since a cut that was never flipped may be
/// replaced by another of the same number.
fn cut_key(cut: &CutKey) -> Vec<u8> {
    [cut.seq.to_be_bytes().as_slice(), cut.root.as_bytes()].concat()
}

fn bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_stdvec(value).map_err(|_| StoreError::Damaged("an index value cannot be encoded".into()))
}

fn value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|_| StoreError::Damaged("the index has a value that it did not write".into()))
}

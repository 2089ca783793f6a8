//! What a node does about damage: forgetting places whose bytes are others, entering what was made or fetched again, and
//! writing a damaged pack anew from what is whole.
//!
//! Nothing is looked for in a damaged place any more from the moment it is forgotten; nothing that is whole is lost on
//! the way. A pack that was written anew has what was whole of the old one, and what others have is not in it twice.

use std::{
    fs::{self, File},
    io,
};

use super::{Blob, Form, PLAIN, PackWriter, Place, Store, StoreError, pack_name};
use crate::{
    CutKey, Digest, Manifest, Signed,
    codec::{self, Coding},
};

/// Room on a disk, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Space {
    /// What this process may still write.
    pub free: u64,
    /// What the disk has.
    pub total: u64,
}

impl Store {
    /// The room on the disk that the store is on (statvfs(3)).
    ///
    /// # Errors
    /// What the system gives.
    pub fn space(&self) -> io::Result<Space> {
        let found = rustix::fs::statvfs(&self.0.dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Space { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }

    /// Forgets a form of a blob if its place is in this pack, where it was found damaged.
    ///
    /// # Errors
    /// What the index gives.
    pub fn forget_in(&self, pack: &str, digest: &Digest, form: Form) -> Result<(), StoreError> {
        let id = self.known(pack)?.map(|known| known.id);
        match self.0.index.blob(digest, form)? {
            Some(place) if Some(place.pack) == id => self.forget(digest, form),
            _ => Ok(()),
        }
    }

    /// Reads every blob that the index has in this pack, and forgets those that are not whole: for a pack whose headers
    /// do not say any more what is in it. Returns them. Blocks.
    ///
    /// # Errors
    /// What the index gives.
    pub fn forget_damaged(&self, pack: &str) -> Result<Vec<(Digest, Form)>, StoreError> {
        let Some(known) = self.known(pack)? else { return Ok(Vec::new()) };
        let mut gone = Vec::new();
        for (digest, form, place) in self.0.index.places_in(known.id)? {
            if self.whole(&digest, place).is_none() {
                self.forget(&digest, form)?;
                gone.push((digest, form));
            }
        }
        Ok(gone)
    }

    /// Makes blobs, and perhaps the manifest, durable and visible beside what is here of a cut. What was here before and
    /// was not forgotten keeps its place.
    ///
    /// # Errors
    /// What the disk or the index give; nothing of it is here then.
    pub fn commit_beside(
        &self,
        pack: &PackWriter,
        cut: &CutKey,
        manifest: Option<&Signed<Manifest>>,
    ) -> Result<(), StoreError> {
        if let Some(manifest) = manifest {
            let signed = postcard::to_stdvec(manifest).map_err(|e| StoreError::Damaged(e.to_string()))?;
            pack.manifest(cut, &signed)?;
        }
        let (records, len) = pack.finish(cut, true)?;
        let id = self.next_id();
        let name = pack_name(cut, id, PLAIN);
        fs::rename(pack.path(), self.packs_dir().join(&name))?;
        File::open(self.packs_dir())?.sync_all()?;
        self.enter(id, &name, pack.file(), len, cut, &records)?;
        self.0.index.flush()
    }

    /// Writes a damaged pack anew, with every blob that the index has in it and that is whole, and the cut's manifest if
    /// it is to be had. The old file is not kept: what it has and the new one has not is damaged. Blocks.
    ///
    /// # Errors
    /// What the disk or the index give; the damaged pack is still there then.
    pub fn rewrite_pack(&self, name: &str) -> Result<(), StoreError> {
        let known = self.known(name)?.ok_or_else(|| StoreError::Damaged(format!("there is no pack {name}")))?;
        let pack = self.begin()?;
        for (digest, form, place) in self.0.index.places_in(known.id)? {
            match self.whole(&digest, place) {
                Some(bytes) => pack.blob(digest, place.coding, place.size, &bytes)?,
                None => self.forget(&digest, form)?,
            }
        }
        let is_cut = !name.ends_with(PLAIN);
        if let Some(signed) = self.manifest(&known.cut).ok().flatten().filter(|_| is_cut) {
            let signed = postcard::to_stdvec(&signed).map_err(|e| StoreError::Damaged(e.to_string()))?;
            pack.manifest(&known.cut, &signed)?;
        }
        pack.finish(&known.cut, true)?;
        let replaced = self.replace_pack(name, pack.path());
        let left = if replaced.is_ok() { self.0.dir.join("aside").join(name) } else { pack.path().to_owned() };
        let _ = fs::remove_file(left);
        replaced
    }

    /// The bytes of a blob as they rest in this place, if they are whole.
    fn whole(&self, digest: &Digest, place: Place) -> Option<Vec<u8>> {
        let blob: Blob = self.open_place(place).ok()?;
        let bytes = blob.read().ok()?;
        let base = match blob.coding() {
            Coding::Patch { base } => Some(self.plain(&base).ok()?),
            _ => None,
        };
        let right = match blob.coding() {
            Coding::Identity => Digest::of_parallel(&bytes) == *digest,
            coding => codec::decode(coding, &bytes, blob.size(), base.as_deref())
                .is_ok_and(|plain| Digest::of_parallel(&plain) == *digest),
        };
        right.then_some(bytes)
    }
}

#[cfg(test)]
mod tests;

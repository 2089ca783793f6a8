//! Giving back the space of cuts that a node need not hold any more.
//!
//! What the kept cuts share with the old ones is copied first, and waited for; only then are packs deleted. A crash at
//! any point leaves packs that are entered again at the next start, never a kept cut without its bytes.

use std::{
    collections::HashSet,
    fs::{self, File},
    sync::PoisonError,
};

use super::{Form, PLAIN, Store, StoreError, lock, pack_name};
use crate::{CutKey, Digest};

impl Store {
    /// Deletes every pack that is of none of the `kept` cuts, but for the blobs in `needed`. Returns how many. Must not
    /// run while a cut is being staged.
    ///
    /// # Errors
    /// What the disk or the index give; nothing that is needed is lost then.
    pub fn retire(&self, kept: &[CutKey], needed: &HashSet<Digest>) -> Result<usize, StoreError> {
        let roots: HashSet<_> = kept.iter().map(|cut| cut.root).collect();
        let packs = self.0.index.packs()?;
        let old: Vec<_> = packs.into_iter().filter(|(_, pack)| !roots.contains(&pack.cut.root)).collect();
        // The newest has the longest to live, so what is copied is copied once in the life of a cut.
        let Some(newest) = kept.iter().max_by_key(|cut| cut.seq).filter(|_| !old.is_empty()) else { return Ok(0) };
        self.settle()?;
        let ids: HashSet<_> = old.iter().map(|(_, pack)| pack.id).collect();
        let carried = self.begin()?;
        for digest in needed {
            for form in [Form::Identity, Form::Deflate] {
                let place = self.0.index.blob(digest, form)?.filter(|place| ids.contains(&place.pack));
                if let Some(blob) = place.map(|place| self.open_place(place)).transpose()? {
                    carried.blob(*digest, blob.coding(), blob.size(), &blob.read()?)?;
                }
            }
        }
        let (records, len) = carried.finish(newest, true)?;
        let id = self.next_id();
        let name = pack_name(newest, id, PLAIN);
        fs::rename(carried.path(), self.packs_dir().join(&name))?;
        File::open(self.packs_dir())?.sync_all()?;
        for (old, pack) in &old {
            self.drop_pack(old, pack.id)?;
        }
        self.enter(id, &name, carried.file(), len, newest, &records)?;
        for (old, pack) in &old {
            fs::remove_file(self.packs_dir().join(old))?;
            lock(&self.0.files).remove(&pack.id);
        }
        self.0.index.flush()?;
        self.0.unsettled.lock().unwrap_or_else(PoisonError::into_inner).retain(|(path, _)| path.exists());
        Ok(old.len())
    }
}

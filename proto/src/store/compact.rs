//! Keeping a cut in less space: its package told by that of another cut, and the other way round.
//!
//! A cut has one pack at any time that counts. The new one is on the disk before the old one goes; if a crash leaves
//! both, the one with the package itself stays. Files that other cuts share with this one are found in the packs of
//! those from then on.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
};

use super::{CUT, DELTA, Kind, PackWriter, Store, StoreError, lock, pack, pack_name};
use crate::{CutKey, Digest, Manifest, Signed, codec::Coding};

/// What a cut takes at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtRest {
    /// Which cut.
    pub cut: CutKey,
    /// Bytes of its pack.
    pub bytes: u64,
    /// The root of the cut that its package is told by; `None` if the package itself is kept.
    pub base: Option<Digest>,
}

impl Store {
    /// Replaces the pack of a cut by one in which its package is `told` by that of `base`. The caller has made the package
    /// again from these bytes. The blobs of the cut are not here any more then, but for those in packs of other cuts.
    ///
    /// # Errors
    /// What the disk or the index give; the cut is then kept as it was.
    pub fn compact(&self, cut: &CutKey, base: &CutKey, told: &[u8]) -> Result<(), StoreError> {
        let manifest = self.manifest(cut)?.ok_or(StoreError::Missing(cut.root))?;
        let (_, list) = Manifest::decode(manifest.bytes()).map_err(|e| StoreError::Damaged(e.to_string()))?;
        let pack = self.begin()?;
        pack.told(list.package.digest, base.root, list.package.size, told)?;
        self.exchange(&pack, cut, &manifest, DELTA)
    }

    /// Replaces the pack of a cut by one that has the package itself, and its blobs in it.
    ///
    /// # Errors
    /// What the disk or the index give; the cut is then kept as it was.
    pub fn expand(&self, pack: &PackWriter, cut: &CutKey) -> Result<(), StoreError> {
        let manifest = self.manifest(cut)?.ok_or(StoreError::Missing(cut.root))?;
        self.exchange(pack, cut, &manifest, CUT)
    }

    fn exchange(
        &self,
        pack: &PackWriter,
        cut: &CutKey,
        manifest: &Signed<Manifest>,
        kind: &str,
    ) -> Result<(), StoreError> {
        let signed = postcard::to_stdvec(manifest).map_err(|e| StoreError::Damaged(e.to_string()))?;
        pack.manifest(cut, &signed)?;
        let (records, len) = pack.finish(cut, true)?;
        let old: Vec<_> = self.0.index.packs()?.into_iter().filter(|(_, known)| known.cut == *cut).collect();
        let id = self.next_id();
        let name = pack_name(cut, id, kind);
        fs::rename(pack.path(), self.packs_dir().join(&name))?;
        self.sync_names()?;
        self.enter(id, &name, pack.file(), len, cut, &records)?;
        for (old, known) in &old {
            self.drop_pack(old, known.id)?;
        }
        self.enter_shared(&old.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())?;
        for (old, known) in &old {
            fs::remove_file(self.packs_dir().join(old))?;
            lock(&self.0.files).remove(&known.id);
            lock(&self.0.damaged).remove(old);
        }
        self.sync_names()
    }

    /// Enters the blobs again that are in packs of other cuts, too: a blob has one place, and that was in a pack which is
    /// gone.
    fn enter_shared(&self, gone: &[&str]) -> Result<(), StoreError> {
        let mut packs = self.0.index.packs()?;
        packs.retain(|(name, _)| name.ends_with(CUT) && !gone.contains(&name.as_str()));
        let ids: HashSet<_> = packs.iter().map(|(_, known)| known.id).collect();
        for (name, known) in &packs {
            let file = File::open(self.packs_dir().join(name))?;
            // One that is damaged is found by whoever reads it.
            let Some((_, records)) = pack::scan(&file)? else { continue };
            let blobs = records.iter().filter(|record| matches!(record.kind, Kind::Blob | Kind::Span));
            self.0.index.insert(name, known, blobs, None, |pack| ids.contains(&pack))?;
        }
        Ok(())
    }

    fn sync_names(&self) -> Result<(), StoreError> {
        Ok(File::open(self.packs_dir())?.sync_all()?)
    }

    /// What every cut takes at rest, oldest first.
    ///
    /// # Errors
    /// What the index gives.
    pub fn at_rest(&self) -> Result<Vec<AtRest>, StoreError> {
        let mut sizes: HashMap<CutKey, u64> = HashMap::new();
        for (_, known) in self.0.index.packs()? {
            *sizes.entry(known.cut).or_default() += known.len;
        }
        let cuts = self.cuts()?.into_iter().map(|cut| {
            let bytes = sizes.get(&cut).copied().unwrap_or(0);
            let base = match self.0.index.cut(&cut)?.and_then(|places| places.package).map(|place| place.coding) {
                Some(Coding::Opened { base }) => Some(base),
                _ => None,
            };
            Ok(AtRest { cut, bytes, base })
        });
        cuts.collect()
    }
}

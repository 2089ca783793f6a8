//! Bringing index and packs together at the start, after whatever happened.
//!
//! The packs are the truth. What a crash left unfinished goes, since nothing of it was acknowledged; what is damaged is
//! set aside; plain bytes that the disk may not hold are believed only if every one of them verifies.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::pack::{self, Record};
use super::{
    CUT, DELTA, PLAIN, Recovery, Store, StoreError, TMP, UNSETTLED, index::Known, lock, map::Opened, same_cut, stem,
};
use crate::Digest;

impl Store {
    /// Brings index and packs together after whatever happened.
    pub(super) fn recover(&self) -> Result<Recovery, StoreError> {
        let mut recovery = Recovery::default();
        let mut on_disk = Vec::new();
        for entry in fs::read_dir(self.packs_dir())? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == TMP) {
                fs::remove_file(&path)?;
                recovery.unfinished += 1;
            } else {
                on_disk.push(path);
            }
        }
        // By name is by sequence number: the oldest place of a blob stays its place.
        on_disk.sort();
        let mut known: HashMap<String, Known> = match self.0.index.packs() {
            Ok(packs) => packs.into_iter().collect(),
            Err(_) => {
                self.0.index.clear()?;
                HashMap::new()
            }
        };
        let lost = known.iter().any(|(name, pack)| !on_disk.iter().any(|path| is_pack(path, name, pack.len)));
        if lost {
            // A pack that the index lists is gone or has another length: the places of its blobs lead nowhere.
            self.0.index.clear()?;
            known.clear();
        }
        // Numbers that this opening alone gives out, whatever an earlier one wrote before it was killed.
        self.0.next_pack.store(self.0.index.epoch()?.wrapping_mul(1 << 16).wrapping_add(1), Ordering::Relaxed);
        for (name, pack) in &known {
            lock(&self.0.names).insert(pack.id, name.clone());
        }
        self.choose(&mut on_disk, &mut known, &mut recovery)?;
        let is_cut = |name: &String| name.ends_with(CUT) || name.ends_with(DELTA);
        let cuts: Vec<String> = on_disk.iter().map(|path| stem(path)).filter(is_cut).collect();
        for path in on_disk {
            // Plain bytes of a cut that was never committed belong to nothing.
            let name = stem(&path);
            if name.ends_with(PLAIN) && !cuts.iter().any(|cut| same_cut(cut, &name)) {
                if let Some(pack) = known.get(&name) {
                    self.drop_pack(&name, pack.id)?;
                }
                fs::remove_file(&path)?;
                recovery.unfinished += 1;
                continue;
            }
            self.recover_pack(&path, &known, &mut recovery)?;
        }
        self.0.index.flush()?;
        Ok(recovery)
    }

    /// Removes packs whose cut is here with its package itself: a crash came before the one or the other went.
    fn choose(
        &self,
        on_disk: &mut Vec<PathBuf>,
        known: &mut HashMap<String, Known>,
        recovery: &mut Recovery,
    ) -> Result<(), StoreError> {
        let mut cuts: Vec<_> = on_disk.iter().filter(|path| stem(path).ends_with(CUT)).cloned().collect();
        let told: Vec<_> = on_disk.iter().filter(|path| stem(path).ends_with(DELTA)).cloned().collect();
        for path in told {
            let name = stem(&path);
            let Some(cut) = cuts.extract_if(.., |cut| same_cut(&stem(cut), &name)).next() else { continue };
            if pack::scan(&File::open(&cut)?)?.is_none() {
                continue;
            }
            // The index may list either: the one that stays is entered anew.
            for name in [&name, &stem(&cut)] {
                if let Some(pack) = known.remove(name) {
                    self.drop_pack(name, pack.id)?;
                }
            }
            fs::remove_file(&path)?;
            on_disk.retain(|other| *other != path);
            recovery.unfinished += 1;
        }
        Ok(())
    }

    fn recover_pack(
        &self,
        path: &Path,
        known: &HashMap<String, Known>,
        recovery: &mut Recovery,
    ) -> Result<(), StoreError> {
        let unsettled = path.extension().is_some_and(|e| e == UNSETTLED);
        let name = stem(path);
        if known.contains_key(&name) && !unsettled {
            return Ok(());
        }
        let file = Arc::new(File::open(path)?);
        let whole = pack::scan(&file)?.filter(|(_, records)| !unsettled || verify(&file, records));
        let Some((trailer, records)) = whole else {
            if unsettled {
                if let Some(pack) = known.get(&name) {
                    self.drop_pack(&name, pack.id)?;
                }
                fs::remove_file(path)?;
                recovery.replaced += 1;
            } else {
                self.set_aside(path)?;
                recovery.damaged.push(name);
            }
            return Ok(());
        };
        if unsettled {
            lock(&self.0.unsettled).push((path.into(), Arc::clone(&file)));
        }
        if let Some(pack) = known.get(&name) {
            lock(&self.0.files).insert(pack.id, Arc::new(Opened::new(file)));
            return Ok(());
        }
        let len = file.metadata()?.len();
        self.enter(self.next_id(), &name, file, len, &trailer.cut, &records)?;
        recovery.reindexed += 1;
        Ok(())
    }

    fn set_aside(&self, path: &Path) -> Result<(), StoreError> {
        let aside = self.0.dir.join("aside");
        fs::create_dir_all(&aside)?;
        let name = path.file_name().unwrap_or_default();
        fs::rename(path, aside.join(name))?;
        Ok(())
    }
}

/// True if every payload of a pack has the bytes that its header says, on all cores.
fn verify(file: &File, records: &[Record]) -> bool {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let Ok(at) = usize::try_from(next.fetch_add(1, Ordering::Relaxed)) else { return true };
            let Some(record) = records.get(at) else { return true };
            let whole = pack::read(file, record.offset, record.len)
                .is_ok_and(|bytes| pack::check_of(&Digest::of(&bytes)) == record.check);
            if !whole {
                return false;
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().all(|worker| worker.join().unwrap_or(false))
    })
}

fn is_pack(path: &Path, name: &str, len: u64) -> bool {
    stem(path) == name && path.metadata().is_ok_and(|meta| meta.len() == len)
}

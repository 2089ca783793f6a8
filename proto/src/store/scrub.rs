//! Packs at rest, read again: what the disk has spoiled since it was written, and putting a whole file in its place.
//!
//! Every record is compared with the check in its header, and every header with the trailer, so damage is found without
//! the index, and before anybody asks for the bytes. A pack never changes once it is complete, so a whole copy of it from
//! anywhere may take its place under its name; nothing is taken that does not verify to the last byte and is not of the
//! same cut, and the damaged file is kept in `aside/`.

pub(super) mod round;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Advice, fadvise};

use super::{
    Form, PLAIN, Store, StoreError, TMP, UNSETTLED,
    index::{CutPlaces, Known},
    lock,
    map::Opened,
    pack::{self, Kind, Record},
    pack_name, same_cut,
};
use crate::{CutKey, Digest, Manifest, Signed};

/// Bytes that are read and hashed at once: whoever paces the reading is asked after each of them.
const PIECE: u64 = 512 << 10;

/// Damage that was found and not mended yet, by the name of the pack.
pub(super) type Found = BTreeMap<String, Vec<Damage>>;

/// A complete pack on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackFile {
    /// Its file name, without what says that the disk may not hold it yet.
    pub name: String,
    /// Length of the file.
    pub len: u64,
    /// The cut that it belongs to.
    pub cut: CutKey,
}

/// What of a pack is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The file is not there any more.
    File,
    /// The chain of headers, or the trailer: which records there are can only be told from the index.
    Headers,
    /// The signed manifest.
    Manifest,
    /// The package, somewhere outside the blobs in it too, or another record that is no blob.
    Package,
    /// A blob in some form.
    Blob {
        /// Its name.
        digest: Digest,
        /// The form.
        form: Form,
    },
}

/// A damaged part of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The name of the pack.
    pub pack: String,
    /// The part.
    pub part: Part,
}

impl Store {
    /// Every complete pack, the oldest cut first.
    ///
    /// # Errors
    /// What the index gives.
    pub fn packs_at_rest(&self) -> Result<Vec<PackFile>, StoreError> {
        let packs = self.0.index.packs()?;
        Ok(packs.into_iter().map(|(name, Known { len, cut, .. })| PackFile { name, len, cut }).collect())
    }

    /// Reads all of a pack and compares it with its checks. What is found is remembered ([`Store::damaged`]). Blocks.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if there is no such pack; otherwise what the index gives. What the disk cannot read is
    /// damage, not an error.
    pub fn verify_pack(&self, name: &str) -> Result<Vec<Damage>, StoreError> {
        self.verify_pack_paced(name, &mut |_| true).map(Option::unwrap_or_default)
    }

    /// The same, by someone who gives way: `pace` is told how many bytes were just read, may wait, and says whether to
    /// go on. `None` if it said no: nothing is known then.
    ///
    /// # Errors
    /// As [`Store::verify_pack`].
    pub fn verify_pack_paced(
        &self,
        name: &str,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Vec<Damage>>, StoreError> {
        let known = self.known(name)?.ok_or_else(|| StoreError::Damaged(format!("there is no pack {name}")))?;
        let parts = match File::open(self.pack_path(name)) {
            Ok(file) => {
                let opened = lock(&self.0.files).get(&known.id).map(Arc::clone);
                Reading { file: &file, cold: opened.is_none_or(|opened| !opened.is_mapped()), pace }.parts()
            }
            // A cut that is kept in another way just now has another pack.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.known(name)?.is_none() => Some(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(vec![Part::File]),
            Err(error) => return Err(error.into()),
        };
        let found = parts.map(|parts| {
            let damage = |part| Damage { pack: name.to_owned(), part };
            parts.into_iter().map(damage).collect::<Vec<_>>()
        });
        if let Some(found) = &found {
            let mut damaged = lock(&self.0.damaged);
            match found.as_slice() {
                [] => drop(damaged.remove(name)),
                found => drop(damaged.insert(name.to_owned(), found.to_vec())),
            }
        }
        Ok(found)
    }

    /// The names of the packs that are damaged: those that were found so since the start, and those that were set aside
    /// as they could not even be opened, and of whose cut there is no other.
    pub fn damaged(&self) -> Vec<String> {
        let mut names: Vec<_> = lock(&self.0.damaged).keys().cloned().collect();
        let aside = fs::read_dir(self.0.dir.join("aside")).into_iter().flatten().flatten();
        let known = self.0.index.packs().unwrap_or_default();
        for name in aside.filter_map(|entry| entry.file_name().into_string().ok()) {
            let is_replaced = |other: &String| same_cut(other, &name) && !other.ends_with(PLAIN);
            if !name.ends_with(PLAIN) && !known.iter().any(|(other, _)| is_replaced(other)) {
                names.push(name);
            }
        }
        names.sort();
        names.dedup();
        names
    }

    /// Puts the file `with` in the place of a pack, or of one that was set aside. It is moved, not copied, if it is on the
    /// same disk. Every byte of it is verified first; the damaged pack is kept in `aside/`. Whoever reads the old file
    /// keeps reading it, and everyone who begins reads the new one; a crash leaves the one or the other. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if `with` is not whole, or not of the pack's cut; what the disk or the index give. The
    /// store is as before then, or at the next start.
    pub fn replace_pack(&self, name: &str, with: &Path) -> Result<(), StoreError> {
        let wrong = |what: &str| StoreError::Damaged(format!("{} cannot be pack {name}: {what}", with.display()));
        let file = Arc::new(File::open(with)?);
        let (trailer, records) = pack::scan(&file)?.ok_or_else(|| wrong("it is not complete"))?;
        let known = self.known(name)?;
        let cut = trailer.cut;
        if known.as_ref().map_or_else(|| !same_cut(name, &pack_name(&cut, 0, "")), |known| known.cut != cut) {
            return Err(wrong("it is of another cut"));
        }
        let mut reading = Reading { file: &file, cold: false, pace: &mut |_| true };
        if !records.iter().all(|record| reading.record(record) == Some(true)) {
            return Err(wrong("a record is damaged"));
        }
        let manifest = records.iter().find(|record| record.kind == Kind::Manifest);
        if manifest.map(|record| is_manifest_of(&file, record, &cut)).transpose()? == Some(false) {
            return Err(wrong("its manifest is of another cut"));
        }
        let len = file.metadata()?.len();
        let path = self.packs_dir().join(name);
        let was_there = self.keep_aside(name, known.as_ref())?;
        // From here to the end of this function a start would enter whichever file is there anew.
        self.0.index.unlist(name)?;
        let file = match fs::rename(with, &path) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let near = self.packs_dir().join(format!("{}.{TMP}", self.next_tmp()));
                fs::copy(with, &near)?;
                fs::rename(&near, &path)?;
                fs::remove_file(with)?;
                Arc::new(File::open(&path)?)
            }
            renamed => renamed.map(|()| file)?,
        };
        file.sync_all()?;
        File::open(self.packs_dir())?.sync_all()?;
        self.enter_over(name, known.as_ref().map(|known| known.id), file, len, &cut, &records)?;
        lock(&self.0.damaged).remove(name);
        if !was_there {
            // It was set aside at a start: what is whole again is not missed any more.
            let _ = fs::remove_file(self.0.dir.join("aside").join(name));
        }
        Ok(())
    }

    /// Gives a pack's file a second name in `aside/`. `false` if there is none.
    fn keep_aside(&self, name: &str, known: Option<&Known>) -> Result<bool, StoreError> {
        if !self.packs_dir().join(name).exists() {
            self.settle()?;
        }
        let path = self.packs_dir().join(name);
        let Some(known) = known.filter(|_| path.exists()) else { return Ok(false) };
        // Whoever has a place in the old file must not look for it in the new one.
        let opened = Arc::new(Opened::new(Arc::new(File::open(&path)?)));
        lock(&self.0.files).entry(known.id).or_insert(opened);
        let aside = self.0.dir.join("aside");
        fs::create_dir_all(&aside)?;
        let kept = aside.join(name);
        match fs::remove_file(&kept) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        fs::hard_link(&path, &kept)?;
        File::open(&aside)?.sync_all()?;
        Ok(true)
    }

    /// Enters a pack in the place of another of the same name, so that no blob is missing in between.
    fn enter_over(
        &self,
        name: &str,
        old: Option<u32>,
        file: Arc<File>,
        len: u64,
        cut: &CutKey,
        records: &[Record],
    ) -> Result<(), StoreError> {
        let id = self.next_id();
        let places = CutPlaces::of(cut, id, records);
        lock(&self.0.names).insert(id, name.into());
        lock(&self.0.files).insert(id, Arc::new(Opened::new(file)));
        let live: std::collections::HashSet<_> =
            lock(&self.0.names).keys().copied().filter(|id| Some(*id) != old).collect();
        let blobs = records.iter().filter(|record| matches!(record.kind, Kind::Blob | Kind::Span));
        let known = Known { id, len, cut: *cut };
        self.0.index.insert(name, &known, blobs, places.as_ref(), |pack| live.contains(&pack))?;
        if let Some(old) = old {
            self.0.index.drop_places(old)?;
            lock(&self.0.names).remove(&old);
            lock(&self.0.files).remove(&old);
        }
        self.0.index.flush()
    }

    pub(super) fn known(&self, name: &str) -> Result<Option<Known>, StoreError> {
        Ok(self.0.index.packs()?.into_iter().find(|(known, _)| known == name).map(|(_, known)| known))
    }

    fn pack_path(&self, name: &str) -> PathBuf {
        let path = self.packs_dir().join(name);
        if path.exists() { path } else { path.with_added_extension(UNSETTLED) }
    }

    fn next_tmp(&self) -> u64 {
        self.0.next_tmp.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
}

fn is_manifest_of(file: &File, record: &Record, cut: &CutKey) -> Result<bool, StoreError> {
    let bytes = pack::read(file, record.offset, record.len)?;
    let signed = postcard::from_bytes::<Signed<Manifest>>(&bytes);
    Ok(signed.is_ok_and(|signed| Digest::of(signed.bytes()) == cut.root))
}

/// A pack that is being read.
struct Reading<'a> {
    file: &'a File,
    /// Nobody in this process has it mapped. What the system remembers of such a file is dropped before it is read, since
    /// a sector that went bad is hidden as long as the page cache has its bytes; and after, since reading a whole store
    /// must not push out what visitors ask for. A pack that is mapped is left as it is: visitors are given what the page
    /// cache has of it, so that is what has to be right, and they would have to wait for the disk.
    cold: bool,
    pace: &'a mut dyn FnMut(u64) -> bool,
}

impl Reading<'_> {
    /// What is damaged; `None` if it was told to stop.
    fn parts(&mut self) -> Option<Vec<Part>> {
        self.forget(0, 0);
        let Ok(Some((_, records))) = pack::scan(self.file) else { return Some(vec![Part::Headers]) };
        let mut parts = Vec::new();
        // Blobs inside the package are read with it, and by themselves only if it is damaged.
        for record in records.iter().filter(|record| record.kind != Kind::Span) {
            if !self.record(record)? {
                parts.push(match record.kind {
                    Kind::Blob | Kind::Span => blob(record),
                    Kind::Manifest => Part::Manifest,
                    _ => Part::Package,
                });
            }
        }
        if parts.contains(&Part::Package) {
            for record in records.iter().filter(|record| record.kind == Kind::Span) {
                if !self.record(record)? {
                    parts.push(blob(record));
                }
            }
        }
        self.forget(0, 0);
        Some(parts)
    }

    /// True if the payload of a record has the bytes that its header says; `None` if it was told to stop.
    fn record(&mut self, record: &Record) -> Option<bool> {
        let mut hasher = blake3::Hasher::new();
        let mut piece = Vec::new();
        let mut at = 0;
        while at < record.len {
            let len = PIECE.min(record.len - at);
            piece.resize(usize::try_from(len).unwrap_or(0), 0);
            let offset = record.offset.saturating_add(at);
            let read = self.file.read_exact_at(&mut piece, offset);
            self.forget(offset, len);
            if !(self.pace)(len) {
                return None;
            }
            if read.is_err() {
                return Some(false);
            }
            hasher.update(&piece);
            at = at.saturating_add(len);
        }
        let digest = Digest::from_bytes(*hasher.finalize().as_bytes());
        Some(pack::check_of(&digest) == record.check)
    }

    /// Drops what the page cache has of a part of a cold pack; a length of zero is to the end. Only advice.
    fn forget(&self, offset: u64, len: u64) {
        if self.cold {
            let _ = fadvise(self.file, offset, std::num::NonZero::new(len), Advice::DontNeed);
        }
    }
}

fn blob(record: &Record) -> Part {
    Part::Blob { digest: record.digest, form: record.coding.into() }
}

#[cfg(test)]
mod tests;

//! All files of an archive, inflated and hashed on every core, the largest first; archives among them opened in turn.
//!
//! A file that is refused stops the work on all behind it in the directory, never on those before: so the refusal
//! reported is that of the lowest entry, whatever the threads do.

use std::{
    cmp::Reverse,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use difusor_proto::{
    Digest, Sha256, SitePath,
    manifest::{Deflated, Member},
};
use rayon::prelude::*;

use super::{
    Caps, Visitor,
    archive::{Archive, Budget},
    directory::{Item, Method},
    end, inflate,
    refusal::{Reason, Refusal},
};

/// A file, verified.
pub(super) struct File {
    pub(super) path: SitePath,
    pub(super) digest: Digest,
    pub(super) sha256: Sha256,
    pub(super) size: u64,
    pub(super) deflated: Option<Deflated>,
    /// Where its data lies in the archive.
    pub(super) at: u64,
    pub(super) len: u64,
    pub(super) members: Vec<Member>,
}

/// What the work on a package shares.
pub(super) struct Walk<'a, V> {
    pub(super) caps: &'a Caps,
    pub(super) budget: &'a Budget,
    pub(super) visitor: &'a V,
}

impl<V: Visitor> Walk<'_, V> {
    /// The files of an archive at this depth (0 is the package), in the order of its directory. Worthless if the budget
    /// is spent afterwards.
    ///
    /// # Errors
    /// The refusal of the lowest entry that is refused.
    pub(super) fn files(&self, archive: &Archive<'_>, depth: u32) -> Result<Vec<File>, Refusal> {
        let mut order: Vec<&Item<'_>> = archive.items.iter().filter(|item| !item.folder).collect();
        order.sort_by_key(|item| Reverse(item.size));
        let (next, lowest) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        // Which of the tasks runs first does not matter: each takes the next of the order.
        let task = |_| {
            let item = order.get(next.fetch_add(1, Ordering::Relaxed))?;
            if item.index > lowest.load(Ordering::Relaxed) || self.budget.spent() {
                return None;
            }
            let file = self.file(archive.bytes, item, depth);
            if file.is_err() {
                lowest.fetch_min(item.index, Ordering::Relaxed);
            }
            Some((item.index, file))
        };
        let mut done: Vec<_> = (0..order.len()).into_par_iter().filter_map(task).collect();
        done.sort_unstable_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, file)| file).collect()
    }

    fn file(&self, bytes: &[u8], item: &Item<'_>, depth: u32) -> Result<File, Refusal> {
        let plain = Arc::new(inflate::plain(bytes, item, self.visitor.buffer(item.size))?);
        let rest = || {
            let digest = Digest::of_parallel(&plain);
            let visit = || {
                if depth == 0 {
                    self.visitor.plain(&item.path, digest, Arc::clone(&plain));
                }
            };
            let ((), members) = rayon::join(visit, || self.members(item, &plain, depth + 1));
            (digest, members)
        };
        let ((digest, members), sha256) = rayon::join(rest, || Sha256::of(&plain));
        Ok(File {
            path: item.path.clone(),
            digest,
            sha256,
            size: item.size as u64,
            deflated: (item.method == Method::Deflate).then_some(Deflated { len: item.len as u64, crc32: item.crc32 }),
            at: item.data_at as u64,
            len: item.len as u64,
            members: members?,
        })
    }

    /// What lies inside a file, if it is an archive; each archive inside comes right before its own members.
    fn members(&self, item: &Item<'_>, plain: &[u8], depth: u32) -> Result<Vec<Member>, Refusal> {
        let Some(archive) = inner(item, plain, depth, self.caps, self.budget)? else { return Ok(vec![]) };
        let files = self.files(&archive, depth).map_err(|refusal| refusal.inside(&item.path, item.data_at))?;
        let members = files.into_iter().flat_map(|file| {
            let prefix = format!("{}!/", file.path);
            let own = Member { path: file.path.into(), digest: file.digest, sha256: file.sha256, size: file.size };
            let deeper = file.members.into_iter().map(move |member| {
                let path = format!("{prefix}{}", member.path);
                Member { path, ..member }
            });
            std::iter::once(own).chain(deeper)
        });
        Ok(members.collect())
    }
}

/// Goes through the files in the order of the directory, on one thread and without hashing, to find the one entry that
/// does not fit the budget.
///
/// # Errors
/// The first refusal.
pub(super) fn account(archive: &Archive<'_>, depth: u32, caps: &Caps, budget: &Budget) -> Result<(), Refusal> {
    for item in archive.items.iter().filter(|item| !item.folder) {
        let plain = inflate::plain(archive.bytes, item, Vec::new())?;
        if let Some(archive) = inner(item, &plain, depth + 1, caps, budget)? {
            account(&archive, depth + 1, caps, budget).map_err(|refusal| refusal.inside(&item.path, item.data_at))?;
        }
    }
    Ok(())
}

/// The archive that a file is, if it is one.
///
/// A file that no reader could open is just its bytes, whatever its name; so is an archive too deep.
fn inner<'a>(
    item: &Item<'_>,
    plain: &'a [u8],
    depth: u32,
    caps: &Caps,
    budget: &Budget,
) -> Result<Option<Archive<'a>>, Refusal> {
    let named = item.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
    if depth > caps.depth || !end::looks_like_zip(plain, named) {
        return Ok(None);
    }
    match Archive::open(plain, caps, budget) {
        Err(Refusal { reason: Reason::NotAZip | Reason::Truncated, .. }) => Ok(None),
        opened => opened.map(Some).map_err(|refusal| refusal.inside(&item.path, item.data_at)),
    }
}

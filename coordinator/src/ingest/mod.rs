//! From the bytes of a package to the verified list of its files, or to the one reason why not.
//!
//! A package is hostile until proven sound. First its structures are judged, by two readers that share no code; only
//! then is anything inflated, each file exactly once, on all cores, largest first. Hashing and whatever the
//! [`Visitor`] does with a file run while others still inflate. Zips inside are opened and judged by the same rules,
//! and stay the files they are.
//!
//! Reading order: [`refusal`]; `end`, `directory`, `names`, `local` and `second` for the structures, put together in
//! `archive`; `inflate` for one file and `walk` for all.
//!
//! Invariants:
//! - nothing is written, and no byte of the content altered: what is listed is what lies in the package;
//! - every entry was inflated to exactly its declared size, from exactly its own bytes, with the declared CRC-32;
//! - memory is bounded by the package, the caps' plain bytes at the very worst, and in practice by two or three of the
//!   largest files;
//! - equal bytes and caps give an equal result, on any number of threads.

mod archive;
mod directory;
mod end;
mod fields;
mod inflate;
mod local;
mod names;
pub mod refusal;
mod second;
mod streams;
#[cfg(test)]
mod tests;
mod walk;

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use difusor_proto::{Digest, Entry, Sha256, SitePath, codec::Coding, limits, media};

use self::{
    archive::{Archive, Budget},
    walk::{File, Walk},
};
pub use self::{
    refusal::{Reason, Refusal},
    streams::streams,
};

/// Bounds on what a package may hold. Whatever inner archives hold is counted in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of the package.
    pub package_bytes: u64,
    /// Entries, folders counted in.
    pub entries: u64,
    /// Plain bytes of all files together.
    pub plain_bytes: u64,
    /// Plain bytes of one file.
    pub file_bytes: u64,
    /// Levels of zips inside the package that are opened; what lies deeper is just bytes.
    pub depth: u32,
    /// How many times its own length a deflate stream may expand. More than deflate can is a lie in any case.
    pub ratio: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            package_bytes: limits::MAX_PACKAGE_BYTES,
            entries: limits::MAX_ENTRIES as u64,
            plain_bytes: limits::MAX_PLAIN_BYTES,
            file_bytes: limits::MAX_FILE_BYTES,
            depth: limits::MAX_DEPTH,
            ratio: limits::MAX_DEFLATE_RATIO,
        }
    }
}

/// Whom the plain bytes are shown while they are in memory.
pub trait Visitor: Sync {
    /// Called once for each file of the site, on a thread of the pool, as soon as it is inflated and its CRC-32 proven.
    /// The package may still be refused for another file. Files inside inner archives are not shown.
    fn plain(&self, path: &SitePath, digest: Digest, plain: Arc<Vec<u8>>);

    /// A buffer for so many plain bytes, with anything in it: memory that was used before need not be cleared by the
    /// system first. An empty one will do.
    fn buffer(&self, size: usize) -> Vec<u8> {
        let _ = size;
        Vec::new()
    }
}

/// Looks at nothing.
impl Visitor for () {
    fn plain(&self, _: &SitePath, _: Digest, _: Arc<Vec<u8>>) {}
}

/// A package that was found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// Its files, by ascending path.
    pub entries: Vec<Entry>,
    /// Where the blob of each distinct digest lies, in the order of `entries`.
    pub sources: Vec<Source>,
    /// BLAKE3 of the package.
    pub digest: Digest,
    /// SHA-256 of the package.
    pub sha256: Sha256,
}

/// A blob inside the package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// BLAKE3 of its plain bytes.
    pub digest: Digest,
    /// Plain bytes.
    pub size: u64,
    /// Where it starts, in bytes of the package.
    pub at: u64,
    /// Bytes in the package.
    pub len: u64,
    /// [`Coding::Identity`] or [`Coding::Deflate`].
    pub coding: Coding,
}

/// Judges a package and lists its files.
///
/// Blocks, and uses the rayon pool it is called in (the global one if in none).
///
/// # Errors
/// The first [`Refusal`]: of the package as a whole, then of its structures, then of the lowest entry whose content is
/// wrong.
pub fn ingest(package: &Bytes, caps: &Caps, visitor: &impl Visitor) -> Result<Ingested, Refusal> {
    if package.len() as u64 > caps.package_bytes {
        let detail = format!("{} bytes where {} are allowed", package.len(), caps.package_bytes);
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    let budget = Budget::new(caps);
    let archive = Archive::open(package, caps, &budget)?;
    if archive.items.iter().all(|item| item.folder) {
        return Err(Refusal::new(Reason::NoEntries, format!("{} folders and no file", archive.items.len())));
    }
    let hashes = || (Digest::of_parallel(package), Sha256::of(package));
    let walk = Walk { caps, budget: &budget, visitor };
    let (files, (digest, sha256)) = rayon::join(|| walk.files(&archive, 0), hashes);
    if budget.spent() {
        // Which of the inner archives met the end of the caps was chance; the one to report is the first in order.
        let budget = Budget::new(caps);
        walk::account(&Archive::open(package, caps, &budget)?, 0, caps, &budget)?;
    }
    Ok(list(files?, digest, sha256))
}

fn list(mut files: Vec<File>, digest: Digest, sha256: Sha256) -> Ingested {
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut seen = HashSet::new();
    let sources = files.iter().filter(|file| seen.insert(file.digest)).map(|file| Source {
        digest: file.digest,
        size: file.size,
        at: file.at,
        len: file.len,
        coding: if file.deflated.is_some() { Coding::Deflate } else { Coding::Identity },
    });
    let sources = sources.collect();
    let entries = files.into_iter().map(|file| Entry {
        media: media::of(&file.path).into(),
        path: file.path,
        digest: file.digest,
        sha256: file.sha256,
        size: file.size,
        deflated: file.deflated,
        members: file.members,
    });
    Ingested { entries: entries.collect(), sources, digest, sha256 }
}

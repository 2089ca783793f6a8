//! The bytes of all files of a cut, each once, whatever paths lead to them.
//!
//! What visitors fetch most (small pages and data) lies in memory within a budget; the rest stays in the packs. Bytes
//! that the previous snapshot already holds are shared with it, so two snapshots cost little more than one.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use difusor_proto::{
    Digest, Manifest,
    manifest::{Deflated, Entry},
    store::{Form, Store},
};
use http::HeaderValue;

use crate::{
    content::{Content, GZIP_FRAME, Packed},
    site::{SiteError, SiteOptions},
};

/// One way to send a file, with the header values that belong to it alone.
#[derive(Debug, Clone)]
pub struct Representation {
    /// Strong entity tag, with its quotes.
    pub tag: HeaderValue,
    /// `Content-Length`.
    pub length: HeaderValue,
    /// The bytes.
    pub content: Content,
}

/// All ways to send a file.
#[derive(Debug)]
pub struct Forms {
    /// The bytes of the package's file.
    pub identity: Representation,
    /// The gzip form, if it is smaller.
    pub gzip: Option<Representation>,
}

/// The forms of every file of a cut.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    forms: HashMap<Digest, Arc<Forms>>,
    memory: u64,
}

/// A blob that the cut needs.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    /// The first entry that needs it.
    entry: &'a Entry,
    /// How it was deflated in the package, if any entry says so.
    deflated: Option<Deflated>,
}

/// What may still be put into memory.
struct Budget {
    each: u64,
    left: u64,
}

impl Representation {
    /// Bytes in memory under the tag that `digest` and `suffix` make.
    pub(crate) fn new(digest: &Digest, suffix: &str, content: Content) -> Self {
        // Hex digits and the suffixes of this module are always valid in a header.
        let tag = HeaderValue::try_from(format!("\"{digest}{suffix}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Self { tag, length: content.len().into(), content }
    }
}

impl Budget {
    fn take(&mut self, len: u64) -> bool {
        let fits = len <= self.each && len <= self.left;
        if fits {
            self.left -= len;
        }
        fits
    }
}

impl Shelf {
    /// Finds every blob of the cut, and reads the hot ones.
    ///
    /// # Errors
    /// [`SiteError`] if any blob is missing, has another length, or was read and is damaged.
    pub(crate) fn fill(
        store: &Store,
        manifest: &Manifest,
        options: &SiteOptions,
        previous: Option<&Self>,
    ) -> Result<Self, SiteError> {
        let mut budget = Budget { each: options.hot_bytes, left: options.hot_total };
        let mut shelf = Self::default();
        for wanted in by_demand(manifest) {
            let digest = wanted.entry.digest;
            let old = previous.and_then(|shelf| shelf.forms.get(&digest));
            shelf.forms.insert(digest, Arc::new(forms(store, &wanted, &mut budget, old)?));
        }
        shelf.memory = options.hot_total - budget.left;
        Ok(shelf)
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<&Arc<Forms>> {
        self.forms.get(digest)
    }

    /// Bytes of files held in memory, those shared with other snapshots counted in.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }
}

/// Every blob once, those that visitors fetch first in front: by kind, and small before large.
fn by_demand(manifest: &Manifest) -> Vec<Wanted<'_>> {
    let mut wanted: HashMap<Digest, Wanted<'_>> = HashMap::with_capacity(manifest.entries.len());
    for entry in &manifest.entries {
        let known = wanted.entry(entry.digest).or_insert(Wanted { entry, deflated: None });
        known.deflated = known.deflated.or(entry.deflated);
    }
    let mut wanted: Vec<_> = wanted.into_values().collect();
    wanted.sort_by_cached_key(|Wanted { entry, .. }| (rank(&entry.media), entry.size, entry.digest));
    wanted
}

/// A page asks for results, then for what draws them; images and downloads come last.
fn rank(media: &str) -> u8 {
    match media {
        "text/html" | "application/json" => 0,
        "text/css" | "text/javascript" => 1,
        _ => 2,
    }
}

fn forms(
    store: &Store,
    wanted: &Wanted<'_>,
    budget: &mut Budget,
    old: Option<&Arc<Forms>>,
) -> Result<Forms, SiteError> {
    let Wanted { entry, deflated } = wanted;
    let digest = &entry.digest;
    let missing = || SiteError::Missing { path: entry.path.clone(), digest: *digest };

    // The gzip form is the one that browsers get, so it takes from the budget first.
    let stream = if deflated.is_some() { store.blob(digest, Form::Deflate)? } else { None };
    let gzip = match (deflated, stream) {
        (Some(deflated), Some(stream)) if stream.len().saturating_add(GZIP_FRAME) < entry.size => {
            // Strong tags promise equal bytes, and another package may have deflated the same file in another way.
            let suffix = format!("-gzip-{}", stream.len());
            let packed = Packed::gzip(stream, deflated, entry.size);
            let content = place(packed, budget, old.and_then(|forms| forms.gzip.as_ref()), entry, |_| true)?;
            Some(Representation::new(digest, &suffix, content))
        }
        _ => None,
    };

    let packed = Packed::plain(store.blob(digest, Form::Identity)?.ok_or_else(missing)?);
    let true_to_name = |bytes: &[u8]| Digest::of(bytes) == *digest;
    let content = place(packed, budget, old.map(|forms| &forms.identity), entry, true_to_name)?;
    if content.len() != entry.size {
        return Err(SiteError::Damaged { path: entry.path.clone() });
    }
    Ok(Forms { identity: Representation::new(digest, "", content), gzip })
}

/// Into memory, if the budget allows it: from the previous snapshot if that has it, else from the disk.
fn place(
    packed: Packed,
    budget: &mut Budget,
    old: Option<&Representation>,
    entry: &Entry,
    whole: impl FnOnce(&[u8]) -> bool,
) -> Result<Content, SiteError> {
    if !budget.take(packed.len()) {
        return Ok(Content::Packed(packed));
    }
    match old.map(|old| &old.content) {
        Some(Content::Memory(bytes)) if bytes.len() as u64 == packed.len() => Ok(Content::Memory(bytes.clone())),
        _ => {
            let read = |source| SiteError::Read { path: entry.path.clone(), source };
            let bytes = packed.read(0..packed.len()).map_err(read)?;
            if !whole(&bytes) {
                return Err(SiteError::Damaged { path: entry.path.clone() });
            }
            Ok(Content::Memory(Bytes::from(bytes)))
        }
    }
}

//! The bytes of all files of a cut, each once, whatever paths lead to them, in every coding that they are sent in.
//!
//! What visitors fetch most (small pages and data) lies in memory within a budget, with all its codings, before the
//! flip; the rest is mapped from the packs, and gets the codings that the package did not bring once the cut is served.
//! Bytes that the previous snapshot already holds are shared with it, so two snapshots cost little more than one.

mod mend;

use std::{collections::HashMap, io, sync::Arc};

use bytes::Bytes;
use difusor_proto::{
    Digest, Manifest, Sha256,
    manifest::{Deflated, Entry},
    store::{Form as AtRest, Store},
};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::{
    block::Block,
    codings::{self, Moment},
    content::{Content, GZIP_FRAME, Place},
    digest_field::repr_digest,
    negotiate::Coding,
    site::{SiteError, SiteOptions},
};

/// Files shorter than this are sent as they are or as the package's own gzip: another coding saves a few bytes of a
/// packet.
const CODED_FROM: u64 = 512;

/// A further coding is kept if it takes off at least this part (one in so many) of the smallest form so far.
const WORTH: u64 = 25;

/// Largest file that brotli codes behind the flip: it is four times slower than Zstandard, and saves little more.
const BROTLI_UP_TO: u64 = 4 << 20;

/// Files from this size on are let go from memory once they are coded.
const RELAXED_FROM: u64 = 4 << 20;

/// One way to send a file.
#[derive(Debug, Clone)]
pub struct Form {
    /// How its bytes are coded.
    pub coding: Coding,
    /// Strong entity tag, with its quotes.
    pub tag: String,
    /// The bytes.
    pub content: Content,
    /// The file that it is a form of.
    digest: Digest,
    suffix: String,
    /// True if its fields tell its SHA-256.
    is_hashed: bool,
    /// All fields of the form, for an answer with the whole of it.
    pub whole: Block,
    /// The same without its length, for an answer with a part of it.
    pub part: Block,
    /// What a 304 carries of it.
    pub unchanged: Block,
}

/// All ways to send a file; the file's own bytes are always one of them.
#[derive(Debug)]
pub struct Forms {
    identity: Form,
    /// Smallest first.
    coded: Vec<Arc<Form>>,
}

/// The forms of every file of a cut.
#[derive(Debug, Default, Clone)]
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

impl Form {
    /// True if its fields tell its SHA-256.
    pub fn is_hashed(&self) -> bool {
        self.is_hashed
    }

    /// A form named by what it is a form of; `suffix` makes its tag differ from those of other forms.
    fn new(digest: Digest, suffix: String, coding: Coding, content: Content, sha256: Option<Sha256>) -> Self {
        let tag = format!("\"{digest}{suffix}\"");
        let unchanged = Block::new([("etag", tag.as_str())]);
        let mut part = unchanged.clone();
        if coding != Coding::Identity {
            part.push("content-encoding", coding.name());
        }
        if let Some(sha256) = &sha256 {
            part.push("repr-digest", &repr_digest(sha256.as_bytes()));
        }
        let mut whole = part.clone();
        whole.push("content-length", &content.len().to_string());
        Self { coding, tag, content, digest, suffix, is_hashed: sha256.is_some(), whole, part, unchanged }
    }

    fn identity(digest: Digest, content: Content, sha256: Sha256) -> Self {
        Self::new(digest, String::new(), Coding::Identity, content, Some(sha256))
    }

    /// A coded form: its tag says which bytes it is made of, since two packages, or two versions of this program, may
    /// have coded the same file in two ways, and a strong tag promises equal bytes.
    fn coded(digest: Digest, coding: Coding, content: Content, hash: bool) -> Self {
        let made_of = content.digest().to_string();
        let suffix = format!("-{}-{}", coding.name(), made_of.get(..16).unwrap_or_default());
        let sha256 = hash.then(|| content.sha256());
        Self::new(digest, suffix, coding, content, sha256)
    }

    /// The same form, with its digest.
    fn hashed(&self) -> Self {
        let sha256 = self.content.sha256();
        Self::new(self.digest, self.suffix.clone(), self.coding, self.content.clone(), Some(sha256))
    }
}

impl Forms {
    /// A file that has only its own bytes.
    pub(crate) fn plain(bytes: Bytes) -> Self {
        let (digest, sha256) = (Digest::of(&bytes), Sha256::of(&bytes));
        Self { identity: Form::identity(digest, Content::memory(bytes), sha256), coded: Vec::new() }
    }

    /// The file's own bytes.
    pub fn identity(&self) -> &Form {
        &self.identity
    }

    /// The other forms, smallest first.
    pub fn coded(&self) -> &[Arc<Form>] {
        &self.coded
    }

    /// The form in this coding, if there is one.
    pub fn get(&self, coding: Coding) -> Option<&Form> {
        match coding {
            Coding::Identity => Some(&self.identity),
            _ => self.coded.iter().find(|form| form.coding == coding).map(AsRef::as_ref),
        }
    }

    /// All forms.
    pub fn iter(&self) -> impl Iterator<Item = &Form> {
        self.coded.iter().map(AsRef::as_ref).chain([&self.identity])
    }

    fn new(identity: Form, mut coded: Vec<Arc<Form>>) -> Self {
        coded.sort_by_key(|form| form.content.len());
        Self { identity, coded }
    }

    /// Bytes of it that are in memory.
    pub(crate) fn memory(&self) -> u64 {
        self.iter().filter(|form| form.content.place() == Place::Memory).map(|form| form.content.len()).sum()
    }

    /// The same file with nothing in memory: its own bytes mapped, and what other forms are on disk. `None` if the store
    /// does not have it any more.
    ///
    /// # Errors
    /// What the store gives.
    pub(crate) fn cooled(&self, store: &Store, digest: &Digest) -> Result<Option<Self>, SiteError> {
        let Some(blob) = store.blob(digest, AtRest::Identity)? else { return Ok(None) };
        let content = Content::plain(&blob).map_err(SiteError::Scratch)?;
        let identity = Form { content, ..self.identity.clone() };
        let coded = self.coded.iter().filter(|form| form.content.place() != Place::Memory).map(Arc::clone).collect();
        Ok(Some(Self::new(identity, coded)))
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
    /// Finds every blob of the cut, reads the hot ones, and codes those of them that are worth it. Uses all cores.
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
        let mut planned = Vec::with_capacity(manifest.entries.len());
        for wanted in by_demand(manifest) {
            // The gzip form is the one that browsers get most, so it takes from the budget first.
            let gzip = wanted.deflated.map(|deflated| deflated.len.saturating_add(GZIP_FRAME));
            let hot_gzip = gzip.is_some_and(|len| len < wanted.entry.size && budget.take(len));
            let hot = budget.take(wanted.entry.size);
            planned.push((wanted, hot_gzip, hot));
        }
        let old = |digest: &Digest| previous.and_then(|shelf| shelf.forms.get(digest));
        let filled: Result<Vec<_>, SiteError> = planned
            .into_par_iter()
            .map(|(wanted, hot_gzip, hot)| {
                let digest = wanted.entry.digest;
                Ok((digest, Arc::new(forms(store, &wanted, (hot_gzip, hot), options, old(&digest))?)))
            })
            .collect();
        let forms: HashMap<_, _> = filled?.into_iter().collect();
        let memory = forms.values().map(|forms| forms.memory()).sum();
        Ok(Self { forms, memory })
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<&Arc<Forms>> {
        self.forms.get(digest)
    }

    /// Bytes of files held in memory, those shared with other snapshots counted in.
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }

    /// Makes what large files still lack: codings, and the digests of those they have. Gives the files that gained
    /// something. Takes seconds and one core; stops early, with what it has, when `stop` says so.
    ///
    /// # Errors
    /// What the disk gives.
    pub(crate) fn complete(
        &self,
        store: &Store,
        manifest: &Manifest,
        stop: impl Fn() -> bool,
    ) -> io::Result<HashMap<Digest, Arc<Forms>>> {
        let mut gained = HashMap::new();
        for Wanted { entry, .. } in by_demand(manifest) {
            if stop() {
                break;
            }
            let Some(forms) = self.forms.get(&entry.digest) else { continue };
            if let Some(forms) = complete(store, entry, forms)? {
                gained.insert(entry.digest, Arc::new(forms));
            }
            // All of a mapped file was read: one at a time is in memory.
            if entry.size >= RELAXED_FROM {
                store.relax()?;
            }
        }
        Ok(gained)
    }

    /// The same shelf with these forms in the place of those it has.
    pub(crate) fn with(&self, gained: HashMap<Digest, Arc<Forms>>) -> Self {
        let mut forms = self.forms.clone();
        forms.extend(gained);
        Self { forms, memory: self.memory }
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
    (hot_gzip, hot): (bool, bool),
    options: &SiteOptions,
    old: Option<&Arc<Forms>>,
) -> Result<Forms, SiteError> {
    let Wanted { entry, deflated } = wanted;
    let digest = &entry.digest;
    let missing = || SiteError::Missing { path: entry.path.clone(), digest: *digest };
    let read = |source| SiteError::Read { path: entry.path.clone(), source };
    let damaged = || SiteError::Damaged { path: entry.path.clone() };

    // What is in memory is taken from there; what is mapped is mapped anew, so that a pack that is given up is not held.
    let known = old.map(|forms| &forms.identity.content).filter(|content| hot && content.place() == Place::Memory);
    let identity = match known {
        Some(content) => content.clone(),
        None => {
            let blob = store.blob(digest, AtRest::Identity)?.ok_or_else(missing)?;
            let mapped = Content::plain(&blob).map_err(read)?;
            let content = if hot { mapped.heat() } else { mapped };
            if hot && content.digest() != *digest {
                return Err(damaged());
            }
            content
        }
    };
    if identity.len() != entry.size {
        return Err(damaged());
    }

    let known = |coding| {
        let form = old.into_iter().flat_map(|forms| &forms.coded).find(|form| form.coding == coding);
        form.filter(|form| form.content.place() != Place::Pack).map(Arc::clone)
    };
    let mut coded = Vec::new();
    if let Some(deflated) = deflated {
        let len = deflated.len.saturating_add(GZIP_FRAME);
        if let Some(form) = known(Coding::Gzip).filter(|form| hot_gzip && form.content.len() == len) {
            coded.push(form);
        } else if len < entry.size
            && let Some(stream) = store.blob(digest, AtRest::Deflate)?
        {
            let content = Content::gzip(&stream, deflated, entry.size).map_err(read)?;
            let content = if hot_gzip { content.heat() } else { content };
            coded.push(Arc::new(Form::coded(*digest, Coding::Gzip, content, hot_gzip)));
        }
    }
    let has_gzip = !coded.is_empty();
    if options.coded && entry.size >= CODED_FROM && codings::worth_coding(&entry.media) {
        let smallest = coded.first().map_or(entry.size, |form| form.content.len());
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            if coding == Coding::Gzip && (has_gzip || deflated.is_some() && hot_gzip) {
                continue;
            }
            if let Some(form) = known(coding) {
                coded.push(form);
            } else if hot
                && let Some(plain) = identity.pieces(0..entry.size).next()
                && let Some(bytes) = codings::encode(&plain, coding, Moment::BeforeFlip, worth(smallest))
            {
                coded.push(Arc::new(Form::coded(*digest, coding, Content::memory(bytes), true)));
            }
        }
    }
    Ok(Forms::new(Form::identity(*digest, identity, entry.sha256), coded))
}

/// The size below which another form is worth having.
fn worth(smallest: u64) -> u64 {
    smallest - smallest / WORTH
}

/// The forms with what they lacked; `None` if they lack nothing.
fn complete(store: &Store, entry: &Entry, forms: &Forms) -> io::Result<Option<Forms>> {
    let mut changed = false;
    let mut coded: Vec<Arc<Form>> = Vec::new();
    for form in &forms.coded {
        changed |= !form.is_hashed;
        coded.push(if form.is_hashed { Arc::clone(form) } else { Arc::new(form.hashed()) });
    }
    let content = &forms.identity.content;
    let is_bulk = content.place() != Place::Memory && entry.size >= CODED_FROM;
    if is_bulk && codings::worth_coding(&entry.media) {
        let plain = content.pieces(0..entry.size).next().unwrap_or_default();
        for coding in [Coding::Gzip, Coding::Zstd, Coding::Brotli] {
            let has = coded.iter().any(|form| form.coding == coding);
            if has || (coding == Coding::Brotli && entry.size > BROTLI_UP_TO) {
                continue;
            }
            let smallest = coded.iter().map(|form| form.content.len()).min().unwrap_or(entry.size);
            if let Some(bytes) = codings::encode(&plain, coding, Moment::Behind, worth(smallest)) {
                let mut scratch = store.scratch()?;
                scratch.put(&bytes)?;
                let content = Content::scratch(scratch.finish()?);
                coded.push(Arc::new(Form::coded(entry.digest, coding, content, true)));
                changed = true;
            }
        }
    }
    let identity = || Form::identity(entry.digest, content.clone(), entry.sha256);
    Ok(changed.then(|| Forms::new(identity(), coded)))
}

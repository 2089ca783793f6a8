//! One cut, ready to be served: an immutable snapshot from addresses to files.
//!
//! Owns the rules that turn the names of a manifest into addresses, and everything about a response that can be made
//! before the request. A snapshot exists only if every byte of the cut is here: a cut that is not complete cannot be
//! served, not even in part. Nothing in it changes after it was built; serving another cut means another snapshot.
//!
//! Addresses of a cut: each file under its own name; a file `index.html` under the name of its folder with a slash at
//! the end as well, to which the name without the slash leads. Names below [`wellknown::FOLDER`] are the node's: a file
//! of the package there is not shown, since it could pass for a proof.

use std::{collections::HashMap, io, sync::Arc};

use difusor_proto::{CutKey, Digest, Manifest, Signed, SitePath, VerifyingKey, store::Store, store::StoreError};
use http::HeaderValue;
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};

use crate::{
    address,
    shelf::{Forms, Shelf},
    wellknown,
};

#[cfg(test)]
pub(crate) mod fixture;

/// How long an answer may be used without asking again.
///
/// Cuts come at least three minutes apart, and a visitor must never see one for much longer than another does: a
/// quarter of a minute keeps that small, while a cache in front still takes nearly all of a flood.
pub(crate) const CACHE_CONTROL: &str = "public, max-age=15, must-revalidate";

/// The file that a folder's address stands for.
const INDEX: &str = "index.html";

/// What a snapshot needs beside the cut.
#[derive(Debug, Clone)]
pub struct SiteOptions {
    /// The key that nodes pin, published so that anyone can check the cut.
    pub key: VerifyingKey,
    /// Largest body kept in memory, in bytes.
    pub hot_bytes: u64,
    /// Most bytes of bodies kept in memory by one snapshot.
    pub hot_total: u64,
}

impl SiteOptions {
    /// The defaults: half of the files of real sites have less than 1 KB, and a whole site without its downloads fits
    /// into the total.
    pub fn new(key: VerifyingKey) -> Self {
        Self { key, hot_bytes: 64 << 10, hot_total: 64 << 20 }
    }
}

/// Why there is no snapshot of a cut.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The cut is not complete here.
    #[error("`{path}` is not in the store (blob {digest})")]
    Missing {
        /// The first file without bytes.
        path: SitePath,
        /// The blob it needs.
        digest: Digest,
    },
    /// Bytes at rest are not those of the manifest.
    #[error("`{path}` is damaged in the store")]
    Damaged {
        /// The file.
        path: SitePath,
    },
    /// A file could not be read.
    #[error("`{path}`: {source}")]
    Read {
        /// The file.
        path: SitePath,
        /// What the disk said.
        source: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Key, signed bytes and manifest are not of one cut.
    #[error("the manifest is not the one of cut {0}")]
    OtherCut(u64),
    /// Something of the manifest cannot stand in a header.
    #[error("`{0}` has a media type that is none")]
    Media(SitePath),
    /// The document about the cut could not be written.
    #[error("the description of the cut: {0}")]
    Document(#[from] serde_json::Error),
}

/// A file at an address: its forms, and the header values that depend on the address.
#[derive(Debug)]
pub struct Entity {
    /// `Content-Type`.
    pub media: HeaderValue,
    /// `Cache-Control`.
    pub cache: HeaderValue,
    /// What can be sent.
    pub forms: Arc<Forms>,
}

/// What an address leads to.
#[derive(Debug, Clone)]
pub enum Route {
    /// A file.
    File(Arc<Entity>),
    /// A folder whose address lacks the slash at its end; the `Location` that has it.
    Folder(HeaderValue),
}

/// The snapshot.
#[derive(Debug)]
pub struct Site {
    cut: CutKey,
    name: HeaderValue,
    modified: HeaderValue,
    routes: HashMap<Box<str>, Route>,
    shelf: Shelf,
}

impl Site {
    /// Builds the snapshot of a cut of which every blob is in the store. `manifest` is what `signed` says, verified
    /// by the caller. Blocks: reads what is to be kept in memory, unless `previous` has it.
    ///
    /// # Errors
    /// [`SiteError`]; there is no such thing as a partial snapshot.
    pub fn build(
        store: &Store,
        cut: CutKey,
        signed: &Signed<Manifest>,
        manifest: &Manifest,
        options: &SiteOptions,
        previous: Option<&Self>,
    ) -> Result<Self, SiteError> {
        if Digest::of(signed.bytes()) != cut.root || (manifest.seq, manifest.label) != (cut.seq, cut.label) {
            return Err(SiteError::OtherCut(cut.seq));
        }
        let shelf = Shelf::fill(store, manifest, options, previous.map(|site| &site.shelf))?;
        let mut routes = HashMap::with_capacity(manifest.entries.len().saturating_mul(2));
        let mut medias = HashMap::new();
        for entry in &manifest.entries {
            let forms = shelf.get(&entry.digest).filter(|forms| forms.identity.content.len() == entry.size);
            let forms = forms.ok_or_else(|| SiteError::Damaged { path: entry.path.clone() })?;
            // A site has a few media types and thousands of files: they share the values.
            let media = match medias.get(entry.media.as_str()) {
                Some(media) => HeaderValue::clone(media),
                None => {
                    let media = HeaderValue::from_str(&entry.media);
                    let media = media.map_err(|_| SiteError::Media(entry.path.clone()))?;
                    medias.insert(entry.media.as_str(), media.clone());
                    media
                }
            };
            if entry.path.as_str().starts_with(wellknown::FOLDER) {
                continue;
            }
            let cache = HeaderValue::from_static(CACHE_CONTROL);
            let entity = Arc::new(Entity { media, cache, forms: Arc::clone(forms) });
            add_folder(&mut routes, entry.path.as_str(), &entity);
            routes.insert(entry.path.as_str().into(), Route::File(entity));
        }
        for (name, entity) in wellknown::documents(cut, signed, manifest, &options.key)? {
            routes.insert(name.into(), Route::File(Arc::new(entity)));
        }
        let name = format!("{}/{}", cut.label, cut.seq);
        let name = HeaderValue::try_from(name).map_err(|_| SiteError::OtherCut(cut.seq))?;
        Ok(Self { cut, name, modified: modified(manifest.accepted_ms), routes, shelf })
    }

    /// Which cut this is.
    pub fn cut(&self) -> CutKey {
        self.cut
    }

    /// What the path of a request leads to; `None` if nothing of this cut is there.
    pub fn find(&self, path: &str) -> Option<&Route> {
        self.routes.get(address::decode(path)?.as_ref())
    }

    /// The label and number of the cut, as every answer from it carries them.
    pub fn name(&self) -> &HeaderValue {
        &self.name
    }

    /// When the cut came to be: `Last-Modified` of all its files.
    pub fn modified(&self) -> &HeaderValue {
        &self.modified
    }

    /// Addresses of this cut.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// True if the cut has no address at all, which no cut that was built is.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Bytes of bodies held in memory, those shared with other snapshots counted in.
    pub fn memory(&self) -> u64 {
        self.shelf.memory()
    }
}

/// The addresses that an index document has as its folder. A file with the folder's own name keeps its address.
fn add_folder(routes: &mut HashMap<Box<str>, Route>, name: &str, index: &Arc<Entity>) {
    let Some(folder) = name.strip_suffix(INDEX).filter(|folder| folder.is_empty() || folder.ends_with('/')) else {
        return;
    };
    routes.insert(folder.into(), Route::File(Arc::clone(index)));
    if let Some(bare) = folder.strip_suffix('/')
        && let Ok(location) = HeaderValue::try_from(address::encode(folder))
    {
        routes.entry(bare.into()).or_insert(Route::Folder(location));
    }
}

/// A date as HTTP writes it (RFC 9110 section 5.6.7).
fn modified(unix_ms: u64) -> HeaderValue {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap_or_default();
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

#[cfg(test)]
mod tests;

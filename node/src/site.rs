//! One cut, ready to be served: an immutable snapshot from addresses to files.
//!
//! Owns the rules that turn the names of a manifest into addresses, and everything about a response that can be made
//! before the request. A snapshot exists only if every byte of the cut is here: a cut that is not complete cannot be
//! served, not even in part. Nothing in it changes after it was built; serving another cut means another snapshot.
//!
//! Addresses of a cut: each file under its own name; a file `index.html` under the name of its folder with a slash at
//! the end as well, to which the name without the slash leads; and the files of earlier cuts whose names this one does
//! not have ([`past`](Site::find)), so that a download or a page that outlives its cut does not break. Names below
//! [`wellknown::FOLDER`] are the node's: a file of the package there is not shown, since it could pass for a proof.

mod mend;

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
};

use difusor_proto::{CutKey, Digest, Manifest, Signed, SitePath, VerifyingKey, store::Store, store::StoreError};

use crate::{
    address,
    admission::overload::Rank,
    block::Block,
    pages::EXPOSED,
    policy::Policy,
    respond::Part,
    shelf::{Forms, Shelf},
    tick::{self, Class, http_date},
    wellknown,
};

#[cfg(test)]
pub(crate) mod fixture;

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
    /// Whether to make codings that the package did not bring.
    pub coded: bool,
    /// The UDP port of HTTP/3, to be announced (RFC 7838).
    pub http3: Option<u16>,
    /// What the operator decides.
    pub policy: Arc<Policy>,
}

impl SiteOptions {
    /// The defaults: half of the files of real sites have less than 1 KB, and a whole site without its downloads fits
    /// into the total.
    pub fn new(key: VerifyingKey) -> Self {
        Self { key, hot_bytes: 64 << 10, hot_total: 64 << 20, coded: true, http3: None, policy: Arc::default() }
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
    /// Room for what is made behind the flip.
    #[error("coding large files: {0}")]
    Scratch(#[from] io::Error),
    /// The document about the cut could not be written.
    #[error("the description of the cut: {0}")]
    Document(#[from] serde_json::Error),
}

/// What all files of a media type share.
#[derive(Debug)]
pub struct Media {
    /// `Content-Type`, and for pages who may embed them.
    pub fields: Block,
    /// The type itself.
    pub name: String,
    /// True if files of this type may come in several codings.
    pub varies: bool,
    /// What files of this type are for those that follow them.
    pub part: Part,
}

/// A file at an address.
#[derive(Debug, Clone)]
pub struct Entity {
    /// Its media type.
    pub media: Arc<Media>,
    /// How caches may treat it.
    pub class: Class,
    /// How soon it is needed (RFC 9218).
    pub urgency: u8,
    /// What can be sent.
    pub forms: Arc<Forms>,
    digest: Digest,
}

/// What all answers from a cut share.
#[derive(Debug)]
pub struct About {
    /// The cut.
    pub cut: CutKey,
    /// `Last-Modified` of all its files, Unix seconds.
    pub modified: u64,
    /// The field that names the cut.
    pub name: Block,
    /// The fields, for what comes in one form.
    pub fields: Block,
    /// The same with `Vary: accept-encoding`.
    pub varied: Block,
}

impl Entity {
    /// The digest of its own bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl About {
    /// The fields for this file.
    pub fn of(&self, entity: &Entity) -> &Block {
        // A package may have deflated what is of no type that is worth coding.
        if entity.media.varies || !entity.forms.coded().is_empty() { &self.varied } else { &self.fields }
    }
}

/// What an address leads to.
#[derive(Debug, Clone)]
pub enum Route {
    /// A file.
    File(Arc<Entity>),
    /// A folder whose address lacks the slash at its end; the fields with the `Location` that has it.
    Folder(Arc<str>),
    /// A file whose bytes the disk has spoiled, until they are fetched again. What is left of it is never sent.
    Withheld(Arc<Entity>),
}

/// What was found at an address, and in which cut.
#[derive(Debug)]
pub struct Found<'a> {
    /// What it leads to.
    pub route: &'a Route,
    /// The cut that it is from.
    pub about: &'a Arc<About>,
}

/// The part of what may be in memory that the files of earlier cuts may have of it, one in so many: they are asked for
/// seldom.
const PAST: u64 = 4;

/// The snapshot.
#[derive(Debug)]
pub struct Site {
    about: Arc<About>,
    /// What the coordinator signed.
    signed: Arc<Signed<Manifest>>,
    routes: HashMap<Box<[u8]>, Route>,
    /// Files of earlier cuts under names that this one does not have.
    past: HashMap<Box<[u8]>, (Route, Arc<About>)>,
    /// The cuts that are addressable, oldest first, this one last.
    cuts: VecDeque<CutKey>,
    shelf: Shelf,
    /// True once nothing is left to be made behind the flip.
    is_finished: bool,
    /// False after a start, until it was told of the cuts that were served before.
    knows_past: bool,
}

impl Site {
    /// Builds the snapshot of a cut of which every blob is in the store. `manifest` is what `signed` says, verified
    /// by the caller. Takes over what `previous` has, and what it knows of the past, unless it is of the same cut.
    /// Blocks: reads and codes what is to be kept in memory.
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
        let about = Arc::new(about(cut, manifest, options));
        let mut routes = HashMap::with_capacity(manifest.entries.len().saturating_mul(2));
        let mut medias: HashMap<&str, Arc<Media>> = HashMap::new();
        for entry in &manifest.entries {
            let forms = shelf.get(&entry.digest);
            let forms = forms.ok_or_else(|| SiteError::Damaged { path: entry.path.clone() })?;
            // A site has a few media types and thousands of files: they share the values.
            let media = match medias.get(entry.media.as_str()) {
                Some(media) => Arc::clone(media),
                None => {
                    let media = media(&entry.media, &options.policy);
                    let media = Arc::new(media.ok_or_else(|| SiteError::Media(entry.path.clone()))?);
                    medias.insert(&entry.media, Arc::clone(&media));
                    media
                }
            };
            let name = entry.path.as_str();
            if name.starts_with(wellknown::FOLDER) {
                continue;
            }
            let class = tick::class(name, &entry.media);
            let urgency = urgency(&media.name);
            let entity = Entity { media, class, urgency, forms: Arc::clone(forms), digest: entry.digest };
            let entity = Arc::new(entity);
            add_folder(&mut routes, name, &entity, options.policy.folder());
            routes.insert(name.as_bytes().into(), Route::File(entity));
        }
        for (name, media, bytes) in wellknown::documents(cut, signed, manifest, &options.key)? {
            let media = media_of_node(media);
            let digest = Digest::of(&bytes);
            let forms = Arc::new(Forms::plain(bytes.into()));
            let entity = Entity { media, class: Class::Proof, urgency: urgency(""), forms, digest };
            routes.insert(name.into_bytes().into(), Route::File(Arc::new(entity)));
        }
        let mut site = Self {
            about,
            signed: Arc::new(signed.clone()),
            routes,
            past: HashMap::new(),
            cuts: VecDeque::from([cut]),
            shelf,
            is_finished: false,
            knows_past: previous.is_some_and(|site| site.knows_past),
        };
        if let Some(previous) = previous {
            site.remember(previous, store, options)?;
        }
        Ok(site)
    }

    /// The same with the past that `older` knows, beneath what this one knows of it: after a start, a node serves before
    /// it has looked at the cuts that were served earlier.
    ///
    /// # Errors
    /// [`SiteError`]; this snapshot goes on being good.
    pub fn with_past(&self, older: Option<&Self>, store: &Store, options: &SiteOptions) -> Result<Self, SiteError> {
        let mut site = Self {
            about: Arc::clone(&self.about),
            signed: Arc::clone(&self.signed),
            routes: self.routes.clone(),
            past: self.past.clone(),
            cuts: self.cuts.clone(),
            shelf: self.shelf.clone(),
            is_finished: self.is_finished,
            knows_past: true,
        };
        if let Some(older) = older {
            site.remember(older, store, options)?;
        }
        Ok(site)
    }

    /// False until it was told of the cuts that were served before.
    pub fn knows_past(&self) -> bool {
        self.knows_past
    }

    /// Which cut this is.
    pub fn cut(&self) -> CutKey {
        self.about.cut
    }

    /// What the coordinator signed of it.
    pub fn signed(&self) -> &Signed<Manifest> {
        &self.signed
    }

    /// What all answers from this cut share.
    pub fn about(&self) -> &Arc<About> {
        &self.about
    }

    /// What a name leads to: in this cut, or in the newest of those before that has it. `None` if nothing is there.
    pub fn find(&self, name: &[u8]) -> Option<Found<'_>> {
        if let Some(route) = self.routes.get(name) {
            return Some(Found { route, about: &self.about });
        }
        let (route, about) = self.past.get(name)?;
        Some(Found { route, about })
    }

    /// What this cut has under exactly this name.
    pub fn route(&self, name: &str) -> Option<&Route> {
        self.routes.get(name.as_bytes())
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

    /// The cuts that are addressable, oldest first, this one last.
    pub fn cuts(&self) -> impl Iterator<Item = &CutKey> {
        self.cuts.iter()
    }

    /// True once everything was made that may be made behind the flip.
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// The same cut with everything that may be made behind the flip. Takes seconds and one core, and gives up when `stop` says so.
    ///
    /// # Errors
    /// [`SiteError`]; this snapshot goes on being good.
    pub fn finish(
        &self,
        store: &Store,
        manifest: &Manifest,
        options: &SiteOptions,
        stop: impl Fn() -> bool,
    ) -> Result<Self, SiteError> {
        let gained = if options.coded { self.shelf.complete(store, manifest, &stop)? } else { HashMap::new() };
        let mut routes = self.routes.clone();
        for route in routes.values_mut() {
            if let Route::File(entity) = route
                && let Some(forms) = gained.get(&entity.digest)
            {
                *route = Route::File(Arc::new(Entity { forms: Arc::clone(forms), ..Entity::clone(entity) }));
            }
        }
        Ok(Self {
            about: Arc::clone(&self.about),
            signed: Arc::clone(&self.signed),
            routes,
            past: self.past.clone(),
            cuts: self.cuts.clone(),
            shelf: self.shelf.with(gained),
            is_finished: !stop(),
            knows_past: self.knows_past,
        })
    }

    /// Makes what `before` has and this cut has not addressable, as many cuts back as the policy says, and learns from it
    /// which names do not change with their bytes.
    fn remember(&mut self, before: &Self, store: &Store, options: &SiteOptions) -> Result<(), SiteError> {
        self.distrust(before);
        let mut cuts = before.cuts.clone();
        // Built again, or after a rollback, a cut may be among them.
        cuts.retain(|cut| !self.cuts.contains(cut));
        cuts.append(&mut self.cuts);
        let beyond = cuts.len().saturating_sub(options.policy.keep.max(1));
        cuts.drain(..beyond);
        let is_kept = |about: &About| cuts.contains(&about.cut) && about.cut != self.cut();
        let own = before.routes.iter().map(|(name, route)| (name, route, &before.about));
        let past =
            [&before.past, &self.past].map(|past| past.iter().map(|(name, (route, about))| (name, route, about)));
        let [older, newer] = past;
        let kept = older.chain(own).chain(newer);
        let kept = kept.filter(|(name, _, about)| is_kept(about) && !self.routes.contains_key(*name));
        let mut past: HashMap<Box<[u8]>, (Route, Arc<About>)> =
            kept.map(|(name, route, about)| (name.clone(), (route.clone(), Arc::clone(about)))).collect();
        cool(&mut past, store, options.hot_total / PAST)?;
        (self.past, self.cuts) = (past, cuts);
        Ok(())
    }

    /// A name that had other bytes before does not change with them, whatever it looks like, and may have others again.
    fn distrust(&mut self, before: &Self) {
        let known = |name: &[u8]| match before.routes.get(name).or(before.past.get(name).map(|(route, _)| route)) {
            Some(Route::File(entity)) => Some(entity),
            _ => None,
        };
        for (name, route) in &mut self.routes {
            if let Route::File(entity) = route
                && entity.class == Class::Hashed
                && known(name).is_some_and(|known| known.digest != entity.digest || known.class == Class::Results)
            {
                *route = Route::File(Arc::new(Entity { class: Class::Results, ..Entity::clone(entity) }));
            }
        }
    }
}

/// Maps what of the past is in memory beyond `budget` bytes, the oldest cuts first.
fn cool(past: &mut HashMap<Box<[u8]>, (Route, Arc<About>)>, store: &Store, budget: u64) -> Result<(), SiteError> {
    let mut hot: Vec<_> = past
        .values_mut()
        .filter_map(|(route, about)| match route {
            Route::File(entity) if entity.forms.memory() > 0 => Some((about.cut.seq, entity)),
            _ => None,
        })
        .collect();
    hot.sort_by_key(|(seq, entity)| (std::cmp::Reverse(*seq), entity.digest));
    let (mut left, mut last) = (budget, None);
    for (_, entity) in hot {
        // Addresses share their files.
        let is_known = last.replace(entity.digest) == Some(entity.digest);
        match left.checked_sub(if is_known { 0 } else { entity.forms.memory() }) {
            Some(rest) => left = rest,
            None => {
                left = 0;
                let Some(forms) = entity.forms.cooled(store, &entity.digest)? else { continue };
                *entity = Arc::new(Entity { forms: Arc::new(forms), ..Entity::clone(entity) });
            }
        }
    }
    Ok(())
}

/// The addresses that an index document has as its folder. A file with the folder's own name keeps its address.
fn add_folder(routes: &mut HashMap<Box<[u8]>, Route>, name: &str, index: &Arc<Entity>, mount: &str) {
    let Some(folder) = name.strip_suffix(INDEX).filter(|folder| folder.is_empty() || folder.ends_with('/')) else {
        return;
    };
    routes.insert(folder.as_bytes().into(), Route::File(Arc::clone(index)));
    if let Some(bare) = folder.strip_suffix('/') {
        // Only names of the manifest get here, so the target is always of this site.
        let location = address::encode(&format!("{mount}{folder}"));
        routes.entry(bare.as_bytes().into()).or_insert(Route::Folder(location.into()));
    }
}

/// The fields that every answer from a cut has.
fn about(cut: CutKey, manifest: &Manifest, options: &SiteOptions) -> About {
    let modified = http_date(manifest.accepted_ms);
    let name = format!("{}/{}", cut.label, cut.seq);
    let name = Block::new([("difusor-cut", name.as_str())]);
    let mut fields = name.clone();
    for (name, value) in [
        ("last-modified", modified.as_str()),
        ("accept-ranges", "bytes"),
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", EXPOSED),
        ("x-content-type-options", "nosniff"),
    ] {
        fields.push(name, value);
    }
    if let Some(port) = options.http3 {
        fields.push("alt-svc", &format!("h3=\":{port}\"; ma=86400"));
    }
    if let Some(value) = options.policy.strict_transport_security() {
        fields.push("strict-transport-security", &value);
    }
    let mut varied = fields.clone();
    varied.push("vary", "accept-encoding");
    About { cut, modified: manifest.accepted_ms / 1000, name, fields, varied }
}

/// The values of a media type; `None` if it cannot stand in a field.
fn media(name: &str, policy: &Policy) -> Option<Media> {
    if name.is_empty() || !name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return None;
    }
    let part = match name {
        "text/html" => Part::Page,
        "text/css" | "text/javascript" => Part::Asking,
        _ => Part::Other,
    };
    let mut fields = Block::new([("content-type", name)]);
    // Nobody's permission is everybody's, if it is not said; and `*` says what is so without it.
    if part == Part::Page && policy.embed != ["*"] {
        let sources = if policy.embed.is_empty() { "'none'".to_owned() } else { policy.embed.join(" ") };
        fields.push("content-security-policy", &format!("frame-ancestors {sources}"));
    }
    Some(Media { fields, name: name.to_owned(), varies: crate::codings::worth_coding(name), part })
}

/// The same for the node's own documents.
fn media_of_node(name: &str) -> Arc<Media> {
    let fields = Block::new([("content-type", name)]);
    Arc::new(Media { fields, name: name.to_owned(), varies: false, part: Part::Other })
}

impl Entity {
    /// What it is worth when not everything can be given.
    pub(crate) fn rank(&self) -> Rank {
        match self.urgency {
            0..=2 => Rank::Results,
            3..=5 => Rank::Assets,
            _ => Rank::Bulk,
        }
    }
}

/// Pages and what draws them first, data next, downloads last (RFC 9218 section 4.1).
fn urgency(media: &str) -> u8 {
    match media {
        "text/html" | "text/css" => 1,
        "text/javascript" | "application/json" => 2,
        "text/csv" | "application/zip" | "application/octet-stream" | "video/mp4" => 6,
        _ => 4,
    }
}

#[cfg(test)]
mod tests;

//! What to answer: a function of the snapshot, the operator's policy, the time, and the head of a request.
//!
//! Read from top to bottom, the first answer wins: methods that only a writer needs, another site's name, no cut yet, no
//! such address, a folder without its slash, no acceptable form, a condition that does not hold, a form that the client
//! has, a part, the whole. No clock, no socket, no counter; nothing is compressed, hashed, or read from a disk.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use difusor_proto::{CutKey, Digest};

use crate::{
    address,
    admission::overload::Rank,
    block::Block,
    body::Body,
    conditional::{self, Precondition, tag},
    digest_field::{Wanted, wanted},
    engine::Sink,
    head::{Head, Lines, Method},
    health::page::Document,
    negotiate::{self, Coding},
    pages::{Kind, Pages},
    policy::Policy,
    range::{self, Ranges, multipart},
    shelf::Form,
    site::{About, Entity, Route, Site},
    tick::{Class, Tick},
    wellknown,
};

/// Seconds after which a busy node may be asked again: at least, and how much more at most.
const AGAIN: (u64, u64) = (5, 10);

/// What answers follow from, beside the request.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The snapshot; `None` before the first cut.
    pub site: Option<&'a Site>,
    /// What the operator decides.
    pub policy: &'a Policy,
    /// The fields of this second.
    pub tick: &'a Tick,
    /// The pages of errors.
    pub pages: &'a Pages,
    /// True if another cut is current by now: what is given goes on belonging to a page, and is not to be kept for others.
    pub superseded: bool,
    /// Answers of this rank, and those behind it, are not given now.
    pub gives_up: Option<Rank>,
    /// How the node is, for whoever asks.
    pub health: &'a Document,
    /// Decides between the lifetimes of results: the same for requests of one connection in one second, so that HEAD
    /// and GET agree.
    pub seed: u64,
}

/// What became of a request, for those who count and remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The status.
    pub status: u16,
    /// The file that was given whole, or that the client has; `None` for everything else.
    pub given: Option<Given>,
    /// What the file is worth that was given, or given up; `None` if there is none.
    pub rank: Option<Rank>,
}

impl Outcome {
    fn of(status: u16) -> Self {
        Self { status, given: None, rank: None }
    }
}

/// A file, as far as those who remember need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// The cut that it is from, which need not be the current one.
    pub cut: CutKey,
    /// Its bytes.
    pub digest: Digest,
    /// What it is.
    pub part: Part,
}

/// What a file is for those that follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A page.
    Page,
    /// What asks for more by itself: styles and scripts.
    Asking,
    /// Anything else.
    Other,
}

/// Writes the head of the answer to one request, and gives its body.
pub fn respond(scene: &Scene<'_>, head: &Head<'_>, sink: &mut dyn Sink) -> (Body, Outcome) {
    match head.method {
        Method::Get | Method::Head => {}
        Method::Options => return options(scene, head, sink),
        Method::Other => return page(scene, Kind::MethodNotAllowed, head, sink),
    }
    // Balancers ask for an address, whatever the host is called.
    if is_health(scene, head.path) {
        sink.head(scene.health.status, &[&scene.health.fields, scene.tick.block(Class::Never, scene.seed)]);
        let body = if head.method == Method::Head { Body::empty() } else { Body::new(scene.health.body.clone()) };
        return (body, Outcome::of(scene.health.status));
    }
    if !scene.policy.is_host(head.authority) {
        return page(scene, Kind::Misdirected, head, sink);
    }
    let Some(site) = scene.site else { return page(scene, Kind::NoCut, head, sink) };
    match find(site, scene.policy, head.path) {
        None if scene.policy.is_bare_mount(head.path) => {
            let location = address::encode(scene.policy.folder());
            folder(scene, site.about(), &location, head, sink)
        }
        None => page(scene, Kind::NotFound, head, sink),
        Some((Route::Withheld(_), about)) => page_of(scene, Some(about), Kind::Withheld, head, sink),
        Some((Route::Folder(location), about)) => folder(scene, about, location, head, sink),
        Some((Route::File(entity), about)) => file(scene, about, entity, head, sink),
    }
}

/// True if this path is that of the node's health: the one of the site, if it has such a file, comes first.
fn is_health(scene: &Scene<'_>, path: &[u8]) -> bool {
    match path {
        b"/.well-known/difusor/health" => true,
        b"/health" => scene.site.is_none_or(|site| !matches!(site.route("health"), Some(Route::File(_)))),
        _ => false,
    }
}

/// True if anything but a page of an error is the answer to this path.
pub(crate) fn has(site: &Site, policy: &Policy, path: &[u8]) -> bool {
    find(site, policy, path).is_some()
}

/// What an address leads to, and in which cut: a file, then the page of an application that makes up its addresses.
fn find<'a>(site: &'a Site, policy: &Policy, path: &[u8]) -> Option<(&'a Route, &'a About)> {
    let path = address::decode(path)?;
    let is_proof = path.starts_with(wellknown::FOLDER.as_bytes());
    // The proofs stay where RFC 8615 wants them, and are below the mount as well.
    let name = match path.strip_prefix(policy.folder().as_bytes()) {
        Some(name) => name,
        None if is_proof => &path,
        None => return None,
    };
    if let Some(found) = site.find(name) {
        return Some((found.route, found.about));
    }
    let fallback = policy.fallback.iter().find(|fallback| name.starts_with(fallback.folder().as_bytes()))?;
    // What looks like a file is one that is not there: a script in the place of a page would only hide the error. And
    // nobody makes up a proof.
    let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if last.contains(&b'.') || name.starts_with(wellknown::FOLDER.as_bytes()) {
        return None;
    }
    Some((site.route(&fallback.page)?, site.about()))
}

/// The page that this path leads to, if it is one.
pub(crate) fn page_at(site: &Site, policy: &Policy, path: &[u8]) -> Option<Digest> {
    match find(site, policy, path)? {
        (Route::File(entity), _) if entity.media.part == Part::Page => Some(*entity.digest()),
        _ => None,
    }
}

/// A folder's address without its slash: for good and with the same method (RFC 9110 section 15.4.9). What a page reads
/// from its own query stays with it.
fn folder(scene: &Scene<'_>, about: &About, to: &str, head: &Head<'_>, sink: &mut dyn Sink) -> (Body, Outcome) {
    let query = head.query.unwrap_or_default();
    let location = if query.is_empty() { to.to_owned() } else { format!("{to}?{}", address::encode_query(query)) };
    let to = Block::new([("location", location.as_str()), ("content-length", "0")]);
    sink.head(308, &[&about.fields, &to, scene.tick.block(Class::Results, scene.seed)]);
    (Body::empty(), Outcome::of(308))
}

fn file(scene: &Scene<'_>, about: &About, entity: &Entity, head: &Head<'_>, sink: &mut dyn Sink) -> (Body, Outcome) {
    let Some(form) = choose(entity, head) else { return page_of(scene, Some(about), Kind::NotAcceptable, head, sink) };
    let fields = about.of(entity);
    let given = |status| Outcome {
        status,
        given: Some(Given { cut: about.cut, digest: *entity.digest(), part: entity.media.part }),
        rank: Some(entity.rank()),
    };
    // What a page has of a cut that was replaced is its own: nobody else may be given it, and it asks again itself.
    let class = match entity.class {
        Class::Results if scene.superseded => Class::Proof,
        class => class,
    };
    // The files of a page are not all due at once, wherever they are kept.
    let life = scene.tick.block(class, scene.seed.wrapping_add(spread(entity)));
    match conditional::evaluate(head, form.tag.as_bytes(), about.modified, |_| false) {
        Precondition::Proceed => {}
        Precondition::NotModified => {
            sink.head(304, &[fields, &form.unchanged, life]);
            return (Body::empty(), given(304));
        }
        Precondition::Failed => return page_of(scene, Some(about), Kind::PreconditionFailed, head, sink),
    }
    // Whoever has it, or only asks about it, costs nothing.
    if head.method == Method::Get && scene.gives_up.is_some_and(|least| entity.rank() >= least) {
        return busy(scene, about, entity.rank(), sink);
    }
    if head.method == Method::Get
        && !head.range.is_empty()
        && range::applies(&head.if_range, form.tag.as_bytes(), about.modified, has_one_form(entity))
        && conditional::continues(head, about.modified)
    {
        match range::select(&head.range, form.content.len()) {
            Ranges::All => {}
            Ranges::Unsatisfiable => return unsatisfiable(scene, fields, form, sink),
            Ranges::One(part) => return ranked(partial(fields, entity, form, &part, life, sink), entity),
            Ranges::Many(parts) => return ranked(parted(fields, entity, form, &parts, life, sink), entity),
        }
    }
    sink.head(200, &[fields, &entity.media.fields, &form.whole, life]);
    let body = match head.method {
        Method::Head => Body::empty(),
        _ => Body::part(&form.content, 0..form.content.len()),
    };
    (body.with_urgency(entity.urgency), given(200))
}

/// 503: something else comes first now (RFC 9110 section 15.6.4). Not all come back in the same second.
fn busy(scene: &Scene<'_>, about: &About, rank: Rank, sink: &mut dyn Sink) -> (Body, Outcome) {
    let page = scene.pages.get(Kind::Busy);
    let seconds = (AGAIN.0 + scene.seed % AGAIN.1).to_string();
    let when = Block::new([("retry-after", seconds.as_str())]);
    sink.head(page.status, &[&page.fields, &when, scene.tick.block(page.class, scene.seed), &about.name]);
    (Body::new(page.html.clone()), Outcome { rank: Some(rank), ..Outcome::of(page.status) })
}

/// True if the file has no other form than its own bytes, and never gets one.
fn has_one_form(entity: &Entity) -> bool {
    entity.forms.coded().is_empty() && !entity.media.varies
}

/// A number that differs from file to file.
fn spread(entity: &Entity) -> u64 {
    entity.digest().as_bytes().first().copied().map_or(0, u64::from)
}

/// The form to send (RFC 9110 section 12.5.3): of those that the client accepts most, the smallest; but one that it says
/// it has, or has a part of, before those. `None` if it refuses all there is.
fn choose<'a>(entity: &'a Entity, head: &Head<'_>) -> Option<&'a Form> {
    let forms = &entity.forms;
    if forms.coded().is_empty() {
        // Unsaid is fine, and so is nearly everything that is said.
        let accepted = negotiate::accepted(&head.accept_encoding);
        return (accepted.weight(Coding::Identity) > 0).then_some(forms.identity());
    }
    let accepted = negotiate::accepted(&head.accept_encoding);
    // Whoever wants a digest gets a form that has one (RFC 9530 section 4): behind a flip some have not yet.
    let wants_hash = wanted(&head.want_repr_digest) == Wanted::Sha256;
    let acceptable =
        || forms.iter().filter(|form| accepted.weight(form.coding) > 0 && (form.is_hashed() || !wants_hash));
    let named = [&head.if_none_match, &head.if_match, &head.if_range];
    if named.iter().any(|lines| !lines.is_empty()) {
        // `*` names none.
        let is_any = |lines: &Lines<'_>| lines.iter().any(|line| line.trim_ascii() == b"*");
        let is_named = |lines: &Lines<'_>, form: &Form| {
            !lines.is_empty() && !is_any(lines) && tag::lists_weakly(lines, form.tag.as_bytes(), |_| false)
        };
        let known = acceptable().find(|form| named.iter().any(|lines| is_named(lines, form)));
        if known.is_some() {
            return known;
        }
    }
    // Forms come smallest first, and the first of the best is kept.
    acceptable().fold(None, |best: Option<&Form>, form| match best {
        Some(best) if accepted.weight(best.coding) >= accepted.weight(form.coding) => Some(best),
        _ => Some(form),
    })
}

/// Nothing of what is asked for is there (RFC 9110 section 15.5.17). A cache that kept this could give it to those who
/// ask for the whole.
fn unsatisfiable(scene: &Scene<'_>, fields: &Block, form: &Form, sink: &mut dyn Sink) -> (Body, Outcome) {
    let range = range::unsatisfied(form.content.len());
    let range = Block::new([("content-range", range.as_str()), ("content-length", "0")]);
    sink.head(416, &[fields, &form.unchanged, &range, scene.tick.block(Class::Never, scene.seed)]);
    (Body::empty(), Outcome::of(416))
}

fn ranked((body, outcome): (Body, Outcome), entity: &Entity) -> (Body, Outcome) {
    (body, Outcome { rank: Some(entity.rank()), ..outcome })
}

fn partial(
    fields: &Block,
    entity: &Entity,
    form: &Form,
    part: &Range<u64>,
    life: &Block,
    sink: &mut dyn Sink,
) -> (Body, Outcome) {
    let range = range::content_range(part, form.content.len());
    let length = part.end.saturating_sub(part.start).to_string();
    let range = Block::new([("content-range", range.as_str()), ("content-length", length.as_str())]);
    sink.head(206, &[fields, &entity.media.fields, &form.part, &range, life]);
    let body = Body::part(&form.content, part.clone()).with_urgency(entity.urgency);
    (body, Outcome::of(206))
}

/// Several parts, as `multipart/byteranges` (RFC 9110 section 15.3.7.2).
fn parted(
    fields: &Block,
    entity: &Entity,
    form: &Form,
    parts: &[Range<u64>],
    life: &Block,
    sink: &mut dyn Sink,
) -> (Body, Outcome) {
    let (media, total) = (entity.media.name.as_str(), form.content.len());
    let boundary = multipart::boundary(form.tag.as_bytes());
    let length = multipart::length(&boundary, media, parts, total).to_string();
    let media_type = multipart::content_type(&boundary);
    let own = Block::new([("content-type", media_type.as_str()), ("content-length", length.as_str())]);
    sink.head(206, &[fields, &form.part, &own, life]);
    let mut body = Body::empty();
    for part in parts {
        body.push_bytes(Bytes::from(multipart::part_head(&boundary, media, part, total)));
        body.push(&form.content, part.clone());
    }
    body.push_bytes(Bytes::from(multipart::closing(&boundary)));
    (body.with_urgency(entity.urgency), Outcome::of(206))
}

/// What could be asked: the same of every address, and of the server as a whole. Pages of any origin may read (the Fetch
/// standard, section 3.3).
fn options(scene: &Scene<'_>, head: &Head<'_>, sink: &mut dyn Sink) -> (Body, Outcome) {
    let mut fields =
        Block::new([("allow", "GET, HEAD, OPTIONS"), ("access-control-allow-origin", "*"), ("content-length", "0")]);
    if !head.request_method.is_empty() {
        fields.push("access-control-allow-methods", "GET, HEAD, OPTIONS");
        fields.push("access-control-allow-headers", "range, if-range, if-match, if-none-match, if-modified-since, if-unmodified-since, priority, want-repr-digest");
        fields.push("access-control-max-age", "86400");
    }
    sink.head(200, &[&fields, scene.pages.transport(), scene.tick.block(Class::Never, scene.seed)]);
    (Body::empty(), Outcome::of(200))
}

fn page(scene: &Scene<'_>, kind: Kind, head: &Head<'_>, sink: &mut dyn Sink) -> (Body, Outcome) {
    page_of(scene, scene.site.map(Site::about).map(Arc::as_ref), kind, head, sink)
}

/// A page about what is of this cut, which need not be the current one.
fn page_of(
    scene: &Scene<'_>,
    about: Option<&About>,
    kind: Kind,
    head: &Head<'_>,
    sink: &mut dyn Sink,
) -> (Body, Outcome) {
    let page = scene.pages.get(kind);
    let life = scene.tick.block(page.class, scene.seed);
    match about {
        Some(about) => sink.head(page.status, &[&page.fields, life, &about.name]),
        None => sink.head(page.status, &[&page.fields, life]),
    }
    let body = if head.method == Method::Head { Body::empty() } else { Body::new(page.html.clone()) };
    (body, Outcome::of(page.status))
}

#[cfg(test)]
mod tests;

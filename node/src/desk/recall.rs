//! What a connection remembers of what it was given: pages, and the styles and scripts of them.

use std::hash::{BuildHasher as _, RandomState};

use difusor_proto::Digest;

use crate::{head::Head, policy::Policy, respond::page_at, serving::Shown};

/// How many pages and parts of pages are remembered: some windows and frames, and what draws them.
pub(super) const MAX_PAGES: usize = 16;

/// A page that was given, or a part of one that asks for more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    /// Stands for its path: a keyed hash, so that long paths cost nothing.
    pub(super) path: u64,
    /// Its own bytes, if it is a page.
    pub(super) page: Option<Digest>,
    /// The cut that it is from.
    pub(super) seq: u64,
    /// Until when parts of it come from that cut, Unix milliseconds.
    pub(super) until: u64,
}

/// The newest last. Nothing is held for those who never load a page.
#[derive(Debug, Default)]
pub(super) struct Recall(Vec<Page>);

impl Recall {
    /// The page, or the part of one, that a request says it is for, at Unix milliseconds.
    pub(super) fn page_of(
        &self,
        head: &Head<'_>,
        shown: &Shown,
        policy: &Policy,
        keys: &RandomState,
        now: u64,
    ) -> Option<Page> {
        let mut fresh = self.0.iter().rev().filter(|page| page.until > now).peekable();
        fresh.peek()?;
        let path = referring(head)?;
        let asking = keys.hash_one(path);
        // A program in a page changes its address as it likes: what counts is the page that is at that address.
        let is_at = |page: &Page| {
            page.page.is_some_and(|digest| {
                let site = shown.of(page.seq);
                site.and_then(|site| page_at(site, policy, path)) == Some(digest)
            })
        };
        fresh.clone().find(|page| page.path == asking).or_else(|| fresh.find(|page| is_at(page))).copied()
    }

    /// Remembers a page, or a part of one, in the place of what was at its path.
    pub(super) fn remember(&mut self, page: Page) {
        self.0.retain(|known| known.path != page.path);
        if self.0.len() >= MAX_PAGES {
            self.0.remove(0);
        }
        self.0.push(page);
    }
}

/// The path that a request says it comes from, if it is for a part of what is there: of this site, and not a page of its
/// own.
fn referring<'a>(head: &Head<'a>) -> Option<&'a [u8]> {
    if head.sec_fetch_dest.only().is_some_and(is_page) {
        return None;
    }
    let (authority, path) = parts_of(head.referer.only()?)?;
    let is_own = head.authority.is_some_and(|own| host(own).eq_ignore_ascii_case(host(authority)));
    is_own.then_some(path)
}

/// An authority without its port: whoever is in front may use another.
fn host(authority: &[u8]) -> &[u8] {
    match authority.iter().rposition(|byte| *byte == b':') {
        Some(colon) if authority.iter().skip(colon + 1).all(u8::is_ascii_digit) => {
            authority.get(..colon).unwrap_or_default()
        }
        _ => authority,
    }
}

/// True unless the request says that it is for a part of a page.
pub(super) fn is_navigation(head: &Head<'_>) -> bool {
    head.sec_fetch_dest.only().is_none_or(is_page)
}

/// Destinations that are pages (the Fetch standard, section 2.2.5).
fn is_page(dest: &[u8]) -> bool {
    matches!(dest, b"document" | b"iframe" | b"frame" | b"embed" | b"object")
}

/// Authority and path of an absolute URL, without query and fragment.
fn parts_of(url: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = url.strip_prefix(b"https://").or_else(|| url.strip_prefix(b"http://"))?;
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let (authority, path) = rest.split_at_checked(slash)?;
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len());
    Some((authority, path.get(..end)?))
}

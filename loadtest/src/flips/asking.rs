//! What visitors ask for: files old and new, large and small, whole and in parts, in every coding, and what is not
//! there.
//!
//! Each stream of requests has an [`Asker`], which remembers what it was given and asks about it again. Chance comes
//! from a seed, so that two runs ask for the same things, if not at the same moments.

use std::{collections::HashMap, time::Instant};

use difusor_local::https;
use http::{Method, Request, header};

use super::{
    judge::{Asked, Known, Page, Part, Verdict},
    oracle::{KEPT, Menu, Timeline},
};

/// What browsers and others accept; the first is what most requests say.
const ACCEPTS: [&str; 6] = ["gzip, deflate, br, zstd", "", "gzip", "br", "zstd", "gzip, br"];

/// Forms that are remembered; few, so that most are asked about while they are young.
const REMEMBERED: usize = 48;

/// Longest part that is asked for, and longest form of which more than one is remembered.
const PART: usize = 48 << 10;

/// A name that no cut has.
const NOWHERE: &str = "assets/nada.json";

/// Chance from a seed: splitmix64 (Steele, Lea and Flood 2014).
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, or 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(bound).unwrap_or(0)
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.index(list.len()))
    }
}

/// One stream of requests.
#[derive(Debug)]
pub(super) struct Asker {
    dice: Dice,
    /// Small forms, by name.
    small: HashMap<String, Known>,
    /// The last large one.
    large: Option<Known>,
    /// The last page, if the connection is this stream's alone.
    page: Option<Page>,
    is_alone: bool,
}

impl Asker {
    /// `is_alone` says that nobody else asks on its connections.
    pub(super) fn new(seed: u64, is_alone: bool) -> Self {
        Self { dice: Dice::new(seed), small: HashMap::new(), large: None, page: None, is_alone }
    }

    /// Forgets what belongs to a connection.
    pub(super) fn reconnect(&mut self) {
        self.page = None;
    }

    /// The next request. `seen` is the newest cut that the connection was shown.
    pub(super) fn ask(&mut self, menu: &Menu, timeline: &Timeline, seen: u64) -> Asked {
        let (current, newest) = timeline.now().into_inner();
        let accept = self.dice.of(&ACCEPTS).copied().unwrap_or_default();
        // Half of them ask as browsers do.
        let accept = if self.dice.below(2) == 0 { ACCEPTS.first().copied().unwrap_or_default() } else { accept };
        let plain = Asked {
            name: String::new(),
            is_head: false,
            accept,
            known: None,
            part: None,
            page: None,
            seen,
            confirmed: current,
        };
        let small = |dice: &mut Dice| dice.of(&menu.small).cloned().unwrap_or_default();
        let passing = |seq: u64| menu.passing.get(&seq).cloned();
        // In thousandths of all requests.
        let special = match self.dice.below(1000) {
            0..120 => self.known().map(|known| Asked { name: known.name.clone(), known: Some(known), ..plain.clone() }),
            120..170 => Some(Asked { name: small(&mut self.dice), is_head: true, ..plain.clone() }),
            170..220 => self.part(&plain),
            220..240 => {
                let back = self.dice.below(KEPT);
                let is_head = self.dice.below(3) > 0;
                passing(current.saturating_sub(back).max(1)).map(|name| Asked { name, is_head, ..plain.clone() })
            }
            240..250 => {
                // Gone, or about to go.
                let back = KEPT - 1 + self.dice.below(6);
                current.checked_sub(back).and_then(passing).map(|name| Asked { name, ..plain.clone() })
            }
            250..260 => passing(newest + self.dice.below(2)).map(|name| Asked { name, ..plain.clone() }),
            260..265 => Some(Asked { name: NOWHERE.into(), ..plain.clone() }),
            265..285 => Some(plain.clone()),
            285..290 => self.large(menu).map(|name| Asked { name, ..plain.clone() }),
            290..340 => {
                self.page.clone().map(|page| Asked { name: small(&mut self.dice), page: Some(page), ..plain.clone() })
            }
            _ => None,
        };
        special.unwrap_or_else(|| Asked { name: small(&mut self.dice), ..plain })
    }

    /// A large file, whole.
    pub(super) fn download(&mut self, menu: &Menu, timeline: &Timeline, seen: u64) -> Asked {
        let name = self.large(menu).unwrap_or_default();
        Asked { name, known: None, part: None, page: None, is_head: false, ..self.ask(menu, timeline, seen) }
    }

    /// Takes note of a right answer to a request that was sent at `since`.
    pub(super) fn learn(&mut self, asked: &Asked, verdict: Verdict, since: Instant) {
        if self.is_alone && verdict.is_had && is_page(&asked.name) {
            self.page = Some(Page { name: asked.name.clone(), cut: verdict.cut, since });
        }
        let Some(known) = verdict.known else { return };
        if known.body.len() > PART {
            self.large = Some(known);
        } else {
            if self.small.len() >= REMEMBERED {
                self.small.clear();
            }
            self.small.insert(asked.name.clone(), known);
        }
    }

    fn large(&mut self, menu: &Menu) -> Option<String> {
        self.dice.of(&menu.large).cloned()
    }

    /// Something that it has.
    fn known(&mut self) -> Option<Known> {
        if self.dice.below(30) == 0 {
            return self.large.clone();
        }
        let at = self.dice.index(self.small.len());
        self.small.values().nth(at).cloned()
    }

    /// A part of something that it has, in one of the ways to name it (RFC 9110 section 14.1.2).
    fn part(&mut self, plain: &Asked) -> Option<Asked> {
        let whole = if self.dice.below(6) == 0 { self.large.clone() } else { self.known() };
        let whole = whole.filter(|whole| !whole.body.is_empty())?;
        let len = whole.body.len();
        let wanted = 1 + self.dice.index(len.min(PART));
        let (field, first) = match self.dice.below(3) {
            0 => (format!("bytes={}-", len - wanted), len - wanted),
            1 => (format!("bytes=-{wanted}"), len - wanted),
            _ => {
                // What goes beyond the end is cut off.
                let first = self.dice.index(len);
                (format!("bytes={first}-{}", first + wanted - 1), first)
            }
        };
        let last = (first + wanted - 1).min(len - 1);
        // Whoever has a part in a coding still accepts it.
        let accept = ACCEPTS.first().copied().unwrap_or_default();
        Some(Asked {
            name: whole.name.clone(),
            accept,
            part: Some(Part { whole, field, first, last }),
            ..plain.clone()
        })
    }
}

/// True for what the node takes for a page.
fn is_page(name: &str) -> bool {
    name.is_empty() || name.ends_with(".html")
}

impl Asked {
    /// As it goes on the wire, to this authority.
    ///
    /// # Errors
    /// If it cannot be written as HTTP, which would be a mistake of ours.
    pub(super) fn request<B>(&self, target: &str, authority: &str, body: B) -> Result<Request<B>, http::Error> {
        let method = if self.is_head { Method::HEAD } else { Method::GET };
        let mut request = Request::builder().method(method).uri(format!("{target}{}", https::encode(&self.name)));
        if target.is_empty() {
            request = request.header(header::HOST, authority);
        }
        if !self.accept.is_empty() {
            request = request.header(header::ACCEPT_ENCODING, self.accept);
        }
        if let Some(known) = &self.known {
            request = request.header(header::IF_NONE_MATCH, &known.tag);
        }
        if let Some(part) = &self.part {
            request = request.header(header::RANGE, &part.field).header(header::IF_RANGE, &part.whole.tag);
        }
        if let Some(page) = &self.page {
            let page = https::encode(&page.name);
            request = request.header(header::REFERER, format!("https://{authority}{page}"));
        }
        request.body(body)
    }

    /// In one line, for whoever looks into a fault.
    pub(super) fn line(&self) -> String {
        let mut line = format!("{} {}", if self.is_head { "HEAD" } else { "GET" }, https::encode(&self.name));
        let mut add = |name: &str, value: &str| line.extend([", ", name, ": ", value]);
        add("accept-encoding", if self.accept.is_empty() { "none" } else { self.accept });
        if let Some(known) = &self.known {
            add("if-none-match", &known.tag);
        }
        if let Some(part) = &self.part {
            add("range", &part.field);
            add("if-range", &part.whole.tag);
        }
        if let Some(page) = &self.page {
            add("referer", &https::encode(&page.name));
            add("of cut", &page.cut.to_string());
        }
        line
    }
}

#[cfg(test)]
mod tests;

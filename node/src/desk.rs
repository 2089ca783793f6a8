//! The desk of one connection: the pure answer, on what is served at this moment, for this visitor.
//!
//! Owns what a connection remembers: the page it was given last. What that page is made of is given from the same cut
//! for [`PAGE_LIFE`], even if a flip came between, so nobody sees a page put together from two cuts. Only requests that
//! say that they are part of the page get that (`Referer`, and `Sec-Fetch-Dest` where it is sent); whoever asks anew is
//! given what is current.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use difusor_proto::CutKey;

use crate::{
    body::Body,
    engine::{Desk, Refusal, Sink},
    head::{Head, Method},
    observe::{
        AccessLog, Draw, Observatory, Protocol, Sampler, Tally,
        access::{AccessConfig, Record},
    },
    pages::{Kind, Pages},
    policy::Policy,
    proxied::{Trust, visitor},
    respond::{Scene, has, respond},
    serving::{PAGE_LIFE, Serving, unix_ms},
    site::Site,
    tick::{Cadence, Tick},
};

/// Longest path of a page that is remembered.
const MAX_PAGE: usize = 512;

/// What all threads that serve share.
#[derive(Debug, Clone)]
pub struct Station {
    /// What is served.
    pub serving: Arc<Serving>,
    /// What the operator decides about answers.
    pub policy: Arc<Policy>,
    /// Whose word about visitors is taken.
    pub trust: Arc<Trust>,
    /// What is counted and logged.
    pub observatory: Arc<Observatory>,
    /// What is logged.
    pub access: AccessConfig,
}

/// What the connections of one thread share.
#[derive(Debug)]
pub struct Counter {
    serving: Arc<Serving>,
    policy: Arc<Policy>,
    pub(crate) trust: Arc<Trust>,
    /// What this thread counts.
    pub(crate) tally: Arc<Tally>,
    observatory: Arc<Observatory>,
    sampler: RefCell<Sampler>,
    pages: Pages,
    tick: RefCell<Rc<Tick>>,
    visits: Cell<u64>,
    instant: Cell<Instant>,
}

/// One connection.
#[derive(Debug)]
pub struct Visit {
    counter: Rc<Counter>,
    seed: u64,
    peer: IpAddr,
    protocol: Protocol,
    page: Option<Page>,
}

/// The page that was given last.
#[derive(Debug)]
struct Page {
    path: Vec<u8>,
    seq: u64,
    until: u64,
}

impl Station {
    /// Serves `serving` with all defaults, and counts for so many threads.
    pub fn new(serving: Arc<Serving>, threads: usize) -> Self {
        Self {
            serving,
            policy: Arc::default(),
            trust: Arc::default(),
            observatory: Arc::new(Observatory::new(threads, AccessLog::off())),
            access: AccessConfig::default(),
        }
    }

    /// The counter of one of the threads.
    pub fn counter(self, thread: usize) -> Rc<Counter> {
        let tick = Tick::new(unix_ms(), &Cadence::default(), &self.policy.fresh);
        let tallies = self.observatory.tallies();
        let sampler = Sampler::new(&self.access, tallies.len(), rand::random());
        let counter = Counter {
            tally: tallies.get(thread).map(Arc::clone).unwrap_or_default(),
            serving: self.serving,
            policy: self.policy,
            trust: self.trust,
            observatory: self.observatory,
            sampler: RefCell::new(sampler),
            pages: Pages::default(),
            tick: RefCell::new(Rc::new(tick)),
            visits: Cell::new(0),
            instant: Cell::new(Instant::now()),
        };
        counter.tick(unix_ms());
        Rc::new(counter)
    }
}

impl Counter {
    /// Makes the fields of this second, at Unix milliseconds. To be called a few times a second.
    pub fn tick(&self, now: u64) {
        self.instant.set(Instant::now());
        if now / 1000 != self.tick.borrow().now / 1000 || self.visits.get() == 0 {
            let cadence = self.serving.with(|shown| shown.map(|shown| shown.cadence(now)).unwrap_or_default());
            *self.tick.borrow_mut() = Rc::new(Tick::new(now, &cadence, &self.policy.fresh));
        }
    }

    /// The time of the last tick: exact enough for deadlines, and free.
    pub fn now(&self) -> Instant {
        self.instant.get()
    }

    /// A new connection from this address.
    pub fn visit(self: &Rc<Self>, peer: IpAddr, protocol: Protocol) -> Visit {
        self.visits.set(self.visits.get().wrapping_add(1));
        Visit { counter: Rc::clone(self), seed: self.visits.get(), peer, protocol, page: None }
    }
}

impl Desk for Visit {
    fn answer(&mut self, head: &Head<'_>, sink: &mut dyn Sink) -> Body {
        let counter = &*self.counter;
        let draw = counter.sampler.borrow_mut().draw();
        let started = draw.timed.then(Instant::now);
        let tick = counter.tick.borrow();
        let (body, outcome, cut) = counter.serving.with(|shown| {
            let site = shown.map(|shown| {
                let page = self.page.as_ref().filter(|page| page.until > tick.now && page.is_of(head));
                let of_page = page.and_then(|page| shown.of(page.seq));
                // What a page asks for and its cut does not have may be in the one that came since.
                of_page.filter(|site| has(site, &counter.policy, head.path)).unwrap_or(&shown.site)
            });
            let scene = Scene { site, policy: &counter.policy, tick: &tick, pages: &counter.pages, seed: self.seed };
            let (body, outcome) = respond(&scene, head, sink);
            (body, outcome, site.map(Site::cut))
        });
        let took = started.map(|started| started.elapsed());
        self.note(Some(head), outcome.status, &body, cut, draw, took);
        if outcome.is_page
            && head.method == Method::Get
            && head.path.len() <= MAX_PAGE
            && is_navigation(head)
            && let Some(cut) = cut
        {
            let until = tick.now.saturating_add(u64::try_from(PAGE_LIFE.as_millis()).unwrap_or(u64::MAX));
            self.page = Some(Page { path: head.path.to_vec(), seq: cut.seq, until });
        }
        body
    }

    fn refuse(&mut self, refusal: Refusal, sink: &mut dyn Sink) -> Body {
        let kind = match refusal {
            Refusal::Malformed => Kind::Malformed,
            Refusal::Slow => Kind::Slow,
            Refusal::TargetTooLong => Kind::TargetTooLong,
            Refusal::Expectation => Kind::Expectation,
            Refusal::HeadTooLarge => Kind::HeadTooLarge,
            Refusal::TransferCoding => Kind::TransferCoding,
            Refusal::Version => Kind::Version,
        };
        let page = self.counter.pages.get(kind);
        sink.head(page.status, &[&page.fields, self.counter.tick.borrow().block(page.class, self.seed)]);
        let body = Body::new(page.html.clone());
        let draw = self.counter.sampler.borrow_mut().draw();
        self.note(None, page.status, &body, None, draw, None);
        body
    }
}

impl Visit {
    /// Counts an answer, and logs it if it is one of the sample.
    fn note(
        &self,
        head: Option<&Head<'_>>,
        status: u16,
        body: &Body,
        cut: Option<CutKey>,
        draw: Draw,
        took: Option<Duration>,
    ) {
        let counter = &*self.counter;
        counter.tally.answered(self.protocol, status);
        if let Some(took) = took {
            counter.tally.head_took(took);
        }
        if counter.sampler.borrow_mut().wants(draw, status, Instant::now) {
            let ip = head.map_or(self.peer, |head| visitor(&counter.trust, self.peer, head));
            let (at, cut) = (SystemTime::now(), cut.map(|cut| cut.label));
            let record = Record { at, ip, protocol: self.protocol, head, status, bytes: body.left(), cut, took };
            counter.observatory.log().write(&record);
        }
    }
}

impl Page {
    /// True if the request is for a part of this page.
    fn is_of(&self, head: &Head<'_>) -> bool {
        // `document` and `iframe` are pages of their own.
        let dest = head.sec_fetch_dest.only();
        let Some(referer) = head.referer.only().filter(|_| !dest.is_some_and(is_page)) else { return false };
        let path = path_of(referer);
        path == Some(self.path.as_slice())
    }
}

/// True unless the request says that it is for a part of a page.
fn is_navigation(head: &Head<'_>) -> bool {
    head.sec_fetch_dest.only().is_none_or(is_page)
}

/// Destinations that are pages (the Fetch standard, section 2.2.5).
fn is_page(dest: &[u8]) -> bool {
    matches!(dest, b"document" | b"iframe" | b"frame" | b"embed" | b"object")
}

/// The path of an absolute URL, without query and fragment.
fn path_of(url: &[u8]) -> Option<&[u8]> {
    let rest = url.strip_prefix(b"https://").or_else(|| url.strip_prefix(b"http://"))?;
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let path = rest.get(slash..)?;
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len());
    path.get(..end)
}

#[cfg(test)]
mod tests;

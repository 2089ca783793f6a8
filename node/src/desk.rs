//! The desk of one connection: the pure answer, on what is served at this moment, for this visitor.
//!
//! Owns what a connection remembers: the pages it was given last, and the styles and scripts of them, which ask for more
//! by themselves. What belongs to a page is given from the page's cut for [`PAGE_LIFE`], even if a flip came between, so
//! nobody sees a page put together from two cuts. Only requests that say that they are part of the page get that
//! (`Referer`, and `Sec-Fetch-Dest` where it is sent); whoever asks anew is given what is current.

mod recall;
mod ruling;

use std::{
    cell::{Cell, RefCell},
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use difusor_proto::CutKey;

use self::{
    recall::{Page, Recall, is_navigation},
    ruling::Verdict,
};
use crate::{
    admission::{
        budgets::{Budgets, Purse, Spent},
        door::Door,
        offenders::Offence,
        overload::{BULK, Load, Overload, PROBE, Rank},
        rules::{Rules, book::Rulebook},
    },
    block::Block,
    body::Body,
    engine::{Aside, Desk, Refusal, Sink},
    head::{Head, Method},
    health::page::{Board, Document},
    insight::{
        Meter,
        window::{Asked, Mark},
    },
    observe::{
        AccessLog, Draw, Observatory, Protocol, Sampler, Tally,
        access::{AccessConfig, Record},
    },
    pages::{Kind, Pages},
    policy::Policy,
    proxied::{Trust, visitor},
    respond::{Part, Scene, has, respond},
    serving::{PAGE_LIFE, Serving, unix_ms},
    site::Site,
    tick::{Cadence, Tick},
};

/// Requests that are refused one after another on a connection before it ends: whoever goes on asks over new ones, which
/// are counted, too. A page whose parts are all refused is one.
const MAX_REFUSED: u32 = 100;

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
    /// Who is let in, and what one source may ask for.
    pub door: Door,
    /// What is given up when there is too much to do.
    pub overload: Overload,
    /// What the operator decides about requests; `None` is nothing.
    pub rules: Option<Arc<Rulebook>>,
    /// How the node is.
    pub board: Arc<Board>,
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
    pub(crate) door: Door,
    pub(crate) load: Load,
    rulebook: Option<Arc<Rulebook>>,
    board: Arc<Board>,
    /// How the node was at the last tick.
    health: RefCell<Arc<Document>>,
    /// The rules as they were at the last tick: looking at them costs a request nothing.
    rules: RefCell<Option<Arc<Rules>>>,
    thread: usize,
    sampler: RefCell<Sampler>,
    meter: Meter,
    pages: Pages,
    tick: RefCell<Rc<Tick>>,
    keys: RandomState,
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
    /// Who asked last, and what that one has paid, `None` if it is exempt: most connections are of one visitor, who is
    /// looked up once.
    asker: Option<(Who, Option<Purse>)>,
    /// Requests that were refused since one was answered.
    refused: u32,
    /// What a rule does to the connection.
    aside: Option<Aside>,
    /// The rule that wants what it decided to be logged.
    logged: RefCell<Option<Arc<str>>>,
    recall: Recall,
}

/// A visitor, and how those who count know it.
#[derive(Debug, Clone, Copy)]
struct Who {
    ip: IpAddr,
    mark: Mark,
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
            door: Door::default(),
            overload: Overload::default(),
            rules: None,
            board: Arc::default(),
        }
    }

    /// The counter of one of the threads.
    pub fn counter(self, thread: usize) -> Rc<Counter> {
        let tick = Tick::new(unix_ms(), &Cadence::default(), &self.policy.fresh);
        let tallies = self.observatory.tallies();
        let pages = Pages::new(&self.policy);
        let sampler = Sampler::new(&self.access, tallies.len(), rand::random());
        let insight = self.observatory.insight();
        let (meter, keys) = (insight.meter(thread), insight.keys());
        let counter = Counter {
            tally: tallies.get(thread).map(Arc::clone).unwrap_or_default(),
            serving: self.serving,
            policy: self.policy,
            trust: self.trust,
            observatory: self.observatory,
            door: self.door,
            load: Load::new(self.overload),
            rulebook: self.rules,
            health: RefCell::new(self.board.document()),
            board: self.board,
            rules: RefCell::default(),
            thread,
            sampler: RefCell::new(sampler),
            meter,
            pages,
            tick: RefCell::new(Rc::new(tick)),
            keys,
            visits: Cell::new(0),
            instant: Cell::new(Instant::now()),
        };
        counter.tick(unix_ms());
        Rc::new(counter)
    }
}

impl Counter {
    /// Makes the fields of this second, at Unix milliseconds, and takes up new rules. To be called a few times a second.
    pub fn tick(&self, now: u64) {
        self.instant.set(Instant::now());
        self.meter.tick(now);
        self.health.replace(self.board.document());
        if let Some(rulebook) = &self.rulebook {
            self.rules.replace(rulebook.current());
        }
        if now / 1000 != self.tick.borrow().now / 1000 || self.visits.get() == 0 {
            let cadence = self.serving.with(|shown| shown.map(|shown| shown.cadence(now)).unwrap_or_default());
            *self.tick.borrow_mut() = Rc::new(Tick::new(now, &cadence, &self.policy.fresh));
        }
    }

    /// Measures how late the thread is, for ever; to be run on it.
    pub async fn probe(self: Rc<Self>) {
        let mut due = tokio::time::Instant::now() + PROBE;
        loop {
            tokio::time::sleep_until(due).await;
            let now = tokio::time::Instant::now();
            self.load.sample(now.saturating_duration_since(due));
            due = now + PROBE;
        }
    }

    /// The time of the last tick: exact enough for deadlines, and free.
    pub fn now(&self) -> Instant {
        self.instant.get()
    }

    /// A connection from this address came to nothing, or made work without asking for anything.
    pub fn trouble(&self, peer: IpAddr) {
        self.meter.trouble(peer);
    }

    fn who(&self, ip: IpAddr) -> Who {
        Who { ip, mark: self.meter.mark(ip) }
    }

    /// A new connection from this address.
    pub fn visit(self: &Rc<Self>, peer: IpAddr, protocol: Protocol) -> Visit {
        self.visits.set(self.visits.get().wrapping_add(1));
        Visit {
            counter: Rc::clone(self),
            seed: self.visits.get(),
            peer,
            protocol,
            asker: None,
            refused: 0,
            aside: None,
            logged: RefCell::default(),
            recall: Recall::default(),
        }
    }
}

impl Desk for Visit {
    fn answer(&mut self, head: &Head<'_>, sink: &mut dyn Sink) -> Body {
        let is_exempt = match self.rule(head, sink) {
            Verdict::Answered(body) => return body,
            Verdict::Allowed => true,
            Verdict::Usual => false,
        };
        let counter = &*self.counter;
        let visitor = visitor(&counter.trust, self.peer, head);
        let (who, purse) = asker(&mut self.asker, counter, visitor);
        let budgets = counter.door.budgets().filter(|_| !is_exempt);
        if let Some((budgets, purse)) = budgets.zip(purse)
            && let Err(spent) = purse.ask(budgets, counter.now())
        {
            // A proxy asks for many.
            self.refused += u32::from(visitor == self.peer);
            return self.too_much(who, head, budgets, spent, sink);
        }
        self.refused = 0;
        let draw = counter.sampler.borrow_mut().draw();
        let started = draw.timed.then(Instant::now);
        let (tick, health) = (counter.tick.borrow(), counter.health.borrow());
        let asked = counter.keys.hash_one(head.path);
        let (body, outcome, cut, of_page) = counter.serving.with(|shown| {
            let of_page =
                shown.and_then(|shown| self.recall.page_of(head, shown, &counter.policy, &counter.keys, tick.now));
            let site = shown.map(|shown| {
                // What a page asks for and its cut does not have may be in the one that came since.
                let of_page = of_page.and_then(|page| shown.of(page.seq));
                of_page.filter(|site| has(site, &counter.policy, head.path)).unwrap_or(&shown.site)
            });
            let superseded = site.zip(shown).is_some_and(|(site, shown)| site.cut() != shown.site.cut());
            let scene = Scene {
                site,
                policy: &counter.policy,
                tick: &tick,
                pages: &counter.pages,
                superseded,
                gives_up: counter.load.gives_up(visitor),
                health: &health,
                seed: self.seed,
            };
            let (body, outcome) = respond(&scene, head, sink);
            (body, outcome, site.map(Site::cut), of_page)
        });
        if let Some((budgets, purse)) = budgets.zip(self.asker.as_mut().and_then(|(_, purse)| purse.as_mut())) {
            purse.give(budgets, body.left(), counter.now());
        }
        let body = match outcome.rank {
            Some(rank) if outcome.status == 503 => {
                counter.tally.gave_up(rank);
                body
            }
            Some(Rank::Bulk) if body.left() >= BULK => body.holding(counter.load.place(visitor)),
            _ => body,
        };
        let took = started.map(|started| started.elapsed());
        let cut = outcome.given.map(|given| given.cut).or(cut);
        self.note(who, Some((head, Some(asked))), outcome.status, &body, cut, (draw, took));
        if head.method == Method::Get
            && let Some(given) = outcome.given
        {
            let until = tick.now.saturating_add(u64::try_from(PAGE_LIFE.as_millis()).unwrap_or(u64::MAX));
            match (given.part, of_page) {
                (Part::Page, _) if is_navigation(head) => {
                    let page = Page { path: asked, page: Some(given.digest), seq: given.cut.seq, until };
                    drop(tick);
                    self.recall.remember(page);
                }
                (Part::Asking, Some(page)) => {
                    drop(tick);
                    self.recall.remember(Page { path: asked, page: None, ..page });
                }
                _ => {}
            }
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
        if matches!(refusal, Refusal::Malformed | Refusal::TransferCoding) {
            self.counter.door.blame(self.peer, Offence::Violation, Instant::now());
        }
        let page = self.counter.pages.get(kind);
        sink.head(page.status, &[&page.fields, self.counter.tick.borrow().block(page.class, self.seed)]);
        let body = Body::new(page.html.clone());
        let draw = self.counter.sampler.borrow_mut().draw();
        self.note(self.counter.who(self.peer), None, page.status, &body, None, (draw, None));
        body
    }

    fn aside(&mut self) -> Option<Aside> {
        self.aside.take()
    }

    fn handed(&mut self, bytes: u64) {
        self.counter.tally.sent(bytes);
    }

    fn is_done(&self) -> bool {
        self.refused >= MAX_REFUSED
    }
}

impl Drop for Visit {
    /// What is still owed is charged.
    fn drop(&mut self) {
        if let (Some((_, Some(purse))), Some(budgets)) = (&mut self.asker, self.counter.door.budgets()) {
            purse.pay(budgets, self.counter.now());
        }
    }
}

/// The one who asks, who takes the place of who asked before.
fn asker<'a>(
    last: &'a mut Option<(Who, Option<Purse>)>,
    counter: &Counter,
    visitor: IpAddr,
) -> (Who, Option<&'a mut Purse>) {
    if last.as_ref().is_none_or(|(who, _)| who.ip != visitor) {
        let budgets = counter.door.budgets();
        if let (Some((_, Some(purse))), Some(budgets)) = (last.as_mut(), budgets) {
            purse.pay(budgets, counter.now());
        }
        *last = None;
    }
    let (who, purse) = last.get_or_insert_with(|| {
        let payer = counter.door.budgets().and_then(|budgets| budgets.payer(visitor));
        (counter.who(visitor), payer.map(Purse::new))
    });
    (*who, purse.as_mut())
}

impl Visit {
    /// True if a rule does something to the connection that nobody asked for yet ([`Desk::aside`]).
    pub(crate) fn is_set_aside(&self) -> bool {
        self.aside.is_some()
    }

    /// 429 (RFC 6585 section 4): the source has had as much as it may.
    fn too_much(&self, who: Who, head: &Head<'_>, budgets: &Budgets, spent: Spent, sink: &mut dyn Sink) -> Body {
        let counter = &*self.counter;
        counter.tally.limited(spent.budget);
        let page = counter.pages.get(Kind::TooMany);
        let (seconds, limit) = (spent.seconds().to_string(), spent.limit());
        let when = Block::new([
            ("retry-after", seconds.as_str()),
            ("ratelimit", limit.as_str()),
            ("ratelimit-policy", budgets.policy()),
        ]);
        sink.head(page.status, &[&page.fields, &when, counter.tick.borrow().block(page.class, self.seed)]);
        let body = if head.method == Method::Head { Body::empty() } else { Body::new(page.html.clone()) };
        let draw = counter.sampler.borrow_mut().draw();
        self.note(who, Some((head, None)), page.status, &body, None, (draw, None));
        body
    }

    /// Counts an answer, and logs it if it is one of the sample. With the head comes the hash of its path, if there is one.
    fn note(
        &self,
        who: Who,
        asked: Option<(&Head<'_>, Option<u64>)>,
        status: u16,
        body: &Body,
        cut: Option<CutKey>,
        (draw, took): (Draw, Option<Duration>),
    ) {
        let counter = &*self.counter;
        counter.tally.answered(self.protocol, status);
        let head = asked.map(|(head, _)| head);
        counter.meter.note(&Asked {
            visitor: who.mark,
            path: asked.and_then(|(head, hash)| Some((hash?, head.path))),
            status,
            conditional: head.is_some_and(|head| !(head.if_none_match.is_empty() && head.if_modified_since.is_empty())),
            bytes: body.left(),
        });
        if let Some(took) = took {
            counter.tally.head_took(took);
        }
        let rule = self.logged.take();
        if rule.is_some() || counter.sampler.borrow_mut().wants(draw, status, Instant::now) {
            let (at, cut) = (SystemTime::now(), cut.map(|cut| cut.label));
            let (protocol, bytes, rule) = (self.protocol, body.left(), rule.as_deref());
            let record = Record { at, ip: who.ip, protocol, head, status, bytes, cut, took, rule };
            counter.observatory.log().write(&record);
        }
    }
}

#[cfg(test)]
mod tests;

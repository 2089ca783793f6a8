//! What the requests of one connection share: the desk that answers them, and what they did so far.
//!
//! Requests write it and the connection reads it: nothing here decides or waits.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::BTreeMap,
    net::IpAddr,
    rc::Rc,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    aside::Update,
    counters::{Counters, count},
    front::{self, Front},
    limits::{CANCELLED, FREE_REQUESTS, Http3Limits, REQUESTS_OF_PLACE, STREAMS},
    qpack::Section,
    reply::Ending,
};
use crate::{
    admission::{offenders::Offence, shares::Place, turns::Work},
    body::Urgency,
    engine::Desk,
};

/// One connection, as its requests see it.
pub(super) struct Session {
    front: Rc<Front>,
    /// Where the client was when it came.
    peer: IpAddr,
    desk: RefCell<Box<dyn Desk>>,
    requests: Cell<u64>,
    under_way: Cell<usize>,
    /// For more requests at once than everyone may have, so many at a time.
    places: RefCell<Vec<Place>>,
    since: Cell<Instant>,
    cancelled: Cell<u32>,
    overdue: Cell<bool>,
    ending: Cell<bool>,
    /// How soon requests are wanted, by the number of their stream, where the client changed its mind.
    reordered: RefCell<BTreeMap<u64, Urgency>>,
    reordering: Notify,
    changed: Notify,
}

impl Session {
    pub(super) fn new(front: Rc<Front>, peer: IpAddr, desk: Box<dyn Desk>) -> Rc<Self> {
        Rc::new(Self {
            front,
            peer,
            desk: RefCell::new(desk),
            requests: Cell::new(0),
            under_way: Cell::new(0),
            places: RefCell::default(),
            since: Cell::new(Instant::now()),
            cancelled: Cell::new(0),
            overdue: Cell::new(false),
            ending: Cell::new(false),
            reordered: RefCell::default(),
            reordering: Notify::new(),
            changed: Notify::new(),
        })
    }

    pub(super) fn limits(&self) -> &Http3Limits {
        &self.front.limits
    }

    /// Completes when serving is to end.
    pub(super) async fn drained(&self) {
        self.front.drain.cancelled().await;
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.front.counters
    }

    /// Who answers. Never held across an await.
    pub(super) fn desk(&self) -> RefMut<'_, Box<dyn Desk>> {
        self.desk.borrow_mut()
    }

    /// Where heads are decoded, for all connections of a thread. Never held across an await.
    pub(super) fn section(&self) -> RefMut<'_, Section> {
        self.front.section.borrow_mut()
    }

    /// Remembers how soon an answer is wanted, for the request that is there or for one that is on its way (RFC 9218
    /// section 7). Those that nobody asks for push each other out.
    pub(super) fn reorder(&self, update: Update) {
        let mut reordered = self.reordered.borrow_mut();
        reordered.insert(update.stream, update.urgency);
        while reordered.len() > STREAMS as usize {
            reordered.pop_first();
        }
        self.reordering.notify_waiters();
    }

    /// Completes when the client wants an answer sooner or later than before.
    pub(super) async fn reordering(&self) {
        self.reordering.notified().await;
    }

    /// Completes when another piece of a large answer may be handed over.
    pub(super) async fn turn(&self) {
        self.front.turns.wait(Work::Bulk, self.peer).await;
    }

    /// Remembers what the client did, beyond this connection.
    pub(super) fn blame(&self, offence: Offence) {
        self.front.door.blame(self.peer, offence, front::now());
    }

    /// True if its source was banned since it came.
    pub(super) fn is_banned(&self) -> bool {
        let is_banned = self.front.door.is_banned(self.peer, front::now());
        if is_banned {
            count(&self.counters().banned);
        }
        is_banned
    }

    /// Counts the request on this stream in. It is out when the guard is dropped. `None` if all places of requests are taken,
    /// or those of its source.
    pub(super) fn begin(self: &Rc<Self>, stream: u64) -> Option<UnderWay> {
        let mut places = self.places.borrow_mut();
        if places.len() < needed(self.under_way.get() + 1) {
            let place = self.front.requests.enter().and_then(|mut place| place.name(self.peer).map(|()| place));
            let Ok(place) = place else {
                count(&self.counters().rejected);
                return None;
            };
            places.push(place);
        }
        drop(places);
        count(&self.counters().requests);
        self.requests.set(self.requests.get() + 1);
        self.under_way.set(self.under_way.get() + 1);
        self.since.set(Instant::now());
        Some(UnderWay { session: Rc::clone(self), stream, ending: None })
    }

    /// Remembers a client that did not say what it wants.
    pub(super) fn overdue(&self) {
        count(&self.counters().overdue);
        self.overdue.set(true);
        self.changed.notify_one();
    }

    /// True if a head did not come in time.
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue.get()
    }

    /// True if the client cancelled more than it may.
    pub(super) fn is_wasteful(&self) -> bool {
        self.cancelled.get() > CANCELLED
    }

    /// Requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Requests that are not answered to their end.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.get()
    }

    /// When a request last began or ended, or when the connection did.
    pub(super) fn since(&self) -> Instant {
        self.since.get()
    }

    /// The connection ends once nothing is under way.
    pub(super) fn end(&self) {
        self.ending.set(true);
    }

    /// Completes when something is worth a look: nothing is under way on a connection that ends, or the client
    /// misbehaved.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Places that so many requests at once need.
fn needed(requests: usize) -> usize {
    requests.saturating_sub(FREE_REQUESTS).div_ceil(REQUESTS_OF_PLACE)
}

/// A request that is under way.
pub(super) struct UnderWay {
    session: Rc<Session>,
    stream: u64,
    ending: Option<Ending>,
}

impl UnderWay {
    /// What it shares with the others.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// How soon the client wants the answer, if it changed its mind since it asked.
    pub(super) fn reordered(&self) -> Option<Urgency> {
        self.session.reordered.borrow().get(&self.stream).copied()
    }

    /// Counts it out.
    pub(super) fn end(mut self, ending: Ending) {
        self.ending = Some(ending);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let session = &self.session;
        session.reordered.borrow_mut().remove(&self.stream);
        let left = session.under_way.get().saturating_sub(1);
        session.under_way.set(left);
        // One more is kept: requests that come and go need no other each time.
        session.places.borrow_mut().truncate(needed(left) + 1);
        session.since.set(Instant::now());
        match self.ending {
            Some(Ending::Delivered) => session.cancelled.set(session.cancelled.get().saturating_sub(1)),
            Some(Ending::Cancelled) => {
                count(&session.counters().resets);
                session.cancelled.set(session.cancelled.get().saturating_add(1));
            }
            Some(Ending::CutOff) => count(&session.counters().cut_off),
            None => {
                count(&session.counters().cut_off);
                tracing::error!("a request ended in a panic");
            }
        }
        if (left == 0 && session.ending.get()) || session.is_wasteful() {
            session.changed.notify_one();
        }
    }
}

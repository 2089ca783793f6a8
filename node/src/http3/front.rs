//! Who is let in: room for connections, proof of addresses under load, and the handshake.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
};

use quinn::{Endpoint, Incoming, crypto::rustls::HandshakeData};
use tokio::{
    sync::Notify,
    task::spawn_local,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Peer,
    code::Code,
    connection,
    counters::{Counters, count},
    limits::{Http3Limits, PLACES},
    qpack::Section,
};
use crate::{
    admission::{
        door::{Door, Unwelcome},
        offenders::Offence,
        shares::{Place, Shares},
        turns::{Turns, Work},
    },
    engine::Desk,
};

/// What all sockets share.
pub(super) struct Front {
    pub(super) limits: Http3Limits,
    pub(super) counters: Arc<Counters>,
    pub(super) door: Door,
    pub(super) drain: CancellationToken,
    desks: Box<dyn Fn(Peer) -> Box<dyn Desk>>,
    /// Where requests are decoded, one after the other.
    pub(super) section: RefCell<Section>,
    shares: Arc<Shares>,
    /// Places of requests.
    pub(super) requests: Arc<Shares>,
    pub(super) turns: Rc<Turns>,
    handshakes: Cell<usize>,
    empty: Notify,
}

impl Front {
    pub(super) fn new(
        limits: Http3Limits,
        counters: Arc<Counters>,
        door: Door,
        drain: CancellationToken,
        desks: Box<dyn Fn(Peer) -> Box<dyn Desk>>,
    ) -> Rc<Self> {
        let (shares, handshakes) = (Shares::new(limits.connections), Cell::new(0));
        let requests = Shares::new(PLACES);
        let section = RefCell::new(Section::default());
        let (turns, empty) = (Turns::new(), Notify::new());
        Rc::new(Self { limits, counters, door, drain, desks, section, shares, requests, turns, handshakes, empty })
    }

    /// Connections that are open, handshakes included.
    pub(super) fn open(&self) -> usize {
        self.shares.open()
    }

    /// Completes when no connection is open.
    pub(super) async fn emptied(&self) {
        while self.open() > 0 {
            self.empty.notified().await;
        }
    }

    /// Meets whoever comes to this socket. Ends only when the socket does.
    pub(super) async fn accept(self: Rc<Self>, endpoint: Endpoint) {
        while let Some(incoming) = endpoint.accept().await {
            self.admit(incoming);
        }
    }

    /// Lets a client in, asks it for proof of its address, or refuses it. A refusal is an answer: the browser tries
    /// TCP, or another node, at once.
    fn admit(self: &Rc<Self>, incoming: Incoming) {
        // A forged address may say whose packets are ignored, but not charge anyone.
        let (address, is_proven) = (incoming.remote_address().ip(), incoming.remote_address_validated());
        let welcome = match is_proven {
            true => self.door.enter(address, now()),
            false if self.door.is_banned(address, now()) => Err(Unwelcome::Banned),
            false => Ok(()),
        };
        if let Err(unwelcome) = welcome {
            count(self.counter_of(unwelcome));
            incoming.ignore();
        } else if self.drain.is_cancelled() {
            count(&self.counters.refused);
            incoming.refuse();
        } else if self.handshakes.get() >= self.limits.unproven_handshakes && !is_proven {
            count(&self.counters.retries);
            // An address that is not validated may always be asked.
            let _ = incoming.retry();
        } else if let Ok(place) = self.shares.enter() {
            let slot = Slot::take(self, place);
            spawn_local(Rc::clone(self).meet(incoming, slot));
        } else {
            count(&self.counters.refused);
            incoming.refuse();
        }
    }

    fn counter_of(&self, unwelcome: Unwelcome) -> &AtomicU64 {
        match unwelcome {
            Unwelcome::Banned => &self.counters.banned,
            Unwelcome::Hasty => &self.counters.hasty,
            Unwelcome::Behind => &self.counters.refused,
        }
    }

    async fn meet(self: Rc<Self>, incoming: Incoming, mut slot: Slot) {
        let opened = Instant::now();
        let (address, was_proven) = (incoming.remote_address().ip(), incoming.remote_address_validated());
        let Some(quic) = self.shake_hands(incoming).await else {
            if was_proven {
                self.door.blame(address, Offence::Handshake, now());
            }
            return count(&self.counters.handshake_failures);
        };
        slot.ready();
        if !was_proven && let Err(unwelcome) = self.door.enter(quic.remote_address().ip(), now()) {
            count(self.counter_of(unwelcome));
            return quic.close(Code::ExcessiveLoad.into(), b"your network opens too many connections");
        }
        // Before, the address was only a word.
        if slot.place.name(quic.remote_address().ip()).is_err() {
            count(&self.counters.crowded);
            return quic.close(Code::ExcessiveLoad.into(), b"your network holds its share of the connections");
        }
        count(&self.counters.connections);
        let desk = (self.desks)(peer(&quic));
        connection::serve(quic, desk, Rc::clone(&self), opened).await;
    }

    /// `None` if it fails, or takes too long.
    async fn shake_hands(&self, incoming: Incoming) -> Option<quinn::Connection> {
        let shaken = async {
            self.turns.wait(Work::Handshake, incoming.remote_address().ip()).await;
            incoming.accept().ok()?.await.ok()
        };
        timeout(self.limits.handshake, shaken).await.ok()?
    }
}

/// A client that is let in. Its room is free again when this is dropped.
struct Slot {
    front: Rc<Front>,
    place: Place,
    shaking_hands: bool,
}

impl Slot {
    fn take(front: &Rc<Front>, place: Place) -> Self {
        front.handshakes.set(front.handshakes.get() + 1);
        Self { front: Rc::clone(front), place, shaking_hands: true }
    }

    /// The handshake is over.
    fn ready(&mut self) {
        if std::mem::take(&mut self.shaking_hands) {
            self.front.handshakes.set(self.front.handshakes.get().saturating_sub(1));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.ready();
        // This one is still counted.
        if self.front.open() <= 1 {
            self.front.empty.notify_one();
        }
        if std::thread::panicking() {
            tracing::error!("a connection ended in a panic");
        }
    }
}

/// The time of the door: rates and bans.
pub(super) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn peer(quic: &quinn::Connection) -> Peer {
    let address = quic.remote_address();
    let handshake = quic.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    Peer {
        // A socket for both families sees IPv4 as a part of IPv6.
        address: SocketAddr::new(address.ip().to_canonical(), address.port()),
        server_name: handshake.and_then(|data| data.server_name),
    }
}

//! One connection from accept to close: TLS, then HTTP/2 or HTTP/1.1 as ALPN says.
//!
//! One future, polled when the socket or a timer says so, moves bytes between the socket, TLS and the protocol's
//! [`Engine`]; it makes no system call that it can do without, and copies bodies only into the records that are sent.
//! The protocol is chosen by ALPN and not by looking at the first bytes, because waiting for first bytes is a state
//! without a timer. Whatever state a connection is in, one [`deadline`] runs: of the handshake, of a head, or of a client
//! that neither asks nor reads. What takes long waits for its [turn](Turns), so that those who look at results do not.

mod deadline;

use std::{
    cell::{Cell, RefCell},
    io,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use tokio::{net::TcpStream, time::Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use self::deadline::Pace;
use super::{Limits, socket::Socket};
use crate::{
    admission::{
        door::Unwelcome,
        offenders::Offence,
        rules::counts::Held,
        shares::Place,
        turns::{Ticket, Turns, Work},
    },
    certificate::H2,
    desk::{Counter, Visit},
    engine::{Aside, Desk as _, Engine, Outbox, State},
    http1::Http1,
    http2::{Http2, Http2Limits},
    observe::{Failure, Handshake, Protocol},
    proxied::{self, MAX_HEADER, Parsed},
};

/// Decrypted bytes that may wait to be read by the protocol: a head, and what a client sends ahead of the answers.
const MAX_INPUT: usize = 64 << 10;

/// What the protocol may have to say (not counting bodies) to a client that does not listen, before it is no longer
/// listened to either.
const MAX_BACKLOG: usize = 64 << 10;

/// Bytes encrypted ahead of the socket: at first and for slow readers, and for those who keep up. A record of TLS holds
/// 16 KiB, and many records in one system call cost less than one in each.
const MIN_AHEAD: usize = 32 << 10;
const MAX_AHEAD: usize = 256 << 10;

/// The least that is encrypted ahead: a record.
const RECORD: usize = 16 << 10;

/// Bytes encrypted ahead on all connections of a thread. A connection gets a quarter of what is left of them at most, so
/// that those who do not read find ever less to hold (Choudhury and Hahne 1998), and never less than a record.
const AHEAD: usize = 64 << 20;

/// Bytes of long answers sent at once, from which on the next ones have to wait for their turn. What is short is over
/// before anyone could wait for it, and much of it at once is what a page asks for.
const HEAVY: usize = 64 << 10;

/// Turns of one poll before other connections get theirs.
const MAX_TURNS: usize = 16;

/// How long a client may take to close its side once everything was sent: closing before it has read all would destroy
/// what is still on its way (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// How long what a client sent before it heard that its connection ends may take to come: a round trip of the longest
/// path reckoned with, several times over.
const PARTING: Duration = Duration::from_secs(1);

/// What the connections of one thread share.
pub(super) struct Front {
    pub(super) counter: Rc<Counter>,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) limits: Limits,
    pub(super) proxy_protocol: bool,
    pub(super) drain: CancellationToken,
    pub(super) turns: Rc<Turns>,
    pub(super) room: RefCell<Room>,
    /// Bytes that are encrypted and not taken by sockets.
    pub(super) ahead: Cell<usize>,
}

/// Buffers that one connection at a time uses, within one poll.
#[derive(Default)]
pub(super) struct Room {
    input: BytesMut,
    out: Outbox,
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the socket: {0}")]
    Socket(#[from] io::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the handshake took too long")]
    Handshake,
    #[error("a listed proxy did not say for whom it speaks")]
    Preamble,
    #[error("its source holds its share of the connections")]
    Crowded,
    #[error("its source is not let in: {0:?}")]
    Unwelcome(Unwelcome),
    #[error("nothing was asked or read for too long")]
    Stalled,
    #[error("a rule of the operator ends it")]
    Ruled,
}

/// Where a connection is.
enum Phase {
    /// A listed proxy has to say whose connection it is, before anything else; what it said so far.
    Preamble(Vec<u8>),
    Handshake,
    Open {
        engine: Box<dyn Engine>,
        is_h1: bool,
    },
    /// Everything is encrypted; the socket has to take it.
    Flushing,
    /// Everything is sent; the client has to close.
    Lingering,
}

/// What came of a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Something was moved: there may be more.
    Moved,
    /// The socket or a timer has to say so first.
    Rested,
    /// There is nothing left to do.
    Over,
}

/// What of [`Front::ahead`] is a connection's own.
struct Ahead<'a> {
    all: &'a Cell<usize>,
    own: usize,
}

impl Ahead<'_> {
    fn set(&mut self, own: usize) {
        self.all.set(self.all.get() - self.own + own);
        self.own = own;
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

struct Connection<'a> {
    front: &'a Front,
    socket: Socket,
    tls: ServerConnection,
    desk: Visit,
    phase: Phase,
    peer: IpAddr,
    place: Place,
    /// Decrypted bytes that the protocol could not use yet.
    input: BytesMut,
    /// How much may be encrypted ahead, and how much is.
    may_ahead: usize,
    ahead: Ahead<'a>,
    /// The place in a queue for a turn.
    ticket: Option<Ticket>,
    /// True once the handshake had its turn.
    is_met: bool,
    /// True if the next turn has to be waited for.
    is_heavy: bool,
    timer: Pin<Box<Sleep>>,
    is_armed: bool,
    accepted: Instant,
    /// The last time that something was asked, or taken.
    beat: Instant,
    requests: u64,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
    is_draining: bool,
    /// True once the client was told that this connection ends.
    is_told: bool,
    /// When that was, until it need not be waited for any more.
    parting: Option<Instant>,
    /// A rule of the operator holds what was answered: nothing is read or sent before it is over.
    held: Option<Held>,
    /// True while bytes of a body wait to be taken by the socket.
    owes_body: bool,
    /// Bytes of bodies, encrypted, that the socket took.
    taken: u64,
    pace: Option<Pace>,
    /// True if the client sends nothing more.
    is_ended: bool,
    /// True if its source was banned since it came.
    is_unwelcome: bool,
    /// True if the client made work without end: it is told so, if it listens, and not listened to.
    is_cut: bool,
}

/// [`serve`] in a place of its own.
pub(super) fn begin(
    tcp: TcpStream,
    peer: IpAddr,
    place: Place,
    front: Rc<Front>,
    accepted: Instant,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(serve(tcp, peer, place, front, accepted))
}

/// Counts a connection that was opened, and on which nothing was said.
pub(super) fn never_spoke(front: &Front, peer: IpAddr) {
    front.counter.tally.handshake_failed(Failure::Timeout);
    front.counter.trouble(peer);
    front.counter.door.blame(peer, Offence::Handshake, Instant::now());
}

/// Serves a connection until it ends, is overdue, or is drained.
async fn serve(tcp: TcpStream, peer: IpAddr, place: Place, front: Rc<Front>, accepted: Instant) {
    let tally = &front.counter.tally;
    let mut tls = match ServerConnection::new(Arc::clone(&front.tls)) {
        Ok(tls) => tls,
        Err(error) => {
            tracing::error!(%error, "TLS cannot serve");
            return;
        }
    };
    // What is encrypted ahead of the socket is bounded here, by `ahead`.
    tls.set_buffer_limit(None);
    let mut connection = Connection {
        front: &front,
        socket: Socket::new(tcp),
        tls,
        desk: front.counter.visit(peer, Protocol::H1),
        phase: if front.proxy_protocol && front.counter.trust.includes(peer) {
            Phase::Preamble(Vec::new())
        } else {
            Phase::Handshake
        },
        peer,
        place,
        input: BytesMut::new(),
        may_ahead: MIN_AHEAD,
        ahead: Ahead { all: &front.ahead, own: 0 },
        ticket: None,
        is_met: false,
        is_heavy: false,
        timer: Box::pin(tokio::time::sleep_until((accepted + front.limits.handshake).into())),
        is_armed: false,
        accepted,
        beat: accepted,
        requests: 0,
        drain: Box::pin(front.drain.clone().cancelled_owned()),
        is_draining: false,
        is_told: false,
        parting: None,
        held: None,
        owes_body: false,
        taken: 0,
        pace: None,
        is_ended: false,
        is_unwelcome: false,
        is_cut: false,
    };
    let ended = std::future::poll_fn(|cx| connection.poll(cx)).await;
    if let Err(error) = ended {
        let peer = connection.peer;
        let blame = |offence| front.counter.door.blame(peer, offence, Instant::now());
        if !matches!(error, Broken::Socket(_) | Broken::Tls(_)) || !matches!(connection.phase, Phase::Open { .. }) {
            front.counter.trouble(connection.peer);
        }
        match error {
            Broken::Stalled => {
                tally.cut_off();
                blame(Offence::Stalled);
            }
            Broken::Crowded => tally.crowded(),
            Broken::Unwelcome(unwelcome) => tally.unwelcome(unwelcome),
            Broken::Handshake => {
                tally.handshake_failed(Failure::Timeout);
                blame(Offence::Handshake);
            }
            Broken::Preamble => tally.handshake_failed(Failure::Protocol),
            _ if matches!(connection.phase, Phase::Preamble(_) | Phase::Handshake) => {
                tally.handshake_failed(Failure::Tls);
                blame(Offence::Handshake);
            }
            _ => {}
        }
        tracing::debug!(%error, "connection");
    }
}

impl Connection<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.watch(cx)?;
        for _ in 0..MAX_TURNS {
            if !self.is_its_turn(cx) {
                return Poll::Pending;
            }
            match self.turn(cx)? {
                Turn::Moved => {}
                Turn::Rested => {
                    self.rest(cx);
                    return Poll::Pending;
                }
                Turn::Over => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// False if it has to wait for its turn.
    fn is_its_turn(&mut self, cx: &Context<'_>) -> bool {
        let work = match &self.phase {
            // Nothing is asked for that may never come: who says nothing waits for nothing.
            Phase::Handshake if !self.is_met && self.socket.is_readable(cx) => Work::Handshake,
            Phase::Open { .. } if self.is_heavy => Work::Bulk,
            _ => return true,
        };
        let has_come = self.front.turns.poll(work, self.peer, &mut self.ticket, cx).is_ready();
        self.is_met |= has_come && work == Work::Handshake;
        self.is_heavy &= !has_come;
        has_come
    }

    /// Reads what came, lets the protocol answer, and sends what there is: each at most once.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<Turn, Broken> {
        if self.held.is_some() {
            return Ok(Turn::Rested);
        }
        let mut moved = self.read(cx)?;
        if !moved && self.is_at_rest() {
            return Ok(Turn::Rested);
        }
        match &self.phase {
            Phase::Handshake if !self.tls.is_handshaking() => self.open(),
            // A client that gives up within the handshake, or goes without saying so.
            Phase::Handshake if self.is_ended => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => {}
        }
        let was_cut = self.is_cut;
        moved |= self.talk();
        if self.is_cut && !was_cut {
            // It may never take what it is told.
            self.beat = Instant::now();
            self.timer.as_mut().reset((self.beat + LINGER).into());
            let _ = self.timer.as_mut().poll(cx);
        }
        if self.is_unwelcome {
            return Err(Broken::Unwelcome(Unwelcome::Banned));
        }
        self.is_draining |= self.desk.is_done();
        match self.desk.aside() {
            None => {}
            Some(Aside::Closed) => return Err(Broken::Ruled),
            Some(Aside::Held(held)) => {
                self.timer.as_mut().reset(held.until().into());
                let _ = self.timer.as_mut().poll(cx);
                self.held = Some(held);
                return Ok(Turn::Rested);
            }
        }
        // Whatever came with the end of the handshake was asked before the client could know.
        if self.is_draining
            && self.parting.is_none()
            && let Phase::Open { engine, .. } = &mut self.phase
            && engine.state() != State::Finished
            && !std::mem::replace(&mut self.is_told, true)
        {
            engine.drain();
            self.part();
            let _ = self.timer.as_mut().poll(cx);
            moved = true;
        }
        moved |= self.write(cx)?;
        if matches!(self.phase, Phase::Flushing) && !self.tls.wants_write() {
            self.socket.finish(cx);
            self.phase = Phase::Lingering;
            self.beat = Instant::now();
            self.timer.as_mut().reset((self.beat + LINGER).into());
            let _ = self.timer.as_mut().poll(cx);
            moved = true;
        }
        if matches!(self.phase, Phase::Lingering) && self.is_ended {
            return Ok(Turn::Over);
        }
        Ok(if moved { Turn::Moved } else { Turn::Rested })
    }

    /// True if there is nothing to be done before more comes: what most turns after an answer find.
    fn is_at_rest(&self) -> bool {
        match &self.phase {
            Phase::Open { engine, .. } => {
                engine.state() == State::Idle
                    && engine.backlog() == 0
                    && self.input.is_empty()
                    && !self.tls.wants_write()
                    && !self.is_ended
            }
            _ => false,
        }
    }

    /// Reads once from the socket, unless what came before has to be used first.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        let backlog = match &self.phase {
            Phase::Open { engine, .. } => engine.backlog(),
            _ => 0,
        };
        if self.is_ended || self.is_cut || backlog > MAX_BACKLOG || self.input.len() >= MAX_INPUT {
            return Ok(false);
        }
        if matches!(self.phase, Phase::Lingering) {
            // Whatever it is, nobody asked for it.
            let ended = self.socket.discard(cx);
            self.is_ended |= ended.unwrap_or(true);
            return Ok(self.is_ended);
        }
        if matches!(self.phase, Phase::Preamble(_)) {
            return self.preamble(cx);
        }
        match self.tls.read_tls(&mut self.socket.with(cx)) {
            Ok(0) => {
                self.is_ended = true;
                Ok(true)
            }
            Ok(_) => {
                if let Err(error) = self.tls.process_new_packets() {
                    // The alert says to the client what is wrong.
                    let _ = self.tls.write_tls(&mut self.socket.with(cx));
                    return Err(error.into());
                }
                if matches!(self.phase, Phase::Flushing) {
                    // The last answer is on its way, and nothing that comes now changes it.
                    let mut reader = self.tls.reader();
                    while let Ok(len @ 1..) = io::BufRead::fill_buf(&mut reader).map(<[u8]>::len) {
                        io::BufRead::consume(&mut reader, len);
                    }
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads whose connection this is (PROXY protocol), and what came with it.
    fn preamble(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        let Phase::Preamble(said) = &mut self.phase else { return Ok(false) };
        let mut bytes = [0; MAX_HEADER];
        let len = match io::Read::read(&mut self.socket.with(cx), &mut bytes) {
            Ok(0) => return Err(Broken::Preamble),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        said.extend_from_slice(bytes.get(..len).unwrap_or_default());
        match proxied::parse(said) {
            Parsed::Incomplete if said.len() < MAX_HEADER => Ok(true),
            Parsed::Header { len, source } => {
                if let Some(source) = source {
                    self.peer = source.ip();
                    let counter = &self.front.counter;
                    counter.door.enter(self.peer, counter.now()).map_err(Broken::Unwelcome)?;
                    self.place.name(self.peer).map_err(|_| Broken::Crowded)?;
                }
                self.desk = self.front.counter.visit(self.peer, Protocol::H1);
                let mut rest = said.get(len..).unwrap_or_default();
                while !rest.is_empty() {
                    self.tls.read_tls(&mut rest)?;
                    self.tls.process_new_packets()?;
                }
                self.phase = Phase::Handshake;
                Ok(true)
            }
            Parsed::Incomplete | Parsed::Invalid => Err(Broken::Preamble),
        }
    }

    /// The handshake is done: the protocol is known.
    fn open(&mut self) {
        let is_h1 = self.tls.alpn_protocol() != Some(H2);
        let protocol = if is_h1 { Protocol::H1 } else { Protocol::H2 };
        self.desk = self.front.counter.visit(self.peer, protocol);
        let is_resumed = self.tls.handshake_kind() == Some(HandshakeKind::Resumed);
        self.front.counter.tally.handshake(if is_resumed { Handshake::Resumed } else { Handshake::Full });
        let limits = &self.front.limits;
        let engine: Box<dyn Engine> = if is_h1 {
            Box::new(Http1::new())
        } else {
            Box::new(Http2::new(Http2Limits { streams: limits.streams, ..Http2Limits::default() }))
        };
        self.phase = Phase::Open { engine, is_h1 };
    }

    /// Gives the protocol what came, and encrypts what it has to say.
    fn talk(&mut self) -> bool {
        let Phase::Open { engine, .. } = &mut self.phase else { return false };
        let room = &mut *self.front.room.borrow_mut();
        let mut moved = false;

        // Most of the time nothing waits from before, and a buffer that all connections share will do.
        let input = if self.input.is_empty() { &mut room.input } else { &mut self.input };
        let is_closed = loop {
            let mut reader = self.tls.reader();
            match io::BufRead::fill_buf(&mut reader) {
                Ok([]) => break true,
                Ok(bytes) => {
                    let len = bytes.len();
                    input.extend_from_slice(bytes);
                    io::BufRead::consume(&mut reader, len);
                    moved = true;
                }
                Err(error) => break error.kind() != io::ErrorKind::WouldBlock,
            }
        };
        let is_dry = loop {
            engine.receive(input, &mut self.desk);
            if engine.requests() != self.requests {
                self.requests = engine.requests();
                self.beat = self.front.counter.now();
                moved = true;
                self.is_unwelcome = self.front.counter.door.is_banned(self.peer, self.beat);
            }
            if self.desk.is_set_aside() {
                break false;
            }
            // What the handshake has to say, or what the socket did not take, goes first.
            if self.tls.wants_write() {
                break false;
            }
            room.out.clear();
            let left = AHEAD.saturating_sub(self.front.ahead.get()) / 4;
            engine.transmit(&mut room.out, self.may_ahead.min(left).max(RECORD));
            if room.out.is_empty() {
                break true;
            }
            moved = true;
            self.front.counter.tally.sent(room.out.body_bytes());
            self.owes_body |= room.out.body_bytes() > 0;
            self.is_heavy |= room.out.long_bytes() >= HEAVY;
            self.ahead.set(self.ahead.own + room.out.len());
            let mut writer = self.tls.writer();
            let written = if room.out.count() == 1 {
                room.out.pieces().try_for_each(|piece| io::Write::write_all(&mut writer, piece))
            } else {
                let slices: Vec<_> = room.out.pieces().map(io::IoSlice::new).collect();
                io::Write::write_vectored(&mut writer, &slices).map(drop)
            };
            debug_assert!(written.is_ok(), "TLS takes everything without a limit");
        };
        room.out.clear();
        if self.input.is_empty() && !room.input.is_empty() {
            self.input = std::mem::take(&mut room.input);
        } else if self.input.is_empty() {
            // Nothing is held for a connection that rests.
            self.input = BytesMut::new();
        }
        if engine.is_abused() && !std::mem::replace(&mut self.is_cut, true) {
            self.front.counter.tally.abusive();
            self.front.counter.door.blame(self.peer, Offence::Abuse, Instant::now());
            self.front.counter.trouble(self.peer);
        }
        // Whoever has all of it has nothing to wait for.
        self.is_heavy &= engine.state() == State::Busy;
        let is_over = engine.state() == State::Finished || (is_closed && engine.state() == State::Idle);
        if is_over && is_dry {
            self.tls.send_close_notify();
            self.phase = Phase::Flushing;
            moved = true;
        }
        moved
    }

    /// Sends what is encrypted, as far as the socket takes it.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        let mut moved = false;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket.with(cx)) {
                Ok(len) => {
                    moved = true;
                    // A record is a little longer than what is in it.
                    self.ahead.set(self.ahead.own.saturating_sub(len));
                    // Only a client that takes what it asked for is alive: what the protocol has to say by itself is none
                    // of that, and nor is what the client says to be answered.
                    if self.owes_body && !self.is_cut {
                        self.beat = self.front.counter.now();
                        self.taken += len as u64;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.may_ahead = MIN_AHEAD;
                    return Ok(moved);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.owes_body = false;
        self.ahead.set(0);
        if moved {
            self.may_ahead = (self.may_ahead * 2).min(MAX_AHEAD);
        }
        Ok(moved)
    }
}

//! One connection from accept to close: TLS, then HTTP/2 or HTTP/1.1 as ALPN says.
//!
//! One future, polled when the socket or a timer says so, moves bytes between the socket, TLS and the protocol's
//! [`Engine`]; it makes no system call that it can do without, and copies bodies only into the records that are sent.
//! The protocol is chosen by ALPN and not by looking at the first bytes, because waiting for first bytes is a state
//! without a timer. Whatever state a connection is in, one deadline runs: of the handshake, of a head, or of a client
//! that neither asks nor reads.

use std::{
    cell::RefCell,
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

use super::{Limits, socket::Socket};
use crate::{
    admission::rules::counts::Held,
    admission::shares::Place,
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
    pub(super) room: RefCell<Room>,
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
    #[error("nothing was asked or read for too long")]
    Stalled,
    #[error("a rule of the operator ends it")]
    Unwelcome,
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
    ahead: usize,
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
    /// True if the client sends nothing more.
    is_ended: bool,
}

/// Serves a connection until it ends, is overdue, or is drained.
pub(super) async fn serve(tcp: TcpStream, peer: IpAddr, place: Place, front: Rc<Front>, accepted: Instant) {
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
        ahead: MIN_AHEAD,
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
        is_ended: false,
    };
    let ended = std::future::poll_fn(|cx| connection.poll(cx)).await;
    if let Err(error) = ended {
        match error {
            Broken::Stalled => tally.cut_off(),
            Broken::Crowded => tally.crowded(),
            Broken::Handshake => tally.handshake_failed(Failure::Timeout),
            Broken::Preamble => tally.handshake_failed(Failure::Protocol),
            _ if matches!(connection.phase, Phase::Preamble(_) | Phase::Handshake) => {
                tally.handshake_failed(Failure::Tls);
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
            match self.turn(cx)? {
                Turn::Moved => {}
                Turn::Rested => return Poll::Pending,
                Turn::Over => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The timer, and the call to drain. Each is polled once to be heard, and then only looked at.
    fn watch(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let is_first = !self.is_armed;
        if !self.is_draining && (is_first || self.front.drain.is_cancelled()) && self.drain.as_mut().poll(cx).is_ready()
        {
            self.is_draining = true;
            self.held = None;
            match &mut self.phase {
                // The request may be on its way already: the handshake is finished first.
                Phase::Preamble(_) | Phase::Handshake | Phase::Flushing | Phase::Lingering => {}
                Phase::Open { engine, .. } => {
                    engine.drain();
                    self.is_told = true;
                    self.part();
                }
            }
        }
        self.is_armed = true;
        while is_first || self.timer.is_elapsed() {
            if self.timer.as_mut().poll(cx).is_pending() {
                break;
            }
            let now = Instant::now();
            if self.held.take_if(|held| held.until() <= now).is_some() {
                self.beat = now;
            }
            if self.parting.take_if(|told| *told + PARTING <= now).is_some()
                && let Phase::Open { engine, .. } = &mut self.phase
            {
                engine.overdue(&mut self.desk);
            }
            let deadline = self.deadline();
            if deadline > now {
                // Phones leave their network without saying so: whoever is silent for long is asked, once.
                if let Phase::Open { engine, .. } = &mut self.phase
                    && engine.state() == State::Idle
                    && self.held.is_none()
                {
                    engine.ping();
                }
                self.timer.as_mut().reset(deadline.into());
                if self.timer.as_mut().poll(cx).is_pending() {
                    break;
                }
                continue;
            }
            self.overdue()?;
            self.timer.as_mut().reset((now + LINGER).into());
            if self.timer.as_mut().poll(cx).is_pending() {
                break;
            }
        }
        Ok(())
    }

    /// When this connection is overdue.
    fn deadline(&self) -> Instant {
        let limits = &self.front.limits;
        if let Some(held) = &self.held {
            return held.until();
        }
        let end = match &self.phase {
            Phase::Preamble(_) | Phase::Handshake => self.accepted + limits.handshake,
            Phase::Open { .. } if self.requests == 0 => self.accepted + limits.head,
            Phase::Open { engine, is_h1: true } if engine.state() == State::Idle => self.beat + limits.head,
            Phase::Open { .. } | Phase::Flushing => self.beat + limits.stall,
            Phase::Lingering => self.beat + LINGER,
        };
        self.parting.map_or(end, |told| end.min(told + PARTING))
    }

    /// The client was told that this connection ends. Polled again soon, the timer is heard.
    fn part(&mut self) {
        let now = Instant::now();
        self.parting = Some(now);
        self.timer.as_mut().reset((now + PARTING).into());
    }

    fn overdue(&mut self) -> Result<(), Broken> {
        match &mut self.phase {
            Phase::Preamble(_) | Phase::Handshake => return Err(Broken::Handshake),
            Phase::Open { engine, .. } if engine.state() == State::Idle => {
                // A connection that was used and rests is let go without a word in the counters.
                if self.requests == 0 || !self.input.is_empty() {
                    self.front.counter.tally.cut_off();
                }
                engine.overdue(&mut self.desk);
                self.beat = Instant::now();
            }
            Phase::Open { .. } | Phase::Flushing => return Err(Broken::Stalled),
            Phase::Lingering => self.is_ended = true,
        }
        Ok(())
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
        moved |= self.talk();
        match self.desk.aside() {
            None => {}
            Some(Aside::Closed) => return Err(Broken::Unwelcome),
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
        if self.is_ended || backlog > MAX_BACKLOG || self.input.len() >= MAX_INPUT {
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
            }
            if self.desk.is_set_aside() {
                break false;
            }
            // What the handshake has to say, or what the socket did not take, goes first.
            if self.tls.wants_write() {
                break false;
            }
            room.out.clear();
            engine.transmit(&mut room.out, self.ahead);
            if room.out.is_empty() {
                break true;
            }
            moved = true;
            self.front.counter.tally.sent(room.out.body_bytes());
            self.owes_body |= room.out.body_bytes() > 0;
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
        let is_over = engine.state() == State::Finished || (is_closed && engine.state() == State::Idle);
        if is_over && is_dry {
            if engine.is_abused() {
                self.front.counter.tally.abusive();
            }
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
                Ok(_) => {
                    moved = true;
                    // Only a client that takes what it asked for is alive: what the protocol has to say by itself is none
                    // of that, and nor is what the client says to be answered.
                    if self.owes_body {
                        self.beat = self.front.counter.now();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ahead = MIN_AHEAD;
                    return Ok(moved);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.owes_body = false;
        if moved {
            self.ahead = (self.ahead * 2).min(MAX_AHEAD);
        }
        Ok(moved)
    }
}

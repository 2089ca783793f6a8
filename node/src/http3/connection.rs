//! The life of one connection: settings, requests, and an end that cuts nothing off.
//!
//! It ends in order unless the client breaks the protocol or takes nothing: the client is told that no more requests are
//! taken (GOAWAY, RFC 9114 section 5.2), those under way are answered to their end, then it is closed. Between the
//! telling and the last word there is time for requests that were sent before the client knew.

use std::{pin::Pin, rc::Rc, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use quinn::{RecvStream, SendStream, StoppedError};
use tokio::{
    task::spawn_local,
    time::{Instant, sleep_until, timeout},
};

use super::{
    code::Code,
    counters::count,
    frame::{kind, put_varint},
    front::Front,
    limits::FIELD_SECTION,
    receiving::{self, Receiving, Room},
    request,
    session::Session,
    watch::{self, Judgement, Seen, Watch},
};
use crate::{admission::offenders::Offence, engine::Desk};

/// What the control stream begins with (RFC 9114 section 6.2.1).
const CONTROL: u64 = 0;

/// The setting SETTINGS_MAX_FIELD_SECTION_SIZE (RFC 9114 section 7.2.4.1). Those of QPACK are what they are without a
/// word: no dynamic table (RFC 9204 section 5).
const MAX_FIELD_SECTION_SIZE: u64 = 6;

/// The number of the last request there can be: it tells a client to stop, without losing what is on its way (RFC 9114
/// section 5.2).
const ALL: u64 = (1 << 62) - 4;

/// The control stream comes before all answers: their order in QUIC is below this.
const FIRST: i32 = 100;

/// How long a client may need to hear that a connection ends: two of its round trips, within these bounds.
const HEARD: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Something that is waited for again and again. One allocation for a connection's life, and wakers that stay.
type Again<T> = Pin<Box<dyn Stream<Item = T>>>;

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Requests are taken.
    Open,
    /// The client is told that it ends; what it sent before it knew is still taken, until then.
    Warned(Instant),
    /// No requests are taken.
    Last,
    /// Everything is delivered. The client may close first, and has until then to read what came.
    Done(Instant),
}

/// Why the loop over a connection ends.
enum End {
    /// Everything that was asked is delivered.
    Complete,
    /// The connection is closed, by either side or by time.
    Lost,
    /// The client takes nothing, or nothing but time.
    Abandoned(Code),
}

/// Serves a connection until its end. `opened` is when its first packet came.
pub(super) async fn serve(quic: quinn::Connection, desk: Box<dyn Desk>, front: Rc<Front>, opened: Instant) {
    let session = Session::new(Rc::clone(&front), quic.remote_address().ip(), desk);
    let room = Room::new(quic.clone(), Rc::clone(&session));
    // It waits for nothing but room for a stream, which every client gives with the handshake.
    let Ok(Ok(control)) = timeout(front.limits.handshake, greet(&quic)).await else {
        return room.violated(Code::StreamCreation);
    };
    let watch = Watch::new(opened);
    let mut driver = Driver { quic, room, session, control, watch, phase: Phase::Open, next: 0, unsaid: Vec::new() };
    match driver.run(&front).await {
        End::Complete => driver.quic.close(Code::NoError.into(), b""),
        End::Lost => {}
        End::Abandoned(reason) => driver.quic.close(reason.into(), b""),
    }
}

/// Opens the control stream, and says how large heads may be.
async fn greet(quic: &quinn::Connection) -> Result<SendStream, quinn::WriteError> {
    let mut control = quic.open_uni().await?;
    let _ = control.set_priority(FIRST);
    let (mut said, mut settings) = (Vec::new(), Vec::new());
    put_varint(MAX_FIELD_SECTION_SIZE, &mut settings);
    put_varint(FIELD_SECTION as u64, &mut settings);
    put_varint(CONTROL, &mut said);
    put_frame(kind::SETTINGS, &settings, &mut said);
    control.write_all(&said).await?;
    Ok(control)
}

fn put_frame(kind: u64, payload: &[u8], into: &mut Vec<u8>) {
    put_varint(kind, into);
    put_varint(payload.len() as u64, into);
    into.extend_from_slice(payload);
}

struct Driver {
    quic: quinn::Connection,
    room: Rc<Room>,
    session: Rc<Session>,
    /// Our own control stream.
    control: SendStream,
    watch: Watch,
    phase: Phase,
    /// The number of the stream behind the last one that was taken.
    next: u64,
    /// What the client left no room for on the control stream.
    unsaid: Vec<u8>,
}

impl Driver {
    async fn run(&mut self, front: &Front) -> End {
        let mut look = Box::pin(sleep_until(Instant::now()));
        let mut unwanted = Box::pin(self.control.stopped());
        let mut requests: Again<(SendStream, RecvStream)> =
            Box::pin(stream::unfold(self.quic.clone(), async |quic| Some((quic.accept_bi().await.ok()?, quic))));
        let mut asides: Again<RecvStream> =
            Box::pin(stream::unfold(self.quic.clone(), async |quic| Some((quic.accept_uni().await.ok()?, quic))));
        loop {
            tokio::select! {
                biased;
                accepted = requests.next() => {
                    let Some((sending, receiving)) = accepted else { return End::Lost };
                    if self.session.is_banned() {
                        return End::Abandoned(Code::ExcessiveLoad);
                    }
                    self.begin(sending, receiving);
                    // What the last look saw may have been nothing.
                    let next = watch::look(self.session.since(), self.session.limits());
                    if next < look.deadline() {
                        look.as_mut().reset(next);
                    }
                    continue;
                }
                accepted = asides.next() => {
                    let Some(stream) = accepted else { return End::Lost };
                    spawn_local(receiving::aside(stream, Rc::clone(&self.room)));
                    continue;
                }
                stopped = &mut unwanted => {
                    // Lost otherwise, which the next turn is told.
                    if let Ok(_) | Err(StoppedError::ZeroRttRejected) = stopped {
                        self.room.violated(Code::ClosedCriticalStream);
                    }
                    return End::Lost;
                }
                () = front.drain.cancelled(), if self.phase == Phase::Open => self.warn().await,
                () = self.session.changed() => {}
                () = &mut look => {}
            }
            match self.step(Instant::now()).await {
                Ok(next) => look.as_mut().reset(next),
                Err(end) => return end,
            }
        }
    }

    /// A request has a task of its own. Those that come when no more are taken may be asked again elsewhere.
    fn begin(&mut self, mut sending: SendStream, receiving: RecvStream) {
        let number = u64::from(sending.id());
        let mut receiving = Receiving::new(receiving, &self.room);
        if matches!(self.phase, Phase::Last | Phase::Done(_)) {
            let _ = sending.reset(Code::RequestRejected.into());
            return receiving.stop(Code::RequestRejected);
        }
        self.next = number.saturating_add(4);
        let Some(under_way) = self.session.begin(number) else {
            let _ = sending.reset(Code::RequestRejected.into());
            return receiving.stop(Code::RequestRejected);
        };
        spawn_local(request::serve(receiving, sending, under_way));
    }

    /// What follows from what was seen; gives when to look again.
    async fn step(&mut self, now: Instant) -> Result<Instant, End> {
        let session = Rc::clone(&self.session);
        if session.is_wasteful() {
            count(&session.counters().violations);
            session.blame(Offence::Abuse);
            return Err(End::Abandoned(Code::ExcessiveLoad));
        }
        let seen = Seen {
            requests: session.requests(),
            under_way: session.under_way(),
            since: session.since(),
            sent: self.quic.stats().frame_tx.stream,
        };
        let fine = match self.watch.judge(seen, now, session.limits()) {
            Judgement::Fine(until) => until,
            Judgement::Stalled => {
                count(&session.counters().silent);
                session.blame(Offence::Stalled);
                return Err(End::Abandoned(Code::ExcessiveLoad));
            }
            Judgement::Silent if self.phase == Phase::Open => {
                count(&session.counters().silent);
                return Err(End::Abandoned(Code::NoError));
            }
            Judgement::Idle | Judgement::Silent => {
                if self.phase == Phase::Open {
                    self.warn().await;
                }
                now + session.limits().idle
            }
        };
        match self.phase {
            Phase::Open if session.is_overdue() || session.desk().is_done() => self.warn().await,
            Phase::Warned(until) if until <= now => self.last().await,
            _ => {}
        }
        if self.phase == Phase::Last && session.under_way() == 0 {
            self.phase = Phase::Done(Instant::now() + self.heard());
        }
        match self.phase {
            Phase::Done(until) if until <= now => Err(End::Complete),
            Phase::Warned(until) | Phase::Done(until) => Ok(fine.min(until)),
            Phase::Open | Phase::Last => Ok(fine),
        }
    }

    /// Says that the connection ends, and that what the client may have sent by then is still taken.
    async fn warn(&mut self) {
        self.session.end();
        self.goaway(ALL).await;
        self.phase = Phase::Warned(Instant::now() + self.heard());
    }

    /// Says which request was the last one: the one before this number.
    async fn last(&mut self) {
        self.goaway(self.next).await;
        self.phase = Phase::Last;
    }

    /// A client that leaves no room on the control stream is not told, and sees the connection close.
    async fn goaway(&mut self, id: u64) {
        let mut number = Vec::new();
        put_varint(id, &mut number);
        put_frame(kind::GOAWAY, &number, &mut self.unsaid);
        // A frame that was begun is gone on with, whenever there is room for it.
        let _ = timeout(HEARD.1, async {
            while !self.unsaid.is_empty() {
                let said = self.control.write(&self.unsaid).await?;
                self.unsaid.drain(..said);
            }
            Ok::<_, quinn::WriteError>(())
        })
        .await;
    }

    fn heard(&self) -> Duration {
        (self.quic.rtt() * 2).clamp(HEARD.0, HEARD.1)
    }
}

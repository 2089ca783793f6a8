//! The life of one connection: settings, requests, and an end that cuts nothing off.
//!
//! It ends in order unless the client breaks the protocol or takes nothing: the client is told that no more requests are
//! taken (GOAWAY, RFC 9114 section 5.2), those under way are answered to their end, then it is closed. Between the
//! telling and the last word there is time for requests that were sent before the client knew.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use h3::{
    error::{Code, ConnectionError},
    server,
};
use tokio::{
    task::spawn_local,
    time::{Instant, sleep_until, timeout},
};

use super::{
    counters::count,
    front::Front,
    limits::{FIELD_SECTION, STREAMS},
    quic::{self, Shared, code},
    request::{self, Unread},
    session::Session,
    watch::{self, Judgement, Seen, Watch},
};
use crate::engine::Desk;

/// How long a client may need to hear that a connection ends: two of its round trips, within these bounds.
const HEARD: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

type Layer = server::Connection<quic::Connection, Bytes>;

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
    /// The client is gone, or the protocol layer closed the connection.
    Lost(ConnectionError),
    /// The client takes nothing, or nothing but time.
    Abandoned(Code),
}

/// Serves a connection until its end. `opened` is when its first packet came.
pub(super) async fn serve(quic: quinn::Connection, desk: Box<dyn Desk>, front: Rc<Front>, opened: Instant) {
    let shared = Shared::new(quic.clone());
    let session = Session::new(Rc::clone(&front), desk);
    let mut settings = server::builder();
    settings.max_field_section_size(FIELD_SECTION);
    let built = settings.build(quic::Connection::new(Rc::clone(&shared)));
    // It waits for nothing but room for three streams, which every client gives with the handshake.
    let Ok(Ok(layer)) = timeout(front.limits.handshake, built).await else {
        count(&front.counters.violations);
        return quic.close(code(Code::H3_STREAM_CREATION_ERROR), b"no room for control streams");
    };
    let watch = Watch::new(opened);
    let mut driver = Driver { layer, quic, shared, session, watch, phase: Phase::Open, listening: true };
    match driver.run(&front).await {
        // What is dropped closes the connection with H3_NO_ERROR.
        End::Complete => {}
        End::Lost(ConnectionError::Local { .. }) => count(&front.counters.violations),
        End::Lost(_) => {}
        End::Abandoned(reason) => driver.quic.close(code(reason), b""),
    }
}

struct Driver {
    layer: Layer,
    quic: quinn::Connection,
    shared: Rc<Shared>,
    session: Rc<Session>,
    watch: Watch,
    phase: Phase,
    /// False once the client said that it asks for nothing more.
    listening: bool,
}

impl Driver {
    async fn run(&mut self, front: &Front) -> End {
        let mut look = Box::pin(sleep_until(Instant::now()));
        loop {
            tokio::select! {
                biased;
                accepted = self.layer.accept(), if self.listening => match accepted {
                    Ok(Some(unread)) => {
                        self.begin(unread);
                        // What the last look saw may have been nothing.
                        let next = watch::look(self.session.since(), self.session.limits());
                        if next < look.deadline() {
                            look.as_mut().reset(next);
                        }
                        continue;
                    }
                    Ok(None) => {
                        self.listening = false;
                        self.session.end();
                        self.phase = Phase::Last;
                    }
                    Err(error) => return End::Lost(error),
                },
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

    /// A request has a task of its own, and its sending half is not the protocol layer's.
    fn begin(&self, unread: Unread) {
        if let Some(stream) = self.shared.newest() {
            spawn_local(request::serve(unread, stream, self.session.begin()));
        }
    }

    /// What follows from what was seen; gives when to look again.
    async fn step(&mut self, now: Instant) -> Result<Instant, End> {
        let session = Rc::clone(&self.session);
        if session.is_wasteful() {
            count(&session.counters().violations);
            return Err(End::Abandoned(Code::H3_EXCESSIVE_LOAD));
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
                return Err(End::Abandoned(Code::H3_EXCESSIVE_LOAD));
            }
            Judgement::Silent if self.phase == Phase::Open => {
                count(&session.counters().silent);
                return Err(End::Abandoned(Code::H3_NO_ERROR));
            }
            Judgement::Idle | Judgement::Silent => {
                if self.phase == Phase::Open {
                    self.warn().await;
                }
                now + session.limits().idle
            }
        };
        match self.phase {
            Phase::Open if session.is_overdue() => self.warn().await,
            Phase::Warned(until) if until <= now => self.last().await,
            _ => {}
        }
        if self.phase == Phase::Last && session.under_way() == 0 {
            self.phase = Phase::Done(now + self.heard());
        }
        match self.phase {
            Phase::Done(until) if until <= now => Err(End::Complete),
            Phase::Warned(until) | Phase::Done(until) => Ok(fine.min(until)),
            Phase::Open | Phase::Last => Ok(fine),
        }
    }

    /// Says that the connection ends, and how many requests are still taken: all that the client may have sent.
    async fn warn(&mut self) {
        self.session.end();
        self.goaway(STREAMS as usize).await;
        self.phase = Phase::Warned(Instant::now() + self.heard());
    }

    /// Says which request was the last one: the one before this number.
    async fn last(&mut self) {
        self.goaway(1).await;
        self.phase = Phase::Last;
    }

    /// A client that leaves no room on the control stream is not told, and sees the connection close.
    async fn goaway(&mut self, more: usize) {
        let _ = timeout(HEARD.1, self.layer.shutdown(more)).await;
    }

    fn heard(&self) -> Duration {
        (self.quic.rtt() * 2).clamp(HEARD.0, HEARD.1)
    }
}

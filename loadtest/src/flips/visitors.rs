//! Visitors: connections that are opened, asked much over, and opened again; and downloads that take their time.
//!
//! A visitor weighs every answer. One that is wrong is counted and ends the connection; the visitor comes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::timeout};

use super::{
    asking::{Asker, Dice},
    certificates::Certificates,
    client::{Coming, Dialer, Line, Lost, Manner, Opened, Protocol},
    forms::Forms,
    judge::{Asked, Fault, Got, Kind, Verdict, judge},
    oracle::{Menu, Oracle, Timeline},
    tally::{Seen, Tally},
};

/// No answer takes longer, but for a machine that is overwhelmed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The same for one that is read slowly.
const LONG_PATIENCE: Duration = Duration::from_secs(120);

/// Before a connection that could not be opened is tried again.
const AGAIN: Duration = Duration::from_millis(50);

/// Requests on one connection, from and to.
const LIFE: (u64, u64) = (200, 3000);

/// What all visitors share.
pub(super) struct Scene {
    pub(super) oracle: Oracle,
    pub(super) menu: Menu,
    pub(super) forms: Forms,
    pub(super) timeline: Timeline,
    pub(super) certificates: Certificates,
    pub(super) dialer: Dialer,
    pub(super) tally: Tally,
    /// Set once enough was asked.
    pub(super) is_over: AtomicBool,
}

/// What is known of a connection.
#[derive(Debug)]
struct Session {
    protocol: Protocol,
    /// The newest cut that was shown.
    seen: AtomicU64,
}

impl Scene {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Opens a connection, and weighs the certificate. `None` if that failed.
    async fn open(&self, protocol: Protocol, manner: Manner) -> Option<(Line, Session)> {
        let settled = self.certificates.settled();
        let line = || format!("{}, a new connection, {manner:?}", protocol.name());
        let Opened { line: opened, leaf } = match self.dialer.open(protocol, manner).await {
            Ok(opened) => opened,
            Err(error) => {
                let fault = Fault::new(Kind::Unreachable, "a connection", format!("{error:#}"));
                self.tally.fault(&fault, &line());
                tokio::time::sleep(AGAIN).await;
                return None;
            }
        };
        self.tally.see(Seen::Connection);
        match leaf.map(|leaf| self.certificates.check(settled, &leaf)) {
            None => self.tally.see(Seen::Resumed),
            Some(Ok(_)) => {}
            Some(Err(fault)) => self.tally.fault(&fault, &line()),
        }
        Some((opened, Session { protocol, seen: AtomicU64::new(0) }))
    }

    /// Sends a request and weighs its answer. `None` if the connection is not to be used any more.
    async fn exchange(
        &self,
        line: &mut Line,
        session: &Session,
        asked: &Asked,
        pause: Option<Duration>,
    ) -> Option<Verdict> {
        let began = Instant::now();
        let patience = if pause.is_some() { LONG_PATIENCE } else { PATIENCE };
        let outcome = timeout(patience, async {
            let coming = line.send(asked, self.dialer.authority()).await?;
            self.take(coming, pause).await
        });
        let outcome = outcome.await.unwrap_or_else(|_| Err(Lost::Broken(format!("nothing for {patience:?}"))));
        let got = match outcome {
            Ok(got) => got,
            Err(Lost::Unsent) => {
                self.tally.see(Seen::Ended);
                return None;
            }
            Err(Lost::Broken(why)) => {
                self.tally.checked(session.protocol);
                let line = format!("{} {}, after {:?}", session.protocol.name(), asked.line(), began.elapsed());
                self.tally.fault(&Fault::new(Kind::Broken, "a whole answer", why), &line);
                return None;
            }
        };
        self.tally.checked(session.protocol);
        match judge(&self.oracle, &self.forms, asked, &got) {
            Ok(verdict) => {
                session.seen.fetch_max(verdict.current, Ordering::SeqCst);
                self.note(asked, &got, &verdict);
                Some(verdict)
            }
            Err(fault) => {
                self.tally.fault(&fault, &evidence(session.protocol, asked, &got));
                None
            }
        }
    }

    async fn take(&self, coming: Coming, pause: Option<Duration>) -> Result<Got, Lost> {
        let (at, submitted) = (Instant::now(), self.timeline.submitted());
        let (status, headers) = (coming.status, coming.headers.clone());
        let body = coming.body(pause).await?;
        Ok(Got { status, headers, body, submitted, at })
    }

    /// Counts what kind of answer it was.
    fn note(&self, asked: &Asked, got: &Got, verdict: &Verdict) {
        self.tally.see(match got.status {
            200 if asked.is_head => Seen::Head,
            200 => Seen::Whole,
            206 => Seen::Part,
            304 => Seen::Unchanged,
            _ => Seen::Nothing,
        });
        if asked.page.is_some() && verdict.cut < asked.confirmed {
            self.tally.see(Seen::OfPage);
        } else if verdict.cut < asked.confirmed {
            self.tally.see(Seen::Past);
        }
    }
}

/// Everything about an answer that is wrong.
fn evidence(protocol: Protocol, asked: &Asked, got: &Got) -> String {
    let fields = ["difusor-cut", "etag", "content-encoding", "content-length", "content-range", "date"];
    let fields = fields.iter().filter_map(|name| Some(format!(", {name}: {}", got.field(name)?)));
    let fields: String = fields.collect();
    let (asked, body) = (asked.line(), got.body.len());
    format!("{} {asked} -> {}{fields}, body of {body} bytes", protocol.name(), got.status)
}

/// Asks until it is over, over one connection after the other, so many requests at once.
pub(super) async fn visit(scene: Arc<Scene>, protocol: Protocol, streams: u64, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut askers: Vec<Asker> =
        (0..streams).map(|stream| Asker::new(seed.wrapping_add(stream), streams == 1)).collect();
    // Every other connection shows the certificate, the others resume.
    for resume in [false, true].into_iter().cycle() {
        if scene.is_over() {
            return;
        }
        let Some((line, session)) = scene.open(protocol, Manner { resume, slow: false }).await else { continue };
        let (from, to) = LIFE;
        let requests = (from + dice.below(to - from)).div_ceil(streams);
        let session = Arc::new(session);
        let mut running = JoinSet::new();
        let mut line = Some(line);
        while let (Some(asker), Some(own)) = (askers.pop(), line.take()) {
            line = own.another();
            running.spawn(stream(Arc::clone(&scene), own, Arc::clone(&session), asker, requests));
        }
        drop(line);
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok(asker) => askers.push(asker),
                Err(error) => {
                    let fault = Fault::new(Kind::Broken, "a visitor that goes on", error.to_string());
                    scene.tally.fault(&fault, protocol.name());
                }
            }
        }
    }
}

/// One request after the other.
async fn stream(scene: Arc<Scene>, mut line: Line, session: Arc<Session>, mut asker: Asker, requests: u64) -> Asker {
    asker.reconnect();
    for _ in 0..requests {
        if scene.is_over() {
            break;
        }
        let asked = asker.ask(&scene.menu, &scene.timeline, session.seen.load(Ordering::SeqCst));
        let since = Instant::now();
        let Some(verdict) = scene.exchange(&mut line, &session, &asked, None).await else { break };
        asker.learn(&asked, verdict, since);
    }
    asker
}

/// Downloads large files slowly, one after the other, until it is dropped.
pub(super) async fn download(scene: Arc<Scene>, protocol: Protocol, pause: Duration, seed: u64) {
    let mut asker = Asker::new(seed, false);
    while !scene.is_over() {
        let manner = Manner { resume: false, slow: true };
        let Some((mut line, session)) = scene.open(protocol, manner).await else { continue };
        loop {
            let asked = asker.download(&scene.menu, &scene.timeline, session.seen.load(Ordering::SeqCst));
            let Some(verdict) = scene.exchange(&mut line, &session, &asked, Some(pause)).await else { break };
            scene.tally.see(Seen::Download);
            if scene.timeline.confirmed() > verdict.cut {
                scene.tally.see(Seen::Spanning);
            }
        }
    }
}

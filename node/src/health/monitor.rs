//! Looks at this node and at the others, twice a second, and says what it finds.
//!
//! It asks itself over its own public address, as a visitor would, for the first page and for a file by chance, and
//! compares the bytes; it asks other nodes over theirs, in turns, and tells what it found. It writes to the disk, and looks
//! at the certificate, the clock, the cut, the peers. What follows from all that is decided by the [`Judge`].

use std::{
    collections::HashMap,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use difusor_proto::{CutKey, Digest, NodeId, process::unix_us, units::Bytes};
use tokio_util::sync::CancellationToken;

use super::{
    Health, Judge, Reason,
    page::Board,
    probe::{Fault, MOST, Prober, Question},
};
use crate::{
    address,
    certificate::Certificates,
    observe::Observatory,
    peers::{Mood, Peers, View},
    policy::Policy,
    proxied::Trust,
    sync::Sync,
    wellknown,
};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(500);

/// How often it looks whether a flip was missed, so that nobody who saw the newer cut is let in to see the older one.
const DOOR: Duration = Duration::from_millis(50);

/// How often it asks itself, and another node.
const ASK: Duration = Duration::from_secs(1);

/// How long after its own answer was wrong it asks once more: what is wrong twice is believed.
const ONCE_MORE: Duration = Duration::from_millis(200);

/// How long its own answer may take, and that of another, which is further away and behind a path that may lose some: where a third of
/// all packets is lost, a third of the answers take longer than four seconds, and a tenth longer than this.
const PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE_FAR: Duration = Duration::from_secs(10);

/// Failures of another node one after another until that is told, and answers until the contrary is.
const FAILURES: u32 = 3;
const ANSWERS: u32 = 2;

/// How often the disk is written to.
const WRITE: Duration = Duration::from_secs(2);

/// How long that may take.
const WRITTEN: Duration = Duration::from_secs(5);

/// Clocks that are off by so much, microseconds: somebody should look; and cookies, caches, certificates go wrong.
const DRIFTS: u64 = 500_000;
const WRONG: u64 = 30_000_000;

/// What is looked at.
pub struct Monitor {
    /// Knows the cut and the coordinator.
    pub sync: Arc<Sync>,
    /// Knows what is counted.
    pub observatory: Arc<Observatory>,
    /// The public certificate.
    pub certificates: Arc<Certificates>,
    /// The others.
    pub peers: Peers,
    /// Where the health is shown.
    pub board: Arc<Board>,
    /// What is given up when there is too much to do.
    pub overload: crate::admission::overload::Overload,
    /// What the operator decides about answers.
    pub policy: Arc<Policy>,
    /// Where the node serves the public.
    pub public: Vec<SocketAddr>,
    /// Proxies whose connections begin with the PROXY protocol, if any do.
    pub preamble: Option<Trust>,
    /// The node's folder.
    pub folder: PathBuf,
    /// Free bytes below which the disk is low.
    pub low_space: u64,
    /// Bytes a second that the node can send; nothing if that is not known.
    pub capacity: Bytes,
    /// When the node began.
    pub begun: Instant,
    /// Set once the node is about to end.
    pub ending: CancellationToken,
}

/// Paths of a cut, and what is at them.
type Files = Vec<(String, Digest)>;

/// What is found beside the look itself.
#[derive(Debug, Default)]
struct Found {
    own: Option<(Instant, Result<Duration, Fault>)>,
    written: Option<(Instant, bool)>,
}

impl Monitor {
    /// Looks until cancelled.
    ///
    /// # Errors
    /// If it cannot ask at all.
    pub async fn run(self, cancel: CancellationToken) -> anyhow::Result<()> {
        let prober = Prober::new()?;
        let monitor = Arc::new(self);
        let found = Arc::new(Mutex::new(Found::default()));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(Arc::clone(&monitor).ask_itself(prober.clone(), Arc::clone(&found)));
        tasks.spawn(Arc::clone(&monitor).ask_others(prober));
        tasks.spawn(Arc::clone(&monitor).write(Arc::clone(&found)));
        tasks.spawn(Arc::clone(&monitor).keep_door());
        let watching = monitor.watch(&found);
        tokio::select! {
            () = cancel.cancelled() => {}
            () = watching => {}
        }
        tasks.shutdown().await;
        Ok(())
    }

    async fn watch(&self, found: &Mutex<Found>) {
        let mut judge = Judge::default();
        let begun = Instant::now();
        let mut due = tokio::time::Instant::now();
        let mut sent = (Instant::now(), self.observatory.totals().body_bytes);
        let mut headroom = u8::MAX;
        let mut last = Health::default();
        loop {
            due += LOOK;
            tokio::time::sleep_until(due).await;
            let late = due.elapsed();
            // Whatever held it up, it does not catch up.
            due = due.max(tokio::time::Instant::now() - LOOK);
            if sent.0.elapsed() >= 4 * LOOK {
                let bytes = self.observatory.totals().body_bytes;
                headroom = self.headroom(bytes.saturating_sub(sent.1), sent.0.elapsed());
                sent = (Instant::now(), bytes);
            }
            let view = self.peers.view();
            let gate = Arc::clone(&self.sync.gate);
            // Without the lock of the gate, which a flip holds until its instant.
            let serial = gate.serial();
            let held = tokio::task::spawn_blocking(move || gate.held().unwrap_or_default()).await.unwrap_or_default();
            let mut seen = self.see(&view, found);
            if late > LOOK / 2 {
                seen |= Reason::Late.bit();
            }
            let health = judge.see(seen, begun.elapsed());
            if health != last {
                let reasons: Vec<_> = health.reasons.iter().map(|reason| reason.name()).collect();
                let (state, reasons) = (health.state.name(), reasons.join(", "));
                if health.is_fit() {
                    tracing::info!(state, reasons, "health");
                } else {
                    tracing::warn!(state, reasons, "health: visitors should go elsewhere");
                }
                last = health.clone();
            }
            let serves = self.sync.gate.serving.current().map_or(0, |site| site.cut().seq);
            self.peers.say(Mood {
                condition: health.state,
                reasons: health.bits(),
                serial,
                seq: serves,
                staged: held.first().map_or(0, |cut| cut.seq),
                headroom,
            });
            self.board.show(health);
        }
    }

    /// Lets nobody new in while this node has missed a flip.
    async fn keep_door(self: Arc<Self>) {
        let mut due = tokio::time::interval(DOOR);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            self.mind_door();
        }
    }

    fn mind_door(&self) {
        let view = self.peers.view();
        self.sync.door.turn_away(self.is_joining(&view) || self.misses(&view));
    }

    /// What has to be so before the first visitor can come, or anybody can ask how this node is: it has not looked yet.
    pub fn begin(&self) {
        self.mind_door();
        if self.is_joining(&self.peers.view()) {
            self.board.show(Health { state: Reason::Joining.condition(), reasons: vec![Reason::Joining] });
        }
    }

    /// True while this node cannot know whether it has missed a flip before it began.
    fn is_joining(&self, view: &View) -> bool {
        let since_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        view.is_joining(since_us, self.sync.in_touch_us())
    }

    /// True if it has missed one since.
    fn misses(&self, view: &View) -> bool {
        view.misses(self.sync.gate.serial(), unix_us(), self.sync.in_touch_us().is_some())
    }

    /// What is left of the capacity, in sixteenths of 255 so that small changes are not told.
    fn headroom(&self, bytes: u64, took: Duration) -> u8 {
        if self.capacity.0 == 0 {
            return u8::MAX;
        }
        let rate = bytes as f64 / took.as_secs_f64();
        let left = (1.0 - rate / self.capacity.0 as f64).clamp(0.0, 1.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 255")]
        let sixteenths = (left * 15.0).round() as u8;
        sixteenths * 17
    }

    /// What is wrong at this moment, as bits.
    fn see(&self, view: &View, found: &Mutex<Found>) -> u32 {
        let site = self.sync.gate.serving.current();
        let is_overloaded = self.overload.level() > 0;
        let mut seen = 0;
        let mut note = |reason: Reason, is_so: bool| seen |= if is_so { reason.bit() } else { 0 };
        note(Reason::Empty, site.is_none());
        note(Reason::Withheld, site.as_ref().is_some_and(|site| !site.is_whole()));
        note(Reason::Ending, self.ending.is_cancelled());
        note(Reason::Overloaded, is_overloaded);
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_shut() {
            found.own = None;
        }
        match &found.own {
            _ if site.is_none() => {}
            Some((_, Err(Fault::WrongBytes))) => note(Reason::WrongBytes, true),
            // A rule, or a budget, is for it, too: it answers.
            Some((_, Err(Fault::Status(403 | 429)))) => {}
            Some((at, answered)) => note(Reason::Silent, answered.is_err() || at.elapsed() > 2 * (ASK + 2 * PATIENCE)),
            None => {}
        }
        note(Reason::DiskBroken, found.written.is_some_and(|(_, is_fine)| !is_fine));
        drop(found);
        note(Reason::DiskLow, self.sync.store.space().is_ok_and(|space| space.free < self.low_space));
        if let Some(validity) = self.certificates.validity() {
            let now = SystemTime::now();
            let is_bad = now >= validity.until || now < validity.since;
            note(Reason::Certificate, is_bad);
            note(Reason::CertificateEnds, !is_bad && validity.trouble(now).is_some());
        }
        let off = view.clock.map_or(0, |(offset, _)| offset.unsigned_abs());
        note(Reason::Clock, off >= WRONG);
        note(Reason::ClockDrifts, (DRIFTS..WRONG).contains(&off));
        note(Reason::Behind, self.misses(view));
        note(Reason::Joining, self.is_joining(view));
        note(Reason::NoCoordinator, !self.sync.connected.load(std::sync::atomic::Ordering::Relaxed));
        let expelled = self.sync.expelled.load(std::sync::atomic::Ordering::Relaxed);
        note(Reason::Expelled, expelled);
        if let (Some(me), Some(members)) = (&view.me, &view.members) {
            let own = members.get(me);
            // A coordinator that has lost its list does not take a whole mesh out.
            let is_alone = members.nodes.len() > 1 && view.alive.is_empty();
            note(Reason::NotAMember, own.is_none() || (expelled && is_alone));
            note(Reason::Drained, own.is_some_and(|member| member.drained));
            note(Reason::Deaf, view.is_deaf(me));
            note(Reason::Alone, is_alone);
        }
        seen
    }

    /// True while it closes new connections on purpose, or answers 503 for want of time: its own, too.
    fn is_shut(&self) -> bool {
        self.overload.level() > 0 || self.sync.door.turns_away()
    }

    fn host(&self) -> String {
        self.policy.hosts.first().cloned().unwrap_or_else(|| "localhost".to_owned())
    }

    async fn ask_itself(self: Arc<Self>, prober: Prober, found: Arc<Mutex<Found>>) {
        let Some(address) = self.public.first().copied().map(here) else { return };
        let preamble = self.preamble.as_ref().is_some_and(|proxies| proxies.includes(address.ip()));
        let mut files: Option<(CutKey, Files)> = None;
        let mut due = tokio::time::interval(ASK);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for turn in 0_usize.. {
            due.tick().await;
            let Some(site) = self.sync.gate.serving.current() else { continue };
            let cut = site.cut();
            if files.as_ref().is_none_or(|(of, _)| *of != cut) {
                let (policy, key) = (Arc::clone(&self.policy), self.sync.key);
                let listed = tokio::task::spawn_blocking(move || {
                    let manifest = site.signed().open(&key).ok()?;
                    let small = manifest.entries.iter().filter(|entry| entry.size <= MOST);
                    let path = |name: &str| address::encode(&format!("{}{name}", policy.folder()));
                    let mut all: Vec<_> = small.map(|entry| (path(entry.path.as_str()), entry.digest)).collect();
                    // The first page is what most visitors come for.
                    all.sort_by_key(|(path, _)| (!path.ends_with("/index.html"), path.len()));
                    Some(all)
                });
                files = listed.await.ok().flatten().map(|all| (cut, all));
            }
            let Some((_, all)) = &files else { continue };
            let at = if turn % 2 == 0 || all.is_empty() { 0 } else { rand::random_range(0..all.len()) };
            let fallback = format!("/{}root", wellknown::FOLDER);
            let (path, digest) = all.get(at).map_or((fallback, None), |(path, digest)| (path.clone(), Some(*digest)));
            let question = Question { address, host: self.host(), path, digest, preamble };
            let mut was_shut = self.is_shut();
            let mut answered = prober.ask(&question, PATIENCE).await;
            was_shut |= self.is_shut();
            if answered.is_err() {
                tokio::time::sleep(ONCE_MORE).await;
                answered = prober.ask(&question, PATIENCE).await;
                was_shut |= self.is_shut();
            }
            // Shut when it knocked, and open by the time that is looked at.
            if answered.is_err() && was_shut {
                continue;
            }
            // The next cut may have come meanwhile.
            if self.sync.gate.serving.current().is_none_or(|site| site.cut() != cut) {
                continue;
            }
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(fault) = &answered
                && !matches!(&found.own, Some((_, Err(before))) if before == fault)
            {
                tracing::warn!(path = question.path, %fault, "this node does not answer itself as it should");
            }
            found.own = Some((Instant::now(), answered));
        }
    }

    async fn ask_others(self: Arc<Self>, prober: Prober) {
        let mut due = tokio::time::interval(ASK);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut runs: HashMap<NodeId, (u32, u32)> = HashMap::new();
        let mut told: HashMap<NodeId, bool> = HashMap::new();
        let mut turn = rand::random_range(0..1000_usize);
        loop {
            due.tick().await;
            let view = self.peers.view();
            let Some(members) = &view.members else { continue };
            let others: Vec<_> = members.nodes.iter().filter(|member| view.alive.contains(&member.node)).collect();
            turn = turn.wrapping_add(1);
            let Some(member) = others.get(turn % others.len().max(1)) else { continue };
            let Some(address) = member.reach.public.iter().find(|address| self.can_reach(**address)).copied() else {
                continue;
            };
            let path = format!("/{}health", wellknown::FOLDER);
            let question = Question { address, host: self.host(), path, digest: None, preamble: false };
            let is_well = match prober.ask(&question, PATIENCE_FAR).await {
                // It answers: what it says of itself, it tells everyone.
                Ok(_) | Err(Fault::Status(_)) => true,
                Err(fault) => {
                    tracing::debug!(node = %member.node, %address, %fault, "another node does not answer");
                    false
                }
            };
            let run = runs.entry(member.node.clone()).or_default();
            *run = if is_well { (run.0 + 1, 0) } else { (0, run.1 + 1) };
            let says = match *run {
                (ANSWERS.., _) => true,
                (_, FAILURES..) => false,
                _ => continue,
            };
            // Whoever never failed need not be spoken of.
            if says != *told.get(&member.node).unwrap_or(&true) {
                told.insert(member.node.clone(), says);
                tracing::warn!(node = %member.node, answers = says, "another node, over its public address");
                self.peers.witness(member.node.clone(), says);
            }
        }
    }

    /// True if this machine speaks the family of that address.
    fn can_reach(&self, address: SocketAddr) -> bool {
        address.is_ipv4() || self.public.iter().any(SocketAddr::is_ipv6)
    }

    async fn write(self: Arc<Self>, found: Arc<Mutex<Found>>) {
        let mut due = tokio::time::interval(WRITE);
        loop {
            due.tick().await;
            let path = self.folder.join("health.probe");
            let mut write = tokio::task::spawn_blocking(move || {
                let mut file = std::fs::File::create(&path)?;
                file.write_all(&[b'h'; 4096])?;
                file.sync_data()
            });
            let note = |is_fine: bool| {
                found.lock().unwrap_or_else(PoisonError::into_inner).written = Some((Instant::now(), is_fine));
            };
            let mut written = tokio::time::timeout(WRITTEN, &mut write).await;
            if written.is_err() {
                // One that hangs is waited for: more of them would only take threads from others.
                note(false);
                written = Ok(write.await);
            }
            match written {
                Ok(Ok(Ok(()))) => note(true),
                Ok(Ok(Err(error))) => {
                    tracing::error!(%error, folder = %self.folder.display(), "nothing can be written");
                    note(false);
                }
                _ => note(false),
            }
        }
    }
}

/// The same port on this machine, where the address stands for any.
fn here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

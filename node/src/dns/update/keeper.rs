//! Keeps the zone right: looks at the mesh ten times a second, and tells the server when it is this node's turn.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use difusor_proto::process::unix_us;
use futures_util::future::join_all;
use hickory_proto::op::Message;
use tokio_util::sync::CancellationToken;

use super::{
    Plan, UpdateConfig,
    duty::{self, Duty, Target},
    exchange::exchange,
    failure::Failure,
    key::Key,
    records::{self, Sets, Unread},
    tsig,
};
use crate::{
    dns::roster::Roster,
    health::probe::{Fault, Prober, Question},
    peers::{Peers, View},
    wellknown,
};

/// How often it looks at the mesh.
const LOOK: Duration = Duration::from_millis(100);

/// How often the server is asked what it has: somebody else may have changed it.
const ASK: Duration = Duration::from_secs(300);

/// How long after a failure it is tried again, at first and at most.
const AGAIN: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(60);

/// How long a node that is not seen may take to answer as a visitor would be.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of all that was tried.
const OUTCOMES: [&str; 7] = ["updated", "unchanged", "unreachable", "refused", "untrusted", "ineffective", "cut-off"];

/// What happened, for those who count.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct UpdateView {
    /// True if it is this node's turn.
    pub is_writer: bool,
    /// For how long the server has not had what it should; nothing if it has.
    pub lag: Duration,
    /// What became of all that was tried, by name.
    pub outcomes: Vec<(&'static str, u64)>,
}

/// Shared with those who count.
#[derive(Debug, Default)]
pub struct Tally(Mutex<(bool, Option<Instant>, [u64; OUTCOMES.len()])>);

impl Tally {
    /// What happened so far.
    pub fn view(&self) -> UpdateView {
        let (is_writer, since, counts) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lag = since.map_or(Duration::ZERO, |since| since.elapsed());
        UpdateView { is_writer, lag, outcomes: OUTCOMES.into_iter().zip(counts).collect() }
    }

    fn count(&self, outcome: &str) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        OUTCOMES.iter().zip(&mut tally.2).filter(|(name, _)| **name == outcome).for_each(|(_, count)| *count += 1);
    }

    fn stand(&self, is_writer: bool, is_right: bool) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = (is_writer && !is_right).then(|| tally.1.unwrap_or_else(Instant::now));
        (tally.0, tally.1) = (is_writer, since);
    }
}

/// Ready to keep the zone right.
pub struct Keeper {
    plan: Plan,
    key: Key,
    http3: bool,
    /// The host of the site, as visitors name it.
    host: String,
    prober: Prober,
    tally: Arc<Tally>,
}

/// What was tried last.
#[derive(Default)]
struct Tried {
    target: Option<Target>,
    /// True if it stands there.
    is_right: bool,
    due: Duration,
    failures: u32,
    said: String,
}

impl Keeper {
    /// Reads the key; `None` if nobody is told.
    ///
    /// # Errors
    /// Names the file, and what to do.
    pub fn open(config: &UpdateConfig, folder: &Path, http3: bool, host: String) -> anyhow::Result<Option<Self>> {
        let Some(plan) = config.plan()? else { return Ok(None) };
        let file = folder.join(&plan.key);
        let key = Key::read(&file).with_context(|| format!("dns.update.key: {}", file.display()))?;
        Ok(Some(Self { plan, key, http3, host, prober: Prober::new()?, tally: Arc::default() }))
    }

    /// What happens.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Keeps the zone right until cancelled.
    pub async fn run(self, peers: Peers, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.keep(peers)).await;
    }

    async fn keep(&self, peers: Peers) {
        let (begun, mut duty, mut tried) = (Instant::now(), Duty::default(), Tried::default());
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let (view, now_us) = (peers.view(), unix_us());
            let roster = Roster::of(&view, &BTreeMap::new(), now_us);
            let target = duty.look(&view, &roster, begun.elapsed(), now_us);
            if target != tried.target {
                if let (Some(_), None) = (&target, &tried.target) {
                    tracing::info!(zone = %self.plan.zone, "this node keeps the zone right");
                }
                tried = Tried { target, said: tried.said, ..Tried::default() };
            }
            self.tally.stand(tried.target.is_some(), tried.is_right);
            let Some(target) = &tried.target else { continue };
            if begun.elapsed() < tried.due {
                continue;
            }
            let done = self.make_right(&view, target).await;
            let wait = match &done {
                Ok(_) => ASK,
                Err(_) => AGAIN.saturating_mul(1 << tried.failures.min(10)).min(LATEST),
            };
            tried.due = begun.elapsed() + wait;
            tried.is_right = done.is_ok();
            tried.failures = if done.is_ok() { 0 } else { tried.failures.saturating_add(1) };
            self.say(done, &mut tried.said);
        }
    }

    /// Counts, and tells the operator what is new.
    fn say(&self, done: Result<bool, Failure>, said: &mut String) {
        self.tally.count(match &done {
            Ok(true) => "updated",
            Ok(false) => "unchanged",
            Err(failure) => failure.name(),
        });
        let zone = &self.plan.zone;
        let text = done.as_ref().err().map(ToString::to_string).unwrap_or_default();
        match done {
            Ok(_) if !said.is_empty() => tracing::info!(%zone, "the zone is right again"),
            Err(Failure::CutOff(_)) if text != *said => tracing::warn!(%zone, "the zone is left to others: {text}"),
            Err(_) if text != *said => tracing::error!(%zone, "the zone is not as it should be: {text}"),
            _ => {}
        }
        *said = text;
    }

    /// True if something had to be changed.
    async fn make_right(&self, view: &View, target: &Target) -> Result<bool, Failure> {
        if !view.sees_most() {
            self.is_not_cut_off(view).await?;
        }
        let since = Instant::now();
        let wanted = records::wanted(&self.plan, target, self.http3);
        let mut unreachable = Vec::new();
        for server in &self.plan.servers {
            let have = match self.read(*server).await {
                Err(Failure::Unreachable(error)) => {
                    unreachable.push(error);
                    continue;
                }
                read => read?,
            };
            let Some(message) = records::update(&self.plan.zone, &wanted, &have) else { return Ok(false) };
            self.write(*server, message).await?;
            if records::update(&self.plan.zone, &wanted, &self.read(*server).await?).is_some() {
                return Err(Failure::Ineffective(*server));
            }
            let addresses: Vec<_> = target.addresses.iter().map(ToString::to_string).collect();
            let (addresses, took) = (addresses.join(" "), since.elapsed());
            tracing::info!(zone = %self.plan.zone, %server, addresses, ?took, "the zone was changed");
            return Ok(true);
        }
        Err(Failure::Unreachable(unreachable.join(", ")))
    }

    /// What the server has.
    async fn read(&self, server: SocketAddr) -> Result<Sets, Failure> {
        let questions = records::questions(&self.plan);
        let bytes: Vec<_> = questions.iter().filter_map(|question| question.to_vec().ok()).collect();
        let answers = exchange(server, &bytes).await.map_err(unreachable(server))?;
        let answers: Result<Vec<_>, _> = answers.iter().map(|answer| Message::from_vec(answer)).collect();
        let read =
            answers.map_err(|_| Unread::Strange).and_then(|answers| records::read(&self.plan, &questions, &answers));
        read.map_err(|why| Failure::unread(server, why, &self.plan))
    }

    async fn write(&self, server: SocketAddr, message: Message) -> Result<(), Failure> {
        let seconds = || unix_us() / 1_000_000;
        let signed = tsig::sign(message, &self.key, seconds());
        let signed = signed.map_err(|error| Failure::Untrusted(server, error.to_string()))?;
        let answers = exchange(server, std::slice::from_ref(&signed.bytes)).await.map_err(unreachable(server))?;
        let answer = answers.first().map(Vec::as_slice).unwrap_or_default();
        let checked = signed.check(answer, &self.key, seconds());
        checked.map_err(|doubt| Failure::doubt(server, doubt, &self.plan, &self.key, seconds()))
    }

    /// Asks those who are not seen over their public addresses: if one answers, it is this node that is cut off.
    async fn is_not_cut_off(&self, view: &View) -> Result<(), Failure> {
        let asked = duty::absent(view).into_iter().map(async |member| {
            let address = *member.reach.public.first()?;
            let path = format!("/{}health", wellknown::FOLDER);
            let question = Question { address, host: self.host.clone(), path, digest: None, preamble: false };
            match self.prober.ask(&question, PATIENCE).await {
                Ok(_) | Err(Fault::Status(_)) => Some(member.node.clone()),
                Err(_) => None,
            }
        });
        match join_all(asked).await.into_iter().flatten().next() {
            Some(node) => Err(Failure::CutOff(node)),
            None => Ok(()),
        }
    }
}

fn unreachable(server: SocketAddr) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::Unreachable(format!("{server} ({error})"))
}

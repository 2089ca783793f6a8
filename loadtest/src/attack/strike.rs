//! The attacker, a process of its own on the core of the clients, behind the visitors in priority: one thread, many
//! connections, an end.
//!
//! Bounded by time and by a number of connections, whatever a scenario does.

pub(super) mod wire;

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use super::honest::unix;
use super::scenario;

/// After these nobody opens another.
const MOST: u64 = 150_000;

/// A TCP connection that is not there by then is refused.
const CONNECT: Duration = Duration::from_secs(2);

/// One attack on one server.
#[derive(clap::Args)]
pub(crate) struct Args {
    scenario: String,
    address: SocketAddr,
    /// How long, milliseconds.
    millis: u64,
    /// The first numbers of its addresses are 127 and this.
    block: u8,
    /// A tenth of the connections.
    #[arg(long)]
    small: bool,
}

/// What the attacker did, and what became of it.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Work {
    /// Microseconds since 1970 at the start and at the end.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) connections: u64,
    /// TCP connections that did not come about.
    pub(super) unconnected: u64,
    pub(super) requests: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Answers that are no success.
    pub(super) refused: u64,
    /// Connections that the server ended.
    pub(super) closed: u64,
    /// When the attacker first was refused or sent away, microseconds since the start, and how.
    pub(super) first: Option<(u64, String)>,
    /// What a scenario that checks answers found wrong.
    pub(super) wrong: Vec<String>,
}

/// What a scenario works with.
pub(super) struct Strike {
    pub(super) address: SocketAddr,
    pub(super) authority: String,
    pub(super) small: bool,
    block: u8,
    begun: Instant,
    until: Instant,
    pub(super) work: RefCell<Work>,
    random: Cell<u64>,
}

/// Of a connection that the attacker gives up.
pub(super) type Given<T = ()> = anyhow::Result<T>;

impl Strike {
    /// Whether it is time to end.
    pub(super) fn over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// The address of the nth source: each of the first 250 in a network of its own.
    pub(super) fn source(&self, n: usize) -> Ipv4Addr {
        let (network, host) = (n % 250, n / 250 % 250 + 1);
        let byte = |n| u8::try_from(n).unwrap_or(1);
        Ipv4Addr::new(127, self.block, byte(network), byte(host))
    }

    /// A tenth of it in small runs.
    pub(super) fn some(&self, count: usize) -> usize {
        if self.small { count.div_ceil(10) } else { count }
    }

    /// A number that nobody guesses (xorshift).
    pub(super) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x
    }

    /// Notes that the server refused something.
    pub(super) fn refused(&self, how: impl FnOnce() -> String) {
        self.work.borrow_mut().refused += 1;
        self.first(how);
    }

    /// Notes that the server ended a connection.
    pub(super) fn closed(&self, how: impl FnOnce() -> String) {
        if !self.over() {
            self.work.borrow_mut().closed += 1;
            self.first(how);
        }
    }

    fn first(&self, how: impl FnOnce() -> String) {
        let since = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.work.borrow_mut().first.get_or_insert_with(|| (since, how()));
    }

    /// Counts what was asked.
    pub(super) fn asked(&self, requests: u64) {
        self.work.borrow_mut().requests += requests;
    }

    /// Counts bytes.
    pub(super) fn moved(&self, sent: usize, received: usize) {
        let mut work = self.work.borrow_mut();
        work.sent += sent as u64;
        work.received += received as u64;
    }

    /// Counts a connection; false once there were enough.
    pub(super) fn another(&self) -> bool {
        let mut work = self.work.borrow_mut();
        work.connections += 1;
        work.connections <= MOST
    }
}

/// Runs `clients` copies of an attack until the time is over: each again as soon as it ended.
pub(super) async fn crowd<F, Fut>(strike: &Rc<Strike>, clients: usize, one: F)
where
    F: Fn(Rc<Strike>, usize) -> Fut + Clone + 'static,
    Fut: Future<Output = Given> + 'static,
{
    let tasks = (0..clients).map(|n| {
        let (strike, one) = (Rc::clone(strike), one.clone());
        tokio::task::spawn_local(async move {
            while !strike.over() {
                if let Err(error) = one(Rc::clone(&strike), n).await {
                    strike.closed(|| format!("{error:#}"));
                    sleep(Duration::from_millis(20)).await;
                }
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    sleep(strike.until.saturating_duration_since(Instant::now())).await;
    for task in tasks {
        task.abort();
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let scenario = scenario::named(&args.scenario).context("no such scenario")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (begun, length) = (Instant::now(), Duration::from_millis(args.millis));
    let start = unix();
    let strike = Rc::new(Strike {
        address: args.address,
        authority: format!("{}:{}", crate::compare::identity::HOST, args.address.port()),
        small: args.small,
        block: args.block,
        begun,
        until: begun + length,
        work: RefCell::default(),
        random: Cell::new(start | 1),
    });
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let _ = timeout(length + Duration::from_secs(2), (scenario.run)(Rc::clone(&strike))).await;
    });
    let mut work = strike.work.borrow().clone();
    (work.start, work.end) = (start, unix());
    println!("{}", serde_json::to_string(&work)?);
    // What is still open ends with the process.
    Ok(())
}

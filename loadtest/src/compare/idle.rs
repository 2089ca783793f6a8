//! Thousands of connections that have had an answer and are kept open: what each costs the server in memory, and
//! whether others are served as fast meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use futures_util::stream::{self, FuturesUnordered};
use rustls::ClientConfig;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::cells::Protocol;
use super::identity::{self, Tickets};
use super::request::Exchange;
use super::servers::Server;
use super::tally::{Counted, Tally};
use super::window::{Spent, Window};
use super::wire::Wire;
use super::{http1, http2};
use crate::usage;

/// Connections that are opened at once.
const OPENING: usize = 32;

/// For what a server does after the last answer.
const SETTLE: Duration = Duration::from_millis(500);

/// Clients meanwhile, and the time from one request of each to its next.
const CLIENTS: usize = 8;
const PACE: Duration = Duration::from_millis(20);

/// How late the runtime's clock is at most.
const TIMER: Duration = Duration::from_millis(2);

/// What the connections cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Held {
    pub(super) connections: usize,
    /// How many of them still gave an answer at the end.
    pub(super) alive: usize,
    /// Resident memory of the server without them, and with them.
    pub(super) before: u64,
    pub(super) with: u64,
}

impl Held {
    /// Bytes for a connection.
    pub(super) fn each(&self) -> f64 {
        self.with.saturating_sub(self.before) as f64 / self.connections.max(1) as f64
    }
}

enum Connection<'a> {
    H1(Box<Wire>),
    H2(Box<http2::Connection<'a>>),
}

/// Clients of one server.
struct Clients<'a> {
    server: &'a Server,
    protocol: Protocol,
    exchange: &'a Exchange,
    request: Vec<u8>,
    tls: Arc<ClientConfig>,
}

impl<'a> Clients<'a> {
    /// A connection that has had an answer.
    async fn open(&self, tally: &'a Tally) -> anyhow::Result<Connection<'a>> {
        let wire = Wire::open(self.server.address, &self.tls).await?;
        let mut connection = match self.protocol {
            Protocol::H1 => Connection::H1(Box::new(wire)),
            Protocol::H2 => Connection::H2(Box::new(http2::Connection::open(wire, self.exchange, tally).await?)),
            Protocol::H3 => bail!("idle connections of HTTP/3 are not measured"),
        };
        self.once(&mut connection, tally).await?;
        match &mut connection {
            Connection::H1(wire) => wire.rest(),
            Connection::H2(connection) => connection.rest(),
        }
        Ok(connection)
    }

    async fn once(&self, connection: &mut Connection<'a>, tally: &Tally) -> anyhow::Result<()> {
        match connection {
            Connection::H1(wire) => http1::once(wire, &self.request, self.exchange, tally).await,
            Connection::H2(connection) => connection.once().await,
        }
    }
}

/// Holds `count` connections to a server that was started anew.
pub(super) async fn run(
    server: &Server,
    protocol: Protocol,
    exchange: &Exchange,
    count: usize,
    window: &Window<'_>,
) -> anyhow::Result<(Counted, Spent, Held)> {
    let (quiet, tally) = (Tally::default(), Tally::default());
    let tls = Arc::new(identity::loading(protocol.alpn(), Tickets::Ignored)?);
    let clients = Clients { server, protocol, exchange, request: exchange.http1(), tls };
    let mut busy = Vec::new();
    for _ in 0..CLIENTS {
        busy.push(clients.open(&quiet).await?);
    }
    // What the first visitors make a server allocate is not of the connections that are measured.
    for _ in 0..OPENING * 2 {
        clients.open(&quiet).await?;
    }
    sleep(SETTLE).await;
    let before = usage::memory(&server.pids()).now;
    let opening = stream::iter(0..count).map(|_| clients.open(&quiet)).buffer_unordered(OPENING);
    let opened: Vec<_> = opening.collect().await;
    let mut held = opened.into_iter().collect::<anyhow::Result<Vec<_>>>().context("opening idle connections")?;
    sleep(SETTLE).await;
    let with = usage::memory(&server.pids()).now;

    let (clients, tally) = (&clients, &tally);
    let visitor = |mut connection| async move {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            // Counted from when it was due, unless only the clock was late: a server that is late once is late for all
            // that come meanwhile.
            let due = Instant::from(ticks.tick().await);
            let since = if due.elapsed() < TIMER { Instant::now() } else { due };
            clients.once(&mut connection, tally).await.map(|()| tally.answered(since))?;
        }
    };
    let mut visitors: FuturesUnordered<_> = busy.into_iter().map(visitor).collect();
    let spent = tokio::select! {
        biased;
        spent = window.watch(server.pids(), tally) => spent?,
        Some(ended) = visitors.next() => {
            let error: anyhow::Result<()> = ended;
            return Err(error.err().context("a visitor ended")?);
        }
    };
    drop(visitors);
    let mut alive = 0;
    for connection in &mut held {
        alive += usize::from(clients.once(connection, &quiet).await.is_ok());
    }
    Ok((tally.counted(), spent, Held { connections: count, alive, before, with }))
}

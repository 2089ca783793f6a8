//! The public front: sockets, the threads that serve them, and how many connections they may carry.
//!
//! Each thread has its own sockets on the same addresses (`SO_REUSEPORT`), its own runtime and its own connections:
//! they share the snapshot and the counters, and wait for nothing of each other. Binding and serving are two steps, so
//! that a port that is taken is known before anything else starts, and so that port 0 works. Serving ends in order: no
//! new connections, what is in flight is finished, and what did not finish within the grace is counted and cut.
//!
//! What an accepted connection is, [`connection`] says.

mod connection;
mod socket;

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, SocketAddr, TcpListener as Socket},
    num::NonZero,
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use rustls::ServerConfig;
use socket2::{Domain, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{JoinError, JoinSet, LocalSet},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::connection::Front;
use crate::{
    admission::{
        overload::Level,
        shares::{Crowded, Place, Shares},
        turns::Turns,
    },
    desk::Station,
    observe::Tally,
    serving::unix_ms,
};

/// Connections that may wait to be accepted. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How long to wait when the system has no resources for another connection: they come back when connections end, and
/// trying again at once would take a core.
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes that may lie in a socket without being on their way. More only waits longer: behind what came before it on the
/// same connection, and in memory, if the client does not read.
const UNSENT: u32 = 128 << 10;

/// How often threads look at the clock for what they send and for how long they wait.
const TICK: Duration = Duration::from_millis(100);

/// What one client can cost. Every bound has a default that fits the smallest machine (two cores, 2 GB).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections open at once, on all sockets. Idle ones cost some 30 KiB each: 16,384 of them half a gigabyte. How many
    /// of them one source may hold depends on what is left for the others ([`Shares`]).
    pub connections: usize,
    /// From accept to the end of the TLS handshake. Four round trips at the worst path reckoned with take one second.
    pub handshake: Duration,
    /// From accept to the first request; for HTTP/1 also from an answer to the next request. Browsers open connections
    /// ahead of need, and reopen them cheaply.
    pub head: Duration,
    /// Without a new request, and without the client taking another piece of a body.
    pub stall: Duration,
    /// Bytes a second that a client has to take of what it asked for: slower than any line that can show the site. Zero is
    /// no matter how slow.
    pub slowest: u64,
    /// Over how long that is measured: long enough for a tunnel, or for someone who is asked where to save a download.
    pub pace: Duration,
    /// HTTP/2 requests at once on one connection: browsers ask a hundred at a time at most (RFC 9113 section 6.5.2
    /// recommends no less).
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(20),
            stall: Duration::from_secs(90),
            slowest: 1 << 10,
            pace: Duration::from_secs(60),
            streams: 100,
        }
    }
}

/// Where to listen, and within which limits.
#[derive(Debug, Clone, Default)]
pub struct ListenerConfig {
    /// Addresses; port 0 is any free port.
    pub bind: Vec<SocketAddr>,
    /// Threads that serve; `None` is one for each core.
    pub workers: Option<NonZero<usize>>,
    /// Limits.
    pub limits: Limits,
    /// Whether listed proxies begin each connection with whose it is (PROXY protocol, versions 1 and 2).
    pub proxy_protocol: bool,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: is another node running?")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// How serving ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that ended by themselves within the grace.
    pub finished: usize,
    /// Connections that were cut when it was over.
    pub cut: usize,
}

/// Bound sockets that nobody is served on yet.
#[derive(Debug)]
pub struct Listener {
    /// For each worker, one socket for each address.
    sockets: Vec<Vec<Socket>>,
    addresses: Vec<SocketAddr>,
    limits: Limits,
    proxy_protocol: bool,
    tls: Arc<ServerConfig>,
}

impl Listener {
    /// Binds every address, once for each worker.
    ///
    /// # Errors
    /// [`ListenError`] for the first address that cannot be bound; none is bound then.
    pub fn bind(config: &ListenerConfig, tls: Arc<ServerConfig>) -> Result<Self, ListenError> {
        let workers = workers(config.workers);
        let mut sockets: Vec<Vec<Socket>> = (0..workers).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for asked in &config.bind {
            let failed = |source| ListenError { address: *asked, source };
            // Alone first: sharing a port with another process would go unnoticed, and each would get half.
            let bound = listen(*asked, false).and_then(|socket| socket.local_addr()).map_err(failed)?;
            for own in &mut sockets {
                own.push(listen(bound, true).map_err(failed)?);
            }
            addresses.push(bound);
        }
        let ListenerConfig { limits, proxy_protocol, .. } = *config;
        Ok(Self { sockets, addresses, limits, proxy_protocol, tls })
    }

    /// The addresses as bound, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `cancel`, then drains for at most `grace`.
    pub async fn run(self, station: Station, cancel: CancellationToken, grace: Duration) -> Drained {
        let shares = Shares::new(self.limits.connections);
        let mut ends = Vec::new();
        for (number, sockets) in self.sockets.into_iter().enumerate() {
            let worker = Worker {
                number,
                sockets,
                limits: self.limits,
                proxy_protocol: self.proxy_protocol,
                tls: Arc::clone(&self.tls),
                station: station.clone(),
                shares: Arc::clone(&shares),
                // A token of its own: polling a shared one would make threads wait for each other.
                cancel: cancel.child_token(),
                grace,
            };
            let (end, ended) = oneshot::channel();
            let spawned = thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
                let _ = end.send(worker.run());
            });
            match spawned {
                Ok(_) => ends.push(ended),
                Err(error) => tracing::error!(%error, "a thread cannot be started"),
            }
        }
        let mut total = Drained::default();
        let mut ends: FuturesUnordered<_> = ends.into_iter().collect();
        while let Some(ended) = ends.next().await {
            match ended {
                Ok(Ok(drained)) => {
                    total.finished += drained.finished;
                    total.cut += drained.cut;
                }
                Ok(Err(error)) => tracing::error!(%error, "a thread that serves has ended"),
                Err(_) => tracing::error!("a thread that serves has panicked"),
            }
            if !cancel.is_cancelled() {
                // Half of a node is none: whoever watches it starts it anew.
                return total;
            }
        }
        tracing::info!(finished = total.finished, cut = total.cut, "public listener drained");
        total
    }
}

/// How many threads serve: as many as asked for, or one for each core.
pub fn workers(asked: Option<NonZero<usize>>) -> usize {
    asked.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get)
}

/// A TCP socket that listens there, alone or beside others of this process.
pub(crate) fn listen(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` may stand side by side.
        socket.set_only_v6(true)?;
    }
    // A restarted node gets its port back at once, though connections of before linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    // Both are handed down to the connections. Answers are written whole: waiting to fill a segment only delays their end.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What a thread needs to serve.
struct Worker {
    number: usize,
    sockets: Vec<Socket>,
    limits: Limits,
    proxy_protocol: bool,
    tls: Arc<ServerConfig>,
    station: Station,
    shares: Arc<Shares>,
    cancel: CancellationToken,
    grace: Duration,
}

impl Worker {
    fn run(self) -> io::Result<Drained> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, self.serve())
    }

    async fn serve(self) -> io::Result<Drained> {
        let counter = self.station.counter(self.number);
        let front = Rc::new(Front {
            counter: Rc::clone(&counter),
            tls: self.tls,
            limits: self.limits,
            proxy_protocol: self.proxy_protocol,
            drain: self.cancel,
            turns: Turns::new(),
            room: RefCell::default(),
            ahead: Cell::default(),
        });
        let turns = Rc::clone(&front.turns);
        tokio::task::spawn_local(async move { turns.run().await });
        tokio::task::spawn_local(Rc::clone(&counter).probe());
        let mut loops = JoinSet::new();
        for socket in self.sockets {
            let socket = TcpListener::from_std(socket)?;
            loops.spawn_local(accept(socket, Rc::clone(&front), Arc::clone(&self.shares), self.grace));
        }
        let mut ticks = tokio::time::interval(TICK);
        let mut total = Drained::default();
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => counter.tick(unix_ms()),
                joined = loops.join_next() => match joined {
                    Some(joined) => {
                        let drained = joined.map_err(io::Error::other)?;
                        total.finished += drained.finished;
                        total.cut += drained.cut;
                    }
                    None => return Ok(total),
                },
            }
        }
    }
}

/// Accepts on one socket until drained, then waits for its connections.
async fn accept(socket: TcpListener, front: Rc<Front>, shares: Arc<Shares>, grace: Duration) -> Drained {
    let mut connections = JoinSet::new();
    let mut troubled = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = front.drain.cancelled() => break,
            Some(ended) = connections.join_next() => {
                report(ended);
                continue;
            }
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => {
                troubled = false;
                admit(tcp, peer.ip(), &front, &shares, &mut connections);
            }
            // The client was gone before it was accepted.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !troubled {
                    tracing::error!(%error, "cannot accept connections; trying on");
                }
                troubled = true;
                let _ = front.drain.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
    }
    // Whoever was let in by the system already is let in.
    while let Some(Ok((tcp, peer))) = socket.accept().now_or_never() {
        admit(tcp, peer.ip(), &front, &shares, &mut connections);
    }
    drop(socket);

    let mut drained = Drained::default();
    let deadline = tokio::time::Instant::now() + grace;
    while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, connections.join_next()).await {
        report(ended);
        drained.finished += 1;
    }
    drained.cut = connections.len();
    connections.shutdown().await;
    drained
}

/// Serves a connection if there is room. If not, it is closed at once: the visitor's browser, or the resolver, can
/// then try another node, which waiting in a queue would prevent.
fn admit(tcp: TcpStream, peer: IpAddr, front: &Rc<Front>, shares: &Arc<Shares>, connections: &mut JoinSet<()>) {
    // Proxies hold connections for everyone.
    let is_proxy = front.counter.trust.includes(peer);
    if !is_proxy && let Err(unwelcome) = front.counter.door.enter(peer, front.counter.now()) {
        return front.counter.tally.unwelcome(unwelcome);
    }
    if front.counter.load.level() == Level::NoNewcomers && !is_proxy {
        return front.counter.tally.refused();
    }
    let entered =
        shares.enter().and_then(|mut place| if is_proxy { Ok(place) } else { place.name(peer).map(|()| place) });
    let place = match entered {
        Ok(place) => place,
        Err(Crowded::Full) => return front.counter.tally.refused(),
        Err(Crowded::Share) => return front.counter.tally.crowded(),
    };
    let open = Open::new(&front.counter.tally);
    let front = Rc::clone(front);
    let served = meet(tcp, peer, place, open, front, Instant::now());
    connections.spawn_local(served.instrument(tracing::debug_span!("connection", %peer)));
}

/// Waits until something comes, and serves the connection. Whoever says nothing costs no more than a socket and a timer.
async fn meet(tcp: TcpStream, peer: IpAddr, place: Place, open: Open, front: Rc<Front>, accepted: Instant) {
    // A new socket is taken for readable until it was tried.
    let mut first = [0];
    let came = tokio::time::timeout_at((accepted + front.limits.handshake).into(), tcp.peek(&mut first)).await;
    if came.is_err() {
        connection::never_spoke(&front, peer);
    } else {
        connection::begin(tcp, peer, place, front, accepted).await;
    }
    drop(open);
}

/// Counts a connection as open for as long as it lives.
struct Open(Arc<Tally>);

impl Open {
    fn new(tally: &Arc<Tally>) -> Self {
        tally.opened();
        Self(Arc::clone(tally))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// Errors of accept(2) that speak of the connection and not of this process.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended in a panic");
    }
}

#[cfg(test)]
mod tests;

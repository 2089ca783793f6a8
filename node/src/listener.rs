//! The public front: sockets, and how many connections they may carry.
//!
//! Binding and serving are two steps, so that a port that is taken is known before anything else starts, and so that
//! port 0 works. Serving ends in order: no new connections, what is in flight is finished, and what did not finish
//! within the grace is counted and cut.
//!
//! What an accepted connection is, [`connection`] says; what a request on it gets, [`requests`] says.

mod connection;
mod pulse;
mod requests;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use self::connection::Front;
use crate::serving::Serving;

/// Connections that may wait to be accepted. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// How long to wait when the system has no resources for another connection: they come back when connections end, and
/// trying again at once would take a core.
const PAUSE: Duration = Duration::from_millis(100);

/// What one client can cost. Every bound has a default that fits the smallest machine (two cores, 2 GB).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections open at once, on all sockets. Idle ones cost some 30 KiB each: 16,384 of them half a gigabyte.
    pub connections: usize,
    /// From accept to the end of the TLS handshake. Four round trips at the worst path reckoned with take one second.
    pub handshake: Duration,
    /// From accept to the first request; for HTTP/1 also for each further head, idle time counted in. Browsers open
    /// connections ahead of need, and reopen them cheaply.
    pub head: Duration,
    /// Without a new request, and without the client taking another piece of a body. A piece a minute and a half is
    /// 1.5 kB/s, slower than any line that can show the site.
    pub stall: Duration,
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
            streams: 100,
        }
    }
}

/// Where to listen, and within which limits.
#[derive(Debug, Clone, Default)]
pub struct ListenerConfig {
    /// Addresses; port 0 is any free port.
    pub bind: Vec<SocketAddr>,
    /// Limits.
    pub limits: Limits,
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
    sockets: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    limits: Limits,
    tls: Arc<ServerConfig>,
}

impl Listener {
    /// Binds every address. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ListenError`] for the first address that cannot be bound; none is bound then.
    pub fn bind(config: &ListenerConfig, tls: Arc<ServerConfig>) -> Result<Self, ListenError> {
        let bound = |address: &SocketAddr| {
            let socket = listen(*address).and_then(|socket| Ok((socket.local_addr()?, socket)));
            socket.map_err(|source| ListenError { address: *address, source })
        };
        let bound = config.bind.iter().map(bound).collect::<Result<Vec<_>, _>>()?;
        let (addresses, sockets) = bound.into_iter().unzip();
        Ok(Self { sockets, addresses, limits: config.limits, tls })
    }

    /// The addresses as bound, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `cancel`, then drains for at most `grace`.
    pub async fn run(self, serving: Arc<Serving>, cancel: CancellationToken, grace: Duration) -> Drained {
        let slots = Arc::new(Semaphore::new(self.limits.connections.min(Semaphore::MAX_PERMITS)));
        let front = Arc::new(Front::new(self.tls, self.limits, serving));
        let mut loops = JoinSet::new();
        for socket in self.sockets {
            loops.spawn(accept(socket, Arc::clone(&front), Arc::clone(&slots), cancel.clone(), grace));
        }
        let mut total = Drained::default();
        while let Some(joined) = loops.join_next().await {
            let drained = joined.unwrap_or_default();
            total.finished += drained.finished;
            total.cut += drained.cut;
        }
        tracing::info!(finished = total.finished, cut = total.cut, "public listener drained");
        total
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restarted node gets its port back at once, though connections of before linger in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts on one socket until `cancel`, then waits for its connections.
async fn accept(
    socket: TcpListener,
    front: Arc<Front>,
    slots: Arc<Semaphore>,
    cancel: CancellationToken,
    grace: Duration,
) -> Drained {
    let mut connections = JoinSet::new();
    let mut troubled = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(ended) = connections.join_next() => {
                report(ended);
                continue;
            }
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((tcp, _)) => {
                troubled = false;
                admit(tcp, &front, &slots, &cancel, &mut connections);
            }
            // The client was gone before it was accepted.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !troubled {
                    tracing::error!(%error, "cannot accept connections; trying on");
                }
                troubled = true;
                let _ = cancel.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
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
fn admit(
    tcp: TcpStream,
    front: &Arc<Front>,
    slots: &Arc<Semaphore>,
    cancel: &CancellationToken,
    connections: &mut JoinSet<()>,
) {
    let Ok(slot) = Arc::clone(slots).try_acquire_owned() else {
        front.serving.counters.refused();
        return;
    };
    // A token of its own: polling a shared one would make connections wait for each other.
    let (front, drain) = (Arc::clone(front), cancel.child_token());
    let accepted = Instant::now();
    connections.spawn(async move {
        connection::serve(tcp, &front, accepted, drain).await;
        drop(slot);
    });
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

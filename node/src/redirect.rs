//! The plain-HTTP port: sends visitors to HTTPS, and answers the challenges of a certificate authority.
//!
//! One request a connection, one deadline from accept to close, a small head, no body that anyone reads: there is
//! nothing to be gained by keeping this port busy, and what it can take is bounded. What a request gets, [`answer`]
//! says; which hosts may be named in the answer, [`host`].

mod answer;
mod challenge;
mod host;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BufMut as _;
use difusor_proto::units::Span;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::answer::{Answer, Rules};
pub use self::host::{Host, HostError};
use crate::listener::listen;

/// Largest head that is read. Browsers send one or two KiB, and cookies of other sites do not come here.
const MAX_HEAD: usize = 8 << 10;

/// How long a client may take to close its side once it was answered, and how much it may still send. Closing at once
/// on bytes that were not read resets the connection, and the answer may be lost with it (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);
const MAX_UNREAD: u64 = 64 << 10;

/// How long to wait when the system has no resources for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// How long connections may take at the end: an answer is a few hundred bytes.
const GRACE: Duration = Duration::from_secs(1);

/// Where visitors are sent from, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedirectConfig {
    /// TCP addresses; none means that nothing is redirected.
    pub bind: Vec<SocketAddr>,
    /// Hosts of the site. Who asks for another is sent to the first. None means that every host is the site's: the
    /// right thing only if nothing shared stands before the node that could keep an answer.
    pub hosts: Vec<Host>,
    /// TCP port of the site, as visitors reach it.
    pub port: u16,
    /// Folder in which an ACME client (such as certbot with `--webroot`) leaves `.well-known/acme-challenge/*`.
    pub webroot: Option<PathBuf>,
    /// Connections open at once. Others are closed at once.
    pub connections: usize,
    /// From accept to the end of the answer.
    pub deadline: Span,
}

impl Default for RedirectConfig {
    fn default() -> Self {
        Self {
            bind: Vec::new(),
            hosts: Vec::new(),
            port: 443,
            webroot: None,
            connections: 1024,
            deadline: Span(Duration::from_secs(10)),
        }
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for plain HTTP: is a web server running, or is the port below 1024 not permitted?")]
pub struct RedirectError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Bound sockets that nobody is answered on yet.
#[derive(Debug)]
pub struct Redirector {
    sockets: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    front: Arc<Front>,
    connections: usize,
}

#[derive(Debug)]
struct Front {
    rules: Rules,
    webroot: Option<PathBuf>,
    deadline: Duration,
}

impl Redirector {
    /// Binds every address; port 0 is any free port.
    ///
    /// # Errors
    /// [`RedirectError`] for the first address that cannot be bound; none is bound then.
    pub async fn bind(config: &RedirectConfig) -> Result<Self, RedirectError> {
        let (mut sockets, mut addresses) = (Vec::new(), Vec::new());
        for &address in &config.bind {
            let failed = |source| RedirectError { address, source };
            let socket = listen(address, false).and_then(TcpListener::from_std).map_err(failed)?;
            addresses.push(socket.local_addr().map_err(failed)?);
            sockets.push(socket);
        }
        let rules =
            Rules { hosts: config.hosts.clone(), port: config.port, answers_challenges: config.webroot.is_some() };
        let front = Front { rules, webroot: config.webroot.clone(), deadline: config.deadline.0 };
        Ok(Self { sockets, addresses, front: Arc::new(front), connections: config.connections })
    }

    /// The addresses as bound, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Answers until `cancel`.
    pub async fn run(self, cancel: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.connections.min(Semaphore::MAX_PERMITS)));
        let mut loops = JoinSet::new();
        for socket in self.sockets {
            loops.spawn(accept(socket, Arc::clone(&self.front), Arc::clone(&slots), cancel.clone()));
        }
        cancel.cancelled().await;
        loops.join_all().await;
    }
}

async fn accept(socket: TcpListener, front: Arc<Front>, slots: Arc<Semaphore>, cancel: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a plain-HTTP connection ended in a panic");
                }
                continue;
            }
            accepted = socket.accept() => accepted,
        };
        let Ok((tcp, _)) = accepted else {
            // Gone before it was accepted, or no resources: those come back when connections end.
            let _ = cancel.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (front, overdue) = (Arc::clone(&front), Instant::now() + front.deadline);
        connections.spawn(async move {
            // A client that is late, or gone, is nobody's concern.
            let _ = timeout_at(overdue.into(), converse(tcp, &front)).await;
            drop(slot);
        });
    }
    drop(socket);
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

/// One request, one answer.
async fn converse(mut tcp: TcpStream, front: &Front) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    let answer = loop {
        match front.rules.answer(&head) {
            Some(answer) => break answer,
            None if head.len() >= MAX_HEAD => break Answer::too_large(),
            None => {}
        }
        let room = MAX_HEAD - head.len();
        if tcp.read_buf(&mut (&mut head).limit(room)).await? == 0 {
            return Ok(());
        }
    };
    let answer = match answer {
        Answer::Challenge { token, content } => challenge::answer(front.webroot.as_deref(), token, content).await,
        Answer::Whole(bytes) => bytes,
    };
    tcp.write_all(&answer).await?;
    tcp.shutdown().await?;
    let mut unread = tcp.take(MAX_UNREAD);
    let _ = timeout(LINGER, tokio::io::copy(&mut unread, &mut tokio::io::sink())).await;
    Ok(())
}

#[cfg(test)]
mod tests;

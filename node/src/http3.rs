//! HTTP/3 to the public (RFC 9114): UDP sockets, and how serving on them begins and ends.
//!
//! [`front`] decides who is let in, [`connection`] is the life of one connection, [`request`] of one request. QUIC is
//! `quinn`'s. What comes on streams is counted by [`receiving`] within the bounds of [`limits`], and read by machines
//! without sockets: [`opening`] finds the head of a request, [`qpack`] its fields, [`aside`] what is said beside requests.
//! [`reply`] writes answers.
//! Everything runs on one thread: no state is shared with another, and nothing waits for a lock.
//!
//! Refused: early data, which could be played again; datagrams, pushes, tunnels and bodies of requests, which a site
//! that is only read has no use for.

mod aside;
mod code;
mod connection;
mod counters;
mod frame;
mod front;
mod limits;
mod opening;
mod priority;
pub mod qpack;
mod receiving;
mod reply;
mod request;
mod session;
mod watch;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use quinn::{Endpoint, EndpointConfig, TokioRuntime, crypto::rustls::QuicServerConfig};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use self::{code::Code, front::Front};
pub use self::{counters::Counters, limits::Http3Limits};
use crate::{admission::door::Door, engine::Desk};

/// What the kernel may keep of packets that came, or are to leave: 20 ms of a gigabit, while the thread is busy. The
/// kernel cuts it to `net.core.rmem_max` and `wmem_max`.
const SOCKET_BUFFER: usize = 4 << 20;

/// How long closed connections are told so again, at the end.
const LINGER: Duration = Duration::from_millis(500);

/// QUIC version 1 (RFC 9000): drafts of it are not spoken.
const VERSION: u32 = 1;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The address of the handshake. A client may have moved since; what it does is still its own.
    pub address: SocketAddr,
    /// The name that it asked for in the handshake (RFC 6066 section 3).
    pub server_name: Option<String>,
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
pub struct Http3 {
    sockets: Vec<UdpSocket>,
    addresses: Vec<SocketAddr>,
    limits: Http3Limits,
    config: quinn::ServerConfig,
    counters: Arc<Counters>,
}

impl Http3 {
    /// Binds every address; port 0 is any free port. `tls` speaks TLS 1.3 and has `h3` among its protocols; its
    /// certificates may change under it. Needs no runtime.
    ///
    /// # Errors
    /// What the system says of the first address that cannot be bound: none is bound then. `InvalidInput` if `tls`
    /// cannot be used for QUIC.
    pub fn bind(addresses: &[SocketAddr], tls: Arc<ServerConfig>, limits: Http3Limits) -> io::Result<Self> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let mut tls = Arc::unwrap_or_clone(tls);
        tls.max_early_data_size = 0;
        let crypto = QuicServerConfig::try_from(tls).map_err(invalid)?;
        let sockets = addresses.iter().map(|address| listen(*address)).collect::<io::Result<Vec<_>>>()?;
        let addresses = sockets.iter().map(UdpSocket::local_addr).collect::<io::Result<_>>()?;
        let config = limits.server(Arc::new(crypto));
        Ok(Self { sockets, addresses, limits, config, counters: Arc::default() })
    }

    /// The addresses as bound, in the order in which they were given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What happens from now on, for whoever shows it.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Serves until `drain`: then takes no connections and no new requests, finishes what is under way for at most
    /// `grace`, and closes what is left. `door` says who is let in. Each connection is given the desk that `desks` makes
    /// for it.
    ///
    /// Must be driven inside a [`tokio::task::LocalSet`], on a runtime with IO and time.
    ///
    /// # Errors
    /// If a socket cannot be used any more.
    pub async fn run<D>(self, desks: D, door: Door, drain: CancellationToken, grace: Duration) -> io::Result<Drained>
    where
        D: Fn(Peer) -> Box<dyn Desk> + 'static,
    {
        let endpoints = self.sockets.into_iter().map(|socket| {
            let mut endpoint = EndpointConfig::default();
            endpoint.supported_versions(vec![VERSION]);
            Endpoint::new(endpoint, Some(self.config.clone()), socket, Arc::new(TokioRuntime))
        });
        let endpoints = endpoints.collect::<io::Result<Vec<_>>>()?;
        let front = Front::new(self.limits, self.counters, door, drain.clone(), Box::new(desks));
        let turns = Rc::clone(&front.turns);
        tokio::task::spawn_local(async move { turns.run().await });
        let mut loops = JoinSet::new();
        for endpoint in &endpoints {
            loops.spawn_local(Rc::clone(&front).accept(endpoint.clone()));
        }
        tokio::select! {
            () = drain.cancelled() => {}
            Some(_) = loops.join_next() => return Err(io::Error::other("a socket for HTTP/3 is lost")),
        }
        let open = front.open();
        // Whoever comes now is still met, and refused.
        let _ = timeout(grace, front.emptied()).await;
        let cut = front.open();
        for endpoint in &endpoints {
            endpoint.close(Code::NoError.into(), b"");
        }
        let told = async {
            for endpoint in &endpoints {
                endpoint.wait_idle().await;
            }
        };
        let _ = timeout(LINGER, told).await;
        let drained = Drained { finished: open.saturating_sub(cut), cut };
        tracing::info!(finished = drained.finished, cut = drained.cut, "HTTP/3 drained");
        Ok(drained)
    }
}

/// Another process on the same port is an error here, and not a second reader of the same packets: no address is
/// reused.
fn listen(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` may stand side by side.
        socket.set_only_v6(true)?;
    }
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&address.into())?;
    // The kernel counts its own overhead in, twice what is asked for.
    if socket.recv_buffer_size()? < SOCKET_BUFFER {
        tracing::warn!(%address, "small receive buffer: raise net.core.rmem_max to {SOCKET_BUFFER}");
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests;

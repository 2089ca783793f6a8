//! The sockets of DNS: a thread for each UDP address, and one for all connections.
//!
//! A datagram is answered by the thread that took it, with two system calls and nothing else. What its source is, anybody can
//! claim: so responses to one network have a rate, beyond which one in [`SLIP`] is a word that TCP should be used, and the
//! others are not sent. Whoever shows a cookie, or comes by TCP, is where it says that it is.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use hickory_proto::op::ResponseCode;
use socket2::{Domain, Protocol, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    DnsConfig, Names,
    answer::{Answerer, By},
    cookie::Cookies,
    dnssec::{chain::Chain, signer::Signer, watch},
    places::Places,
    roster::Roster,
};
use crate::{
    admission::{
        rates::{Charge, Rate, Rates},
        shares::Shares,
        source::Source,
    },
    peers::Peers,
};

/// How often what can be answered is made anew: a node that fails is out of all answers as soon.
const LOOK: Duration = Duration::from_millis(100);

/// One response in so many, of those that are held back, says that TCP should be used (as BIND and Knot do).
const SLIP: u64 = 2;

/// Bytes of a response that counts as one; larger ones, of signatures, as several.
const UNIT: usize = 512;

/// Networks whose rates are known at once.
const NETWORKS: usize = 1 << 16;

/// How many times its rate a network may have at once.
const BURST: u64 = 2;

/// Connections at once, and how long one may be silent.
const CONNECTIONS: usize = 256;
const SILENCE: Duration = Duration::from_secs(5);

/// Queries on one connection.
const MOST: usize = 100;

/// Bytes that wait to be read from a UDP socket.
const BUFFER: usize = 4 << 20;

/// How often a thread that waits looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(250);

/// What happened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Queries.
    pub queries: AtomicU64,
    /// Those that came by TCP.
    pub by_tcp: AtomicU64,
    /// Names that are not there.
    pub no_such_name: AtomicU64,
    /// Names of other zones, transfers, what is not understood.
    pub refused: AtomicU64,
    /// Responses that were held back.
    pub limited: AtomicU64,
    /// Datagrams that are nothing.
    pub garbage: AtomicU64,
    /// Other nodes whose answers a resolver would take for forged, now.
    pub unlike: AtomicU64,
}

impl Counters {
    /// Each by its name, so that they add up to all queries.
    pub fn read(&self) -> Vec<(&'static str, u64)> {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let (nothing, refused) = (read(&self.no_such_name), read(&self.refused));
        let (limited, garbage) = (read(&self.limited), read(&self.garbage));
        let others = nothing + refused + limited + garbage;
        vec![
            ("answered", read(&self.queries).saturating_sub(others)),
            ("no-such-name", nothing),
            ("refused", refused),
            ("limited", limited),
            ("garbage", garbage),
        ]
    }
}

/// What can be answered at a moment.
struct Moment {
    roster: Roster,
    chain: Chain,
}

impl Moment {
    fn of(names: &Names, roster: Roster, is_signed: bool) -> Self {
        Self { chain: Chain::of(names, &roster, is_signed), roster }
    }
}

/// What all threads share.
struct Shared {
    names: Names,
    places: Places,
    cookies: Cookies,
    moment: ArcSwap<Moment>,
    signer: Option<Signer>,
    rates: Rates,
    counters: Arc<Counters>,
    id: String,
    ttl: u32,
    most: usize,
    http3: bool,
    begun: Instant,
    slips: AtomicU64,
    is_over: AtomicBool,
}

/// Tries at a port that is free for UDP and for TCP, where any will do.
const TRIES: usize = 16;

/// Sockets for both on one port.
fn both(address: SocketAddr) -> io::Result<(UdpSocket, std::net::TcpListener)> {
    let mut left = if address.port() == 0 { TRIES } else { 1 };
    loop {
        left -= 1;
        let socket = datagrams(address)?;
        match crate::listener::listen(socket.local_addr()?, false) {
            Ok(listener) => return Ok((socket, listener)),
            // Another process has that one for TCP.
            Err(error) if left > 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

/// Bound, and not running yet.
pub struct Dns {
    shared: Arc<Shared>,
    config: DnsConfig,
    udp: Vec<UdpSocket>,
    tcp: Vec<std::net::TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl Dns {
    /// Binds what the configuration says; `None` if this node answers no DNS.
    ///
    /// # Errors
    /// Names the address or the file, and what to do.
    pub fn bind(
        config: &DnsConfig,
        id: &str,
        places: Places,
        signer: Option<Signer>,
        http3: bool,
    ) -> anyhow::Result<Option<Self>> {
        let Some(names) = config.names()? else { return Ok(None) };
        let (mut udp, mut tcp, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
        for address in &config.bind {
            let bound = || {
                format!(
                    "binding UDP and TCP {address} for DNS: port 53 needs CAP_NET_BIND_SERVICE, and no other server on it"
                )
            };
            let (socket, listener) = both(*address).with_context(bound)?;
            addresses.push(socket.local_addr()?);
            tcp.push(listener);
            udp.push(socket);
        }
        let some = |value: u64| NonZero::new(value).unwrap_or(NonZero::<u64>::MIN);
        let rate = Rate { per_second: some(config.rate), burst: some(config.rate.saturating_mul(BURST)) };
        let moment = Moment::of(&names, Roster::default(), signer.is_some());
        let shared = Shared {
            names,
            places,
            cookies: Cookies::new(rand::random()),
            moment: ArcSwap::from_pointee(moment),
            signer,
            rates: Rates::new(rate, NETWORKS),
            counters: Arc::default(),
            id: id.to_owned(),
            ttl: u32::try_from(config.ttl.0.as_secs()).unwrap_or(u32::MAX),
            most: config.answers,
            http3,
            begun: Instant::now(),
            slips: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        };
        Ok(Some(Self { shared: Arc::new(shared), config: config.clone(), udp, tcp, addresses }))
    }

    /// Where it is bound.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What happens.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Answers until cancelled, on threads of its own.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn spawn(self, peers: Peers, cancel: CancellationToken) -> io::Result<Running> {
        let Self { shared, config, udp, tcp, .. } = self;
        shared.look(&peers, &config);
        let mut threads = Vec::new();
        for socket in udp {
            let shared = Arc::clone(&shared);
            threads.push(thread::Builder::new().name("dns-udp".into()).spawn(move || shared.datagrams(&socket))?);
        }
        let of_threads = Arc::clone(&shared);
        threads.push(thread::Builder::new().name("dns".into()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return tracing::error!(%error, "DNS over TCP has ended"),
            };
            runtime.block_on(async {
                for socket in tcp {
                    match TcpListener::from_std(socket) {
                        Ok(listener) => drop(tokio::spawn(Arc::clone(&shared).accept(listener))),
                        Err(error) => tracing::error!(%error, "DNS over TCP has ended"),
                    }
                }
                let mut look = tokio::time::interval(LOOK);
                let watching = Arc::clone(&shared);
                let others = peers.clone();
                tokio::spawn(async move { watching.watch(&others).await });
                while !shared.is_over.load(Relaxed) && cancel.run_until_cancelled(look.tick()).await.is_some() {
                    shared.look(&peers, &config);
                }
            });
        })?);
        Ok(Running { shared: of_threads, threads })
    }
}

/// Ends its threads when it is dropped.
pub struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn answerer<'a>(&'a self, moment: &'a Moment) -> Answerer<'a> {
        let Self { names, places, cookies, id, ttl, most, http3, signer, .. } = self;
        let (Moment { roster, chain }, signer) = (moment, signer.as_ref());
        Answerer { names, roster, chain, signer, places, cookies, id, ttl: *ttl, most: *most, http3: *http3 }
    }

    /// What follows from the mesh as it is now.
    fn look(&self, peers: &Peers, config: &DnsConfig) {
        let roster = Roster::of(&peers.view(), &config.zones, difusor_proto::process::unix_us());
        let before = self.moment.load();
        if before.roster != roster {
            if roster.fails_open && !before.roster.fails_open {
                tracing::warn!("no node seems fit: all are answered");
            }
            self.moment.store(Arc::new(Moment::of(&self.names, roster, self.signer.is_some())));
        }
    }

    /// Looks at how others sign, if this node does.
    async fn watch(&self, peers: &Peers) {
        let Some(signer) = &self.signer else { return };
        let mut watch = watch::Watch::default();
        let mut next = tokio::time::interval(watch::EVERY);
        loop {
            next.tick().await;
            watch.step(signer, &peers.view(), &self.counters.unlike).await;
        }
    }

    fn datagrams(&self, socket: &UdpSocket) {
        let mut query = [0; 4096];
        while !self.is_over.load(Relaxed) {
            let (len, from) = match socket.recv_from(&mut query) {
                Ok(came) => came,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => continue,
                // Somebody's port is closed: nothing of ours.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted) => {
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "cannot read DNS queries; trying on");
                    thread::sleep(PATIENCE);
                    continue;
                }
            };
            let query = query.get(..len).unwrap_or_default();
            if let Some(response) = self.respond(query, from, By::Udp) {
                // A client that is gone has nothing to hear.
                let _ = socket.send_to(&response, from);
            }
        }
    }

    fn respond(&self, query: &[u8], from: SocketAddr, by: By) -> Option<Vec<u8>> {
        self.counters.queries.fetch_add(1, Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = u32::try_from(now & u64::from(u32::MAX)).unwrap_or_default();
        let moment = self.moment.load();
        let Some(answered) = self.answerer(&moment).answer(query, from, by, now, rand::random()) else {
            self.counters.garbage.fetch_add(1, Relaxed);
            return None;
        };
        if answered.is_proven || self.may_have(from.ip(), answered.bytes.len()) {
            let counter = match answered.code {
                ResponseCode::NoError => None,
                ResponseCode::NXDomain => Some(&self.counters.no_such_name),
                _ => Some(&self.counters.refused),
            };
            let _ = counter.map(|counter| counter.fetch_add(1, Relaxed));
            return Some(answered.bytes);
        }
        self.counters.limited.fetch_add(1, Relaxed);
        let nth = self.slips.fetch_add(1, Relaxed);
        nth.is_multiple_of(SLIP).then(|| Answerer::slip(query)).flatten()
    }

    fn may_have(&self, address: IpAddr, bytes: usize) -> bool {
        let now = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let network = Source::of(address).network();
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        matches!(self.rates.charge(network, units.into(), now), Charge::Paid(_))
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        // One source may hold as many as are left for all others.
        let shares = Shares::new(CONNECTIONS);
        loop {
            let Ok((mut tcp, from)) = listener.accept().await else {
                tokio::time::sleep(PATIENCE).await;
                continue;
            };
            // Who finds no room asks another server.
            let Ok(mut place) = shares.enter() else { continue };
            if place.name(from.ip()).is_err() {
                continue;
            }
            let shared = Arc::clone(&self);
            tokio::spawn(async move {
                let _place = place;
                let mut query = vec![0; 4096];
                for _ in 0..MOST {
                    let Ok(Ok(len)) = timeout(SILENCE, tcp.read_u16()).await else { return };
                    let Some(room) = query.get_mut(..usize::from(len)) else { return };
                    let Ok(Ok(_)) = timeout(SILENCE, tcp.read_exact(room)).await else { return };
                    shared.counters.by_tcp.fetch_add(1, Relaxed);
                    let Some(response) = shared.respond(room, from, By::Tcp) else { return };
                    let Ok(len) = u16::try_from(response.len()) else { return };
                    let framed = [&len.to_be_bytes()[..], &response].concat();
                    let Ok(Ok(())) = timeout(SILENCE, tcp.write_all(&framed)).await else { return };
                }
            });
        }
    }
}

fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // What the system does not allow it does not give.
    let _ = socket.set_recv_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

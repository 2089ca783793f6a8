//! Offenders whose packets the kernel drops, before this process hears of them: opt-in, `[kernel]` in the configuration.
//!
//! Who is an offender is for others to say, by [`Blocklist::block`], which never waits: a bounded queue leads to a thread
//! of its own ([`keeper`]), which tells the kernel by netlink ([`netlink`]), many at once. What is entered is bounded
//! ([`book`]), and ends by itself, in the kernel. The table ([`ruleset`]) is this process's own and goes with it.
//!
//! Refused, whoever asks: the loopback, proxies, exempt networks and the coordinator, and whatever network they lie in.
//! Only packets to the public ports are dropped. Without the capability (CAP_NET_ADMIN, nothing else) or without nf_tables
//! the node says so once, and serves.

mod book;
mod keeper;
pub mod netlink;
pub mod ruleset;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use difusor_proto::units::Span;
use ipnet::{IpNet, Ipv4Net};
use rustix::io::Errno;
use serde::Deserialize;

use self::{
    keeper::{Keeper, Order},
    netlink::Refusal,
    ruleset::{PublicPort, set_of},
};
use crate::{config::Config, run::Ready};

/// Orders that wait for the kernel, which takes a thousand in a few milliseconds. What does not fit is counted.
const QUEUE: usize = 4096;

/// The names that tables may begin with: whatever has the name is replaced at the start.
const PREFIX: &str = "difusor_";

/// The coordinator's name is asked for this long; it is only spared, so the node starts without an answer.
const LOOKUP: Duration = Duration::from_secs(3);

/// The `[kernel]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KernelConfig {
    /// Whether offenders are given to the kernel.
    pub block: bool,
    /// The name of the table, of family inet. Each node on a machine needs its own.
    pub table: String,
    /// Most sources and networks that are in at once.
    pub entries: u32,
    /// The longest that one can be in.
    pub longest: Span,
    /// Whether the table, and who is in it, stays when the node ends.
    pub outlive: bool,
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self {
            block: false,
            table: "difusor_block".into(),
            entries: 1 << 16,
            longest: Span(Duration::from_secs(3600)),
            outlive: false,
        }
    }
}

/// What cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelConfigError {
    /// The name.
    #[error(
        "kernel.table: `{0}`: write {PREFIX} and at most 20 letters, digits and _, but not difusor_base, which is that of `harden`"
    )]
    Table(String),
    /// The number of entries.
    #[error("kernel.entries: from 1 to 1048576, which take some 120 MiB of the kernel's memory")]
    Entries,
    /// The time.
    #[error("kernel.longest: from 1 s to 7 d: whoever is blocked by mistake must come back without an operator")]
    Longest,
}

impl KernelConfig {
    /// Refuses what cannot be meant.
    ///
    /// # Errors
    /// [`KernelConfigError`], which says what to write.
    pub fn check(&self) -> Result<(), KernelConfigError> {
        let rest = self.table.strip_prefix(PREFIX).unwrap_or_default();
        let is_name = (1..=20).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name || rest == "base" {
            return Err(KernelConfigError::Table(self.table.clone()));
        }
        if !(1..=1 << 20).contains(&self.entries) {
            return Err(KernelConfigError::Entries);
        }
        let longest = Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);
        if longest.contains(&self.longest.0) { Ok(()) } else { Err(KernelConfigError::Longest) }
    }
}

/// Why there is no block list in the kernel. Everything else works without.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No capability.
    #[error(
        "the process may not change the packet filter: give it CAP_NET_ADMIN (the commented lines of deploy/systemd/difusor-node.service), or write `block = false` under [kernel]"
    )]
    Forbidden,
    /// Another process owns a table of that name.
    #[error(
        "table inet {0} belongs to another process: give each node on this machine a `table` of its own under [kernel]"
    )]
    Taken(String),
    /// The kernel does not know what is asked of it.
    #[error(
        "this kernel cannot do it ({0}): it needs nf_tables with nft_fib_inet (`modprobe nft_fib_inet`); or write `block = false` under [kernel]"
    )]
    Unsupported(Errno),
    /// Something else.
    #[error("the kernel does not answer ({0})")]
    Broken(Errno),
    /// No thread.
    #[error("no thread for the kernel's block list: {0}")]
    Thread(io::Error),
}

/// Why somebody was not entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotEntered {
    /// One of those who are never blocked, or a network that one of them lies in.
    #[error("it is, or holds, the loopback, a proxy, an exempt network or the coordinator: these are never blocked")]
    Spared,
    /// No set is of this width.
    #[error("enter an IPv4 address or /24, or an IPv6 address, /64 or /48")]
    Width,
    /// The queue to the kernel is full.
    #[error("too many at once: the queue to the kernel is full")]
    Busy,
}

/// What became of it all.
#[derive(Debug, Default)]
struct Counters {
    entered: AtomicU64,
    spared: AtomicU64,
    no_room: AtomicU64,
    failed: AtomicU64,
    entries: AtomicU64,
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// What became of it all, at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct KernelView {
    /// Times that one was entered, or for longer.
    pub entered: u64,
    /// Times that one was asked for who is never blocked, or a width that no set has.
    pub spared: u64,
    /// Times that there was no room, in the queue or in the sets.
    pub no_room: u64,
    /// Times that the kernel did not take one; it is tried again.
    pub failed: u64,
    /// How many are in now.
    pub entries: u64,
    /// Packets that the kernel dropped, as of some seconds ago.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The block list of this process. The table goes with the thread that fills it, which ends with this or is told to, unless
/// the table is to outlive the process.
#[derive(Debug)]
pub struct Blocklist {
    orders: Option<SyncSender<Order>>,
    counters: Arc<Counters>,
    spared: Vec<IpNet>,
    longest: Duration,
    keeper: Option<JoinHandle<()>>,
}

impl Blocklist {
    /// Makes the table, and starts the thread that fills it. `spared` are never blocked; the loopback neither.
    ///
    /// # Errors
    /// If the kernel does not let it, or cannot; says what to do.
    pub fn start(config: &KernelConfig, ports: Vec<PublicPort>, spared: Vec<IpNet>) -> Result<Self, KernelError> {
        let (orders, queue) = sync_channel(QUEUE);
        let counters = Arc::new(Counters::default());
        let keeper = Keeper::open(config, ports, queue, Arc::clone(&counters)).map_err(|refusal| match refusal {
            Refusal::Forbidden => KernelError::Forbidden,
            Refusal::Refused(Errno::PERM) => KernelError::Taken(config.table.clone()),
            Refusal::Refused(error) | Refusal::Broken(error @ (Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT)) => {
                KernelError::Unsupported(error)
            }
            Refusal::Broken(error) => KernelError::Broken(error),
        })?;
        let thread = thread::Builder::new().name("kernel".into()).spawn(move || keeper.run());
        let keeper = Some(thread.map_err(KernelError::Thread)?);
        let spared = spared.into_iter().map(plain).chain(loopback()).collect();
        Ok(Self { orders: Some(orders), counters, spared, longest: config.longest.0, keeper })
    }

    /// Has the kernel drop what comes from this source or network, from a moment from now on. Never waits.
    ///
    /// # Errors
    /// If it may not be entered, or there is no room in the queue. Both are counted.
    pub fn block(&self, net: IpNet, for_: Duration) -> Result<(), NotEntered> {
        let net = plain(net);
        let refused = if set_of(&net).is_none() {
            Some(NotEntered::Width)
        } else {
            self.spared.iter().any(|one| one.contains(&net) || net.contains(one)).then_some(NotEntered::Spared)
        };
        if let Some(refused) = refused {
            self.counters.spared.fetch_add(1, Ordering::Relaxed);
            return Err(refused);
        }
        self.order(Order::Block(net, for_.min(self.longest)))
    }

    /// Lets it in again.
    ///
    /// # Errors
    /// If it cannot have been entered, or there is no room in the queue.
    pub fn unblock(&self, net: IpNet) -> Result<(), NotEntered> {
        let net = plain(net);
        set_of(&net).ok_or(NotEntered::Width)?;
        self.order(Order::Unblock(net))
    }

    /// Who is in, and for how long still. Waits for all orders before it: for operators, not for who serves.
    pub fn entries(&self) -> Vec<(IpNet, Duration)> {
        let (answer, answered) = sync_channel(1);
        let asked = self.orders.as_ref().is_some_and(|orders| orders.send(Order::List(answer)).is_ok());
        if asked { answered.recv().unwrap_or_default() } else { Vec::new() }
    }

    /// What became of it all.
    pub fn view(&self) -> KernelView {
        let Counters { entered, spared, no_room, failed, entries, packets, bytes } = &*self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        KernelView {
            entered: read(entered),
            spared: read(spared),
            no_room: read(no_room),
            failed: read(failed),
            entries: read(entries),
            packets: read(packets),
            bytes: read(bytes),
        }
    }

    /// The process is about to end: nobody is entered any more. Waits until the table is gone, where the kernel does not
    /// remove it by itself.
    pub fn close(&self) {
        let (answer, answered) = sync_channel(1);
        if self.orders.as_ref().is_some_and(|orders| orders.send(Order::End(answer)).is_ok()) {
            let _ = answered.recv();
        }
    }

    fn order(&self, order: Order) -> Result<(), NotEntered> {
        let sent = self.orders.as_ref().map(|orders| orders.try_send(order));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => {
                self.counters.no_room.fetch_add(1, Ordering::Relaxed);
                Err(NotEntered::Busy)
            }
        }
    }
}

impl Drop for Blocklist {
    fn drop(&mut self) {
        // The thread ends with its queue.
        self.orders = None;
        let _ = self.keeper.take().map(JoinHandle::join);
    }
}

/// An IPv4 network as such, also if it came as IPv6 (`::ffff:0:0/96`), without the bits behind its length.
pub(crate) fn plain(net: IpNet) -> IpNet {
    if let IpNet::V6(six) = net
        && let Some(four) = six.addr().to_ipv4_mapped()
        && let Some(length) = six.prefix_len().checked_sub(96)
        && let Ok(four) = Ipv4Net::new(four, length)
    {
        return IpNet::V4(four.trunc());
    }
    net.trunc()
}

fn loopback() -> impl Iterator<Item = IpNet> {
    ["127.0.0.0/8", "::1/128"].into_iter().filter_map(|text| text.parse().ok())
}

/// Starts the block list of a node that listens, if it is configured; says once why there is none if there cannot be.
pub async fn start_if_wanted(config: &Config, ready: &Ready, coordinator: &[String]) -> Option<Arc<Blocklist>> {
    if !config.kernel.block {
        return None;
    }
    let ports = public_ports(&ready.public, &ready.redirect, config.http3);
    let mut spared = [config.proxies.networks.clone(), config.admission.exempt.networks.clone()].concat();
    for name in coordinator {
        match tokio::time::timeout(LOOKUP, tokio::net::lookup_host(name)).await {
            Ok(Ok(addresses)) => spared.extend(addresses.map(|address| IpNet::from(address.ip()))),
            _ => tracing::warn!(%name, "the coordinator's name is not known now: its address is not spared"),
        }
    }
    let started = Blocklist::start(&config.kernel, ports, spared);
    let report = |error: &KernelError| tracing::warn!("no block list in the kernel, all else works: {error}");
    let list = Arc::new(started.inspect_err(report).ok()?);
    tracing::info!(table = config.kernel.table, "offenders are given to the kernel");
    Some(list)
}

/// The ports of these addresses, each once.
pub fn public_ports(public: &[SocketAddr], redirect: &[SocketAddr], http3: bool) -> Vec<PublicPort> {
    let tcp = public.iter().chain(redirect).map(|address| PublicPort::Tcp(address.port()));
    let udp = public.iter().filter(|_| http3).map(|address| PublicPort::Udp(address.port()));
    let mut ports = Vec::new();
    for port in tcp.chain(udp) {
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

/// What one address is entered as by an operator who names no width.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests;

//! A running node: binds everything first, serves what it has at once, and keeps in touch.

use std::{
    net::{SocketAddr, TcpListener as Socket},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use difusor_proto::{
    Flip, Signed,
    members::{MAX_ADDRESSES, Reach},
    peer::Banned,
    store::{Access, Round, Store, replace},
    tls,
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::LocalSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    admission::{door::Door, offenders::Ban, overload::Overload, rules::book::Rulebook},
    certificate::Certificates,
    config::Config,
    control::{self, Hand},
    desk::Station,
    dns::{places::Places, serve::Dns, update::keeper::Keeper},
    gate::Gate,
    health::monitor::Monitor,
    home::Home,
    http3::{self, Http3},
    insight,
    keep::Keep,
    kernel::{self, Blocklist},
    listener::{self, Listener, ListenerConfig},
    observe::{AccessLog, Observatory, Protocol},
    peers::{Heard, Network, Peers},
    redirect::Redirector,
    relay::Relay,
    scrub::Scrub,
    serving::{Serving, unix_ms},
    site::SiteOptions,
    stage::Budget,
    sync::{self, Refused, Sync},
};

/// How often the files of the certificate and of the rules are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How often the HTTP/3 thread looks at the clock for what it sends.
const TICK: Duration = Duration::from_millis(100);

/// What other nodes tell of offenders, waiting to be heard: more than all tell in a few seconds.
const OFFENDERS: usize = 64;

/// Where a node listens, as written to `ready.json` once it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Process.
    pub pid: u32,
    /// TCP addresses of the public site; UDP ones too if it speaks HTTP/3.
    pub public: Vec<SocketAddr>,
    /// TCP addresses that lead to the site.
    pub redirect: Vec<SocketAddr>,
    /// UDP and TCP addresses of DNS.
    #[serde(default)]
    pub dns: Vec<SocketAddr>,
    /// UDP address for other nodes.
    #[serde(default)]
    pub peers: Option<SocketAddr>,
    /// TCP address of the status.
    pub admin: SocketAddr,
}

/// A node that listens and does not serve yet.
pub struct Node {
    ready: Ready,
    listener: Listener,
    http3: Option<Http3>,
    redirector: Redirector,
    admin: Socket,
    certificates: Arc<Certificates>,
    rules: Arc<Rulebook>,
    station: Station,
    sync: Arc<Sync>,
    blocklist: Option<Arc<Blocklist>>,
    /// While operators are answered.
    by_hand: Option<control::Serving>,
    network: Option<Network>,
    dns: Option<Dns>,
    zone: Option<Keeper>,
    /// Flips that other nodes tell of.
    told: mpsc::UnboundedReceiver<Signed<Flip>>,
    told_of: mpsc::Receiver<Banned>,
    monitor: Monitor,
    notice: Duration,
    drain: Duration,
}

impl Node {
    /// Opens the folder, makes its cut ready, and binds the listeners.
    ///
    /// # Errors
    /// Names the file or the address, and what to do.
    pub async fn bind(home: &Home, config: &Config) -> anyhow::Result<Self> {
        let identity = home.read_identity()?;
        let key = identity.key()?;
        let client = tls::client(&identity.tls()?, config.congestion)?;
        let chain = config.certificate.clone().unwrap_or_else(|| home.site_certificate());
        let private = config.key.clone().unwrap_or_else(|| home.site_key());
        let certificates = Certificates::load(&chain, &private)?;
        let rules = Arc::new(Rulebook::open(&home.dir().join(&config.rules))?);
        let listen = ListenerConfig {
            bind: config.public.clone(),
            workers: config.workers,
            limits: config.limits.limits(),
            proxy_protocol: config.proxy_protocol,
        };
        let listener = Listener::bind(&listen, certificates.tcp_config())?;
        let public = listener.addresses().to_vec();
        let http3 = config.http3.then(|| Http3::bind(&public, certificates.quic_config(), config.limits.http3()));
        let http3 = http3.transpose().context("binding UDP for HTTP/3: is another process on that port?")?;
        let redirector = Redirector::bind(&config.redirect).await?;
        let taken = || format!("binding TCP {}: is another node running?", config.admin);
        let admin = Socket::bind(config.admin).with_context(taken)?;
        admin.set_nonblocking(true)?;
        let mut ready = Ready {
            pid: std::process::id(),
            public,
            redirect: redirector.addresses().to_vec(),
            dns: Vec::new(),
            peers: None,
            admin: admin.local_addr()?,
        };

        let serving = Arc::new(Serving::default());
        let policy = Arc::new(config.site.clone());
        // Behind a proxy that ends TLS, nobody could reach the port that is announced.
        let announced = http3.as_ref().and_then(|http3| http3.addresses().first().map(SocketAddr::port));
        let options = SiteOptions { policy: Arc::clone(&policy), http3: announced, ..SiteOptions::new(key) };
        let (at, shown) = (home.clone(), Arc::clone(&serving));
        let opened = tokio::task::spawn_blocking(move || {
            let (store, recovery) = Store::open(&at.store())?;
            if recovery != Default::default() {
                tracing::warn!(?recovery, "the store was mended after the last stop");
            }
            let gate = Gate::open(at, store.clone(), options, shown)?;
            anyhow::Ok((store, gate))
        });
        let (store, gate) = opened.await??;
        let threads = listener::workers(config.workers) + usize::from(http3.is_some());
        let observatory = Arc::new(Observatory::new(threads, AccessLog::start(&config.log)?));
        let station = Station {
            serving,
            policy,
            trust: Arc::new(config.proxies.clone()),
            observatory: Arc::clone(&observatory),
            access: config.log.clone(),
            door: Door::new(&config.admission, &config.proxies)?,
            overload: Overload::default(),
            rules: Some(Arc::clone(&rules)),
            board: Arc::default(),
        };
        let board = Arc::clone(&station.board);
        let (flips, told) = mpsc::unbounded_channel();
        let (offenders, told_of) = mpsc::channel(OFFENDERS);
        let relay = Arc::new(Relay::new(store.clone(), key, config.relay));
        let (name, tls) = (identity.node.clone(), identity.tls()?);
        let bound =
            Network::bind(config.peers, name, key, &tls, home.clone(), Heard { flips, offenders }, Arc::clone(&relay));
        let (network, peers) = match bound {
            Ok((network, peers)) => (Some(network), peers),
            Err(error) => {
                tracing::error!("no other nodes, all else works: {error:#}; set `peers` to an address that is free");
                (None, Peers::default())
            }
        };
        let places = Places::read(home.dir(), &config.dns.places)?;
        let host = config.site.hosts.first().cloned().unwrap_or_else(|| "localhost".to_owned());
        let zone = Keeper::open(&config.dns.update, home.dir(), config.http3, host)?;
        let signer = config.dns.signer(home.dir())?;
        let dns = Dns::bind(&config.dns, identity.node.as_str(), places, signer, config.http3)?;
        ready.dns = dns.iter().flat_map(Dns::addresses).copied().collect();
        ready.peers = network.as_ref().and_then(|network| network.address().ok());
        let dns_at = match (&config.dns.at[..], &dns) {
            ([], Some(dns)) => dns.addresses().iter().copied().take(MAX_ADDRESSES).collect(),
            (set, _) => set.to_vec(),
        };
        let peers_at = match (&config.peers_at[..], &network) {
            ([], Some(network)) => vec![network.address()?],
            ([], None) => Vec::new(),
            (set, _) => set.to_vec(),
        };
        let mut public_at = if config.public_at.is_empty() { ready.public.clone() } else { config.public_at.clone() };
        public_at.truncate(MAX_ADDRESSES);
        let addresses =
            if config.coordinator.is_empty() { identity.coordinator.clone() } else { config.coordinator.clone() };
        let blocklist = kernel::start_if_wanted(config, &ready, &addresses).await;
        let hand = Hand { blocklist: blocklist.clone(), offenders: station.door.offenders().cloned() };
        let by_hand = control::serve(&home.control(), hand)
            .inspect_err(|error| tracing::warn!(%error, "nothing can be done to this node by hand"))
            .ok();
        let (gate, custody) = (Arc::new(gate), Arc::default());
        let round = Round::new(config.scrub_rate.0, config.scrub_every.0, config.low_space.0);
        let scrub = Scrub::new(store.clone(), Arc::clone(&gate), key, Arc::clone(&custody), round);
        let keep = config.archive.then(|| Keep::open(home.archive(), key, store.clone(), config.low_space.0));
        let keep = keep.and_then(|opened| {
            // Serving comes first.
            let report = |error: &_| tracing::error!(%error, folder = %home.archive().display(), "nothing can be kept");
            opened.inspect_err(report).ok().map(Arc::new)
        });
        let sync = Arc::new(Sync {
            gate,
            observatory: Arc::clone(&observatory),
            store,
            key,
            budget: Budget::new(config.apply_memory.0),
            addresses,
            client,
            public: ready.public.iter().map(ToString::to_string).collect(),
            refused: Refused::default(),
            keep_cuts: config.keep_cuts,
            custody,
            keep,
            scrub: Arc::new(scrub),
            cannot_take: None.into(),
            connected: false.into(),
            connected_us: 0.into(),
            expelled: false.into(),
            door: station.door.clone(),
            peers: peers.clone(),
            board: Arc::clone(&board),
            reach: Reach { peers: peers_at, public: public_at, dns: dns_at },
            offset_us: i64::MIN.into(),
            by_peers: None.into(),
            came: Default::default(),
            completing: Default::default(),
            relay,
            relayed: 0.into(),
            tried: 0.into(),
            words: Default::default(),
        });
        let monitor = Monitor {
            sync: Arc::clone(&sync),
            observatory,
            certificates: Arc::clone(&certificates),
            peers,
            board,
            overload: station.overload.clone(),
            policy: Arc::clone(&station.policy),
            public: ready.public.clone(),
            preamble: config.proxy_protocol.then(|| config.proxies.clone()),
            folder: home.dir().to_owned(),
            low_space: config.low_space.0,
            capacity: config.capacity,
            begun: Instant::now(),
            ending: CancellationToken::new(),
        };
        replace(&home.dir().join("ready.json"), &serde_json::to_vec(&ready)?, Access::Normal)?;
        let (notice, drain) = (config.notice.0, config.drain.0);
        Ok(Self {
            ready,
            listener,
            http3,
            redirector,
            admin,
            certificates,
            rules,
            station,
            sync,
            blocklist,
            by_hand,
            network,
            dns,
            zone,
            told,
            told_of,
            monitor,
            notice,
            drain,
        })
    }

    /// Where it listens.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Serves until cancelled; then says so, goes on for the time of notice, lets nobody in any more, and finishes what
    /// is under way.
    ///
    /// # Errors
    /// If a part of it ends by itself.
    pub async fn run(self, cancel: CancellationToken) -> anyhow::Result<()> {
        let Self { listener, http3, redirector, admin, certificates, rules, station, sync, blocklist, by_hand, .. } =
            self;
        let (network, dns, zone, mut monitor) = (self.network, self.dns, self.zone, self.monitor);
        monitor.ending = cancel.clone();
        let (notice, drain) = (self.notice, self.drain);
        let (store, gate, scrub) = (sync.store.clone(), Arc::clone(&sync.gate), Arc::clone(&sync.scrub));
        // The status is the last to go: it says that the node drains.
        let (closing, over) = (CancellationToken::new(), CancellationToken::new());
        let desk = admin::Desk {
            sync: Arc::clone(&sync),
            observatory: Arc::clone(&station.observatory),
            certificates: Arc::clone(&certificates),
            rules: Arc::clone(&rules),
            http3: http3.as_ref().map(Http3::counters),
            overload: station.overload.clone(),
            blocklist: blocklist.clone(),
            dns: dns.as_ref().map(Dns::counters),
            zone: zone.as_ref().map(Keeper::tally),
            draining: cancel.clone(),
        };
        // The others are told that this node ends before it closes its doors, so these go on to the end.
        let has_peers = network.is_some();
        let mut networking = match network {
            Some(network) => tokio::spawn(network.run(over.clone())),
            None => tokio::spawn(over.clone().cancelled_owned()),
        };
        if let Some(zone) = zone {
            tokio::spawn(zone.run(sync.peers.clone(), over.clone()));
        }
        let naming = dns.map(|dns| dns.spawn(sync.peers.clone(), over.clone())).transpose()?;
        tokio::spawn(Arc::clone(&sync).obey_peers(self.told, closing.clone()));
        tokio::spawn(Arc::clone(&sync).mind_offenders(self.told_of, closing.clone()));
        tokio::spawn(Arc::clone(&sync).catch_up(closing.clone()));
        monitor.begin();
        let mut watching_over = tokio::spawn(monitor.run(over.clone()));
        if let (Some(offenders), Some(blocklist)) = (station.door.offenders(), blocklist.clone()) {
            tokio::spawn(closing.clone().run_until_cancelled_owned(hand_over(offenders.news(), blocklist)));
        }
        let mut status = admin::spawn(desk, admin, over.clone())?;
        let observatory = Arc::clone(&station.observatory);
        let (serving, events) = (Arc::clone(&station.serving), http3.as_ref().map(Http3::counters));
        tokio::spawn(insight::reader::run(Arc::clone(&observatory), serving, events, over.clone()));
        let has_quic = http3.is_some();
        let mut quic = match http3 {
            Some(http3) => spawn_http3(http3, station.clone(), closing.clone(), drain)?,
            None => oneshot::channel().1,
        };
        let mut public = tokio::spawn(listener.run(station, closing.clone(), drain));
        let mut redirecting = tokio::spawn(redirector.run(closing.clone()));
        let mut dialling = tokio::spawn(sync::run(sync, closing.clone()));
        let watching = tokio::spawn(certificates.watch(LOOK, closing.clone()));
        tokio::spawn(rules.watch(LOOK, closing.clone()));
        tokio::spawn(observatory.log().clone().reopen_on_hangup(closing.clone()));
        let behind = thread::Builder::new().name("behind".into());
        let (stop, its_gate) = (closing.clone(), Arc::clone(&gate));
        let behind = behind.spawn(move || its_gate.work_behind(&|| stop.is_cancelled()))?;
        let its_scrub = Arc::clone(&scrub);
        let scrubbing = thread::Builder::new().name("scrub".into()).spawn(move || its_scrub.run())?;
        // Visitors are served to the end of the notice, and so they are given what is new.
        let ended = tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            _ = &mut public => Some("the public listener"),
            _ = &mut quic, if has_quic => Some("HTTP/3"),
            _ = &mut redirecting => Some("the redirecting listener"),
            _ = &mut status => Some("the status listener"),
            _ = &mut dialling => Some("the synchronisation"),
            _ = &mut networking, if has_peers => Some("the connections to other nodes"),
            _ = &mut watching_over => Some("the watch over its health"),
        };
        let asked = cancel.is_cancelled();
        cancel.cancel();
        if ended.is_none() && !notice.is_zero() {
            tracing::info!(?notice, "draining: visitors are still let in, so that balancers and DNS can follow");
            tokio::time::sleep(notice).await;
        }
        closing.cancel();
        scrub.stop();
        gate.wake_behind();
        if ended != Some("the public listener") {
            let _ = public.await;
        }
        if has_quic && ended != Some("HTTP/3") {
            let _ = quic.await;
        }
        let _ = watching.await;
        over.cancel();
        drop(by_hand);
        if ended != Some("the connections to other nodes") {
            let _ = networking.await;
        }
        let settled = tokio::task::spawn_blocking(move || {
            drop(naming);
            let _ = behind.join();
            let _ = scrubbing.join();
            observatory.log().close();
            if let Some(list) = blocklist {
                list.close();
            }
            store.settle()
        });
        settled.await??;
        match ended {
            Some(part) if !asked => anyhow::bail!("{part} ended: this is a defect, see the log"),
            _ => Ok(()),
        }
    }
}

/// Whoever is banned is dropped by the kernel, as long as the ban is.
async fn hand_over(mut news: broadcast::Receiver<Ban>, blocklist: Arc<Blocklist>) {
    loop {
        match news.recv().await {
            // Counted if it is not entered: the node goes on refusing by itself.
            Ok(ban) => drop(blocklist.block(ban.network, Duration::from_secs(ban.seconds))),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "more bans at once than can be handed to the kernel");
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// HTTP/3 has a thread of its own: its socket is one, and its packets must not wait behind those of TCP.
fn spawn_http3(
    http3: Http3,
    station: Station,
    cancel: CancellationToken,
    grace: Duration,
) -> std::io::Result<oneshot::Receiver<http3::Drained>> {
    let (end, ended) = oneshot::channel();
    thread::Builder::new().name("serve-h3".into()).spawn(move || {
        let served = (|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, async move {
                let last = station.observatory.tallies().len().saturating_sub(1);
                let door = station.door.clone();
                let counter = station.counter(last);
                let clock = std::rc::Rc::clone(&counter);
                tokio::task::spawn_local(std::rc::Rc::clone(&counter).probe());
                tokio::task::spawn_local(async move {
                    let mut ticks = tokio::time::interval(TICK);
                    loop {
                        ticks.tick().await;
                        clock.tick(unix_ms());
                    }
                });
                let desks = move |peer: http3::Peer| Box::new(counter.visit(peer.address.ip(), Protocol::H3)) as Box<_>;
                http3.run(desks, door, cancel, grace).await
            })
        })();
        match served {
            Ok(drained) => drop(end.send(drained)),
            Err(error) => tracing::error!(%error, "HTTP/3 has ended"),
        }
    })?;
    Ok(ended)
}

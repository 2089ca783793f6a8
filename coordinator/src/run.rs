//! A running coordinator: binds everything first, then serves until told to end.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use difusor_proto::{
    SigningKey,
    store::{Access, Round, Store, replace},
    tls,
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::{self, Api},
    archive::{AT_HAND, Archive, Keeper, plan::Plan},
    authority::Authority,
    config::Config,
    delta::Deltas,
    driver::{Command, Driver, FleetView},
    home::Home,
    mesh::{self, Mesh},
    publish::Publisher,
    registry::Registry,
    replica::{Fetcher, Healing, Keepers, Replica, ReplicaConfig},
    rollout::{Policy, Rollout},
    scrub::Scrub,
    state::State,
    witness::Witness,
};

/// Where a coordinator listens, as written to `ready.json` once it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Process.
    pub pid: u32,
    /// UDP address of the mesh.
    pub mesh: SocketAddr,
    /// TCP address of console and API.
    pub api: SocketAddr,
}

/// A coordinator that listens and does not serve yet.
pub struct Coordinator {
    ready: Ready,
    endpoint: quinn::Endpoint,
    listener: TcpListener,
    driver: Driver,
    commands: mpsc::UnboundedReceiver<Command>,
    mesh: Arc<Mesh>,
    api: Arc<Api>,
    keeper: Keeper,
    replica: Option<Replica>,
    fetcher: Fetcher,
    to: Option<ReplicaConfig>,
}

/// The mesh listener. Its stateless resets (RFC 9000 section 10.3) are keyed by the signing key, so that a node learns
/// from a coordinator that was killed and started again, at once, that the connection it holds is gone.
fn endpoint(server: quinn::ServerConfig, address: SocketAddr, key: &SigningKey) -> std::io::Result<quinn::Endpoint> {
    let secret = key.derive("difusor stateless reset v1");
    let reset = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    let socket = std::net::UdpSocket::bind(address)?;
    let config = quinn::EndpointConfig::new(Arc::new(reset));
    quinn::Endpoint::new(config, Some(server), socket, Arc::new(quinn::TokioRuntime))
}

impl Coordinator {
    /// Opens the folder and binds the listeners.
    ///
    /// # Errors
    /// Names the file or the address, and what to do.
    pub async fn bind(home: &Home, config: &Config) -> anyhow::Result<Self> {
        let key = Arc::new(home.read_signing_key()?);
        let authority = Authority::open(home)?;
        let registry = Registry::open(home.registry())?;
        let state = State::open(home.state())?;
        let token = home.read_api_token().with_context(|| format!("reading {}", home.api_token().display()))?;
        let folder = home.store();
        let (store, recovery) = tokio::task::spawn_blocking(move || Store::open(&folder)).await??;
        if recovery != Default::default() {
            tracing::warn!(?recovery, "the store was mended after the last stop");
        }
        let server = tls::server(&authority.coordinator_identity()?, config.congestion)?;
        let endpoint = endpoint(server, config.mesh, &key)
            .with_context(|| format!("binding UDP {}: is another coordinator running?", config.mesh))?;
        let listener = TcpListener::bind(config.api)
            .await
            .with_context(|| format!("binding TCP {}: is another coordinator running?", config.api))?;
        let ready = Ready { pid: std::process::id(), mesh: endpoint.local_addr()?, api: listener.local_addr()? };

        let (commands, received) = mpsc::unbounded_channel();
        let fleet = FleetView::default();
        let deltas = Arc::new(Deltas::new(store.clone(), key.verifying_key(), config.base_memory.0));
        let policy = Policy { when: config.flip, deadline: config.flip_deadline.0, lead: config.flip_lead.0 };
        let rollout = Rollout::new(policy, state.current(), state.serial());
        let plan = Plan { every: config.keyframe_every, verbatim: config.verbatim_cuts };
        let archive = Arc::new(Archive::new(store.clone(), key.verifying_key(), plan, AT_HAND)?);
        let publisher = Publisher::new(
            store.clone(),
            Arc::clone(&key),
            Arc::clone(&deltas),
            archive,
            commands.clone(),
            Arc::clone(&fleet),
            home.refused(),
        )?;
        publisher.resume(&state);
        let fetcher = Fetcher::new(store.clone(), &home.store(), &key);
        let keepers = Arc::new(Keepers::new(fetcher.clone(), publisher.committed(), Arc::clone(&fleet)));
        let mesh = Arc::new(Mesh {
            keepers,
            authority,
            registry,
            id: key.verifying_key().mesh(),
            key: key.verifying_key(),
            deltas,
            effort: config.deltas.fixed(),
            commands,
            fleet: Arc::clone(&fleet),
        });
        let publisher = Arc::new(publisher);
        let witness = Witness::new(Arc::clone(&fleet), config.site.clone())?;
        let driver = Driver::new(rollout, state, key, Arc::clone(&fleet), witness, store.clone(), publisher.taken());
        let round = Round::new(config.scrub_rate.0, config.scrub_every.0, config.low_space.0);
        let scrub = Scrub::new(store.clone(), Arc::clone(&publisher), round);
        let replica = config
            .replica
            .clone()
            .map(|to| Replica::new(to, fetcher.clone(), home.replica(), Arc::clone(&fleet), publisher.committed()));
        let api = Arc::new(Api {
            publisher,
            scrub: Arc::new(scrub),
            mesh: Arc::clone(&mesh),
            store,
            token,
            mesh_public: config.mesh_public.clone(),
            invitation: config.invitation.0,
        });
        let keeper = Keeper { publisher: Arc::clone(&api.publisher), fleet };
        replace(&home.dir().join("ready.json"), &serde_json::to_vec(&ready)?, Access::Normal)?;
        Ok(Self {
            ready,
            endpoint,
            listener,
            driver,
            commands: received,
            mesh,
            api,
            keeper,
            replica,
            fetcher,
            to: config.replica.clone(),
        })
    }

    /// Where it listens.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Serves until cancelled, then ends every session in order.
    ///
    /// # Errors
    /// If a part of it ends by itself: half a coordinator is none.
    pub async fn run(self, cancel: CancellationToken) -> anyhow::Result<()> {
        let Self { endpoint, listener, driver, commands, mesh, api, keeper, replica, fetcher, to, .. } = self;
        let (store, scrub) = (api.store.clone(), Arc::clone(&api.scrub));
        let (publisher, keepers) = (Arc::clone(&api.publisher), Arc::clone(&mesh.keepers));
        let reading = Arc::clone(&scrub);
        let reading = std::thread::Builder::new().name("scrub".into()).spawn(move || reading.run())?;
        let tasks = TaskTracker::new();
        mesh.tell_members();
        let mut driver = tasks.spawn(driver.run(commands, cancel.clone()));
        let mut accept = tasks.spawn(mesh::accept(mesh, endpoint, cancel.clone()));
        let mut keeper = tasks.spawn(keeper.run(cancel.clone()));
        let mut serve = tasks.spawn(api::serve(api, listener, cancel.clone()));
        let healing = Arc::new(Healing {
            fetcher,
            replica: to,
            keepers: Arc::clone(&keepers),
            publisher,
            cancel: cancel.clone(),
            runtime: tokio::runtime::Handle::current(),
        });
        scrub.add(Arc::clone(&healing) as _);
        tasks.spawn(healing.run());
        if let Some(replica) = replica {
            // A copy that is late is no reason to end: the status says so.
            tasks.spawn(replica.run(cancel.clone()));
        }
        let ended = tokio::select! {
            () = cancel.cancelled() => None,
            _ = &mut driver => Some("the rollout"),
            _ = &mut accept => Some("the mesh listener"),
            _ = &mut serve => Some("the API"),
            _ = &mut keeper => Some("the archive"),
        };
        let asked = cancel.is_cancelled();
        cancel.cancel();
        scrub.stop();
        tasks.close();
        tasks.wait().await;
        let settled = tokio::task::spawn_blocking(move || {
            let _ = reading.join();
            store.settle()
        });
        settled.await??;
        match ended {
            Some(part) if !asked => anyhow::bail!("{part} ended: this is a defect, see the log"),
            _ => Ok(()),
        }
    }
}

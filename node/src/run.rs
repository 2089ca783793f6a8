//! A running node: binds everything first, serves what it has at once, and keeps in touch.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use difusor_proto::{
    store::{Access, Store, replace},
    tls,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    certificate::tls_config_from_files,
    config::Config,
    gate::Gate,
    home::Home,
    listener::{Limits, Listener, ListenerConfig},
    serving::Serving,
    stage::Budget,
    sync::{self, Refused, Sync},
};

/// Where a node listens, as written to `ready.json` once it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Process.
    pub pid: u32,
    /// TCP addresses of the public site.
    pub public: Vec<SocketAddr>,
    /// TCP address of the status.
    pub admin: SocketAddr,
}

/// A node that listens and does not serve yet.
pub struct Node {
    ready: Ready,
    listener: Listener,
    admin: TcpListener,
    serving: Arc<Serving>,
    sync: Arc<Sync>,
    drain: std::time::Duration,
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
        let site_tls = tls_config_from_files(&chain, &private)?;
        let listen = ListenerConfig { bind: config.public.clone(), limits: Limits::default() };
        let listener = Listener::bind(&listen, site_tls)?;
        let admin = TcpListener::bind(config.admin)
            .await
            .with_context(|| format!("binding TCP {}: is another node running?", config.admin))?;
        let ready =
            Ready { pid: std::process::id(), public: listener.addresses().to_vec(), admin: admin.local_addr()? };

        let serving = Arc::new(Serving::default());
        let (at, shown) = (home.clone(), Arc::clone(&serving));
        let opened = tokio::task::spawn_blocking(move || {
            let (store, recovery) = Store::open(&at.store())?;
            if recovery != Default::default() {
                tracing::warn!(?recovery, "the store was mended after the last stop");
            }
            let gate = Gate::open(at, store.clone(), key, shown)?;
            anyhow::Ok((store, gate))
        });
        let (store, gate) = opened.await??;
        let addresses =
            if config.coordinator.is_empty() { identity.coordinator.clone() } else { config.coordinator.clone() };
        let sync = Arc::new(Sync {
            gate: Arc::new(gate),
            store,
            key,
            budget: Budget::new(config.apply_memory.0),
            addresses,
            client,
            public: ready.public.iter().map(ToString::to_string).collect(),
            refused: Refused::default(),
            keep_cuts: config.keep_cuts,
            custody: Arc::default(),
            connected: false.into(),
        });
        replace(&home.dir().join("ready.json"), &serde_json::to_vec(&ready)?, Access::Normal)?;
        Ok(Self { ready, listener, admin, serving, sync, drain: config.drain.0 })
    }

    /// Where it listens.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Serves until cancelled; then finishes what is under way.
    ///
    /// # Errors
    /// If a part of it ends by itself.
    pub async fn run(self, cancel: CancellationToken) -> anyhow::Result<()> {
        let Self { listener, admin, serving, sync, drain, .. } = self;
        let store = sync.store.clone();
        let mut public = tokio::spawn(listener.run(serving, cancel.clone(), drain));
        let mut status = tokio::spawn(admin::serve(Arc::clone(&sync), admin, cancel.clone()));
        let mut dialling = tokio::spawn(sync::run(sync, cancel.clone()));
        let ended = tokio::select! {
            () = cancel.cancelled() => None,
            _ = &mut public => Some("the public listener"),
            _ = &mut status => Some("the status listener"),
            _ = &mut dialling => Some("the synchronisation"),
        };
        let asked = cancel.is_cancelled();
        cancel.cancel();
        if ended != Some("the public listener") {
            let _ = public.await;
        }
        tokio::task::spawn_blocking(move || store.settle()).await??;
        match ended {
            Some(part) if !asked => anyhow::bail!("{part} ended: this is a defect, see the log"),
            _ => Ok(()),
        }
    }
}

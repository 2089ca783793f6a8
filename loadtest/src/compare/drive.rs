//! Loads one server with one cell by this program's own clients, all on one thread.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use tokio::time::sleep;

use super::cells::{Load, Protocol};
use super::identity::{self, Tickets};
use super::request::Exchange;
use super::servers::Server;
use super::tally::{Counted, Tally};
use super::window::{Spent, Window};
use super::wire::Wire;
use super::{http1, http2, http3};

/// After this many failures nobody tries on.
const MOST: u64 = 100;

/// Before a client that failed tries again.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs the clients of a cell until the window is over.
pub(super) async fn run(
    server: &Server,
    load: &Load,
    exchange: &Exchange,
    window: &Window<'_>,
) -> anyhow::Result<(Counted, Spent)> {
    let tally = Tally::default();
    let tls = identity::loading(load.protocol.alpn(), Tickets::Ignored)?;
    let by_quic = if load.protocol == Protocol::H3 { Some(http3::endpoint(tls.clone())?) } else { None };
    let tls = Arc::new(tls);
    let client = || async {
        loop {
            if let Err(error) = connection(server, load, exchange, &tally, &tls, by_quic.as_ref()).await {
                tally.failed(&error);
            }
            while tally.failures() > MOST {
                sleep(Duration::MAX).await;
            }
            sleep(PAUSE).await;
        }
    };
    let mut clients: FuturesUnordered<_> = (0..load.connections).map(|_| tally.noting(client())).collect();
    let watched = async {
        // Quinn works in tasks of its own, whose time would pass for idle.
        if by_quic.is_some() {
            window.watch(server.pids(), &tally).await
        } else {
            window.watch_awake(server.pids(), &tally).await
        }
    };
    let spent = tokio::select! {
        biased;
        spent = watched => spent?,
        Some(()) = clients.next() => bail!("a client ended"),
    };
    drop(clients);
    if let Some(endpoint) = by_quic {
        endpoint.close(0_u32.into(), b"");
        endpoint.wait_idle().await;
    }
    Ok((tally.counted(), spent))
}

/// One connection, until something is wrong with it.
async fn connection(
    server: &Server,
    load: &Load,
    exchange: &Exchange,
    tally: &Tally,
    tls: &Arc<ClientConfig>,
    by_quic: Option<&quinn::Endpoint>,
) -> anyhow::Result<()> {
    if let Some(endpoint) = by_quic {
        let connection = http3::Connection::open(endpoint, server.address).await?;
        return connection.forever(exchange, tally, load.streams).await;
    }
    let wire = Wire::open(server.address, tls).await?;
    if load.protocol == Protocol::H1 {
        return http1::forever(wire, exchange, tally).await;
    }
    http2::Connection::open(wire, exchange, tally).await?.forever(load.streams).await
}

//! New connections in a closed loop: TCP, TLS, one small request, and the end.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

use super::cells::Protocol;
use super::http1::Answer;
use super::identity::{self, Tickets};
use super::request::Exchange;
use super::servers::Server;
use super::tally::{Counted, Tally};
use super::window::{Spent, Window};

/// Visitors at once.
const VISITORS: usize = 32;

/// After this many failures nobody tries on.
const MOST: u64 = 100;

/// Read at once: more than a small answer has.
const ROOM: usize = 16 << 10;

/// Runs the visitors until the window is over. With tickets, also returns the share of them that came back with one: a
/// visitor uses a ticket once, as browsers do, and some servers give no new one for it.
pub(super) async fn run(
    server: &Server,
    tickets: Tickets,
    exchange: &Exchange,
    window: &Window<'_>,
) -> anyhow::Result<(Counted, Spent, Option<f64>)> {
    let tally = Tally::default();
    let (all, resumed) = (Cell::new(0_u32), Cell::new(0_u32));
    let request = exchange.http1();
    let visitor = || async {
        // Each comes back with tickets of its own.
        let tls = TlsConnector::from(Arc::new(identity::loading(Protocol::H1.alpn(), tickets)?));
        let (mut purse, mut room) = (0, vec![0; ROOM]);
        loop {
            let since = Instant::now();
            let visit = visit(server.address, &tls, &request, exchange, &mut room).await;
            match visit.and_then(|visit| spend(&mut purse, &visit, tickets).map(|()| visit)) {
                Ok(visit) => {
                    tally.received(usize::try_from(exchange.body)?);
                    tally.answered(since);
                    all.set(all.get() + u32::from(tally.is_open()));
                    let again = tally.is_open() && visit.kind == HandshakeKind::Resumed;
                    resumed.set(resumed.get() + u32::from(again));
                }
                Err(error) => {
                    tally.failed(&error);
                    while tally.failures() > MOST {
                        sleep(Duration::MAX).await;
                    }
                }
            }
        }
    };
    let mut visitors: FuturesUnordered<_> = (0..VISITORS).map(|_| tally.noting(visitor())).collect();
    let spent = tokio::select! {
        biased;
        spent = window.watch_awake(server.pids(), &tally) => spent?,
        Some(ended) = visitors.next() => {
            let error: anyhow::Result<()> = ended;
            return Err(error.err().context("a visitor ended")?);
        }
    };
    let share = f64::from(resumed.get()) / f64::from(all.get().max(1));
    Ok((tally.counted(), spent, (tickets == Tickets::Used).then_some(share)))
}

/// A connection that was made, used and closed.
struct Visit {
    kind: HandshakeKind,
    /// Tickets that it brought.
    tickets: u32,
}

/// Keeps count of a visitor's tickets. Fails if the handshake is not of the kind that they allow.
fn spend(purse: &mut u32, visit: &Visit, tickets: Tickets) -> anyhow::Result<()> {
    match (visit.kind, tickets) {
        (HandshakeKind::Full, Tickets::Ignored) => return Ok(()),
        (HandshakeKind::Resumed, Tickets::Used) if *purse > 0 => *purse -= 1,
        (HandshakeKind::Full, Tickets::Used) if *purse == 0 => {}
        (HandshakeKind::Full, Tickets::Used) => {
            *purse -= 1;
            bail!("the server did not take its ticket back");
        }
        (kind, _) => bail!("a handshake of another kind: {kind:?}"),
    }
    *purse += visit.tickets;
    Ok(())
}

/// Connects, asks once, and closes.
async fn visit(
    address: SocketAddr,
    tls: &TlsConnector,
    request: &[u8],
    exchange: &Exchange,
    room: &mut [u8],
) -> anyhow::Result<Visit> {
    let tcp = TcpStream::connect(address).await.context("connecting")?;
    tcp.set_nodelay(true)?;
    let mut stream = tls.connect(identity::server_name()?, tcp).await.context("TLS handshake")?;
    stream.write_all(request).await?;
    let mut answer = Answer::default();
    while !answer.complete() {
        let read = stream.read(room).await?;
        ensure!(read > 0, "the server closed the connection");
        answer.take(room.get(..read).unwrap_or_default())?;
    }
    answer.verify(exchange)?;
    let tls = stream.get_ref().1;
    Ok(Visit { kind: tls.handshake_kind().context("no handshake")?, tickets: tls.tls13_tickets_received() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_kept_count_of() {
        let spend = |purse: &mut u32, kind, given, tickets| spend(purse, &Visit { kind, tickets: given }, tickets);
        let (full, resumed) = (HandshakeKind::Full, HandshakeKind::Resumed);
        let mut purse = 0;
        spend(&mut purse, full, 2, Tickets::Ignored).unwrap();
        assert!(spend(&mut purse, resumed, 0, Tickets::Ignored).is_err());
        assert!(spend(&mut purse, resumed, 0, Tickets::Used).is_err(), "without a ticket");
        spend(&mut purse, full, 2, Tickets::Used).unwrap();
        spend(&mut purse, resumed, 0, Tickets::Used).unwrap();
        spend(&mut purse, resumed, 1, Tickets::Used).unwrap();
        assert!(spend(&mut purse, full, 2, Tickets::Used).is_err(), "with a ticket");
        spend(&mut purse, full, 0, Tickets::Used).unwrap();
        assert!(spend(&mut purse, HandshakeKind::FullWithHelloRetryRequest, 0, Tickets::Ignored).is_err());
        assert_eq!(purse, 0);
    }
}

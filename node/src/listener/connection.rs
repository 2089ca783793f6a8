//! One connection from accept to close: TLS, then HTTP/2 or HTTP/1.1 as ALPN says.
//!
//! The protocol is chosen by ALPN and not by looking at the first bytes, because waiting for first bytes is a state
//! without a timer. Whatever state a connection is in, some deadline runs: handshake, head, or [`Pulse`].

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::server::conn::{http1, http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{net::TcpStream, time::timeout_at};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{Limits, pulse::Pulse, requests};
use crate::{certificate::H2, serving::Serving};

/// Largest head of a request: addresses have at most 3 KiB, browsers send one or two more, and cookies of the
/// embedding portal may come along. HTTP/2 counts after decompression (RFC 9113 section 6.5.2); in HTTP/1 the same
/// bound holds for what is buffered of a response.
const MAX_HEAD: u32 = 32 << 10;

/// What HTTP/2 buffers of each response beyond what the client's window takes.
const MAX_SEND: usize = 128 << 10;

/// Requests have no bodies that anyone reads: the smallest windows that RFC 9113 section 6.9.2 starts with.
const WINDOW: u32 = 65_535;

/// Resets of streams that the client asked for and gave up before they were answered (CVE-2023-44487): beyond this
/// the connection is closed.
const MAX_RESETS: usize = 20;

/// How often a silent HTTP/2 connection is asked whether anyone is there, and how long the answer may take. Phones
/// leave their network without saying so.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// What all connections share.
pub(super) struct Front {
    pub(super) serving: Arc<Serving>,
    tls: TlsAcceptor,
    limits: Limits,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Front {
    pub(super) fn new(tls: Arc<ServerConfig>, limits: Limits, serving: Arc<Serving>) -> Self {
        let mut http1 = http1::Builder::new();
        // The number of headers stays at the library's hundred, which it parses without allocating.
        http1.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(MAX_HEAD as usize);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(MAX_HEAD)
            .max_send_buf_size(MAX_SEND)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG);
        Self { serving, tls: tls.into(), limits, http1, http2 }
    }
}

/// Serves a connection until it ends, is overdue, or is drained.
pub(super) async fn serve(tcp: TcpStream, front: &Front, accepted: Instant, drain: CancellationToken) {
    let _open = front.serving.open();
    // Answers are written whole: waiting to fill a segment only delays their end.
    let _ = tcp.set_nodelay(true);
    let tls = match drain.run_until_cancelled(handshake(tcp, front, accepted)).await {
        // Nothing was asked yet, so nothing is lost.
        None => return,
        Some(Ok(tls)) => tls,
        Some(Err(error)) => {
            front.serving.counters.handshake_failed();
            tracing::debug!(%error, "TLS handshake");
            return;
        }
    };
    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(H2);
    let pulse = Arc::new(Pulse::new(accepted));
    let service = TowerToHyperService::new(requests::router(Arc::clone(&front.serving), Arc::clone(&pulse)));
    let io = TokioIo::new(tls);
    let ended = if is_h2 {
        let connection = front.http2.serve_connection(io, service);
        drive(connection, http2::Connection::graceful_shutdown, front, &pulse, &drain).await
    } else {
        let connection = front.http1.serve_connection(io, service);
        drive(connection, http1::Connection::graceful_shutdown, front, &pulse, &drain).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection");
    }
}

async fn handshake(tcp: TcpStream, front: &Front, accepted: Instant) -> io::Result<TlsStream<TcpStream>> {
    timeout_at((accepted + front.limits.handshake).into(), front.tls.accept(tcp)).await?
}

/// Drives an HTTP connection, and watches its pulse. When drained, it finishes what it was asked and ends.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    finish: impl Fn(Pin<&mut C>),
    front: &Front,
    pulse: &Pulse,
    drain: &CancellationToken,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    let mut draining = false;
    let mut deadline = pulse.deadline(&front.limits);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = drain.cancelled(), if !draining => {
                draining = true;
                finish(connection.as_mut());
            }
            () = tokio::time::sleep_until(deadline.into()) => {
                deadline = pulse.deadline(&front.limits);
                if deadline <= Instant::now() {
                    front.serving.counters.cut_off();
                    return Ok(());
                }
            }
        }
    }
}

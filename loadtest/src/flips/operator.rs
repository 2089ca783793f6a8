//! The operator: asks the node's own status all the while, and finds out whether it answers while the public has all of
//! the machine.

use std::{
    net::SocketAddr,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::ensure;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    judge::{Fault, Kind},
    visitors::Scene,
};

/// From one look to the next.
const EVERY: Duration = Duration::from_millis(100);

/// What a balancer or a scraper waits for at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is asked, in turn.
const PATHS: [&str; 3] = ["/health", "/metrics", "/status"];

/// Looks until it is over.
pub(super) async fn look(scene: &Scene, admin: SocketAddr) -> anyhow::Result<()> {
    for path in PATHS.into_iter().cycle() {
        if scene.is_over.load(Ordering::Relaxed) {
            break;
        }
        let since = Instant::now();
        match timeout(PATIENCE, ask(admin, path)).await {
            Ok(Ok(())) => scene.tally.looked(since.elapsed()),
            Ok(Err(error)) => scene.tally.fault(&Fault::new(Kind::Operator, "200", error.to_string()), path),
            Err(_) => {
                scene.tally.fault(&Fault::new(Kind::Operator, "an answer", format!("none in {PATIENCE:?}")), path)
            }
        }
        tokio::time::sleep_until((since + EVERY).into()).await;
    }
    Ok(())
}

/// Asks on a connection of its own, as balancers do.
async fn ask(admin: SocketAddr, path: &str) -> anyhow::Result<()> {
    let mut tcp = TcpStream::connect(admin).await?;
    tcp.write_all(format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await?;
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    ensure!(line == b"HTTP/1.1 200 OK", "`{}`", String::from_utf8_lossy(line));
    Ok(())
}

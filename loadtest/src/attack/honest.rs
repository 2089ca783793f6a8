//! The visitors of an attacked site, a process of their own: pages, their files and results, at a fixed rate that does
//! not wait for answers (open loop), from many addresses.
//!
//! Every answer is compared byte for byte. It is good if it came whole within [`PATIENCE`] of the moment at which it was
//! due; a visitor whose connection hangs opens another, as a browser does.

use std::cell::RefCell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout_at};
use tokio_rustls::TlsConnector;

use crate::compare::files::Asset;
use crate::compare::identity::{self, Tickets};

/// An answer that takes longer is lost: its visitor is gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Addresses that they come from, each in a network of its own, and visitors behind each.
pub(super) const SOURCES: u32 = 64;
const EACH: u32 = 4;

/// Requests on a connection before the next is opened.
const STAY: u32 = 20;

/// The share of HTTP/1.1 is one in this.
const OLD: u32 = 4;

/// What is asked for, of a hundred requests.
const MIX: [(Asset, u32); 3] = [(Asset::Page, 60), (Asset::Small, 37), (Asset::Large, 3)];

/// Visitors of one server, until standard input ends. Tells what became of each request, as JSON.
#[derive(clap::Args)]
pub(crate) struct Args {
    address: SocketAddr,
    /// Folder with the answers as this server sends them.
    references: PathBuf,
    /// Requests a second.
    rate: u32,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// Whole, right and in time.
    Good,
    /// Not whole in time.
    Late,
    /// Another status, such as 429.
    Refused,
    /// The connection broke, or could not be opened.
    Broken,
    /// The right status with other bytes.
    Wrong,
}

/// A request: when it was due (microseconds since the start), how long it took, and what became of it.
pub(super) type Record = (u64, u32, Outcome);

/// All that was asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    /// Microseconds since 1970 at the start.
    pub(super) start: u64,
    pub(super) records: Vec<Record>,
    /// The first thing that went wrong, in words.
    pub(super) trouble: Option<String>,
}

/// Where the answers of a server are kept for its visitors.
pub(super) fn reference(asset: Asset) -> &'static str {
    asset.path().trim_start_matches('/')
}

/// Microseconds since 1970.
pub(super) fn unix() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut wanted = Vec::new();
    for (asset, share) in MIX {
        wanted.push((asset, share, Bytes::from(fs::read(args.references.join(reference(asset)))?)));
    }
    let (end, ended) = watch::channel(false);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = end.send(true);
    });
    let crowd = Crowd {
        address: args.address,
        authority: format!("{}:{}", identity::HOST, args.address.port()),
        tls: [b"h2".as_slice(), b"http/1.1"]
            .map(|protocol| identity::loading(protocol, Tickets::Ignored).map(Arc::new).ok()),
        wanted,
        records: RefCell::default(),
        trouble: RefCell::default(),
        begun: Instant::now(),
    };
    let start = unix();
    let visitors = SOURCES * EACH;
    let every = Duration::from_secs(1) * visitors / args.rate.max(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let visitors = (0..visitors).map(|n| crowd.visitor(n, every, every * n / visitors, ended.clone()));
        join_all(visitors).await;
    });
    let told = Told { start, records: crowd.records.take(), trouble: crowd.trouble.take() };
    println!("{}", serde_json::to_string(&told)?);
    Ok(())
}

struct Crowd {
    address: SocketAddr,
    authority: String,
    tls: [Option<Arc<ClientConfig>>; 2],
    wanted: Vec<(Asset, u32, Bytes)>,
    records: RefCell<Vec<Record>>,
    trouble: RefCell<Option<String>>,
    begun: Instant,
}

enum Sender {
    H1(http1::SendRequest<Empty<Bytes>>),
    H2(http2::SendRequest<Empty<Bytes>>),
}

impl Crowd {
    async fn visitor(&self, n: u32, every: Duration, first: Duration, ended: watch::Receiver<bool>) {
        let mut connection: Option<Sender> = None;
        // The connections of all do not end at once.
        let mut left = n % STAY;
        let mut due = self.begun + first;
        for asked in 0_u32.. {
            sleep_until(due.into()).await;
            if *ended.borrow() {
                return;
            }
            let what = (n.wrapping_mul(37) + asked.wrapping_mul(61)) % 100;
            if left == 0 {
                (connection, left) = (None, STAY);
            }
            let answer = timeout_at((due + PATIENCE).into(), self.ask(n, &mut connection, what)).await;
            let outcome = match answer {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(error)) => {
                    self.trouble.borrow_mut().get_or_insert_with(|| format!("{error:#}"));
                    Outcome::Broken
                }
                Err(_) => Outcome::Late,
            };
            left -= 1;
            if !matches!(outcome, Outcome::Good | Outcome::Refused) {
                connection = None;
            }
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            let took = u32::try_from(micros(due.elapsed())).unwrap_or(u32::MAX);
            self.records.borrow_mut().push((micros(due - self.begun), took, outcome));
            due += every;
        }
    }

    async fn ask(&self, n: u32, connection: &mut Option<Sender>, what: u32) -> anyhow::Result<Outcome> {
        let mut sum = 0;
        let wanted = self.wanted.iter().find(|(_, share, _)| {
            sum += share;
            what < sum
        });
        let (asset, _, reference) = wanted.context("shares that are no hundred")?;
        let sender = match connection {
            Some(sender) => sender,
            None => connection.insert(self.open(n).await?),
        };
        let request = Request::get(match sender {
            Sender::H1(_) => asset.path().to_owned(),
            Sender::H2(_) => format!("https://{}{}", self.authority, asset.path()),
        });
        let request = request.header(header::ACCEPT_ENCODING, "gzip").header(header::USER_AGENT, "Mozilla/5.0");
        let answer = match sender {
            Sender::H1(sender) => {
                sender.ready().await?;
                let request = request.header(header::HOST, &self.authority).body(Empty::new())?;
                sender.send_request(request).await?
            }
            Sender::H2(sender) => {
                sender.ready().await?;
                sender.send_request(request.body(Empty::new())?).await?
            }
        };
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(match status.as_u16() {
            200 if body == *reference => Outcome::Good,
            200 => Outcome::Wrong,
            status => {
                self.trouble.borrow_mut().get_or_insert_with(|| format!("status {status}"));
                Outcome::Refused
            }
        })
    }

    async fn open(&self, n: u32) -> anyhow::Result<Sender> {
        let (source, old) = (n % SOURCES, n / SOURCES % OLD == OLD - 1);
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 1, u8::try_from(source)?, 1), 0)))?;
        let tcp = socket.connect(self.address).await.context("connecting")?;
        tcp.set_nodelay(true)?;
        let [h2, h1] = &self.tls;
        let Some(tls) = (if old { h1 } else { h2 }) else { bail!("no TLS") };
        let stream = TlsConnector::from(Arc::clone(tls)).connect(identity::server_name()?, tcp).await;
        let io = TokioIo::new(stream.context("TLS handshake")?);
        if old {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::task::spawn_local(connection);
            return Ok(Sender::H1(sender));
        }
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::task::spawn_local(connection);
        Ok(Sender::H2(sender))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_a_hundred() {
        assert_eq!(MIX.iter().map(|(_, share)| share).sum::<u32>(), 100);
    }
}

//! Sees from outside when each node begins to serve a cut: asks its public address, as a visitor would, again and again
//! around the instant of the flip, and notes in the [`Fleet`](crate::fleet::Fleet) when the answer changed.
//!
//! What nodes say of themselves goes by their clocks; this goes by one, and through the same listener, cache and
//! connection that visitors have. Each answer names its cut (`difusor-cut`). It was given between the moment it was asked for
//! and the moment it came, so the change lies between the last that named another cut and the first that names this one;
//! [`Bracket`] is what is known of it.
//!
//! Whose certificate a node shows does not matter here: nothing that it says is believed but for this one figure.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use difusor_proto::{CutKey, NodeId, members::Members, process::unix_us, tls};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http_body_util::Empty;
use hyper::{Method, Request, Uri, client::conn::http2, header::HeaderValue};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    driver::{FleetView, view},
    fleet::Seen,
};

/// How often a node is asked around the instant: what is seen is known to half of it, and a node answers this from memory in
/// some microseconds.
const PACE: Duration = Duration::from_millis(10);

/// And how often before and after: the connection stays open, and late nodes are seen, too.
const PACE_FAR: Duration = Duration::from_millis(500);

/// From so long before the instant to so long after it, microseconds, answers are wanted often: clocks of nodes are off by
/// less.
const EARLY: u64 = 200_000;
const LATE: u64 = 1_000_000;

/// So long after the instant nobody waits any more, microseconds. A node that catches up later did not flip with the others.
const OVER: u64 = 10_000_000;

/// How long a connection may take, and the last answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers that are waited for at once: one each pace for as long as the longest round trip, and fewer than the streams that
/// nodes allow.
const WAITING: usize = 64;

/// Nodes that are watched at one flip: six thousand questions a second. Where there are more, they take turns.
const WATCHED: usize = 64;

/// Answered by every node, with and without a cut, and small.
const PATH: &str = "/.well-known/difusor/root";

/// The field that names the cut of an answer.
const FIELD: &str = "difusor-cut";

/// Watches one cut after another.
pub struct Witness {
    eye: Arc<Eye>,
    /// The cut that is on its way, and who is told of its instant. Dropped if there is none.
    cut: Option<(CutKey, watch::Sender<Option<u64>>)>,
    turn: usize,
}

impl Witness {
    /// One that asks for `host`; nodes that serve any host need none.
    ///
    /// # Errors
    /// If TLS cannot be configured.
    pub fn new(fleet: FleetView, host: Option<String>) -> Result<Self, rustls::Error> {
        let mut config = tls::unverified()?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { eye: Arc::new(Eye { fleet, host, tls }), cut: None, turn: 0 })
    }

    /// A cut is on its way, or none is: `nodes` are going to be watched.
    pub fn expect<'a>(
        &mut self,
        cut: Option<CutKey>,
        members: Option<&Members>,
        nodes: impl Iterator<Item = &'a NodeId>,
    ) {
        if self.cut.as_ref().map(|(cut, _)| *cut) == cut {
            return;
        }
        self.cut = cut.map(|cut| (cut, watch::Sender::new(None)));
        let Some(((cut, flip), members)) = self.cut.as_ref().zip(members) else { return };
        let reach = |node: &NodeId| Some((node.clone(), *members.get(node)?.reach.public.first()?));
        let mut all: Vec<(NodeId, SocketAddr)> = nodes.filter_map(reach).collect();
        all.sort();
        if all.len() > WATCHED {
            self.turn = (self.turn + WATCHED) % all.len();
            all.rotate_left(self.turn);
            all.truncate(WATCHED);
        }
        for (node, address) in all {
            tokio::spawn(Arc::clone(&self.eye).watch(*cut, node, address, flip.subscribe()));
        }
    }

    /// The cut that is on its way flips at this instant, Unix microseconds.
    pub fn flips(&mut self, cut: &CutKey, at_us: u64) {
        if let Some((_, flip)) = self.cut.take_if(|(expected, _)| expected == cut) {
            flip.send_replace(Some(at_us));
        }
    }
}

/// Answers around a change: when each was asked for, and when it came; Unix microseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Bracket {
    /// The last before it.
    before: Option<(u64, u64)>,
    /// The first after it.
    after: Option<(u64, u64)>,
}

impl Bracket {
    /// An answer that is of the new cut, or not.
    fn add(&mut self, sent: u64, came: u64, is_new: bool) {
        if is_new && self.after.is_none_or(|(first, _)| sent < first) {
            self.after = Some((sent, came));
        }
        if !is_new && self.before.is_none_or(|(last, _)| sent > last) {
            self.before = Some((sent, came));
        }
    }

    /// What follows. Both ways are taken to be of one length; if they are not, the blur still covers all from the last that
    /// was asked for before the change to the first that came after it.
    fn seen(&self) -> Option<Seen> {
        let after = self.after?;
        let middle = |(sent, came): (u64, u64)| u64::midpoint(sent, came);
        let took = |(sent, came): (u64, u64)| came.saturating_sub(sent);
        let last = middle(after);
        let first = self.before.map_or(after.0, middle).min(last);
        let longest = took(after).max(self.before.map_or(0, took));
        Some(Seen { at_us: u64::midpoint(first, last), blur_us: (longest + last - first).div_ceil(2) })
    }
}

/// How soon to ask again, if at all.
fn pace(flip: Option<u64>, now_us: u64) -> Option<Duration> {
    let Some(at) = flip else { return Some(PACE_FAR) };
    let (from, to) = (at.saturating_sub(EARLY), at.saturating_add(LATE));
    match now_us {
        now if now < from => Some(PACE_FAR.min(Duration::from_micros(from - now))),
        now if now < to => Some(PACE),
        now if now < at.saturating_add(OVER) => Some(PACE_FAR),
        _ => None,
    }
}

struct Eye {
    fleet: FleetView,
    host: Option<String>,
    tls: TlsConnector,
}

impl Eye {
    /// Watches one node until it serves the cut, or nobody waits any more, or the cut does not flip at all.
    async fn watch(
        self: Arc<Self>,
        cut: CutKey,
        node: NodeId,
        address: SocketAddr,
        flip: watch::Receiver<Option<u64>>,
    ) {
        let seen = self.see(cut, address, flip).await;
        let mut fleet = view(&self.fleet);
        match seen {
            None => {}
            Some(Ok(seen)) => fleet.seen(&node, &cut, seen),
            Some(Err(why)) => {
                if let Some(progress) = fleet.progress(&cut, &node) {
                    progress.unseen = Some(why);
                }
            }
        }
    }

    async fn see(
        &self,
        cut: CutKey,
        address: SocketAddr,
        mut flip: watch::Receiver<Option<u64>>,
    ) -> Option<Result<Seen, String>> {
        let name = format!("{}/{}", cut.label, cut.seq);
        let is_new = |of: Option<&HeaderValue>| of.is_some_and(|of| of.as_bytes() == name.as_bytes());
        let mut bracket = Bracket::default();
        let mut why = format!("no answer from {address}");
        let mut waiting = FuturesUnordered::new();
        let mut connection: Option<http2::SendRequest<Empty<Bytes>>> = None;
        let mut due = Instant::now();
        loop {
            let at = *flip.borrow_and_update();
            let Some(pace) = pace(at, unix_us()) else { return Some(bracket.seen().ok_or(why)) };
            due = due.min(Instant::now() + pace);
            tokio::select! {
                changed = flip.changed(), if at.is_none() => {
                    // It never flips, or the instant is known now.
                    changed.ok()?;
                }
                Some((sent, answer)) = waiting.next() => match answer {
                    Ok(answer) => {
                        let answer: hyper::Response<hyper::body::Incoming> = answer;
                        let of = answer.headers().get(FIELD);
                        bracket.add(sent, unix_us(), is_new(of));
                        why = match of {
                            None if answer.status().is_server_error() => format!("{address} has no cut"),
                            None => format!("{address} answers {}: set `site` in coordinator.toml to its host", answer.status().as_u16()),
                            Some(_) => format!("{address} shows another cut {} s after the instant", OVER / 1_000_000),
                        };
                        if bracket.after.is_some() {
                            break;
                        }
                    }
                    Err(error) => {
                        let error: hyper::Error = error;
                        (why, connection) = (format!("{address}: {error}"), None);
                    }
                },
                () = tokio::time::sleep_until(due.into()) => {
                    due = Instant::now() + pace;
                    if connection.as_ref().is_none_or(|open| open.is_closed()) {
                        match timeout(PATIENCE, self.connect(address)).await {
                            Ok(Ok(open)) => connection = Some(open),
                            Ok(Err(error)) => why = format!("{address}: {error}"),
                            Err(_) => why = format!("{address}: no connection in {} s", PATIENCE.as_secs()),
                        }
                        if connection.is_none() {
                            // Not at once again.
                            sleep(PACE_FAR).await;
                        }
                    } else if let Some(open) = connection.as_mut().filter(|open| open.is_ready())
                        && waiting.len() < WAITING
                    {
                        let sent = unix_us();
                        let answer = open.send_request(self.request(address)?);
                        waiting.push(async move { (sent, answer.await) });
                    }
                }
            }
        }
        // What was asked for earlier may come later.
        let rest = async {
            while let Some((sent, answer)) = waiting.next().await {
                if let Ok(answer) = answer {
                    bracket.add(sent, unix_us(), is_new(answer.headers().get(FIELD)));
                }
            }
        };
        let _ = timeout(PATIENCE, rest).await;
        Some(bracket.seen().ok_or(why))
    }

    fn host(&self, address: SocketAddr) -> String {
        self.host.clone().unwrap_or_else(|| address.to_string())
    }

    fn request(&self, address: SocketAddr) -> Option<Request<Empty<Bytes>>> {
        let uri = Uri::builder().scheme("https").authority(self.host(address)).path_and_query(PATH).build().ok()?;
        let request = Request::builder().method(Method::HEAD).uri(uri).header("user-agent", "difusor-witness");
        request.body(Empty::new()).ok()
    }

    async fn connect(&self, address: SocketAddr) -> anyhow::Result<http2::SendRequest<Empty<Bytes>>> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let name = match &self.host {
            Some(host) => {
                ServerName::try_from(host.rsplit_once(':').map_or(host.as_str(), |(host, _)| host).to_owned())?
            }
            None => ServerName::from(address.ip()),
        };
        let tls = self.tls.connect(name, tcp).await?;
        let (open, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await?;
        // It ends with the last of those who ask.
        tokio::spawn(connection);
        Ok(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_change_is_between_the_last_old_answer_and_the_first_new_one() {
        let mut bracket = Bracket::default();
        assert_eq!(bracket.seen(), None);
        bracket.add(1_000, 1_200, false);
        assert_eq!(bracket.seen(), None);
        // Later ones that come out of turn.
        bracket.add(1_030, 1_250, true);
        bracket.add(1_010, 1_210, false);
        bracket.add(1_020, 1_240, true);
        bracket.add(1_005, 1_205, false);
        assert_eq!(bracket, Bracket { before: Some((1_010, 1_210)), after: Some((1_020, 1_240)) });
        // Between 1,110 and 1,130 in the middle of either; half the way of 220 and half of those 20 are not known.
        assert_eq!(bracket.seen(), Some(Seen { at_us: 1_120, blur_us: 120 }));
    }

    /// Whoever connects late knows only that it had changed.
    #[test]
    fn what_had_changed_before_is_known_less_well() {
        let mut bracket = Bracket::default();
        bracket.add(5_000, 5_400, true);
        assert_eq!(bracket.seen(), Some(Seen { at_us: 5_100, blur_us: 300 }));
    }

    #[test]
    fn it_asks_often_around_the_instant_and_not_for_ever() {
        assert_eq!(pace(None, 5), Some(PACE_FAR));
        let at = 20_000_000;
        assert_eq!(pace(Some(at), at - 10_000_000), Some(PACE_FAR));
        assert_eq!(pace(Some(at), at - EARLY - 7), Some(Duration::from_micros(7)));
        assert_eq!(pace(Some(at), at - EARLY), Some(PACE));
        assert_eq!(pace(Some(at), at + LATE), Some(PACE_FAR));
        assert_eq!(pace(Some(at), at + OVER), None);
    }
}

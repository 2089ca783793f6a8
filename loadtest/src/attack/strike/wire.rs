//! Connections of an attacker: from an address of its choice, with a receive window of its choice, and bytes of its
//! choice within TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{CONNECT, Given, Strike};
use crate::compare::http2::frames;
use crate::compare::identity::{self, Tickets};

/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What begins a connection of HTTP/2.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) type Tls = TlsStream<TcpStream>;

impl Strike {
    /// A TCP connection; with `window`, one that takes no more than about so many bytes ahead.
    pub(crate) async fn tcp(&self, source: Ipv4Addr, window: Option<u32>) -> Given<TcpStream> {
        if !self.another() {
            // Enough connections: what is open goes on, and nothing new comes.
            std::future::pending::<()>().await;
        }
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            if let Some(window) = window {
                socket.set_recv_buffer_size(window)?;
            }
            socket.bind(SocketAddr::from((source, 0)))?;
            socket.connect(self.address).await
        };
        match timeout(CONNECT, connect).await.map_err(anyhow::Error::from).and_then(|tcp| Ok(tcp?)) {
            Ok(tcp) => {
                tcp.set_nodelay(true)?;
                Ok(tcp)
            }
            Err(error) => {
                self.work.borrow_mut().unconnected += 1;
                Err(error.context("connecting"))
            }
        }
    }

    /// The same with TLS.
    pub(crate) async fn tls(&self, source: Ipv4Addr, protocol: &[u8], window: Option<u32>) -> Given<Tls> {
        let tcp = self.tcp(source, window).await?;
        let config = Arc::new(identity::loading(protocol, Tickets::Ignored)?);
        let shake = TlsConnector::from(config).connect(identity::server_name()?, tcp);
        let tls = timeout(HANDSHAKE, shake).await.context("TLS handshake")?.context("TLS handshake")?;
        ensure!(tls.get_ref().1.alpn_protocol() == Some(protocol), "the server chose another protocol");
        Ok(tls)
    }

    /// A connection of HTTP/2 with `settings` sent, and a large window for its bodies.
    pub(crate) async fn h2(&self, source: Ipv4Addr, settings: &[(u16, u32)], window: Option<u32>) -> Given<Tls> {
        let mut tls = self.tls(source, b"h2", window).await?;
        let mut out = PREFACE.to_vec();
        let payload: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        frames::push(&mut out, frames::SETTINGS, 0, 0, &payload);
        frames::push(&mut out, frames::WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
        self.send(&mut tls, &out).await?;
        Ok(tls)
    }

    /// Sends all of it.
    pub(crate) async fn send(&self, tls: &mut Tls, bytes: &[u8]) -> Given {
        tls.write_all(bytes).await?;
        tls.flush().await?;
        self.moved(bytes.len(), 0);
        Ok(())
    }

    /// Reads what there is; an error if the server ended the connection.
    pub(crate) async fn read(&self, tls: &mut Tls, room: &mut [u8]) -> Given<usize> {
        let read = tls.read(room).await?;
        ensure!(read > 0, "closed by the server");
        self.moved(0, read);
        Ok(read)
    }

    /// Reads answers of HTTP/1.1 until there are `answers` of them, and notes refusals. Their status lines are looked
    /// for in the bytes as they come; bodies here hold none.
    pub(crate) async fn answers(&self, tls: &mut Tls, answers: usize, room: &mut [u8]) -> Given {
        let mut seen = 0;
        while seen < answers {
            let read = self.read(tls, room).await?;
            for status in statuses(room.get(..read).unwrap_or_default()) {
                seen += 1;
                if status >= 400 {
                    self.refused(|| format!("status {status}"));
                }
            }
        }
        Ok(())
    }

    /// What the server's frames say: how many answers began, and an error if it goes away.
    pub(crate) fn heard(&self, reader: &mut frames::Frames, bytes: &[u8]) -> Given<usize> {
        let mut answers = 0;
        reader.take(bytes, |event| {
            match event {
                frames::Event::Headers { block, .. } => {
                    answers += 1;
                    self.judged(block);
                }
                frames::Event::GoAway { code } => bail!("GOAWAY {code}"),
                frames::Event::Reset { code, .. } => {
                    answers += 1;
                    self.refused(|| format!("RST_STREAM {code}"));
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(answers)
    }
}

impl Strike {
    /// Notes an answer of HTTP/2 that is no success.
    pub(crate) fn judged(&self, block: &[u8]) {
        let from = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap_or_default();
        match block.get(from..).unwrap_or_default() {
            // 200, 204, 206 and 304 of the static table, and its 400, 404 and 500.
            [0x88..=0x8b, ..] => {}
            [0x8c, ..] => self.refused(|| "status 400".into()),
            [0x8d, ..] => self.refused(|| "status 404".into()),
            [0x8e, ..] => self.refused(|| "status 500".into()),
            [0x08 | 0x18 | 0x48, 3, status @ ..] => {
                self.refused(|| format!("status {}", String::from_utf8_lossy(status.get(..3).unwrap_or(status))));
            }
            other => self.refused(|| format!("status {:02x?}", other.get(..4).unwrap_or(other))),
        }
    }
}

/// Statuses of the answers that begin in `bytes`.
fn statuses(bytes: &[u8]) -> impl Iterator<Item = u16> {
    let begins = bytes.windows(12).filter(|window| window.starts_with(b"HTTP/1.1 "));
    begins.filter_map(|window| str::from_utf8(window.get(9..)?).ok()?.parse().ok())
}

/// Headers of a GET, without the table of the connection, `more` fields behind them.
pub(crate) fn get(authority: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    // `:method: GET` and `:scheme: https`; `:path` and `:authority` by name.
    let mut block = vec![0x82, 0x87, 0x04];
    string(&mut block, path);
    block.push(0x01);
    string(&mut block, authority);
    for (name, value) in more {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

/// A string of HPACK, not compressed (RFC 7541 section 5.2).
pub(crate) fn string(block: &mut Vec<u8>, text: &str) {
    let mut left = text.len();
    if left < 0x7f {
        block.push(u8::try_from(left).unwrap_or_default());
    } else {
        block.push(0x7f);
        left -= 0x7f;
        while left >= 0x80 {
            block.push(u8::try_from(left & 0x7f).unwrap_or_default() | 0x80);
            left >>= 7;
        }
        block.push(u8::try_from(left).unwrap_or_default());
    }
    block.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_found() {
        let bytes = b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 429 Too Many Requests\r\n\r\nHTTP/1.1";
        assert_eq!(statuses(bytes).collect::<Vec<_>>(), [200, 429]);
    }

    #[test]
    fn long_strings_have_long_lengths() {
        let mut block = Vec::new();
        string(&mut block, &"a".repeat(127 + 128 + 5));
        assert_eq!(block.get(..3), Some(&[0x7f, 0x85, 0x01][..]));
        assert_eq!(get("h", "/", &[]), [0x82, 0x87, 4, 1, b'/', 1, 1, b'h']);
    }
}

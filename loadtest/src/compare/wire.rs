//! A TLS connection as the drivers use it: whole requests go out, the plain bytes of records come in.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{ClientConfig, ExtractedSecrets};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::identity;
use super::record::Half;

/// Read at once: eight records, which stay in the nearer caches.
const READ: usize = 128 << 10;

/// Longer than any flight of a client.
const FLIGHT: usize = 8 << 10;

/// An open connection.
pub(super) struct Wire {
    tcp: TcpStream,
    rx: Half,
    tx: Half,
    /// What has come and is not opened yet: `filled` bytes.
    incoming: Vec<u8>,
    filled: usize,
    /// Content that came along with the handshake.
    early: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Wire {
    /// Connects and shakes hands. `config` must offer AES-128-GCM alone and allow secrets to be taken out; the server
    /// must choose the protocol that it offers.
    pub(super) async fn open(address: SocketAddr, config: &Arc<ClientConfig>) -> anyhow::Result<Self> {
        let mut tcp = TcpStream::connect(address).await.context("connecting")?;
        tcp.set_nodelay(true)?;
        let mut tls = UnbufferedClientConnection::new(Arc::clone(config), identity::server_name()?)?;
        let (mut incoming, mut filled) = (vec![0; READ], 0);
        let (mut outgoing, mut ready) = (vec![0; FLIGHT], 0);
        let mut early = Vec::new();
        loop {
            let UnbufferedStatus { mut discard, state } =
                tls.process_tls_records(incoming.get_mut(..filled).unwrap_or_default());
            let mut hungry = false;
            let mut done = false;
            match state.context("TLS handshake")? {
                ConnectionState::EncodeTlsData(mut state) => {
                    match state.encode(outgoing.get_mut(ready..).unwrap_or_default()) {
                        Ok(length) => ready += length,
                        Err(EncodeError::AlreadyEncoded) => {}
                        Err(error) => bail!("TLS handshake: {error}"),
                    }
                }
                ConnectionState::TransmitTlsData(state) => {
                    tcp.write_all(outgoing.get(..ready).unwrap_or_default()).await?;
                    ready = 0;
                    state.done();
                }
                ConnectionState::ReadTraffic(mut state) => {
                    while let Some(record) = state.next_record() {
                        let record = record?;
                        early.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                }
                ConnectionState::BlockedHandshake => hungry = true,
                ConnectionState::WriteTraffic(_) => done = true,
                other => bail!("TLS handshake: {other:?}"),
            }
            incoming.copy_within(discard..filled, 0);
            filled -= discard;
            if done {
                break;
            }
            if hungry {
                let read = tcp.read(incoming.get_mut(filled..).unwrap_or_default()).await?;
                anyhow::ensure!(read > 0, "the server closed during the TLS handshake");
                filled += read;
            }
        }
        let offered = config.alpn_protocols.first().map(Vec::as_slice);
        anyhow::ensure!(tls.alpn_protocol() == offered, "the server chose another protocol");
        #[expect(deprecated, reason = "what it does not support, tickets and key updates, records skip and refuse")]
        let ExtractedSecrets { tx, rx } = tls.dangerous_extract_secrets()?;
        Ok(Self { tcp, rx: Half::new(rx)?, tx: Half::new(tx)?, incoming, filled, early, outgoing: Vec::new() })
    }

    /// Sends `plain` as one record.
    pub(super) async fn send(&mut self, plain: &[u8]) -> anyhow::Result<()> {
        self.outgoing.clear();
        self.tx.seal(plain, &mut self.outgoing)?;
        Ok(self.tcp.write_all(&self.outgoing).await?)
    }

    /// Waits for bytes, and hands over the content of every record that is whole.
    pub(super) async fn receive(&mut self, mut take: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        if !self.early.is_empty() {
            return take(&std::mem::take(&mut self.early));
        }
        if self.incoming.is_empty() {
            self.incoming.resize(READ, 0);
        }
        let read = self.tcp.read(self.incoming.get_mut(self.filled..).unwrap_or_default()).await?;
        anyhow::ensure!(read > 0, "the server closed the connection");
        self.filled += read;
        let mut rest = self.incoming.get_mut(..self.filled).unwrap_or_default();
        while let Some((length, content)) = self.rx.open(rest)? {
            if !content.is_empty() {
                take(content)?;
            }
            rest = rest.get_mut(length..).unwrap_or_default();
        }
        let left = rest.len();
        self.incoming.copy_within(self.filled - left..self.filled, 0);
        self.filled = left;
        Ok(())
    }

    /// Gives the buffer back until the next [`Self::receive`]: thousands of connections that wait need none.
    pub(super) fn rest(&mut self) {
        if self.filled == 0 {
            self.incoming = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::super::identity::{Identity, Tickets, loading};
    use super::super::request::{Exchange, sample};
    use super::super::tally::Tally;
    use super::super::{http1, http2};
    use super::*;

    /// Serves one connection: the first of `answers` at once, then the next for each record that comes.
    async fn server(answers: Vec<Vec<u8>>, protocol: &[u8]) -> SocketAddr {
        let dir = tempfile::tempdir().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(Identity::new(dir.path()).unwrap().serving(protocol)));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(tcp).await.unwrap();
            for answer in answers {
                stream.write_all(&answer).await.unwrap();
                stream.flush().await.unwrap();
                if stream.read(&mut [0; 4096]).await.unwrap_or(0) == 0 {
                    return;
                }
            }
        });
        address
    }

    async fn open(address: SocketAddr, protocol: &[u8]) -> anyhow::Result<Wire> {
        Wire::open(address, &Arc::new(loading(protocol, Tickets::Ignored).unwrap())).await
    }

    #[tokio::test]
    async fn answers_of_many_records_come_whole() {
        let body = vec![b'x'; 300_000];
        let answer = [b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n".as_slice(), &body].concat();
        let answers = std::iter::once(Vec::new()).chain(std::iter::repeat_n(answer, 7)).collect();
        let address = server(answers, b"http/1.1").await;
        let (exchange, tally) = (sample(300_000), Tally::default());
        let mut wire = open(address, b"http/1.1").await.unwrap();
        tally.begin();
        for _ in 0..5 {
            http1::once(&mut wire, &exchange.http1(), &exchange, &tally).await.unwrap();
            wire.rest();
        }
        assert_eq!(tally.counted().bytes, 1_500_000);
        let other = Exchange { body: 3, ..sample(3) };
        assert!(http1::once(&mut wire, &exchange.http1(), &other, &tally).await.is_err());
    }

    #[tokio::test]
    async fn http2_settles_and_asks() {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0].to_vec();
        let answer =
            |stream| [&[0, 0, 1, 1, 4, 0, 0, 0, stream, 0x88, 0, 0, 2, 0, 1, 0, 0, 0, stream][..], b"ab"].concat();
        let wrong = [0, 0, 1, 1, 5, 0, 0, 0, 5, 0x88].to_vec();
        let address = server(vec![settings, Vec::new(), answer(1), answer(3), wrong], b"h2").await;
        let (exchange, tally) = (sample(2), Tally::default());
        tally.begin();
        let wire = open(address, b"h2").await.unwrap();
        let mut connection = http2::Connection::open(wire, &exchange, &tally).await.unwrap();
        connection.once().await.unwrap();
        connection.once().await.unwrap();
        assert!(connection.once().await.is_err(), "without a body");
        let counted = tally.counted();
        assert_eq!((counted.answers, counted.bytes), (2, 4));
    }

    #[tokio::test]
    async fn another_protocol_is_refused() {
        let address = server(vec![Vec::new()], b"h2").await;
        assert!(open(address, b"http/1.1").await.is_err());
    }
}

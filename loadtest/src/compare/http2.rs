//! An HTTP/2 client that does no more than it must: a number of streams kept busy on each connection, as a browser's
//! are, with a browser's windows; answers are checked for status and length and otherwise thrown away.
//!
//! Requests are encoded as browsers do, the headers into the table of the connection with the first one and named by
//! number from then on. Of the answer's headers only the status is looked at, which all servers here take from the
//! static table (RFC 7541 appendix A).

pub(crate) mod frames;

use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

use self::frames::{Event, Frames};
use super::request::Exchange;
use super::tally::Tally;
use super::wire::Wire;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What Chrome lets a server send ahead: on a stream, and on a connection.
const STREAM_WINDOW: u32 = 6 << 20;
const CONNECTION_WINDOW: u32 = 15 << 20;

/// What a connection has without being told (RFC 9113 section 6.9.2).
const FIRST_WINDOW: u32 = 65_535;

/// Entries of the table that every decoder has without being told.
const TABLE: u32 = 4_096;

/// First index behind the static table.
const DYNAMIC: u8 = 62;

/// Index 8 of the static table, and 11.
const STATUS_200: u8 = 0x88;
const STATUS_304: u8 = 0x8b;

/// A request whose answer is not complete.
#[derive(Debug, Clone, Copy)]
struct Open {
    stream: u32,
    since: Instant,
    status: u16,
    received: u64,
    /// Of `received`, what the server has not been given credit for.
    owed: u32,
}

/// The state of one connection, apart from its socket.
#[derive(Debug)]
struct Client<'a> {
    exchange: &'a Exchange,
    tally: &'a Tally,
    /// No more than a few dozen, in no order.
    open: Vec<Open>,
    next: u32,
    /// The request's headers, the first time and from then on.
    first: Vec<u8>,
    again: Vec<u8>,
    owed: u32,
    limit: u32,
    settled: bool,
    /// To be sent.
    out: Vec<u8>,
    answered: u64,
}

impl<'a> Client<'a> {
    fn new(exchange: &'a Exchange, tally: &'a Tally) -> Self {
        let mut out = PREFACE.to_vec();
        let setting = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let settings = [setting(frames::ENABLE_PUSH, 0), setting(frames::INITIAL_WINDOW_SIZE, STREAM_WINDOW)].concat();
        frames::push(&mut out, frames::SETTINGS, 0, 0, &settings);
        credit(&mut out, 0, CONNECTION_WINDOW - FIRST_WINDOW);
        let (first, again) = requests(exchange);
        Self {
            exchange,
            tally,
            open: Vec::new(),
            next: 1,
            first,
            again,
            owed: 0,
            limit: 100,
            settled: false,
            out,
            answered: 0,
        }
    }

    /// Puts a request into `out`.
    fn ask(&mut self) {
        let stream = self.next;
        self.next += 2;
        let block = if stream == 1 { &self.first } else { &self.again };
        let flags = frames::END_HEADERS | frames::END_STREAM;
        frames::push(&mut self.out, frames::HEADERS, flags, stream, block);
        self.open.push(Open { stream, since: Instant::now(), status: 0, received: 0, owed: 0 });
    }

    fn tell(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        match *event {
            Event::Data { stream, bytes, end } => self.data(stream, bytes, end)?,
            Event::Headers { stream, block, end } => {
                let status = status(block)?;
                find(&mut self.open, stream)?.1.status = status;
                if end {
                    self.answered(stream)?;
                }
            }
            Event::Setting { id: frames::HEADER_TABLE_SIZE, value } if value < TABLE => {
                ensure!(!self.settled, "the server shrinks its table under way");
                self.first = [&[0x20], plain(self.exchange).as_slice()].concat();
                self.again = plain(self.exchange);
            }
            Event::Setting { id: frames::MAX_CONCURRENT_STREAMS, value } => self.limit = value,
            Event::Setting { .. } => {}
            Event::Settled => {
                self.settled = true;
                frames::push(&mut self.out, frames::SETTINGS, frames::ACK, 0, &[]);
            }
            Event::Ping(payload) => frames::push(&mut self.out, frames::PING, frames::ACK, 0, payload),
            Event::Reset { stream, code } => bail!("the server reset stream {stream} (code {code})"),
            Event::GoAway { code } => bail!("the server went away (code {code}) after {} answers", self.answered),
        }
        Ok(())
    }

    fn data(&mut self, stream: u32, bytes: usize, end: bool) -> anyhow::Result<()> {
        self.tally.received(bytes);
        let length = u32::try_from(bytes)?;
        self.owed += length;
        if self.owed >= CONNECTION_WINDOW / 2 {
            credit(&mut self.out, 0, std::mem::take(&mut self.owed));
        }
        let (_, open) = find(&mut self.open, stream)?;
        open.received += u64::from(length);
        open.owed += length;
        if end {
            return self.answered(stream);
        }
        if open.owed >= STREAM_WINDOW / 2 {
            credit(&mut self.out, stream, std::mem::take(&mut open.owed));
        }
        Ok(())
    }

    fn answered(&mut self, stream: u32) -> anyhow::Result<()> {
        let (at, _) = find(&mut self.open, stream)?;
        let open = self.open.swap_remove(at);
        self.exchange.verify(open.status, open.received)?;
        self.tally.answered(open.since);
        self.answered += 1;
        Ok(())
    }
}

/// A request that is under way, and where it stands.
fn find(open: &mut [Open], stream: u32) -> anyhow::Result<(usize, &mut Open)> {
    open.iter_mut().enumerate().find(|(_, open)| open.stream == stream).context("a stream that is not open")
}

/// A connection and what it is for.
pub(super) struct Connection<'a> {
    wire: Wire,
    frames: Frames,
    client: Client<'a>,
}

impl<'a> Connection<'a> {
    /// Exchanges settings.
    pub(super) async fn open(wire: Wire, exchange: &'a Exchange, tally: &'a Tally) -> anyhow::Result<Self> {
        let mut this = Self { wire, frames: Frames::default(), client: Client::new(exchange, tally) };
        while !this.client.settled {
            this.turn().await?;
        }
        Ok(this)
    }

    /// Sends what is to be sent, and takes what comes.
    async fn turn(&mut self) -> anyhow::Result<()> {
        if !self.client.out.is_empty() {
            self.wire.send(&self.client.out).await?;
            self.client.out.clear();
        }
        let Self { wire, frames, client } = self;
        wire.receive(|bytes| frames.take(bytes, |event| client.tell(&event))).await
    }

    /// Asks once, and waits for the answer.
    pub(super) async fn once(&mut self) -> anyhow::Result<()> {
        let answered = self.client.answered;
        self.client.ask();
        while self.client.answered == answered {
            self.turn().await?;
        }
        Ok(())
    }

    /// Keeps `streams` requests under way, until dropped or something is wrong.
    pub(super) async fn forever(mut self, streams: u32) -> anyhow::Result<()> {
        ensure!(streams <= self.client.limit, "the server allows {} streams, not {streams}", self.client.limit);
        let mut asked = self.client.answered;
        loop {
            while asked < self.client.answered + u64::from(streams) {
                self.client.ask();
                asked += 1;
            }
            self.turn().await?;
        }
    }

    /// Gives the buffers back while nothing is under way.
    pub(super) fn rest(&mut self) {
        self.wire.rest();
    }
}

/// Lets the server send more.
fn credit(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    frames::push(out, frames::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
}

/// Names and values of a request that are not in the static table, with the index of the name (RFC 7541 appendix A).
fn fields(exchange: &Exchange) -> Vec<(u8, &str)> {
    let index = |name| match name {
        "accept-encoding" => 16,
        _ => 41,
    };
    let headers = exchange.headers().into_iter().map(|(name, value)| (index(name), value));
    [(4, exchange.path), (1, exchange.authority.as_str())].into_iter().chain(headers).collect()
}

/// `GET` and `https`.
const TARGET: [u8; 2] = [0x82, 0x87];

/// The block of the first request, which fills the table, and that of all others.
fn requests(exchange: &Exchange) -> (Vec<u8>, Vec<u8>) {
    let (mut first, mut again) = (TARGET.to_vec(), TARGET.to_vec());
    let fields = fields(exchange);
    for ((index, value), latest) in fields.iter().zip((0..fields.len()).rev()) {
        literal(&mut first, 0x40, 0x3f, *index, value);
        again.push(0x80 | (DYNAMIC + u8::try_from(latest).unwrap_or(u8::MAX - DYNAMIC)));
    }
    (first, again)
}

/// A block that leaves the table alone.
fn plain(exchange: &Exchange) -> Vec<u8> {
    let mut block = TARGET.to_vec();
    for (index, value) in fields(exchange) {
        literal(&mut block, 0, 0x0f, index, value);
    }
    block
}

/// A literal with the name from the static table (RFC 7541 section 6.2); values here are shorter than 127 bytes.
fn literal(block: &mut Vec<u8>, pattern: u8, prefix: u8, index: u8, value: &str) {
    if index < prefix {
        block.push(pattern | index);
    } else {
        block.extend_from_slice(&[pattern | prefix, index - prefix]);
    }
    block.push(u8::try_from(value.len()).unwrap_or(0x7e).min(0x7e));
    block.extend(value.bytes().take(0x7e));
}

/// The status, which is the first header (RFC 9113 section 8.3).
fn status(block: &[u8]) -> anyhow::Result<u16> {
    let mut rest = block;
    // Updates of the table's size come first (RFC 7541 section 4.2).
    while let Some((first, more)) = rest.split_first().filter(|(first, _)| *first & 0xe0 == 0x20) {
        let mut long = *first & 0x1f == 0x1f;
        rest = more;
        while let Some((byte, more)) = rest.split_first().filter(|_| long) {
            long = byte & 0x80 != 0;
            rest = more;
        }
    }
    match rest.first() {
        Some(&STATUS_200) => Ok(200),
        Some(&STATUS_304) => Ok(304),
        other => bail!("the server answered neither 200 nor 304 (its headers begin with {other:02x?})"),
    }
}

#[cfg(test)]
mod tests;

//! The streams that are open: what is left to be sent on each, in which order, within its window.
//!
//! A stream is here from its request to the end of its answer, and in a queue as long as its window lets it send. More
//! urgent ones go first (RFC 9218 section 10). Equally urgent ones take turns of one frame, so that a large file never
//! starves a page; what is small and of no use in parts is sent to its end once its turn has come.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use super::{
    frame::{Code, WINDOW_MAX, flag, header, kind},
    priority::{LEVELS, Priority},
    upload::Upload,
};
use crate::{body::Body, engine::Outbox};

/// What is left of an answer may be this much to be sent without taking turns: a page and what it needs to be shown.
const SMALL: u64 = 65_536;

/// An answer under way. Its body is not at its end.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) body: Body,
    pub(super) priority: Priority,
    /// The rest of the request, if it has not ended.
    pub(super) upload: Option<Upload>,
    /// Which batch of heads its own was written with.
    pub(super) batch: u64,
    /// Its window without the part that all have from the settings: what was given more, less what was sent.
    credit: i64,
    queued: bool,
}

impl Stream {
    pub(super) fn new(body: Body, priority: Priority, upload: Option<Upload>, batch: u64) -> Self {
        Self { body, priority, upload, batch, credit: 0, queued: false }
    }
}

/// A frame that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: u32,
    pub(super) bytes: usize,
    /// The stream, if this was its end.
    pub(super) ended: Option<Stream>,
}

/// All streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    map: HashMap<u32, Stream, BuildHasherDefault<Spread>>,
    /// For each urgency those that can send, in the order of their turns.
    turns: [VecDeque<u32>; LEVELS],
    /// The part of all windows that the client's settings say.
    window: i64,
}

impl Streams {
    /// None, with this window for each.
    pub(super) fn new(window: i64) -> Self {
        Self { window, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        self.map.get_mut(&id)
    }

    pub(super) fn insert(&mut self, id: u32, stream: Stream) {
        self.map.insert(id, stream);
        self.wake(id);
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Stream> {
        let stream = self.map.remove(&id)?;
        if stream.queued {
            self.unqueue(id, stream.priority);
        }
        Some(stream)
    }

    /// Forgets all of them, and the room they took.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.window);
    }

    /// Opens the window of a stream. Nothing happens to one that is gone.
    pub(super) fn open(&mut self, id: u32, by: i64) -> Result<(), Code> {
        let Some(stream) = self.map.get_mut(&id) else { return Ok(()) };
        stream.credit += by;
        if self.window + stream.credit > WINDOW_MAX {
            return Err(Code::FlowControl);
        }
        self.wake(id);
        Ok(())
    }

    /// Changes the windows of all streams by what the settings changed (RFC 9113 section 6.9.2). They may become
    /// negative.
    pub(super) fn resize(&mut self, window: i64) -> Result<(), Code> {
        let larger = window > self.window;
        self.window = window;
        if larger {
            if self.map.values().any(|stream| window + stream.credit > WINDOW_MAX) {
                return Err(Code::FlowControl);
            }
            let mut ids: Vec<u32> = self.map.keys().copied().collect();
            ids.sort_unstable();
            ids.into_iter().for_each(|id| self.wake(id));
        }
        Ok(())
    }

    /// The client needs it sooner, or later.
    pub(super) fn prioritize(&mut self, id: u32, priority: Priority) {
        let Some(stream) = self.map.get_mut(&id) else { return };
        let before = std::mem::replace(&mut stream.priority, priority);
        if stream.queued && before.urgency != priority.urgency {
            stream.queued = false;
            self.unqueue(id, before);
            self.wake(id);
        }
    }

    /// Sends a frame of the stream whose turn it is, of `most` bytes at most and within the connection's window, which
    /// is open. `None` if no stream can send.
    pub(super) fn send(&mut self, most: usize, connection: &mut i64, out: &mut Outbox) -> Option<Sent> {
        loop {
            let turns = self.turns.iter_mut().find(|turns| !turns.is_empty())?;
            let id = turns.pop_front()?;
            let Some(stream) = self.map.get_mut(&id) else { continue };
            let window = self.window + stream.credit;
            if window <= 0 {
                stream.queued = false;
                continue;
            }
            let left = stream.body.left();
            let room = u64::try_from(window.min(*connection)).unwrap_or(0);
            let bytes = usize::try_from(left.min(room)).unwrap_or(most).min(most);
            let end = bytes as u64 == left;
            out.put(&header(bytes, kind::DATA, if end { flag::END_STREAM } else { 0 }, id));
            let filled = stream.body.fill(bytes, out);
            debug_assert_eq!(filled, bytes, "a body is not as long as it says");
            stream.credit -= bytes as i64;
            *connection -= bytes as i64;
            if end {
                return Some(Sent { id, bytes, ended: self.map.remove(&id) });
            }
            if window == bytes as i64 {
                stream.queued = false;
            } else if !stream.priority.incremental && stream.body.left() <= SMALL {
                turns.push_front(id);
            } else {
                turns.push_back(id);
            }
            return Some(Sent { id, bytes, ended: None });
        }
    }

    /// Queues a stream that can send.
    fn wake(&mut self, id: u32) {
        let Some(stream) = self.map.get_mut(&id) else { return };
        if stream.queued || self.window + stream.credit <= 0 {
            return;
        }
        if let Some(turns) = self.turns.get_mut(usize::from(stream.priority.urgency)) {
            turns.push_back(id);
            stream.queued = true;
        }
    }

    fn unqueue(&mut self, id: u32, priority: Priority) {
        if let Some(turns) = self.turns.get_mut(usize::from(priority.urgency)) {
            turns.retain(|other| *other != id);
        }
    }
}

/// Spreads ids over a table. They are few and the client's own affair: what it does to the table it does to itself.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u32(u32::from(byte)));
    }

    fn write_u32(&mut self, id: u32) {
        // The golden ratio; a table looks at the highest and at the lowest bits.
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}

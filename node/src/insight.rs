//! Attack or demand? What the node makes of those who ask, from sketches of bounded size.
//!
//! A thread that serves notes each request in a [`Window`] of its own, in plain memory: no lock, nothing shared. Once a
//! second it changes that window for an empty one, and the [`reader`] adds up what all threads left: [`history`] has the
//! last ten seconds, and what was usual in the ten minutes before. [`verdict`] says what that is, [`words`] says it in
//! English, and [`settled`] keeps it from changing its mind every second.
//!
//! Nothing is refused because of it: it is for those who watch. Addresses are in no metric and in no line of the log; only
//! the status, which is for the operator alone, names those who send much that is refused. Sources are told apart by hashes
//! under a key of this process, and are forgotten after ten seconds; for ten minutes, only how many they were is known.

pub mod distinct;
pub mod ends;
pub mod entropy;
pub mod heavy;
pub mod history;
pub mod reader;
pub mod report;
pub mod settled;
pub mod verdict;
pub mod view;
pub mod window;
pub mod words;

use std::{
    cell::{Cell, RefCell},
    hash::RandomState,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

use self::{
    report::Report,
    window::{Asked, Mark, Window},
};

/// What all threads share: where windows are changed, and the last report.
#[derive(Debug)]
pub struct Insight {
    keys: RandomState,
    exchanges: Vec<Mutex<Exchange>>,
    report: ArcSwap<Report>,
}

/// The windows of one thread that it is not writing.
#[derive(Debug, Default)]
struct Exchange {
    /// For the reader.
    full: Option<Box<Window>>,
    /// For the thread, empty.
    spare: Option<Box<Window>>,
}

/// What one thread writes into.
#[derive(Debug)]
pub struct Meter {
    insight: Arc<Insight>,
    thread: usize,
    window: RefCell<Box<Window>>,
    changed: Cell<u64>,
}

impl Insight {
    /// For so many threads.
    pub fn new(threads: usize) -> Arc<Self> {
        let exchange = |_| Mutex::new(Exchange { full: None, spare: Some(fresh()) });
        let exchanges = (0..threads).map(exchange).collect();
        Arc::new(Self { keys: RandomState::new(), exchanges, report: ArcSwap::default() })
    }

    /// The key that paths are hashed under.
    pub fn keys(&self) -> RandomState {
        self.keys.clone()
    }

    /// What one of the threads writes into.
    pub fn meter(self: &Arc<Self>, thread: usize) -> Meter {
        Meter { insight: Arc::clone(self), thread, window: RefCell::new(fresh()), changed: Cell::new(0) }
    }

    /// What was found last.
    pub fn report(&self) -> Arc<Report> {
        self.report.load_full()
    }

    /// Bytes of the windows of all threads.
    pub fn memory(&self) -> usize {
        // One that is written, and one that waits.
        self.exchanges.len() * 2 * fresh().memory()
    }

    /// Gives each window that a thread left to `read`, and the thread an empty one.
    fn collect(&self, mut read: impl FnMut(&Window)) {
        for exchange in &self.exchanges {
            // Held for the time of moving a pointer: the thread never waits for the reading.
            let Some(mut window) = held(exchange).full.take() else { continue };
            read(&window);
            window.clear();
            held(exchange).spare = Some(window);
        }
    }
}

fn fresh() -> Box<Window> {
    Box::new(Window::new(rand::random()))
}

fn held(exchange: &Mutex<Exchange>) -> std::sync::MutexGuard<'_, Exchange> {
    exchange.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meter {
    /// How a visitor is known here.
    pub fn mark(&self, visitor: IpAddr) -> Mark {
        Mark::new(&self.insight.keys, visitor)
    }

    /// Counts a request that was answered.
    pub fn note(&self, asked: &Asked<'_>) {
        self.window.borrow_mut().note(&self.insight.keys, asked);
    }

    /// Counts a connection that ended without a request, or made work without asking for anything.
    pub fn trouble(&self, visitor: IpAddr) {
        self.window.borrow_mut().trouble(&self.insight.keys, visitor);
    }

    /// Leaves the window to the reader once a second, at Unix milliseconds. Where the reader is late, the window goes on.
    pub fn tick(&self, now: u64) {
        let Some(exchange) = self.insight.exchanges.get(self.thread).filter(|_| now / 1000 != self.changed.get())
        else {
            return;
        };
        let mut exchange = held(exchange);
        // There is one beside the window that is written: it is empty and here, or full, or with the reader.
        if let Some(spare) = exchange.spare.take() {
            exchange.full = Some(self.window.replace(spare));
            self.changed.set(now / 1000);
        }
    }
}

#[cfg(test)]
mod tests;

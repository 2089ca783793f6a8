//! The thread that tells the kernel: it owns the socket, and so the table.
//!
//! Orders are taken as many at once as there are, one transaction each time. If the kernel refuses one, the table is made
//! anew from the book: whatever had happened to it, what is in it afterwards is what should be.

use std::{
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use ipnet::IpNet;

use super::{
    Counters, KernelConfig,
    book::{Book, Change},
    netlink::{Kind, Refusal, Socket, Transaction},
    ruleset::{Life, PublicPort, Ruleset},
};

/// Orders in one transaction: some 200 KiB at most, which is what a socket's buffer takes.
const BATCH: usize = 512;

/// How often the kernel's counter is read, and what is over is forgotten.
const LOOK: Duration = Duration::from_secs(1);

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Enter it, for so long.
    Block(IpNet, Duration),
    /// Take it out.
    Unblock(IpNet),
    /// Say who is in.
    List(SyncSender<Vec<(IpNet, Duration)>>),
}

/// The thread's own.
pub(super) struct Keeper {
    socket: Socket,
    ruleset: Ruleset,
    life: Life,
    book: Book,
    orders: Receiver<Order>,
    counters: Arc<Counters>,
    /// What tables before this one had dropped, and this one as of the last look: packets and bytes.
    before: (u64, u64),
    dropped: (u64, u64),
    is_broken: bool,
}

impl Keeper {
    /// Makes the table.
    pub(super) fn open(
        config: &KernelConfig,
        ports: Vec<PublicPort>,
        orders: Receiver<Order>,
        counters: Arc<Counters>,
    ) -> Result<Self, Refusal> {
        let mut socket = Socket::open()?;
        let ruleset = Ruleset { table: config.table.clone(), entries: config.entries, ports };
        // The first that the kernel takes: tables that outlive take what is there if it fits, kernels before 5.12 know
        // no owners.
        let lives = if config.outlive { [Life::Going, Life::Fresh] } else { [Life::Socket, Life::Fresh] };
        let mut made = Err(Refusal::Forbidden);
        let mut life = Life::Fresh;
        for one in lives {
            life = one;
            made = socket.commit(&ruleset.make(one));
            if matches!(made, Ok(()) | Err(Refusal::Forbidden)) {
                break;
            }
        }
        made?;
        if config.outlive {
            life = Life::Going;
        }
        let book = Book::new(usize::try_from(config.entries).unwrap_or(usize::MAX));
        let (before, dropped) = ((0, 0), (0, 0));
        Ok(Self { socket, ruleset, life, book, orders, counters, before, dropped, is_broken: false })
    }

    /// Until nobody can give orders any more.
    pub(super) fn run(mut self) {
        let mut looked = Instant::now();
        loop {
            let wait = LOOK.saturating_sub(looked.elapsed());
            match self.orders.recv_timeout(wait) {
                Ok(first) => self.carry_out(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.book.forget(looked);
                self.count_entries();
                if self.is_broken {
                    self.mend();
                }
                self.read_counter();
            }
        }
        // The kernel removes what the socket owns.
        if self.life == Life::Fresh {
            let _ = self.socket.commit(&self.ruleset.remove());
        }
    }

    /// Everything that waits, in one transaction; lists are answered behind it.
    fn carry_out(&mut self, first: Order) {
        let (mut transaction, mut lists, mut entered) = (Transaction::default(), Vec::new(), 0);
        let now = Instant::now();
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(order) = next.take().or_else(|| self.orders.try_recv().ok()) else { break };
            match order {
                Order::Block(net, for_) => entered += u64::from(self.enter(&mut transaction, net, for_, now)),
                Order::Unblock(net) => {
                    self.book.leave(&net);
                    self.ruleset.leave(&mut transaction, &net);
                }
                Order::List(answer) => lists.push(answer),
            }
        }
        self.commit(&transaction, entered);
        self.count_entries();
        for answer in lists {
            let _ = answer.try_send(self.book.rest(Instant::now()).collect());
        }
    }

    /// Enters one in the book and the transaction; true if the kernel has to be told.
    fn enter(&mut self, transaction: &mut Transaction, net: IpNet, for_: Duration, now: Instant) -> bool {
        match self.book.enter(net, for_, now) {
            // What the book does not have, a table that has outlived a process may.
            Change::New if self.life == Life::Going => self.ruleset.leave(transaction, &net),
            Change::New => {}
            // Kernels before 6.12 keep the time of what is in already.
            Change::Longer => self.ruleset.leave(transaction, &net),
            Change::None => return false,
            Change::NoRoom => {
                self.counters.no_room.fetch_add(1, Ordering::Relaxed);
                return false;
            }
        }
        self.ruleset.enter(transaction, &net, for_);
        true
    }

    fn commit(&mut self, transaction: &Transaction, entered: u64) {
        if self.is_broken || transaction.is_empty() {
            return;
        }
        match self.socket.commit(transaction) {
            Ok(()) => drop(self.counters.entered.fetch_add(entered, Ordering::Relaxed)),
            Err(refusal) => {
                self.counters.failed.fetch_add(entered.max(1), Ordering::Relaxed);
                tracing::warn!(?refusal, "the kernel did not take a change of the block list; the table is made anew");
                self.mend();
            }
        }
    }

    /// Makes the table anew, with all that the book has.
    fn mend(&mut self) {
        let mended = self.make_anew();
        self.is_broken = mended.is_err();
        match mended {
            Ok(entered) => drop(self.counters.entered.fetch_add(entered, Ordering::Relaxed)),
            Err(refusal) => tracing::debug!(?refusal, "the block list cannot be made anew yet"),
        }
    }

    fn make_anew(&mut self) -> Result<u64, Refusal> {
        self.before = (self.before.0 + self.dropped.0, self.before.1 + self.dropped.1);
        self.dropped = (0, 0);
        // What is owned goes with the old socket.
        self.socket = Socket::open()?;
        let life = if self.life == Life::Going { Life::Fresh } else { self.life };
        self.socket.commit(&self.ruleset.make(life))?;
        let all: Vec<_> = self.book.rest(Instant::now()).collect();
        let mut entered = 0;
        for some in all.chunks(BATCH) {
            let mut transaction = Transaction::default();
            for (net, left) in some {
                self.ruleset.enter(&mut transaction, net, *left);
            }
            self.socket.commit(&transaction)?;
            entered += some.len() as u64;
        }
        Ok(entered)
    }

    fn count_entries(&self) {
        self.counters.entries.store(self.book.len() as u64, Ordering::Relaxed);
    }

    fn read_counter(&mut self) {
        if self.is_broken {
            return;
        }
        match self.socket.ask(Kind::GetObject, &self.ruleset.counter(), Ruleset::read_counter) {
            Ok(dropped) => self.dropped = dropped,
            // Somebody removed the table, or the socket failed.
            Err(refusal) => {
                tracing::warn!(?refusal, "the block list in the kernel is gone; it is made anew");
                self.mend();
            }
        }
        let (packets, bytes) = (self.before.0 + self.dropped.0, self.before.1 + self.dropped.1);
        self.counters.packets.store(packets, Ordering::Relaxed);
        self.counters.bytes.store(bytes, Ordering::Relaxed);
    }
}

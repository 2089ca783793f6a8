//! What takes long goes in turns: a few in each round of a thread, those of one source behind those of others.
//!
//! A thread serves whoever is ready, one after another. A TLS handshake costs it what ten answers do, and a piece of a
//! download as much, so that a hundred of either make everyone else wait for a tenth of a second, and a flood of them for
//! ever. They wait here instead, and in each round, between two looks at what is ready, only a few get a turn: whoever
//! looks at results waits for no more than those, whatever goes on.
//!
//! Stochastic fairness queueing (McKenney 1990): sources are spread over queues by a keyed hash, and the queues take turns,
//! so that whoever sends a thousand waits for its own.
//!
//! One for each thread. Holds one entry for each connection that waits, so connections bound it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::sync::Notify;

use super::source::Source;

/// Queues of each kind. A source shares its queue with one in so many others.
const QUEUES: usize = 64;

/// Turns in a round: about half a millisecond of handshakes (one takes 150 to 200 microseconds), and as much of pieces of
/// downloads (256 KiB at most, encrypted at two gigabytes a second or better).
const IN_A_ROUND: usize = 3;

/// What has to wait for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A key exchange and a signature.
    Handshake,
    /// A piece of a large answer.
    Bulk,
}

/// Who waits on one thread.
#[derive(Debug, Default)]
pub struct Turns {
    kinds: [RefCell<Waiting>; 2],
    keys: RandomState,
    came: Notify,
}

/// A place in a queue; to be kept until the turn has come.
#[derive(Debug)]
pub struct Ticket(Rc<Cell<bool>>);

#[derive(Debug)]
struct Waiting {
    queues: Vec<VecDeque<(Rc<Cell<bool>>, Waker)>>,
    /// Those that are not empty, in the order of their turns.
    order: VecDeque<usize>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { queues: (0..QUEUES).map(|_| VecDeque::new()).collect(), order: VecDeque::new() }
    }
}

impl Waiting {
    fn push(&mut self, at: usize, entry: (Rc<Cell<bool>>, Waker)) {
        let Some(queue) = self.queues.get_mut(at) else { return };
        if queue.is_empty() {
            self.order.push_back(at);
        }
        queue.push_back(entry);
    }

    fn pop(&mut self) -> Option<(Rc<Cell<bool>>, Waker)> {
        let at = self.order.pop_front()?;
        let queue = self.queues.get_mut(at)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            // A flood leaves no room behind.
            queue.shrink_to(QUEUES);
        } else {
            self.order.push_back(at);
        }
        next
    }
}

impl Turns {
    /// Nobody waits.
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Ready when it is the turn of this work of that address. `ticket` is `None` for work that has not asked before, and
    /// again when its turn has come; the task is woken then.
    pub fn poll(&self, work: Work, of: IpAddr, ticket: &mut Option<Ticket>, cx: &Context<'_>) -> Poll<()> {
        match ticket {
            Some(Ticket(has_come)) if has_come.get() => {
                *ticket = None;
                return Poll::Ready(());
            }
            Some(_) => return Poll::Pending,
            None => {}
        }
        let Some(kind) = self.kinds.get(work as usize) else { return Poll::Ready(()) };
        let at = usize::try_from(self.keys.hash_one(Source::of(of)) % QUEUES as u64).unwrap_or(0);
        let has_come = Rc::new(Cell::new(false));
        kind.borrow_mut().push(at, (Rc::clone(&has_come), cx.waker().clone()));
        *ticket = Some(Ticket(has_come));
        self.came.notify_one();
        Poll::Pending
    }

    /// The same, for who can wait for it.
    pub async fn wait(&self, work: Work, of: IpAddr) {
        let mut ticket = None;
        std::future::poll_fn(|cx| self.poll(work, of, &mut ticket, cx)).await;
    }

    /// Gives the turns, for ever. Everyone who is ready is served between two rounds.
    pub async fn run(&self) {
        loop {
            self.came.notified().await;
            while self.round() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Gives the turns of one round. False if nobody waited.
    fn round(&self) -> bool {
        let mut given = false;
        for kind in &self.kinds {
            let mut left = IN_A_ROUND;
            while left > 0 {
                let next = kind.borrow_mut().pop();
                let Some((has_come, waker)) = next else { break };
                given = true;
                // Whoever is gone does not take a turn from the others.
                if Rc::strong_count(&has_come) > 1 {
                    left -= 1;
                    has_come.set(true);
                    waker.wake();
                }
            }
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_few_in_each_round_and_each_kind_by_itself() {
        let (turns, woken) = (Turns::new(), Arc::<Woken>::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &Context::from_waker(&waker);
        let ask = |work, ticket: &mut _| turns.poll(work, address("192.0.2.1"), ticket, cx).is_ready();
        let mut bulk: Vec<_> = (0..10).map(|_| None).collect();
        assert!(!bulk.iter_mut().any(|ticket| ask(Work::Bulk, ticket)));
        let mut handshake = None;
        assert!(!ask(Work::Handshake, &mut handshake));

        assert!(turns.round());
        assert_eq!(woken.0.load(Relaxed), IN_A_ROUND + 1);
        assert!(ask(Work::Handshake, &mut handshake) && handshake.is_none());
        let come: Vec<_> = bulk.iter_mut().map(|ticket| ask(Work::Bulk, ticket)).collect();
        assert_eq!(come, (0..10).map(|at| at < IN_A_ROUND).collect::<Vec<_>>());
        // Those whose turn had come wait again, behind the others.
        assert!(!bulk.iter_mut().take(IN_A_ROUND).any(|ticket| ask(Work::Bulk, ticket)));
        while turns.round() {}
        assert!(bulk.iter_mut().all(|ticket| ask(Work::Bulk, ticket)));
    }

    #[test]
    fn whoever_sends_many_waits_for_its_own() {
        let (turns, waker) = (Turns::new(), Waker::noop());
        let cx = &Context::from_waker(waker);
        let mut flood: Vec<_> = (0..1000).map(|_| None).collect();
        for ticket in &mut flood {
            assert!(turns.poll(Work::Handshake, address("192.0.2.1"), ticket, cx).is_pending());
        }
        // Of sixteen others, one at most is likely to share its queue.
        let others: Vec<_> = (0..16).map(|at| address(&format!("10.0.{at}.1"))).collect();
        let mut tickets: Vec<_> = others.iter().map(|_| None).collect();
        for (address, ticket) in others.iter().zip(&mut tickets) {
            assert!(turns.poll(Work::Handshake, *address, ticket, cx).is_pending());
        }
        for _ in 0..17_usize.div_ceil(IN_A_ROUND) {
            turns.round();
        }
        let come = others.iter().zip(&mut tickets);
        let come = come
            .filter_map(|(address, ticket)| turns.poll(Work::Handshake, *address, ticket, cx).is_ready().then_some(()));
        assert!(come.count() >= 13);
    }

    #[test]
    fn who_is_gone_takes_no_turn() {
        let (turns, woken) = (Turns::new(), Arc::<Woken>::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut tickets: Vec<_> = (0..5).map(|_| None).collect();
        for ticket in &mut tickets {
            let _ = turns.poll(Work::Bulk, address("192.0.2.1"), ticket, &Context::from_waker(&waker));
        }
        drop(tickets);
        while turns.round() {}
        assert_eq!(woken.0.load(Relaxed), 0);
        assert_eq!(turns.kinds.iter().map(|kind| kind.borrow().order.len()).sum::<usize>(), 0);
    }

    #[tokio::test]
    async fn everyone_gets_a_turn() {
        let turns = Turns::new();
        let all = async {
            let waits = (0..100_u8).map(|at| turns.wait(Work::Bulk, IpAddr::from([192, 0, 2, at])));
            futures_util::future::join_all(waits).await;
        };
        tokio::select! {
            () = all => {}
            () = turns.run() => panic!("it ended"),
        }
    }
}

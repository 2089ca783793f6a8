//! The sockets and threads around two lanes.
//!
//! Threads that block, not tasks: a link must keep its pace while the runtime under test is busy. One thread reads
//! from the clients, one for each client reads from the target, and one for each direction delivers what is due.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::lane::{Flow, Lane, Parcel};
use crate::spec::LinkSpec;

/// Client addresses that one link relays for; datagrams of further ones are ignored.
pub const MAX_CLIENTS: usize = 256;

/// How often a blocked reader looks whether the link was closed.
const LOOK: Duration = Duration::from_millis(20);

/// Deliveries closer together than this are made at once: half a millisecond late at most.
const BATCH: Duration = Duration::from_micros(500);

/// Asked for; the kernel gives what `net.core.rmem_max` allows.
const SOCKET_BUFFER: usize = 8 << 20;

/// What became of the datagrams of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// From the clients to the target.
    pub there: Flow,
    /// From the target to the clients.
    pub back: Flow,
}

/// A link that relays until it is dropped.
#[derive(Debug)]
pub struct Link {
    addr: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Link {
    /// Relays from a fresh loopback port to `target`.
    ///
    /// # Errors
    /// Those of making sockets and threads.
    pub fn between(spec: LinkSpec, target: SocketAddr) -> io::Result<Self> {
        let listener = Arc::new(socket()?);
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            closed: AtomicBool::new(false),
            there: Direction::new(Lane::new(spec.clone(), 0)),
            back: Direction::new(Lane::new(spec, 1)),
        });
        let mut link = Self { addr, shared: Arc::clone(&shared), threads: Vec::new() };
        link.spawn("there", |shared| shared.there.deliver(shared, |to, bytes| to.send(bytes)))?;
        let from = Arc::clone(&listener);
        link.spawn("back", move |shared| shared.back.deliver(shared, |to, bytes| from.send_to(bytes, to)))?;
        link.spawn("clients", move |shared| listen(shared, &listener, target))?;
        Ok(link)
    }

    /// What clients dial instead of the target.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes what the link is like from the next datagram on. The seed stays the one it began with.
    pub fn set(&self, spec: LinkSpec) {
        self.shared.there.lock().set(spec.clone());
        self.shared.back.lock().set(spec);
    }

    /// Cuts the link: what is under way and what comes is lost.
    pub fn down(&self) {
        self.set_down(true);
    }

    /// Mends the link.
    pub fn up(&self) {
        self.set_down(false);
    }

    /// What became of the datagrams so far.
    pub fn counters(&self) -> Counters {
        Counters { there: self.shared.there.lock().flow(), back: self.shared.back.lock().flow() }
    }

    fn set_down(&self, down: bool) {
        self.shared.there.lock().set_down(down);
        self.shared.back.lock().set_down(down);
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce(&Arc<Shared>) + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.threads.push(thread::Builder::new().name(format!("link-{name}")).spawn(move || body(&shared))?);
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.there.wake.notify_all();
        self.shared.back.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A panic of that thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Shared {
    closed: AtomicBool,
    there: Direction<Arc<UdpSocket>>,
    back: Direction<SocketAddr>,
}

impl Shared {
    fn closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// A lane with who waits for it.
#[derive(Debug)]
struct Direction<T> {
    lane: Mutex<Lane<T>>,
    wake: Condvar,
}

impl<T> Direction<T> {
    fn new(lane: Lane<T>) -> Self {
        Self { lane: Mutex::new(lane), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Lane<T>> {
        // Counters and a queue of datagrams stay usable wherever a thread died.
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, to: T, bytes: &[u8]) {
        if self.lock().offer(Instant::now(), Parcel { to, bytes: bytes.into() }) {
            self.wake.notify_one();
        }
    }

    /// Hands over what is due until the link is closed.
    fn deliver(&self, shared: &Shared, send: impl Fn(&T, &[u8]) -> io::Result<usize>) {
        while !shared.closed() {
            let mut lane = self.lock();
            let now = Instant::now();
            if let Some(parcel) = lane.take(now) {
                drop(lane);
                // The other side may be gone, or its buffer full: a network does not tell either.
                let _ = send(&parcel.to, &parcel.bytes);
                continue;
            }
            let wait = lane.next_due().map_or(LOOK, |due| due.saturating_duration_since(now).clamp(BATCH, LOOK));
            drop(self.wake.wait_timeout(lane, wait));
        }
    }
}

/// Reads from clients, and starts a reader of answers for each new one.
fn listen(shared: &Arc<Shared>, listener: &UdpSocket, target: SocketAddr) {
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut readers = Vec::new();
    read(shared, listener, |client, bytes| {
        if !clients.contains_key(&client) && clients.len() < MAX_CLIENTS {
            let Ok((socket, reader)) = greet(shared, client, target) else { return };
            clients.insert(client, socket);
            readers.push(reader);
        }
        if let Some(socket) = clients.get(&client) {
            shared.there.offer(Arc::clone(socket), bytes);
        }
    });
    for reader in readers {
        let _ = reader.join();
    }
}

fn greet(shared: &Arc<Shared>, client: SocketAddr, target: SocketAddr) -> io::Result<(Arc<UdpSocket>, JoinHandle<()>)> {
    let socket = Arc::new(socket()?);
    socket.connect(target)?;
    let (shared, from) = (Arc::clone(shared), Arc::clone(&socket));
    let reader = thread::Builder::new()
        .name("link-target".to_owned())
        .spawn(move || read(&shared, &from, |_, bytes| shared.back.offer(client, bytes)))?;
    Ok((socket, reader))
}

fn read(shared: &Shared, socket: &UdpSocket, mut each: impl FnMut(SocketAddr, &[u8])) {
    let mut buffer = vec![0; 1 << 16];
    while !shared.closed() {
        match socket.recv_from(&mut buffer) {
            Ok((size, from)) => each(from, buffer.get(..size).unwrap_or_default()),
            // Nothing came, or the target's port is closed for now.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => thread::sleep(BATCH),
        }
    }
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(LOOK))?;
    SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER)?;
    SockRef::from(&socket).set_send_buffer_size(SOCKET_BUFFER)?;
    Ok(socket)
}

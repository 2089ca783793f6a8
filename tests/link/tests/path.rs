//! A link against the clock: rate, delay, loss, queue, cuts. One scenario a test, over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use difusor_link::{HEADER, Link, LinkSpec};
use socket2::SockRef;

const MS: Duration = Duration::from_millis(1);

/// Patience for what surely comes, and for making sure that nothing more comes.
const SOON: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(300);

/// Tests that hold a clock to the link would hold it to each other if they ran side by side.
static ALONE: Mutex<()> = Mutex::new(());

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(QUIET)).unwrap();
    SockRef::from(&socket).set_recv_buffer_size(8 << 20).unwrap();
    socket
}

struct Bench {
    link: Link,
    client: UdpSocket,
    target: UdpSocket,
}

impl Bench {
    fn new(spec: LinkSpec) -> Self {
        let (client, target) = (socket(), socket());
        let link = Link::between(spec, target.local_addr().unwrap()).unwrap();
        client.connect(link.addr()).unwrap();
        Self { link, client, target }
    }

    /// Sends and waits for it on the other side. Returns who seems to have sent it.
    fn passes(&self, bytes: &[u8]) -> SocketAddr {
        self.client.send(bytes).unwrap();
        let (got, from) = receive(&self.target, SOON).expect("nothing came");
        assert_eq!(got, bytes);
        from
    }
}

fn receive(socket: &UdpSocket, patience: Duration) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 2_048];
    let deadline = Instant::now() + patience;
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((size, from)) => return Some((buffer[..size].to_vec(), from)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if Instant::now() >= deadline {
                    return None;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_flood_comes_out_at_the_rate() {
    let _alone = ALONE.lock();
    for rate in [50_000_000, 200_000_000_u64] {
        let bench = Bench::new(LinkSpec::wan(rate, 20 * MS, 0.0));
        let payload = [7; 1_200];
        let wire = payload.len() as u64 + HEADER;
        // A tenth more than the line carries, in small bursts, for a second.
        let (began, sender) = (Instant::now(), bench.client.try_clone().unwrap());
        let flood = thread::spawn(move || {
            let mut sent = 0;
            while began.elapsed() < Duration::from_secs(1) {
                let due = began.elapsed().as_secs_f64() * rate as f64 * 1.1 / 8.0;
                while (sent * wire) as f64 <= due {
                    sender.send(&payload).unwrap();
                    sent += 1;
                }
                thread::sleep(MS);
            }
        });
        let (mut first, mut last, mut count) = (None, began, 0_u64);
        while receive(&bench.target, Duration::ZERO).is_some() {
            last = Instant::now();
            first.get_or_insert(last);
            count += 1;
        }
        flood.join().unwrap();
        let seen = ((count - 1) * wire * 8) as f64 / (last - first.unwrap()).as_secs_f64();
        assert!((0.95..1.05).contains(&(seen / rate as f64)), "{seen} of {rate} bit/s");
        let there = bench.link.counters().there;
        assert_eq!(there.offered, there.delivered + there.overflowed);
        assert!(there.overflowed > 0 && there.delivered == count, "{there:?}");
    }
}

#[test]
fn a_round_trip_takes_twice_the_delay() {
    let _alone = ALONE.lock();
    let bench = Bench::new(LinkSpec { delay: 40 * MS, ..LinkSpec::default() });
    let mut times: Vec<Duration> = (0..9)
        .map(|i| {
            let began = Instant::now();
            let from = bench.passes(&[i]);
            bench.target.send_to(&[i], from).unwrap();
            let (answer, from) = receive(&bench.client, SOON).unwrap();
            assert_eq!((answer, from), (vec![i], bench.link.addr()));
            began.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[0] >= 80 * MS && times[0] < 84 * MS, "{times:?}");
}

#[test]
fn the_asked_share_is_lost() {
    let spec = LinkSpec { loss: 0.1, seed: 3, ..LinkSpec::default() };
    let bench = Bench::new(spec);
    for i in 0..5_000_u32 {
        bench.client.send(&i.to_be_bytes()).unwrap();
        if i % 50 == 0 {
            thread::sleep(MS);
        }
    }
    let got: Vec<_> = std::iter::from_fn(|| receive(&bench.target, Duration::ZERO)).map(|(bytes, _)| bytes).collect();
    assert!(got.is_sorted(), "datagrams changed places");
    let there = bench.link.counters().there;
    assert_eq!((there.offered, there.delivered, there.overflowed), (5_000, got.len() as u64, 0));
    assert_eq!((there.lost, there.delivered_bytes), (5_000 - there.delivered, 4 * there.delivered));
    assert!((400..600).contains(&there.lost), "{there:?}");
}

#[test]
fn a_burst_above_the_queue_is_cut_off() {
    let spec = LinkSpec { queue: Some(20_000), ..LinkSpec::wan(1_000_000, 2 * MS, 0.0) };
    let bench = Bench::new(spec);
    for _ in 0..100 {
        bench.client.send(&[0; 1_000]).unwrap();
    }
    let got = std::iter::from_fn(|| receive(&bench.target, Duration::ZERO)).count();
    // 19 fit; a few more may while the burst arrives.
    assert!((19..30).contains(&got), "{got}");
    assert_eq!(bench.link.counters().there.overflowed, 100 - got as u64);
}

#[test]
fn down_up_and_change() {
    let bench = Bench::new(LinkSpec::default());
    let from = bench.passes(b"a");
    bench.link.down();
    bench.client.send(b"b").unwrap();
    bench.target.send_to(b"c", from).unwrap();
    assert!(receive(&bench.target, Duration::ZERO).is_none() && receive(&bench.client, Duration::ZERO).is_none());
    bench.link.up();
    assert_eq!(bench.passes(b"d"), from, "the client's address changed");
    bench.link.set(LinkSpec { loss: 1.0, ..LinkSpec::default() });
    bench.client.send(b"e").unwrap();
    assert!(receive(&bench.target, Duration::ZERO).is_none());
    let counters = bench.link.counters();
    assert_eq!((counters.there.cut, counters.back.cut, counters.there.lost), (1, 1, 1));
}

#[test]
fn clients_are_told_apart_and_a_closed_target_is_no_end() {
    let target = socket();
    let addr = target.local_addr().unwrap();
    let link = Link::between(LinkSpec::default(), addr).unwrap();
    drop(target);
    let clients = [socket(), socket()];
    for client in &clients {
        client.connect(link.addr()).unwrap();
        // Answered with "port unreachable" behind the link.
        client.send(b"lost").unwrap();
    }
    thread::sleep(50 * MS);
    let target = UdpSocket::bind(addr).unwrap();
    target.set_read_timeout(Some(QUIET)).unwrap();
    let seen = clients.each_ref().map(|client| {
        client.send(b"hello").unwrap();
        receive(&target, SOON).unwrap().1
    });
    assert_ne!(seen[0], seen[1]);
    target.send_to(b"second", seen[1]).unwrap();
    assert_eq!(receive(&clients[1], SOON).unwrap().0, b"second");
    assert!(receive(&clients[0], Duration::ZERO).is_none());
}

#[test]
fn dropping_frees_the_port() {
    let bench = Bench::new(LinkSpec::default());
    bench.passes(b"a");
    let addr = bench.link.addr();
    drop(bench.link);
    UdpSocket::bind(addr).unwrap();
}

//! The listener over real sockets: protocols, flips under load, draining, and clients that stall.

mod client;
mod rules;

use difusor_proto::Digest;
use http::Method;
use http_body_util::BodyExt as _;
use rustls::version::{TLS12, TLS13};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use self::client::{PATIENCE, Running, finish, until};
use super::*;
use crate::admission::{
    budgets::{BudgetsConfig, RequestRate},
    door::Door,
    offenders::Offence,
};
use crate::proxied::Trust;
use crate::site::fixture::{Fixture, gunzip, noise};

const GRACE: Duration = Duration::from_secs(10);

fn quick() -> Limits {
    let short = Duration::from_secs(1);
    Limits { handshake: short, head: short, stall: short, ..Limits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_over_both_versions_of_tls() {
    let fixture = Fixture::new();
    let page = noise(1, 100);
    let running = Running::start(Limits::default(), GRACE);
    assert_eq!(running.h1().await.get("/").await.status, 503);
    running.serving.flip(Arc::new(fixture.site(&fixture.cut(1, &[("index.html", &page), ("a/index.html", b"a")]))));
    for version in [&TLS12, &TLS13] {
        for alpn in [&[&b"h2"[..], b"http/1.1"][..], &[b"http/1.1"], &[]] {
            let mut client = running.connect(version, alpn).await;
            let plain = client.get("/?query=ignored").await;
            assert_eq!((plain.status.as_u16(), &plain.body[..]), (200, &page[..]));
            assert!(plain.headers.contains_key("date"));
            let gzip = client.ask(Method::GET, "/", &[("accept-encoding", "gzip")]).await;
            assert_eq!(gunzip(&gzip.body, page.len()), page);

            let head = client.ask(Method::HEAD, "/", &[]).await;
            assert_eq!((head.header("content-length"), head.body.len()), (plain.header("content-length"), 0));
            let tag = plain.header("etag").unwrap();
            let unchanged = client.ask(Method::GET, "/", &[("if-none-match", tag)]).await;
            assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
            // A length of zero would say that the file is empty (RFC 9110 section 8.6).
            assert_eq!(unchanged.header("content-length"), None);
            assert_eq!(client.get("/a").await.header("location"), Some("/a/"));
            assert_eq!(client.get("/nope").await.status, 404);
            assert_eq!(client.ask(Method::OPTIONS, "/", &[]).await.header("allow"), Some("GET, HEAD, OPTIONS"));
        }
    }
    let counts = running.totals();
    assert_eq!((counts.requests(), counts.classes()), (43, [0, 24, 12, 6, 1]));
    assert_eq!((counts.opened, counts.failures.iter().sum::<u64>()), (7, 0));
    until("connections are counted out", || running.totals().open() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_come_from_the_pack_whole() {
    let fixture = Fixture::new();
    let large = noise(1, 200_000);
    let cut = fixture.cut(1, &[("large.csv", &large)]);
    let running = Running::start(Limits::default(), GRACE);
    let site = fixture.site(&cut);
    assert_eq!((site.memory(), large.len() > 5 << 20), (0, true));
    running.serving.flip(Arc::new(site));
    for mut client in [running.h1().await, running.h2().await] {
        let plain = client.get("/large.csv").await;
        assert_eq!(Digest::of(&plain.body), Digest::of(&large));
        let gzip = client.ask(Method::GET, "/large.csv", &[("accept-encoding", "gzip")]).await;
        assert_eq!(gzip.header("content-length"), Some(gzip.body.len().to_string().as_str()));
        assert_eq!(gunzip(&gzip.body, large.len()), large);
    }
    let sent = running.totals().body_bytes;
    assert!(sent > 2 * large.len() as u64, "{sent}");
}

/// Cuts flip back and forth under clients that never stop: each answer is of one cut, whole, whichever it is.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_mixes_two_cuts() {
    let fixture = Fixture::new();
    let running = Running::start(Limits::default(), GRACE);
    let files = |seq| [noise(seq, 40), noise(seq + 10, 9_000)];
    let sites = [1, 2].map(|seq| {
        let [page, large] = files(seq);
        Arc::new(fixture.site(&fixture.cut(seq, &[("index.html", &page), ("large.csv", &large)])))
    });
    let digests = [1, 2].map(|seq| files(seq).map(|bytes| format!("\"{}\"", Digest::of(&bytes))));
    running.serving.flip(Arc::clone(&sites[0]));
    let mut clients = JoinSet::new();
    for number in 0..8 {
        let mut client = if number % 2 == 0 { running.h1().await } else { running.h2().await };
        let digests = digests.clone();
        clients.spawn(async move {
            let mut seen = [0_usize; 2];
            while seen.iter().sum::<usize>() < 100 || seen.contains(&0) {
                for (file, path) in ["/", "/large.csv"].into_iter().enumerate() {
                    let whole = client.get(path).await;
                    let cut = match whole.header("difusor-cut").unwrap() {
                        "20210606_2001/1" => 0,
                        "20210606_2002/2" => 1,
                        other => panic!("{other}"),
                    };
                    seen[cut] += 1;
                    assert_eq!(whole.header("etag"), Some(digests[cut][file].as_str()));
                    assert_eq!(format!("\"{}\"", Digest::of(&whole.body)), digests[cut][file]);
                }
            }
        });
    }
    let flipping = async {
        let (mut last, mut old) = (Instant::now(), &sites[0]);
        for new in sites.iter().cycle().skip(1) {
            let flipped = running.serving.flip(Arc::clone(new));
            assert!(flipped.instant >= last && Arc::ptr_eq(&flipped.previous.unwrap().site, old));
            (last, old) = (flipped.instant, new);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let joined = async {
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
    };
    tokio::select! {
        finished = timeout(PATIENCE, joined) => finished.unwrap(),
        () = flipping => unreachable!("sites.iter().cycle() has no end"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_in_flight_survives_the_flip_and_the_drain() {
    for h2 in [false, true] {
        let fixture = Fixture::new();
        let large = noise(1, 300_000);
        let running = Running::start(Limits::default(), GRACE);
        running.serving.flip(Arc::new(fixture.site(&fixture.cut(1, &[("large.csv", &large)]))));
        let mut client = if h2 { running.h2().await } else { running.h1().await };
        let idle = if h2 { running.h2().await } else { running.h1().await };
        let mut response = client.begin(Method::GET, "/large.csv", &[]).await.unwrap();
        let first = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        running.serving.flip(Arc::new(fixture.site(&fixture.cut(2, &[("large.csv", b"other")]))));
        running.cancel.cancel();
        until("nobody is let in any more", || std::net::TcpStream::connect(running.address).is_err()).await;
        let rest = timeout(PATIENCE, finish(response)).await.unwrap().unwrap();
        assert_eq!(Digest::of(&[&first[..], &rest.body].concat()), Digest::of(&large));
        let drained = timeout(PATIENCE, running.done).await.unwrap().unwrap();
        // Whoever came in before the door was shut, and asked nothing, counts as well.
        assert!(drained.finished >= 2 && drained.cut == 0, "{drained:?}");
        drop(idle);
    }
}

/// Who was let in before the node was told to end, and has not had the time to ask.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_let_in_is_answered() {
    let running = Running::start(Limits::default(), GRACE);
    let tcp = TcpStream::connect(running.address).await.unwrap();
    until("the connection is let in", || running.totals().open() == 1).await;
    running.cancel.cancel();
    until("nobody is let in any more", || std::net::TcpStream::connect(running.address).is_err()).await;
    let answer = running.at_once_over(tcp, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&answer));
    let drained = timeout(PATIENCE, running.done).await.unwrap().unwrap();
    assert_eq!(drained.cut, 0);
}

/// Signs of life are neither requests nor progress: a client that answers PINGs, and one that sends them while it takes
/// nothing of its answer.
#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_keep_no_connection() {
    let ms = Duration::from_millis;
    let limits = Limits { handshake: ms(1000), head: ms(700), stall: ms(1600), ..Limits::default() };
    let running = Running::start(limits, GRACE);
    let mut polite = running.h2().await;
    assert_eq!(polite.get("/").await.status, 503);
    let mut stuck = running.tls(&[&TLS13], &[b"h2"]).await;
    // No window for any stream; GET / of localhost, without its end being taken.
    let opening: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0\
        \0\0\x0e\x01\x05\0\0\0\x01\x82\x87\x84\x41\x09localhost";
    stuck.write_all(opening).await.unwrap();
    let pinging = tokio::spawn(async move {
        while stuck.write_all(b"\0\0\x08\x06\0\0\0\0\0abcdefgh").await.is_ok() {
            let mut some = [0; 1000];
            // What comes is read, or its end is seen.
            match timeout(ms(100), stuck.read(&mut some)).await {
                Ok(Ok(0) | Err(_)) => break,
                _ => tokio::time::sleep(ms(100)).await,
            }
        }
    });
    until("both are let go", || running.totals().open() == 0).await;
    timeout(PATIENCE, pinging).await.unwrap().unwrap();
    assert_eq!(running.totals().cut_off, 1, "the one that took nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_within_the_grace_is_cut_and_counted() {
    let fixture = Fixture::new();
    let large = noise(1, 300_000);
    let running = Running::start(Limits::default(), Duration::from_millis(100));
    running.serving.flip(Arc::new(fixture.site(&fixture.cut(1, &[("large.csv", &large)]))));
    let mut client = running.h1().await;
    // Nobody reads the body.
    let response = client.begin(Method::GET, "/large.csv", &[]).await.unwrap();
    running.cancel.cancel();
    let drained = timeout(PATIENCE, running.done).await.unwrap().unwrap();
    assert_eq!(drained, Drained { finished: 0, cut: 1 });
    assert!(finish(response).await.is_err(), "a body that was cut must not look whole");
}

/// Reads until the other side closes; fails if it does not.
async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_answer_of_a_connection_is_whole() {
    let fixture = Fixture::new();
    let running = Running::start(Limits::default(), GRACE);
    let files = [("index.html", noise(1, 2)), ("large.csv", noise(2, 300_000))];
    let listed = files.each_ref().map(|(name, content)| (*name, &content[..]));
    running.serving.flip(Arc::new(fixture.site(&fixture.cut(1, &listed))));
    for (path, (_, content)) in ["/", "/large.csv"].into_iter().zip(&files) {
        for end in ["HTTP/1.0\r\n\r\n", "HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"] {
            let request = format!("GET {path} {end}");
            let behind = format!("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n{request}");
            for said in [request, behind] {
                let answer = running.at_once(said.as_bytes()).await;
                assert!(answer.ends_with(content), "{said}{} bytes", answer.len());
            }
        }
    }
    assert!(running.at_once(b"nonsense\r\n\r\n").await.starts_with(b"HTTP/1.1 400 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_keeps_silent_is_let_go() {
    let running = Running::start(quick(), GRACE);
    let tcp = || async { TcpStream::connect(running.address).await.unwrap() };
    let mut open = JoinSet::new();
    // Before TLS; and something that is not TLS at all.
    let (mut silent, mut plain) = (tcp().await, tcp().await);
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    open.spawn(async move { closed(&mut silent).await });
    open.spawn(async move { closed(&mut plain).await });
    // After TLS, in the middle of a head, after an answer; in HTTP/2 after TLS, and after the preface.
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for (alpn, sent) in [
        (&b"http/1.1"[..], &b""[..]),
        (b"http/1.1", b"GET / HTTP/1.1\r\nhost: loc"),
        (b"http/1.1", b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        (b"h2", b""),
        (b"h2", preface),
    ] {
        let mut tls = running.tls(&[&TLS13], &[alpn]).await;
        tls.write_all(sent).await.unwrap();
        open.spawn(async move { closed(&mut tls).await });
    }
    // An HTTP/2 connection that asked once, and is kept open by its client.
    let mut client = running.h2().await;
    assert_eq!(client.get("/").await.status, 503);
    open.join_all().await;
    until("the idle connection is closed too", || running.totals().open() == 0).await;
    let counts = running.totals();
    assert_eq!((counts.failures.iter().sum::<u64>(), counts.opened), (2, 8));
    assert!(counts.cut_off >= 3, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_reading_is_let_go() {
    let fixture = Fixture::new();
    let running = Running::start(quick(), GRACE);
    running.serving.flip(Arc::new(fixture.site(&fixture.cut(1, &[("large.csv", &noise(1, 300_000))]))));
    let (mut h1, mut h2) = (running.h1().await, running.h2().await);
    let unread = [
        h1.begin(Method::GET, "/large.csv", &[]).await.unwrap(),
        h2.begin(Method::GET, "/large.csv", &[]).await.unwrap(),
    ];
    until("both are cut off", || running.totals().cut_off == 2).await;
    for response in unread {
        assert!(finish(response).await.is_err());
    }
}

/// It goes on reading, but so little that it only holds what it asked for; whoever reads on gets everything.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_a_drop_at_a_time_is_let_go() {
    let fixture = Fixture::new();
    let large = noise(1, 300_000);
    for (slowest, is_let_go) in [(1 << 20, true), (1, false)] {
        let limits = Limits { slowest, pace: Duration::from_secs(2), ..Limits::default() };
        let running = Running::start(limits, GRACE);
        running.serving.flip(Arc::new(fixture.site(&fixture.cut(1, &[("large.csv", &large)]))));
        let mut stream = running.tls(&[&TLS13], &[b"http/1.1"]).await;
        stream.write_all(b"GET /large.csv HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let (mut drops, mut drop, begun) = (0, [0; 4096], Instant::now());
        let mut read = async || {
            tokio::time::sleep(Duration::from_millis(20)).await;
            matches!(stream.read(&mut drop).await, Ok(1..))
        };
        while running.totals().cut_off == 0 && (is_let_go || begun.elapsed() < Duration::from_secs(5)) {
            assert!(read().await && begun.elapsed() < PATIENCE);
            drops += 1;
        }
        assert!(drops > 1 && (running.totals().cut_off == 1) == is_let_go, "{drops}");
        if !is_let_go {
            let mut rest = Vec::new();
            timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
            assert_eq!(Digest::of(&rest[rest.len() - 100_000..]), Digest::of(&large[large.len() - 100_000..]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_cap_connections_are_closed_at_once() {
    let running = Running::start(Limits { connections: 2, ..Limits::default() }, GRACE);
    let (mut one, two) = (running.h1().await, running.h2().await);
    closed(&mut TcpStream::connect(running.address).await.unwrap()).await;
    assert_eq!(running.totals().refused, 1);
    assert_eq!(one.get("/").await.status, 503);
    drop(two);
    until("there is room again", || running.totals().open() == 1).await;
    assert_eq!(running.h2().await.get("/").await.status, 503);
}

/// Someone who takes all connections that can be had gets half of them, and others still come in.
#[tokio::test(flavor = "multi_thread")]
async fn one_source_does_not_take_all_places() {
    let running = Running::start(Limits { connections: 40, ..Limits::default() }, GRACE);
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(TcpStream::connect(running.address).await.unwrap());
    }
    until("all are met", || running.totals().opened + running.totals().crowded == 60).await;
    assert_eq!((running.totals().opened, running.totals().refused), (20, 0));
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.7.7.7:0".parse().unwrap()).unwrap();
    let _other = other.connect(running.address).await.unwrap();
    until("someone else is let in", || running.totals().opened == 21).await;
    drop(held);
    until("the places are free again", || running.totals().open() == 1).await;
    assert_eq!(running.h2().await.get("/").await.status, 503);
}

/// It makes the node talk and does not listen: then nobody listens to it, and it is closed.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_floods_is_not_listened_to() {
    let running = Running::start(Limits::default(), GRACE);
    let mut stream = running.tls(&[&TLS13], &[b"h2"]).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let pings = b"\0\0\x08\x06\0\0\0\0\0any time".repeat(1000);
    let mut sent = 0;
    let flood = async {
        while stream.write_all(&pings).await.is_ok() {
            sent += pings.len();
        }
    };
    timeout(PATIENCE, flood).await.unwrap();
    // As much as fits into the sockets of both sides.
    assert!(running.totals().abusive == 1 && sent < 64 << 20, "{sent}");
    until("it is closed", || running.totals().open() == 0).await;
}

/// A door for this machine, which is not exempt, with so many connections at once and hardly any after them.
fn door(at_once: u64) -> Door {
    let connections = RequestRate { a_second: 1, at_once };
    let config = BudgetsConfig { exempt: Trust::default(), connections, ..BudgetsConfig::default() };
    Door::new(&config, &Trust::default()).unwrap()
}

async fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_too_many_connections_is_sent_away() {
    let running = Running::with_door(Limits::default(), door(10));
    for _ in 0..15 {
        drop(from("127.0.0.9", running.address).await);
    }
    until("all are met", || running.totals().opened + running.totals().hasty == 15).await;
    // A second may have passed meanwhile.
    assert!((10..13).contains(&running.totals().opened), "{:?}", running.totals());
    let other = from("127.7.7.7", running.address).await;
    until("someone else is let in", || running.totals().open() == 1).await;
    drop(other);
    // What is refused and comes ten times over is not even charged any more.
    for _ in 0..200 {
        drop(from("127.0.0.9", running.address).await);
    }
    until("it is banned", || running.totals().banned > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_ends_connections_and_keeps_new_ones_out() {
    let door = door(1000);
    let running = Running::with_door(Limits::default(), door.clone());
    let (mut h1, mut h2) = (running.h1().await, running.h2().await);
    assert_eq!((h1.get("/").await.status.as_u16(), h2.get("/").await.status.as_u16()), (503, 503));
    for _ in 0..11 {
        door.blame([127, 0, 0, 1].into(), Offence::Abuse, Instant::now());
    }
    assert!(h1.begin(Method::GET, "/", &[]).await.is_err() && h2.begin(Method::GET, "/", &[]).await.is_err());
    until("both are closed", || running.totals().open() == 0).await;
    assert_eq!(running.totals().banned, 2);
    let mut byte = [0];
    let mut late = TcpStream::connect(running.address).await.unwrap();
    assert!(matches!(timeout(PATIENCE, late.read(&mut byte)).await.unwrap(), Ok(0) | Err(_)));
    let _other = from("127.7.7.7", running.address).await;
    until("someone else is let in", || running.totals().open() == 1).await;
    door.offenders().unwrap().pardon("127.0.0.0/8".parse().unwrap());
    assert_eq!(running.h2().await.get("/").await.status, 503);
}

/// Requests that two readers would understand in two ways: a few are a mistake, hundreds are none.
#[tokio::test(flavor = "multi_thread")]
async fn offences_add_up_to_a_ban() {
    let door = door(100_000);
    let running = Running::with_door(Limits::default(), door.clone());
    let smuggled = b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n";
    let begun = Instant::now();
    let mut refused = 0;
    while !door.is_banned([127, 0, 0, 1].into(), Instant::now()) {
        assert!(running.at_once(smuggled).await.starts_with(b"HTTP/1.1 400") && begun.elapsed() < PATIENCE);
        refused += 1;
    }
    // One a second is forgotten.
    assert!((101..=102 + begun.elapsed().as_secs()).contains(&refused), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_without_end_are_refused() {
    let running = Running::start(Limits::default(), GRACE);
    let long = "x".repeat(60_000);
    let path = format!("/{long}");
    for (path, headers) in [(path.as_str(), &[][..]), ("/", &[("cookie", long.as_str())])] {
        for mut client in [running.h1().await, running.h2().await] {
            // The connection may be gone before the client has written it all.
            let answer = client.begin(Method::GET, path, headers).await;
            assert!(answer.is_err() || answer.is_ok_and(|response| response.status().is_client_error()));
        }
    }
    assert_eq!(running.totals().classes()[1], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_proxy_says_whose_connection_it_is() {
    let running = Running::behind(Limits::default(), GRACE, Some("127.0.0.0/8"));
    let version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x05\x7f\0\0\x01\x04\xd2\x01\xbb";
    for preamble in [&b"PROXY TCP4 203.0.113.5 127.0.0.1 1234 443\r\n"[..], b"PROXY UNKNOWN\r\n", version_2] {
        let mut tls = running.tls_after(preamble).await.unwrap();
        tls.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tls.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    // Without the header, with half of one that never ends, and with another.
    assert!(running.tls_after(b"").await.is_err());
    assert!(running.tls_after(b"PROXY TCP4 not an address\r\n").await.is_err());
    until("both are counted", || running.totals().failures == [0, 0, 2]).await;

    // Whoever is not listed is a visitor, and its connection begins with TLS.
    let running = Running::behind(Limits::default(), GRACE, Some("203.0.113.0/24"));
    assert_eq!(running.h2().await.get("/").await.status, 503);
    assert!(running.tls_after(b"PROXY UNKNOWN\r\n").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_are_told_apart() {
    let running = Running::start(Limits::default(), GRACE);
    for _ in 0..2 {
        assert_eq!(running.h1().await.get("/").await.status, 503);
    }
    assert_eq!(running.totals().handshakes, [2, 0]);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let running = Running::start(Limits::default(), GRACE);
    let taken = ListenerConfig { bind: vec![running.address], ..ListenerConfig::default() };
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = crate::certificate::tls_config(vec![made.cert.der().clone()], key).unwrap();
    let error = Listener::bind(&taken, tls).unwrap_err();
    assert!(error.to_string().contains(&running.address.to_string()));
}

/// What waits for the first byte is small, whatever a connection is once it has come.
#[test]
fn silence_is_cheap() {
    fn size<A, B, C, D, E, F, G>(_: impl Fn(A, B, C, D, E, F) -> G) -> usize {
        size_of::<G>()
    }
    assert!(size(meet) <= 1024, "{}", size(meet));
}

#[test]
fn errors_of_accept() {
    let kind = |raw| is_of_one_connection(&io::Error::from_raw_os_error(raw));
    // ECONNABORTED; then EMFILE, ENFILE, ENOBUFS, ENOMEM.
    assert!(kind(103));
    assert!([24, 23, 105, 12].into_iter().all(|raw| !kind(raw)));
}

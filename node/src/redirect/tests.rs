//! Plain HTTP: where it leads, what it refuses, and the files of challenges.

use std::{fs, str::from_utf8};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// Longest that a test waits for anything before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(20);

fn rules(hosts: &[&str], port: u16) -> Rules {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    Rules { hosts, port, answers_challenges: true }
}

/// The status and the location of an answer.
fn summary(answer: &[u8]) -> (u16, Option<&str>) {
    let text = from_utf8(answer).unwrap();
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let fields: Vec<_> = lines.map(|line| line.split_once(": ").unwrap()).collect();
    let field = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    assert_eq!(field("Connection"), Some("close"));
    assert!(field("Date").unwrap().ends_with(" GMT"));
    assert!(field("Content-Length").unwrap().parse::<usize>().is_ok());
    (status, field("Location"))
}

#[test]
fn where_visitors_are_sent() {
    let site = ["site.example", "www.site.example"];
    let table: &[(&[&str], u16, &str, u16, &str)] = &[
        (&site, 443, "GET / HTTP/1.1\r\nHost: site.example\r\n", 308, "https://site.example/"),
        (
            &site,
            443,
            "GET /a/b?c=d&e HTTP/1.1\r\nhost: WWW.Site.Example.:80\r\n",
            308,
            "https://www.site.example/a/b?c=d&e",
        ),
        (&site, 8443, "HEAD /a HTTP/1.1\r\nHost: site.example\r\n", 308, "https://site.example:8443/a"),
        (&site, 443, "POST /a HTTP/1.1\r\nHost: site.example\r\nContent-Length: 5\r\n", 308, "https://site.example/a"),
        // Another host is not ours to send to.
        (&site, 443, "GET /a HTTP/1.1\r\nHost: evil.example\r\n", 308, "https://site.example/a"),
        (&site, 443, "GET /a HTTP/1.1\r\nHost: site.example.evil.example\r\n", 308, "https://site.example/a"),
        (&site, 443, "GET http://evil.example/a HTTP/1.1\r\nHost: evil.example\r\n", 308, "https://site.example/a"),
        (&site, 443, "GET HTTP://site.example/a?b HTTP/1.1\r\nHost: site.example\r\n", 308, "https://site.example/a?b"),
        (&site, 443, "GET http://evil.example/ HTTP/1.1\r\nHost: site.example\r\n", 400, ""),
        (&[], 443, "GET http://evil.example/ HTTP/1.1\r\nHost: site.example\r\n", 400, ""),
        (&[], 443, "GET https://site.example/ HTTP/1.1\r\nHost: site.example\r\n", 400, ""),
        (&[], 443, "GET http://user@site.example/ HTTP/1.1\r\nHost: site.example\r\n", 400, ""),
        // The path cannot become the host.
        (
            &site,
            443,
            "GET //evil.example/ HTTP/1.1\r\nHost: site.example\r\n",
            308,
            "https://site.example//evil.example/",
        ),
        (
            &site,
            443,
            "GET /\\evil.example HTTP/1.1\r\nHost: site.example\r\n",
            308,
            "https://site.example/%5Cevil.example",
        ),
        (&site, 443, "GET .evil.example/ HTTP/1.1\r\nHost: site.example\r\n", 400, ""),
        (&site, 443, "GET @evil.example/ HTTP/1.1\r\nHost: site.example\r\n", 400, ""),
        (
            &site,
            443,
            "GET /%0d%0aSet-Cookie:a HTTP/1.1\r\nHost: site.example\r\n",
            308,
            "https://site.example/%0d%0aSet-Cookie:a",
        ),
        (
            &site,
            443,
            "GET /\u{e9}{\"}#x HTTP/1.1\r\nHost: site.example\r\n",
            308,
            "https://site.example/%C3%A9%7B%22%7D%23x",
        ),
        // Without configured hosts, the one that is asked for.
        (&[], 443, "GET /a HTTP/1.1\r\nHost: any.example:8080\r\n", 308, "https://any.example/a"),
        (&[], 8443, "GET /a HTTP/1.1\r\nHost: [2001:DB8::1]:80\r\n", 308, "https://[2001:db8::1]:8443/a"),
        (&[], 443, "GET /a HTTP/1.1\r\nHost: a@b\r\n", 400, ""),
        (&[], 443, "GET /a HTTP/1.0\r\n", 400, ""),
        (&site, 443, "GET /a HTTP/1.0\r\n", 308, "https://site.example/a"),
        // Not well-formed, or nothing that could have moved.
        (&site, 443, "GET /a HTTP/1.1\r\n", 400, ""),
        (&site, 443, "GET /a HTTP/1.1\r\nHost:\r\n", 400, ""),
        (&site, 443, "GET /a HTTP/1.1\r\nHost: site.example\r\nHost: site.example\r\n", 400, ""),
        (&site, 443, "GET /a b HTTP/1.1\r\nHost: site.example\r\n", 400, ""),
        (&site, 443, "OPTIONS * HTTP/1.1\r\nHost: site.example\r\n", 400, ""),
        (&site, 443, "CONNECT site.example:443 HTTP/1.1\r\nHost: site.example\r\n", 400, ""),
        (&site, 443, "PRI * HTTP/2.0\r\n", 400, ""),
        (&site, 443, "\u{16}\u{3}\u{1}", 400, ""),
        (&site, 443, "POST /.well-known/acme-challenge/abc HTTP/1.1\r\nHost: site.example\r\n", 405, ""),
    ];
    for (hosts, port, head, status, location) in table {
        let rules = rules(hosts, *port);
        let whole = format!("{head}\r\n");
        let Some(Answer::Whole(answer)) = rules.answer(whole.as_bytes()) else { panic!("{head:?}") };
        assert_eq!(summary(&answer), (*status, Some(*location).filter(|location| !location.is_empty())), "{head:?}");
        assert_eq!(answer.ends_with(b"\r\n\r\n"), head.starts_with("HEAD"), "{head:?}");
        if *status == 308 {
            assert_eq!(rules.answer(head.as_bytes()), None, "{head:?}");
        }
    }
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(100));
    let Some(Answer::Whole(answer)) = rules(&[], 443).answer(many.as_bytes()) else { panic!() };
    assert_eq!(summary(&answer).0, 431);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        head in prop::collection::vec(any::<u8>(), 0..200),
        line in any::<bool>(),
    ) {
        let line = if line { b"GET / HTTP/1.1\r\n".as_slice() } else { b"" };
        rules(&[], 443).answer(&[line, &head].concat());
    }

    /// Whatever is asked for, the answer is one head, and sends nowhere but to the site.
    #[test]
    fn never_sends_elsewhere(target in "[ -~]{0,60}|/[ -~\r\n\u{e9}]{0,60}", host in "[ -~\r\n]{0,30}|site\\.example") {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        if let Some(Answer::Whole(answer)) = rules(&["site.example"], 443).answer(head.as_bytes()) {
            let (status, location) = summary(&answer);
            prop_assert_eq!(status == 308, location.is_some());
            prop_assert!(location.is_none_or(|location| location.starts_with("https://site.example/")));
        }
    }
}

struct Running {
    address: SocketAddr,
    cancel: CancellationToken,
    done: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(config: RedirectConfig) -> Self {
        let config = RedirectConfig { bind: vec!["127.0.0.1:0".parse().unwrap()], ..config };
        let redirector = Redirector::bind(&config).await.unwrap();
        let (address, cancel) = (redirector.addresses()[0], CancellationToken::new());
        Self { address, cancel: cancel.clone(), done: tokio::spawn(redirector.run(cancel)) }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn ask(&self, head: &str) -> Vec<u8> {
        let mut tcp = self.connect().await;
        tcp.write_all(head.as_bytes()).await.unwrap();
        rest(&mut tcp).await.unwrap()
    }

    async fn stop(self) {
        self.cancel.cancel();
        timeout(PATIENCE, self.done).await.unwrap().unwrap();
    }
}

/// All that comes until the other side closes.
async fn rest(tcp: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, tcp.read_to_end(&mut bytes)).await.unwrap()?;
    Ok(bytes)
}

#[tokio::test]
async fn redirects_over_tcp() {
    let running = Running::start(RedirectConfig { port: 8443, ..Default::default() }).await;
    let answer = running.ask("GET /a HTTP/1.1\r\nHost: site.example\r\n\r\n").await;
    assert_eq!(summary(&answer), (308, Some("https://site.example:8443/a")));
    // Without a folder, challenges are redirected as well: authorities follow.
    let answer = running.ask("GET /.well-known/acme-challenge/a HTTP/1.1\r\nHost: site.example\r\n\r\n").await;
    assert_eq!(summary(&answer).0, 308);
    // In pieces, and with a body that nobody reads.
    let mut tcp = running.connect().await;
    for piece in ["POST /a HT", "TP/1.1\r\nHost: site.ex", "ample\r\nContent-Length: 50000\r\n", "\r\n"] {
        tcp.write_all(piece.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(summary(&rest(&mut tcp).await.unwrap()).0, 308);
    // Who still sends when the answer is there is not reset: the answer could be lost with that.
    for _ in 0..50 {
        tcp.write_all(&[b'x'; 1000]).await.unwrap();
        tokio::task::yield_now().await;
    }
    drop(tcp);
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(MAX_HEAD));
    assert_eq!(summary(&running.ask(&long).await).0, 431);
    running.stop().await;
}

#[tokio::test]
async fn who_is_late_or_too_many_is_closed() {
    let deadline = Span(Duration::from_secs(1));
    let running = Running::start(RedirectConfig { connections: 1, deadline, ..Default::default() }).await;
    let start = Instant::now();
    let mut slow = running.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut second = running.connect().await;
    let _ = second.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(rest(&mut second).await.unwrap_or_default(), b"");
    assert_eq!(rest(&mut slow).await.unwrap(), b"");
    assert!(start.elapsed() >= deadline.0);
    drop(slow);
    // The place is free again.
    let again = async {
        loop {
            let mut tcp = running.connect().await;
            let sent = tcp.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            if sent.is_ok() && rest(&mut tcp).await.is_ok_and(|answer| !answer.is_empty()) {
                break;
            }
        }
    };
    timeout(PATIENCE, again).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn challenges_come_from_the_folder_and_from_nowhere_else() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join(".well-known/acme-challenge");
    fs::create_dir_all(folder.join("folder")).unwrap();
    fs::write(folder.join("To-ken_1"), "To-ken_1.thumb").unwrap();
    fs::write(folder.join("to.ken"), "no").unwrap();
    fs::write(folder.join("large"), vec![b'x'; 5000]).unwrap();
    fs::write(dir.path().join("secret"), "no").unwrap();
    let running = Running::start(RedirectConfig { webroot: Some(dir.path().into()), ..Default::default() }).await;
    let ask = async |method: &str, name: &str| {
        let head = format!("{method} /.well-known/acme-challenge/{name} HTTP/1.1\r\nHost: site.example\r\n\r\n");
        let answer = running.ask(&head).await;
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        (summary(&answer).0, String::from_utf8(answer[body..].into()).unwrap())
    };
    assert_eq!(ask("GET", "To-ken_1").await, (200, "To-ken_1.thumb".into()));
    assert_eq!(ask("GET", "To-ken_1?x").await, (200, "To-ken_1.thumb".into()));
    assert_eq!(ask("HEAD", "To-ken_1").await, (200, String::new()));
    for name in ["", "none", "folder", "large", "to.ken", "../../secret", "..%2f..%2fsecret", &"a".repeat(300)] {
        assert_eq!(ask("GET", name).await.0, 404, "{name}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = Redirector::bind(&RedirectConfig { bind: vec![address], ..Default::default() }).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

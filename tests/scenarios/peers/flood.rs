//! Queries of DNS by the thousand: whoever may be somebody else is answered at a rate, whoever is known to be there always.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use difusor_node::run::Ready;
use hickory_proto::{
    op::{Edns, Message, Query},
    rr::{
        Name, RecordType,
        rdata::opt::{EdnsCode, EdnsOption},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::{Instant, sleep, timeout},
};

use crate::rig::Rig;

/// Responses a second to a network, and how many at once.
const RATE: usize = 20;
const BURST: usize = 2 * RATE;

const CONFIG: &str = "[dns]\nbind = [\"127.0.0.1:0\"]\nzone = \"results.test\"\nrate = 20\n";

/// The option of cookies (RFC 7873).
const COOKIE: u16 = 10;

fn query(cookie: &[u8]) -> Result<Vec<u8>> {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii("results.test.")?, RecordType::A));
    let mut edns = Edns::new();
    edns.options_mut().insert(EdnsOption::Unknown(COOKIE, cookie.to_vec()));
    query.set_edns(edns);
    Ok(query.to_vec()?)
}

/// Of so many queries at once: how many are answered, how many told to use TCP, and the cookie that came with an answer.
async fn flood(from: &str, server: SocketAddr, many: usize, cookie: &[u8]) -> Result<(usize, usize, Vec<u8>)> {
    let socket = UdpSocket::bind((from, 0)).await?;
    let query = query(cookie)?;
    let (mut answered, mut told, mut given, mut left) = (0, 0, Vec::new(), many);
    let mut answer = vec![0; 4096];
    let mut quiet = Instant::now();
    while left > 0 || quiet.elapsed() < Duration::from_secs(1) {
        if left > 0 {
            socket.send_to(&query, server).await?;
            left -= 1;
            // No faster than a loaded machine takes them.
            if left % 50 == 0 {
                sleep(Duration::from_millis(3)).await;
            }
        }
        let wait = Duration::from_millis(if left > 0 { 0 } else { 50 });
        let Ok(came) = timeout(wait, socket.recv(&mut answer)).await else { continue };
        quiet = Instant::now();
        let answer = Message::from_vec(&answer[..came?])?;
        if answer.metadata.truncation {
            told += 1;
        } else {
            ensure!(!answer.answers.is_empty(), "{answer}");
            answered += 1;
        }
        let option = answer.edns.as_ref().and_then(|edns| edns.option(EdnsCode::from(COOKIE)));
        if let Some(EdnsOption::Unknown(_, cookie)) = option {
            given.clone_from(cookie);
        }
    }
    Ok((answered, told, given))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_answered_at_its_rate_and_all_others_as_always() -> Result<()> {
    let mut rig = Rig::start_with_files(2, CONFIG, &[]).await?;
    let server = *rig.mesh.nodes[0].process.ready::<Ready>().await?.dns.first().context("no DNS")?;
    // Time goes by while they are sent, and rates with it; a loaded machine may take some seconds.
    let begun = Instant::now();
    let (answered, told, cookie) = flood("127.0.0.1", server, 1_000, b"12345678").await?;
    let most = BURST + RATE * usize::try_from(begun.elapsed().as_secs() + 1)?;
    ensure!((BURST..=most).contains(&answered), "{answered} of at most {most}");
    // Of the others one in two is told that TCP would do.
    let held = 1_000 - answered;
    ensure!((held * 4 / 10..=held * 6 / 10).contains(&told), "{told} of {held} held back");
    println!("of 1000 queries {answered} are answered, {told} told to use TCP");

    // From the same network, over TCP: all.
    let query = query(b"12345678")?;
    let mut tcp = TcpStream::connect(server).await?;
    for _ in 0..50 {
        tcp.write_u16(u16::try_from(query.len())?).await?;
        tcp.write_all(&query).await?;
        let mut answer = vec![0; usize::from(tcp.read_u16().await?)];
        tcp.read_exact(&mut answer).await?;
        ensure!(!Message::from_vec(&answer)?.answers.is_empty());
    }
    // And with the cookie that it was given: all. With one that was given to another address: at the rate.
    ensure!(cookie.len() == 24, "{cookie:?}");
    let (answered, told, _) = flood("127.0.0.1", server, 200, &cookie).await?;
    ensure!((answered, told) == (200, 0), "{answered} and {told} with a cookie");
    let (answered, ..) = flood("127.0.0.2", server, 300, &cookie).await?;
    ensure!(answered < 200, "{answered} with a cookie that is another's");
    // Whoever comes from elsewhere does not notice.
    let (answered, told, _) = flood("127.0.9.1", server, BURST / 2, b"12345678").await?;
    ensure!((answered, told) == (BURST / 2, 0), "{answered} and {told} from elsewhere");
    rig.mesh.stop().await
}

//! A node that is told to end finishes what it was asked for, takes nothing new, and ends well.

use std::{
    io::{Read, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::publish::Request;
use difusor_local::https::{self, Protocol};
use difusor_tests::{PATIENCE, package::pack, publish, start, witness::Witness};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use rustls::{ClientConnection, StreamOwned};

use crate::PROGRAM;

/// More than the buffers of the system between two processes hold.
const LARGE: usize = 32 << 20;

/// What is read before the node is told to end.
const BEFORE: usize = 256 << 10;

type Tls = StreamOwned<ClientConnection, TcpStream>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_outlives_the_order_to_end() -> Result<()> {
    let (mut mesh, dir) = start(PROGRAM, 1).await?;
    let mut large = vec![0; LARGE];
    SmallRng::seed_from_u64(1).fill(&mut large[..]);
    let package: PathBuf = dir.path().join("20240602_2000_PREP.zip");
    let files = [("index.html", &b"<!doctype html>"[..], Some(6)), ("assets/large.bin", &large, None)];
    pack(&package, files.map(|(name, bytes, level)| (name.to_owned(), bytes, level)))?;
    publish(&mesh, &package, Request::default()).await?;

    let at = mesh.nodes[0].public;
    let authority = mesh.authority().to_vec();
    let pid = mesh.nodes[0].process.pid().context("the node does not run")?;
    // A visitor that keeps its connection and asks nothing must not hold the node back.
    let mut idle = Witness::new(&mesh)?.open(at, Protocol::H2).await?;
    ensure!(idle.get("/").await?.status == http::StatusCode::OK, "the front page");
    // Nor must an operator who asks half a question.
    let mut operator = TcpStream::connect(mesh.nodes[0].admin)?;
    operator.write_all(b"GET /status HTTP/1.1\r\n")?;
    let download = tokio::task::spawn_blocking(move || -> Result<Vec<u8>> {
        let mut stream = connect(at, &authority)?;
        stream.write_all(b"GET /assets/large.bin HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let mut read = vec![0; BEFORE];
        stream.read_exact(&mut read)?;
        ensure!(Command::new("kill").arg("-TERM").arg(pid.to_string()).status()?.success(), "kill");
        refuses(at)?;
        // Nobody new is let in; what is under way goes on, for as long as it takes to read it bit by bit.
        let mut piece = vec![0; 16 << 10];
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            read.extend_from_slice(piece.get(..count).context("a long piece")?);
        }
        Ok(read)
    });
    let answer = download.await??;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").context("no head")? + 4;
    let (head, body) = answer.split_at(head);
    ensure!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(head));
    ensure!(body.len() == LARGE && body == large, "{} bytes of {LARGE} came", body.len());
    ensure!(idle.get("/").await.is_err(), "an idle connection outlives the node");
    // Waits for the process, and fails if it did not end by itself with code 0.
    mesh.nodes[0].process.stop().await?;
    drop(operator);
    mesh.stop().await
}

fn connect(at: SocketAddr, authority: &[u8]) -> Result<Tls> {
    let connection = ClientConnection::new(Arc::new(https::trusting(authority)?), "localhost".try_into()?)?;
    let stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(StreamOwned::new(connection, stream))
}

/// Waits until nobody accepts connections there.
fn refuses(at: SocketAddr) -> Result<()> {
    let since = Instant::now();
    while TcpStream::connect(at).is_ok() {
        ensure!(since.elapsed() < PATIENCE, "it goes on accepting connections");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

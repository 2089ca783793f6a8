//! What a node makes of those who ask, told by its own status: a real process, real connections.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::publish::Request;
use difusor_local::{Mesh, https::Protocol};
use difusor_night::{Night, NightSpec};
use difusor_node::insight::verdict::{Kind, Verdict};
use difusor_tests::{options, publish, status, until, write};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::PROGRAM;

/// Someone asks for what is not there, again and again: the status says so and names it, the metrics say so and name
/// nobody, and once it is over, both say that. Whoever asks for a page meanwhile is given it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_is_named_and_forgotten() -> Result<()> {
    let dir = TempDir::new()?;
    let mesh = Mesh::start(&options(PROGRAM, dir.path(), 1)?).await?;
    let night = Night::new(NightSpec { cuts: 1, ..NightSpec::tiny() })?;
    publish(&mesh, &write(&night, 0, dir.path())?, Request::default()).await?;
    let admin = mesh.nodes[0].admin;
    until("the node looks at who asks", async || Ok((status(admin).await?.insight.since_ms > 0).then_some(()))).await?;
    ensure!(status(admin).await?.insight.verdict == Verdict::Quiet, "nobody was there yet");

    let over = Arc::new(AtomicBool::new(false));
    let mut connection = mesh.open(&mesh.nodes[0], Protocol::H2).await?;
    let flooding = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            for number in 0_u64.. {
                if over.load(Relaxed) {
                    break;
                }
                ensure!(connection.get(&format!("/admin/{number}.php")).await?.status == 404, "is it there?");
            }
            anyhow::Ok(())
        }
    });
    let found = until("the scan is seen", async || {
        let found = status(admin).await?.insight;
        Ok(found.kinds.contains(&Kind::Scan).then_some(found))
    });
    let found = found.await?;
    ensure!(found.verdict == Verdict::Attack && found.words.starts_with("Attack "), "{found:?}");
    ensure!(found.offenders.iter().any(|offender| offender.who == "127.0.0.1"), "{found:?}");
    ensure!(found.estimates.requests > 50.0 && found.estimates.sources < 3.0, "{found:?}");
    let metrics = text(admin, "/metrics").await?;
    ensure!(metrics.contains("difusor_verdict{verdict=\"attack\"} 1"), "{metrics}");
    ensure!(metrics.contains("difusor_attack{kind=\"scan\"} 1"), "{metrics}");
    ensure!(!metrics.contains("127.0.0.1") && !metrics.contains("/admin/"), "{metrics}");
    let mut visitor = mesh.open(&mesh.nodes[0], Protocol::H1).await?;
    ensure!(visitor.get("/").await?.status == 200, "visitors are served");

    over.store(true, Relaxed);
    flooding.await??;
    until("it is over", async || Ok((status(admin).await?.insight.verdict == Verdict::Quiet).then_some(()))).await?;
    let metrics = text(admin, "/metrics").await?;
    ensure!(metrics.contains("difusor_verdict{verdict=\"attack\"} 0"), "{metrics}");
    mesh.stop().await
}

/// What the node's own listener says.
async fn text(admin: std::net::SocketAddr, path: &str) -> Result<String> {
    let mut stream = tokio::net::TcpStream::connect(admin).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: node\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).context("no body")
}

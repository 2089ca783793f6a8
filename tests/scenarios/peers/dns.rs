//! Every node answers for the site's name, and none leads to a node that is not well.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use difusor_node::run::Ready;
use difusor_tests::until;
use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RData, RecordType},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::rig::Rig;

const CONFIG: &str = "[dns]\nbind = [\"127.0.0.1:0\"]\nzone = \"results.test\"\nnames = [\"@\", \"www\"]\nttl = \"5 s\"\nanswers = 8\nplaces = \"places.txt\"\n[dns.zones]\nmx-central = [19.4, -99.1]\nus-east = [39.0, -77.5]\neu-west = [53.3, -6.3]\n";

/// A query, and its response over UDP, or over TCP.
async fn ask(server: SocketAddr, name: &str, kind: RecordType, by_tcp: bool) -> Result<Message> {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name)?, kind));
    let bytes = query.to_vec()?;
    let exchange = async {
        if by_tcp {
            let mut tcp = TcpStream::connect(server).await?;
            tcp.write_u16(u16::try_from(bytes.len())?).await?;
            tcp.write_all(&bytes).await?;
            let mut answer = vec![0; usize::from(tcp.read_u16().await?)];
            tcp.read_exact(&mut answer).await?;
            anyhow::Ok(answer)
        } else {
            let socket = UdpSocket::bind("127.0.0.1:0").await?;
            socket.send_to(&bytes, server).await?;
            let mut answer = vec![0; 4096];
            let len = socket.recv(&mut answer).await?;
            answer.truncate(len);
            Ok(answer)
        }
    };
    let answer = Message::from_vec(&timeout(Duration::from_secs(2), exchange).await??)?;
    ensure!(answer.metadata.id == query.metadata.id, "another answer");
    Ok(answer)
}

async fn addresses(server: SocketAddr) -> Result<BTreeSet<IpAddr>> {
    let answer = ask(server, "www.results.test.", RecordType::A, false).await?;
    ensure!(answer.metadata.authoritative, "{answer:?}");
    let of = |data: &RData| match data {
        RData::A(ip) => Some(IpAddr::V4(ip.0)),
        _ => None,
    };
    Ok(answer.answers.iter().filter_map(|record| of(&record.data)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_fails_is_out_of_every_answer() -> Result<()> {
    // The file of places is read at the start, so it has to be there before.
    let mut rig = Rig::start_with_files(3, CONFIG, &[("places.txt", "127.0.0.0/8 eu-west\n")]).await?;
    let mut servers = Vec::new();
    for node in &mut rig.mesh.nodes {
        servers.push(*node.process.ready::<Ready>().await?.dns.first().context("no DNS")?);
    }
    let all: BTreeSet<IpAddr> = rig.mesh.nodes.iter().map(|node| node.public.ip()).collect();
    ensure!(all.len() == 3);
    for server in &servers {
        until("all are named", async || Ok((addresses(*server).await? == all).then_some(()))).await?;
        // The nearest zone comes first, and then the one next to it.
        let answer = ask(*server, "results.test.", RecordType::A, true).await?;
        let order: Vec<_> = answer.answers.iter().map(|record| record.data.to_string()).collect();
        ensure!(order == ["127.0.0.12", "127.0.0.11", "127.0.0.10"], "{order:?}");
        for (kind, count) in [(RecordType::NS, 3), (RecordType::SOA, 1), (RecordType::HTTPS, 1), (RecordType::AAAA, 0)]
        {
            let answer = ask(*server, "results.test.", kind, false).await?;
            ensure!(answer.answers.len() == count, "{kind}: {answer:?}");
        }
    }
    let delegation = rig.mesh.nodes[0].process.call(&["dns", "delegation"]).await?;
    ensure!(delegation.lines().count() == 6 && delegation.contains("NS ns-eu-west.results.test."), "{delegation}");

    // A challenge of an ACME authority reaches all of them.
    rig.mesh.coordinator.call(&["text", "_acme-challenge.results.test", "t0ken"]).await?;
    for server in &servers {
        until("the text is there", async || {
            let answer = ask(*server, "_acme-challenge.results.test.", RecordType::TXT, false).await?;
            Ok(answer.answers.first().is_some_and(|record| record.data.to_string() == "t0ken").then_some(()))
        })
        .await?;
    }
    ensure!(rig.mesh.coordinator.call(&["text", "_acme-challenge.results.test"]).await?.contains("1 texts"));

    // Without the coordinator, a node dies: every other server stops naming it, and goes on naming the others.
    rig.mesh.coordinator.kill().await?;
    let victim = rig.mesh.nodes[2].public.ip();
    let killed = Instant::now();
    rig.mesh.nodes[2].process.kill().await?;
    let rest: BTreeSet<_> = all.iter().copied().filter(|ip| *ip != victim).collect();
    for server in &servers[..2] {
        until("the dead are not named", async || {
            let named = addresses(*server).await?;
            ensure!(named.is_superset(&rest), "{named:?}");
            Ok((named == rest).then_some(()))
        })
        .await?;
    }
    println!("out of every answer after {} ms", killed.elapsed().as_millis());
    rig.mesh.nodes[2].process.spawn()?;
    servers[2] = *rig.mesh.nodes[2].process.ready::<Ready>().await?.dns.first().context("no DNS")?;
    for server in &servers {
        until("it is named again", async || Ok((addresses(*server).await? == all).then_some(()))).await?;
    }

    // What operators have.
    if std::env::var_os("DIFUSOR_PEERS").is_some() {
        let port = servers[0].port().to_string();
        let words = ["@127.0.0.1", "-p", &port, "+subnet=127.0.0.0/24", "+nsid", "www.results.test", "A"];
        let said = Command::new("dig").args(words).output().context("dig: install bind9-dnsutils")?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        for part in
            ["status: NOERROR", "flags: qr aa rd", "CLIENT-SUBNET: 127.0.0.0/24/24", "COOKIE: ", "(good)", "127.0.0.12"]
        {
            ensure!(said.contains(part), "no `{part}` in what dig says:\n{said}");
        }
    }
    rig.mesh.coordinator.spawn()?;
    rig.mesh.coordinator.ready::<difusor_coordinator::run::Ready>().await?;
    rig.mesh.stop().await
}

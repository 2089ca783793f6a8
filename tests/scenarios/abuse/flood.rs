//! Half-open connections by the hundred, from machines that nobody knows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use difusor_node::run::Ready;
use difusor_proto::{tls, token::Token};
use tokio::task::JoinSet;

use crate::{
    client::Client,
    rig::{Rig, status, until},
};

/// Connections at once; several times what the coordinator works on at the same time.
const GUESTS: usize = 200;

/// Opens a connection and says nothing; when it is closed, opens the next.
async fn linger(rig: &Rig, token: &Token, guests: &mut JoinSet<()>) {
    let to = rig.mesh.mesh_address;
    let config = tls::enrolling(token.authority).unwrap();
    let full = Arc::new(tokio::sync::Semaphore::new(0));
    for _ in 0..GUESTS {
        let (config, full) = (config.clone(), Arc::clone(&full));
        guests.spawn(async move {
            let mut tried = false;
            loop {
                let dialled = Client::dial_with(to, config.clone()).await;
                if !std::mem::replace(&mut tried, true) {
                    full.add_permits(1);
                }
                match dialled {
                    Ok(client) => drop(client.connection.closed().await),
                    // Turned away for now: others got there first.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
    }
    // Each has had an answer once, so the coordinator is as full as it gets.
    full.acquire_many(u32::try_from(GUESTS).unwrap()).await.unwrap().forget();
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_keep_no_node_from_its_cut() {
    let mut rig = Rig::start(1).await;
    rig.publish().await;
    let invitation = rig.mesh.client().invite(&"eu".parse().unwrap()).await.unwrap();
    let token: Token = invitation.token.parse().unwrap();
    let mut guests = JoinSet::new();
    linger(&rig, &token, &mut guests).await;

    let since = Instant::now();
    rig.publish().await;
    assert!(since.elapsed().as_secs() < 10, "a cut took {:?} under the flood", since.elapsed());

    guests.shutdown().await;
    rig.publish().await;
    rig.mesh.stop().await.unwrap();
}

/// A node that comes back while the flood goes on has to get in: else whoever floods decides who serves.
#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_keep_no_node_from_coming_back() {
    let mut rig = Rig::start(1).await;
    rig.publish().await;
    let invitation = rig.mesh.client().invite(&"eu".parse().unwrap()).await.unwrap();
    let token: Token = invitation.token.parse().unwrap();
    rig.mesh.nodes[0].process.kill().await.unwrap();
    let mut guests = JoinSet::new();
    linger(&rig, &token, &mut guests).await;

    rig.mesh.nodes[0].process.spawn().unwrap();
    rig.mesh.nodes[0].process.ready::<Ready>().await.unwrap();
    let since = Instant::now();
    until("the node is back in spite of the flood", async || {
        assert!(since.elapsed().as_secs() < 20, "the flood keeps the node out");
        status(&rig.mesh.nodes[0]).await.is_some_and(|status| status.connected)
    })
    .await;
    rig.publish().await;

    guests.shutdown().await;
    rig.publish().await;
    rig.mesh.stop().await.unwrap();
}

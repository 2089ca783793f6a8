//! A node that was told to end, while balancers and DNS still lead visitors to it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::publish::Request;
use difusor_local::Mesh;
use difusor_night::{Night, NightSpec};
use difusor_tests::{options, publish, status, until, write};
use tempfile::TempDir;

use crate::PROGRAM;

/// It says that it ends, lets visitors in, and gives them what is new: whoever comes from another node must not be led
/// back. All of it without HTTP/3, which an operator may turn off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_of_the_last_seconds_are_given_what_is_new() -> Result<()> {
    let dir = TempDir::new()?;
    let mut options = options(PROGRAM, dir.path(), 1)?;
    options.node_config = "http3 = false\nnotice = \"8 s\"".into();
    let mut mesh = Mesh::start(&options).await?;
    let night = Night::new(NightSpec { cuts: 2, ..NightSpec::tiny() })?;
    publish(&mesh, &write(&night, 0, dir.path())?, Request::default()).await?;
    let (admin, pid) = (mesh.nodes[0].admin, mesh.nodes[0].process.pid().context("the node does not run")?);
    ensure!(Command::new("kill").arg("-TERM").arg(pid.to_string()).status()?.success(), "kill");
    until("the node says that it ends", async || Ok(status(admin).await?.draining.then_some(()))).await?;
    // Waits until it is served.
    publish(&mesh, &write(&night, 1, dir.path())?, Request::default()).await?;
    let last = status(admin).await?;
    ensure!(last.draining && last.connected && last.serves.is_some_and(|cut| cut.seq == 2), "{last:?}");
    mesh.nodes[0].process.stop().await?;
    mesh.stop().await
}

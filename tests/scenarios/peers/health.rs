//! A node that looks after itself.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use difusor_proto::process::unix_us;
use difusor_tests::{status, until};

use crate::rig::{Rig, until_health};

/// A certificate that has ended is found at once, and a new one is taken up without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_sends_visitors_away() -> Result<()> {
    let rig = Rig::start(2).await?;
    let node = &rig.mesh.nodes[0];
    let (chain, key) = (node.process.dir().join("site.pem"), node.process.dir().join("site.key"));
    let good = (fs::read(&chain)?, fs::read(&key)?);
    let pair = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()])?;
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    fs::write(&key, pair.serialize_pem())?;
    fs::write(&chain, params.self_signed(&pair)?.pem())?;
    until_health(node.admin, "sick", "certificate").await?;
    rig.others_say(0, Some("sick")).await?;
    fs::write(&key, good.1)?;
    fs::write(&chain, good.0)?;
    rig.all_fit().await?;
    rig.mesh.stop().await
}

/// A process that stands still is as good as gone, and welcome when it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_stopped_is_missed() -> Result<()> {
    let rig = Rig::start(3).await?;
    let signal = |what: &str| -> Result<()> {
        let pid = rig.mesh.nodes[1].process.pid().context("it does not run")?.to_string();
        let done = std::process::Command::new("kill").args([what, &pid]).status()?;
        ensure!(done.success(), "kill {what}");
        Ok(())
    };
    signal("-STOP")?;
    rig.others_say(1, Some("gone")).await?;
    signal("-CONT")?;
    rig.all_fit().await?;
    // Clocks of one machine are the same.
    for node in &rig.mesh.nodes {
        let clock = until("it knows other clocks", async || Ok(status(node.admin).await?.clock_us)).await?;
        ensure!(clock.unsigned_abs() < 400_000, "{clock} at {}", unix_us());
    }
    rig.mesh.stop().await
}

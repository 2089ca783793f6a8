//! This system: the ingest in a process of its own, and a coordinator without nodes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use difusor_coordinator::{
    delta::Deltas,
    ingest::{self, Caps},
    publish::Request,
};
use difusor_local::{Mesh, Options, Ports};
use difusor_proto::{SigningKey, store::Store};
use serde::{Deserialize, Serialize};

use super::Took;
use crate::usage;

/// Plain bytes that a coordinator keeps for the next delta, as its configuration has it if it says nothing.
const BASE_MEMORY: u64 = 512 << 20;

/// What [`ingest`] took, as one process tells another.
#[derive(Serialize, Deserialize)]
pub(super) struct Told {
    ms: f64,
    cpu_ms: f64,
}

/// Takes a package in that lies in memory, as a coordinator does with its first one.
pub(super) fn ingest(package: &Path) -> anyhow::Result<Told> {
    let bytes = Bytes::from(std::fs::read(package)?);
    let folder = tempfile::tempdir()?;
    let (store, _) = Store::open(folder.path())?;
    let (key, _) = SigningKey::generate()?;
    let deltas = Deltas::new(store, key.verifying_key(), BASE_MEMORY);
    let me = [std::process::id()];
    let (before, began) = (usage::times(&me), Instant::now());
    let patches = deltas.listen(None);
    let ingested = ingest::ingest(&bytes, &Caps::default(), &patches)?;
    let ms = began.elapsed().as_secs_f64() * 1e3;
    let cpu_ms = (usage::times(&me) - before).cpu.as_secs_f64() * 1e3;
    anyhow::ensure!(!ingested.entries.is_empty(), "an empty package");
    Ok(Told { ms, cpu_ms })
}

/// The same in a process of its own, whose memory was not used before.
pub(super) fn apart(package: &Path) -> anyhow::Result<Took> {
    let program = std::env::current_exe()?;
    let output = Command::new(program).args(["ingest", "--one"]).arg(package).stderr(Stdio::inherit()).output()?;
    anyhow::ensure!(output.status.success(), "the ingest failed: {}", output.status);
    let Told { ms, cpu_ms } = serde_json::from_slice(&output.stdout).context("what the ingest told")?;
    Ok(Took { ms, cpu_ms: Some(cpu_ms) })
}

/// From the last byte at a fresh coordinator until the cut is on its disk.
pub(super) fn publication(package: &Path) -> anyhow::Result<Took> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let mesh = Mesh::start(&Options::new(folder.path(), 0, Ports::Free)?).await?;
        let times = || mesh.coordinator.pid().map(|pid| usage::times(&[pid]).cpu);
        let published = async {
            let accepted = mesh.client().publish(package, Request::default()).await?;
            let mut fleet = mesh.client().status().await?;
            let micros = fleet.cut(&accepted.cut).and_then(|cut| cut.durable_us).context("not durable")?;
            let cpu = times().context("the coordinator is gone")?;
            // The receiving is in it, which the time is not.
            anyhow::Ok(Took { ms: micros as f64 / 1e3, cpu_ms: Some(cpu.as_secs_f64() * 1e3) })
        };
        let published = published.await;
        mesh.stop().await?;
        published
    })
}

#[cfg(test)]
mod tests {
    use difusor_night::{Night, NightSpec};

    use super::*;

    #[test]
    fn a_package_is_taken_in() {
        let work = tempfile::tempdir().unwrap();
        let package = Night::new(NightSpec::tiny()).unwrap().write_to(work.path(), 3, false).unwrap();
        assert!(ingest(&package).unwrap().ms > 0.0);
        std::fs::write(&package, b"no zip").unwrap();
        assert!(ingest(&package).is_err());
    }
}

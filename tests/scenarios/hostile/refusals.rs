//! Every hostile package, over the API and over the command line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::publish::{Outcome, Report, Request};
use difusor_local::{Mesh, https::Protocol};
use difusor_night::{
    Night, NightSpec,
    hostile::{self, Hostile},
};
use difusor_proto::Sha256;
use difusor_tests::{command, publics, publish, refused, start, witness::Witness, write};

use crate::PROGRAM;

/// Most memory that the coordinator may have used at any time. The bombs inflate to several times as much.
const MEMORY: u64 = 512 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_refused_and_nothing_changes() -> Result<()> {
    let (mesh, dir) = start(PROGRAM, 1).await?;
    let (witness, nodes) = (Witness::new(&mesh)?, publics(&mesh));
    let night = Night::new(NightSpec::tiny())?;
    let good = write(&night, 0, dir.path())?;
    let served = publish(&mesh, &good, Request::default()).await?.cut;
    let mut connection = mesh.open(&mesh.nodes[0], Protocol::H1).await?;
    // The label is newer than what is served and never taken: it is the content alone that is refused.
    let file = dir.path().join("20240602_2003_HOSTILE.zip");
    let (mut wrong, mut kept, mut reasons) = (Vec::new(), BTreeSet::new(), BTreeMap::<String, usize>::new());
    let mut count = 0;
    for case in hostile::all() {
        count += 1;
        fs::write(&file, &case.bytes)?;
        let (status, report) = refused(&mesh, &file, Request::default()).await.context(case.name)?;
        match as_expected(&case, status, &report).and_then(|()| set_aside(&mesh, &case, &report)) {
            Ok(path) => drop(kept.replace(path)),
            Err(error) => wrong.push(format!("{}: {error:#}", case.name)),
        }
        // The command line only shows the report: one package of each reason is enough.
        let seen = reasons.entry(report.reason.clone()).or_default();
        *seen += 1;
        if *seen == 1
            && let Err(error) = on_the_command_line(&mesh, &file, &report).await
        {
            wrong.push(format!("{} on the command line: {error:#}", case.name));
        }
        let cut = connection.cut().await?.context("nothing is served")?;
        ensure!(cut == (served.seq, served.root.to_string()), "{}: cut {cut:?} is served", case.name);
    }
    ensure!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    ensure!(kept.len() == count, "{count} packages were refused and {} set aside", kept.len());
    ensure!(witness.compare(&nodes, &good).await?.cut == served, "the cut changed");

    let fleet = mesh.client().status().await?;
    ensure!((fleet.current, fleet.target) == (Some(served), None), "{fleet:?}");
    for (reason, count) in &reasons {
        let counted = fleet.refused.get(&format!("package:{reason}")).copied().unwrap_or(0);
        ensure!(counted == *count as u64 + 1, "{reason}: {counted} counted, {count} sent");
    }
    println!(
        "{count} packages, {} reasons; the coordinator used {} MB at most",
        reasons.len(),
        fleet.peak_rss / 1_000_000
    );
    ensure!(fleet.peak_rss < MEMORY, "the coordinator used {} bytes", fleet.peak_rss);

    // What is good goes on: the very label, the next number, and the package that most of them were made from.
    let next = write(&night, 1, dir.path())?;
    let accepted = publish(&mesh, &next, Request::default()).await?;
    ensure!(accepted.outcome == Outcome::Published && accepted.cut.seq == served.seq + 1, "{accepted:?}");
    ensure!(witness.compare(&nodes, &next).await?.cut == accepted.cut, "the next cut");
    let sound = dir.path().join("20240602_2009_SOUND.zip");
    fs::write(&sound, hostile::sound())?;
    let accepted = publish(&mesh, &sound, Request::default()).await?;
    ensure!(witness.compare(&nodes, &sound).await?.cut == accepted.cut, "the sound package");
    mesh.stop().await
}

fn as_expected(case: &Hostile, status: u16, report: &Report) -> Result<()> {
    ensure!(status == 422, "status {status}");
    ensure!(case.reasons.contains(&report.reason.as_str()), "{} and not {:?}", report.reason, case.reasons);
    if let Some(entry) = case.entry {
        ensure!(report.entry.as_deref() == Some(entry), "entry {:?} and not {entry}", report.entry);
    }
    if let Some(offset) = case.offset {
        ensure!(report.offset == Some(offset), "offset {:?} and not {offset}", report.offset);
    }
    ensure!(!report.message.is_empty() && !report.advice.is_empty(), "it does not say what to do: {report:?}");
    ensure!(report.bytes == case.bytes.len() as u64, "{} bytes of {}", report.bytes, case.bytes.len());
    ensure!(report.sha256 == Some(Sha256::of(&case.bytes)), "another SHA-256");
    ensure!(report.label.is_some_and(|label| label.to_string() == "20240602_2003"), "label {:?}", report.label);
    Ok(())
}

/// Checks that the package lies aside as it came, with the very report that was given.
fn set_aside(mesh: &Mesh, case: &Hostile, report: &Report) -> Result<PathBuf> {
    let kept = report.kept.clone().context("not set aside")?;
    ensure!(kept.parent() == Some(&mesh.coordinator.dir().join("refused")), "set aside at {}", kept.display());
    ensure!(fs::read(&kept)? == case.bytes, "set aside with other bytes");
    let beside: Report = serde_json::from_slice(&fs::read(kept.with_extension("json"))?)?;
    ensure!(beside == *report, "the report beside it says {beside:?}");
    Ok(kept)
}

async fn on_the_command_line(mesh: &Mesh, file: &Path, report: &Report) -> Result<()> {
    let file = file.to_str().context("a path that is no text")?;
    let said = command::run(mesh.coordinator.command(&["publish", file])).await?;
    let entry = report.entry.as_ref().map(|entry| format!("entry:  {entry}"));
    let offset = report.offset.map(|offset| format!("offset: {offset}"));
    let parts = [Some(format!("refused: {}", report.reason)), entry, offset, Some(report.advice.clone())];
    let parts: Vec<_> = parts.iter().flatten().map(String::as_str).collect();
    ensure!(said.is(65, &parts), "{parts:?}: {said:?}");
    Ok(())
}

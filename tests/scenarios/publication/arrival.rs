//! How packages come in and go out again: side-cars, labels, the archive and its exports, on the command line.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::publish::{Archived, Request};
use difusor_local::Mesh;
use difusor_night::{Night, NightSpec};
use difusor_proto::Sha256;
use difusor_tests::{
    command::{self, Said},
    publics, refused, start,
    witness::Witness,
    write,
};

use crate::PROGRAM;

async fn call(mesh: &Mesh, args: &[&str]) -> Result<Said> {
    command::run(mesh.coordinator.command(args)).await
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn side_cars_labels_and_exports() -> Result<()> {
    let (mesh, dir) = start(PROGRAM, 1).await?;
    let (witness, nodes) = (Witness::new(&mesh)?, publics(&mesh));
    let night = Night::new(NightSpec { nested: true, ..NightSpec::tiny() })?;
    let packages: Vec<_> = (0..5).map(|i| write(&night, i, dir.path())).collect::<Result<_>>()?;
    let [older, first, second, unnamed, last] = packages.as_slice() else { anyhow::bail!("five packages") };

    // The side-car as it comes, then one of another file, then none at all in it.
    let said = call(&mesh, &["publish", text(first)?]).await?;
    ensure!(said.code == 0 && said.out.contains("cut 1"), "{said:?}");
    mesh.wait_served(&mesh.client().history().await?[0].archived.cut, difusor_tests::PATIENCE).await?;
    let sidecar = second.with_added_extension("sha256");
    let right = fs::read_to_string(&sidecar)?;
    let wrong = Sha256::of(b"another package").to_string();
    fs::write(&sidecar, format!("{wrong}  {}\n", second.display()))?;
    let (status, report) = refused(&mesh, second, Request::default()).await?;
    ensure!(status == 422 && report.reason == "checksum" && report.message.contains(&wrong), "{report:?}");
    let said = call(&mesh, &["publish", text(second)?]).await?;
    ensure!(said.is(65, &["refused: checksum", "advice:", "kept:", &wrong]), "{said:?}");
    for malformed in ["", "\n", "not found", &right[1..], "<html>"] {
        fs::write(&sidecar, malformed)?;
        let said = call(&mesh, &["publish", text(second)?]).await?;
        ensure!(said.is(1, &[text(&sidecar)?, "SHA-256"]), "{malformed:?}: {said:?}");
    }
    ensure!(witness.compare(&nodes, first).await?.cut.seq == 1, "a package with a wrong side-car is served");
    fs::write(&sidecar, &right)?;
    let said = call(&mesh, &["publish", text(second)?]).await?;
    ensure!(said.code == 0 && said.out.contains("cut 2"), "{said:?}");

    // A label in the name, on the command line, or none.
    let anonymous = dir.path().join("results.zip");
    fs::copy(unnamed, &anonymous)?;
    let said = call(&mesh, &["publish", text(&anonymous)?]).await?;
    ensure!(said.is(65, &["refused: no-label", "--label", "results.zip"]), "{said:?}");
    let said = call(&mesh, &["publish", text(&anonymous)?, "--label", "20240602-2100"]).await?;
    ensure!(said.is(2, &["--label", "YYYYMMDD_HHMM"]), "{said:?}");
    let said = call(&mesh, &["publish", text(&anonymous)?, "--label", "20240602_2359"]).await?;
    ensure!(said.code == 0 && said.out.contains("20240602_2359"), "{said:?}");
    let history = mesh.client().history().await?;
    mesh.wait_served(&history.last().context("no history")?.archived.cut, difusor_tests::PATIENCE).await?;
    ensure!(witness.compare(&nodes, &anonymous).await?.cut.seq == 3, "the labelled package is not served");
    // The label beats the name, and the same words say what happened to the others.
    let said = call(&mesh, &["publish", text(last)?, "--label", "20240603_0000"]).await?;
    ensure!(said.code == 0 && said.out.contains("cut 4 (20240603_0000)"), "{said:?}");
    let said = call(&mesh, &["publish", text(last)?]).await?;
    ensure!(said.code == 0 && said.out.contains("as cut 4"), "{said:?}");
    let said = call(&mesh, &["publish", text(older)?]).await?;
    ensure!(said.code == 0 && said.out.contains("cut 5") && said.out.contains("--force"), "{said:?}");

    exports(&mesh, dir.path(), &[first, second, &anonymous, last, older]).await?;
    mesh.stop().await
}

/// Every package that was accepted comes out again as it went in, and the history names it.
async fn exports(mesh: &Mesh, dir: &Path, packages: &[&std::path::PathBuf]) -> Result<()> {
    let listed = call(mesh, &["history"]).await?;
    let json: Vec<Archived> = serde_json::from_str(&call(mesh, &["history", "--json"]).await?.out)?;
    ensure!(listed.code == 0 && json.len() == packages.len(), "{listed:?}");
    let to = dir.join("exported");
    for (package, archived) in packages.iter().zip(&json) {
        let bytes = fs::read(package)?;
        let sha256 = Sha256::of(&bytes);
        ensure!(archived.package.sha256 == sha256 && archived.package.size == bytes.len() as u64, "{archived:?}");
        let line = listed.out.lines().find(|line| line.contains(&sha256.to_string())).context("not in the history")?;
        ensure!(line.contains(&archived.cut.label.to_string()), "{line}");
        for name in [archived.cut.seq.to_string(), archived.cut.label.to_string()] {
            let _ = fs::remove_file(&to);
            let said = call(mesh, &["export", &name, "-o", text(&to)?]).await?;
            ensure!(said.code == 0 && fs::read(&to)? == bytes, "export {name}: {said:?}");
        }
    }
    let nowhere = dir.join("nowhere");
    for unknown in ["99", "20200101_0000", "latest", "../1"] {
        let said = call(mesh, &["export", unknown, "-o", text(&nowhere)?]).await?;
        ensure!(said.is(1, &[unknown, "not in the archive", "history"]), "export {unknown}: {said:?}");
        ensure!(!nowhere.exists(), "an unknown cut left a file");
        let said = call(mesh, &["rollback", unknown]).await?;
        ensure!(said.is(1, &[unknown, "not in the archive"]), "rollback {unknown}: {said:?}");
    }
    Ok(())
}

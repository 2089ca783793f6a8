//! What is published, what is only kept, and what is refused: by the bytes of a package and by its label.

use anyhow::{Result, ensure};
use difusor_coordinator::publish::{Outcome, Request};
use difusor_night::{Night, NightSpec};
use difusor_tests::{publics, publish, refused, restart_coordinator, start, witness::Witness, write};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_bytes_and_the_way_back() -> Result<()> {
    let (mut mesh, dir) = start(PROGRAM, 2).await?;
    let (witness, nodes) = (Witness::new(&mesh)?, publics(&mesh));
    let night = Night::new(NightSpec::tiny())?;
    let again = Night::new(NightSpec { seed: 7, ..NightSpec::tiny() })?;
    let packages: Vec<_> = (0..5).map(|i| write(&night, i, &dir.path().join("packages"))).collect::<Result<_>>()?;
    let [oldest, older, first, newest, next] = packages.as_slice() else { anyhow::bail!("five packages") };
    let corrected = write(&again, 2, &dir.path().join("again"))?;
    let force = || Request { force: true, ..Request::default() };
    let reissue = || Request { reissue: true, ..Request::default() };

    // The same bytes are known: nothing is numbered, nothing flips.
    let one = publish(&mesh, first, Request::default()).await?;
    ensure!(one.outcome == Outcome::Published && one.cut.seq == 1, "{one:?}");
    for request in [Request::default(), reissue(), force()] {
        let same = publish(&mesh, first, request).await?;
        ensure!(same.outcome == Outcome::Unchanged && same.cut == one.cut, "{same:?}");
    }

    // Other bytes under a label that is taken need the operator's word.
    let (status, report) = refused(&mesh, &corrected, Request::default()).await?;
    ensure!(status == 422 && report.reason == "label-taken" && report.advice.contains("--reissue"), "{report:?}");
    ensure!(witness.compare(&nodes, first).await?.cut == one.cut, "a refused package is served");
    let two = publish(&mesh, &corrected, reissue()).await?;
    ensure!(two.outcome == Outcome::Published && two.cut.seq == 2 && two.cut.label == one.cut.label, "{two:?}");
    ensure!(witness.compare(&nodes, &corrected).await?.cut == two.cut, "the re-issue is not served");

    // What is older than what is served is kept, and served only if forced.
    let three = publish(&mesh, newest, Request::default()).await?;
    let four = publish(&mesh, older, Request::default()).await?;
    ensure!(three.outcome == Outcome::Published && four.outcome == Outcome::Archived, "{three:?}, {four:?}");
    ensure!(four.cut.seq == 4, "{four:?}");
    ensure!(witness.compare(&nodes, newest).await?.cut == three.cut, "an older cut is served without --force");
    let five = publish(&mesh, oldest, force()).await?;
    ensure!(five.outcome == Outcome::Published, "{five:?}");
    ensure!(witness.compare(&nodes, oldest).await?.cut == five.cut, "a forced cut is not served");
    // Each flip so far was one that is meant here: 1, 2, 3 and 5.
    ensure!(mesh.client().status().await?.serial == 4, "{:?}", mesh.client().status().await?);

    // By number or by label: of a label the newest is meant.
    for (name, cut, package) in
        [("3", three.cut, newest), (&two.cut.label.to_string(), two.cut, &corrected), ("1", one.cut, first)]
    {
        let ordered = mesh.client().rollback(name).await?;
        ensure!(ordered == cut, "rollback {name}: {ordered:?}");
        mesh.wait_served(&cut, difusor_tests::PATIENCE).await?;
        ensure!(witness.compare(&nodes, package).await?.cut == cut, "rollback {name}");
    }

    // A coordinator that was ended and started again knows the way back, the archive and the numbers; a package that
    // comes before any node is back in touch is published when they are.
    let before = (mesh.client().history().await?, mesh.client().status().await?);
    restart_coordinator(&mut mesh).await?;
    let after = (mesh.client().history().await?, mesh.client().status().await?);
    ensure!(after.0 == before.0, "the archive changed: {:?}", after.0);
    ensure!((after.1.current, after.1.serial) == (Some(one.cut), before.1.serial), "{:?}", after.1);
    let six = publish(&mesh, next, Request::default()).await?;
    ensure!(six.outcome == Outcome::Published && six.cut.seq == 6, "{six:?}");
    ensure!(witness.compare(&nodes, next).await?.cut == six.cut, "the way forward after a rollback");
    ensure!(mesh.client().status().await?.serial == before.1.serial + 1, "a restart flips something");
    mesh.stop().await
}

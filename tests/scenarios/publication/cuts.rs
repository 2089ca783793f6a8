//! Every file of every cut, from every node, in every form.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use difusor_coordinator::publish::{Outcome, Request};
use difusor_night::{Night, NightSpec};
use difusor_tests::{publics, publish, start, witness::Witness, write};

use crate::PROGRAM;

/// A plain night, and right behind it a nested one: then the tables leave the site, and its download changes its name
/// at each cut, so that there are paths to disappear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_file_of_every_cut() -> Result<()> {
    let (mesh, dir) = start(PROGRAM, 3).await?;
    let (witness, nodes) = (Witness::new(&mesh)?, publics(&mesh));
    let plain = Night::new(NightSpec::tiny())?;
    let nested = Night::new(NightSpec { nested: true, start: "20240602_2330".into(), ..NightSpec::tiny() })?;
    let (mut before, mut vanished, mut gzipped) = (None::<(_, _, PathBuf)>, 0, 0);
    for (seq, (night, i)) in [(&plain, 0), (&plain, 2), (&plain, 5), (&nested, 0), (&nested, 3)].into_iter().enumerate()
    {
        let file = write(night, i, &dir.path().join("packages"))?;
        let accepted = publish(&mesh, &file, Request::default()).await?;
        ensure!(accepted.outcome == Outcome::Published && accepted.cut.seq == seq as u64 + 1, "{accepted:?}");
        let compared = witness.compare(&nodes, &file).await?;
        ensure!(compared.cut == accepted.cut, "{:?} is served and not {:?}", compared.cut, accepted.cut);
        let now = (compared.files.clone(), accepted.cut, file);
        if let Some((files, cut, file)) = before.replace(now) {
            let old = files.difference(&compared.files);
            witness.kept(&nodes, (&cut, &file), old.clone()).await?;
            vanished += old.count();
        }
        gzipped += compared.gzipped;
        println!("cut {}: {} files, {} bytes compared", accepted.cut.seq, compared.files.len(), compared.bytes);
    }
    ensure!(vanished > 0 && gzipped > 0, "{vanished} paths vanished, {gzipped} gzip forms: the night is too small");
    mesh.stop().await
}

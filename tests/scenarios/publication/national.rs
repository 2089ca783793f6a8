//! Twelve cuts from the middle of a national night, when `DIFUSOR_NATIONAL=1`: some 40 MB zipped and 200 MB plain each.

use std::{env, fs, time::Instant};

use anyhow::{Result, ensure};
use difusor_coordinator::publish::Request;
use difusor_local::report::peak_rss;
use difusor_night::{Night, NightSpec};
use difusor_tests::{publics, publish, start_with, witness::Witness, write};

use crate::PROGRAM;

/// When most sheets arrive, so that the tables change the most.
const WINDOW: std::ops::Range<usize> = 44..56;

/// Of these, the tables are zips of zips.
const NESTED: [usize; 2] = [49, 50];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_national_night() -> Result<()> {
    if env::var_os("DIFUSOR_NATIONAL").is_none_or(|value| value != "1") {
        println!("skipped: DIFUSOR_NATIONAL is not 1");
        return Ok(());
    }
    let plain = Night::new(NightSpec::national())?;
    let nested = Night::new(NightSpec { nested: true, ..NightSpec::national() })?;
    // As over links that are slower than taking things apart; on one machine nobody would.
    let (mesh, dir) = start_with(PROGRAM, 3, "deltas = \"apart\"").await?;
    let first = mesh.nodes[0].zone.as_str().parse()?;
    let (witness, nodes) = (Witness::new(&mesh)?, publics(&mesh));
    for i in WINDOW {
        let night = if NESTED.contains(&i) { &nested } else { &plain };
        let began = Instant::now();
        let file = write(night, i, dir.path())?;
        let made = began.elapsed();
        let accepted = publish(&mesh, &file, Request::default()).await?;
        let served = began.elapsed() - made;
        let compared = witness.compare(&nodes, &file).await?;
        ensure!(compared.cut == accepted.cut, "{:?} is served and not {:?}", compared.cut, accepted.cut);
        let came = mesh.client().status().await?.progress(&accepted.cut, &first).cloned().unwrap_or_default();
        println!(
            "cut {} ({}), {} of {} kB pushed to a node: made in {made:.1?}, served in {served:.1?}; {} files, {} MB compared in {:.1?}; peak MB {:?}",
            accepted.cut.seq,
            accepted.cut.label,
            came.sent_bytes / 1000,
            fs::metadata(&file)?.len() / 1000,
            compared.files.len(),
            compared.bytes / 1_000_000,
            began.elapsed() - made - served,
            mesh.nodes
                .iter()
                .map(|node| &node.process)
                .chain([&mesh.coordinator])
                .map(|process| peak_rss(process.pid()) / 1_000_000)
                .collect::<Vec<_>>(),
        );
        fs::remove_file(file)?;
    }
    mesh.stop().await
}

//! Packages of real elections, when there are any: `DIFUSOR_REAL_PACKAGES` names a folder with zips, and with the folder
//! `federal-2018` of cuts as loose files.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::publish::Request;
use difusor_proto::CutLabel;
use difusor_tests::{package::pack, publics, publish, start, witness::Witness};
use tempfile::TempDir;

use crate::PROGRAM;

/// A cut as loose files lies in a folder of this one.
const LOOSE: &str = "federal-2018";

fn folder() -> Option<PathBuf> {
    let folder = env::var_os("DIFUSOR_REAL_PACKAGES").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: DIFUSOR_REAL_PACKAGES is not set");
    }
    folder
}

/// Every file below `folder`, in the order of their paths.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { found.extend(walk(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}

fn label(path: &Path) -> Option<CutLabel> {
    CutLabel::in_file_name(path.file_name()?.to_str()?)
}

/// Publishes packages in the order of their labels through a new mesh, and compares each with all nodes.
async fn through_a_mesh(mut packages: Vec<PathBuf>) -> Result<()> {
    packages.sort_by_key(|package| label(package));
    let (mesh, _dir) = start(PROGRAM, 3).await?;
    let (witness, nodes) = (Witness::new(&mesh)?, publics(&mesh));
    for package in &packages {
        let name = package.display();
        let accepted = publish(&mesh, package, Request::default()).await.with_context(|| name.to_string())?;
        let compared = witness.compare(&nodes, package).await.with_context(|| name.to_string())?;
        ensure!(compared.cut == accepted.cut && Some(accepted.cut.label) == label(package), "{name}: {compared:?}");
        println!("{}: {} files, {} bytes compared", accepted.cut.label, compared.files.len(), compared.bytes);
    }
    mesh.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_packages() -> Result<()> {
    let Some(folder) = folder() else { return Ok(()) };
    let packages: Vec<_> =
        walk(&folder)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "zip")).collect();
    ensure!(!packages.is_empty(), "no zip below {}", folder.display());
    through_a_mesh(packages).await
}

/// Real JSON of a real cadence; zipped here, stored and at every level in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_cuts_as_loose_files() -> Result<()> {
    let Some(folder) = folder().map(|folder| folder.join(LOOSE)).filter(|folder| folder.is_dir()) else {
        println!("skipped: no folder {LOOSE}");
        return Ok(());
    };
    let dir = TempDir::new()?;
    let mut packages = Vec::new();
    for (i, cut) in (0_i64..).zip(fs::read_dir(&folder)?) {
        let cut = cut?.path();
        let label = label(&cut).with_context(|| cut.display().to_string())?;
        let mut files = Vec::new();
        for (j, file) in (i..).zip(walk(&cut)?) {
            let name = file.strip_prefix(&cut)?.to_str().context("a name that is no text")?.to_owned();
            let level = Some(j % 10).filter(|level| *level > 0);
            files.push((name, fs::read(&file)?, level));
        }
        let package = dir.path().join(format!("{label}_PREP.zip"));
        pack(&package, files)?;
        packages.push(package);
    }
    ensure!(!packages.is_empty(), "no cut in {}", folder.display());
    through_a_mesh(packages).await
}

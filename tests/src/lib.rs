//! What every scenario starts from: a mesh of real processes in a folder of its own, on free ports.

use std::path::Path;

use anyhow::Result;
use difusor_local::{Mesh, Options, Ports};
use tempfile::TempDir;

/// Options of a mesh of `nodes` nodes in `dir`. `program` is `env!("CARGO_BIN_EXE_difusor-tests")`.
///
/// # Errors
/// If a zone cannot be named.
pub fn options(program: &str, dir: &Path, nodes: usize) -> Result<Options> {
    let mut options = Options::new(dir.join("mesh"), nodes, Ports::Free)?;
    options.program = program.into();
    Ok(options)
}

/// Starts a mesh of `nodes` nodes in a new folder, which goes when the second value is dropped.
///
/// # Errors
/// If a process does not start; with the end of its log.
pub async fn start(program: &str, nodes: usize) -> Result<(Mesh, TempDir)> {
    let dir = TempDir::new()?;
    let mesh = Mesh::start(&options(program, dir.path(), nodes)?).await?;
    Ok((mesh, dir))
}

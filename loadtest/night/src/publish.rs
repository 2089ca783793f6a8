//! Puts a package into a folder so that a watcher never sees half of one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::digits::push_hex;

/// Writes `bytes` as `dir/name`, the side-car first: who sees the package can check it.
pub(crate) fn write(dir: &Path, name: &str, bytes: &[u8], sidecar: bool) -> io::Result<PathBuf> {
    if sidecar {
        let mut line = Vec::new();
        push_hex(&mut line, &Sha256::digest(bytes));
        line.extend_from_slice(b"  ");
        line.extend_from_slice(name.as_bytes());
        line.push(b'\n');
        place(dir, &format!("{name}.sha256"), &line)?;
    }
    place(dir, name, bytes)
}

fn place(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let (partial, target) = (dir.join(format!("{name}.tmp")), dir.join(name));
    let placed = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, &target));
    if placed.is_err() {
        // The first error is the one to report; a leftover is only untidy.
        let _ = fs::remove_file(&partial);
    }
    placed.map(|()| target)
}

//! Small files that are replaced whole: marks, states, keys.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever may read the folder.
    Normal,
    /// The owner alone: keys and tokens.
    Secret,
}

/// Replaces `path` by `bytes`. A reader, or a power cut, sees the old file or the new one, never a part.
///
/// # Errors
/// What the disk gives; the old file then stands.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let tmp = path.with_added_extension("tmp");
    let mode = match access {
        Access::Normal => 0o644,
        Access::Secret => 0o600,
    };
    match fs::remove_file(&tmp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&tmp)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&tmp, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn replaces_whole_and_keeps_secrets() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("deep/er/mark");
        replace(&path, b"one", Access::Normal).unwrap();
        fs::write(path.with_added_extension("tmp"), "left by a crash").unwrap();
        replace(&path, b"two", Access::Secret).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}

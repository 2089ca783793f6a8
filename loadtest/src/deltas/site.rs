//! A package as the folder that its peers work on: extracted once, its files named by their digests.
//!
//! Archives inside the package stay the files they are. Files that are the same in both packages have the same time, and
//! those that changed another, so that a peer that looks at times first is never wrong and never in doubt.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use difusor_proto::Digest;
use zip::ZipArchive;

/// When the files of a base were written, and how much later those were that changed.
const WRITTEN: Duration = Duration::from_secs(1_700_000_000);
const LATER: Duration = Duration::from_secs(300);

/// An extracted package.
#[derive(Debug)]
pub(super) struct Site {
    /// Where its files lie.
    pub(super) root: PathBuf,
    /// BLAKE3 of each file, by its path below the root.
    pub(super) files: BTreeMap<String, Digest>,
}

/// A file that a holder of the base lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// Its path in the target.
    pub(super) path: String,
    /// Its predecessor's in the base: that of the same path, or the only one that is gone and has the same name but for
    /// the digits.
    pub(super) before: Option<String>,
}

impl Site {
    /// Extracts a package below `root`, which must not exist; `base` is what it will be compared with.
    pub(super) fn extract(package: &Path, root: &Path, base: Option<&Self>) -> anyhow::Result<Self> {
        let file = File::open(package).with_context(|| format!("opening {}", package.display()))?;
        let mut zip = ZipArchive::new(BufReader::new(file)).with_context(|| package.display().to_string())?;
        fs::create_dir_all(root)?;
        let (mut files, mut folders) = (BTreeMap::new(), HashSet::new());
        for i in 0..zip.len() {
            let mut entry = zip.by_index(i)?;
            if entry.is_dir() {
                continue;
            }
            let path = entry.name()?.into_owned();
            let enclosed = entry.enclosed_name().with_context(|| format!("`{path}` leads out of the package"))?;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).with_context(|| path.clone())?;
            let to = root.join(enclosed);
            if let Some(folder) = to.parent().filter(|folder| folders.insert(folder.to_path_buf())) {
                fs::create_dir_all(folder)?;
            }
            fs::write(&to, &bytes)?;
            let digest = Digest::of_parallel(&bytes);
            let is_new = base.is_some_and(|base| base.files.get(&path) != Some(&digest));
            let time = SystemTime::UNIX_EPOCH + WRITTEN + if is_new { LATER } else { Duration::ZERO };
            File::options().write(true).open(&to)?.set_modified(time)?;
            files.insert(path, digest);
        }
        Ok(Self { root: root.to_owned(), files })
    }

    /// Where a file lies.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// What a holder of `base` lacks. Bytes that it has under another name are not lacking.
    pub(super) fn changes(&self, base: &Self) -> Vec<Change> {
        let held: HashSet<&Digest> = base.files.values().collect();
        let mut gone: HashMap<String, Option<&String>> = HashMap::new();
        for path in base.files.keys().filter(|path| !self.files.contains_key(*path)) {
            gone.entry(without_digits(path)).and_modify(|only| *only = None).or_insert(Some(path));
        }
        let lacking = self.files.iter().filter(|(_, digest)| !held.contains(digest));
        let change = lacking.map(|(path, _)| {
            let same = base.files.get_key_value(path).map(|(path, _)| path);
            let before = same.or_else(|| gone.get(&without_digits(path)).copied().flatten());
            Change { path: path.clone(), before: before.cloned() }
        });
        change.collect()
    }

    /// Fails unless the files below `root` are those of this site, and no others.
    pub(super) fn compare(&self, root: &Path) -> anyhow::Result<()> {
        let mut found = 0;
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
                let expected = self.files.get(&name).with_context(|| format!("`{name}` is in no package"))?;
                anyhow::ensure!(Digest::of_parallel(&fs::read(&path)?) == *expected, "`{name}` has other bytes");
                found += 1;
            }
        }
        anyhow::ensure!(found == self.files.len(), "{found} files of {}", self.files.len());
        Ok(())
    }
}

/// A path with each run of digits as one.
fn without_digits(path: &str) -> String {
    let mut key = String::with_capacity(path.len());
    for char in path.chars() {
        match char {
            '0'..='9' if key.ends_with('0') => {}
            '0'..='9' => key.push('0'),
            other => key.push(other),
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use difusor_night::{Night, NightSpec};

    use super::*;

    fn site(files: &[(&str, &[u8])]) -> Site {
        let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), Digest::of(bytes)));
        Site { root: PathBuf::new(), files: files.collect() }
    }

    #[test]
    fn what_is_lacking_and_from_what_it_comes() {
        let base = site(&[("a", b"1"), ("b", b"2"), ("x_20240602_2000.zip", b"3"), ("y1.csv", b"4"), ("y2.csv", b"5")]);
        let target =
            site(&[("a", b"1"), ("b", b"22"), ("moved", b"2"), ("x_20240602_2005.zip", b"6"), ("y3.csv", b"7")]);
        let changes = target.changes(&base);
        let changes: Vec<_> = changes.iter().map(|one| (one.path.as_str(), one.before.as_deref())).collect();
        let expected = [("b", Some("b")), ("x_20240602_2005.zip", Some("x_20240602_2000.zip")), ("y3.csv", None)];
        assert_eq!(changes, expected);
    }

    #[test]
    fn folders_are_compared_with_packages() {
        let work = tempfile::tempdir().unwrap();
        let night = Night::new(NightSpec { nested: true, ..NightSpec::tiny() }).unwrap();
        let packages = [2, 3].map(|i| night.write_to(work.path(), i, false).unwrap());
        let base = Site::extract(&packages[0], &work.path().join("base"), None).unwrap();
        let target = Site::extract(&packages[1], &work.path().join("target"), Some(&base)).unwrap();
        assert_eq!(target.files.len(), night.entries(3).len());
        target.compare(&target.root).unwrap();
        assert!(target.compare(&base.root).is_err());
        let time = |site: &Site, path: &str| fs::metadata(site.path(path)).unwrap().modified().unwrap();
        let changes = target.changes(&base);
        assert!(!changes.is_empty() && changes.len() < target.files.len());
        for path in target.files.keys().filter(|path| base.files.contains_key(*path)) {
            let is_changed = changes.iter().any(|change| change.path == *path);
            assert_eq!(time(&base, path) != time(&target, path), is_changed, "{path}");
        }
        fs::write(target.path("more"), "").unwrap();
        assert!(target.compare(&target.root).is_err());
    }
}

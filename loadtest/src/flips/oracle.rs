//! What every address has to give while each cut is the current one: made from the packages, and from nothing that a
//! node says.
//!
//! Cuts are numbered from 1 in the order in which they are published. An address that the current cut does not have
//! leads to the newest of the last [`KEPT`] cuts that has it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File as Disk,
    io::Read as _,
    ops::RangeInclusive,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::Context as _;
use zip::ZipArchive;

/// Cuts that stay addressable, the current one included: what a node does unless it is told otherwise.
pub(super) const KEPT: u64 = 12;

/// A file above this is a download: asked for less often.
const LARGE: u64 = 64 << 10;

/// The page that the address of the site stands for.
const INDEX: &str = "index.html";

/// The plain bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    pub(super) digest: blake3::Hash,
    pub(super) len: u64,
}

impl File {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { digest: blake3::hash(bytes), len: bytes.len() as u64 }
    }
}

/// The files of a cut by name; the site's own address is the empty name.
#[derive(Debug)]
struct Cut {
    label: String,
    files: HashMap<String, File>,
}

/// All cuts of the night.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    cuts: Vec<Cut>,
}

/// Names worth asking for.
#[derive(Debug, Default)]
pub(super) struct Menu {
    /// In every cut, small.
    pub(super) small: Vec<String>,
    /// In every cut, large.
    pub(super) large: Vec<String>,
    /// In one cut alone, by its number.
    pub(super) passing: BTreeMap<u64, String>,
}

impl Oracle {
    /// Adds the next cut, and returns its number.
    pub(super) fn add<'a>(&mut self, label: &str, files: impl IntoIterator<Item = (&'a str, File)>) -> u64 {
        let mut files: HashMap<String, File> = files.into_iter().map(|(name, file)| (name.to_owned(), file)).collect();
        if let Some(index) = files.get(INDEX).copied() {
            files.insert(String::new(), index);
        }
        self.cuts.push(Cut { label: label.to_owned(), files });
        self.cuts.len() as u64
    }

    /// Adds the cut of a package, and returns its number.
    ///
    /// # Errors
    /// If it is no zip.
    pub(super) fn read(&mut self, label: &str, package: &Path) -> anyhow::Result<u64> {
        let disk = Disk::open(package).with_context(|| format!("opening {}", package.display()))?;
        let mut archive = ZipArchive::new(disk).with_context(|| format!("in {}", package.display()))?;
        let names = archive.file_names().map(|name| Ok(name?.into_owned())).collect::<anyhow::Result<Vec<_>>>()?;
        let mut files = Vec::new();
        for name in names.iter().filter(|name| !name.ends_with('/')) {
            let mut bytes = Vec::new();
            archive.by_name(name)?.read_to_end(&mut bytes).with_context(|| name.clone())?;
            files.push((name.as_str(), File::of(&bytes)));
        }
        Ok(self.add(label, files))
    }

    fn cut(&self, seq: u64) -> Option<&Cut> {
        self.cuts.get(usize::try_from(seq.checked_sub(1)?).ok()?)
    }

    /// The cut that `LABEL/NUMBER` names.
    pub(super) fn named(&self, name: &str) -> Option<u64> {
        let (label, seq) = name.split_once('/')?;
        let seq = seq.parse().ok()?;
        (self.cut(seq)?.label == label).then_some(seq)
    }

    /// What a cut has under this name.
    pub(super) fn file(&self, seq: u64, name: &str) -> Option<File> {
        self.cut(seq)?.files.get(name).copied()
    }

    /// The cut whose file this name leads to while `current` is served; `None` if it leads nowhere.
    pub(super) fn leads_to(&self, name: &str, current: u64) -> Option<u64> {
        let oldest = (current + 1).saturating_sub(KEPT).max(1);
        (oldest..=current).rev().find(|seq| self.file(*seq, name).is_some())
    }

    /// A cut that has these bytes under this name.
    pub(super) fn holder(&self, name: &str, digest: blake3::Hash) -> Option<u64> {
        (1..=self.cuts.len() as u64).find(|seq| self.file(*seq, name).is_some_and(|file| file.digest == digest))
    }

    /// What to ask for.
    pub(super) fn menu(&self) -> Menu {
        let mut menu = Menu::default();
        let mut seen: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
        for (seq, cut) in (1..).zip(&self.cuts) {
            for name in cut.files.keys() {
                seen.entry(name).or_insert((0, seq)).0 += 1;
            }
        }
        let is_large = |name: &str| self.file(1, name).is_some_and(|file| file.len > LARGE);
        for (name, (times, first)) in seen {
            if times == self.cuts.len() {
                let list = if is_large(name) { &mut menu.large } else { &mut menu.small };
                list.push(name.to_owned());
            } else if times == 1 {
                menu.passing.insert(first, name.to_owned());
            }
        }
        menu
    }

    /// Fails if two cuts could not be told apart, or something that is to be checked is not in them.
    pub(super) fn check(&self, menu: &Menu) -> anyhow::Result<()> {
        let labels: BTreeSet<_> = self.cuts.iter().map(|cut| &cut.label).collect();
        anyhow::ensure!(labels.len() == self.cuts.len(), "two packages have the same label");
        anyhow::ensure!(menu.passing.len() == self.cuts.len(), "a package has no file of a name of its own");
        let changes =
            |name: &String| (2..=self.cuts.len() as u64).all(|seq| self.file(seq, name) != self.file(1, name));
        for (what, list) in [("small", &menu.small), ("large", &menu.large)] {
            anyhow::ensure!(list.iter().any(changes), "no {what} file changes with the cuts");
        }
        Ok(())
    }
}

/// How far publication is. Both numbers only grow.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    submitted: AtomicU64,
    confirmed: AtomicU64,
}

impl Timeline {
    /// A package is about to be handed over: from now on, its cut may be served.
    pub(super) fn submit(&self, seq: u64) {
        self.submitted.fetch_max(seq, Ordering::SeqCst);
    }

    /// The coordinator says that the node serves a cut: from now on, no older one may be.
    pub(super) fn confirm(&self, seq: u64) {
        self.confirmed.fetch_max(seq, Ordering::SeqCst);
    }

    /// The oldest and the newest cut that may be served now.
    pub(super) fn now(&self) -> RangeInclusive<u64> {
        self.confirmed()..=self.submitted()
    }

    pub(super) fn submitted(&self) -> u64 {
        self.submitted.load(Ordering::SeqCst)
    }

    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    /// `count` cuts with a page that stays, data that changes, and a file of each one's own.
    fn night(count: u64) -> Oracle {
        let mut oracle = Oracle::default();
        for seq in 1..=count {
            let own = format!("{seq}.zip");
            let data = vec![b'x'; 70_000 + usize::try_from(seq).unwrap()];
            let small = File::of(own.as_bytes());
            let files =
                [("index.html", File::of(b"page")), ("a.json", small), ("b.json", File::of(&data)), (&own, small)];
            assert_eq!(oracle.add(&format!("label{seq}"), files), seq);
        }
        oracle
    }

    #[test]
    fn names_lead_to_the_newest_cut_that_has_them() {
        let oracle = night(20);
        assert_eq!(oracle.leads_to("a.json", 15), Some(15));
        assert_eq!(oracle.leads_to("15.zip", 15), Some(15));
        assert_eq!(oracle.leads_to("16.zip", 15), None, "not yet");
        assert_eq!(oracle.leads_to("4.zip", 15), Some(4), "the last of twelve");
        assert_eq!(oracle.leads_to("3.zip", 15), None, "no longer");
        assert_eq!(oracle.leads_to("1.zip", 2), Some(1));
        assert_eq!(oracle.leads_to("none", 2), None);
        assert_eq!(oracle.file(7, ""), Some(File::of(b"page")), "the page is at the site's address");
        assert_eq!((oracle.file(0, "a.json"), oracle.file(21, "a.json")), (None, None));
        assert_eq!(oracle.holder("a.json", File::of(b"9.zip").digest), Some(9));
    }

    #[test]
    fn cuts_are_known_by_label_and_number() {
        let oracle = night(3);
        assert_eq!(oracle.named("label2/2"), Some(2));
        for wrong in ["label2/3", "label2", "2", "label4/4", "/0", ""] {
            assert_eq!(oracle.named(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_menu_sorts_names() {
        let oracle = night(3);
        let menu = oracle.menu();
        assert_eq!(menu.small, ["", "a.json", "index.html"]);
        assert_eq!(menu.large, ["b.json"]);
        assert_eq!(
            menu.passing.into_iter().map(|(seq, name)| format!("{seq}:{name}")).collect::<Vec<_>>(),
            ["1:1.zip", "2:2.zip", "3:3.zip"]
        );
        assert!(oracle.check(&oracle.menu()).is_ok());
    }

    #[test]
    fn a_night_that_shows_nothing_is_refused() {
        let mut oracle = night(2);
        oracle.add("label2", [("b.json", File::of(b""))]);
        assert!(oracle.check(&oracle.menu()).is_err());
        let mut still = Oracle::default();
        for label in ["a", "b"] {
            still.add(label, [("x", File::of(b"x")), (label, File::of(b""))]);
        }
        assert!(still.check(&still.menu()).is_err());
    }

    #[test]
    fn packages_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.zip");
        let mut zip = ZipWriter::new(Disk::create(&path).unwrap());
        zip.start_file("a/ñ.csv", SimpleFileOptions::default()).unwrap();
        zip.write_all(b"1;2").unwrap();
        zip.finish().unwrap();
        let mut oracle = Oracle::default();
        assert_eq!(oracle.read("label", &path).unwrap(), 1);
        assert_eq!(oracle.file(1, "a/ñ.csv"), Some(File::of(b"1;2")));
        std::fs::write(&path, b"no zip").unwrap();
        assert!(oracle.read("label", &path).is_err());
    }

    #[test]
    fn time_goes_forward() {
        let timeline = Timeline::default();
        timeline.submit(3);
        timeline.confirm(2);
        timeline.confirm(1);
        assert_eq!(timeline.now(), 2..=3);
    }
}

//! The rows of the table: pairs of packages, made when their turn comes.
//!
//! Generated pairs are from the beginning, the middle and the end of a night, with the tables plain or in a zip of zips,
//! and one whose second package has the rows of its tables in another order. Real ones are consecutive by their labels.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use difusor_night::{Night, NightSpec};
use difusor_proto::CutLabel;
use serde::{Deserialize, Serialize};
use zip::{ZipWriter, write::SimpleFileOptions};

/// Where in a night of 101 cuts a pair begins: when little has come, when the most comes, when all has.
const MOMENTS: [(&str, usize); 3] = [("early", 5), ("peak", 50), ("late", 95)];
const CUTS: usize = 101;

/// What kind of packages a pair has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// The tables are files of the site.
    Plain,
    /// The tables are in a zip of zips.
    Nested,
    /// The tables are files whose rows are in another order.
    Shuffled,
    /// From a real election.
    Real,
}

/// A row of the table.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) kind: Kind,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    /// Two specs of one night, and a cut of each.
    Made(Box<(NightSpec, usize, NightSpec, usize)>),
    /// Packages, or folders of loose files.
    Found(PathBuf, PathBuf),
}

/// The generated rows.
pub(super) fn made(spec: &NightSpec) -> Vec<Pair> {
    let spec = NightSpec { cuts: CUTS, ..spec.clone() };
    let pair = |name: &str, kind, base: &NightSpec, target: &NightSpec, cut: usize| {
        let source = Source::Made(Box::new((base.clone(), cut, target.clone(), cut + 1)));
        let name = format!("{name}, cuts {cut} to {}", cut + 1);
        Pair { name, kind, source }
    };
    let nested = NightSpec { nested: true, ..spec.clone() };
    let shuffled = NightSpec { shuffled: true, ..spec.clone() };
    let mut pairs = Vec::new();
    for (moment, cut) in MOMENTS {
        pairs.push(pair(&format!("plain, {moment}"), Kind::Plain, &spec, &spec, cut));
    }
    for (moment, cut) in MOMENTS {
        pairs.push(pair(&format!("nested, {moment}"), Kind::Nested, &nested, &nested, cut));
    }
    pairs.push(pair("rows shuffled", Kind::Shuffled, &spec, &shuffled, CUTS / 2));
    pairs
}

/// Consecutive packages of each folder in `folder`: zips, or folders of loose files whose names are labels.
pub(super) fn real(folder: &Path) -> anyhow::Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for group in listed(folder)?.into_values().filter(|path| path.is_dir()) {
        let name = group.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut packages = BTreeMap::new();
        for (file, path) in listed(&group)? {
            if let Some(label) = CutLabel::in_file_name(&file).filter(|_| path.is_dir() || file.ends_with(".zip")) {
                packages.insert(label, path);
            }
        }
        let packages: Vec<_> = packages.into_iter().collect();
        for pair in packages.windows(2) {
            if let [(_, base), (label, target)] = pair {
                let source = Source::Found(base.clone(), target.clone());
                pairs.push(Pair { name: format!("{name}, {label}"), kind: Kind::Real, source });
            }
        }
    }
    anyhow::ensure!(!pairs.is_empty(), "no two packages of one folder in {}", folder.display());
    Ok(pairs)
}

impl Pair {
    /// Puts both packages into `dir`.
    pub(super) fn write(&self, dir: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
        match &self.source {
            Source::Made(made) => {
                let (base, before, target, after) = made.as_ref();
                Ok((night(base)?.write_to(dir, *before, false)?, night(target)?.write_to(dir, *after, false)?))
            }
            Source::Found(base, target) => Ok((packed(base, dir)?, packed(target, dir)?)),
        }
    }
}

fn night(spec: &NightSpec) -> anyhow::Result<Night> {
    Ok(Night::new(spec.clone())?)
}

/// What lies in a folder, by name.
fn listed(folder: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let named =
        entries.map(|entry| entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())));
    Ok(named.collect::<Result<_, _>>()?)
}

/// A package as it is, or made of loose files as zip programs do unless they are told otherwise.
fn packed(found: &Path, dir: &Path) -> anyhow::Result<PathBuf> {
    if !found.is_dir() {
        return Ok(found.to_owned());
    }
    let name = found.file_name().unwrap_or_default().to_string_lossy();
    let package = dir.join(format!("{name}_PREP.zip"));
    let mut zip = ZipWriter::new(File::create(&package)?);
    let (mut folders, mut files) = (vec![found.to_owned()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for path in listed(&folder)?.into_values() {
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(found)?.to_string_lossy().into_owned(), path);
            }
        }
    }
    for (name, path) in files {
        zip.start_file(name, SimpleFileOptions::default())?;
        zip.write_all(&fs::read(path)?)?;
    }
    zip.finish()?;
    Ok(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_pairs() {
        let names: Vec<_> = made(&NightSpec::tiny()).into_iter().map(|pair| pair.name).collect();
        assert_eq!(names.len(), 7);
        assert_eq!(names[0], "plain, early, cuts 5 to 6");
        assert_eq!(names[6], "rows shuffled, cuts 50 to 51");
    }

    #[test]
    fn real_pairs_are_consecutive_by_label() {
        let work = tempfile::tempdir().unwrap();
        let (zips, loose) = (work.path().join("a/zips"), work.path().join("a/loose"));
        fs::create_dir_all(&zips).unwrap();
        for name in ["20210607_0000_PREP.zip", "20210606_2240_PREP_CAMP.zip", "20210606_2300.txt", "notes.zip"] {
            fs::write(zips.join(name), name).unwrap();
        }
        for label in ["20180701_2101", "20180701_2053", "20180701_2057"] {
            fs::create_dir_all(loose.join(label).join("assets")).unwrap();
            fs::write(loose.join(label).join("assets/x.json"), label).unwrap();
        }
        let pairs = real(&work.path().join("a")).unwrap();
        let names: Vec<_> = pairs.iter().map(|pair| pair.name.as_str()).collect();
        assert_eq!(names, ["loose, 20180701_2057", "loose, 20180701_2101", "zips, 20210607_0000"]);
        let (base, target) = pairs[0].write(work.path()).unwrap();
        assert!(base.ends_with("20180701_2053_PREP.zip") && target.ends_with("20180701_2057_PREP.zip"));
        let (base, _) = pairs[2].write(work.path()).unwrap();
        assert!(base.ends_with("20210606_2240_PREP_CAMP.zip"));
        assert!(real(&zips).is_err());
    }
}

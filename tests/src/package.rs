//! Packages as another reader sees them: the `zip` crate, which the product does not read packages with.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufReader, Read as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

/// A package on disk. Files are read one at a time, so that a national package needs no memory for all of it.
pub struct Package {
    archive: ZipArchive<BufReader<File>>,
    names: BTreeSet<String>,
}

impl Package {
    /// Opens a package.
    ///
    /// # Errors
    /// If it is no zip.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let archive = ZipArchive::new(BufReader::new(file)).with_context(|| format!("in {}", path.display()))?;
        let names = archive.file_names().map(|name| Ok(name?.into_owned())).collect::<Result<BTreeSet<_>>>()?;
        Ok(Self { archive, names: names.into_iter().filter(|name| !name.ends_with('/')).collect() })
    }

    /// Names of its files, without folders.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// The plain bytes of a file.
    ///
    /// # Errors
    /// If there is none of that name, or it is damaged.
    pub fn read(&mut self, name: &str) -> Result<Vec<u8>> {
        let mut file = self.archive.by_name(name).with_context(|| name.to_owned())?;
        let mut bytes = Vec::with_capacity(usize::try_from(file.size())?);
        file.read_to_end(&mut bytes).with_context(|| name.to_owned())?;
        Ok(bytes)
    }
}

/// Writes a package at `to`: every file with its name, its bytes, and the level it is deflated with; without a level it
/// is stored.
///
/// # Errors
/// What the disk gives.
pub fn pack<B: AsRef<[u8]>>(to: &Path, files: impl IntoIterator<Item = (String, B, Option<i64>)>) -> Result<()> {
    let mut zip = ZipWriter::new(File::create(to).with_context(|| format!("creating {}", to.display()))?);
    for (name, bytes, level) in files {
        let method = if level.is_some() { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        let options = SimpleFileOptions::default().compression_method(method).compression_level(level);
        zip.start_file(name, options)?;
        zip.write_all(bytes.as_ref())?;
    }
    zip.finish()?.sync_all()?;
    Ok(())
}

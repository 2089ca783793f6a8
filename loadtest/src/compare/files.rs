//! What all servers serve: four files, their gzip forms, and the package that brings them to a node.
//!
//! The text is that of a generated night, so that it compresses as a results site does. A package's deflate stream is
//! what a node serves as gzip; the peers get a file of the same level beside each, so that nobody compresses while
//! being measured, and all send about the same bytes.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use difusor_night::{Night, NightSpec};
use flate2::Compression;
use flate2::write::GzEncoder;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Level of zlib that packages of institutes have.
const LEVEL: u32 = 6;

/// Name of the package; nodes know cuts by their time.
const PACKAGE: &str = "20240602_2000_PREP.zip";

/// A file that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asset {
    /// A page of 10 kB.
    Page,
    /// JSON of 100 kB.
    Small,
    /// JSON of 1 MB.
    Large,
    /// 20 MB that cannot be compressed.
    Archive,
}

impl Asset {
    pub(crate) const ALL: [Self; 4] = [Self::Page, Self::Small, Self::Large, Self::Archive];

    /// Where it is served.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Page => "/pagina.html",
            Self::Small => "/entidad.json",
            Self::Large => "/nacional.json",
            Self::Archive => "/tabla.zip",
        }
    }

    /// Whether it has a gzip form.
    pub(crate) fn is_text(self) -> bool {
        self != Self::Archive
    }
}

/// The files on disk.
pub(crate) struct Files {
    /// Folder that peers serve, gzip forms included.
    pub(crate) root: PathBuf,
    /// Package with the same files.
    pub(crate) package: PathBuf,
    contents: Vec<(Asset, Vec<u8>)>,
}

impl Files {
    /// Makes them in `dir`.
    pub(crate) fn new(dir: &Path) -> anyhow::Result<Self> {
        let root = dir.join("root");
        fs::create_dir(&root)?;
        let contents = contents()?;
        let package = dir.join(PACKAGE);
        let mut zip = ZipWriter::new(File::create(&package)?);
        for (asset, bytes) in &contents {
            let name = asset.path().trim_start_matches('/');
            fs::write(root.join(name), bytes)?;
            let options = SimpleFileOptions::default();
            let options = if asset.is_text() {
                let mut gzip = GzEncoder::new(File::create(root.join(format!("{name}.gz")))?, Compression::new(LEVEL));
                gzip.write_all(bytes)?;
                gzip.finish()?;
                options.compression_method(CompressionMethod::Deflated).compression_level(Some(LEVEL.into()))
            } else {
                options.compression_method(CompressionMethod::Stored)
            };
            zip.start_file(name, options)?;
            zip.write_all(bytes)?;
        }
        zip.finish()?;
        Ok(Self { root, package, contents })
    }

    /// The bytes that a client must end up with.
    pub(crate) fn content(&self, asset: Asset) -> &[u8] {
        self.contents.iter().find(|(file, _)| *file == asset).map_or(&[], |(_, bytes)| bytes)
    }
}

fn contents() -> anyhow::Result<Vec<(Asset, Vec<u8>)>> {
    let night = Night::new(NightSpec::demo())?;
    // The last cut: most of its sheets are filled.
    let entries = night.entries(night.len() - 1);
    let named = |end: &str| {
        let found =
            entries.iter().filter(|(path, _)| path.ends_with(end)).map(|(_, bytes)| String::from_utf8_lossy(bytes));
        found.collect::<Vec<_>>().concat()
    };
    let (pages, sheets) = (named(".html"), named("PRESIDENCIA.csv"));
    let make = |asset| match asset {
        Asset::Page => page(&pages, &sheets, 10_000),
        Asset::Small => list(&sheets, 100_000),
        Asset::Large => list(&sheets, 1_000_000),
        Asset::Archive => Some(noise(20_000_000)),
    };
    let make = |asset: Asset| Ok((asset, make(asset).with_context(|| format!("no text for {}", asset.path()))?));
    Asset::ALL.into_iter().map(make).collect()
}

/// Sheets of the night as lists of their columns, without those that are not filled.
fn rows(sheets: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = sheets.lines().map(|line| line.split(',').filter(|column| !column.is_empty()).collect::<Vec<_>>());
    rows.filter(|columns| {
        columns.len() > 30 && columns.first().is_some_and(|column| column.starts_with(char::is_numeric))
    })
}

/// A page of `size` bytes and the rest of a line: paragraphs, and between them the votes of a sheet.
fn page(pages: &str, sheets: &str, size: usize) -> Option<Vec<u8>> {
    let mut rows = rows(sheets);
    let mut lines = pages.lines().filter(|line| line.starts_with("<p>"));
    let mut page =
        "<!doctype html>\n<html lang=\"es\">\n<meta charset=\"utf-8\">\n<title>Resultados</title>\n".to_owned();
    while page.len() < size {
        let columns = rows.next()?;
        let digest = columns.iter().find(|column| column.len() == 64)?.get(..16)?;
        let votes = columns.get(16..27)?.join("<td>");
        page.extend([lines.next()?, "\n<tr id=", digest, "><td>", columns.first()?, "<td>", &votes, "\n"]);
    }
    Some((page + "</html>\n").into_bytes())
}

/// A list of `size` bytes and the rest of a sheet, in JSON.
fn list(sheets: &str, size: usize) -> Option<Vec<u8>> {
    let mut rows = rows(sheets);
    let mut list = "{\"actas\":[".to_owned();
    while list.len() < size {
        list.extend(["[\"", &rows.next()?.join("\",\""), "\"],\n"]);
    }
    list.truncate(list.len() - 2);
    Some((list + "]}").into_bytes())
}

/// Bytes without any pattern (splitmix64).
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).to_le_bytes()
    });
    words.flatten().take(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_compresses_as_a_site_does() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path()).unwrap();
        let gzip = |asset: Asset| fs::metadata(files.root.join(format!("{}.gz", &asset.path()[1..]))).unwrap().len();
        println!("{:?}", Asset::ALL.map(|asset| (files.content(asset).len(), asset.is_text().then(|| gzip(asset)))));
        for (asset, plain, packed) in [
            (Asset::Page, 10_000..11_000, 2_400..3_300),
            (Asset::Small, 100_000..120_000, 5_000..40_000),
            (Asset::Large, 1_000_000..1_100_000, 50_000..400_000),
        ] {
            let (length, gzip) = (files.content(asset).len(), gzip(asset));
            assert!(plain.contains(&length) && packed.contains(&gzip), "{asset:?}: {length} to {gzip}");
        }
        serde_json::from_slice::<serde_json::Value>(files.content(Asset::Large)).unwrap();
        assert_eq!(files.content(Asset::Archive).len(), 20_000_000);
        assert!(fs::metadata(&files.package).unwrap().len() > 20_000_000);
    }
}

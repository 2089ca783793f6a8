//! The night itself: any cut, label or package of it, in any order.

use std::io;
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use rayon::prelude::*;

use crate::database::{self, Table};
use crate::layout::Layout;
use crate::package::PackageBytes;
use crate::sizes::Plan;
use crate::spec::{NightSpec, SpecError};
use crate::statics::Static;
use crate::zipfile::{self, Entry, Stamps};
use crate::{clock, page, results};

/// Of a hundred JSON files, those that are catalogues and never change.
const CATALOGUES: usize = 6;

/// An election night. Cheap to keep: packages are made when asked for.
pub struct Night {
    spec: NightSpec,
    start: DateTime,
    layouts: Vec<Layout>,
    plan: Plan,
    statics: Vec<Static>,
}

/// One cut, as the writers of files need to know it.
pub(crate) struct Cut {
    pub(crate) seed: u64,
    pub(crate) start: DateTime,
    pub(crate) time: DateTime,
    /// Seconds since the first cut, and from the first to the last.
    pub(crate) now: i64,
    pub(crate) span: i64,
    pub(crate) file_name: String,
    pub(crate) hour: String,
    pub(crate) date: String,
    pub(crate) test_data: bool,
    pub(crate) shuffled: bool,
}

impl Cut {
    /// Times of the cut's entries in a zip.
    pub(crate) fn stamps(&self) -> Stamps {
        Stamps { fresh: clock::dos(self.time), fixed: clock::dos(self.start) }
    }
}

impl Night {
    /// Lays the night out.
    ///
    /// # Errors
    /// When the spec asks for what cannot be made; see [`SpecError`].
    pub fn new(spec: NightSpec) -> Result<Self, SpecError> {
        spec.check()?;
        let start = clock::parse_label(&spec.start).ok_or_else(|| SpecError::Start(spec.start.clone()))?;
        let spare = spec.json_files - spec.elections - 1;
        let catalogues = (spec.json_files * CATALOGUES / 100).min(spare);
        let results = spec.json_files - 1 - catalogues;
        let files = |election| results / spec.elections + usize::from(election < results % spec.elections);
        let layouts: Vec<Layout> =
            (0..spec.elections).map(|election| Layout::new(spec.seed, election, spec.rows, files(election))).collect();
        // The page and the configuration have sizes of their own.
        let fixed = spec.static_files - page::FILES.len() + catalogues;
        let plan = Plan::new(&layouts, fixed, spec.largest_file);
        let statics = Static::plan(&plan.fixed, catalogues);
        Ok(Self { spec, start, layouts, plan, statics })
    }

    /// The spec it was made from.
    pub fn spec(&self) -> &NightSpec {
        &self.spec
    }

    /// How many cuts are planned. Asking for later ones is allowed: the time moves on, and late
    /// corrections still come, but no more sheets.
    #[expect(clippy::len_without_is_empty, reason = "a night has at least one cut")]
    pub fn len(&self) -> usize {
        self.spec.cuts
    }

    /// Label of cut `i`, counted from 0: `YYYYMMDD_HHMM`.
    pub fn label(&self, i: usize) -> String {
        clock::label(clock::after(self.start, self.second(i)))
    }

    /// File name of package `i`.
    pub fn file_name(&self, i: usize) -> String {
        format!("{}_PREP.zip", self.label(i))
    }

    /// The files of cut `i`, as path and plain bytes, in the order of the package. In a nested night the database is
    /// one of them, as a zip.
    pub fn entries(&self, i: usize) -> Vec<(String, Vec<u8>)> {
        self.make(&self.cut(i)).into_iter().map(|entry| (entry.path, entry.bytes)).collect()
    }

    /// Package `i`.
    pub fn package(&self, i: usize) -> PackageBytes {
        let cut = self.cut(i);
        PackageBytes::new(zipfile::pack(self.make(&cut), cut.stamps()))
    }

    /// Makes package `i` and writes it into `dir`; see [`PackageBytes::write_to`].
    ///
    /// # Errors
    /// Those of writing and renaming in `dir`, which must exist.
    pub fn write_to(&self, dir: &Path, i: usize, sidecar: bool) -> io::Result<PathBuf> {
        self.package(i).write_to(dir, &self.file_name(i), sidecar)
    }

    fn second(&self, i: usize) -> i64 {
        let cadence = i64::try_from(self.spec.cadence.as_secs()).unwrap_or(i64::MAX);
        cadence.saturating_mul(i64::try_from(i).unwrap_or(i64::MAX))
    }

    fn cut(&self, i: usize) -> Cut {
        let now = self.second(i);
        let time = clock::after(self.start, now);
        Cut {
            seed: self.spec.seed,
            start: self.start,
            time,
            now,
            span: self.spec.span(),
            file_name: self.file_name(i),
            hour: clock::hour(time),
            date: clock::long_date(time),
            test_data: self.spec.test_data,
            shuffled: self.spec.shuffled,
        }
    }

    fn make(&self, cut: &Cut) -> Vec<Entry> {
        let nested = self.spec.nested;
        let tables: Vec<Table> = self.layouts.par_iter().map(|layout| database::table(cut, layout)).collect();
        let addresses = database::addresses(cut, &self.layouts, nested);
        let configuration =
            Entry::fresh("assets/configuracion.json".to_owned(), results::configuration(cut, &addresses));
        let mut entries: Vec<Entry> = page::entries().chain([configuration]).collect();
        entries.extend(self.results(cut, &tables));
        entries.par_extend(self.statics.par_iter().map(|file| file.entry(self.spec.seed)));
        entries.extend(database::entries(cut, &self.layouts, tables, nested));
        entries
    }

    fn results(&self, cut: &Cut, tables: &[Table]) -> Vec<Entry> {
        let nodes = self.layouts.iter().zip(tables).zip(&self.plan.results).flat_map(|((layout, table), sizes)| {
            layout.nodes.iter().zip(sizes).map(move |(node, size)| (layout, table, node, *size))
        });
        let nodes: Vec<_> = nodes.collect();
        nodes
            .into_par_iter()
            .map(|(layout, table, node, size)| {
                let bytes = results::result(cut, layout, node, &table.sum(node), size);
                Entry::fresh(results::path(layout, node), bytes)
            })
            .collect()
    }
}

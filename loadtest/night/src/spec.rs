//! What a night is made of, and which nights are refused.

use std::time::Duration;

use crate::ballot::ELECTIONS;
use crate::clock;

/// The shape of a night. Equal specs give equal bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NightSpec {
    /// Chooses the places, the votes and when each sheet arrives.
    pub seed: u64,
    /// Cuts over the whole night; sheets arrive between the first and the last, however many there are.
    pub cuts: usize,
    /// Time from one cut to the next, at least a minute, since labels have no seconds.
    pub cadence: Duration,
    /// Label of the first cut, `YYYYMMDD_HHMM`, local civil time.
    pub start: String,
    /// Elections held at once, each with a table of its own.
    pub elections: usize,
    /// Tally sheets, that is rows, in each election.
    pub rows: usize,
    /// JSON files; about 94 in 100 carry the cut's time and so change at each cut.
    pub json_files: usize,
    /// Files that never change: pages, scripts, styles, images, fonts.
    pub static_files: usize,
    /// Cap, in bytes, on any one file of the site; tables are not counted.
    pub largest_file: usize,
    /// `true`: the tables lie in `assets/<label>_PREP.zip`, a zip of one zip for each election.
    /// `false`: they lie plain under `assets/csv/`.
    pub nested: bool,
    /// Puts the rows of each table into another order at each cut.
    pub shuffled: bool,
    /// Sets `cortePrueba`: the figures are a test and must never be shown as results.
    pub test_data: bool,
}

/// Why a night cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No cut was asked for.
    #[error("a night has at least one cut")]
    NoCuts,
    /// Two cuts would have the same label.
    #[error("cadence {0:?} is below one minute; labels have no seconds, so two cuts would share one")]
    Cadence(Duration),
    /// The start is not `YYYYMMDD_HHMM`, or is no date.
    #[error("start `{0}` is not a label YYYYMMDD_HHMM of a real date")]
    Start(String),
    /// A cut would lie outside the years that a zip can store.
    #[error("the night leaves the years 1980 to 2107, which are all that a zip can store")]
    Calendar,
    /// The number of elections is not supported.
    #[error("{0} elections were asked for; 1 to {max} are possible", max = ELECTIONS.len())]
    Elections(usize),
    /// A table would be empty.
    #[error("an election has at least one tally sheet")]
    NoRows,
    /// Too few JSON files for a configuration and one result for each election.
    #[error("{asked} JSON files are too few: {least} are needed (one for each election, one for the configuration)")]
    JsonFiles {
        /// Files asked for.
        asked: usize,
        /// Files needed.
        least: usize,
    },
    /// Too few static files for the home page, its script and its style.
    #[error("{0} static files are too few: the home page needs {least}", least = crate::page::FILES.len())]
    StaticFiles(usize),
    /// The package could reach the 4 GB at which zips change format.
    #[error("about {0} bytes plain; packages are made up to {MAX_PLAIN} bytes")]
    TooLarge(u64),
}

/// Bound on a package's plain bytes, well below the 4 GB at which zip64 begins.
const MAX_PLAIN: u64 = 3_500_000_000;

/// Bytes of a long filled row, for the bound above.
const ROW_BOUND: u64 = 480;

impl NightSpec {
    /// A national night: three elections of 160,000 sheets, some 200 MB plain and 40 MB zipped.
    pub fn national() -> Self {
        Self {
            seed: 2024,
            cuts: 101,
            cadence: Duration::from_secs(5 * 60),
            start: "20240602_2000".to_owned(),
            elections: 3,
            rows: 160_000,
            json_files: 1_027,
            static_files: 400,
            largest_file: 2_000_000,
            nested: false,
            shuffled: false,
            test_data: false,
        }
    }

    /// A medium night for demonstrations: zips of 2 to 4 MB from the middle on.
    pub fn demo() -> Self {
        Self {
            cuts: 40,
            cadence: Duration::from_secs(3 * 60),
            rows: 11_000,
            json_files: 180,
            static_files: 90,
            largest_file: 400_000,
            ..Self::national()
        }
    }

    /// A night for tests: a few dozen files, some hundred rows, below 200 KB zipped.
    pub fn tiny() -> Self {
        Self {
            cuts: 6,
            cadence: Duration::from_secs(3 * 60),
            rows: 120,
            json_files: 24,
            static_files: 14,
            largest_file: 24_000,
            ..Self::national()
        }
    }

    /// The same night with `factor` times the rows and files, never fewer than a night needs. A factor that is not a
    /// positive number leaves the least possible night; one that is too large is refused by [`crate::Night::new`].
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        self.rows = times(self.rows, factor).max(1);
        self.json_files = times(self.json_files, factor).max(self.least_json());
        self.static_files = times(self.static_files, factor).max(crate::page::FILES.len());
        self
    }

    /// One for each election and the configuration.
    fn least_json(&self) -> usize {
        self.elections.saturating_add(1)
    }

    pub(crate) fn check(&self) -> Result<(), SpecError> {
        if self.cuts == 0 {
            return Err(SpecError::NoCuts);
        }
        if self.cadence < Duration::from_secs(60) {
            return Err(SpecError::Cadence(self.cadence));
        }
        let start = clock::parse_label(&self.start).ok_or_else(|| SpecError::Start(self.start.clone()))?;
        if start.year() < 1980 || clock::after(start, self.span()).year() > 2107 {
            return Err(SpecError::Calendar);
        }
        if self.elections == 0 || self.elections > ELECTIONS.len() {
            return Err(SpecError::Elections(self.elections));
        }
        if self.rows == 0 {
            return Err(SpecError::NoRows);
        }
        if self.json_files < self.least_json() {
            return Err(SpecError::JsonFiles { asked: self.json_files, least: self.least_json() });
        }
        if self.static_files < crate::page::FILES.len() {
            return Err(SpecError::StaticFiles(self.static_files));
        }
        let plain = self.bound();
        if plain > MAX_PLAIN { Err(SpecError::TooLarge(plain)) } else { Ok(()) }
    }

    /// Seconds from the first cut to the last; one cadence if there is a single cut.
    pub(crate) fn span(&self) -> i64 {
        let cadence = i64::try_from(self.cadence.as_secs()).unwrap_or(i64::MAX);
        cadence.saturating_mul(i64::try_from(self.cuts.saturating_sub(1).max(1)).unwrap_or(i64::MAX))
    }

    /// An upper bound on the plain bytes of a package.
    fn bound(&self) -> u64 {
        let rows = (self.rows as u64).saturating_mul(self.elections as u64).saturating_mul(ROW_BOUND);
        let files = (self.json_files as u64).saturating_add(self.static_files as u64);
        rows.saturating_add(crate::sizes::bound(files, self.largest_file as u64))
    }
}

fn times(count: usize, factor: f64) -> usize {
    let scaled = (count as f64 * factor).round();
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and NaN becomes 0")]
    let scaled = scaled as usize;
    scaled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl Fn(&mut NightSpec)) -> SpecError {
        let mut spec = NightSpec::tiny();
        change(&mut spec);
        spec.check().unwrap_err()
    }

    #[test]
    fn the_ready_made_nights_are_accepted() {
        for spec in [NightSpec::national(), NightSpec::demo(), NightSpec::tiny()] {
            assert_eq!(spec.check(), Ok(()));
            for factor in [0.0, f64::NAN, -1.0, 0.01, 3.0] {
                assert_eq!(spec.clone().scaled(factor).check(), Ok(()), "{factor}");
            }
        }
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(refused(|spec| spec.cuts = 0), SpecError::NoCuts);
        let short = Duration::from_secs(59);
        assert_eq!(refused(|spec| spec.cadence = short), SpecError::Cadence(short));
        assert_eq!(refused(|spec| spec.start = "today".into()), SpecError::Start("today".into()));
        assert_eq!(refused(|spec| spec.start = "19791231_2000".into()), SpecError::Calendar);
        assert_eq!(refused(|spec| spec.start = "21071231_2355".into()), SpecError::Calendar);
        assert_eq!(refused(|spec| spec.cuts = usize::MAX), SpecError::Calendar);
        assert_eq!(refused(|spec| spec.cadence = Duration::MAX), SpecError::Calendar);
        assert_eq!(refused(|spec| spec.elections = 0), SpecError::Elections(0));
        assert_eq!(refused(|spec| spec.elections = 9), SpecError::Elections(9));
        assert_eq!(refused(|spec| spec.rows = 0), SpecError::NoRows);
        assert_eq!(refused(|spec| spec.json_files = 3), SpecError::JsonFiles { asked: 3, least: 4 });
        assert_eq!(refused(|spec| spec.static_files = 2), SpecError::StaticFiles(2));
        assert!(matches!(refused(|spec| spec.rows = usize::MAX), SpecError::TooLarge(_)));
        assert!(matches!(refused(|spec| spec.json_files = usize::MAX), SpecError::TooLarge(_)));
    }

    #[test]
    fn a_short_cadence_says_why() {
        let message = refused(|spec| spec.cadence = Duration::from_secs(30)).to_string();
        assert!(message.contains("30s") && message.contains("one minute"), "{message}");
    }
}

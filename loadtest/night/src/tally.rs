//! Sums over sheets.

use crate::ballot::MAX_COLUMNS;
use crate::sheet::{Remark, Sheet};

/// What a set of sheets adds up to. Uncounted sheets enter `captured` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Sheets there should be.
    pub(crate) expected: u64,
    /// Sheets that have arrived.
    pub(crate) captured: u64,
    /// Sheets that entered the sums.
    pub(crate) counted: u64,
    /// Arrived sheets with any remark.
    pub(crate) remarked: u64,
    /// Registered voters of the expected sheets.
    pub(crate) roll: u64,
    /// Registered voters of the counted sheets.
    pub(crate) counted_roll: u64,
    pub(crate) votes: [u64; MAX_COLUMNS],
    pub(crate) unregistered: u64,
    pub(crate) nulls: u64,
}

impl Tally {
    /// Adds one row.
    pub(crate) fn add(&mut self, roll: u64, sheet: Option<&Sheet>) {
        self.expected += 1;
        self.roll += roll;
        let Some(sheet) = sheet else { return };
        self.captured += 1;
        self.remarked += u64::from(sheet.remark != Remark::None);
        if sheet.counts() {
            self.counted += 1;
            self.counted_roll += roll;
            self.unregistered += sheet.unregistered;
            self.nulls += sheet.nulls;
            for (sum, votes) in self.votes.iter_mut().zip(sheet.votes) {
                *sum += votes;
            }
        }
    }

    /// The sum of several.
    pub(crate) fn sum<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut whole = Self::default();
        for part in parts {
            whole.expected += part.expected;
            whole.captured += part.captured;
            whole.counted += part.counted;
            whole.remarked += part.remarked;
            whole.roll += part.roll;
            whole.counted_roll += part.counted_roll;
            whole.unregistered += part.unregistered;
            whole.nulls += part.nulls;
            for (sum, votes) in whole.votes.iter_mut().zip(part.votes) {
                *sum += votes;
            }
        }
        whole
    }

    /// Votes for choices, for others, and void.
    pub(crate) fn total(&self) -> u64 {
        self.votes.iter().sum::<u64>() + self.unregistered + self.nulls
    }
}

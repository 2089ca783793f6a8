//! One zip, judged by its structures alone: nothing has been inflated, nothing larger than the directory allocated.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{
    Caps,
    directory::{self, Item},
    end, local, names,
    refusal::{Reason, Refusal},
    second,
};

/// What a package may still use of its caps; shared by all archives in it.
///
/// Which archive meets the end of it depends on the order of work. So whoever works in parallel and finds it
/// [spent](Budget::spent) must not believe the refusal, but work once more in order.
#[derive(Debug)]
pub(super) struct Budget {
    entries: AtomicU64,
    plain: AtomicU64,
    spent: AtomicBool,
}

impl Budget {
    pub(super) fn new(caps: &Caps) -> Self {
        Self { entries: caps.entries.into(), plain: caps.plain_bytes.into(), spent: AtomicBool::new(false) }
    }

    /// True once anything was asked for that was not left.
    pub(super) fn spent(&self) -> bool {
        self.spent.load(Ordering::Acquire)
    }

    fn take(&self, from: &AtomicU64, amount: u64) -> Result<(), u64> {
        let taken = from.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(amount));
        taken.map(drop).inspect_err(|_| self.spent.store(true, Ordering::Release))
    }
}

/// An archive whose structure is sound.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    /// Its bytes.
    pub(super) bytes: &'a [u8],
    /// Its entries, in the order of the directory.
    pub(super) items: Vec<Item<'a>>,
}

impl<'a> Archive<'a> {
    /// Reads and judges the structures, and takes what they announce from the budget.
    ///
    /// # Errors
    /// The first refusal in this order: end record, number of entries, records, names, local headers and places,
    /// second opinion, sum of plain bytes; within each, the lowest entry.
    pub(super) fn open(bytes: &'a [u8], caps: &Caps, budget: &Budget) -> Result<Self, Refusal> {
        let end = end::find(bytes)?;
        budget.take(&budget.entries, end.count).map_err(|left| {
            let detail = format!("{} entries where {left} more of {} are allowed", end.count, caps.entries);
            Refusal::new(Reason::TooManyEntries, detail).at(end.directory.start)
        })?;
        let mut items = directory::read(bytes, &end, caps)?;
        names::side_by_side(&items)?;
        local::place(bytes, &mut items, end.directory.start)?;
        second::agrees(bytes, &items)?;
        for item in &items {
            budget.take(&budget.plain, item.size as u64).map_err(|left| {
                let detail = format!(
                    "{} plain bytes where {left} more of {} are allowed, inner archives counted in",
                    item.size, caps.plain_bytes
                );
                item.refuse(Reason::Bomb, detail).at(item.header_at)
            })?;
        }
        Ok(Self { bytes, items })
    }
}

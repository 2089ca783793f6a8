//! A second opinion: the `zip` crate, which shares no code with our reader, must see the same archive.
//!
//! It is only asked after the number of entries was found within the caps, and nothing of what it says is used
//! beyond the comparison. Its panics, should there be any, are refusals.

use std::{
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind},
};

use zip::ZipArchive;

use super::{
    directory::Item,
    refusal::{Reason, Refusal},
};

/// Compares names, places, sizes and checksums of all entries.
///
/// # Errors
/// [`Reason::Ambiguous`], of the first entry that the other reader sees differently.
pub(super) fn agrees(bytes: &[u8], items: &[Item<'_>]) -> Result<(), Refusal> {
    catch_unwind(AssertUnwindSafe(|| compare(bytes, items)))
        .unwrap_or_else(|_| Err(Refusal::new(Reason::Ambiguous, "the second reader broke down on it")))
}

fn compare(bytes: &[u8], items: &[Item<'_>]) -> Result<(), Refusal> {
    let failed = |error| Refusal::new(Reason::Ambiguous, format!("a second reader cannot read it: {error}"));
    let archive = ZipArchive::new(Cursor::new(bytes)).map_err(failed)?;
    if archive.has_duplicate_names() || archive.len() != items.len() {
        let detail = format!("a second reader sees {} entries instead of {}", archive.len(), items.len());
        return Err(Refusal::new(Reason::Ambiguous, detail));
    }
    for item in items {
        let other = archive.by_index_data(item.index).map_err(failed)?;
        let name = [item.raw, item.path.as_str().as_bytes()].contains(&other.name_raw());
        let numbers = (other.header_start(), other.compressed_size(), other.size(), other.crc32());
        if !name || numbers != (item.header_at as u64, item.len as u64, item.size as u64, item.crc32) {
            let detail = format!("a second reader sees `{}` with {numbers:?}", other.name_raw().escape_ascii());
            return Err(item.refuse(Reason::Ambiguous, detail).at(item.record_at));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Caps,
            archive::{Archive, Budget},
        },
        *,
    };

    #[test]
    fn every_difference_is_seen() {
        let bytes = difusor_night::hostile::sound();
        let caps = Caps::default();
        let changes: [fn(&mut Item<'_>); 5] = [
            |item| item.raw = b"another.html",
            |item| item.crc32 ^= 1,
            |item| item.len += 1,
            |item| item.size += 1,
            |item| item.header_at += 1,
        ];
        for change in changes {
            let mut archive = Archive::open(&bytes, &caps, &Budget::new(&caps)).unwrap();
            assert_eq!(agrees(&bytes, &archive.items), Ok(()));
            // The name as meant would do as well: both have to differ.
            archive.items[1].path = archive.items[0].path.clone();
            change(&mut archive.items[1]);
            assert_eq!(agrees(&bytes, &archive.items).unwrap_err().reason, Reason::Ambiguous);
            archive.items.pop();
            assert_eq!(agrees(&bytes, &archive.items).unwrap_err().entry, None);
        }
    }
}

//! Which bytes of a file are those of its predecessor: a walk through both that both sides make alike.
//!
//! Rows are filled in where they stand, so the two are mostly the same, with other bytes here and there. Where they
//! part, the nearest place is looked for at which they go on together. What is moved far away is not found, and need
//! not be: all that follows from this is how well something is predicted.

use super::matcher::same;

/// Bytes that must be the same for the two to go on together.
const ANCHOR: usize = 24;
/// Bytes that must be the same for that to be no chance, such as the zeros of another number.
const CONFIRMED: usize = 48;
/// How far the place is looked for, in steps: most rows are shorter than the first.
const REACH: [usize; 4] = [1 << 10, 4 << 10, 16 << 10, 256 << 10];
/// Slots for places in the predecessor.
const SLOTS: usize = 1 << 16;
/// In a slot: bytes that stand at several places.
const AMBIGUOUS: u32 = u32::MAX;

/// A run of bytes that both have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) new: usize,
    pub(super) old: usize,
    pub(super) len: usize,
}

/// The runs that `old` and `new` have in common, in the order of both.
pub(super) fn runs(old: &[u8], new: &[u8]) -> Vec<Run> {
    let mut runs = Vec::new();
    let (mut from, mut to) = (0, 0);
    let mut slots = vec![0_u32; SLOTS];
    let mut step = REACH[0];
    loop {
        let len = same(old.get(from..).unwrap_or_default(), new.get(to..).unwrap_or_default());
        if len > 0 {
            runs.push(Run { new: to, old: from, len });
        }
        (from, to) = (from + len, to + len);
        if from >= old.len() || to >= new.len() {
            return runs;
        }
        let met = REACH.iter().find_map(|reach| meet(window(old, from, *reach), window(new, to, *reach), &mut slots));
        // Nothing near: both go on, and may meet later. In ever longer steps, or two files that have nothing in common
        // would be looked through again for each kilobyte.
        let (ahead, beyond) = met.unwrap_or((step, step));
        step = if met.is_some() { REACH[0] } else { (2 * step).min(REACH[3]) };
        (from, to) = (from + ahead, to + beyond);
    }
}

fn window(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    bytes.get(at..).map_or(&[], |rest| rest.get(..len).unwrap_or(rest))
}

/// Where the two first have [`ANCHOR`] bytes in common: the first place of `new` that is in `old`, and there only once.
fn meet(old: &[u8], new: &[u8], slots: &mut [u32]) -> Option<(usize, usize)> {
    let count = (4 * old.len()).next_power_of_two().clamp(64, SLOTS);
    let slots = slots.get_mut(..count).unwrap_or_default();
    slots.fill(0);
    let bits = count.trailing_zeros();
    for (at, anchor) in (1_u32..AMBIGUOUS).zip(old.windows(ANCHOR)) {
        let Some(slot) = slots.get_mut(slot(anchor, bits)) else { continue };
        match *slot {
            0 => *slot = at,
            // What stands there twice says nothing about where.
            other if at_place(old, other) == Some(anchor) => *slot = AMBIGUOUS,
            _ => {}
        }
    }
    new.windows(ANCHOR).enumerate().find_map(|(at, anchor)| {
        let place = *slots.get(slot(anchor, bits))?;
        at_place(old, place).filter(|found| *found == anchor)?;
        let place = place as usize - 1;
        let (there, here) = (old.get(place..)?, new.get(at..)?);
        // The farther away, the less it may be a chance: a wrong place far ahead hides all that comes before it.
        let least = CONFIRMED.max((place + at) / 4).min(there.len()).min(here.len());
        (same(there, here) >= least).then_some((place, at))
    })
}

/// The anchor that a slot stands for, if it stands for one.
fn at_place(old: &[u8], place: u32) -> Option<&[u8]> {
    let at = place.checked_sub(1)? as usize;
    old.get(at..at + ANCHOR)
}

/// One of 2^`bits` slots for these bytes, from their first and last eight.
fn slot(anchor: &[u8], bits: u32) -> usize {
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mixed = word(anchor.first_chunk()) ^ word(anchor.last_chunk()).rotate_left(23);
    usize::try_from(mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(old: &[u8], new: &[u8]) -> usize {
        let runs = runs(old, new);
        let mut ends = (0, 0);
        for Run { new: to, old: from, len } in &runs {
            assert!(*from >= ends.0 && *to >= ends.1 && *len > 0);
            assert_eq!(old[*from..*from + *len], new[*to..*to + *len]);
            ends = (*from + *len, *to + *len);
        }
        runs.iter().map(|run| run.len).sum()
    }

    #[test]
    fn rows_that_are_filled_in_are_met_again() {
        let row = |at: usize, filled: bool| match filled {
            false => format!("{at:08}|casilla {at}|||||||||\n"),
            true => format!(
                "{at:08}|casilla {at}|{}|{}|{}|{}\n",
                at % 7,
                at % 300,
                at % 411,
                blake3::hash(&at.to_le_bytes())
            ),
        };
        let cut = |filled: fn(usize) -> bool| (0..5000).map(|at| row(at, filled(at))).collect::<String>();
        let (old, new) = (cut(|at| at % 3 == 0), cut(|at| at % 3 == 0 || at % 50 == 1));
        let common = check(old.as_bytes(), new.as_bytes());
        // All but the new cells of a hundred rows.
        assert!(common + 100 * 90 > new.len(), "{common} of {}", new.len());
        assert_eq!(check(old.as_bytes(), old.as_bytes()), old.len());
    }

    #[test]
    fn nothing_in_common_is_nothing() {
        assert_eq!((check(b"", b"abc"), check(b"abc", b"")), (0, 0));
        assert_eq!(check(&[1; 5000], &[2; 70_000]), 0);
    }

    proptest! {
        #[test]
        fn any_two(old in prop::collection::vec(0_u8..4, 0..400), new in prop::collection::vec(0_u8..4, 0..400)) {
            check(&old, &new);
        }
    }
}

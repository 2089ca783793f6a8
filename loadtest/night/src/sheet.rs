//! One tally sheet: what the catalogue knows of it from the start, and what it says once it has arrived.

use crate::ballot::MAX_COLUMNS;
use crate::curve;
use crate::layout::Leaf;
use crate::prng::{Domain, Stream};

/// Sheets of one section: its voters are split over so many polling stations.
const STATIONS: usize = 3;

/// Support from which on a party's share differs between the sheets of a district.
const LARGE: u64 = 60 * 128;

/// The catalogue's half of a row, the same at every cut and in every election.
pub(crate) struct Slot {
    pub(crate) section: u64,
    /// `B` for the section's first station, `C` for the others.
    pub(crate) kind: u8,
    pub(crate) station: u64,
    /// 1: in a town; 2: elsewhere.
    pub(crate) setting: u64,
    /// Registered voters.
    pub(crate) roll: u64,
}

/// Where a row stands in the catalogue.
pub(crate) fn slot(seed: u64, leaf: &Leaf, row: usize) -> Slot {
    let within = row.saturating_sub(leaf.entity_start);
    let section = within / STATIONS + 1;
    let station = (within % STATIONS) as u64;
    let mut stream = Stream::new(seed, Domain::Section, leaf.entity, section);
    let roll = 340 + stream.below(410);
    Slot {
        section: section as u64,
        kind: if station == 0 { b'B' } else { b'C' },
        station: station.max(1),
        setting: 1 + stream.below(5) / 4,
        roll: roll - u64::from(station == 2),
    }
}

/// What keeps a sheet from being read or counted in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remark {
    None,
    /// Some field cannot be read.
    Partial,
    /// No field can be read; not counted.
    Illegible,
    /// More votes than voters; not counted.
    Excess,
}

/// What an arrived sheet says. Times are in seconds after the first cut.
pub(crate) struct Sheet {
    pub(crate) gathered: i64,
    pub(crate) captured: i64,
    pub(crate) verified: i64,
    pub(crate) remark: Remark,
    /// Votes of each choice; all zero on an illegible sheet.
    pub(crate) votes: [u64; MAX_COLUMNS],
    pub(crate) unregistered: u64,
    pub(crate) nulls: u64,
    pub(crate) deputies: u64,
    /// One in ten came from a phone at the station.
    pub(crate) by_phone: bool,
    pub(crate) digest: [u8; 32],
}

impl Sheet {
    /// Votes for choices, for others, and void.
    pub(crate) fn total(&self) -> u64 {
        self.votes.iter().sum::<u64>() + self.unregistered + self.nulls
    }

    /// Whether it enters the sums.
    pub(crate) fn counts(&self) -> bool {
        matches!(self.remark, Remark::None | Remark::Partial)
    }
}

/// What the sheet of a row says at second `now` of a night of `span` seconds; `None` while it has not arrived.
pub(crate) fn sheet(
    seed: u64,
    election: usize,
    leaf: &Leaf,
    row: usize,
    roll: u64,
    (now, span): (i64, i64),
) -> Option<Sheet> {
    let mut arrival = Stream::new(seed, Domain::Arrival, election, row);
    let first = curve::arrival(arrival.unit(), span).filter(|at| *at <= now)?;
    let corrected = (arrival.below(50) == 0)
        .then(|| curve::arrival(arrival.unit() / 4.0, span).map(|delay| first + delay.max(60)))
        .flatten()
        .filter(|at| *at <= now);
    let domain = if corrected.is_some() { Domain::Correction } else { Domain::Sheet };
    let stream = Stream::new(seed, domain, election, row);
    Some(read(stream, leaf, roll, first, corrected.unwrap_or(first)))
}

fn read(mut stream: Stream, leaf: &Leaf, roll: u64, first: i64, verified: i64) -> Sheet {
    // Sheets are gathered on the minute, and verified in rounds of five minutes.
    let mut some = |least: u64, most: u64| i64::try_from(least + stream.below(most - least)).unwrap_or(0);
    let round = |second: i64| second.div_euclid(300) * 300;
    let captured = round(first) - some(30, 330);
    let gathered = (captured - some(60, 480)).div_euclid(60) * 60;
    let verified = round(verified) + some(3, 7);
    let remark = match stream.below(200) {
        0..=1 => Remark::Illegible,
        2..=4 => Remark::Excess,
        5..=34 => Remark::Partial,
        _ => Remark::None,
    };
    let mut digest = [0; 32];
    stream.fill(&mut digest);
    let mut sheet = Sheet {
        gathered,
        captured,
        verified,
        remark,
        votes: [0; MAX_COLUMNS],
        unregistered: 0,
        nulls: 0,
        deputies: stream.below(9),
        by_phone: stream.below(10) == 0,
        digest,
    };
    if remark != Remark::Illegible {
        let turnout = if remark == Remark::Excess { roll + 30 } else { roll * (48 + stream.below(24)) / 100 };
        sheet.unregistered = stream.below(12) / 11;
        sheet.nulls = 2 + stream.below(10);
        split(&mut stream, turnout, leaf, &mut sheet.votes);
    }
    sheet
}

/// Splits the turnout along the district's support, bent a little more for this sheet where parties are large.
fn split(stream: &mut Stream, turnout: u64, leaf: &Leaf, votes: &mut [u64; MAX_COLUMNS]) {
    for (vote, weight) in votes.iter_mut().zip(leaf.weights) {
        let large = weight >= LARGE;
        *vote = weight * if large { 80 + stream.below(96) } else { 128 };
    }
    let whole = votes.iter().sum::<u64>().max(1);
    for vote in votes {
        *vote = (*vote * turnout + whole / 2) / whole;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;

    #[test]
    fn a_sheet_arrives_once_and_changes_at_most_once() {
        let layout = Layout::new(5, 0, 600, 1);
        let leaf = &layout.leaves[0];
        let mut corrected = 0;
        for row in 0..600 {
            let roll = slot(5, leaf, row).roll;
            let digests: Vec<_> = (0..=100)
                .map(|step| sheet(5, 0, leaf, row, roll, (step * 100, 10_000)).map(|sheet| sheet.digest))
                .collect();
            let mut seen = digests.clone();
            seen.dedup();
            assert!(seen.len() <= 3, "row {row}: {} states", seen.len());
            assert!(seen.iter().skip(1).all(Option::is_some), "row {row} emptied again");
            corrected += usize::from(seen.iter().flatten().count() == 2);
        }
        assert!((3..30).contains(&corrected), "{corrected}");
    }

    #[test]
    fn votes_follow_the_turnout() {
        let layout = Layout::new(5, 0, 600, 1);
        let leaf = &layout.leaves[0];
        for row in 0..600 {
            let slot = slot(5, leaf, row);
            let Some(sheet) = sheet(5, 0, leaf, row, slot.roll, (10_000, 10_000)) else { continue };
            match sheet.remark {
                Remark::Illegible => assert_eq!(sheet.total(), 0),
                Remark::Excess => assert!(sheet.total() > slot.roll),
                _ => assert!(sheet.total() > slot.roll / 3 && sheet.total() <= slot.roll),
            }
            assert!(sheet.gathered < sheet.captured && sheet.captured < sheet.verified);
        }
    }
}

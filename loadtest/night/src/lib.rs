//! A deterministic election night, as the packages an institute would publish.
//!
//! A [`NightSpec`] says how large the night is; [`Night`] makes any of its packages, in any order and on any number of
//! threads, always with the same bytes. Nothing is taken from a real election: parties, places and figures are
//! invented. What is modelled is the shape: a results site whose JSON changes at each cut, tables whose rows are there
//! from the first cut and filled in place, several charsets, and optionally zips inside the zip.
//!
//! Invariants:
//! - package `i` depends on the spec and `i` alone, never on an earlier package, a clock or the thread count;
//! - a filled row stays filled; a corrected one changes once;
//! - sums in the JSON files and in the summary of a table equal the sums of that cut's rows.

#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "tests count in small numbers"))]

mod ballot;
mod clock;
mod curve;
mod database;
mod dialect;
mod digits;
pub mod hostile;
mod layout;
mod names;
mod night;
mod package;
mod page;
mod prng;
mod publish;
mod reading;
mod results;
mod sheet;
mod sizes;
mod spec;
mod statics;
mod table;
mod tally;
mod zipfile;

#[cfg(test)]
mod tests;

pub use night::Night;
pub use package::{Member, PackageBytes};
pub use spec::{NightSpec, SpecError};

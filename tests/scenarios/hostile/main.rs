//! Packages that attackers send and broken transfers leave, through the whole system: each is refused for its reason and
//! set aside as it came, and nothing that visitors see changes.

#![allow(clippy::print_stdout, reason = "what a run measured is worth reading")]

mod refusals;
mod uploads;

/// The program whose first argument says whether it is coordinator or node.
const PROGRAM: &str = env!("CARGO_BIN_EXE_difusor-tests");

//! From a package to every visitor: what goes in comes out of every node, byte for byte, at the same instant, never
//! backwards; and what the operator may and may not do about it.

#![allow(clippy::print_stdout, reason = "what a run measured is worth reading")]

mod archives;
mod arrival;
mod catch_up;
mod command_line;
mod cuts;
mod drain;
mod enrolment;
mod flip;
mod keeping;
mod national;
mod notice;
mod real;
mod restart;
mod retention;
mod rules;
mod verdict;

/// The program whose first argument says whether it is coordinator or node.
const PROGRAM: &str = env!("CARGO_BIN_EXE_difusor-tests");

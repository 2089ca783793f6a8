//! The archive outlives its machine: copies in a folder, in an object store and on nodes, and the way back from each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

mod folder;
mod nodes;
mod rig;
mod s3;
mod told;

/// The program whose first argument says whether it is coordinator or node.
const PROGRAM: &str = env!("CARGO_BIN_EXE_difusor-tests");

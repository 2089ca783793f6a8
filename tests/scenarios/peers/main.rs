//! Nodes among themselves: who is there, how they are, and what they do without the coordinator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod behind;
mod dns;
mod flood;
mod gone;
mod health;
mod orders;
mod policy;
mod relay;
mod rig;

/// The program whose processes make the mesh.
const PROGRAM: &str = env!("CARGO_BIN_EXE_difusor-tests");

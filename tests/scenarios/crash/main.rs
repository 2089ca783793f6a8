//! Crashes: processes that are killed at any moment, files that are damaged while nobody looks, disks that are full.
//!
//! [`killing`] publishes a night while processes die at random, and checks after each round what a crash may never cost:
//! [`invariants`]. The other modules make one kind of damage each: between [`staged`] and flip, in the [`index`], in
//! [`plain`] bytes, in [`bits`] at rest, on a full [`disk`]; and what is spoiled while it is served, by [`scrub`]. [`replaced`] is the loss of a
//! whole machine: the coordinator's, of which there is an old copy.
//!
//! `DIFUSOR_SEED` repeats a run, `DIFUSOR_CRASH_ROUNDS` makes it longer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

mod bits;
mod disk;
mod index;
mod invariants;
mod killing;
mod plain;
mod prober;
mod replaced;
mod rig;
mod scrub;
mod seed;
mod staged;
mod truth;

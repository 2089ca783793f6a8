//! A whole mesh under a virtual clock, made of the product's own pure parts, with loss, delay, partitions, crashes and wrong
//! clocks by seed: the same seed gives the same night.
//!
//! What decides is the product's: [`Rollout`](difusor_coordinator::rollout::Rollout), [`Mark`](difusor_proto::Mark),
//! [`Swim`](difusor_node::peers::swim::Swim), [`View`](difusor_node::peers::View), [`Judge`](difusor_node::health::Judge),
//! [`Roster`](difusor_node::dns::roster::Roster). What carries messages and sleeps is played here. So are the bytes of cuts, but in
//! the nights that are about them ([`bytes`]).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    clippy::print_stdout,
    missing_docs
)]

/// Knows how much memory is in use.
#[global_allocator]
static MEMORY: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

mod bytes;
mod coordinator;
mod nights;
mod node;
mod spread;
mod visitors;
mod world;

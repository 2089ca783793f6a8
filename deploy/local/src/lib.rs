//! A whole mesh on this machine, as real processes: for trying it out, for tests and for load tests.
//!
//! [`multicall`] lets one binary be coordinator and node, so that a mesh needs nothing but itself; [`Mesh`] starts, kills
//! and restarts the processes; [`https`] looks at the nodes as the public does; [`watch`] publishes packages and measures
//! from outside; [`ports`] says where they listen; [`report`] is what `--json` writes.

pub mod https;
pub mod mesh;
pub mod multicall;
pub mod ports;
pub mod report;
pub mod screen;
pub mod watch;

pub use mesh::{Mesh, Options, Ports};

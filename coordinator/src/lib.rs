//! The coordinator: takes packages in, keeps them, and rolls every cut out to the nodes.
//!
//! Along the data flow: [`api`] receives a package; [`ingest`] verifies it; [`publish`] gives it a number, a signed
//! manifest and a place in the store; [`archive`] keeps it, and [`replica`] copies it to other places; [`delta`] says what
//! each node lacks; [`rollout`] decides who is offered what and when all flip; [`mesh`] carries that over QUIC.
//! [`authority`] and [`registry`] say who is a node; [`fleet`] is what
//! the console shows, and [`witness`] sees flips from outside for it.

pub mod api;
pub mod archive;
pub mod authority;
pub mod cli;
pub mod client;
pub mod config;
pub mod delta;
pub mod driver;
pub mod enrol;
pub mod fleet;
pub mod home;
pub mod ingest;
pub mod mesh;
pub mod publish;
pub mod registry;
pub mod replica;
pub mod rollout;
pub mod run;
pub mod scrub;
pub mod state;
pub mod witness;

//! The node: receives verified cuts and serves exactly their bytes.
//!
//! Along the data flow: [`sync`] keeps in touch with the coordinator; [`stage`] turns a delta into a complete cut in the
//! store; [`gate`] decides what may be served; [`site`] is the snapshot of a cut that is; [`listener`] meets the public
//! and [`respond`] answers. [`enrol`] made the machine a node, once.

pub mod address;
pub mod admin;
pub mod admission;
pub mod block;
pub mod body;
pub mod certificate;
pub mod cli;
mod codings;
pub mod conditional;
pub mod config;
pub mod content;
pub mod control;
pub mod desk;
pub mod digest_field;
pub mod dns;
pub mod engine;
pub mod enrol;
pub mod fields;
#[doc(hidden)]
pub mod fuzz;
pub mod gate;
pub mod harden;
pub mod head;
pub mod health;
pub mod home;
pub mod http1;
pub mod http2;
pub mod http3;
pub mod insight;
pub mod keep;
pub mod kernel;
pub mod listener;
pub mod negotiate;
pub mod observe;
pub mod pages;
pub mod peers;
pub mod policy;
pub mod proxied;
pub mod range;
pub mod redirect;
pub mod relay;
pub mod respond;
pub mod run;
pub mod scrub;
pub mod serving;
pub mod shelf;
pub mod site;
pub mod stage;
pub mod sync;
mod syntax;
pub mod tick;
pub mod wellknown;

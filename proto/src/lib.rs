//! The vocabulary of a mesh, on the wire and at rest, shared by the coordinator and every node.
//!
//! Reading order along the data flow: [`label`], [`path`], [`digest`] name things; [`manifest`] lists a cut and
//! [`sign`] proves it; [`plan`] says what a holder of one cut needs for another and [`codec`] how it travels;
//! [`wire`] frames it over the connections that [`tls`] builds; [`store`] keeps it; [`flip`] decides what may be
//! served. [`members`] says who is in the mesh, and [`peer`] what nodes say to each other. Every bound on what is accepted from outside stands in [`limits`], with its reason.
//!
//! Nothing here depends on the coordinator or the node, and only [`store`] and [`transit`] touch disk ([`process`] asks the system how this one is).

#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

pub mod bundle;
pub mod clock;
pub mod codec;
pub mod deflate;
pub mod digest;
pub mod flip;
pub mod ids;
pub mod label;
pub mod limits;
pub mod manifest;
pub mod media;
pub mod members;
pub mod opened;
pub mod path;
pub mod peer;
pub mod plan;
pub mod process;
pub mod sign;
pub mod store;
pub mod tls;
pub mod token;
pub mod transit;
pub mod units;
pub mod wire;

pub use digest::{Digest, Sha256};
pub use flip::{Flip, FlipKind, Mark};
pub use ids::{MeshId, NodeId, Zone};
pub use label::CutLabel;
pub use manifest::{CutKey, Entry, Manifest};
pub use path::SitePath;
pub use sign::{Signed, SigningKey, VerifyingKey};

//! Abuse of the mesh protocol, by machines that really speak it: whoever breaks a rule is closed with the right code and
//! counted, nobody else notices, and nothing that is served ever changes for it.
//!
//! Towards the coordinator, a rogue client ([`client`]): [`identities`] that are none, frames [`out_of_turn`],
//! [`enrolment`] by guests, a [`flood`] of half-open connections, [`offenders`] and [`bans`] that are told to others;
//! and members of two [`versions`] side by side. Towards a node, a rogue coordinator ([`rogue`]) that
//! has even stolen the mesh authority: its [`certificate`], [`frames`], [`manifests`], [`flips`], [`blobs`], [`streams`].
//!
//! Attacks are named as The Update Framework names them (specification 1.0, section 1.5.2): rollback, mix-and-match,
//! fast-forward, endless data, slow retrieval, arbitrary software.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

mod bans;
mod blobs;
mod certificate;
mod client;
mod enrolment;
mod flips;
mod flood;
mod frames;
mod identities;
mod manifests;
mod offenders;
mod out_of_turn;
mod rig;
mod rogue;
mod siege;
mod streams;
mod versions;

//! What is said of packs that nodes keep for the coordinator.
//!
//! A node whose configuration says so keeps the archive too: after its hello it says with [`FromNode::Keeps`] which packs
//! it has. For each that it lacks, one at a time, the coordinator opens a unidirectional stream: a [`StreamHead::Pack`]
//! frame and the bytes of the file. The node verifies digest, records and signature, and answers
//! [`FromNode::Kept`], or [`FromNode::NotKept`] if it cannot. [`FromCoordinator::Fetch`] asks for one back: the node
//! opens a unidirectional stream of its own, a [`PackHead`] frame and the bytes. [`FromCoordinator::Discard`] gives up a
//! cut that both sides have in a smaller form.
//!
//! [`FromNode::Keeps`]: super::FromNode::Keeps
//! [`FromNode::Kept`]: super::FromNode::Kept
//! [`FromNode::NotKept`]: super::FromNode::NotKept
//! [`FromCoordinator::Fetch`]: super::FromCoordinator::Fetch
//! [`FromCoordinator::Discard`]: super::FromCoordinator::Discard

use serde::{Deserialize, Serialize};

use super::DeltaHead;
use crate::{Digest, store::PackName};

/// Opens every unidirectional stream of the coordinator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StreamHead {
    /// Blobs of a cut follow.
    Delta(DeltaHead),
    /// A pack follows.
    Pack(PackHead),
}

/// Goes before the bytes of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackHead {
    /// Its name.
    pub name: PackName,
    /// Bytes that follow, at most [`crate::limits::MAX_PACK_BYTES`].
    pub len: u64,
    /// BLAKE3 of them.
    pub digest: Digest,
}

/// A pack that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its name.
    pub name: PackName,
    /// Its bytes.
    pub len: u64,
}

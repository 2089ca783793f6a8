//! What nodes tell each other of who floods them.
//!
//! A node says with [`FromNode::Offenders`], once a second at most, whom it has banned since; the coordinator hands that on
//! to all other nodes ([`FromCoordinator::Offenders`]) and keeps none of it. Whoever hears of it decides by itself what
//! it is worth. That a node said it is known from its certificate, and nothing else is: what is said is no more than
//! addresses, and never more than [`MAX_OFFENDERS`] at a time.
//!
//! [`FromNode::Offenders`]: super::FromNode::Offenders
//! [`FromCoordinator::Offenders`]: super::FromCoordinator::Offenders
//! [`MAX_OFFENDERS`]: crate::limits::MAX_OFFENDERS

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Who was banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offender {
    /// Its first address.
    pub address: IpAddr,
    /// Bits of the address that all of its addresses have.
    pub prefix: u8,
    /// For how long, seconds.
    pub seconds: u32,
}

//! What nodes say to each other over QUIC, with or without a coordinator.
//!
//! Both ends show the certificates of their nodes, and each takes the other for whom the list of [members](crate::members)
//! says. Whatever is small and can be lost goes in datagrams ([`Datagram`]): failure detection (SWIM), what nodes tell of
//! themselves and of each other ([`News`]), and the time. Each datagram has a number, so that one that is sent twice, for
//! a path that loses many, counts once.
//!
//! **Cuts.** On connections of their own ([`ALPN_RELAY`]), so that what is large does not hold up what is urgent, a node opens
//! a bidirectional stream for each question ([`Ask`], a [frame](crate::wire::read_frame)) and ends its side. The answer has the
//! form of a [delta](crate::wire): a [`DeltaHead`](crate::wire::DeltaHead) frame, then each blob behind its
//! [`ItemHead`](crate::wire::ItemHead). A node that has no such cut, or too much to do, ends the stream without one.
//!
//! Nothing of this is believed further than it has to be: a flip is signed; of its own state a node knows best, and nobody
//! else may say it to that node; what one says of another is one voice. News are not signed by those whom they are of, though:
//! a node that lies can say to others what a third one is supposed to have said, until it is removed.

use serde::{Deserialize, Serialize};

use crate::{CutKey, Digest, Flip, NodeId, Signed, wire::Offender};

/// ALPN of the protocol between nodes.
pub const ALPN_PEER: &[u8] = b"difusor-peer/1";

/// ALPN of connections over which nodes have cuts from each other.
pub const ALPN_RELAY: &[u8] = b"difusor-relay/1";

/// What a node asks another for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// A cut, as a holder of another lacks it; with its list.
    Cut {
        /// Which.
        cut: CutKey,
        /// The root of the cut that the asker holds.
        base: Option<Digest>,
    },
    /// Some blobs of a cut, each by itself; at most [`crate::limits::MAX_WANT`].
    Blobs {
        /// Of which.
        cut: CutKey,
        /// Which.
        digests: Vec<Digest>,
    },
}

/// Largest datagram, bytes: fits the smallest packet that QUIC is allowed (RFC 9000 section 14), less its headers.
pub const MAX_DATAGRAM: usize = 1150;

/// One datagram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datagram<'a> {
    /// Counts up on each connection.
    pub number: u32,
    /// What it brings.
    #[serde(borrow)]
    pub what: What<'a>,
}

/// What a datagram brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What<'a> {
    /// Failure detection.
    Swim(&'a [u8]),
    /// Asks for the time, at Unix microseconds of the one that asks.
    Ping {
        /// When this was sent.
        sent: u64,
    },
    /// Answers that.
    Pong {
        /// Copied from the question.
        sent: u64,
        /// When the question came, Unix microseconds of the one that answers.
        arrived: u64,
        /// When this left.
        answered: u64,
    },
}

/// How a node is, in a word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// As it should be.
    #[default]
    Ready,
    /// It serves, and somebody should look at it.
    Degraded,
    /// It serves, and visitors should go elsewhere.
    Draining,
    /// Nobody should be sent to it.
    Sick,
}

impl Condition {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Sick => "sick",
        }
    }

    /// True if visitors may be sent there.
    pub fn is_fit(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Who.
    pub node: NodeId,
    /// When its process began, Unix microseconds, and how many times it has said something since: the last is right.
    pub version: (u64, u32),
    /// How it is.
    pub condition: Condition,
    /// Why, as bits whose meaning the node's software knows.
    pub reasons: u32,
    /// Serial of the last flip it obeyed.
    pub serial: u64,
    /// Number of the cut it serves; 0 before the first.
    pub seq: u64,
    /// Number of the newest cut it has on disk.
    pub staged: u64,
    /// Of its capacity in bytes and in requests, what is left, in parts of 255; the lesser of the two.
    pub headroom: u8,
}

/// What a node found when it asked another over its public address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Who was asked.
    pub about: NodeId,
    /// Who says so.
    pub by: NodeId,
    /// Counts up with everything that `by` says of anyone since its process began; the last is right.
    pub version: (u64, u32),
    /// True if it was answered as it should be.
    pub is_well: bool,
}

/// Whom a node lets in no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Banned {
    /// Which node.
    pub by: NodeId,
    /// Counts up from 0 to [`BANNED_SLOTS`] and begins anew: what is told under one number gives way to the next under it, and
    /// the others go on until all know.
    pub slot: u8,
    /// Counts up with everything that `by` says since its process began; the last of a slot is right.
    pub version: (u64, u32),
    /// At most [`MAX_BANNED`](crate::limits::MAX_BANNED).
    pub banned: Vec<Offender>,
}

/// How many of [`Banned`] are on their way from one node at once.
pub const BANNED_SLOTS: u8 = 4;

/// What is told from node to node until all know. A node skips what it does not know; one of before this was said skips what
/// follows in the packet, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// Of itself.
    State(State),
    /// Of another.
    Witness(Witness),
    /// The last flip.
    Flip(Signed<Flip>),
    /// Of offenders.
    Banned(Banned),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_borrow_and_fit() {
        let swim = vec![7; MAX_DATAGRAM - 16];
        let datagram = Datagram { number: 300, what: What::Swim(&swim) };
        let bytes = postcard::to_stdvec(&datagram).unwrap();
        assert!(bytes.len() <= MAX_DATAGRAM);
        assert_eq!(postcard::from_bytes::<Datagram<'_>>(&bytes).unwrap(), datagram);
        // A change of these bytes needs a new ALPN.
        let ping = postcard::to_stdvec(&Datagram { number: 1, what: What::Ping { sent: 300 } }).unwrap();
        assert_eq!(ping, [1, 1, 0xac, 2]);
    }

    #[test]
    fn who_is_sent_visitors() {
        use Condition::{Degraded, Draining, Ready, Sick};
        assert_eq!([Ready, Degraded, Draining, Sick].map(Condition::is_fit), [true, true, false, false]);
    }
}

//! Which cut may be served: signed flips, and the mark that no node goes below.
//!
//! A flip carries a serial number that only grows, so an old flip cannot be played again; a publication may only go
//! forward; going back takes a flip that says so. The decision is [`Mark::admit`], a pure function: a node calls it
//! before it serves anything else, and keeps the mark on disk.

use serde::{Deserialize, Serialize};

use crate::{Digest, MeshId, manifest::CutKey, sign::Statement};

/// Why the served cut changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlipKind {
    /// A newer cut.
    Publish,
    /// An older cut, decided by the operator.
    Rollback {
        /// The highest cut that nodes may have served until now.
        from: u64,
    },
}

/// The order to serve one cut from one instant on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flip {
    /// The mesh it was made for.
    pub mesh: MeshId,
    /// Grows by at least one with every flip of the mesh.
    pub serial: u64,
    /// The cut to serve.
    pub cut: CutKey,
    /// When, in Unix microseconds of the coordinator's clock. Past instants mean at once.
    pub at_us: u64,
    /// Forward, or back.
    pub kind: FlipKind,
}

impl Statement for Flip {
    const DOMAIN: &'static str = "difusor flip v1";

    fn mesh(&self) -> MeshId {
        self.mesh
    }
}

impl Flip {
    /// The highest number of a cut that nodes which obey it may have served.
    pub fn newest(&self) -> u64 {
        match self.kind {
            FlipKind::Publish => self.cut.seq,
            FlipKind::Rollback { from } => self.cut.seq.max(from),
        }
    }
}

/// The highest that a node has been told to serve. The start value allows anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Serial of the last flip obeyed; 0 before the first.
    pub serial: u64,
    /// Sequence number it led to; 0 before the first.
    pub seq: u64,
    /// Root it led to.
    pub root: Option<Digest>,
}

/// Why a flip was not obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlipRefused {
    /// This very flip, or an older one, was obeyed before.
    #[error("flip {serial} is a replay: flip {mark} was obeyed before it")]
    Replay {
        /// Of the refused flip.
        serial: u64,
        /// Of the mark.
        mark: u64,
    },
    /// Leads to an older cut without being a rollback that knows of the newest.
    #[error("cut {seq} is below the mark {mark} and the flip is no rollback from it")]
    BelowMark {
        /// Of the refused flip.
        seq: u64,
        /// Of the mark.
        mark: u64,
    },
    /// The sequence number of the mark with other content.
    #[error("cut {seq} was served with other content")]
    OtherContent {
        /// Of both.
        seq: u64,
    },
}

impl Mark {
    /// The mark after obeying `flip`.
    ///
    /// # Errors
    /// [`FlipRefused`] if the flip must not be obeyed; the mark stays.
    pub fn admit(&self, flip: &Flip) -> Result<Self, FlipRefused> {
        let seq = flip.cut.seq;
        if flip.serial <= self.serial {
            return Err(FlipRefused::Replay { serial: flip.serial, mark: self.serial });
        }
        if seq == self.seq && self.root != Some(flip.cut.root) {
            return Err(FlipRefused::OtherContent { seq });
        }
        let allowed = match flip.kind {
            FlipKind::Publish => seq >= self.seq,
            FlipKind::Rollback { from } => seq >= self.seq || from >= self.seq,
        };
        if allowed {
            Ok(Self { serial: flip.serial, seq, root: Some(flip.cut.root) })
        } else {
            Err(FlipRefused::BelowMark { seq, mark: self.seq })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flip(serial: u64, seq: u64, kind: FlipKind) -> Flip {
        let root = Digest::of(&seq.to_le_bytes());
        let cut = CutKey { seq, label: "20210606_2000".parse().unwrap(), root };
        Flip { mesh: MeshId::of_key(b"k"), serial, cut, at_us: 0, kind }
    }

    #[test]
    fn forward_back_and_forward_again() {
        let mark = Mark::default().admit(&flip(1, 5, FlipKind::Publish)).unwrap();
        assert_eq!(mark.admit(&flip(2, 4, FlipKind::Publish)), Err(FlipRefused::BelowMark { seq: 4, mark: 5 }));
        assert_eq!(
            mark.admit(&flip(2, 4, FlipKind::Rollback { from: 4 })),
            Err(FlipRefused::BelowMark { seq: 4, mark: 5 })
        );
        let back = mark.admit(&flip(2, 4, FlipKind::Rollback { from: 5 })).unwrap();
        assert_eq!(back.seq, 4);
        assert_eq!(back.admit(&flip(1, 5, FlipKind::Publish)), Err(FlipRefused::Replay { serial: 1, mark: 2 }));
        assert_eq!(back.admit(&flip(3, 6, FlipKind::Publish)).unwrap().seq, 6);
    }

    #[test]
    fn one_number_one_content() {
        let mark = Mark::default().admit(&flip(1, 5, FlipKind::Publish)).unwrap();
        let mut other = flip(2, 5, FlipKind::Publish);
        assert!(mark.admit(&other).is_ok());
        other.cut.root = Digest::of(b"other");
        assert_eq!(mark.admit(&other), Err(FlipRefused::OtherContent { seq: 5 }));
    }

    proptest! {
        #[test]
        fn without_a_rollback_the_mark_never_falls(steps in prop::collection::vec((0_u64..20, 1_u64..20), 0..40)) {
            let mut mark = Mark::default();
            for (serial, seq) in steps {
                if let Ok(next) = mark.admit(&flip(serial, seq, FlipKind::Publish)) {
                    prop_assert!(next.seq >= mark.seq && next.serial > mark.serial);
                    mark = next;
                }
            }
        }
    }
}

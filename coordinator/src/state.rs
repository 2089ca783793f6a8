//! What the coordinator must not forget about publication: the last flip, and up to which cut it has decided.
//!
//! Written before a flip leaves the house, so that no serial number is ever used twice.

use std::{fs, io, path::PathBuf};

use difusor_proto::{
    CutKey, Flip, FlipKind, MeshId, Signed, SigningKey,
    store::{Access, replace},
};
use serde::{Deserialize, Serialize};

/// The state on disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Saved {
    /// The cut that is served, by the last flip.
    current: Option<CutKey>,
    /// Its flip, for nodes that come late.
    flip: Option<Signed<Flip>>,
    /// Serial of that flip.
    serial: u64,
    /// Cuts up to this one were flipped, or meant for the archive alone.
    decided: u64,
    /// What was ordered and has not been flipped yet, in order.
    #[serde(default)]
    planned: Vec<Planned>,
}

/// A publication or a rollback that was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The cut to lead to.
    pub cut: CutKey,
    /// Forward or back.
    pub kind: FlipKind,
}

/// The state, and where it is kept.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    saved: Saved,
}

impl State {
    /// Reads the state; a missing file is a mesh that never flipped.
    ///
    /// # Errors
    /// If the file cannot be read or holds anything else.
    pub fn open(path: PathBuf) -> anyhow::Result<Self> {
        let saved = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                anyhow::anyhow!("{} is damaged ({error}): restore it from a backup", path.display())
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Saved::default(),
            Err(error) => anyhow::bail!("reading {}: {error}", path.display()),
        };
        Ok(Self { path, saved })
    }

    /// The cut that is served.
    pub fn current(&self) -> Option<CutKey> {
        self.saved.current
    }

    /// The last flip.
    pub fn flip(&self) -> Option<&Signed<Flip>> {
        self.saved.flip.as_ref()
    }

    /// Its serial, 0 before the first.
    pub fn serial(&self) -> u64 {
        self.saved.serial
    }

    /// Cuts up to this number need no decision any more.
    pub fn decided(&self) -> u64 {
        self.saved.decided
    }

    /// What was ordered and has not been flipped yet, in order.
    pub fn planned(&self) -> &[Planned] {
        &self.saved.planned
    }

    /// Notes an order, so that a restart carries it out.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn plan(&mut self, order: Planned) -> io::Result<()> {
        let mut next = self.saved.clone();
        next.planned.push(order);
        self.save(next)
    }

    /// Forgets the orders for a cut.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn drop_plan(&mut self, cut: &CutKey) -> io::Result<()> {
        let mut next = self.saved.clone();
        next.planned.retain(|order| order.cut != *cut);
        next.decided = next.decided.max(cut.seq);
        self.save(next)
    }

    /// Signs the next flip and keeps it.
    ///
    /// # Errors
    /// If it cannot be written; it must then not be sent.
    pub fn next_flip(
        &mut self,
        key: &SigningKey,
        mesh: MeshId,
        cut: CutKey,
        at_us: u64,
        kind: FlipKind,
    ) -> anyhow::Result<(u64, Signed<Flip>)> {
        let serial = self.saved.serial.saturating_add(1);
        let flip = key.sign(&Flip { mesh, serial, cut, at_us, kind })?;
        let decided = self.saved.decided.max(cut.seq);
        // Orders are carried out in their order: this one and whatever was overtaken before it are done.
        let mut planned = self.saved.planned.clone();
        if let Some(at) = planned.iter().position(|order| order.cut == cut && order.kind == kind) {
            planned.drain(..=at);
        }
        self.save(Saved { current: Some(cut), flip: Some(flip.clone()), serial, decided, planned })?;
        Ok((serial, flip))
    }

    /// Goes on from a flip that was forgotten here, and that a node showed.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn adopt(&mut self, signed: Signed<Flip>, flip: &Flip) -> io::Result<()> {
        let decided = self.saved.decided.max(flip.newest());
        let mut planned = self.saved.planned.clone();
        planned.retain(|order| order.cut.seq > flip.newest());
        self.save(Saved { current: Some(flip.cut), flip: Some(signed), serial: flip.serial, decided, planned })
    }

    /// Notes that cuts up to `seq` are decided without a flip.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn decide(&mut self, seq: u64) -> io::Result<()> {
        let decided = self.saved.decided.max(seq);
        self.save(Saved { decided, ..self.saved.clone() })
    }

    fn save(&mut self, next: Saved) -> io::Result<()> {
        let bytes = serde_json::to_vec(&next).map_err(io::Error::other)?;
        replace(&self.path, &bytes, Access::Normal)?;
        self.saved = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use difusor_proto::Digest;

    #[test]
    fn a_flip_that_was_forgotten_is_the_last_one_again() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("state.json");
        let key = SigningKey::generate().unwrap().0;
        let mesh = key.verifying_key().mesh();
        let cut =
            |seq: u64| CutKey { seq, label: "20210606_2000".parse().unwrap(), root: Digest::of(&seq.to_le_bytes()) };
        let mut state = State::open(path.clone()).unwrap();
        state.next_flip(&key, mesh, cut(1), 5, FlipKind::Publish).unwrap();
        for seq in [2, 9] {
            state.plan(Planned { cut: cut(seq), kind: FlipKind::Publish }).unwrap();
        }
        let flip = Flip { mesh, serial: 7, cut: cut(4), at_us: 9, kind: FlipKind::Publish };
        state.adopt(key.sign(&flip).unwrap(), &flip).unwrap();
        let mut state = State::open(path).unwrap();
        assert_eq!((state.serial(), state.decided(), state.current()), (7, 4, Some(cut(4))));
        assert_eq!(state.planned(), [Planned { cut: cut(9), kind: FlipKind::Publish }]);
        assert_eq!(state.next_flip(&key, mesh, cut(9), 10, FlipKind::Publish).unwrap().0, 8);
        // One that led back tells how far it had gone before.
        let flip = Flip { serial: 12, cut: cut(4), kind: FlipKind::Rollback { from: 11 }, ..flip };
        state.adopt(key.sign(&flip).unwrap(), &flip).unwrap();
        assert_eq!((state.serial(), state.decided(), state.current()), (12, 11, Some(cut(4))));
    }

    #[test]
    fn serials_outlive_restarts() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("state.json");
        let key = SigningKey::generate().unwrap().0;
        let mesh = key.verifying_key().mesh();
        let cut = CutKey { seq: 4, label: "20210606_2000".parse().unwrap(), root: Digest::of(b"") };
        let mut state = State::open(path.clone()).unwrap();
        assert_eq!(state.next_flip(&key, mesh, cut, 5, FlipKind::Publish).unwrap().0, 1);
        state.decide(6).unwrap();
        let mut state = State::open(path).unwrap();
        assert_eq!((state.serial(), state.decided(), state.current()), (1, 6, Some(cut)));
        let back = FlipKind::Rollback { from: 6 };
        let newer = CutKey { seq: 7, ..cut };
        for (cut, kind) in [(newer, FlipKind::Publish), (cut, back), (newer, FlipKind::Publish)] {
            state.plan(Planned { cut, kind }).unwrap();
        }
        let (serial, flip) = state.next_flip(&key, mesh, cut, 6, back).unwrap();
        assert_eq!(state.planned(), [Planned { cut: newer, kind: FlipKind::Publish }]);
        assert_eq!((serial, state.decided()), (2, 6));
        assert_eq!(flip.open(&key.verifying_key()).unwrap().serial, 2);
    }
}

//! Which copies were verified, as a file: read back once, not after every restart.
//!
//! It only ever says less than is true: a file that is lost or damaged has every copy read again, none sent again.

use std::{fs, io, path::PathBuf};

use difusor_proto::store::{Access, PackName, replace};
use serde::{Deserialize, Serialize};

use super::plan::Packs;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved {
    /// Where the copies are. Another place has none of them.
    to: String,
    held: Packs,
}

/// The file, and what it says.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    saved: Saved,
}

impl Record {
    /// Reads what is known of the copies at `to`.
    pub(super) fn open(path: PathBuf, to: &str) -> Self {
        let saved = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Saved>(&bytes).ok());
        let saved = saved.filter(|saved| saved.to == to).unwrap_or_else(|| Saved { to: to.into(), held: Packs::new() });
        Self { path, saved }
    }

    pub(super) fn held(&self) -> &Packs {
        &self.saved.held
    }

    /// Notes a copy that was verified.
    pub(super) fn hold(&mut self, name: PackName, len: u64) -> io::Result<()> {
        self.saved.held.insert(name, len);
        self.write()
    }

    /// Notes that a copy is not sure, or gone.
    pub(super) fn drop(&mut self, name: &PackName) -> io::Result<()> {
        match self.saved.held.remove(name) {
            Some(_) => self.write(),
            None => Ok(()),
        }
    }

    fn write(&self) -> io::Result<()> {
        replace(&self.path, &serde_json::to_vec(&self.saved)?, Access::Normal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_believed_for_its_own_place_only() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("replica.json");
        let name: PackName = "0000000001-20240602_2005-0123456789ab-1.cut".parse().unwrap();
        let mut record = Record::open(path.clone(), "file:///a");
        record.hold(name.clone(), 7).unwrap();
        assert_eq!(Record::open(path.clone(), "file:///a").held().get(&name), Some(&7));
        assert!(Record::open(path.clone(), "file:///b").held().is_empty());
        record.drop(&name).unwrap();
        assert!(Record::open(path.clone(), "file:///a").held().is_empty());
        fs::write(&path, "{").unwrap();
        assert!(Record::open(path, "file:///a").held().is_empty());
    }
}

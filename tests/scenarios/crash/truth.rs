//! What the files of every cut really are, to judge what nodes answer.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use difusor_night::Night;
use difusor_proto::Digest;

/// The files of one cut, by path.
pub(crate) type Files = BTreeMap<String, Digest>;

/// The files of every cut that was ever handed in, by label.
#[derive(Clone, Default)]
pub(crate) struct Truth(Arc<Mutex<HashMap<String, Arc<Files>>>>);

impl Truth {
    /// Learns cut `i` of a night, before anyone publishes it.
    pub(crate) fn learn(&self, night: &Night, i: usize) {
        let files = night.entries(i).into_iter().map(|(path, bytes)| (path, Digest::of(&bytes))).collect();
        self.0.lock().unwrap().insert(night.label(i), Arc::new(files));
    }

    pub(crate) fn of(&self, label: &str) -> Option<Arc<Files>> {
        self.0.lock().unwrap().get(label).map(Arc::clone)
    }
}

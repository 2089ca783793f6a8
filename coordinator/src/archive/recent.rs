//! The packages that were made last, within a bound of memory.

use std::{collections::VecDeque, sync::Arc};

use difusor_proto::Digest;

/// Packages by the roots of their cuts, the one that was asked for last in front.
#[derive(Debug)]
pub(super) struct Recent {
    memory: u64,
    packages: VecDeque<(Digest, Arc<Vec<u8>>)>,
}

impl Recent {
    /// Room for so many bytes.
    pub(super) fn new(memory: u64) -> Self {
        Self { memory, packages: VecDeque::new() }
    }

    pub(super) fn get(&mut self, root: &Digest) -> Option<Arc<Vec<u8>>> {
        let at = self.packages.iter().position(|(known, _)| known == root)?;
        let found = self.packages.remove(at)?;
        let package = Arc::clone(&found.1);
        self.packages.push_front(found);
        Some(package)
    }

    /// Keeps a package, and lets go of those that were not asked for the longest.
    pub(super) fn put(&mut self, root: Digest, package: Arc<Vec<u8>>) {
        self.packages.retain(|(known, _)| *known != root);
        self.packages.push_front((root, package));
        let mut bytes = 0;
        self.packages.retain(|(_, package)| {
            bytes += package.len() as u64;
            bytes <= self.memory
        });
    }

    pub(super) fn clear(&mut self) {
        self.packages.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_asked_for_stay() {
        let [a, b, c, large] = [b"a", b"b", b"c", b"l"].map(|name| Digest::of(name));
        let mut recent = Recent::new(5);
        recent.put(a, Arc::new(vec![1, 1]));
        recent.put(b, Arc::new(vec![2, 2]));
        assert!(recent.get(&a).is_some());
        recent.put(c, Arc::new(vec![3, 3]));
        assert!(recent.get(&b).is_none());
        assert_eq!(recent.get(&a).as_deref(), Some(&vec![1, 1]));
        // What does not fit is not kept, and costs the others their place.
        recent.put(large, Arc::new(vec![0; 6]));
        assert!(recent.get(&large).is_none());
        recent.put(c, Arc::new(vec![3, 3]));
        assert!(recent.get(&c).is_some());
        recent.clear();
        assert!(recent.get(&c).is_none());
    }
}

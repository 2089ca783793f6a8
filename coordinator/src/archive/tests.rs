//! Packages that are told and come out again, and what is left alone.

use difusor_night::{Night, NightSpec};
use difusor_proto::{SigningKey, manifest::PackageId};
use tempfile::TempDir;

use super::*;

struct Kit {
    archive: Archive,
    store: Store,
    key: SigningKey,
    night: Night,
    _dir: TempDir,
}

impl Kit {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        let key = SigningKey::generate().unwrap().0;
        let plan = Plan { every: 4, verbatim: 1 };
        let archive = Archive::new(store.clone(), key.verifying_key(), plan, 1 << 20).unwrap();
        let night = Night::new(NightSpec { nested: true, ..NightSpec::tiny() }).unwrap();
        Self { archive, store, key, night, _dir: dir }
    }

    fn bytes(&self, seq: u64) -> Bytes {
        self.night.package(usize::try_from(seq).unwrap()).bytes.into()
    }

    fn take_in(&self, seq: u64) -> CutKey {
        let bytes = self.bytes(seq);
        let ingested = ingest::ingest(&bytes, &Caps::default(), &()).unwrap();
        let pack = self.store.begin().unwrap();
        let mut stream = pack.package().unwrap();
        stream.write(&bytes).unwrap();
        let digest = stream.finish().unwrap();
        spans(&pack, &bytes, &ingested.sources).unwrap();
        let manifest = Manifest {
            mesh: self.key.verifying_key().mesh(),
            seq,
            label: "20240602_2000".parse().unwrap(),
            accepted_ms: seq,
            package: PackageId { digest, sha256: ingested.sha256, size: bytes.len() as u64 },
            entries: ingested.entries,
        };
        let (cut, encoded) = manifest.encode().unwrap();
        self.store.commit(&pack, &cut, &self.key.sign_encoded(encoded)).unwrap();
        cut
    }

    /// True if its package comes out as it went in, and is proven.
    fn is_whole(&self, cut: &CutKey) -> bool {
        let package = self.archive.package(cut).unwrap();
        let len = usize::try_from(package.len()).unwrap();
        let held = self.archive.held().unwrap().into_iter().find(|held| held.cut == *cut).unwrap();
        let verified = self.archive.verify(&held);
        package.piece(0, len).unwrap() == self.bytes(cut.seq)
            && verified.problem.is_none()
            && verified.sha256 == Sha256::of(&self.bytes(cut.seq))
    }
}

#[test]
fn what_is_told_comes_out_by_any_number_of_steps() {
    let kit = Kit::new();
    let [one, two, three] = [1, 2, 3].map(|seq| kit.take_in(seq));
    for (cut, base) in [(three, two), (two, one)] {
        assert!(matches!(kit.archive.compact(&cut, &base).unwrap(), Kept::Told(bytes) if bytes > 0));
    }
    assert!([one, two, three].iter().all(|cut| kit.is_whole(cut)));
    // Its files are there again, and it is told by nobody's leave.
    kit.archive.expand(&three).unwrap();
    assert_eq!(kit.archive.compact(&three, &two).unwrap(), Kept::Wanted);
    let manifest = kit.archive.manifest(&three).unwrap();
    assert!(manifest.entries.iter().all(|entry| kit.store.plain(&entry.digest).is_ok()));
    kit.archive.served(&two);
    assert_eq!(kit.archive.compact(&three, &two).unwrap(), Kept::Wanted);
    kit.archive.served(&three);
    assert!(matches!(kit.archive.compact(&three, &two).unwrap(), Kept::Told(_)));
    assert!(kit.is_whole(&three));
    // One that is wanted while it lies there as it came is left so, too.
    kit.archive.expand(&one).unwrap();
    assert_eq!(kit.archive.compact(&one, &two).unwrap(), Kept::Wanted);
}

#[test]
fn a_cut_that_is_not_here_is_said_to_be_missing() {
    let kit = Kit::new();
    let one = kit.take_in(1);
    let nobody = CutKey { root: Digest::of(b"nobody"), ..one };
    assert!(matches!(kit.archive.package(&nobody), Err(ArchiveError::Unknown(1))));
    assert!(matches!(kit.archive.expand(&nobody), Err(ArchiveError::Unknown(1))));
}

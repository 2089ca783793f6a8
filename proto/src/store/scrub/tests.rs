//! Every bit of a pack counts: what is turned is found, and a whole file takes its place, for good.

use tempfile::TempDir;

use super::*;
use crate::{SigningKey, codec::Coding, manifest::tests::manifest};

const ONE: &[u8] = b"one file that lies in the package as it is, and is long enough to be hit";
const TWO: &[u8] = b"and another one, kept beside it";

struct Rig {
    dir: TempDir,
    cut: CutKey,
    name: String,
}

impl Rig {
    /// A store with a cut as a coordinator keeps it, and a blob beside.
    fn new() -> (Self, Store) {
        let dir = TempDir::new().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        let key = SigningKey::generate().unwrap().0;
        let mut manifest = manifest(7, &[("one", ONE), ("two", TWO)]);
        manifest.mesh = key.verifying_key().mesh();
        let (cut, bytes) = manifest.encode().unwrap();
        let pack = store.begin().unwrap();
        let mut package = pack.package().unwrap();
        package.write(b"head").unwrap();
        package.write(ONE).unwrap();
        package.write(b"tail").unwrap();
        package.finish().unwrap();
        pack.span(Digest::of(ONE), Coding::Identity, ONE.len() as u64, 4, ONE).unwrap();
        pack.blob(Digest::of(TWO), Coding::Identity, TWO.len() as u64, TWO).unwrap();
        store.commit(&pack, &cut, &key.sign_encoded(bytes)).unwrap();
        let name = store.packs_at_rest().unwrap().remove(0).name;
        (Self { dir, cut, name }, store)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("packs").join(&self.name)
    }

    fn flip(&self, at: usize) {
        let mut bytes = fs::read(self.path()).unwrap();
        bytes[at] ^= 1;
        // In place, as a disk spoils it: whoever has it open sees it.
        File::options().write(true).open(self.path()).unwrap().write_all_at(&bytes, 0).unwrap();
    }

    /// A whole copy of the pack, somewhere else on the disk.
    fn copy(&self) -> PathBuf {
        let copy = self.dir.path().join("copy");
        fs::copy(self.path(), &copy).unwrap();
        copy
    }

    fn assert_whole(&self, store: &Store) {
        assert_eq!(store.verify_pack(&self.name).unwrap(), []);
        assert!(store.damaged().is_empty());
        assert_eq!(store.plain(&Digest::of(ONE)).unwrap(), ONE);
        assert_eq!(store.plain(&Digest::of(TWO)).unwrap(), TWO);
        assert!(store.manifest(&self.cut).unwrap().is_some());
        assert_eq!(store.package(&self.cut).unwrap().unwrap().len(), ONE.len() as u64 + 8);
    }
}

#[test]
fn a_turned_bit_is_found_wherever_it_is() {
    let (rig, store) = Rig::new();
    let file = store.packs_at_rest().unwrap().remove(0);
    assert_eq!((file.cut, file.len), (rig.cut, fs::metadata(rig.path()).unwrap().len()));
    rig.assert_whole(&store);
    let one = Part::Blob { digest: Digest::of(ONE), form: Form::Identity };
    let two = Part::Blob { digest: Digest::of(TWO), form: Form::Identity };
    let package = 16 + 128;
    let beside = package + 8 + ONE.len() + 128 + 128;
    for (at, parts) in [
        (0, vec![Part::Headers]),
        (20, vec![Part::Headers]),
        (package + 1, vec![Part::Package]),
        (package + 10, vec![Part::Package, one]),
        (beside + 3, vec![two]),
        (beside + TWO.len() + 128 + 9, vec![Part::Manifest]),
        (usize::try_from(file.len).unwrap() - 3, vec![Part::Headers]),
    ] {
        rig.flip(at);
        let found: Vec<_> = store.verify_pack(&rig.name).unwrap().into_iter().map(|damage| damage.part).collect();
        assert_eq!(found, parts, "byte {at}");
        assert_eq!(store.damaged(), [rig.name.as_str()]);
        rig.flip(at);
        rig.assert_whole(&store);
    }
    fs::remove_file(rig.path()).unwrap();
    let gone = Damage { pack: rig.name.clone(), part: Part::File };
    assert_eq!(store.verify_pack(&rig.name).unwrap(), [gone]);
    assert!(store.verify_pack("another").is_err());
}

#[test]
fn whoever_paces_sees_every_byte_and_may_stop() {
    let (rig, store) = Rig::new();
    let mut read = 0;
    let found = store.verify_pack_paced(&rig.name, &mut |bytes| {
        read += bytes;
        true
    });
    assert_eq!(found.unwrap(), Some(Vec::new()));
    let headers = 16 + 5 * 128;
    assert!(read > ONE.len() as u64 && read + headers < fs::metadata(rig.path()).unwrap().len());
    rig.flip(160);
    assert_eq!(store.verify_pack_paced(&rig.name, &mut |_| false).unwrap(), None);
    assert!(store.damaged().is_empty(), "what was not read to the end is not judged");
}

#[test]
fn a_whole_copy_takes_the_place_of_a_damaged_pack() {
    for (at, open) in [(160, true), (160, false), (20, true)] {
        let (rig, store) = Rig::new();
        let copy = rig.copy();
        let held = open.then(|| store.package(&rig.cut).unwrap().unwrap());
        rig.flip(at);
        assert_eq!(store.verify_pack(&rig.name).unwrap().len().min(1), 1);
        store.replace_pack(&rig.name, &copy).unwrap();
        rig.assert_whole(&store);
        assert!(!copy.exists(), "it is moved");
        assert!(rig.dir.path().join("aside").join(&rig.name).exists(), "the damaged one is kept");
        if let Some(held) = held {
            assert_eq!(held.read().unwrap().len(), ONE.len() + 8, "who has the old one open can read on");
        }
        drop(store);
        let (store, recovery) = Store::open(rig.dir.path()).unwrap();
        assert_eq!(recovery, Default::default());
        rig.assert_whole(&store);
    }
}

#[test]
fn only_a_whole_pack_of_the_same_cut_is_taken() {
    let (rig, store) = Rig::new();
    let (other, _store) = Rig::new();
    let copy = rig.copy();
    rig.flip(160);
    store.verify_pack(&rig.name).unwrap();
    // Equally damaged, cut off, of another cut, and what is none at all.
    let damaged = rig.dir.path().join("damaged");
    fs::copy(rig.path(), &damaged).unwrap();
    let short = rig.dir.path().join("short");
    fs::write(&short, &fs::read(&copy).unwrap()[..300]).unwrap();
    let stranger = other.copy();
    let nothing = rig.dir.path().join("nothing");
    for with in [&damaged, &short, &stranger] {
        assert!(matches!(store.replace_pack(&rig.name, with), Err(StoreError::Damaged(_))), "{}", with.display());
    }
    assert!(matches!(store.replace_pack(&rig.name, &nothing), Err(StoreError::Io(_))));
    assert_eq!(store.damaged(), [rig.name.as_str()]);
    store.replace_pack(&rig.name, &copy).unwrap();
    rig.assert_whole(&store);
}

#[test]
fn a_pack_that_was_set_aside_at_the_start_comes_back() {
    let (rig, store) = Rig::new();
    let copy = rig.copy();
    drop(store);
    rig.flip(20);
    fs::remove_dir_all(rig.dir.path().join("index")).unwrap();
    let (store, recovery) = Store::open(rig.dir.path()).unwrap();
    assert_eq!((recovery.damaged, store.damaged()), (vec![rig.name.clone()], vec![rig.name.clone()]));
    assert!(store.cuts().unwrap().is_empty());
    store.replace_pack(&rig.name, &copy).unwrap();
    rig.assert_whole(&store);
    assert_eq!(store.cuts().unwrap(), [rig.cut]);
    drop(store);
    let (store, _) = Store::open(rig.dir.path()).unwrap();
    rig.assert_whole(&store);
}

/// Killed between the two files: the old one is unlisted, whichever is there is entered as it is.
#[test]
fn a_crash_in_the_middle_leaves_one_of_the_two() {
    let (rig, store) = Rig::new();
    store.keep_aside(&rig.name, store.known(&rig.name).unwrap().as_ref()).unwrap();
    store.0.index.unlist(&rig.name).unwrap();
    drop(store);
    let (store, recovery) = Store::open(rig.dir.path()).unwrap();
    assert_eq!(recovery.reindexed, 1);
    rig.assert_whole(&store);
}

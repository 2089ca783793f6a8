//! A replica in a folder: what is in it, what is not, and what comes back.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
};

use difusor_proto::{
    CutKey, Manifest, Sha256, Signed, SigningKey,
    manifest::PackageId,
    store::{Recovery, Store},
};
use tempfile::TempDir;

use std::sync::Arc;

use super::*;

struct Rig {
    dir: TempDir,
    key: SigningKey,
    store: Store,
    fleet: FleetView,
    committed: watch::Sender<()>,
}

impl Rig {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("there")).unwrap();
        let (store, _) = Store::open(&dir.path().join("store")).unwrap();
        let (key, _) = SigningKey::generate().unwrap();
        Self { dir, key, store, fleet: FleetView::default(), committed: watch::Sender::default() }
    }

    fn config(&self) -> ReplicaConfig {
        ReplicaConfig::at(&format!("file://{}", self.dir.path().join("there").display()))
    }

    fn replica(&self) -> Replica {
        let fetcher = Fetcher::new(self.store.clone(), &self.dir.path().join("store"), &self.key);
        let record = self.dir.path().join("replica.json");
        Replica::new(self.config(), fetcher, record, Arc::clone(&self.fleet), self.committed.subscribe())
    }

    /// Keeps a cut whose package has `len` bytes.
    fn commit(&self, seq: u64, len: usize) -> CutKey {
        commit(&self.store, &self.key, seq, len)
    }

    fn seen(&self) -> ReplicaView {
        view(&self.fleet).replica(&self.config().url).clone()
    }

    fn here(&self) -> Vec<(String, Vec<u8>)> {
        files(&self.dir.path().join("store/packs"))
    }

    fn there(&self) -> Vec<(String, Vec<u8>)> {
        files(&self.dir.path().join("there"))
    }
}

fn commit(store: &Store, key: &SigningKey, seq: u64, len: usize) -> CutKey {
    let package: Vec<u8> = (0..len).map(|i| (i / 7 + usize::try_from(seq).unwrap()).to_le_bytes()[0]).collect();
    let pack = store.begin().unwrap();
    let mut stream = pack.package().unwrap();
    stream.write(&package).unwrap();
    let digest = stream.finish().unwrap();
    let manifest = Manifest {
        mesh: key.verifying_key().mesh(),
        seq,
        label: "20240602_2005".parse().unwrap(),
        accepted_ms: seq * 1000,
        package: PackageId { digest, sha256: Sha256::of(&package), size: len as u64 },
        entries: Vec::new(),
    };
    let (cut, encoded) = manifest.encode().unwrap();
    let signed: Signed<Manifest> = key.sign_encoded(encoded);
    store.commit(&pack, &cut, &signed).unwrap();
    cut
}

fn files(dir: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> =
        entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect();
    files.sort();
    files
}

/// Turns one bit of a file, in place.
fn spoil(path: &std::path::Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

/// Larger than two parts, and no multiple of one.
const LARGE: usize = (20 << 20) + 12_345;

#[tokio::test]
async fn every_pack_is_copied_once_and_verified() {
    let rig = Rig::new();
    rig.commit(1, 10);
    rig.commit(2, LARGE);
    // Not a pack, and none of our business; and what a process that was killed left.
    fs::write(rig.dir.path().join("there/README"), "hands off").unwrap();
    let left = format!("{}#1", rig.here()[0].0);
    fs::write(rig.dir.path().join("there").join(left), "torn").unwrap();
    let mut replica = rig.replica();
    replica.pass(&CancellationToken::new()).await.unwrap();
    let mut expected = rig.here();
    expected.push(("README".into(), b"hands off".to_vec()));
    assert!(rig.there() == expected, "{:?}", rig.there().iter().map(|f| &f.0).collect::<Vec<_>>());
    let seen = rig.seen();
    let bytes: u64 = rig.here().iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert_eq!((seen.held, seen.missing, seen.bytes, seen.last_error), (2, 0, bytes, None));
    // Nothing is sent again: a file that was written again would have another inode.
    let inodes = || -> Vec<_> {
        use std::os::unix::fs::MetadataExt as _;
        let entries = fs::read_dir(rig.dir.path().join("there")).unwrap();
        let mut all: Vec<_> =
            entries.map(|e| e.unwrap()).map(|e| (e.file_name(), e.metadata().unwrap().ino())).collect();
        all.sort();
        all
    };
    let before = inodes();
    rig.replica().pass(&CancellationToken::new()).await.unwrap();
    fs::remove_file(rig.dir.path().join("replica.json")).unwrap();
    rig.replica().pass(&CancellationToken::new()).await.unwrap();
    assert_eq!(inodes(), before);
}

#[tokio::test]
async fn a_copy_that_differs_is_sent_again_and_one_that_is_gone_too() {
    let rig = Rig::new();
    rig.commit(1, 100);
    rig.commit(2, 200);
    let cancel = CancellationToken::new();
    rig.replica().pass(&cancel).await.unwrap();
    let copy = rig.dir.path().join("there").join(&rig.here()[0].0);
    // The same length, other bytes, and no record of having verified them.
    spoil(&copy, 150);
    fs::remove_file(rig.dir.path().join("replica.json")).unwrap();
    let mut replica = rig.replica();
    replica.pass(&cancel).await.unwrap();
    assert_eq!(view(&rig.fleet).refused.get("replica:differs"), Some(&1));
    assert!(rig.there() == rig.here());
    fs::remove_file(rig.dir.path().join("there").join(&rig.here()[1].0)).unwrap();
    replica.pass(&cancel).await.unwrap();
    assert!(rig.there() == rig.here());
}

#[tokio::test]
async fn a_pack_that_is_damaged_here_is_not_sent_over_a_good_copy() {
    let rig = Rig::new();
    rig.commit(1, 100);
    rig.commit(2, 200);
    rig.replica().pass(&CancellationToken::new()).await.unwrap();
    let good = rig.there();
    fs::remove_file(rig.dir.path().join("replica.json")).unwrap();
    for (name, _) in rig.here() {
        spoil(&rig.dir.path().join("store/packs").join(name), 150);
    }
    let mut replica = rig.replica();
    replica.pass(&CancellationToken::new()).await.unwrap();
    assert!(rig.there() == good);
    assert_eq!((rig.seen().held, rig.seen().missing), (0, 2));
    assert!(rig.seen().last_error.unwrap().contains("damaged"));
    assert_eq!(rig.store.damaged().len(), 2);
}

#[tokio::test]
async fn a_place_that_is_not_there_is_tried_until_it_is() {
    let rig = Rig::new();
    rig.commit(1, 100);
    let there = rig.dir.path().join("there");
    fs::remove_dir(&there).unwrap();
    let cancel = CancellationToken::new();
    let running = tokio::spawn(rig.replica().run(cancel.clone()));
    let until = async |what: &str, condition: &dyn Fn() -> bool| {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{what}"));
    };
    until("the error is shown", &|| rig.seen().last_error.is_some_and(|error| error.contains("mount"))).await;
    fs::create_dir(&there).unwrap();
    until("the copy is there", &|| rig.seen().held == 1 && rig.seen().last_error.is_none()).await;
    rig.commit(2, 100);
    rig.committed.send_replace(());
    until("the next one follows", &|| rig.seen().held == 2).await;
    assert!(rig.there() == rig.here());
    cancel.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_cut_is_deleted_there_only_for_its_smaller_form() {
    let rig = Rig::new();
    rig.commit(1, 100);
    rig.commit(2, 100);
    rig.replica().pass(&CancellationToken::new()).await.unwrap();
    // A pack of another mesh in the same place, without a smaller form here.
    let other = "0000000001-20240602_2005-ffffffffffff-1.cut";
    fs::write(rig.dir.path().join("there").join(other), "x").unwrap();
    let mut replica = rig.replica();
    replica.pass(&CancellationToken::new()).await.unwrap();
    assert_eq!(rig.there().len(), 3);
}

/// Everything is lost but the key; then some of it is damaged; then nothing is wrong.
#[tokio::test]
async fn a_store_comes_back_from_its_replica() {
    let rig = Rig::new();
    let cuts = [rig.commit(1, 10), rig.commit(2, LARGE), rig.commit(3, 30)];
    let cancel = CancellationToken::new();
    rig.replica().pass(&cancel).await.unwrap();
    let remote = Remote::open(&rig.config()).unwrap();
    let folder = rig.dir.path().join("store");
    let in_use = restore(&remote, &folder, &rig.key, &cancel, |_, _, _| ()).await.unwrap_err();
    assert!(format!("{in_use:#}").contains("in use"), "{in_use:#}");
    let whole = rig.here();
    let names: Vec<PackName> = whole.iter().map(|(name, _)| name.parse().unwrap()).collect();
    let Rig { dir, key, store, .. } = rig;
    drop(store);
    fs::remove_dir_all(&folder).unwrap();

    let mut told = Vec::new();
    let back = restore(&remote, &folder, &key, &cancel, |name, at, _| told.push((name.clone(), at))).await.unwrap();
    assert_eq!((back.kept, back.fetched, back.failed), (0, 3, vec![]));
    assert_eq!(told, [(names[2].clone(), (1, 3)), (names[1].clone(), (2, 3)), (names[0].clone(), (3, 3))]);
    assert!(files(&folder.join("packs")) == whole);

    spoil(&folder.join("packs").join(names[0].as_str()), 150);
    fs::remove_file(folder.join("packs").join(names[2].as_str())).unwrap();
    let back = restore(&remote, &folder, &key, &cancel, |_, _, _| ()).await.unwrap();
    assert_eq!((back.kept, back.fetched, back.failed), (1, 2, vec![]));
    assert!(files(&folder.join("packs")) == whole);
    let (store, recovery) = Store::open(&folder).unwrap();
    assert_eq!(recovery, Recovery::default());
    assert_eq!(store.cuts().unwrap(), cuts);
    drop((store, dir));
}

#[tokio::test]
async fn copies_that_are_damaged_or_of_another_mesh_stay_outside() {
    let rig = Rig::new();
    rig.commit(1, 10);
    rig.commit(2, 20);
    let cancel = CancellationToken::new();
    rig.replica().pass(&cancel).await.unwrap();
    let other = Rig::new();
    other.commit(3, 30);
    let (foreign, bytes) = &other.here()[0];
    let there = rig.dir.path().join("there");
    fs::write(there.join(foreign), bytes).unwrap();
    // One cut under the name of another, and a copy that was spoiled.
    let names: Vec<_> = rig.here().into_iter().map(|(name, _)| name).collect();
    fs::copy(there.join(&names[0]), there.join(names[0].replace("0000000001", "0000000009"))).unwrap();
    spoil(&there.join(&names[1]), 150);
    let folder = rig.dir.path().join("new");
    let remote = Remote::open(&rig.config()).unwrap();
    let back = restore(&remote, &folder, &rig.key, &cancel, |_, _, _| ()).await.unwrap();
    assert_eq!((back.kept, back.fetched, back.failed.len()), (0, 1, 3));
    let why: Vec<_> = back.failed.iter().map(|(_, why)| why.as_str()).collect();
    assert!(
        why[0].contains("another cut") && why[1].contains("another mesh") && why[2].contains("other bytes"),
        "{why:?}"
    );
    assert_eq!(files(&folder.join("packs")).len(), 1);
}

//! What a store must survive: restarts, torn and damaged packs, a lost index, chains of patches, retirement.

use std::collections::HashSet;

use tempfile::TempDir;

use super::*;
use crate::{SigningKey, manifest::tests::manifest};

fn files(seq: u64) -> Vec<(String, Vec<u8>)> {
    (0..20_u64)
        .map(|i| (format!("f{i:02}"), format!("{i} of {}", if i < 10 { 0 } else { seq }).repeat(50).into()))
        .collect()
}

/// Writes cut `seq` as a node would: blobs as they came, and the plain bytes beside them.
fn stage(store: &Store, seq: u64) -> CutKey {
    let files = files(seq);
    let refs: Vec<_> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let mut manifest = manifest(seq, &refs);
    let key = SigningKey::generate().unwrap().0;
    manifest.mesh = key.verifying_key().mesh();
    let (cut, bytes) = manifest.encode().unwrap();
    let (pack, plain) = (store.begin().unwrap(), store.begin().unwrap());
    for (_, bytes) in &files {
        let digest = Digest::of(bytes);
        let coded = codec::compress(bytes).unwrap();
        pack.blob(digest, Coding::Zstd, bytes.len() as u64, &coded).unwrap();
        plain.blob(digest, Coding::Identity, bytes.len() as u64, bytes).unwrap();
    }
    store.commit_plain(&plain, &cut).unwrap();
    store.commit(&pack, &cut, &key.sign_encoded(bytes)).unwrap();
    cut
}

fn assert_whole(store: &Store, cut: &CutKey) {
    let signed = store.manifest(cut).unwrap().unwrap();
    assert_eq!(Digest::of(signed.bytes()), cut.root);
    for (_, bytes) in files(cut.seq) {
        assert_eq!(store.plain(&Digest::of(&bytes)).unwrap(), bytes);
    }
}

fn packs(dir: &TempDir) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir.path().join("packs")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let cut = {
        let (store, recovery) = Store::open(dir.path()).unwrap();
        assert_eq!(recovery, Recovery::default());
        let cut = stage(&store, 1);
        assert_whole(&store, &cut);
        store.settle().unwrap();
        cut
    };
    let (store, recovery) = Store::open(dir.path()).unwrap();
    assert_eq!(recovery, Recovery::default());
    assert_eq!(store.cuts().unwrap(), [cut]);
    assert_whole(&store, &cut);
    let blob = store.blob(&Digest::of(&files(1)[0].1), Form::Identity).unwrap().unwrap();
    let mut part = [0; 4];
    blob.read_at(&mut part, 2).unwrap();
    assert_eq!(&part, b"of 0");
    assert!(blob.read_at(&mut part, blob.len() - 3).is_err());
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = TempDir::new().unwrap();
    let (_store, _) = Store::open(dir.path()).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::InUse(_))));
}

#[test]
fn an_unfinished_pack_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    {
        let (store, _) = Store::open(dir.path()).unwrap();
        let pack = store.begin().unwrap();
        pack.blob(Digest::of(b"x"), Coding::Identity, 1, b"x").unwrap();
        drop(pack);
        assert!(packs(&dir).is_empty());
        std::mem::forget(store.begin().unwrap());
    }
    let (store, recovery) = Store::open(dir.path()).unwrap();
    assert_eq!(recovery.unfinished, 1);
    assert!(store.cuts().unwrap().is_empty());
}

#[test]
fn a_lost_or_broken_index_is_made_anew() {
    for broken in [false, true] {
        let dir = TempDir::new().unwrap();
        let cuts = {
            let (store, _) = Store::open(dir.path()).unwrap();
            let cuts = [stage(&store, 1), stage(&store, 2)];
            store.settle().unwrap();
            cuts
        };
        let index = dir.path().join("index");
        fs::remove_dir_all(&index).unwrap();
        if broken {
            fs::create_dir(&index).unwrap();
            fs::write(index.join("conf"), "nonsense").unwrap();
            fs::write(index.join("db"), vec![0xAB; 5000]).unwrap();
        }
        let (store, recovery) = Store::open(dir.path()).unwrap();
        assert_eq!(recovery.reindexed, 4, "broken: {broken}");
        assert_eq!(store.cuts().unwrap(), cuts);
        cuts.iter().for_each(|cut| assert_whole(&store, cut));
    }
}

#[test]
fn a_torn_plain_pack_is_decoded_again_from_the_cut() {
    let dir = TempDir::new().unwrap();
    let cut = {
        let (store, _) = Store::open(dir.path()).unwrap();
        stage(&store, 1)
    };
    // What a power cut does to a file that nobody waited for: the name is there, some bytes are not.
    let plain = packs(&dir).into_iter().find(|p| p.to_string_lossy().ends_with("unsettled")).unwrap();
    File::options().write(true).open(&plain).unwrap().write_all_at(&[0; 300], 600).unwrap();
    let (store, recovery) = Store::open(dir.path()).unwrap();
    assert_eq!(recovery.replaced, 1);
    assert!(store.blob(&Digest::of(&files(1)[0].1), Form::Identity).unwrap().is_none());
    assert_whole(&store, &cut);
}

#[test]
fn a_torn_cut_pack_is_set_aside_at_every_length() {
    let dir = TempDir::new().unwrap();
    {
        let (store, _) = Store::open(dir.path()).unwrap();
        stage(&store, 1);
        store.settle().unwrap();
    }
    let path = packs(&dir).into_iter().find(|p| p.extension().is_some_and(|e| e == CUT)).unwrap();
    let whole = fs::read(&path).unwrap();
    for len in (0..whole.len()).step_by(61) {
        fs::write(&path, &whole[..len]).unwrap();
        let file = File::open(&path).unwrap();
        assert!(pack::scan(&file).unwrap().is_none(), "{len} of {} bytes", whole.len());
    }
    let (store, recovery) = Store::open(dir.path()).unwrap();
    assert_eq!(recovery.damaged.len(), 1);
    assert!(store.cuts().unwrap().is_empty());
    assert_eq!(fs::read_dir(dir.path().join("aside")).unwrap().count(), 1);
}

#[test]
fn a_flipped_bit_in_any_header_is_found() {
    let dir = TempDir::new().unwrap();
    {
        let (store, _) = Store::open(dir.path()).unwrap();
        stage(&store, 1);
        store.settle().unwrap();
    }
    let path = packs(&dir).into_iter().find(|p| p.extension().is_some_and(|e| e == CUT)).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    for at in (16..16 + 116).step_by(5) {
        bytes[at] ^= 4;
        fs::write(&path, &bytes).unwrap();
        assert!(pack::scan(&File::open(&path).unwrap()).unwrap().is_none(), "byte {at}");
        bytes[at] ^= 4;
    }
}

#[test]
fn packages_come_out_as_they_went_in() {
    let dir = TempDir::new().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let package: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let key = SigningKey::generate().unwrap().0;
    let mut manifest = manifest(1, &[]);
    manifest.mesh = key.verifying_key().mesh();
    let (cut, bytes) = manifest.encode().unwrap();
    let pack = store.begin().unwrap();
    let mut stream = pack.package().unwrap();
    package.chunks(7_777).for_each(|chunk| stream.write(chunk).unwrap());
    assert_eq!(stream.finish().unwrap(), Digest::of(&package));
    let inside = &package[1_000..1_400];
    pack.span(Digest::of(inside), Coding::Identity, 400, 1_000, inside).unwrap();
    let aside = dir.path().join("aside.zip");
    pack.copy_package(&aside).unwrap();
    assert_eq!(fs::read(aside).unwrap(), package);
    store.commit(&pack, &cut, &key.sign_encoded(bytes)).unwrap();
    assert_eq!(store.package(&cut).unwrap().unwrap().read().unwrap(), package);
    assert_eq!(store.plain(&Digest::of(inside)).unwrap(), inside);
    drop((pack, store));
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    assert_eq!(store.package(&cut).unwrap().unwrap().read().unwrap(), package);
    assert_eq!(store.plain(&Digest::of(inside)).unwrap(), inside);
}

#[test]
fn retiring_keeps_what_kept_cuts_need() {
    let dir = TempDir::new().unwrap();
    let cuts = {
        let (store, _) = Store::open(dir.path()).unwrap();
        let cuts: Vec<_> = (1..=5).map(|seq| stage(&store, seq)).collect();
        let needed: HashSet<_> = [4, 5].into_iter().flat_map(files).map(|(_, bytes)| Digest::of(&bytes)).collect();
        assert_eq!(store.retire(&cuts, &needed).unwrap(), 0);
        assert_eq!(store.retire(&cuts[3..], &needed).unwrap(), 6);
        assert_eq!(store.cuts().unwrap(), cuts[3..]);
        cuts[3..].iter().for_each(|cut| assert_whole(&store, cut));
        // What only the old cuts had is gone, and its space with it.
        assert!(matches!(store.plain(&Digest::of(&files(2)[15].1)), Err(StoreError::Missing(_))));
        assert_eq!(packs(&dir).len(), 5);
        cuts
    };
    for index in [true, false] {
        if !index {
            fs::remove_dir_all(dir.path().join("index")).unwrap();
        }
        let (store, recovery) = Store::open(dir.path()).unwrap();
        assert_eq!((recovery.unfinished, recovery.damaged.len()), (0, 0));
        assert_eq!(store.cuts().unwrap(), cuts[3..]);
        cuts[3..].iter().for_each(|cut| assert_whole(&store, cut));
    }
}

#[test]
fn chains_of_patches_decode_and_wrong_bytes_do_not() {
    let dir = TempDir::new().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let key = SigningKey::generate().unwrap().0;
    let versions: Vec<Vec<u8>> = (0..5_u8).map(|v| [b"row ".repeat(500), vec![v; 10]].concat()).collect();
    let pack = store.begin().unwrap();
    for (i, plain) in versions.iter().enumerate() {
        let (coding, coded) = match i.checked_sub(1).map(|i| &versions[i]) {
            None => (Coding::Zstd, codec::compress(plain).unwrap()),
            Some(base) => {
                (Coding::Patch { base: Digest::of(base) }, codec::patch(base, plain, codec::Level::Fast).unwrap())
            }
        };
        pack.blob(Digest::of(plain), coding, plain.len() as u64, &coded).unwrap();
    }
    // A blob under a name that its bytes do not have.
    let lie = Digest::of(b"lie");
    pack.blob(lie, Coding::Zstd, 4, &codec::compress(b"true").unwrap()).unwrap();
    let (cut, bytes) = manifest(1, &[]).encode().unwrap();
    store.commit(&pack, &cut, &key.sign_encoded(bytes)).unwrap();
    assert_eq!(store.plain(&Digest::of(&versions[4])).unwrap(), versions[4]);
    assert!(matches!(store.plain(&lie), Err(StoreError::Damaged(_))));
    assert!(matches!(store.plain(&Digest::of(b"none")), Err(StoreError::Missing(_))));
}

/// Writes cut `seq` as a coordinator would: the package, here its files one after the other, and their places in it.
fn take_in(store: &Store, seq: u64, at: Option<&CutKey>) -> (CutKey, Vec<u8>) {
    let files = files(seq);
    let refs: Vec<_> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let package: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let mut manifest = manifest(seq, &refs);
    manifest.package.digest = Digest::of(&package);
    manifest.package.size = package.len() as u64;
    let key = SigningKey::generate().unwrap().0;
    manifest.mesh = key.verifying_key().mesh();
    let (cut, bytes) = manifest.encode().unwrap();
    let pack = store.begin().unwrap();
    let mut stream = pack.package().unwrap();
    stream.write(&package).unwrap();
    stream.finish().unwrap();
    let mut offset = 0;
    for (_, bytes) in &files {
        let len = bytes.len() as u64;
        pack.span(Digest::of(bytes), Coding::Identity, len, offset, bytes).unwrap();
        offset += len;
    }
    match at {
        Some(cut) => store.expand(&pack, cut).unwrap(),
        None => store.commit(&pack, &cut, &key.sign_encoded(bytes)).unwrap(),
    }
    (at.copied().unwrap_or(cut), package)
}

fn told(store: &Store, cut: &CutKey) -> Option<Digest> {
    store.at_rest().unwrap().into_iter().find(|at_rest| at_rest.cut == *cut).unwrap().base
}

#[test]
fn a_package_that_is_told_gives_its_place_back() {
    let dir = TempDir::new().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let ((one, _), (two, _), (three, package)) =
        (take_in(&store, 1, None), take_in(&store, 2, None), take_in(&store, 3, None));
    store.compact(&one, &two, b"what changed").unwrap();
    let check = |store: &Store| {
        assert_eq!(store.cuts().unwrap(), [one, two, three]);
        assert_eq!((told(store, &one), told(store, &two)), (Some(two.root), None));
        let blob = store.package(&one).unwrap().unwrap();
        assert_eq!(blob.read().unwrap(), b"what changed");
        assert_eq!(blob.coding(), Coding::Opened { base: two.root });
        assert_eq!(store.manifest(&one).unwrap().map(|signed| Digest::of(signed.bytes())), Some(one.root));
        // Files that the other cuts have as well had their only place in the pack that is gone.
        assert_whole(store, &two);
        assert_whole(store, &three);
        let lost = Digest::of(&files(1)[15].1);
        assert!(matches!(store.plain(&lost), Err(StoreError::Missing(_))));
        assert_eq!(store.package(&three).unwrap().unwrap().read().unwrap(), package);
    };
    check(&store);
    assert_eq!(packs(&dir).len(), 3);
    drop(store);
    let (store, recovery) = Store::open(dir.path()).unwrap();
    assert_eq!((recovery.unfinished, recovery.damaged.len()), (0, 0));
    check(&store);
    drop(store);
    // Without an index, too.
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, recovery) = Store::open(dir.path()).unwrap();
    assert_eq!(recovery.reindexed, 3);
    check(&store);
    // And the way back.
    take_in(&store, 1, Some(&one));
    assert_eq!(told(&store, &one), None);
    assert_whole(&store, &one);
    assert_eq!(packs(&dir).len(), 3);
}

#[test]
fn of_two_packs_of_a_cut_the_one_with_the_package_stays() {
    for lose_index in [false, true] {
        let dir = TempDir::new().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        let ((one, _), (two, _)) = (take_in(&store, 1, None), take_in(&store, 2, None));
        store.settle().unwrap();
        let saved = packs(&dir)[0].clone();
        let bytes = fs::read(&saved).unwrap();
        store.compact(&one, &two, b"what changed").unwrap();
        store.settle().unwrap();
        drop(store);
        // As if it had been killed before the old pack went.
        fs::write(&saved, bytes).unwrap();
        if lose_index {
            fs::remove_dir_all(dir.path().join("index")).unwrap();
        }
        let (store, recovery) = Store::open(dir.path()).unwrap();
        assert_eq!(recovery.unfinished, 1);
        assert_eq!(store.cuts().unwrap(), [one, two]);
        assert_eq!(told(&store, &one), None);
        assert_whole(&store, &one);
        assert_whole(&store, &two);
        assert_eq!(packs(&dir).len(), 2);
    }
}

#[test]
fn a_pack_that_is_torn_is_no_reason_to_give_up_what_is_told() {
    let dir = TempDir::new().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let ((one, _), (two, _)) = (take_in(&store, 1, None), take_in(&store, 2, None));
    let saved = packs(&dir)[0].clone();
    let bytes = fs::read(&saved).unwrap();
    store.compact(&one, &two, b"what changed").unwrap();
    drop(store);
    fs::write(&saved, &bytes[..bytes.len() / 2]).unwrap();
    let (store, recovery) = Store::open(dir.path()).unwrap();
    assert_eq!(recovery.damaged.len(), 1);
    assert_eq!(told(&store, &one), Some(two.root));
    assert_whole(&store, &two);
}

//! A damaged pack is written anew: nothing that is whole is lost, nothing that is damaged is kept.

use std::os::unix::fs::FileExt as _;

use tempfile::TempDir;

use super::*;
use crate::{SigningKey, manifest::tests::manifest};

fn body(n: u8) -> Vec<u8> {
    format!("file {n} of the cut, ").repeat(20).into_bytes()
}

/// A cut with three blobs, each as a frame and as plain bytes.
fn cut(store: &Store) -> (CutKey, Signed<Manifest>) {
    let key = SigningKey::generate().unwrap().0;
    let bodies: Vec<_> = (0..3).map(body).collect();
    let names = ["a", "b", "c"];
    let files: Vec<_> = names.iter().copied().zip(bodies.iter().map(Vec::as_slice)).collect();
    let mut manifest = manifest(1, &files);
    manifest.mesh = key.verifying_key().mesh();
    let (cut, bytes) = manifest.encode().unwrap();
    let signed = key.sign_encoded(bytes);
    let (pack, plain) = (store.begin().unwrap(), store.begin().unwrap());
    for body in &bodies {
        let coded = codec::compress(body).unwrap();
        pack.blob(Digest::of(body), Coding::Zstd, body.len() as u64, &coded).unwrap();
        plain.blob(Digest::of(body), Coding::Identity, body.len() as u64, body).unwrap();
    }
    store.commit(&pack, &cut, &signed).unwrap();
    store.commit_plain(&plain, &cut).unwrap();
    store.settle().unwrap();
    (cut, signed)
}

fn flip(dir: &TempDir, name: &str, at: u64) {
    let file = File::options().read(true).write(true).open(dir.path().join("packs").join(name)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn names(store: &Store) -> (String, String) {
    let mut packs = store.packs_at_rest().unwrap();
    let plain = packs.iter().position(|pack| pack.name.ends_with(PLAIN)).unwrap();
    (packs.remove(1 - plain).name, packs.remove(0).name)
}

fn assert_whole(store: &Store, cut: &CutKey) {
    for pack in store.packs_at_rest().unwrap() {
        assert_eq!(store.verify_pack(&pack.name).unwrap(), [], "{}", pack.name);
    }
    assert!(store.manifest(cut).unwrap().is_some());
    for n in 0..3 {
        let digest = Digest::of(&body(n));
        assert_eq!(store.blob(&digest, Form::Identity).unwrap().unwrap().read().unwrap(), body(n));
    }
}

#[test]
fn a_pack_is_written_anew_without_what_is_damaged() {
    let dir = TempDir::new().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let (cut, _) = cut(&store);
    let (_, plain) = names(&store);
    let digest = Digest::of(&body(1));
    // The middle one of three.
    flip(&dir, &plain, 16 + 128 + body(0).len() as u64 + 128 + 9);
    store.forget_in("another pack", &digest, Form::Identity).unwrap();
    assert!(store.blob(&digest, Form::Identity).unwrap().is_some());
    store.forget_in(&plain, &digest, Form::Identity).unwrap();
    assert!(store.blob(&digest, Form::Identity).unwrap().is_none());
    assert_eq!(store.plain(&digest).unwrap(), body(1), "the other form is whole");

    let beside = store.begin().unwrap();
    beside.blob(digest, Coding::Identity, body(1).len() as u64, &body(1)).unwrap();
    store.commit_beside(&beside, &cut, None).unwrap();
    store.rewrite_pack(&plain).unwrap();
    assert_whole(&store, &cut);
    assert_eq!(fs::read_dir(dir.path().join("aside")).unwrap().count(), 0);
    drop((store, beside));
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (store, recovery) = Store::open(dir.path()).unwrap();
    assert_eq!((recovery.damaged.len(), recovery.reindexed), (0, 3));
    assert_whole(&store, &cut);
}

#[test]
fn headers_that_say_nothing_cost_only_what_is_damaged_too() {
    let dir = TempDir::new().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let (cut, signed) = cut(&store);
    let (pack, plain) = names(&store);
    flip(&dir, &plain, 20);
    flip(&dir, &plain, 16 + 128 + 5);
    assert_eq!(store.forget_damaged(&plain).unwrap(), [(Digest::of(&body(0)), Form::Identity)]);
    store.rewrite_pack(&plain).unwrap();
    assert_eq!(store.verify_pack(&plain).unwrap(), []);
    assert!(store.blob(&Digest::of(&body(0)), Form::Identity).unwrap().is_none());
    assert!(store.blob(&Digest::of(&body(2)), Form::Identity).unwrap().is_some());

    // The manifest, and the header in front of everything.
    let len = fs::metadata(dir.path().join("packs").join(&pack)).unwrap().len();
    flip(&dir, &pack, 20);
    let manifest = store.0.index.cut(&cut).unwrap().unwrap().manifest;
    assert!(manifest.offset < len);
    flip(&dir, &pack, manifest.offset + 70);
    assert!(store.manifest(&cut).is_err());
    assert_eq!(store.forget_damaged(&pack).unwrap(), []);
    store.rewrite_pack(&pack).unwrap();
    assert!(store.manifest(&cut).is_err(), "it is nowhere");
    assert_eq!(store.cuts().unwrap(), [cut], "and the cut is not forgotten for that");
    let beside = store.begin().unwrap();
    beside.blob(Digest::of(&body(0)), Coding::Identity, body(0).len() as u64, &body(0)).unwrap();
    store.commit_beside(&beside, &cut, Some(&signed)).unwrap();
    assert!(store.manifest(&cut).unwrap().is_some());
    store.rewrite_pack(&pack).unwrap();
    assert_whole(&store, &cut);
    assert_eq!(store.cuts().unwrap(), [cut]);
}

#[test]
fn a_pack_that_is_gone_is_written_anew_from_the_others() {
    let dir = TempDir::new().unwrap();
    let cut = {
        let (store, _) = Store::open(dir.path()).unwrap();
        let cut = cut(&store).0;
        fs::remove_file(dir.path().join("packs").join(names(&store).1)).unwrap();
        let plain = names(&store).1;
        let open: Vec<_> = store.forget_damaged(&plain).unwrap();
        assert!(open.is_empty(), "whoever has it open still reads it");
        store.rewrite_pack(&plain).unwrap();
        assert_whole(&store, &cut);
        cut
    };
    let (store, _) = Store::open(dir.path()).unwrap();
    assert_whole(&store, &cut);
}

#[test]
fn the_disk_says_how_much_room_it_has() {
    let dir = TempDir::new().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let Space { free, total } = store.space().unwrap();
    assert!(free <= total && total > 0);
}

//! An archive that is spoiled while nobody asks for it: named, and whole again once somebody has a copy.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use difusor_proto::{Manifest, SigningKey};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::{
    archive::{Archive, plan::Plan},
    delta::Deltas,
    driver::FleetView,
};

/// Has a copy of one pack, or none.
struct Copy(Option<PathBuf>);

impl Healer for Copy {
    fn heal(&self, store: &Store, pack: &PackFile, damage: &[Damage]) -> anyhow::Result<()> {
        assert!(!damage.is_empty());
        let copy = self.0.as_ref().ok_or_else(|| anyhow::anyhow!("nobody has it"))?;
        let near = copy.with_extension("near");
        std::fs::copy(copy, &near)?;
        Ok(store.replace_pack(&pack.name, &near)?)
    }
}

/// A store with one cut, the path of its pack, and a copy of it.
fn archive(dir: &TempDir) -> (Store, PathBuf, PathBuf, Arc<SigningKey>) {
    let (store, _) = Store::open(&dir.path().join("store")).unwrap();
    let key = Arc::new(SigningKey::generate().unwrap().0);
    let pack = store.begin().unwrap();
    let mut package = pack.package().unwrap();
    package.write(&[7; 100_000]).unwrap();
    let digest = package.finish().unwrap();
    let manifest = Manifest {
        mesh: key.verifying_key().mesh(),
        seq: 1,
        label: "20240602_2005".parse().unwrap(),
        accepted_ms: 1,
        package: difusor_proto::manifest::PackageId {
            digest,
            sha256: difusor_proto::Sha256::of(&[7; 100_000]),
            size: 100_000,
        },
        entries: Vec::new(),
    };
    let (cut, encoded) = manifest.encode().unwrap();
    store.commit(&pack, &cut, &key.sign_encoded(encoded)).unwrap();
    let path = dir.path().join("store/packs").join(&store.packs_at_rest().unwrap()[0].name);
    let copy = dir.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    (store, path, copy, key)
}

fn scrub(dir: &TempDir, store: &Store, key: &Arc<SigningKey>) -> Arc<Scrub> {
    let deltas = Arc::new(Deltas::new(store.clone(), key.verifying_key(), 0));
    let (commands, _) = mpsc::unbounded_channel();
    let refused = dir.path().join("refused");
    let plan = Plan { every: 1, verbatim: 1 };
    let packages = Arc::new(Archive::new(store.clone(), key.verifying_key(), plan, 1 << 20).unwrap());
    let publisher =
        Publisher::new(store.clone(), Arc::clone(key), deltas, packages, commands, FleetView::default(), refused)
            .unwrap();
    Arc::new(Scrub::new(store.clone(), Arc::new(publisher), Round::new(1 << 30, Duration::from_millis(10), 1)))
}

/// Runs it until the view says so.
fn run(scrub: &Arc<Scrub>, until: impl Fn(&Scrubbed) -> bool) -> Scrubbed {
    let reading = Arc::clone(scrub);
    let thread = std::thread::spawn(move || reading.run());
    let since = Instant::now();
    let view = loop {
        let view = scrub.view();
        assert!(since.elapsed() < Duration::from_secs(30), "{view:?}");
        if until(&view) {
            break view;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    scrub.stop();
    thread.join().unwrap();
    view
}

#[test]
fn damage_is_named_until_somebody_has_a_whole_copy() {
    let dir = TempDir::new().unwrap();
    let (store, path, copy, key) = archive(&dir);
    let view = run(&scrub(&dir, &store, &key), |view| view.passes >= 2);
    assert!(view.bytes >= 200_000 && view.found == 0 && view.damaged.is_empty() && view.last_pass_ms.is_some());
    assert!(view.disk.total > 0 && !view.low_space);

    File::options().write(true).open(&path).unwrap().write_all_at(b"x", 50_000).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let alone = scrub(&dir, &store, &key);
    alone.add(Arc::new(Copy(None)));
    let view = run(&alone, |view| view.passes >= 2);
    assert_eq!((view.healed, view.damaged), (0, vec![name]));
    assert!(view.found >= 2, "it is found again and again");

    let helped = scrub(&dir, &store, &key);
    helped.add(Arc::new(Copy(None)));
    helped.add(Arc::new(Copy(Some(copy))));
    let view = run(&helped, |view| view.healed > 0 && view.passes >= 2);
    assert_eq!((view.found, view.healed), (1, 1));
    assert!(view.damaged.is_empty());
    let cut = store.cuts().unwrap()[0];
    assert_eq!(store.package(&cut).unwrap().unwrap().read().unwrap(), [7; 100_000]);
}

#[test]
fn nothing_is_read_that_is_not_to_be_read() {
    let dir = TempDir::new().unwrap();
    let (store, path, _, key) = archive(&dir);
    File::options().write(true).open(&path).unwrap().write_all_at(b"x", 50_000).unwrap();
    let mut idle = Arc::into_inner(scrub(&dir, &store, &key)).unwrap();
    idle.round = Round::new(0, Duration::ZERO, u64::MAX);
    let view = run(&Arc::new(idle), |view| view.disk.total > 0);
    assert_eq!((view.bytes, view.passes, view.found, view.low_space), (0, 0, 0, true));

    // While a package comes in.
    let busy = scrub(&dir, &store, &key);
    let publisher = Arc::clone(&busy.publisher);
    let turn = publisher.hold();
    let view = run(&busy, |view| view.disk.total > 0);
    assert_eq!((view.bytes, view.passes), (0, 0));
    drop(turn);
}

//! What cuts are made of, in nights that are about bytes: real lists, packs and snapshots, each node with a disk of its own.
//!
//! What a node has from another goes through the product's own hands on both sides ([`relay::give`], [`Stage::take`]), and by
//! chance through something that spoils it in between; visitors are given what the product's snapshot has.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    sync::Arc,
};

use difusor_node::{
    negotiate, relay,
    site::{Route, Site, SiteOptions},
    stage::{Budget, Stage},
};
use difusor_proto::{
    CutKey, Digest, Manifest, MeshId, Sha256, Signed, SigningKey, SitePath,
    codec::Coding,
    limits::{MAX_MANIFEST_BYTES, MAX_WANT},
    manifest::{Deflated, Entry, PackageId},
    media,
    peer::Ask,
    store::Store,
    wire::{self, DeltaHead, List},
};
use flate2::{Compression, Crc, read::GzDecoder, write::DeflateEncoder};
use rand::{RngExt as _, rngs::StdRng};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::RwLock};

use crate::world::World;

/// A cut as it was signed, and the bytes of its files by path.
struct Made {
    key: CutKey,
    files: Vec<(String, Vec<u8>)>,
}

/// What is on a node's disk, and what it makes of it.
struct Disk {
    _dir: TempDir,
    store: Store,
    stages: HashMap<u64, Arc<Stage>>,
    site: Option<Site>,
}

/// All of it.
pub(crate) struct Material {
    runtime: Runtime,
    made: Vec<Made>,
    /// The coordinator's.
    archive: Disk,
    disks: Vec<Disk>,
    /// Everything that these give is spoiled, as by their disks.
    pub(crate) spoilers: Vec<usize>,
    /// Of all transfers, how many are spoiled on their way.
    pub(crate) noise: f64,
    /// Transfers that did not bring what they should.
    pub(crate) refused: u64,
    /// Files that visitors were given.
    pub(crate) given: u64,
}

fn disk() -> Disk {
    let dir = TempDir::new().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    Disk { _dir: dir, store, stages: HashMap::new(), site: None }
}

/// The site at a cut: some of it stays, some changes in part, some is new.
fn files(seq: u64) -> Vec<(String, Vec<u8>)> {
    let mix = |at: u64| at.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (at >> 7);
    let row =
        |at: u64| format!("{at:06}|CASILLA|{:016x}\n", mix(at * 100 + if at.is_multiple_of(10) { seq } else { 0 }));
    let table: String = (0..700).map(row).collect();
    let picture: Vec<u8> = (0..9_000).flat_map(|at| mix(at).to_le_bytes()).collect();
    let mut files = vec![
        ("index.html".to_owned(), format!("<title>PREP {seq}</title>").into_bytes()),
        ("data/casillas.csv".to_owned(), table.into_bytes()),
        ("data/mapa.json".to_owned(), b"{\"mapa\":[1,2,3]}".repeat(40)),
        // More than is kept in memory.
        ("img/mapa.png".to_owned(), picture),
    ];
    let of = |at: u64| (format!("d/{at}.html"), format!("<p>{at}</p>{}", seq / (at + 1)).into_bytes());
    files.extend((0..6).map(of));
    files
}

/// Writes a cut as the coordinator has it.
fn make(archive: &Store, key: &SigningKey, mesh: MeshId, seq: u64) -> Made {
    let (pack, plain) = (archive.begin().unwrap(), archive.begin().unwrap());
    let files = files(seq);
    let entry = |(name, bytes): &(String, Vec<u8>)| {
        let path = SitePath::try_from(name.as_str()).unwrap();
        let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
        plain.blob(digest, Coding::Identity, size, bytes).unwrap();
        let deflated = (!name.ends_with("png")).then(|| {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(bytes).unwrap();
            let stream = encoder.finish().unwrap();
            pack.blob(digest, Coding::Deflate, size, &stream).unwrap();
            let mut crc = Crc::new();
            crc.update(bytes);
            Deflated { len: stream.len() as u64, crc32: crc.sum() }
        });
        let (media, sha256) = (media::of(&path).to_owned(), Sha256::of(bytes));
        Entry { path, digest, sha256, size, media, deflated, members: vec![] }
    };
    let mut entries: Vec<_> = files.iter().map(entry).collect();
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    let package = PackageId { digest: Digest::of(b"zip"), sha256: Sha256::of(b"zip"), size: 3 };
    let label = "20210606_2000".parse().unwrap();
    let accepted_ms = 1_623_030_000_000 + seq * 60_000;
    let manifest = Manifest { mesh, seq, label, accepted_ms, package, entries };
    let (named, encoded) = manifest.encode().unwrap();
    let signed = key.sign_encoded(encoded);
    archive.commit_plain(&plain, &named).unwrap();
    archive.commit(&pack, &named, &signed).unwrap();
    Made { key: named, files }
}

/// What a path, or a disk, may do to bytes.
fn spoil(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    let at = rng.random_range(0..bytes.len());
    match rng.random_range(0..5) {
        0 => bytes.truncate(at),
        1 => bytes[at..].iter_mut().take(64).for_each(|byte| *byte = 0),
        2 => {
            let again: Vec<u8> = bytes[at..].iter().take(100).copied().collect();
            drop(bytes.splice(at..at, again));
        }
        _ => (0..rng.random_range(1..20)).for_each(|_| {
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
        }),
    }
}

impl Material {
    pub(crate) fn new(nodes: usize, cuts: u64, key: &SigningKey) -> Self {
        let (archive, mesh) = (disk(), key.verifying_key().mesh());
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            made: (1..=cuts).map(|seq| make(&archive.store, key, mesh, seq)).collect(),
            archive,
            disks: (0..nodes).map(|_| disk()).collect(),
            spoilers: Vec::new(),
            noise: 0.0,
            refused: 0,
            given: 0,
        }
    }

    /// The name of a cut.
    pub(crate) fn key(&self, seq: u64) -> CutKey {
        self.made[usize::try_from(seq).unwrap() - 1].key
    }

    /// A process ends: what was not complete goes with it.
    pub(crate) fn end(&mut self, at: usize) {
        self.disks[at].stages.clear();
        self.disks[at].site = None;
    }
}

impl World {
    /// Has of a cut what another node has, or the coordinator. True if it is complete, and on the disk.
    pub(crate) fn transfer(&mut self, at: usize, cut: CutKey, from: Option<usize>) -> bool {
        let Some(material) = &mut self.material else { return true };
        let key = self.key.verifying_key();
        let stage = material.disks[at].stages.get(&cut.seq).cloned();
        let held = material.disks[at].store.cuts().unwrap();
        if held.contains(&cut) {
            return true;
        }
        let base = held.iter().max_by_key(|held| held.seq).map(|held| held.root);
        let ask = match &stage {
            Some(stage) => Ask::Blobs { cut, digests: stage.missing().0.into_iter().take(MAX_WANT).collect() },
            None => Ask::Cut { cut, base },
        };
        let mut sent = Vec::new();
        let giver = from.map_or(&material.archive, |from| &material.disks[from]);
        relay::give(&giver.store, &key, ask, |piece| {
            sent.extend_from_slice(&piece);
            Ok(())
        })
        .unwrap();
        let is_spoiler = from.is_some_and(|from| material.spoilers.contains(&from));
        if is_spoiler || self.rng.random::<f64>() < material.noise {
            spoil(&mut sent, &mut self.rng);
        }
        let store = material.disks[at].store.clone();
        let taken = material.runtime.block_on(async {
            let mut stream = sent.as_slice();
            let head: DeltaHead = wire::read_frame(&mut stream, MAX_MANIFEST_BYTES).await.ok()??;
            if head.cut != cut || head.list.is_some() != stage.is_none() {
                return stage;
            }
            let stage = match stage {
                Some(stage) => stage,
                None => {
                    let list = head.list.as_ref()?;
                    let base = held.iter().find(|held| Some(held.root) == list.base());
                    let base = base.and_then(|base| store.manifest(base).unwrap());
                    let signed = List::read(list, base.as_ref().map(Signed::bytes)).ok()?;
                    let manifest = Manifest::of_cut(&cut, &signed, &key).ok()?;
                    let custody = Arc::new(RwLock::new(())).read_owned().await;
                    Arc::new(Stage::begin(&store, cut, signed, manifest, custody).unwrap())
                }
            };
            let _ = stage.take(&mut stream, &head, &Budget::new(64 << 20)).await;
            Some(stage)
        });
        match taken {
            Some(stage) if stage.lacks() == 0 => {
                stage.commit().unwrap();
                material.disks[at].stages.remove(&cut.seq);
                true
            }
            taken => {
                material.refused += 1;
                taken.into_iter().for_each(|stage| drop(material.disks[at].stages.insert(cut.seq, stage)));
                false
            }
        }
    }

    /// Gives a visitor a file by chance, and looks at it.
    pub(crate) fn give_file(&mut self, at: usize, seq: u64) {
        let Some(material) = &mut self.material else { return };
        let key = material.made[usize::try_from(seq).unwrap() - 1].key;
        let disk = &mut material.disks[at];
        if disk.site.as_ref().is_none_or(|site| site.cut() != key) {
            let signed = disk.store.manifest(&key).unwrap().unwrap();
            let manifest = Manifest::of_cut(&key, &signed, &self.key.verifying_key()).unwrap();
            let options = SiteOptions::new(self.key.verifying_key());
            let site = Site::build(&disk.store, key, &signed, &manifest, &options, disk.site.as_ref()).unwrap();
            disk.site = Some(site);
        }
        let made = &material.made[usize::try_from(seq).unwrap() - 1];
        let (name, bytes) = &made.files[self.rng.random_range(0..made.files.len())];
        let found = disk.site.as_ref().and_then(|site| site.find(name.as_bytes()));
        let Some(Route::File(entity)) = found.map(|found| found.route) else {
            let what = format!("node {at} does not have {name} of cut {seq}");
            return self.broke("no unverified bytes served", what);
        };
        let wrong = entity.forms.iter().find(|form| {
            let content: Vec<u8> = form.content.pieces(0..form.content.len()).flatten().collect();
            let plain = match form.coding {
                negotiate::Coding::Identity => content,
                negotiate::Coding::Gzip => {
                    let mut plain = Vec::new();
                    GzDecoder::new(content.as_slice()).read_to_end(&mut plain).map_or(Vec::new(), |_| plain)
                }
                // Made here, of the plain bytes.
                _ => return false,
            };
            plain != *bytes
        });
        material.given += 1;
        if let Some(form) = wrong {
            let what = format!("node {at}: {name} of cut {seq}, {:?}", form.coding);
            self.broke("no unverified bytes served", what);
        }
    }
}

//! Cuts in a real store, as a node holds them, for the tests of this crate.

use difusor_proto::{
    CutKey, Digest, Manifest, Sha256, Signed, SigningKey, SitePath,
    codec::Coding,
    manifest::{Deflated, Entry, PackageId},
    media,
    store::{Form, Store},
};
use tempfile::TempDir;

use super::{Site, SiteError, SiteOptions};

pub(crate) mod answer;

/// 2021-06-07 01:40:00 UTC.
pub(crate) const ACCEPTED_MS: u64 = 1_623_030_000_123;

/// A store that goes with its folder, and the key of its mesh.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) key: SigningKey,
    _dir: TempDir,
}

/// A cut that was written.
pub(crate) struct Cut {
    pub(crate) key: CutKey,
    pub(crate) signed: Signed<Manifest>,
    pub(crate) manifest: Manifest,
}

/// How the package of a cut was made, and what of it is here.
pub(crate) struct Package<'a> {
    /// When it was accepted, Unix milliseconds.
    pub(crate) accepted_ms: u64,
    /// How hard its files were deflated.
    pub(crate) level: i32,
    /// Which of them were deflated at all.
    pub(crate) deflates: &'a dyn Fn(&str) -> bool,
    /// Which blobs the store gets.
    pub(crate) keep: &'a dyn Fn(&str, Form) -> bool,
}

impl Default for Package<'_> {
    fn default() -> Self {
        Self { accepted_ms: ACCEPTED_MS, level: 6, deflates: &|name| !name.ends_with(".zip"), keep: &|_, _| true }
    }
}

/// Rows that compress about as well as real results, other ones for each seed.
pub(crate) fn noise(seed: u64, rows: u64) -> Vec<u8> {
    let row = |i: u64| format!("{i:06}|CASILLA|{:016x}|{seed}\n", (i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (0..rows).flat_map(|i| row(i).into_bytes()).collect()
}

pub(crate) fn deflate(plain: &[u8], level: i32) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(level).unwrap());
    let mut stream = vec![0; compressor.deflate_compress_bound(plain.len())];
    let len = compressor.deflate_compress(plain, &mut stream).unwrap();
    stream.truncate(len);
    stream
}

pub(crate) fn gunzip(gzip: &[u8], size: usize) -> Vec<u8> {
    let mut plain = vec![0; size];
    let written = libdeflater::Decompressor::new().gzip_decompress(gzip, &mut plain).unwrap();
    assert_eq!(written, size);
    plain
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        Self { store, key: SigningKey::generate().unwrap().0, _dir: dir }
    }

    /// Writes a complete cut in which every file but zips was deflated at level 6.
    pub(crate) fn cut(&self, seq: u64, files: &[(&str, &[u8])]) -> Cut {
        self.write(seq, files, &Package::default())
    }

    /// The same, accepted as many minutes later as its number says.
    pub(crate) fn later(&self, seq: u64, files: &[(&str, &[u8])]) -> Cut {
        self.write(seq, files, &Package { accepted_ms: ACCEPTED_MS + seq * 60_000, ..Package::default() })
    }

    /// Writes a cut.
    pub(crate) fn write(&self, seq: u64, files: &[(&str, &[u8])], package: &Package<'_>) -> Cut {
        let (pack, plain) = (self.store.begin().unwrap(), self.store.begin().unwrap());
        let mut entries = Vec::new();
        for (name, bytes) in files {
            let path = SitePath::try_from(*name).unwrap();
            let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
            let media = media::of(&path).to_owned();
            let stream = deflate(bytes, package.level);
            let deflated = (package.deflates)(name).then(|| {
                let mut crc = libdeflater::Crc::new();
                crc.update(bytes);
                Deflated { len: stream.len() as u64, crc32: crc.sum() }
            });
            if deflated.is_some() && (package.keep)(name, Form::Deflate) {
                pack.blob(digest, Coding::Deflate, size, &stream).unwrap();
            }
            if (package.keep)(name, Form::Identity) {
                plain.blob(digest, Coding::Identity, size, bytes).unwrap();
            }
            entries.push(Entry { path, digest, sha256: Sha256::of(bytes), size, media, deflated, members: vec![] });
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = Manifest {
            mesh: self.key.verifying_key().mesh(),
            seq,
            label: format!("20210606_20{:02}", seq % 60).parse().unwrap(),
            accepted_ms: package.accepted_ms,
            package: PackageId { digest: Digest::of(b"zip"), sha256: Sha256::of(b"zip"), size: 3 },
            entries,
        };
        let (key, encoded) = manifest.encode().unwrap();
        let signed = self.key.sign_encoded(encoded);
        self.store.commit_plain(&plain, &key).unwrap();
        self.store.commit(&pack, &key, &signed).unwrap();
        Cut { key, signed, manifest }
    }

    pub(crate) fn options(&self) -> SiteOptions {
        SiteOptions::new(self.key.verifying_key())
    }

    pub(crate) fn site(&self, cut: &Cut) -> Site {
        self.build(cut, &self.options(), None).unwrap()
    }

    pub(crate) fn build(&self, cut: &Cut, options: &SiteOptions, previous: Option<&Site>) -> Result<Site, SiteError> {
        Site::build(&self.store, cut.key, &cut.signed, &cut.manifest, options, previous)
    }
}

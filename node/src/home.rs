//! The node's folder: who it is, what it may serve, and its store.
//!
//! ```text
//! node.toml       the configuration, commented
//! rules.toml      the operator's rules about requests, if there are any
//! identity.json   name, zone, mesh certificate and key, the pinned signing key: readable by the owner alone
//! site.pem .key   certificate of the public site from the mesh authority
//! mark.json       the last flip that was obeyed: its numbers
//! flip.bin        the same, signed, to show to others
//! served.json     the cuts that were served, oldest first
//! members.bin     who is in the mesh, signed
//! boot            when the last process began, so that the next one is later
//! health.probe    written again and again, to see whether anything can be
//! store/          packs and index
//! archive/        packs that are kept for the coordinator
//! control.sock    where operators act by hand, while the node runs
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use difusor_proto::{
    Digest, Flip, Mark, NodeId, Signed, VerifyingKey, Zone, digest,
    members::Members,
    store::{Access, replace},
    tls,
};
use serde::{Deserialize, Serialize};

/// Paths below one folder.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
}

/// What enrolment gave this node. Binary fields are hex.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Its name.
    pub node: NodeId,
    /// Its zone.
    pub zone: Zone,
    /// Where to dial the coordinator.
    pub coordinator: Vec<String>,
    /// The signing key, pinned.
    key: String,
    authority: String,
    certificate: String,
    private: String,
}

impl Identity {
    /// What enrolment gave.
    pub fn new(node: NodeId, zone: Zone, coordinator: Vec<String>, key: VerifyingKey, tls: &tls::Identity) -> Self {
        Self {
            node,
            zone,
            coordinator,
            key: key.to_string(),
            authority: digest::encode_hex(&tls.authority),
            certificate: digest::encode_hex(&tls.certificate),
            private: digest::encode_hex(&tls.key),
        }
    }

    /// The key that signs manifests and flips.
    ///
    /// # Errors
    /// If the file was damaged.
    pub fn key(&self) -> anyhow::Result<VerifyingKey> {
        VerifyingKey::from_hex(&self.key).context("identity.json: key")
    }

    /// Certificates and key inside the mesh.
    ///
    /// # Errors
    /// If the file was damaged.
    pub fn tls(&self) -> anyhow::Result<tls::Identity> {
        let bytes = |field: &str, name| digest::decode_hex_vec(field).with_context(|| format!("identity.json: {name}"));
        Ok(tls::Identity {
            authority: bytes(&self.authority, "authority")?,
            certificate: bytes(&self.certificate, "certificate")?,
            key: bytes(&self.private, "private")?,
        })
    }
}

impl Home {
    /// The node's folder at `dir`; it need not exist.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Certificate of the public site from the mesh authority.
    pub fn site_certificate(&self) -> PathBuf {
        self.dir.join("site.pem")
    }

    /// Its key.
    pub fn site_key(&self) -> PathBuf {
        self.dir.join("site.key")
    }

    /// Packs and index.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Packs that are kept for the coordinator.
    pub fn archive(&self) -> PathBuf {
        self.dir.join("archive")
    }

    /// Where operators block by hand.
    pub fn control(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// The list of members.
    fn members(&self) -> PathBuf {
        self.dir.join("members.bin")
    }

    /// Reads the list of members as it was told last; `None` if it never was, or cannot be read: it is told again.
    pub fn read_members(&self) -> Option<Signed<Members>> {
        postcard::from_bytes(&fs::read(self.members()).ok()?).ok()
    }

    /// Keeps the list of members.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn write_members(&self, members: &Signed<Members>) -> io::Result<()> {
        let bytes = postcard::to_stdvec(members).map_err(io::Error::other)?;
        replace(&self.members(), &bytes, Access::Normal)
    }

    /// When this process begins, for those who tell processes apart by that: `now` (Unix microseconds), or later than the last
    /// one.
    pub fn next_boot(&self, now: u64) -> u64 {
        let path = self.dir.join("boot");
        let last = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok());
        // A clock that was far ahead once does not count for ever.
        let last = last.filter(|last| *last < now.saturating_add(86_400_000_000));
        let boot = last.map_or(now, |last| now.max(last.saturating_add(1)));
        if let Err(error) = replace(&path, boot.to_string().as_bytes(), Access::Normal) {
            tracing::warn!(%error, "when this process began is not kept");
        }
        boot
    }

    fn identity(&self) -> PathBuf {
        self.dir.join("identity.json")
    }

    fn served(&self) -> PathBuf {
        self.dir.join("served.json")
    }

    fn flip(&self) -> PathBuf {
        self.dir.join("flip.bin")
    }

    /// The last flip that was obeyed, if it was kept: one that is older than the mark, or damaged, is worth nothing.
    pub fn read_flip(&self) -> Option<Signed<Flip>> {
        postcard::from_bytes(&fs::read(self.flip()).ok()?).ok()
    }

    /// Keeps the last flip that was obeyed.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn write_flip(&self, flip: &Signed<Flip>) -> io::Result<()> {
        replace(&self.flip(), &postcard::to_stdvec(flip).map_err(io::Error::other)?, Access::Normal)
    }

    fn mark(&self) -> PathBuf {
        self.dir.join("mark.json")
    }

    /// True if this folder belongs to a node already.
    pub fn is_enrolled(&self) -> bool {
        self.identity().exists()
    }

    /// The roots of the cuts that were served here, oldest first: only their files may be addressed later. None if the
    /// file is not there, or is damaged: they are less than what is served.
    pub fn read_served(&self) -> Vec<Digest> {
        fs::read(self.served()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Writes them.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn write_served(&self, roots: &[Digest]) -> io::Result<()> {
        replace(&self.served(), &serde_json::to_vec(roots)?, Access::Normal)
    }

    /// Reads who this node is.
    ///
    /// # Errors
    /// If it was never enrolled, or the file is damaged.
    pub fn read_identity(&self) -> anyhow::Result<Identity> {
        let path = self.identity();
        let bytes = fs::read(&path)
            .with_context(|| format!("reading {}: enrol first with `difusor-node join TOKEN`", path.display()))?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged: restore it, or enrol anew with another token", path.display()))
    }

    /// Writes who this node is.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn write_identity(&self, identity: &Identity) -> anyhow::Result<()> {
        Ok(replace(&self.identity(), &serde_json::to_vec_pretty(identity)?, Access::Secret)?)
    }

    /// Reads the mark; a missing file is a node that never served.
    ///
    /// # Errors
    /// If it is damaged. A node must not guess what it may serve.
    pub fn read_mark(&self) -> anyhow::Result<Mark> {
        match fs::read(self.mark()) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!("{} is damaged: restore it, or enrol this node anew in an empty folder", self.mark().display())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Mark::default()),
            Err(error) => Err(error).with_context(|| format!("reading {}", self.mark().display())),
        }
    }

    /// Writes the mark. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// What the disk gives; the flip must then not be obeyed.
    pub fn write_mark(&self, mark: &Mark) -> io::Result<()> {
        replace(&self.mark(), &serde_json::to_vec(mark).map_err(io::Error::other)?, Access::Normal)
    }
}

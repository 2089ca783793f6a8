//! The coordinator's folder: what lies where, and how secrets are read.
//!
//! ```text
//! coordinator.toml   the configuration, commented
//! keys/              authority and signing key, the API token: to be backed up, readable by the owner alone
//! nodes.json         who is a node, which invitations are open
//! state.json         the last flip
//! replica.json       which copies of packs were verified
//! store/             packs and index
//! refused/           packages that were refused, each with its report
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use difusor_proto::{
    SigningKey,
    store::{Access, replace},
};

/// Paths below one folder.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
}

impl Home {
    /// The coordinator's folder at `dir`; it need not exist.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.join("coordinator.toml")
    }

    /// Certificate of the authority, PEM.
    pub fn authority_cert(&self) -> PathBuf {
        self.dir.join("keys/authority.pem")
    }

    /// Key of the authority, PEM.
    pub fn authority_key(&self) -> PathBuf {
        self.dir.join("keys/authority.key")
    }

    /// Signing key, PKCS#8 DER.
    pub fn signing_key(&self) -> PathBuf {
        self.dir.join("keys/signing.key")
    }

    /// Token that state-changing calls of the API need.
    pub fn api_token(&self) -> PathBuf {
        self.dir.join("keys/api.token")
    }

    /// Nodes and invitations.
    pub fn registry(&self) -> PathBuf {
        self.dir.join("nodes.json")
    }

    /// The last flip.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    /// Packs and index.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Which copies of packs were verified.
    pub fn replica(&self) -> PathBuf {
        self.dir.join("replica.json")
    }

    /// Packages that were refused.
    pub fn refused(&self) -> PathBuf {
        self.dir.join("refused")
    }

    /// Makes the signing key and the API token.
    ///
    /// # Errors
    /// If one exists already, or the disk refuses.
    pub fn create_secrets(&self) -> anyhow::Result<()> {
        if self.signing_key().exists() {
            bail!("{} exists: this folder belongs to a mesh already", self.signing_key().display());
        }
        let (_, key) = SigningKey::generate()?;
        replace(&self.signing_key(), &key, Access::Secret)?;
        let token: [u8; 16] = rand::random();
        replace(&self.api_token(), difusor_proto::digest::encode_hex(&token).as_bytes(), Access::Secret)?;
        Ok(())
    }

    /// Reads the signing key.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn read_signing_key(&self) -> anyhow::Result<SigningKey> {
        let path = self.signing_key();
        let bytes = fs::read(&path)
            .with_context(|| format!("reading {}: run `difusor-coordinator init` first", path.display()))?;
        SigningKey::from_pkcs8(&bytes)
            .with_context(|| format!("{} is damaged: restore it from a backup", path.display()))
    }

    /// Reads the API token.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read_api_token(&self) -> io::Result<String> {
        fs::read_to_string(self.api_token()).map(|token| token.trim().to_owned())
    }
}

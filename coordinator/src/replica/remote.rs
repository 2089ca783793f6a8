//! One object store that holds copies of packs: lists, sends, reads back, fetches.
//!
//! Memory is bounded whatever the size of a pack: pieces of [`PART`] bytes, [`AHEAD`] of them under way. A copy that
//! broke off is not listed: S3 shows an object once all its parts are in, and a folder once the file is renamed, after
//! the disk has it. Nothing is believed for having been sent: [`Remote::digest`] reads what is there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use difusor_proto::{Digest, store::PackName};
use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all};
use object_store::{
    Attribute, Attributes, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions,
    PutPayload, path::Path as Key,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::config::{Open, ReplicaConfig};

/// Bytes of a part. S3 wants at least 5 MiB, and allows 10,000 parts: far more than the largest pack has.
const PART: usize = 8 << 20;

/// Parts under way at once.
const AHEAD: usize = 2;

/// How long taking back the parts of a copy that broke off may take: a process that ends waits for it.
const ABORT: Duration = Duration::from_secs(2);

/// Field of an object with the BLAKE3 of its bytes.
const FIELD: &str = "blake3";

/// What went wrong with a copy.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The object store.
    #[error(transparent)]
    Store(#[from] object_store::Error),
    /// The disk here.
    #[error("disk: {0}")]
    Disk(#[from] std::io::Error),
    /// The bytes are not those that are to be.
    #[error("{name} has {found} where {expected} is expected")]
    Differs {
        /// Which pack.
        name: PackName,
        /// Digest or length that was found.
        found: String,
        /// What it has to be.
        expected: String,
    },
    /// The process ends.
    #[error("interrupted")]
    Cancelled,
}

/// An object store with copies of packs.
#[derive(Clone)]
pub struct Remote {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    fields: bool,
    /// The folder, if it is one.
    folder: Option<PathBuf>,
}

impl Remote {
    /// The one of a configuration. Makes no request.
    ///
    /// # Errors
    /// Names the key or the file that cannot be used.
    pub fn open(config: &ReplicaConfig) -> anyhow::Result<Self> {
        let Open { store, prefix, fields, folder } = config.open()?;
        if let Some(folder) = &folder {
            sweep(folder)?;
        }
        Ok(Self { store, prefix, fields, folder })
    }

    /// Fails if the folder is gone: the library would make it again, where no disk is mounted any more.
    fn is_there(&self) -> std::io::Result<()> {
        match &self.folder {
            Some(folder) if !folder.is_dir() => {
                let why = format!("{} is not there: make or mount it", folder.display());
                Err(std::io::Error::new(std::io::ErrorKind::NotFound, why))
            }
            _ => Ok(()),
        }
    }

    fn key(&self, name: &PackName) -> Key {
        self.prefix.clone().join(name.as_str())
    }

    /// Every copy with its length. What is no pack is passed over.
    ///
    /// # Errors
    /// [`RemoteError::Store`].
    pub async fn list(&self) -> Result<BTreeMap<PackName, u64>, RemoteError> {
        self.is_there()?;
        let mut found = BTreeMap::new();
        let mut objects = self.store.list(Some(&self.prefix));
        while let Some(object) = objects.try_next().await? {
            let name = object.location.filename().and_then(|name| name.parse::<PackName>().ok());
            if let Some(name) = name.filter(|name| self.key(name) == object.location) {
                found.insert(name, object.size);
            }
        }
        Ok(found)
    }

    /// Sends a file whose digest is known. Afterwards a copy of that length is listed; an error leaves what was there.
    ///
    /// # Errors
    /// [`RemoteError::Differs`] if the file has other bytes by now.
    pub async fn upload(
        &self,
        name: &PackName,
        file: &Path,
        digest: Digest,
        cancel: &CancellationToken,
    ) -> Result<(), RemoteError> {
        self.is_there()?;
        let mut attributes = Attributes::new();
        if self.fields {
            attributes.insert(Attribute::Metadata(FIELD.into()), digest.to_string().into());
        }
        let mut file = tokio::fs::File::open(file).await?;
        let mut hasher = blake3::Hasher::new();
        let first = part(&mut file, &mut hasher).await?;
        let key = self.key(name);
        if first.len() < PART {
            same(name, digest_of(&hasher), digest)?;
            let options = PutOptions { attributes, ..PutOptions::default() };
            let put = self.store.put_opts(&key, PutPayload::from(first), options);
            tokio::select! {
                () = cancel.cancelled() => return Err(RemoteError::Cancelled),
                put = put => drop(put?),
            }
            return Ok(());
        }
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let mut upload = self.store.put_multipart_opts(&key, options).await?;
        let sent = tokio::select! {
            () = cancel.cancelled() => Err(RemoteError::Cancelled),
            sent = parts(upload.as_mut(), &mut file, &mut hasher, first) => sent,
        };
        let sent = sent.and_then(|()| same(name, digest_of(&hasher), digest));
        if let Err(error) = sent {
            // Parts that nobody completes would be kept, and paid for. If this fails too, the service has to do it.
            let _ = tokio::time::timeout(ABORT, upload.abort()).await;
            return Err(error);
        }
        upload.complete().await?;
        Ok(())
    }

    /// Reads a copy to its end, and says what bytes it has.
    ///
    /// # Errors
    /// [`RemoteError::Store`].
    pub async fn digest(&self, name: &PackName, cancel: &CancellationToken) -> Result<Digest, RemoteError> {
        self.read(name, None, cancel).await
    }

    /// Fetches a copy into a new file, which the disk has when this returns. Says what bytes came.
    ///
    /// # Errors
    /// [`RemoteError::Differs`] if the copy says of itself that it has other bytes; a part of a file may be left.
    pub async fn download(
        &self,
        name: &PackName,
        to: &Path,
        cancel: &CancellationToken,
    ) -> Result<Digest, RemoteError> {
        let mut file = tokio::fs::File::create(to).await?;
        let digest = self.read(name, Some(&mut file), cancel).await?;
        file.sync_all().await?;
        Ok(digest)
    }

    /// Deletes a copy. One that is not there is deleted already.
    ///
    /// # Errors
    /// [`RemoteError::Store`].
    pub async fn delete(&self, name: &PackName) -> Result<(), RemoteError> {
        match self.store.delete(&self.key(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn read(
        &self,
        name: &PackName,
        mut to: Option<&mut tokio::fs::File>,
        cancel: &CancellationToken,
    ) -> Result<Digest, RemoteError> {
        let reading = async {
            let got = self.store.get(&self.key(name)).await?;
            let said = got.attributes.get(&Attribute::Metadata(FIELD.into())).map(|said| said.to_string());
            let mut stream = got.into_stream();
            let mut hasher = blake3::Hasher::new();
            while let Some(piece) = stream.next().await {
                let piece = piece?;
                hasher.update(&piece);
                if let Some(file) = to.as_deref_mut() {
                    file.write_all(&piece).await?;
                }
            }
            let digest = digest_of(&hasher);
            if let Some(expected) = said.filter(|said| *said != digest.to_string()) {
                return Err(RemoteError::Differs { name: name.clone(), found: digest.to_string(), expected });
            }
            Ok(digest)
        };
        tokio::select! {
            () = cancel.cancelled() => Err(RemoteError::Cancelled),
            read = reading => read,
        }
    }
}

/// Fails unless the bytes are those that are to be.
pub(super) fn same(name: &PackName, found: Digest, expected: Digest) -> Result<(), RemoteError> {
    if found == expected {
        return Ok(());
    }
    Err(RemoteError::Differs { name: name.clone(), found: found.to_string(), expected: expected.to_string() })
}

fn digest_of(hasher: &blake3::Hasher) -> Digest {
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

async fn parts(
    upload: &mut dyn MultipartUpload,
    file: &mut tokio::fs::File,
    hasher: &mut blake3::Hasher,
    first: Bytes,
) -> Result<(), RemoteError> {
    let mut waiting = vec![upload.put_part(PutPayload::from(first))];
    loop {
        let next = part(file, hasher).await?;
        let last = next.len() < PART;
        if !next.is_empty() {
            waiting.push(upload.put_part(PutPayload::from(next)));
        }
        if last || waiting.len() >= AHEAD {
            try_join_all(waiting.drain(..)).await?;
        }
        if last {
            return Ok(());
        }
    }
}

/// The next [`PART`] bytes of a file; fewer at its end.
async fn part(file: &mut tokio::fs::File, hasher: &mut blake3::Hasher) -> std::io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(PART);
    file.take(PART as u64).read_to_end(&mut bytes).await?;
    hasher.update(&bytes);
    Ok(bytes.into())
}

/// Removes what a process that was killed left of files it was writing, `NAME#1` and so on: they are listed nowhere, and
/// would lie there for ever.
fn sweep(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('#'));
        let ours = name.is_some_and(|(name, number)| {
            name.parse::<PackName>().is_ok() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        if ours {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

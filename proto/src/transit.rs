//! A pack on its way between two machines: from a file into a stream, and from a stream into a file.
//!
//! One piece of [`PIECE`] bytes is in memory. What comes is as long as its head says and has its digest, or it is refused;
//! whether it is a pack, and whose, the receiver decides ([`crate::store::inspect`]).

use std::{io, path::Path};

use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::watch,
};

use crate::{Digest, limits::MAX_PACK_BYTES, wire::PackHead};

/// Bytes in memory.
const PIECE: usize = 256 << 10;

/// Why a pack did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum TransitError {
    /// The disk here.
    #[error("disk: {0}")]
    Disk(io::Error),
    /// The connection.
    #[error("it broke off: {0}")]
    Broken(io::Error),
    /// It is longer than it may be, or than it said.
    #[error("more than {0} bytes")]
    TooLong(u64),
    /// Its bytes are others than it said.
    #[error("its bytes are not those of its digest")]
    Differs,
}

/// Writes the bytes of a file behind its head, and nothing while there is something `urgent` under way.
///
/// # Errors
/// [`TransitError::Disk`] if the file cannot be read or is shorter than the head says, [`TransitError::Broken`].
pub async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    head: &PackHead,
    path: &Path,
    mut urgent: Option<watch::Receiver<usize>>,
) -> Result<(), TransitError> {
    let mut file = File::open(path).await.map_err(TransitError::Disk)?;
    let mut piece = vec![0; PIECE];
    let mut left = head.len;
    while left > 0 {
        if let Some(urgent) = &mut urgent {
            let _ = urgent.wait_for(|under_way| *under_way == 0).await;
        }
        let size = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let bytes = piece.get_mut(..size).unwrap_or_default();
        file.read_exact(bytes).await.map_err(TransitError::Disk)?;
        stream.write_all(bytes).await.map_err(TransitError::Broken)?;
        left -= size as u64;
    }
    Ok(())
}

/// Reads what a head announced into a new file, which the disk has when this returns. On an error a part of it may be
/// there.
///
/// # Errors
/// [`TransitError`]; nothing is written of what is announced to be too long.
pub async fn receive(stream: &mut (impl AsyncRead + Unpin), head: &PackHead, to: &Path) -> Result<(), TransitError> {
    if head.len > MAX_PACK_BYTES {
        return Err(TransitError::TooLong(MAX_PACK_BYTES));
    }
    let mut file = File::create(to).await.map_err(TransitError::Disk)?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut left = head.len;
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let count = stream.read(piece.get_mut(..size).unwrap_or_default()).await.map_err(TransitError::Broken)?;
        let bytes = piece.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Err(TransitError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        hasher.update(bytes);
        file.write_all(bytes).await.map_err(TransitError::Disk)?;
        left -= count as u64;
    }
    if stream.read(piece.get_mut(..1).unwrap_or_default()).await.map_err(TransitError::Broken)? > 0 {
        return Err(TransitError::TooLong(head.len));
    }
    if Digest::from_bytes(*hasher.finalize().as_bytes()) != head.digest {
        return Err(TransitError::Differs);
    }
    file.flush().await.map_err(TransitError::Disk)?;
    file.sync_all().await.map_err(TransitError::Disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: &[u8]) -> PackHead {
        let name = "0000000001-20240602_2005-0123456789ab-1.cut".parse().unwrap();
        PackHead { name, len: bytes.len() as u64, digest: Digest::of(bytes) }
    }

    #[tokio::test]
    async fn what_is_sent_arrives_and_nothing_else_does() {
        let dir = tempfile::TempDir::new().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let bytes: Vec<u8> = (0..PIECE * 2 + 77).map(|i| (i / 3) as u8).collect();
        std::fs::write(&from, &bytes).unwrap();
        let mut sent = Vec::new();
        let urgent = watch::Sender::new(1);
        let announced = head(&bytes);
        let held_up = send(&mut sent, &announced, &from, Some(urgent.subscribe()));
        let held_up = tokio::time::timeout(std::time::Duration::from_millis(20), held_up).await;
        assert!(held_up.is_err() && sent.is_empty());
        urgent.send_replace(0);
        send(&mut sent, &head(&bytes), &from, Some(urgent.subscribe())).await.unwrap();
        assert!(sent == bytes);
        receive(&mut sent.as_slice(), &head(&bytes), &to).await.unwrap();
        assert!(std::fs::read(&to).unwrap() == bytes);

        let short = receive(&mut &sent[..PIECE], &head(&bytes), &to).await;
        assert!(matches!(short, Err(TransitError::Broken(_))), "{short:?}");
        let more = [sent.clone(), vec![0]].concat();
        let more = receive(&mut more.as_slice(), &head(&bytes), &to).await;
        assert!(matches!(more, Err(TransitError::TooLong(_))), "{more:?}");
        sent[PIECE] ^= 1;
        let other = receive(&mut sent.as_slice(), &head(&bytes), &to).await;
        assert!(matches!(other, Err(TransitError::Differs)), "{other:?}");
        std::fs::remove_file(&to).unwrap();
        let endless = PackHead { len: MAX_PACK_BYTES + 1, ..head(&bytes) };
        let endless = receive(&mut tokio::io::repeat(0), &endless, &to).await;
        assert!(matches!(endless, Err(TransitError::TooLong(_))) && !to.exists(), "{endless:?}");
    }
}

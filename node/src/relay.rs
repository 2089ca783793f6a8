//! Cuts for other nodes, from what rests here.
//!
//! A blob goes over in the smallest form in which it rests and which the asker can use: the deflate stream of the package,
//! a patch against what it has, or the plain bytes. Nothing is compressed for it. What was spoiled on this disk does not
//! verify there, and is asked for elsewhere.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use difusor_proto::{
    CutKey, Digest, Manifest, NodeId, VerifyingKey,
    codec::{CodecError, Coding},
    limits::{MAX_CONTROL_FRAME, MAX_WANT},
    peer::Ask,
    plan,
    sign::SignError,
    store::{Blob, Form, Store, StoreError},
    wire::{self, CloseCode, DeltaHead, ItemHead, List},
};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};

/// Answers at once. The coordinator sends four at a time; more would only share the link.
const ANSWERS: usize = 8;

/// Questions at once on one connection: one, and one about what did not verify.
const QUESTIONS: u32 = 2;

/// How long a question may take to arrive, and a piece of an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that are read from the disk at once: each change of threads costs more than a small file.
const PIECE: u64 = 1 << 20;

/// Pieces that are read and wait for the link.
const AHEAD: usize = 2;

/// Gives cuts to other nodes.
pub struct Relay {
    store: Store,
    key: VerifyingKey,
    /// True if the operator wants that cuts are given, and had.
    pub is_on: bool,
    answers: Semaphore,
    sent: AtomicU64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Nobody brought it.
    #[error("cut {0} is not here")]
    Unknown(u64),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was signed is not what rests here.
    #[error("the list at rest: {0}")]
    Manifest(#[from] SignError),
    /// The list cannot be coded.
    #[error("the list: {0}")]
    List(#[from] CodecError),
    /// A blob cannot be read, or nobody takes it.
    #[error(transparent)]
    Read(#[from] std::io::Error),
}

/// An answer: what goes in front, and the blobs as they rest.
type Answer = (DeltaHead, Vec<(ItemHead, Blob)>);

impl Relay {
    /// From this store.
    pub fn new(store: Store, key: VerifyingKey, is_on: bool) -> Self {
        Self { store, key, is_on, answers: Semaphore::new(ANSWERS), sent: AtomicU64::new(0) }
    }

    /// Coded bytes that were sent since the start.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Answers what `node` asks on its connection, until it ends.
    pub async fn serve(self: &Arc<Self>, node: &NodeId, connection: &Connection) {
        if !self.is_on {
            return CloseCode::Done.close(connection);
        }
        connection.set_max_concurrent_bi_streams(QUESTIONS.into());
        while let Ok((send, recv)) = connection.accept_bi().await {
            let (relay, node, connection) = (Arc::clone(self), node.clone(), connection.clone());
            tokio::spawn(async move {
                if let Err(error) = relay.answer(&node, &connection, send, recv).await {
                    tracing::debug!(%node, error = format!("{error:#}"), "a cut for another node");
                }
            });
        }
    }

    async fn answer(
        &self,
        node: &NodeId,
        connection: &Connection,
        mut send: SendStream,
        mut recv: RecvStream,
    ) -> anyhow::Result<()> {
        // Who has too much to do says so at once: others may have less.
        let Ok(_permit) = self.answers.try_acquire() else { return Ok(send.reset(VarInt::from_u32(0))?) };
        let ask = match timeout(PATIENCE, wire::read_frame::<Ask>(&mut recv, MAX_CONTROL_FRAME)).await? {
            Ok(Some(Ask::Blobs { digests, .. })) if digests.len() > MAX_WANT => {
                CloseCode::Oversize.close(connection);
                return Ok(());
            }
            Ok(Some(ask)) => ask,
            Ok(None) => return Ok(()),
            Err(error) => {
                error.close_code().inspect(|code| code.close(connection));
                return Err(error.into());
            }
        };
        let (store, key) = (self.store.clone(), self.key);
        // Blobs that are read wait for the link, and no more of them than that.
        let (pieces, mut taken) = mpsc::channel(AHEAD);
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let reading = tokio::task::spawn_blocking(move || {
            give(&store, &key, ask, |piece| pieces.blocking_send(piece).map_err(gone))
        });
        while let Some(piece) = taken.recv().await {
            let len = piece.len() as u64;
            timeout(PATIENCE, send.write_chunk(piece)).await??;
            self.sent.fetch_add(len, Relaxed);
        }
        let (seq, bytes) = reading.await??;
        send.finish()?;
        tracing::debug!(%node, seq, bytes, "gave a cut to another node");
        Ok(())
    }
}

/// Answers a question from a store, piece by piece: the head and then the blobs as they rest, as the other side takes them
/// ([`Stage::take`](crate::stage::Stage::take)). Gives the number of the cut, and the coded bytes of its blobs. Blocks.
///
/// # Errors
/// [`RelayError`], or what `out` fails with.
pub fn give(
    store: &Store,
    key: &VerifyingKey,
    ask: Ask,
    mut out: impl FnMut(Bytes) -> std::io::Result<()>,
) -> Result<(u64, u64), RelayError> {
    let (head, items) = answer(store, key, ask)?;
    out(wire::encode(&head)?.into())?;
    read(items, out)?;
    Ok((head.cut.seq, head.bytes))
}

/// Looks up what is asked for. Blocks.
fn answer(store: &Store, key: &VerifyingKey, ask: Ask) -> Result<Answer, RelayError> {
    let read = |cut: &CutKey| -> Result<_, RelayError> {
        let signed = store.manifest(cut)?.ok_or(RelayError::Unknown(cut.seq))?;
        let manifest = signed.open(key)?;
        Ok((signed, manifest))
    };
    let (cut, list, wanted) = match ask {
        Ask::Cut { cut, base } => {
            let (signed, manifest) = read(&cut)?;
            // A base that is not here is no base.
            let held = base.and_then(|base| store.cuts().ok()?.into_iter().find(|held| held.root == base));
            let held = held.map(|held| read(&held)).transpose()?;
            let list = match &held {
                Some((base, _)) => List::since(base, &signed)?,
                None => List::whole(&signed)?,
            };
            let held = held.map(|(_, manifest)| manifest);
            (cut, Some(list), blobs(store, held.as_ref(), &manifest, |_| true)?)
        }
        Ask::Blobs { cut, digests } => {
            let digests: HashSet<_> = digests.into_iter().collect();
            let (_, manifest) = read(&cut)?;
            (cut, None, blobs(store, None, &manifest, |digest| digests.contains(digest))?)
        }
    };
    let items = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
    let bytes = wanted.iter().map(|(head, _)| head.len).sum();
    Ok((DeltaHead { cut, list, items, bytes }, wanted))
}

/// The blobs of `target` that a holder of `base` lacks and wants, as many as are here.
fn blobs(
    store: &Store,
    base: Option<&Manifest>,
    target: &Manifest,
    is_wanted: impl Fn(&Digest) -> bool,
) -> Result<Vec<(ItemHead, Blob)>, RelayError> {
    let held: HashSet<Digest> = base.iter().flat_map(|base| base.entries.iter().map(|entry| entry.digest)).collect();
    let mut found = Vec::new();
    for need in plan::needs(base, target) {
        let digest = need.entry.digest;
        if !is_wanted(&digest) {
            continue;
        }
        let mut best: Option<Blob> = None;
        for form in [Form::Deflate, Form::Zstd, Form::Patch, Form::Identity] {
            let Some(blob) = store.blob(&digest, form)? else { continue };
            let is_of_use = match blob.coding() {
                Coding::Patch { base } => held.contains(&base),
                _ => true,
            };
            if is_of_use && best.as_ref().is_none_or(|best| blob.len() < best.len()) {
                best = Some(blob);
            }
        }
        found.extend(best.map(|blob| (ItemHead { digest, coding: blob.coding(), len: blob.len() }, blob)));
    }
    Ok(found)
}

/// Reads heads and blobs into pieces, small ones together. Blocks.
fn read(items: Vec<(ItemHead, Blob)>, mut out: impl FnMut(Bytes) -> std::io::Result<()>) -> std::io::Result<()> {
    let mut piece = Vec::new();
    for (head, blob) in items {
        piece.extend(wire::encode(&head)?);
        let mut at = 0;
        while at < blob.len() {
            let len = (blob.len() - at).min(PIECE);
            let begin = piece.len();
            piece.resize(begin.saturating_add(usize::try_from(len).map_err(std::io::Error::other)?), 0);
            blob.read_at(piece.get_mut(begin..).unwrap_or_default(), at)?;
            at += len;
            if piece.len() as u64 >= PIECE {
                out(std::mem::take(&mut piece).into())?;
            }
        }
    }
    if piece.is_empty() { Ok(()) } else { out(piece.into()) }
}

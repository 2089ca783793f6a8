//! Blobs that are not what the signed manifest says: each is asked for again, and then the cut is refused.

use std::io::Write as _;

use difusor_coordinator::delta::Item;
use difusor_proto::{
    Digest,
    codec::{self, Coding, Level},
    limits::MAX_REPAIRS,
    wire::{CloseCode, DeltaHead, FromNode},
};

use crate::siege::Siege;

/// The blob with other bytes, as many as there were.
fn spoiled(item: &Item) -> Item {
    let mut bytes = item.bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    Item { head: item.head, bytes: bytes.into() }
}

fn recoded(digest: Digest, coding: Coding, bytes: Vec<u8>) -> Item {
    let mut item = Item { head: difusor_proto::wire::ItemHead { digest, coding, len: 0 }, bytes: bytes.into() };
    item.head.len = item.bytes.len() as u64;
    item
}

/// Sends the third cut with its first blob replaced, and expects exactly that blob to be asked for again.
async fn asked_again(siege: &Siege, what: &str, bad: Item) {
    let before = siege.counted("blob").await;
    let mut items = siege.items.clone();
    let digest = bad.head.digest;
    items[0] = bad;
    let mut victim = siege.victim().await;
    victim.delta(&siege.head(), &items).await;
    assert_eq!(victim.wanted().await, [digest], "{what}");
    siege.repelled(what, "blob", before).await;
    CloseCode::Done.close(&victim.connection);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_asked_for_again_and_then_refused() {
    let siege = Siege::lay().await;
    let before = (siege.counted("blob").await, siege.counted("bad-content").await);
    let bad = spoiled(&siege.items[0]);
    let mut items = siege.items.clone();
    items[0] = bad.clone();
    let mut victim = siege.victim().await;
    victim.delta(&siege.head(), &items).await;
    for _ in 0..MAX_REPAIRS {
        assert_eq!(victim.wanted().await, [bad.head.digest]);
        let again = DeltaHead { list: None, items: 1, ..siege.head() };
        victim.delta(&again, std::slice::from_ref(&bad)).await;
    }
    // Told first, closed then: a coordinator that is not told offers the same cut for ever.
    let told = victim.next().await;
    assert_eq!(victim.closed().await, CloseCode::BadContent);
    siege.repelled("wrong bytes", "bad-content", before.1).await;
    assert_eq!(siege.counted("blob").await, before.0 + u64::from(MAX_REPAIRS) + 1);
    assert!(
        matches!(&told, Some(FromNode::Refused { cut, .. }) if *cut == siege.cuts[2]),
        "the refusal never left the node: {told:?}"
    );
    drop(victim);
    siege.lift().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_bytes_than_a_blob_can_have() {
    let siege = Siege::lay().await;
    // Endless data: the announced length alone is enough to close.
    let mut endless = siege.items[0].clone();
    endless.head.len = 1 << 40;
    let items = [endless];
    siege
        .attack("a blob of a terabyte", CloseCode::Oversize, async |victim| victim.delta(&siege.head(), &items).await)
        .await;
    // A blob of no file of this cut has no size, and so no byte of it is taken.
    let foreign = [recoded(Digest::of(b"of no cut"), Coding::Identity, vec![0; 5000])];
    siege
        .attack("a blob of no file", CloseCode::Oversize, async |victim| {
            victim.delta(&siege.head(), &foreign).await;
        })
        .await;
    siege.lift().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_against_what_is_not_there() {
    let siege = Siege::lay().await;
    let entry = |digest: Digest| siege.manifests[2].entries.iter().find(|entry| entry.digest == digest).unwrap();
    let target = siege.items[0].head.digest;
    let size = usize::try_from(entry(target).size).unwrap();
    let patch = codec::patch(&vec![b'x'; size], &vec![b'y'; size], Level::Fast).unwrap();
    let nowhere = recoded(target, Coding::Patch { base: Digest::of(b"nowhere") }, patch.clone());
    asked_again(&siege, "a patch against a blob that is not here", nowhere).await;
    // Mix-and-match: a base that is here, and is not the one that the patch was made against.
    let base = siege.manifests[1].entries[0].digest;
    asked_again(&siege, "a patch against another blob", recoded(target, Coding::Patch { base }, patch)).await;
    siege.lift().await;
}

/// Mix-and-match: the manifest of one cut with the bytes of another, each of them real.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_another_cut() {
    let siege = Siege::lay().await;
    let before = siege.counted("blob").await;
    let mut mixed = Vec::new();
    let mut swapped = Vec::new();
    for item in &siege.items {
        let entry = siege.manifests[2].entries.iter().find(|entry| entry.digest == item.head.digest).unwrap();
        let old = siege.manifests[1].entry(entry.path.as_str()).map(|entry| entry.digest);
        match siege.old_items.iter().find(|item| Some(item.head.digest) == old) {
            Some(old) => {
                swapped.push(item.head.digest);
                mixed.push(recoded(item.head.digest, old.head.coding, old.bytes.to_vec()));
            }
            None => mixed.push(item.clone()),
        }
    }
    assert!(swapped.len() > 5, "the night has too little in common with itself");
    let mut victim = siege.victim().await;
    victim.delta(&siege.head(), &mixed).await;
    let mut wanted = victim.wanted().await;
    wanted.sort();
    swapped.sort();
    assert_eq!(wanted, swapped);
    siege.repelled("bytes of another cut", "blob", before).await;
    CloseCode::Done.close(&victim.connection);
    drop(victim);
    siege.lift().await;
}

/// A few kilobytes that say they are a file and become tens of megabytes: stopped at the size that the manifest says.
#[tokio::test(flavor = "multi_thread")]
async fn bombs_do_not_go_off() {
    let siege = Siege::lay().await;
    let target = siege.items[0].head.digest;
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    // As much as fits into what a blob of this size may be on the wire.
    for _ in 0..3 {
        deflate.write_all(&zeros).unwrap();
    }
    let zstd = codec::compress(&vec![0; 64 << 20]).unwrap();
    let size = siege.manifests[2].entries.iter().find(|entry| entry.digest == target).unwrap().size;
    let slack = 4096 + usize::try_from(size).unwrap();
    let bombs = [(Coding::Deflate, deflate.finish().unwrap()), (Coding::Zstd, zstd)];
    let peak = siege.peak_rss().await;
    for (coding, bytes) in bombs {
        assert!(bytes.len() <= slack, "{coding:?}: {} bytes would be refused for their length", bytes.len());
        asked_again(&siege, &format!("a bomb in {coding:?}"), recoded(target, coding, bytes)).await;
    }
    // A frame header that promises far more than it holds (RFC 8878 section 3.1.1): single segment, content size 2^62.
    let mut promise = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    promise.extend((1_u64 << 62).to_le_bytes());
    promise.extend([0x01, 0, 0]);
    asked_again(&siege, "a frame that promises exabytes", recoded(target, Coding::Zstd, promise)).await;
    let grown = siege.peak_rss().await.saturating_sub(peak);
    assert!(grown < 48 << 20, "the node took {} MB for bombs", grown >> 20);
    siege.lift().await;
}

/// What is taken apart is believed no more than what is whole: whatever a bundle or an opened archive should have given
/// and did not is asked for again.
#[tokio::test(flavor = "multi_thread")]
async fn bundles_and_opened_archives_that_are_none() {
    let siege = Siege::lay().await;
    let target = siege.items[0].head.digest;
    let held = siege.manifests[1].entries[0].digest;
    for base in [held, Digest::of(b"nowhere")] {
        let opened = recoded(target, Coding::Opened { base }, vec![7; 64]);
        asked_again(&siege, "an opened archive that is none", opened).await;
    }
    let (bundles, rest): (Vec<_>, Vec<_>) =
        siege.thin.iter().cloned().partition(|item| item.head.coding == Coding::Bundle);
    assert_eq!(bundles.len(), 1, "the night has no small files that change");
    let mut bundled: Vec<_> = siege.items.iter().map(|item| item.head.digest).collect();
    bundled.retain(|digest| rest.iter().all(|item| item.head.digest != *digest));
    bundled.sort();
    assert!(bundled.len() > 5, "{} files in the bundle", bundled.len());
    let whole = &bundles[0].bytes;
    let garbage = recoded(bundles[0].head.digest, Coding::Bundle, vec![0xff; 200]);
    let cut = recoded(bundles[0].head.digest, Coding::Bundle, whole[..whole.len() - 40].to_vec());
    for (what, bad) in [("spoiled", spoiled(&bundles[0])), ("garbage", garbage), ("cut off", cut)] {
        let before = siege.counted("blob").await;
        let items: Vec<_> = std::iter::once(bad).chain(rest.iter().cloned()).collect();
        let head = DeltaHead { items: u32::try_from(items.len()).unwrap(), ..siege.head() };
        let mut victim = siege.victim().await;
        victim.delta(&head, &items).await;
        let mut wanted = victim.wanted().await;
        wanted.sort();
        assert_eq!(wanted, bundled, "a bundle that is {what}");
        siege.repelled(what, "blob", before).await;
        CloseCode::Done.close(&victim.connection);
    }
    let mut endless = bundles[0].clone();
    endless.head.len = 1 << 40;
    siege
        .attack("a bundle of a terabyte", CloseCode::Oversize, async |victim| {
            victim.delta(&siege.head(), &[endless.clone()]).await;
        })
        .await;
    siege.lift().await;
}

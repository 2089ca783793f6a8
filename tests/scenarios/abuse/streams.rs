//! Streams that end too early, or never.

use difusor_proto::wire::{CloseCode, DeltaHead, FromNode};

use crate::{rogue::delta, siege::Siege};

/// A head that announces more blobs than follow. The stream ends in good order, the cut is not complete: the node has to
/// say so, by asking for the rest or by closing, or it waits for ever on a connection that is well.
#[tokio::test(flavor = "multi_thread")]
async fn fewer_blobs_than_announced() {
    let siege = Siege::lay().await;
    let mut victim = siege.victim().await;
    let (sent, kept) = siege.items.split_at(1);
    victim.delta(&siege.head(), sent).await;
    let heard = tokio::time::timeout(std::time::Duration::from_secs(8), victim.next()).await;
    siege.unmoved("fewer blobs than announced").await;
    let counted = siege.counted("blob").await + siege.counted("garbage").await;
    match heard {
        Ok(Some(FromNode::Want { digests, .. })) => assert_eq!(digests.len(), kept.len()),
        Ok(None) => {
            assert_eq!(victim.closed().await, CloseCode::Garbage);
        }
        other => panic!("the node says nothing about the blobs that did not come: {other:?}"),
    }
    assert!(counted > 0, "it is not counted");
    CloseCode::Done.close(&victim.connection);
    drop(victim);
    siege.lift().await;
}

/// The same with the end in the middle of a blob, and then with more blobs than announced.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_blob_and_a_blob_too_many() {
    let siege = Siege::lay().await;
    let mut victim = siege.victim().await;
    let before = siege.counted("blob").await;
    // One too many: what is behind the announced ones is not read, so it is missing.
    let head = DeltaHead { items: siege.head().items - 1, ..siege.head() };
    victim.delta(&head, &siege.items).await;
    assert_eq!(victim.wanted().await, [siege.items.last().unwrap().head.digest]);
    siege.repelled("a blob too many", "blob", before).await;

    let mut bytes = delta(&DeltaHead { list: None, items: 1, ..siege.head() }, &siege.items[siege.items.len() - 1..]);
    bytes.truncate(bytes.len() - 1);
    victim.stream(&bytes).await.finish().unwrap();
    // Nothing of half a blob may count; whoever sends the rest afterwards is right.
    siege.unmoved("half a blob").await;
    victim.delta(&DeltaHead { list: None, items: 1, ..siege.head() }, &siege.items[siege.items.len() - 1..]).await;
    loop {
        match victim.next().await {
            Some(FromNode::Want { .. }) => {}
            Some(FromNode::Staged { cut, .. }) => break assert_eq!(cut, siege.cuts[2]),
            other => panic!("{other:?}"),
        }
    }
    siege.unmoved("a staged cut without a flip").await;
    CloseCode::Done.close(&victim.connection);
    drop(victim);
    siege.lift().await;
}

/// Slow retrieval: streams that stall hold nothing up but themselves.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_stall() {
    let siege = Siege::lay().await;
    let victim = siege.victim().await;
    let bytes = delta(&siege.head(), &siege.items);
    let mut stalled = Vec::new();
    for part in [2, bytes.len() / 4, bytes.len() / 2, bytes.len() - 1] {
        stalled.push(victim.stream(&bytes[..part]).await);
    }
    siege.unmoved("streams that stall").await;
    // Still in touch: what came so far broke no rule.
    assert_eq!(victim.connection.close_reason(), None);
    siege.unmoved("streams that still stall").await;
    // The rogue goes with its streams open, as a machine that is switched off.
    drop((victim, stalled));
    siege.lift().await;
}

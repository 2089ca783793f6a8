//! What no crash may cost.

use std::fs;

use difusor_local::https::{self, Protocol};
use difusor_proto::CutKey;

use crate::{
    prober::Prober,
    rig::{PATIENCE, Rig, packs, until},
};

/// Everything that has to hold once all processes run again. Returns the cut that everyone serves.
pub(crate) async fn check(rig: &Rig, probers: &[Prober]) -> CutKey {
    let newest = served(rig, probers).await;
    no_leftovers(rig).await;
    newest
}

/// The same, whatever may lie about in the folders.
pub(crate) async fn served(rig: &Rig, probers: &[Prober]) -> CutKey {
    rig.mesh.wait_connected().await.unwrap();
    archived(rig).await;
    let newest = rig.mesh.client().history().await.unwrap().last().unwrap().archived.cut;
    rig.mesh.wait_served(&newest, PATIENCE).await.unwrap();
    whole(rig, &newest).await;
    for (node, prober) in rig.mesh.nodes.iter().zip(probers) {
        let seen = prober.seen.lock().unwrap();
        let first: Vec<_> = seen.faults.iter().take(6).collect();
        let (count, log) = (seen.faults.len(), node.process.log_end());
        assert!(first.is_empty(), "{} showed {count} faults, at first {first:#?}; its log:\n{log}", node.zone);
    }
    newest
}

/// Every package that was acknowledged is in the history, and comes out as it went in.
pub(crate) async fn archived(rig: &Rig) {
    let client = rig.mesh.client();
    let history = client.history().await.unwrap();
    for (at, listed) in history.iter().enumerate() {
        assert_eq!(listed.archived.cut.seq, at as u64 + 1, "the history has a gap");
    }
    let to = rig.dir.path().join("exported.zip");
    for (i, cut) in &rig.acknowledged {
        assert!(history.iter().any(|listed| listed.archived.cut == *cut), "cut {cut:?} was acknowledged and is lost");
        client.export(&cut.seq.to_string(), &to).await.unwrap();
        assert!(fs::read(&to).unwrap() == rig.night.package(*i).bytes, "cut {cut:?} comes out as other bytes");
    }
}

/// Every node that runs serves every file of this cut, and each has the right bytes, plain and packed.
pub(crate) async fn whole(rig: &Rig, cut: &CutKey) {
    let files = rig.truth.of(&cut.label.to_string()).unwrap();
    for node in rig.mesh.nodes.iter().filter(|node| node.process.pid().is_some()) {
        let mut connection = rig.mesh.open(node, Protocol::H1).await.unwrap();
        for (path, digest) in files.iter() {
            let path = https::encode(path);
            let plain = connection.get(&path).await.unwrap();
            assert_eq!(plain.status, 200, "{} {path}", node.zone);
            assert_eq!(difusor_proto::Digest::of(&plain.body), *digest, "{} {path}", node.zone);
            let packed = connection.request(http::Method::GET, &path, &[("accept-encoding", "gzip")]).await.unwrap();
            let body = unpacked(&packed);
            assert_eq!(body.map(|body| difusor_proto::Digest::of(&body)), Some(*digest), "{} {path} gzip", node.zone);
        }
    }
}

/// The bytes that a browser makes of an answer; `None` if it cannot.
pub(crate) fn unpacked(answer: &https::Answer) -> Option<Vec<u8>> {
    if answer.headers.get("content-encoding").is_none() {
        return Some(answer.body.to_vec());
    }
    let mut body = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(answer.body.as_ref()), &mut body).ok()?;
    Some(body)
}

/// What a crash left half written is cleared away.
pub(crate) async fn no_leftovers(rig: &Rig) {
    let all = || rig.mesh.nodes.iter().map(|node| &node.process).chain([&rig.mesh.coordinator]);
    until("no packs are left half written", async || all().all(|process| packs(process, ".tmp").is_empty())).await;
}

//! Bits that turn on the disk of a node, in packs that were whole and settled: found at the latest when they would go out.

use std::{
    fs::{self, File},
    path::Path,
};

use difusor_local::https::{self, Protocol};
use difusor_night::NightSpec;
use difusor_proto::{CutKey, Digest};

use crate::{
    invariants::{check, unpacked},
    rig::{PATIENCE, Rig, flip_bit, len, packs, until},
};

/// A night with files that a node keeps in memory, and files that it reads from the disk for each visitor.
pub(crate) fn spec() -> NightSpec {
    NightSpec { rows: 3_000, largest_file: 300_000, ..NightSpec::tiny() }
}

/// Turns a bit in every so many bytes of a pack, headers at the front and the trailer at the end left alone.
fn spoil(path: &Path) {
    let end = len(path).saturating_sub(600);
    let mut at = 600;
    while at < end {
        flip_bit(path, at);
        at += 40_000;
    }
    File::open(path).unwrap().sync_all().unwrap();
}

/// Whatever the node answers with 200 has the right bytes. Returns how many files it does answer, of how many.
async fn honest(rig: &Rig, cut: &CutKey) -> (usize, usize) {
    let files = rig.truth.of(&cut.label.to_string()).unwrap();
    let mut good = 0;
    for (path, digest) in files.iter() {
        let mut right = 0;
        for coding in ["identity", "gzip"] {
            let Ok(mut connection) = rig.mesh.open(&rig.mesh.nodes[0], Protocol::H1).await else { continue };
            let headers = [("accept-encoding", coding)];
            // Breaking off is honest as well: nobody takes half an answer for a whole one.
            let answer = connection.request(http::Method::GET, &https::encode(path), &headers).await;
            let Some(answer) = answer.ok().filter(|answer| answer.status == 200) else { continue };
            let whole = unpacked(&answer).is_some_and(|body| Digest::of(&body) == *digest);
            assert!(whole, "{path} ({coding}) is served with bytes that are not its own");
            right += 1;
        }
        good += usize::from(right == 2);
    }
    (good, files.len())
}

async fn damaged(which: &[&str]) -> (Rig, CutKey) {
    let mut rig = Rig::start(1, spec()).await;
    rig.publish().await;
    let cut = rig.publish().await;
    let node = &mut rig.mesh.nodes[0].process;
    node.stop().await.unwrap();
    for ends in which {
        packs(node, ends).iter().for_each(|pack| spoil(pack));
    }
    rig.restart_node(0).await;
    (rig, cut)
}

/// The node reads large files from the disk for each visitor: one bit of one of them, in its plain bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_turned_bit_in_a_large_file_never_goes_out() {
    let mut rig = Rig::start(1, spec()).await;
    let cut = rig.publish().await;
    let node = &mut rig.mesh.nodes[0].process;
    node.stop().await.unwrap();
    let (path, bytes) = rig.night.entries(0).into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let pack = packs(node, ".plain").remove(0);
    let at = find(&pack, &bytes).expect("the largest file has its plain bytes in the plain pack");
    flip_bit(&pack, at + bytes.len() as u64 / 2);
    rig.restart_node(0).await;
    let (good, all) = honest(&rig, &cut).await;
    println!("one bit of {path} ({} bytes) turned: {good} of {all} files are served", bytes.len());
    rig.mesh.stop().await.unwrap();
}

/// The packed form of a file goes out to nearly every browser, from bytes that only the cut has.
#[tokio::test(flavor = "multi_thread")]
async fn a_turned_bit_in_a_packed_file_never_goes_out() {
    for large in [false, true] {
        let mut rig = Rig::start(1, spec()).await;
        let cut = rig.publish().await;
        let node = &mut rig.mesh.nodes[0].process;
        node.stop().await.unwrap();
        let stream = deflated(&rig.night.package(0).bytes, large);
        let pack = packs(node, ".cut").remove(0);
        let at = find(&pack, &stream).expect("the cut has the package's deflate streams");
        flip_bit(&pack, at + stream.len() as u64 / 2);
        rig.restart_node(0).await;
        let (good, all) = honest(&rig, &cut).await;
        println!("one bit of {} packed bytes turned: {good} of {all} files are served", stream.len());
        rig.mesh.stop().await.unwrap();
    }
}

/// The deflate stream of the largest file of a package, or of one that fits into memory anywhere.
pub(crate) fn deflated(package: &[u8], large: bool) -> Vec<u8> {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(package)).unwrap();
    let mut streams = Vec::new();
    for i in 0..zip.len() {
        let file = zip.by_index_raw(i).unwrap();
        if file.compression() == zip::CompressionMethod::Deflated {
            let start = usize::try_from(file.data_start().unwrap()).unwrap();
            streams.push(start..start + usize::try_from(file.compressed_size()).unwrap());
        }
    }
    streams.sort_by_key(ExactSizeIterator::len);
    let range = if large { streams.pop() } else { streams.into_iter().find(|range| range.len() > 2_000) }.unwrap();
    package[range].to_vec()
}

/// Where these bytes begin in a file.
pub(crate) fn find(path: &Path, bytes: &[u8]) -> Option<u64> {
    let all = fs::read(path).unwrap();
    all.windows(bytes.len()).position(|window| window == bytes).map(|at| at as u64)
}

/// Plain bytes are a copy: with the cut whole beside them, nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn turned_bits_in_plain_bytes_never_go_out() {
    let (rig, cut) = damaged(&[".plain"]).await;
    let (good, all) = honest(&rig, &cut).await;
    println!("plain packs damaged: {good} of {all} files are served, all of them right");
    rig.mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn turned_bits_in_plain_bytes_are_mended_from_the_cut() {
    let (mut rig, cut) = damaged(&[".plain"]).await;
    until("all files are served again", async || {
        let (good, all) = honest(&rig, &cut).await;
        good == all
    })
    .await;
    let next = rig.publish().await;
    assert_eq!(check(&rig, &[]).await, next);
    rig.mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn turned_bits_in_a_cut_never_go_out() {
    let (rig, cut) = damaged(&[".cut"]).await;
    let (good, all) = honest(&rig, &cut).await;
    println!("cuts damaged: {good} of {all} files are served, all of them right");
    rig.mesh.stop().await.unwrap();
}

/// Both copies are spoiled: what is lost here is whole at the coordinator. Whether it comes again by itself or with the
/// next cut, a node that is in touch does not stay without.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_spoiled_in_every_copy_is_fetched_again() {
    let (mut rig, cut) = damaged(&[".plain", ".cut"]).await;
    let (good, all) = honest(&rig, &cut).await;
    println!("everything damaged: {good} of {all} files are served, all of them right");
    let (i, file) = rig.make();
    let next = rig.hand_in(i, &file).await.unwrap().cut;
    let served = rig.mesh.wait_served(&next, PATIENCE / 3).await;
    assert!(served.is_ok(), "the node never serves again: {}", rig.mesh.nodes[0].process.log_end());
    assert_eq!(honest(&rig, &next).await, (all, all));
    rig.mesh.stop().await.unwrap();
}

/// The archive of the coordinator: what does not come out as it went in must not come out as if it did.
#[tokio::test(flavor = "multi_thread")]
async fn turned_bits_in_the_archive_never_go_out() {
    let mut rig = Rig::start(1, NightSpec::tiny()).await;
    let cut = rig.publish().await;
    rig.mesh.coordinator.stop().await.unwrap();
    let pack = packs(&rig.mesh.coordinator, ".cut").remove(0);
    // In the middle of the package, which is the first and largest thing in it.
    flip_bit(&pack, len(&pack) / 3);
    rig.restart_coordinator().await;
    let to = rig.dir.path().join("exported.zip");
    if rig.mesh.client().export(&cut.seq.to_string(), &to).await.is_ok() {
        let right = fs::read(&to).unwrap() == rig.night.package(0).bytes;
        assert!(right, "a damaged package is handed out as if it were whole");
    }
    // What is damaged there is whole in the mesh, and the night goes on.
    let next = rig.publish().await;
    rig.mesh.wait_served(&next, PATIENCE).await.unwrap();
    rig.mesh.stop().await.unwrap();
}

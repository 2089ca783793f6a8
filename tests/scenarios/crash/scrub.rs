//! Bits that turn on the disks of a mesh that runs: found by reading everything again, and made whole while it serves.

use std::{
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use difusor_local::https::{self, Protocol};
use difusor_night::NightSpec;
use difusor_node::admin::Status;
use difusor_proto::CutKey;

use crate::{
    bits::{deflated, find, spec},
    invariants::{check, whole},
    rig::{PATIENCE, Rig, flip_bit, len, packs, until},
};

/// Everything is read again all the time.
const EAGER: &str = "scrub_rate = \"2 GB\"\nscrub_every = \"50 ms\"\n";

async fn eager() -> Rig {
    Rig::start_with(1, NightSpec { rows: 20_000, largest_file: 900_000, ..spec() }, |options| {
        options.node_config = EAGER.into();
        options.coordinator_config = EAGER.into();
    })
    .await
}

async fn status(rig: &Rig) -> Status {
    difusor_tests::status(rig.mesh.nodes[0].admin).await.unwrap()
}

/// What a node answers when it is asked how it is.
async fn health(admin: SocketAddr) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(admin).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.0\r\nhost: node\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Waits until the node has found more than it had, and nothing of it is left.
async fn healed(rig: &Rig, before: &Status, what: &str) {
    let since = Instant::now();
    loop {
        let now = status(rig).await;
        let Status { scrub, wanted, withheld, .. } = &now;
        if scrub.found > before.scrub.found && scrub.damaged.is_empty() && (*wanted, *withheld) == (0, 0) {
            break;
        }
        let log = || rig.mesh.nodes[0].process.log_end();
        assert!(since.elapsed() < PATIENCE, "{what} is not whole again: {now:#?}\n{}", log());
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    let then = status(rig).await.scrub;
    until("everything is read once more", async || status(rig).await.scrub.passes >= then.passes + 2).await;
    let now = status(rig).await.scrub;
    assert_eq!((now.found, now.damaged), (then.found, vec![]), "{what}: something is still damaged");
    assert!(now.healed > before.scrub.healed, "{what}: nobody counted that it was healed");
    // What was wrong for a moment is believed to be over only after another.
    until("it is well", async || health(rig.mesh.nodes[0].admin).await.contains("ready")).await;
}

/// The file of the first package whose packed form is the largest, and that form: both are mapped from the disk for each
/// visitor, and lie in no memory.
fn largest(rig: &Rig) -> (String, Vec<u8>, Vec<u8>) {
    let packed = deflated(&rig.night.package(0).bytes, true);
    let mut plain = Vec::new();
    flate2::read::DeflateDecoder::new(packed.as_slice()).read_to_end(&mut plain).unwrap();
    assert!(packed.len() > 64 << 10, "{} bytes fit into memory", packed.len());
    let (path, _) = rig.night.entries(0).into_iter().find(|(_, bytes)| *bytes == plain).unwrap();
    (path, plain, packed)
}

fn pack(rig: &Rig, ends: &str) -> PathBuf {
    packs(&rig.mesh.nodes[0].process, ends).remove(0)
}

/// Where the largest file lies plain, and where it lies packed.
fn places(rig: &Rig) -> [(PathBuf, u64); 2] {
    let (_, plain, packed) = largest(rig);
    [(".plain", plain), (".cut", packed)].map(|(ends, bytes)| {
        let pack = pack(rig, ends);
        let at = find(&pack, &bytes).expect("the pack has the largest file");
        (pack, at + bytes.len() as u64 / 2)
    })
}

async fn manifest(rig: &Rig) -> Vec<u8> {
    let mut connection = rig.mesh.open(&rig.mesh.nodes[0], Protocol::H1).await.unwrap();
    connection.get("/.well-known/difusor/manifest").await.unwrap().body.to_vec()
}

/// Waits until both packs of the first cut are settled under their names.
async fn settled(rig: &Rig) {
    until("the packs are settled", async || packs(&rig.mesh.nodes[0].process, ".plain").len() == 1).await;
}

/// What a bit is turned in.
#[derive(Debug, Clone, Copy)]
enum Spoiled {
    Plain,
    Packed,
    Manifest,
    HeaderOfPlain,
    HeaderOfCut,
    Magic,
    Trailer,
}

impl Spoiled {
    const ALL: [Self; 7] =
        [Self::Plain, Self::Packed, Self::Manifest, Self::HeaderOfPlain, Self::HeaderOfCut, Self::Magic, Self::Trailer];
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_record_is_healed_while_the_node_serves() {
    let mut rig = eager().await;
    let cut = rig.publish().await;
    settled(&rig).await;
    let [(plain, _), (packed, _)] = places(&rig);
    let signed = manifest(&rig).await;
    let middle = |path: &Path, bytes: &[u8]| find(path, bytes).expect("it is in the pack") + bytes.len() as u64 / 2;
    // What was healed lies elsewhere, so each place is looked for when it is its turn.
    for what in Spoiled::ALL {
        let before = status(&rig).await;
        match what {
            Spoiled::Plain => flip_bit(&plain, middle(&plain, &largest(&rig).1)),
            Spoiled::Packed => flip_bit(&packed, middle(&packed, &largest(&rig).2)),
            Spoiled::Manifest => flip_bit(&packed, middle(&packed, &signed)),
            Spoiled::HeaderOfPlain => flip_bit(&plain, 16 + 40),
            Spoiled::HeaderOfCut => flip_bit(&packed, 16 + 70),
            Spoiled::Magic => flip_bit(&packed, 3),
            Spoiled::Trailer => flip_bit(&plain, len(&plain) - 8),
        }
        healed(&rig, &before, &format!("{what:?}")).await;
        whole(&rig, &cut).await;
    }
    rig.reboot_node(0).await;
    assert_eq!(check(&rig, &[]).await, cut);
    let next = rig.publish().await;
    assert_eq!(check(&rig, &[]).await, next);
    rig.mesh.stop().await.unwrap();
}

/// How often the coordinator was asked for blobs again.
async fn asked(rig: &Rig) -> u64 {
    rig.mesh.client().status().await.unwrap().refused.get("blobs-asked-again").copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_spoiled_in_every_form_comes_from_the_coordinator() {
    let mut rig = eager().await;
    let cut = rig.publish().await;
    settled(&rig).await;
    let before = status(&rig).await;
    for (path, at) in places(&rig) {
        flip_bit(&path, at);
    }
    healed(&rig, &before, "a large file in both forms").await;
    whole(&rig, &cut).await;
    assert!(asked(&rig).await > 0, "it was healed without asking for it");
    // Every blob of both packs at once, headers too.
    let before = status(&rig).await;
    for ends in [".plain", ".cut"] {
        for path in packs(&rig.mesh.nodes[0].process, ends) {
            (60..len(&path)).step_by(20_000).for_each(|at| flip_bit(&path, at));
        }
    }
    healed(&rig, &before, "everything").await;
    whole(&rig, &cut).await;
    rig.reboot_node(0).await;
    assert_eq!(check(&rig, &[]).await, cut);
    rig.mesh.stop().await.unwrap();
}

/// Without a coordinator there is nobody to ask: the file is not given out, the rest is, and the node says that others
/// should be asked. Once the coordinator is back, nobody has to do anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_nowhere_is_withheld_until_the_coordinator_is_back() {
    let mut rig = eager().await;
    let cut = rig.publish().await;
    settled(&rig).await;
    let (path, ..) = largest(&rig);
    rig.mesh.coordinator.stop().await.unwrap();
    let before = status(&rig).await;
    for (path, at) in places(&rig) {
        flip_bit(&path, at);
    }
    until("the file is withheld", async || status(&rig).await.withheld == 1).await;
    let admin = rig.mesh.nodes[0].admin;
    let answer = health(admin).await;
    assert!(answer.contains(" 503 ") && answer.contains("withheld"), "{answer}");
    assert_eq!(status(&rig).await.wanted, 1);
    let mut connection = rig.mesh.open(&rig.mesh.nodes[0], Protocol::H1).await.unwrap();
    for (name, digest) in rig.truth.of(&cut.label.to_string()).unwrap().iter() {
        let answer = connection.get(&https::encode(name)).await.unwrap();
        if *name == path {
            assert_eq!(answer.status, 503);
            assert_eq!(answer.headers["retry-after"], "5");
        } else {
            assert_eq!((answer.status.as_u16(), difusor_proto::Digest::of(&answer.body)), (200, *digest), "{name}");
        }
    }
    rig.restart_coordinator().await;
    healed(&rig, &before, "a file that was withheld").await;
    whole(&rig, &cut).await;
    rig.mesh.stop().await.unwrap();
}

/// The list of a cut that is not served lies in no memory: it is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_of_an_earlier_cut_is_fetched_again() {
    let mut rig = eager().await;
    let old = rig.publish().await;
    let signed = manifest(&rig).await;
    settled(&rig).await;
    let path = pack(&rig, ".cut");
    let cut = rig.publish().await;
    let before = status(&rig).await;
    flip_bit(&path, find(&path, &signed).unwrap() + 40);
    healed(&rig, &before, "the manifest of an earlier cut").await;
    assert!(asked(&rig).await > 0);
    let holds = status(&rig).await.holds;
    assert_eq!(holds, [cut, old]);
    rig.mesh.client().rollback(&old.seq.to_string()).await.unwrap();
    rig.mesh.wait_served(&old, PATIENCE).await.unwrap();
    whole(&rig, &old).await;
    rig.mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_archive_is_named_in_the_status() {
    let mut rig = eager().await;
    let cut: CutKey = rig.publish().await;
    let path = packs(&rig.mesh.coordinator, ".cut").remove(0);
    let whole_bytes = std::fs::read(&path).unwrap();
    until("everything was read", async || rig.mesh.client().status().await.unwrap().scrub.passes > 0).await;
    assert_eq!(rig.mesh.client().status().await.unwrap().scrub.damaged, Vec::<String>::new());
    flip_bit(&path, len(&path) / 3);
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    until("the pack is named", async || rig.mesh.client().status().await.unwrap().scrub.damaged == [name.as_str()])
        .await;
    // The nodes have what they need, and the night goes on.
    whole(&rig, &cut).await;
    rig.publish().await;
    // As the operator would mend it.
    std::fs::write(&path, &whole_bytes).unwrap();
    until("it is not named any more", async || rig.mesh.client().status().await.unwrap().scrub.damaged.is_empty())
        .await;
    check(&rig, &[]).await;
    rig.mesh.stop().await.unwrap();
}

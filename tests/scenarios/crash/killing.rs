//! A night in which processes die at any moment.

use std::time::{Duration, Instant};

use difusor_coordinator::publish::Request;
use difusor_local::Options;
use difusor_night::NightSpec;

use crate::{
    invariants::check,
    prober::Prober,
    rig::{Rig, revive},
    seed::Seed,
    truth::Files,
};

const NODES: usize = 2;

/// Rounds of the night, unless `DIFUSOR_CRASH_ROUNDS` says otherwise.
const ROUNDS: usize = 12;

/// Who dies.
#[derive(Debug, Clone, Copy)]
enum Victims {
    Coordinator,
    Node(usize),
    Nodes,
    All,
}

impl Victims {
    fn choose(seed: &mut Seed) -> Self {
        // A coordinator that dies alone costs a round of waiting: its nodes notice by its silence.
        match seed.below(12) {
            0 => Self::Coordinator,
            1..=3 => Self::Node(seed.below(NODES)),
            4 | 5 => Self::Nodes,
            _ => Self::All,
        }
    }

    fn coordinator(self) -> bool {
        matches!(self, Self::Coordinator | Self::All)
    }

    fn node(self, node: usize) -> bool {
        match self {
            Self::Coordinator => false,
            Self::Node(victim) => victim == node,
            Self::Nodes | Self::All => true,
        }
    }
}

fn rounds() -> usize {
    std::env::var("DIFUSOR_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// Three files that are in both cuts and differ: by them a cut is told from the other.
fn telling(one: &Files, two: &Files) -> Vec<String> {
    let differ = one.iter().filter(|(path, digest)| two.get(*path).is_some_and(|other| other != *digest));
    let mut paths: Vec<_> = differ.map(|(path, _)| path.clone()).collect();
    assert!(paths.len() >= 3, "{paths:?}");
    let middle = paths.len() / 2;
    paths.swap(1, middle);
    let last = paths.len() - 1;
    paths.swap(2, last);
    paths.truncate(3);
    paths
}

/// Publishes and kills `rounds` times; `busy` is about how long a publication takes.
async fn night(name: &str, spec: NightSpec, rounds: usize, busy: Duration) {
    let mut seed = Seed::new(name);
    // The archive is brought into its plan meanwhile, and each look at it makes old packages again.
    let plan = |options: &mut Options| options.coordinator_config = "keyframe_every = 4\nverbatim_cuts = 1".into();
    let mut rig = Rig::start_with(NODES, spec, plan).await;
    let (first, second) = (rig.publish().await, rig.publish().await);
    let of = |label: difusor_proto::CutLabel| rig.truth.of(&label.to_string()).unwrap();
    let paths = telling(&of(first.label), &of(second.label));
    let probers: Vec<_> =
        (0..NODES).map(|node| Prober::start(&rig.mesh, node, paths.clone(), rig.truth.clone())).collect();
    let since = Instant::now();
    for round in 1..=rounds {
        let victims = Victims::choose(&mut seed);
        let (i, file) = rig.make();
        let (client, package) = (rig.mesh.client().clone(), file.clone());
        let publication = tokio::spawn(async move { client.publish(&package, Request::default()).await });
        // Not to wait for anything: the moment of the crash is what is tried out. Early ones are the more likely, since
        // that is when packages are written.
        tokio::time::sleep(seed.moment(busy)).await;
        if victims.coordinator() {
            rig.mesh.coordinator.kill().await.unwrap();
        }
        for node in (0..NODES).filter(|node| victims.node(*node)) {
            rig.mesh.nodes[node].process.kill().await.unwrap();
        }
        let answer = publication.await.unwrap();
        println!(
            "{name}: round {round}, {victims:?} died, {}",
            answer.as_ref().map_or("not acknowledged", |_| "acknowledged")
        );
        match &answer {
            Ok(accepted) => rig.acknowledge(i, accepted),
            Err(error) => assert!(victims.coordinator(), "refused for no reason: {error}"),
        }
        if victims.coordinator() {
            rig.restart_coordinator().await;
        }
        for node in (0..NODES).filter(|node| victims.node(*node)) {
            revive(&mut rig.mesh.nodes[node].process).await;
        }
        if answer.is_err() && seed.below(2) == 0 {
            // What an operator does who got no answer: the same again. It counts once.
            rig.hand_in(i, &file).await.unwrap();
        }
        check(&rig, &probers).await;
    }
    // The mesh is as good as new, and stops as it should.
    rig.publish().await;
    check(&rig, &probers).await;
    let answers: u64 = probers.iter().map(|prober| prober.seen.lock().unwrap().answers).sum();
    println!("{name}: {rounds} rounds, {answers} answers looked at, {:?}", since.elapsed());
    assert!(answers > 100, "the probers saw next to nothing");
    drop(probers);
    rig.mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_of_crashes() {
    night("a_night_of_crashes", NightSpec::tiny(), rounds(), Duration::from_millis(400)).await;
}

/// Larger packages: crashes fall into the middle of transfers and of writing.
#[tokio::test(flavor = "multi_thread")]
async fn a_heavy_night_of_crashes() {
    night("a_heavy_night_of_crashes", NightSpec::demo(), rounds().div_ceil(3), Duration::from_millis(1500)).await;
}

//! `loadtest flips`: the cut changes again and again under load, and every single answer is compared with the packages.
//!
//! A real mesh of one node with its default settings. Visitors over all three protocols weigh each answer by an oracle
//! that is made from the packages alone: the right status, the bytes of exactly that file of exactly that cut in any
//! coding, never an older cut than one that was shown or confirmed before, never 404 for what is there. Meanwhile the
//! certificate of the site is replaced as well, and an operator looks at the node's status. One wrong answer is a failure.

mod asking;
mod certificates;
mod client;
mod forms;
mod judge;
mod operator;
mod oracle;
mod publishing;
mod tally;
mod visitors;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use difusor_local::{Mesh, Options, Ports};
use tokio::{task::JoinSet, time::timeout};

use self::{
    certificates::Certificates,
    client::{Dialer, Manner, Protocol},
    forms::Coding,
    oracle::Oracle,
    visitors::Scene,
};

/// Between two lines about progress.
const PROGRESS: Duration = Duration::from_secs(5);

/// From the beginning to the first new certificate, and from one to the next.
const RELOADS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(500));

/// How often the goal is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// For visitors to take their last answers.
const GRACE: Duration = Duration::from_secs(5);

/// Connections at once, and requests at once on each.
const VISITORS: [(Protocol, u64, u64); 3] = [(Protocol::H1, 6, 1), (Protocol::H2, 2, 16), (Protocol::H3, 1, 8)];

/// Pauses of slow downloads: some take seconds, others longer than earlier cuts are kept.
const SLOW: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(150)];

/// Check every answer against the packages while cuts flip under load
///
/// Starts a mesh of its own on free ports of the loopback, and ends with 1 if a single answer is wrong.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Flips under load
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    flips: u16,
    /// Least answers to check; after the last flip, visitors go on until then
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    requests: u64,
    /// Least time from one package to the next, seconds; as fast as they flip if not given
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pace: Option<u64>,
    /// Hand each package over as soon as the one before it was taken in, before that is served
    #[arg(long)]
    ahead: bool,
    /// Replace the certificate of the site while it is in use
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    reload: bool,
    /// Longest time that all of it may take, seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    cap: u64,
    /// Seed of the night and of what is asked for
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = Box::pin(flips(args)) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })
}

async fn flips(args: &Args) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(args.cap);
    let dir = tempfile::tempdir()?;
    eprintln!("making {} packages in {}", args.flips + 1, dir.path().display());
    let (to, cuts, seed) = (dir.path().join("packages"), u64::from(args.flips) + 1, args.seed);
    let (packages, oracle) = tokio::task::spawn_blocking(move || publishing::packages(&to, cuts, seed)).await??;
    let certificates = Certificates::new(dir.path())?;
    let mut options = Options::new(dir.path().join("mesh"), 1, Ports::Free)?;
    options.node_config = certificates.config();
    let mesh = Mesh::start(&options).await?;
    let outcome = Box::pin(load(args, &mesh, &packages, oracle, certificates, deadline)).await;
    let stopped = mesh.stop().await;
    outcome.and(stopped)
}

/// Publishes under load, and says what came of it.
async fn load(
    args: &Args,
    mesh: &Mesh,
    packages: &[PathBuf],
    oracle: Oracle,
    certificates: Certificates,
    deadline: Instant,
) -> anyhow::Result<()> {
    let node = mesh.nodes.first().context("no node")?;
    let menu = oracle.menu();
    oracle.check(&menu)?;
    let dialer = Dialer::new(node.public, certificates.authority())?;
    let scene = Arc::new(Scene {
        oracle,
        menu,
        dialer,
        certificates,
        forms: Default::default(),
        timeline: Default::default(),
        tally: Default::default(),
        is_over: false.into(),
    });
    let (mut visitors, mut downloads) = (JoinSet::new(), JoinSet::new());
    let mut began = Instant::now();
    let publication = async {
        let (first, rest) = packages.split_at_checked(1).context("no package")?;
        let pace = args.pace.map(Duration::from_secs);
        publishing::publish(mesh.client(), &scene.timeline, first, 1, false, None).await?;
        began = Instant::now();
        open_the_doors(&scene, args.seed, &mut visitors, &mut downloads);
        tokio::try_join!(
            async {
                publishing::publish(mesh.client(), &scene.timeline, rest, 2, args.ahead, pace).await?;
                while scene.tally.answers() < args.requests {
                    tokio::time::sleep(LOOK).await;
                }
                // Ends what goes on for ever.
                scene.is_over.store(true, Ordering::Relaxed);
                anyhow::Ok(())
            },
            renew(&scene, args.reload, node.process.pid()),
            operator::look(&scene, node.admin),
            tell(&scene, args),
        )
    };
    let outcome = tokio::select! {
        outcome = publication => outcome.map(|_| ()),
        outcome = publishing::confirm(mesh.client(), &scene.timeline) => outcome,
        () = tokio::time::sleep_until(deadline.into()) => Err(anyhow::anyhow!("not done after {} s", args.cap)),
    };
    let took = began.elapsed();
    scene.is_over.store(true, Ordering::Relaxed);
    downloads.shutdown().await;
    let last = async { while visitors.join_next().await.is_some() {} };
    let ended = timeout(GRACE, last).await;
    report(&scene, took);
    outcome.with_context(|| format!("the end of the node's log:\n{}", node.process.log_end()))?;
    ensure!(ended.is_ok(), "answers were still missing after {} s", GRACE.as_secs());
    ensure!(scene.tally.faults() == 0, "{} failures", scene.tally.faults());
    let unseen = scene.tally.unseen(args.reload);
    ensure!(unseen.is_empty(), "nothing was seen of: {}", unseen.join(", "));
    Ok(())
}

fn open_the_doors(scene: &Arc<Scene>, seed: u64, visitors: &mut JoinSet<()>, downloads: &mut JoinSet<()>) {
    let mut seeds = (1..).map(|number: u64| seed.wrapping_add(number << 32));
    for (protocol, connections, streams) in VISITORS {
        for seed in seeds.by_ref().take(usize::try_from(connections).unwrap_or(1)) {
            visitors.spawn(visitors::visit(Arc::clone(scene), protocol, streams, seed));
        }
        for (pause, seed) in SLOW.into_iter().zip(seeds.by_ref()) {
            downloads.spawn(visitors::download(Arc::clone(scene), protocol, pause, seed));
        }
    }
}

/// Replaces the certificate until it is over; one time in three, half of it first.
async fn renew(scene: &Scene, reload: bool, pid: Option<u32>) -> anyhow::Result<()> {
    let pid = pid.context("the node does not run")?;
    let (mut due, every) = (Instant::now() + RELOADS.0, RELOADS.1);
    let show = async || {
        let opened = scene.dialer.open(Protocol::H2, Manner::default()).await?;
        opened.leaf.context("a handshake without a certificate")
    };
    let mut times = 0_u64;
    while !scene.is_over.load(Ordering::Relaxed) {
        if reload && due <= Instant::now() {
            match scene.certificates.renew(pid, times % 3 == 1, show).await? {
                Ok(()) => scene.tally.reloaded(),
                Err(fault) => scene.tally.fault(&fault, "after SIGHUP"),
            }
            times += 1;
            due = Instant::now() + every;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Says how far it is until it is over, and ends it when there is no hope.
async fn tell(scene: &Scene, args: &Args) -> anyhow::Result<()> {
    let (began, mut told) = (Instant::now(), Instant::now());
    while !scene.is_over.load(Ordering::Relaxed) {
        ensure!(!scene.tally.is_hopeless(), "too many failures to go on");
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let (answers, flips) = (scene.tally.answers(), scene.timeline.confirmed().saturating_sub(1));
            let rate = tally::rate(answers, began.elapsed());
            let (asked, failures) = (args.requests, scene.tally.faults());
            let of = args.flips;
            eprintln!("{flips} of {of} flips, {answers} of {asked} requests, {rate:.0}/s, {failures} failures");
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn report(scene: &Scene, took: Duration) {
    eprint!("{}", scene.tally.told());
    let coded = [Coding::Identity, Coding::Gzip, Coding::Brotli, Coding::Zstd];
    let forms = coded.map(|coding| format!("{} {}", coding.name(), scene.forms.count(coding)));
    eprintln!("seen: {}", scene.tally.variety());
    eprintln!("forms: {}", forms.join(", "));
    eprintln!("looks at the node's status: {}", scene.tally.waited());
    println!("{}", scene.tally.figures(scene.timeline.confirmed().saturating_sub(1), took));
}

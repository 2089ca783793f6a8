//! All nodes at one instant, and nobody sees a mix: visitors that never stop asking while cuts change under them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::{fleet::Progress, publish::Request};
use difusor_local::https::{self, Protocol};
use difusor_night::{Night, NightSpec};
use difusor_proto::{CutKey, CutLabel, process::unix_us};
use difusor_tests::{package::Package, publics, publish, start_with, until, witness::Witness, write};
use http::StatusCode;
use serde_json::Value;

use crate::PROGRAM;

/// Far more than all nodes need to get ready, so that who does not wait for the instant is seen to be early; and what
/// no machine is so loaded as to be late by.
const LEAD_US: u64 = 1_500_000;

/// By how much a node's idea of the coordinator's clock may be off on one loaded machine.
const CLOCK_US: u64 = 250_000;

/// When a visitor first saw each cut, Unix microseconds, by number.
type Seen = BTreeMap<u64, u64>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn together_and_never_a_mix() -> Result<()> {
    let (mesh, dir) = start_with(PROGRAM, 3, &format!("flip_lead = \"{} ms\"", LEAD_US / 1000)).await?;
    let witness = Arc::new(Witness::new(&mesh)?);
    let night = Night::new(NightSpec::tiny())?;
    let packages: Vec<_> = (0..4).map(|i| write(&night, i, dir.path())).collect::<Result<_>>()?;
    let mut cuts = vec![publish(&mesh, &packages[0], Request::default()).await?.cut];
    let file = stamped(&packages[0])?;
    let done = Arc::new(AtomicBool::new(false));
    let visitors: Vec<_> = publics(&mesh)
        .into_iter()
        .flat_map(|at| [(at, Protocol::H1), (at, Protocol::H2)])
        .map(|(at, protocol)| {
            tokio::spawn(visit(Arc::clone(&witness), at, protocol, https::encode(&file), Arc::clone(&done)))
        })
        .collect();
    for package in &packages[1..] {
        cuts.push(publish(&mesh, package, Request::default()).await?.cut);
    }
    done.store(true, Relaxed);
    let mut seen = Vec::new();
    for visitor in visitors {
        seen.push(visitor.await??);
    }
    for cut in &cuts[1..] {
        together(&mesh, cut, &seen).await?;
    }
    mesh.stop().await
}

/// Checks what the coordinator says of a flip, and what visitors saw of it.
async fn together(mesh: &difusor_local::Mesh, cut: &CutKey, seen: &[Seen]) -> Result<()> {
    let view = until("all nodes report the flip", async || {
        let view = mesh.client().status().await?.cut(cut).cloned();
        let is_done = |node: &&Progress| node.flipped_us.is_some() && node.seen.is_some();
        Ok(view.filter(|view| view.nodes.values().filter(is_done).count() == mesh.nodes.len()))
    });
    let view = view.await?;
    let at = view.flip_at_us.context("no instant")?;
    let times: Vec<u64> = view.nodes.values().filter_map(|node| node.flipped_us).collect();
    let (first, last) = times.iter().min().zip(times.iter().max()).context("no flips")?;
    ensure!(view.skew_us == Some(last - first), "{view:?}");
    ensure!(last - first < LEAD_US, "nodes flip {} us apart", last - first);
    ensure!(*first + CLOCK_US >= at, "a node says it flipped {} us early", at - first);
    for seen in seen {
        let first = seen.get(&cut.seq).with_context(|| format!("a visitor never saw cut {}", cut.seq))?;
        ensure!(*first + CLOCK_US >= at, "cut {} was shown {} us before its instant", cut.seq, at - first);
    }
    for (node, progress) in &view.nodes {
        let (seen, own) = progress.seen.zip(progress.flipped_us).context("not seen")?;
        let off = seen.at_us.abs_diff(own);
        ensure!(off <= seen.blur_us + CLOCK_US, "{node} was seen to flip {off} us from when it did: {seen:?}");
    }
    let times = || view.nodes.values().filter_map(|node| Some(node.seen?.at_us));
    ensure!(view.seen_skew_us == times().max().zip(times().min()).map(|(last, first)| last - first), "{view:?}");
    println!("cut {}: skew {} us, {:?} us as seen from outside", cut.seq, last - first, view.seen_skew_us);
    Ok(())
}

/// Asks for two files of the cut in turn, on one connection: neither ever is of an older cut than the one before.
async fn visit(
    witness: Arc<Witness>,
    at: SocketAddr,
    protocol: Protocol,
    file: String,
    done: Arc<AtomicBool>,
) -> Result<Seen> {
    let mut connection = witness.open(at, protocol).await?;
    let (mut seen, mut newest, mut labels) = (Seen::new(), 0, BTreeMap::new());
    loop {
        let last = done.load(Relaxed);
        for path in [file.as_str(), "/.well-known/difusor/root"] {
            let answer = connection.get(path).await?;
            ensure!(answer.status == StatusCode::OK, "{path}: {}", answer.status);
            let header =
                answer.headers.get("difusor-cut").and_then(|cut| cut.to_str().ok()).context("no Difusor-Cut")?;
            let (label, seq) = header.split_once('/').context("not LABEL/NUMBER")?;
            let (label, seq): (CutLabel, u64) = (label.parse()?, seq.parse()?);
            let body = if path == file { of_stamp(&answer.body)? } else { of_root(&answer.body, seq)? };
            ensure!(body == label, "{path}: the body is of {body}, the head of {label}");
            ensure!(*labels.entry(seq).or_insert(label) == label, "cut {seq} has two labels");
            ensure!(seq >= newest, "{path} is of cut {seq}, after cut {newest} was seen");
            newest = seq;
            seen.entry(seq).or_insert_with(unix_us);
        }
        if last {
            return Ok(seen);
        }
    }
}

fn of_stamp(body: &[u8]) -> Result<CutLabel> {
    let json: Value = serde_json::from_slice(body)?;
    let name = json.get("archivoCorte").and_then(Value::as_str).context("no archivoCorte")?;
    CutLabel::in_file_name(name).context("archivoCorte has no label")
}

fn of_root(body: &[u8], seq: u64) -> Result<CutLabel> {
    let text = std::str::from_utf8(body)?;
    let mut words = text.split_whitespace();
    ensure!(words.next() == Some(&seq.to_string()), "root says {text:?}, the head says {seq}");
    Ok(words.next().context("no label")?.parse()?)
}

/// A file of the package that carries its label.
fn stamped(package: &Path) -> Result<String> {
    let mut package = Package::open(package)?;
    let names: Vec<_> = package.names().iter().filter(|name| name.contains("NACIONAL")).cloned().collect();
    let name = names.into_iter().find(|name| package.read(name).is_ok_and(|bytes| of_stamp(&bytes).is_ok()));
    name.context("no file carries the cut's label")
}

//! `loadtest dns`: queries a second of one core, beside Knot DNS, with dnsperf as the client.
//!
//! A real node of a mesh answers for the site's name, by where the client is; Knot has a zone with as many addresses, fixed.
//! Each is alone on one core, dnsperf on the other. Rounds alternate. Without DNSSEC; with it, where the node signs what it
//! answers and Knot has signed its zone before; and with it for names that are not there, each another one.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use difusor_local::{Mesh, Options, Ports, ports};
use difusor_node::{dns::dnssec::key::ZoneKey, run::Ready};
use difusor_proto::store::{Access, replace};

use crate::compare::cores::{self, Cores};

/// Queries a second of one core, beside Knot DNS
///
/// Needs dnsperf and, to compare with, knot (Debian's packages of these names). Two cores and util-linux.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Length of one measurement, seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// One round of one second
    #[arg(long)]
    quick: bool,
    /// Core of the servers, and core of dnsperf
    #[arg(long, value_delimiter = ',', num_args = 2, default_values_t = [0, 1], value_name = "CORE,CORE")]
    cores: Vec<usize>,
}

const ZONE: &str = "results.test";

/// Whoever asks lies in one of these.
const PLACES: &str = "127.0.0.0/8 mx-central\n10.0.0.0/8 us-east\n192.0.2.0/24 eu-west\n";

/// What visitors' resolvers ask for, as often as they do.
fn queries() -> String {
    let names = [ZONE, "www.results.test"];
    let kinds = ["A", "A", "AAAA", "HTTPS"];
    names.iter().flat_map(|name| kinds.iter().map(move |kind| format!("{name} {kind}\n"))).collect()
}

/// Ends with this value.
struct Knot(Child);

impl Drop for Knot {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Names that are not there: what a flood asks that comes by way of resolvers.
fn made_up() -> String {
    (0..20_000_u32).map(|at| format!("{:08x}.{ZONE} A\n", at.wrapping_mul(0x9e37_79b9))).collect()
}

/// What is measured.
struct Case {
    name: &'static str,
    queries: String,
    is_signed: bool,
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Case {
    fn all() -> Vec<Self> {
        let case = |name, queries, is_signed| Self { name, queries, is_signed, ours: Vec::new(), theirs: Vec::new() };
        vec![
            case("as visitors' resolvers ask", queries(), false),
            case("the same, with signatures", queries(), true),
            case("names that are not there, with signatures", made_up(), true),
        ]
    }
}

fn knot(dir: &Path, core: usize, is_signed: bool) -> anyhow::Result<Option<(Knot, SocketAddr)>> {
    let Some(program) = cores::find("knotd") else { return Ok(None) };
    let port = ports::reserve()?;
    let folder = dir.join(if is_signed { "knot-signed" } else { "knot" });
    fs::create_dir_all(&folder)?;
    let zone = format!(
        "$ORIGIN {ZONE}.\n$TTL 20\n@ SOA ns hostmaster 1 3600 600 604800 20\n@ NS ns\nns A 127.0.0.1\n\
         @ A 127.0.0.10\n@ A 127.0.0.11\n@ A 127.0.0.12\nwww A 127.0.0.10\nwww A 127.0.0.11\nwww A 127.0.0.12\n\
         @ HTTPS 1 . alpn=h3,h2\nwww HTTPS 1 . alpn=h3,h2\n"
    );
    fs::write(folder.join("zone"), zone)?;
    let at = folder.display();
    let (policy, signing) = match is_signed {
        true => (
            "policy:\n  - id: online\n    algorithm: ecdsap256sha256\n    single-type-signing: on\n",
            "    dnssec-signing: on\n    dnssec-policy: online\n    zonefile-sync: -1\n",
        ),
        false => ("", ""),
    };
    let config = format!(
        "server:\n  rundir: \"{at}\"\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         database:\n  storage: \"{at}\"\n{policy}zone:\n  - domain: {ZONE}\n    file: \"{at}/zone\"\n    zonefile-load: whole\n    journal-content: none\n{signing}"
    );
    let file = folder.join("knot.conf");
    fs::write(&file, config)?;
    let prefix = cores::prefix(core, 4096);
    let (first, rest) = prefix.split_first().context("no way to choose a core")?;
    let child = Command::new(first)
        .args(rest)
        .arg(program)
        .args(["-c"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting knotd")?;
    Ok(Some((Knot(child), SocketAddr::from(([127, 0, 0, 1], port)))))
}

/// Queries a second, and how long an answer took on average, microseconds.
fn measure(server: SocketAddr, file: &Path, is_signed: bool, seconds: u32, core: usize) -> anyhow::Result<(f64, f64)> {
    let prefix = cores::prefix(core, 4096);
    let (first, rest) = prefix.split_first().context("no way to choose a core")?;
    let said = Command::new(first)
        .args(rest)
        .args(["dnsperf", "-s", &server.ip().to_string(), "-p", &server.port().to_string(), "-d"])
        .arg(file)
        .args(["-l", &seconds.to_string(), "-c", "20", "-T", "1", "-q", "200"])
        .arg(if is_signed { "-D" } else { "-e" })
        .output()
        .context("starting dnsperf: install the package of this name")?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    ensure!(said.status.success(), "dnsperf: {text}{}", String::from_utf8_lossy(&said.stderr));
    let number = |what: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(what));
        line.and_then(|line| line.split(':').nth(1)?.split_whitespace().next()?.parse::<f64>().ok())
    };
    let lost = number("Queries lost").unwrap_or(0.0);
    let sent = number("Queries sent").unwrap_or(1.0);
    ensure!(lost <= sent / 100.0, "of {sent} queries {lost} were lost:\n{text}");
    ensure!(!text.contains("SERVFAIL") && !text.contains("REFUSED"), "not answered:\n{text}");
    let rate = number("Queries per second").with_context(|| format!("what does dnsperf say?\n{text}"))?;
    Ok((rate, number("Average Latency (s)").unwrap_or(0.0) * 1e6))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    cores::check()?;
    ensure!(cores::find("dnsperf").is_some(), "dnsperf is not on this machine: install the package of this name");
    let &[server, driver] = args.cores.as_slice() else { anyhow::bail!("two cores") };
    let cores = Cores { server, driver };
    let (rounds, seconds) = if args.quick { (1, 1) } else { (args.rounds, args.seconds) };
    let dir = tempfile::tempdir()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let mut options = Options::new(dir.path().join("mesh"), 3, Ports::Free)?;
        options.own_addresses = true;
        options.node_config = format!(
            "workers = 1\n[dns]\nbind = [\"127.0.0.1:0\"]\nzone = \"{ZONE}\"\nnames = [\"@\", \"www\"]\nplaces = \"places.txt\"\n\
             rate = 100000000\ndnssec = [\"zone.key\"]\n[dns.zones]\nmx-central = [19.4, -99.1]\nus-east = [39.0, -77.5]\neu-west = [53.3, -6.3]\n"
        );
        let key = ZoneKey::make()?;
        for zone in &options.zones {
            let folder = options.dir.join(zone.as_str());
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("places.txt"), PLACES)?;
            replace(&folder.join("zone.key"), key.as_bytes(), Access::Secret)?;
        }
        let mut mesh = Mesh::start(&options).await?;
        let node = mesh.nodes.first_mut().context("no node")?;
        let own = node.process.ready::<Ready>().await?.dns.first().copied().context("the node answers no DNS")?;
        // All its threads; the other nodes only say that they are there.
        let pid = node.process.pid().context("the node does not run")?.to_string();
        let pinned = Command::new("taskset").args(["-a", "-c", "-p", &cores.server.to_string(), &pid]).output()?;
        ensure!(pinned.status.success(), "taskset: {}", String::from_utf8_lossy(&pinned.stderr));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut cases = Case::all();
        let turns: Vec<_> = (1..=rounds).flat_map(|round| (0..cases.len()).map(move |case| (round, case))).collect();
        for (round, case) in turns {
            let Some(case) = cases.get_mut(case) else { continue };
            let file = dir.path().join("queries");
            fs::write(&file, &case.queries)?;
            let measured = measure(own, &file, case.is_signed, seconds, cores.driver)?;
            eprintln!("round {round}, {}, difusor: {:.0} queries/s, {:.0} us", case.name, measured.0, measured.1);
            case.ours.push(measured.0);
            if let Some((_knot, at)) = knot(dir.path(), cores.server, case.is_signed)? {
                tokio::time::sleep(Duration::from_millis(1000)).await;
                let measured = measure(at, &file, case.is_signed, seconds, cores.driver)?;
                eprintln!("round {round}, {}, knot: {:.0} queries/s, {:.0} us", case.name, measured.0, measured.1);
                case.theirs.push(measured.0);
            }
        }
        println!("Queries a second on one core, median of {rounds} rounds of {seconds} s\n");
        println!("| | difusor, by where the client is | Knot DNS, a fixed zone | ratio |\n|---|---|---|---|");
        for Case { name, ours, theirs, .. } in cases {
            let (ours, theirs) = (median(ours), median(theirs));
            match theirs > 0.0 {
                true => println!("| {name} | {ours:.0} | {theirs:.0} | {:.2} |", ours / theirs),
                false => println!("| {name} | {ours:.0} | knotd is not on this machine | |"),
            }
        }
        println!("\ndnsperf and the servers share the machine's memory and its kernel.");
        mesh.stop().await
    })
}

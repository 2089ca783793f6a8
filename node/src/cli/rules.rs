//! `difusor-node rules`: the operator's rules, tried before visitors meet them.
//!
//! Needs no running node and touches none. What is said follows from the same code that decides while serving.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read},
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use serde::Deserialize;

use super::EXIT_CONFIG;
use crate::{
    admission::rules::{EXAMPLE, Material, Rules, Why, conditions::Request},
    head::{Field, Head, Method},
    proxied::{Trust, visitor},
};

/// Exit code for a request that a rule refuses.
const EXIT_REFUSED: u8 = 3;

/// Longest line of a log that is read; the node's own are far shorter.
const MAX_LINE: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum Asked {
    /// Validate the rules, and end: 0 valid or none, 64 not
    Check {
        /// The file; the one that the configuration names otherwise
        #[arg(long)]
        rules: Option<PathBuf>,
    },
    /// Say which rule a request meets, and why those before it are not about it: 0 it is answered, or throttled, 3 it is
    /// refused, 64 the rules are not valid
    Test {
        /// The file; the one that the configuration names otherwise
        #[arg(long)]
        rules: Option<PathBuf>,
        /// Who asks
        #[arg(long, required_unless_present = "log")]
        address: Option<IpAddr>,
        /// What is asked
        #[arg(long, default_value = "GET")]
        method: String,
        /// Of what
        #[arg(long, default_value = "/")]
        path: String,
        /// A field, such as 'user-agent: curl/8'; any number of them
        #[arg(long = "header", value_name = "NAME: VALUE")]
        headers: Vec<String>,
        /// Read requests instead, one a line of JSON (the node's own log is that), from this file or from standard input
        /// (`-`), and count them for each rule: 0 read, 1 not one line was a request
        #[arg(long, conflicts_with_all = ["address", "headers"])]
        log: Option<PathBuf>,
    },
    /// Print a file with everything that can stand in it, explained
    Example,
}

/// A request in a log. Lines of the node's own log are that, and may say more.
#[derive(Debug, Deserialize)]
struct Logged {
    #[serde(alias = "address")]
    ip: Option<IpAddr>,
    method: Option<String>,
    path: Option<String>,
    referer: Option<String>,
    user_agent: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// Does what is asked. `file` is what the configuration names, `trust` its proxies.
pub(super) fn run(asked: &Asked, file: &Path, trust: &Trust) -> anyhow::Result<ExitCode> {
    let path = match asked {
        Asked::Check { rules } | Asked::Test { rules, .. } => rules.as_deref().unwrap_or(file),
        Asked::Example => {
            print!("{EXAMPLE}");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let rules = match read(path) {
        Ok(rules) => rules,
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(EXIT_CONFIG.into());
        }
    };
    match asked {
        Asked::Test { log: Some(log), .. } if log.as_os_str() == "-" => replay(&rules, std::io::stdin().lock(), trust),
        Asked::Test { log: Some(log), .. } => replay(&rules, std::fs::File::open(log)?, trust),
        Asked::Test { address: Some(address), method, path, headers, .. } => {
            let fields = headers.iter().filter_map(|header| header.split_once(':'));
            let fields: Vec<(&str, &str)> = fields.map(|(name, value)| (name, value.trim())).collect();
            anyhow::ensure!(fields.len() == headers.len(), "--header: write a name, a colon, and a value");
            Ok(with_head(method, path, &fields, |head| one(&rules, visitor(trust, *address, head), head)))
        }
        _ => {
            println!("{} is valid: {} rules", path.display(), rules.iter().count());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Rules> {
    let material = Material::read(path)?.unwrap_or_else(|| {
        eprintln!("{} is not there: no rules", path.display());
        Material::default()
    });
    Ok(Rules::new(&material, None)?)
}

/// The head of a request of these parts. Fields that are not kept of one are not kept here.
fn with_head<T>(method: &str, path: &str, fields: &[(&str, &str)], then: impl FnOnce(&Head<'_>) -> T) -> T {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.as_bytes())));
    let method = Method::from_name(method.as_bytes());
    let mut head = Head { method, path: path.as_bytes(), query, ..Head::default() };
    for (name, value) in fields {
        match Field::from_name(name.as_bytes()) {
            Some(field) => head.push(field, value.as_bytes()),
            None if name.eq_ignore_ascii_case("host") => head.authority = Some(value.as_bytes()),
            None => {}
        }
    }
    then(&head)
}

/// Says what becomes of one request.
fn one(rules: &Rules, address: IpAddr, head: &Head<'_>) -> ExitCode {
    let request = Request::new(address, head);
    for rule in rules.iter() {
        match rule.why_not(&request) {
            Some(Why::Unmet(condition)) => println!("- {}: not met: {condition}", rule.name()),
            Some(Why::Excepted(condition)) => println!("- {}: excepted: {condition}", rule.name()),
            None => {
                println!("+ {}: {}", rule.name(), rule.action());
                return if rule.refuses() { EXIT_REFUSED.into() } else { ExitCode::SUCCESS };
            }
        }
    }
    println!("No rule is about it: answered, within the budgets of its source.");
    ExitCode::SUCCESS
}

/// Counts which rules the requests of a log meet. Rates are not reckoned with: a log may be a sample.
fn replay(rules: &Rules, log: impl Read, trust: &Trust) -> anyhow::Result<ExitCode> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut requests, mut others, mut nameless) = (0_u64, 0_u64, 0_u64);
    let (mut log, mut line) = (BufReader::new(log), Vec::new());
    loop {
        line.clear();
        if log.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let logged = serde_json::from_slice::<Logged>(&line).ok();
        let Some((logged, path)) = logged.and_then(|mut logged| logged.path.take().map(|path| (logged, path))) else {
            others += 1;
            continue;
        };
        requests += 1;
        nameless += u64::from(logged.ip.is_none());
        let own = [("referer", &logged.referer), ("user-agent", &logged.user_agent)];
        let own = own.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let fields = logged.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let fields: Vec<(&str, &str)> = fields.chain(own).collect();
        let address = logged.ip.unwrap_or(IpAddr::from([0; 4]));
        let found = with_head(logged.method.as_deref().unwrap_or("GET"), &path, &fields, |head| {
            rules.find(&Request::new(visitor(trust, address, head), head)).map(|rule| &**rule.name())
        });
        if let Some(name) = found {
            *counts.entry(name).or_default() += 1;
        }
    }
    let share = |n: u64| 100.0 * n as f64 / requests.max(1) as f64;
    for rule in rules.iter() {
        let n = counts.get(&**rule.name()).copied().unwrap_or_default();
        println!("{n:>10} {:>6.2} %  {}: {}", share(n), rule.name(), rule.action());
    }
    let rest = requests.saturating_sub(counts.values().sum());
    println!("{rest:>10} {:>6.2} %  no rule", share(rest));
    if nameless > 0 {
        println!("{nameless} requests say no address, and were taken for 0.0.0.0: see [log] addresses in node.toml.");
    }
    if others > 0 {
        println!("{others} lines are no requests.");
    }
    Ok(if requests == 0 && others > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

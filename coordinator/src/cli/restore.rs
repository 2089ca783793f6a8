//! `restore`: from a replica to the store of this folder, with a line for every pack.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what a command line is for")]

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{EXIT_CONFIG, interrupted};
use crate::{
    config::Config,
    home::Home,
    replica::{Remote, ReplicaConfig, Restored, restore},
};

/// Runs it. The configuration may be missing: a new machine has the keys and nothing else.
pub(super) async fn run(home: &Home, path: &Path, from: Option<String>) -> anyhow::Result<ExitCode> {
    let config = if path.exists() { Config::read(path) } else { Ok(Config::default()) };
    let replica = config.and_then(|config| choose(config.replica, from));
    let remote = match replica.and_then(|replica| Ok((Remote::open(&replica)?, replica))) {
        Ok((remote, replica)) => {
            println!("restoring {} from {}", home.store().display(), replica.url);
            remote
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(EXIT_CONFIG.into());
        }
    };
    let key = home.read_signing_key()?;
    let cancel = CancellationToken::new();
    let on_signal = cancel.clone();
    tokio::spawn(async move {
        interrupted().await;
        on_signal.cancel();
    });
    let progress = |name: &_, (at, of): (usize, usize), fetched: Option<(u64, f64)>| match fetched {
        None => println!("{at:>5} of {of}  {name}  is here already, and whole"),
        Some((bytes, seconds)) => {
            println!("{at:>5} of {of}  {name}  {bytes} bytes in {seconds:.1} s, verified");
        }
    };
    let Restored { kept, fetched, bytes, failed } =
        restore(&remote, &home.store(), &key, &cancel, progress).await.context("restoring")?;
    println!("{fetched} packs fetched ({bytes} bytes), {kept} were here already");
    for (name, why) in &failed {
        eprintln!("error: {name} was not restored: {why}");
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The replica that is meant: what the configuration says of it holds for another address of the same kind, too.
fn choose(configured: Option<ReplicaConfig>, from: Option<String>) -> anyhow::Result<ReplicaConfig> {
    let scheme = |url: &str| url.split_once("://").map(|(scheme, _)| scheme.to_owned());
    let chosen = match (configured, from) {
        (configured, None) => configured.context("name a replica with --from, or in [replica] of the configuration")?,
        (Some(configured), Some(url)) if scheme(&configured.url) == scheme(&url) => ReplicaConfig { url, ..configured },
        (_, Some(url)) => ReplicaConfig::at(&url),
    };
    chosen.validate()?;
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_on_the_command_line_goes_first() {
        let configured = || ReplicaConfig { region: Some("x".into()), ..ReplicaConfig::at("s3://one") };
        assert_eq!(choose(Some(configured()), None).unwrap(), configured());
        let other = choose(Some(configured()), Some("s3://two".into())).unwrap();
        assert_eq!(other, ReplicaConfig { url: "s3://two".into(), ..configured() });
        let folder = choose(Some(configured()), Some("file:///mnt".into())).unwrap();
        assert_eq!(folder, ReplicaConfig::at("file:///mnt"));
        assert!(choose(None, None).is_err());
    }
}

//! The command lines on their own: what they answer, with which exit code, and what they name when something is wrong.

use std::{fs, net::TcpListener, path::Path};

use anyhow::{Result, ensure};
use difusor_tests::command::{Said, of, run};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::PROGRAM;

const PROGRAMS: [(&str, &str); 2] = [("coordinator", "run"), ("node", "join")];

async fn call(kind: &str, config: &Path, args: &[&str]) -> Result<Said> {
    run(of(PROGRAM, kind, config, args)).await
}

#[tokio::test]
async fn help_version_and_usage() -> Result<()> {
    let dir = TempDir::new()?;
    let config = dir.path().join("some.toml");
    fs::write(&config, "")?;
    for (kind, command) in PROGRAMS {
        let name = format!("difusor-{kind}");
        let said = call(kind, &config, &["--help"]).await?;
        let complete =
            [&name, command, "--config", "--check", "Exit codes"].iter().all(|part| said.out.contains(*part));
        ensure!(said.code == 0 && complete, "{said:?}");
        let said = call(kind, &config, &["--version"]).await?;
        ensure!(said.code == 0 && said.out == format!("{name} {}\n", env!("CARGO_PKG_VERSION")), "{said:?}");
        for (args, part) in [(&["--colour"][..], "--colour"), (&["dance"], "dance"), (&[], "--help")] {
            let said = call(kind, &config, args).await?;
            ensure!(said.is(2, &[part]) && said.out.is_empty(), "{kind} {args:?}: {said:?}");
        }
    }
    Ok(())
}

/// The file and the key are named, and nothing is bound or written: exit 64 comes before anything else.
#[tokio::test]
async fn a_bad_configuration_is_named() -> Result<()> {
    let dir = TempDir::new()?;
    let config = dir.path().join("some.toml");
    let path = config.to_string_lossy().into_owned();
    let both = [("colour = 1", "colour"), ("congestion = \"fast\"", "congestion"), ("= 1", "TOML")];
    let coordinator =
        [("flip_lead = \"1 h\"", "flip_lead"), ("mesh = 1", "mesh"), ("mesh_public = [\"x\"]", "mesh_public")];
    let node = [("keep_cuts = 1", "keep_cuts"), ("drain = \"10\"", "drain"), ("public = []", "public")];
    for (kind, own) in [("coordinator", coordinator), ("node", node)] {
        for (text, key) in both.into_iter().chain(own) {
            fs::write(&config, format!("# A comment.\n{text}\n"))?;
            for args in [&["--check"][..], &["run"]] {
                let said = call(kind, &config, args).await?;
                ensure!(said.is(64, &[&path, key]), "{kind} {args:?} with `{text}`: {said:?}");
            }
        }
        fs::write(&config, "")?;
        let said = call(kind, &config, &["--check"]).await?;
        ensure!(said.code == 0 && said.out.contains(&path), "{said:?}");
    }
    let said = call("coordinator", &dir.path().join("none.toml"), &["run"]).await?;
    ensure!(said.is(64, &["none.toml", "init"]), "{said:?}");
    fs::write(&config, "certificate = \"no.pem\"\nkey = \"no.key\"\n")?;
    let said = call("node", &config, &["--check"]).await?;
    ensure!(said.is(64, &["no.pem"]), "{said:?}");
    ensure!(fs::read_dir(dir.path())?.count() == 1, "a check left files");
    Ok(())
}

/// `init` makes a mesh that `--check` accepts, and never a second time over the first.
#[tokio::test]
async fn a_mesh_is_made_once() -> Result<()> {
    let dir = TempDir::new()?;
    let config = dir.path().join("mesh/coordinator.toml");
    let said = call("coordinator", &config, &["init"]).await?;
    ensure!(said.code == 0 && said.out.contains("run"), "{said:?}");
    let said = call("coordinator", &config, &["--check"]).await?;
    ensure!(said.code == 0, "{said:?}");
    let keys = || -> Result<Vec<_>> {
        let names = ["authority.key", "authority.pem", "signing.key", "api.token"];
        names.iter().map(|name| Ok(fs::read(dir.path().join("mesh/keys").join(name))?)).collect()
    };
    let before = keys()?;
    fs::write(&config, "flip_lead = \"200 ms\"\n")?;
    let said = call("coordinator", &config, &["init"]).await?;
    ensure!(said.is(1, &["keys", "belongs to a mesh already"]), "{said:?}");
    ensure!(keys()? == before && fs::read_to_string(&config)? == "flip_lead = \"200 ms\"\n", "init changed a mesh");
    Ok(())
}

/// A port that is taken is named; and so is an address where nobody answers.
#[tokio::test]
async fn ports_that_are_taken_and_ports_where_nobody_is() -> Result<()> {
    let dir = TempDir::new()?;
    let config = dir.path().join("mesh/coordinator.toml");
    ensure!(call("coordinator", &config, &["init"]).await?.code == 0, "init");
    let holder = TcpListener::bind("127.0.0.1:0")?;
    let taken = holder.local_addr()?;
    fs::write(&config, format!("mesh = \"127.0.0.1:0\"\napi = \"{taken}\"\n"))?;
    let said = call("coordinator", &config, &["run"]).await?;
    ensure!(said.is(1, &["TCP", &taken.to_string()]), "{said:?}");
    drop(holder);
    let holder = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let taken = holder.local_addr()?.to_string();
    fs::write(&config, format!("mesh = \"{taken}\"\napi = \"127.0.0.1:0\"\n"))?;
    let said = call("coordinator", &config, &["run"]).await?;
    ensure!(said.is(1, &["UDP", &taken]), "{said:?}");

    // Bound and not listening: nobody else can come to answer there.
    let silent = TcpSocket::new_v4()?;
    silent.bind("127.0.0.1:0".parse()?)?;
    let address = silent.local_addr()?.to_string();
    fs::write(&config, format!("api = \"{address}\"\n"))?;
    let package = config.to_string_lossy().into_owned();
    let calls: [&[&str]; 6] = [
        &["status"],
        &["history", "--json"],
        &["publish", &package],
        &["rollback", "1"],
        &["invite", "--zone", "mx"],
        &["export", "1", "-o", "x"],
    ];
    for args in calls {
        let said = call("coordinator", &config, args).await?;
        ensure!(said.is(69, &[&address, "run"]) && said.out.is_empty(), "{args:?}: {said:?}");
    }
    let said = call("coordinator", &config, &["publish", "none.zip"]).await?;
    ensure!(said.is(1, &["none.zip"]) && said.err.matches("none.zip").count() == 1, "said twice: {said:?}");
    let said = call("node", &dir.path().join("node/node.toml"), &["run"]).await?;
    ensure!(said.is(1, &["identity.json", "join"]), "{said:?}");
    Ok(())
}

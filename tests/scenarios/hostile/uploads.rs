//! Uploads that are no package at all: too much, too little, and from somebody who may not.

use std::fs::File;

use anyhow::{Context as _, Result, ensure};
use difusor_coordinator::{
    client::{Client, ClientError},
    publish::Request,
};
use difusor_night::{Night, NightSpec};
use difusor_proto::limits::MAX_PACKAGE_BYTES;
use difusor_tests::{command, start, until, write};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_of_them() -> Result<()> {
    let (mesh, dir) = start(PROGRAM, 0).await?;
    let good = write(&Night::new(NightSpec::tiny())?, 0, dir.path())?;

    // Without the token, and with another.
    for token in [None, Some("0".repeat(32))] {
        match Client::new(mesh.api()?, token).publish(&good, Request::default()).await {
            Err(ClientError::Api(error)) => {
                ensure!(error.status == 401 && error.error.contains("api.token"), "{error:?}")
            }
            other => anyhow::bail!("without the right token: {other:?}"),
        }
    }

    // Half an upload, and then nobody.
    let token = std::fs::read_to_string(mesh.coordinator.dir().join("keys/api.token"))?;
    let mut stream = TcpStream::connect(mesh.api()?).await?;
    let head = format!(
        "POST /api/v1/packages?name=20240602_2000_PREP.zip HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 100000\r\n\r\n",
        token.trim()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&std::fs::read(&good)?[..5000]).await?;
    drop(stream);

    // It is not in the way of the next, and left nothing in the archive.
    let accepted =
        until("the next package is taken in", async || Ok(mesh.client().publish(&good, Request::default()).await.ok()));
    ensure!(accepted.await?.cut.seq == 1, "half an upload has a number");
    ensure!(mesh.client().history().await?.len() == 1, "half an upload is in the archive");

    // More than any package has: refused like any other, with what to do. The file is a hole and takes no space.
    let large = dir.path().join("20240602_2003_PREP.zip");
    File::create(&large)?.set_len(MAX_PACKAGE_BYTES + 1)?;
    let said = command::run(mesh.coordinator.command(&["publish", large.to_str().context("a path")?])).await?;
    ensure!(said.is(65, &["refused: too-large", "advice:"]), "{said:?}");
    ensure!(mesh.client().status().await?.refused.contains_key("package:too-large"), "it is not counted");
    mesh.stop().await
}

//! Becoming a node: tokens that work once, and tokens that do not work.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use difusor_local::Mesh;
use difusor_proto::{
    Digest,
    limits::MAX_ENROL_FRAME,
    tls::COORDINATOR_NAME,
    token::Token,
    wire::{ALPN_ENROL, EnrolRequest, read_frame},
};
use difusor_tests::{command::Said, newcomer::Newcomer, start, start_with};
use quinn::crypto::rustls::QuicServerConfig;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::PROGRAM;

/// Runs `join` on a machine of its own.
async fn join(dir: &TempDir, machine: &str, token: &str) -> Result<Said> {
    Newcomer::new(PROGRAM, &dir.path().join(machine))?.call(&["join", token]).await
}

async fn invite(mesh: &Mesh) -> Result<String> {
    Ok(mesh.client().invite(&"mx-north".parse()?).await?.token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens() -> Result<()> {
    let (mesh, dir) = start(PROGRAM, 0).await?;
    // A coordinator that never answers: the socket is there, so no other process gets the port. Patience is what this
    // takes, so the rest happens meanwhile.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let at = silent.local_addr()?.to_string();
    let dead = Token { addresses: vec![at.clone()], authority: Digest::of(mesh.authority()), secret: [1; 16] };
    let waiting = Newcomer::new(PROGRAM, &dir.path().join("waits"))?;
    let waiting = tokio::spawn(async move { waiting.call(&["join", &dead.to_string()]).await });

    let token = invite(&mesh).await?;
    for garbage in ["hello", "", "difusor2-00", &token["difusor1-".len()..]] {
        let said = join(&dir, "garbage", garbage).await?;
        ensure!(said.is(1, &["no enrolment token", "invite"]), "{garbage:?}: {said:?}");
    }
    let middle = token.len() / 2;
    let (all, last) = token.split_at(token.len() - 1);
    let swapped = format!("{all}{}", if last == "0" { "1" } else { "0" });
    for damaged in [&token[..token.len() - 1], &token[..token.len() - 2], &token[..middle], "difusor1-", &swapped] {
        let said = join(&dir, "garbage", damaged).await?;
        ensure!(said.is(1, &["damaged", "whole line"]), "{damaged:?}: {said:?}");
    }

    // Once, on one machine; whoever comes second is told, and is no node.
    let said = join(&dir, "first", &token).await?;
    ensure!(said.code == 0 && said.out.contains("mx-north") && said.out.contains("run"), "{said:?}");
    let said = join(&dir, "second", &token).await?;
    ensure!(said.is(1, &["refused", "used before", "invite"]), "{said:?}");
    ensure!(!dir.path().join("second/identity.json").exists(), "a refused machine has an identity");
    let another = invite(&mesh).await?;
    let said = join(&dir, "first", &another).await?;
    ensure!(said.is(1, &["first", "belongs to an enrolled node"]), "{said:?}");
    // That machine did not use it up.
    let said = join(&dir, "second", &another).await?;
    ensure!(said.code == 0 && said.out.contains("mx-north-2"), "{said:?}");

    // Two machines at once: one of them.
    let token = invite(&mesh).await?;
    let (one, two) = tokio::join!(join(&dir, "left", &token), join(&dir, "right", &token));
    let mut codes = [one?.code, two?.code];
    codes.sort_unstable();
    ensure!(codes == [0, 1], "{codes:?}");

    let said = waiting.await??;
    ensure!(said.is(1, &["UDP", &at]), "{said:?}");
    mesh.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_does_not_last() -> Result<()> {
    let (mesh, dir) = start_with(PROGRAM, 0, "invitation = \"1 ms\"").await?;
    let said = join(&dir, "late", &invite(&mesh).await?).await?;
    ensure!(said.is(1, &["refused", "expired"]), "{said:?}");
    ensure!(!dir.path().join("late/identity.json").exists(), "an expired invitation made a node");
    mesh.stop().await
}

/// Somebody who answers instead of the coordinator, with an authority of its own, and takes down the secret.
struct Impostor {
    address: SocketAddr,
    authority: Digest,
    endpoint: quinn::Endpoint,
}

impl Impostor {
    fn new() -> Result<Self> {
        let authority_key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let authority = params.self_signed(&authority_key)?;
        let issuer = Issuer::new(params, authority_key);
        let key = KeyPair::generate()?;
        let own = CertificateParams::new([COORDINATOR_NAME.to_owned()])?.signed_by(&key, &issuer)?;
        let chain = vec![own.der().clone(), authority.der().clone()];
        let mut tls = rustls::ServerConfig::builder_with_provider(difusor_proto::tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
        tls.alpn_protocols = vec![ALPN_ENROL.to_vec()];
        let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
        let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse()?)?;
        Ok(Self { address: endpoint.local_addr()?, authority: Digest::of(authority.der()), endpoint })
    }

    /// The secret that the next machine gives away; `None` if it breaks off before.
    async fn listen(&self) -> Result<Option<[u8; 16]>> {
        let incoming = self.endpoint.accept().await.context("closed")?;
        let Ok(connection) = incoming.await else { return Ok(None) };
        let Ok((_send, mut recv)) = connection.accept_bi().await else { return Ok(None) };
        let request = read_frame::<EnrolRequest>(&mut recv, MAX_ENROL_FRAME).await.ok().flatten();
        connection.close(0_u32.into(), b"");
        Ok(request.map(|request| request.secret))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_goes_to_the_authority_of_the_token_alone() -> Result<()> {
    let (mesh, dir) = start(PROGRAM, 0).await?;
    let token = invite(&mesh).await?;
    let Token { addresses, authority, secret } = token.parse()?;
    let impostor = Impostor::new()?;
    let there = vec![impostor.address.to_string()];
    let attempt = async |machine: &str, token: Token| {
        let (machine, token) = (Newcomer::new(PROGRAM, &dir.path().join(machine))?, token.to_string());
        let listening = tokio::time::timeout(Duration::from_secs(30), impostor.listen());
        let args = ["join", token.as_str()];
        let (said, heard) = tokio::join!(machine.call(&args), listening);
        anyhow::Ok((said?, heard??))
    };

    // The recorder works: whoever trusts the impostor tells it everything.
    let (said, heard) =
        attempt("trusting", Token { authority: impostor.authority, addresses: there.clone(), secret }).await?;
    ensure!(said.code == 1 && heard == Some(secret), "{said:?}, {heard:?}");
    let (wary, heard) = attempt("wary", Token { authority, addresses: there.clone(), secret }).await?;
    ensure!(wary.is(1, &[&there[0]]) && heard.is_none(), "{wary:?}, {heard:?}");
    ensure!(!dir.path().join("wary/identity.json").exists(), "the impostor made a node");

    // The right coordinator and another fingerprint: refused by the machine, so the secret is still worth a node.
    let said = join(&dir, "mistaken", &Token { authority: impostor.authority, addresses, secret }.to_string()).await?;
    ensure!(said.code == 1 && !said.err.contains("refused:"), "{said:?}");
    let said = join(&dir, "right", &token).await?;
    ensure!(said.code == 0, "{said:?}");
    println!("with another authority: {}", wary.err.trim());
    mesh.stop().await
}

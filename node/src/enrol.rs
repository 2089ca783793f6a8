//! Becoming a node: with nothing but the token.
//!
//! The keys are made here and never leave. The coordinator must show the authority that the token names before the
//! secret is sent to it.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use difusor_proto::{
    NodeId,
    limits::MAX_ENROL_FRAME,
    store::{Access, replace},
    tls::{self, COORDINATOR_NAME},
    token::Token,
    wire::{self, CloseCode, EnrolReply, EnrolRequest},
};
use rcgen::{CertificateParams, KeyPair};

use crate::home::{Home, Identity};

/// Dialling one address takes at most this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Enrols the machine in `home` with `token`.
///
/// # Errors
/// What is wrong, and what to do.
pub async fn join(
    home: &Home,
    token: &Token,
    name: Option<NodeId>,
    site_names: Vec<String>,
) -> anyhow::Result<Identity> {
    if home.is_enrolled() {
        bail!("{} belongs to an enrolled node: name another folder with --config", home.dir().display());
    }
    let (mesh_key, site_key) = (KeyPair::generate()?, KeyPair::generate()?);
    let request = |key: &KeyPair| -> anyhow::Result<Vec<u8>> {
        Ok(CertificateParams::default().serialize_request(key)?.der().to_vec())
    };
    let request = EnrolRequest {
        secret: token.secret,
        name,
        mesh_request: request(&mesh_key)?,
        site_request: request(&site_key)?,
        site_names,
    };
    let reply = ask(token, &request).await?;
    let (node, zone, mesh_certificate, site_certificate, authority, key) = match reply {
        EnrolReply::Refused(why) => bail!("the coordinator refused: {why}"),
        EnrolReply::Welcome { node, zone, mesh_certificate, site_certificate, authority, key } => {
            (node, zone, mesh_certificate, site_certificate, authority, key)
        }
    };
    let chain =
        [&site_certificate, &authority].map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der.as_slice()))).concat();
    replace(&home.site_key(), site_key.serialize_pem().as_bytes(), Access::Secret)?;
    replace(&home.site_certificate(), chain.as_bytes(), Access::Normal)?;
    let tls = tls::Identity { authority, certificate: mesh_certificate, key: mesh_key.serialize_der() };
    let identity = Identity::new(node, zone, token.addresses.clone(), key, &tls);
    home.write_identity(&identity)?;
    Ok(identity)
}

async fn ask(token: &Token, request: &EnrolRequest) -> anyhow::Result<EnrolReply> {
    let mut problems = Vec::new();
    for address in &token.addresses {
        match tokio::time::timeout(PATIENCE, ask_at(address, token, request)).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(error)) => problems.push(format!("{address}: {error:#}")),
            Err(_) => problems.push(format!("{address}: no answer in {} s", PATIENCE.as_secs())),
        }
    }
    bail!("no coordinator reached; is UDP open on the way to it?\n  {}", problems.join("\n  "))
}

async fn ask_at(address: &str, token: &Token, request: &EnrolRequest) -> anyhow::Result<EnrolReply> {
    let remote = resolve(address).await?;
    let endpoint = quinn::Endpoint::client(unspecified(remote))?;
    let connecting = endpoint.connect_with(tls::enrolling(token.authority)?, remote, COORDINATOR_NAME)?;
    let connection = connecting.await.map_err(|error| match &error {
        quinn::ConnectionError::TransportError(tls) if tls.reason.contains("UnknownIssuer") => {
            anyhow::anyhow!("another mesh answers there than the one this token is from: the secret was not sent")
        }
        _ => anyhow::Error::new(error).context("connecting"),
    })?;
    let (mut send, mut recv) = connection.open_bi().await?;
    wire::write_frame(&mut send, request).await?;
    send.finish()?;
    let reply = wire::read_frame(&mut recv, MAX_ENROL_FRAME).await?.context("the coordinator said nothing")?;
    CloseCode::Done.close(&connection);
    endpoint.wait_idle().await;
    Ok(reply)
}

/// The first address of `host:port`.
///
/// # Errors
/// If the name does not resolve.
pub async fn resolve(address: &str) -> anyhow::Result<SocketAddr> {
    let mut found = tokio::net::lookup_host(address).await.with_context(|| format!("resolving {address}"))?;
    found.next().with_context(|| format!("{address} has no address"))
}

/// Any local address of the same family as `remote`.
pub fn unspecified(remote: SocketAddr) -> SocketAddr {
    if remote.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() }
}

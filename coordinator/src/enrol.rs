//! Enrolment: a machine that holds a token becomes a node.
//!
//! The secret is worth one node: it is used up in the same write that makes the node known. Attempts are slow on
//! purpose, so that guessing 128 bits stays hopeless even for a flood.

use std::time::Duration;

use anyhow::Context as _;
use difusor_proto::{
    Digest, NodeId, Zone,
    limits::MAX_ENROL_FRAME,
    process::unix_us,
    wire::{self, EnrolReply, EnrolRequest},
};
use quinn::Connection;

use crate::{authority::Purpose, mesh::Mesh, registry::EnrolError};

/// A guest sends its request, a few kilobytes, right after the handshake.
const REQUEST: Duration = Duration::from_secs(3);

/// A whole enrolment takes at most this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A refused secret costs this much time.
const PENALTY: Duration = Duration::from_millis(500);

/// Names a public site may be reached by; more is a mistake.
const MAX_NAMES: usize = 32;

/// Serves one enrolment on a connection.
///
/// # Errors
/// If the machine was refused or broke off.
pub async fn serve(mesh: &Mesh, connection: &Connection) -> anyhow::Result<()> {
    tokio::time::timeout(PATIENCE, exchange(mesh, connection)).await.context("it took too long")?
}

async fn exchange(mesh: &Mesh, connection: &Connection) -> anyhow::Result<()> {
    let asked = async {
        let (send, mut recv) = connection.accept_bi().await?;
        anyhow::Ok((send, wire::read_frame(&mut recv, MAX_ENROL_FRAME).await))
    };
    let (mut send, request) = tokio::time::timeout(REQUEST, asked).await.context("it sent no request")??;
    let request: EnrolRequest = match request {
        Ok(request) => request.context("an empty request")?,
        Err(error) => {
            if let Some(code) = error.close_code() {
                code.close(connection);
            }
            return Err(error.into());
        }
    };
    let outcome = tokio::task::block_in_place(|| admit(mesh, request));
    let refused = match &outcome {
        Ok((node, zone, _)) => {
            tracing::info!(%node, %zone, remote = %connection.remote_address(), "node enrolled");
            mesh.tell_members();
            None
        }
        Err(error) => Some(error.to_string()),
    };
    let reply = match outcome {
        Ok((.., reply)) => reply,
        Err(error) => {
            tokio::time::sleep(PENALTY).await;
            EnrolReply::Refused(error.to_string())
        }
    };
    wire::write_frame(&mut send, &reply).await?;
    send.finish()?;
    // The reply must arrive before the connection goes; the machine closes when it has read it.
    connection.closed().await;
    refused.map_or(Ok(()), |refused| Err(anyhow::anyhow!(refused)))
}

fn admit(mesh: &Mesh, request: EnrolRequest) -> Result<(NodeId, Zone, EnrolReply), EnrolError> {
    let EnrolRequest { secret, name, mesh_request, site_request, site_names } = request;
    let bad = |error: anyhow::Error| EnrolError::Request(format!("{error:#}"));
    if site_names.len() > MAX_NAMES {
        return Err(EnrolError::Request(format!("more than {MAX_NAMES} site names")));
    }
    let (node, zone, (mesh_certificate, site_certificate)) =
        mesh.registry.enrol(&secret, name, unix_us() / 1000, |node, _| {
            let own_name = format!("{node}.node.difusor.internal");
            let mesh_certificate = mesh.authority.issue(&mesh_request, Purpose::Node, &[own_name]).map_err(bad)?;
            let site_certificate = mesh.authority.issue(&site_request, Purpose::Site, &site_names).map_err(bad)?;
            Ok((Digest::of(&mesh_certificate), (mesh_certificate, site_certificate)))
        })?;
    let reply = EnrolReply::Welcome {
        node: node.clone(),
        zone: zone.clone(),
        mesh_certificate,
        site_certificate,
        authority: mesh.authority.certificate().to_vec(),
        key: mesh.key,
    };
    Ok((node, zone, reply))
}

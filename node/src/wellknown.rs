//! What anyone outside the mesh needs to check a cut: served by every node, next to the cut itself.
//!
//! - `cut.json`: the cut, its package and every file, with SHA-256 and BLAKE3 of each.
//! - `manifest`: the signed bytes. Their BLAKE3 is the cut's root, and the signature is Ed25519 (RFC 8032) under the
//!   published key over the text in `domain`, a zero byte, and the 32 bytes of the root.
//! - `root`: `<seq> <label> <root>` on one line, for those who poll.
//!
//! These are the node's own documents: no file of a package can take their place.

use difusor_proto::{
    CutKey, Digest, Manifest, Sha256, Signed, VerifyingKey, digest::encode_hex, manifest::Entry, sign::Statement,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::site::SiteError;

/// Where these documents are (RFC 8615), with the slash at the end.
pub const FOLDER: &str = ".well-known/difusor/";

/// Name, media type, bytes.
type Document = (String, &'static str, Vec<u8>);

#[derive(Serialize)]
struct Cut<'a> {
    cut: u64,
    label: String,
    root: Digest,
    domain: &'static str,
    signature: String,
    key: String,
    mesh: String,
    accepted: String,
    package: Package,
    files: Vec<File<'a>>,
}

#[derive(Serialize)]
struct Package {
    sha256: Sha256,
    size: u64,
}

#[derive(Serialize)]
struct File<'a> {
    path: &'a str,
    sha256: Sha256,
    blake3: Digest,
    size: u64,
    #[serde(rename = "type")]
    media: &'a str,
}

impl<'a> From<&'a Entry> for File<'a> {
    fn from(entry: &'a Entry) -> Self {
        let Entry { path, sha256, digest, size, media, .. } = entry;
        Self { path: path.as_str(), sha256: *sha256, blake3: *digest, size: *size, media }
    }
}

/// The documents of a cut.
///
/// # Errors
/// [`SiteError::Document`] if one cannot be written.
pub(crate) fn documents(
    cut: CutKey,
    signed: &Signed<Manifest>,
    manifest: &Manifest,
    key: &VerifyingKey,
) -> Result<[Document; 3], SiteError> {
    let accepted = i64::try_from(manifest.accepted_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let described = Cut {
        cut: cut.seq,
        label: cut.label.to_string(),
        root: cut.root,
        domain: Manifest::DOMAIN,
        signature: encode_hex(signed.signature()),
        key: key.to_string(),
        mesh: manifest.mesh.to_string(),
        accepted: accepted.unwrap_or_default().to_string(),
        package: Package { sha256: manifest.package.sha256, size: manifest.package.size },
        files: manifest.entries.iter().map(File::from).collect(),
    };
    let described = serde_json::to_vec(&described)?;
    let line = format!("{} {} {}\n", cut.seq, cut.label, cut.root);
    Ok([
        (format!("{FOLDER}cut.json"), "application/json", described),
        (format!("{FOLDER}manifest"), "application/octet-stream", signed.bytes().to_vec()),
        (format!("{FOLDER}root"), "text/plain", line.into_bytes()),
    ])
}

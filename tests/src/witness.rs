//! Compares what the public gets from nodes with a package, byte for byte, and checks the proof that nodes publish.
//!
//! Nothing that the mesh says about itself is believed: files come from the package as the `zip` crate reads it, digests
//! are computed here, and the key is read from the coordinator's folder.

use std::{
    collections::BTreeSet,
    io::Read as _,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use difusor_local::{
    Mesh,
    https::{self, Answer, Connection, Protocol},
};
use difusor_proto::{CutKey, Digest, Manifest, Sha256, Signed, SigningKey, VerifyingKey};
use flate2::bufread::MultiGzDecoder;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::package::Package;

/// Far less than the time after which a node closes a connection without requests.
const IDLE: Duration = Duration::from_secs(2);

/// Whoever looks at nodes from outside.
pub struct Witness {
    authority: Vec<u8>,
    key: VerifyingKey,
}

/// What a comparison looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The cut that all nodes serve.
    pub cut: CutKey,
    /// Its files.
    pub files: BTreeSet<String>,
    /// Files for which all nodes have a gzip form.
    pub gzipped: usize,
    /// Plain bytes that were compared, over all nodes and forms.
    pub bytes: u64,
}

/// A node, over both protocols.
struct Node {
    at: SocketAddr,
    h1: Lane,
    h2: Lane,
}

/// A connection that is opened again after a while without use, as browsers do: nodes close those.
struct Lane {
    at: SocketAddr,
    authority: Vec<u8>,
    protocol: Protocol,
    open: Option<(Connection, Instant)>,
}

impl Witness {
    /// Somebody who trusts the mesh's authority and knows its key.
    ///
    /// # Errors
    /// If the key cannot be read.
    pub fn new(mesh: &Mesh) -> Result<Self> {
        let key = std::fs::read(mesh.coordinator.dir().join("keys/signing.key"))?;
        let key = SigningKey::from_pkcs8(&key)?.verifying_key();
        Ok(Self { authority: mesh.authority().to_vec(), key })
    }

    /// A connection to a node.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn open(&self, at: SocketAddr, protocol: Protocol) -> Result<Connection> {
        Connection::open(at, https::trusting(&self.authority)?, protocol).await
    }

    /// Compares every file of `package` on every node: over HTTP/1.1 and HTTP/2, plain and as gzip; then what the nodes
    /// publish about the cut. One file is in memory at a time.
    ///
    /// # Errors
    /// The first difference.
    pub async fn compare(&self, nodes: &[SocketAddr], package: &Path) -> Result<Compared> {
        ensure!(!nodes.is_empty(), "no node to compare");
        let mut connections = Vec::new();
        for at in nodes {
            let lane = |protocol| Lane { at: *at, authority: self.authority.clone(), protocol, open: None };
            connections.push(Node { at: *at, h1: lane(Protocol::H1), h2: lane(Protocol::H2) });
        }
        let mut zip = Package::open(package)?;
        let files = zip.names().clone();
        let (mut gzipped, mut bytes) = (0, 0);
        let mut described = Vec::new();
        for name in &files {
            let expected = zip.read(name)?;
            let mut offered = true;
            for node in &mut connections {
                let gzip = node.same(name, &expected).await.with_context(|| format!("{name} on {}", node.at))?;
                bytes += 2 * expected.len() as u64 + if gzip { expected.len() as u64 } else { 0 };
                // Large files may get theirs behind the flip, and not on all nodes at once.
                offered &= gzip;
            }
            gzipped += usize::from(offered);
            described.push((name.clone(), Digest::of(&expected), Sha256::of(&expected), expected.len() as u64));
        }
        let mut cuts = Vec::new();
        for node in &mut connections {
            let cut = self.proof(&mut node.h2, package, &described).await;
            cuts.push(cut.with_context(|| format!("the proof on {}", node.at))?);
        }
        let cut = cuts.first().copied().context("no cut")?;
        ensure!(cuts.iter().all(|other| *other == cut), "nodes serve different cuts: {cuts:?}");
        Ok(Compared { cut, files, gzipped, bytes })
    }

    /// Checks on every node that each of these paths of an earlier cut, which the one that is served does not have, is
    /// answered with the bytes of that cut, and under its name.
    ///
    /// # Errors
    /// The first path that leads elsewhere.
    pub async fn kept<'a>(
        &self,
        nodes: &[SocketAddr],
        (cut, package): (&CutKey, &Path),
        paths: impl Iterator<Item = &'a String>,
    ) -> Result<()> {
        let mut zip = Package::open(package)?;
        let named = format!("{}/{}", cut.label, cut.seq);
        let mut connections = Vec::new();
        for at in nodes {
            connections.push(self.open(*at, Protocol::H1).await?);
        }
        for path in paths {
            let expected = zip.read(path)?;
            for (at, connection) in nodes.iter().zip(&mut connections) {
                let answer = connection.get(&https::encode(path)).await?;
                ensure!(answer.status == StatusCode::OK, "{path} of an earlier cut: {} on {at}", answer.status);
                let from = answer.headers.get("difusor-cut").and_then(|value| value.to_str().ok());
                ensure!(from == Some(named.as_str()), "{path} of {named} comes from {from:?} on {at}");
                ensure!(answer.body == expected, "{path} of {named} has other bytes on {at}");
            }
        }
        Ok(())
    }

    /// Checks all that a node publishes about its cut, and returns which it is.
    async fn proof(&self, lane: &mut Lane, package: &Path, files: &[(String, Digest, Sha256, u64)]) -> Result<CutKey> {
        let cut: Value = serde_json::from_slice(&fetch(lane, "cut.json").await?)?;
        let manifest = fetch(lane, "manifest").await?;
        let root = String::from_utf8(fetch(lane, "root").await?)?;
        let signature = difusor_proto::digest::decode_hex_vec(text(&cut, "signature")?).context("the signature")?;
        ensure!(text(&cut, "key")? == self.key.to_string(), "cut.json names another key");
        // The only way in is the one that nodes use: bytes and signature as they are relayed.
        let signed: Signed<Manifest> = serde_json::from_value(json!({ "bytes": manifest, "signature": signature }))?;
        let opened = signed.open(&self.key).context("the signature over the manifest")?;
        let key = CutKey { seq: opened.seq, label: opened.label, root: Digest::of(&manifest) };
        ensure!(root == format!("{} {} {}\n", key.seq, key.label, key.root), "root says {root:?}");
        ensure!(text(&cut, "root")? == key.root.to_string(), "cut.json names another root");
        ensure!(cut.get("cut") == Some(&key.seq.into()), "cut.json names another number");
        ensure!(text(&cut, "label")? == key.label.to_string(), "cut.json names another label");

        let zip = std::fs::read(package)?;
        let described = json!({ "sha256": Sha256::of(&zip).to_string(), "size": zip.len() });
        ensure!(cut.get("package") == Some(&described), "cut.json describes another package");
        let listed = cut.get("files").and_then(Value::as_array).context("cut.json lists no files")?;
        ensure!(listed.len() == files.len(), "cut.json lists {} files of {}", listed.len(), files.len());
        ensure!(opened.entries.len() == files.len(), "the manifest has {} files", opened.entries.len());
        for ((name, digest, sha256, size), (listed, entry)) in files.iter().zip(listed.iter().zip(&opened.entries)) {
            let same = text(listed, "path")? == name
                && text(listed, "sha256")? == sha256.to_string()
                && text(listed, "blake3")? == digest.to_string()
                && listed.get("size") == Some(&(*size).into());
            ensure!(same, "cut.json on {name}: {listed}");
            let same = (entry.path.as_str(), entry.digest, entry.sha256, entry.size) == (name, *digest, *sha256, *size);
            ensure!(same, "the manifest on {name}: {entry:?}");
        }
        Ok(key)
    }
}

impl Lane {
    async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let (mut connection, _) = match self.open.take().filter(|(_, used)| used.elapsed() < IDLE) {
            Some(open) => open,
            None => {
                let tls = https::trusting(&self.authority)?;
                (Connection::open(self.at, tls, self.protocol).await?, Instant::now())
            }
        };
        let answer = connection.request(Method::GET, path, headers).await?;
        self.open = Some((connection, Instant::now()));
        Ok(answer)
    }
}

impl Node {
    /// Compares one file in all its forms. True if there is a gzip form.
    async fn same(&mut self, name: &str, expected: &[u8]) -> Result<bool> {
        let path = https::encode(name);
        let tag = format!("\"{}\"", Digest::of(expected));
        let plain = self.h1.get(&path, &[]).await?;
        whole(&plain, expected, &tag).context("HTTP/1.1")?;
        let plain = self.h2.get(&path, &[]).await?;
        whole(&plain, expected, &tag).context("HTTP/2")?;
        let packed = self.h1.get(&path, &[("accept-encoding", "gzip")]).await?;
        if packed.headers.get(header::CONTENT_ENCODING).is_none() {
            whole(&packed, expected, &tag).context("gzip accepted")?;
            return Ok(false);
        }
        ensure!(packed.status == StatusCode::OK, "gzip: status {}", packed.status);
        ensure!(packed.headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding == "gzip"), "not gzip");
        // A strong tag must tell the forms apart, and still name the file.
        let other = packed.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).context("gzip without ETag")?;
        ensure!(other != tag && other.starts_with(tag.trim_end_matches('"')), "the gzip form has ETag {other}");
        let mut inflated = Vec::with_capacity(expected.len());
        MultiGzDecoder::new(packed.body.as_ref()).read_to_end(&mut inflated).context("the gzip form")?;
        ensure!(inflated == expected, "the gzip form holds other bytes");
        Ok(true)
    }
}

fn whole(answer: &Answer, expected: &[u8], tag: &str) -> Result<()> {
    ensure!(answer.status == StatusCode::OK, "status {}", answer.status);
    ensure!(answer.headers.get(header::CONTENT_ENCODING).is_none(), "coded without being asked");
    let found = answer.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
    ensure!(found == Some(tag), "ETag {found:?} and not the BLAKE3 {tag}");
    ensure!(answer.body == expected, "{} bytes that differ from the package's {}", answer.body.len(), expected.len());
    Ok(())
}

async fn fetch(lane: &mut Lane, name: &str) -> Result<Vec<u8>> {
    let answer = lane.get(&format!("/.well-known/difusor/{name}"), &[]).await?;
    ensure!(answer.status == StatusCode::OK, "{name}: status {}", answer.status);
    Ok(answer.body.to_vec())
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value.get(field).and_then(Value::as_str).with_context(|| format!("cut.json has no {field}"))
}

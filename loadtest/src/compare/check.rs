//! Before anything is measured: every server must give the same files, verified as a browser would.

use std::collections::HashMap;
use std::io::Read as _;

use anyhow::{Context as _, ensure};
use difusor_local::https;
use flate2::read::GzDecoder;
use http::{HeaderMap, Method, header};

use super::cells::Protocol;
use super::files::{Asset, Files};
use super::http3;
use super::identity::{HOST, Identity};
use super::request::Exchange;
use super::servers::{Name, Server};

/// How a server sends a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Bytes of the body as sent.
    pub(crate) body: u64,
    /// Its tag, without which there is no answer 304.
    pub(crate) tag: Option<String>,
}

/// How a server sends all files, and whether over HTTP/3 as well.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offers {
    files: HashMap<Asset, Offer>,
    pub(crate) http3: bool,
}

impl Offers {
    /// What a client that loads the server asks for, and must get.
    pub(crate) fn exchange(&self, server: &Server, asset: Asset, storm: bool) -> anyhow::Result<Exchange> {
        let offer = self.files.get(&asset).context("a file that was not checked")?;
        let tag = if storm { Some(offer.tag.clone().context("no ETag")?) } else { None };
        let (status, body) = if storm { (304, 0) } else { (200, offer.body) };
        Ok(Exchange { tag, status, body, ..plain(server, asset) })
    }

    /// Bytes of a file as sent.
    pub(crate) fn body(&self, asset: Asset) -> u64 {
        self.files.get(&asset).map_or(0, |offer| offer.body)
    }
}

fn plain(server: &Server, asset: Asset) -> Exchange {
    let authority = format!("{HOST}:{}", server.address.port());
    Exchange { authority, path: asset.path(), gzip: asset.is_text(), tag: None, status: 200, body: 0 }
}

/// Fetches every file over every protocol that the server speaks.
pub(crate) async fn check(server: &Server, files: &Files, identity: &Identity) -> anyhow::Result<Offers> {
    let mut offers = Offers::default();
    for protocol in [https::Protocol::H1, https::Protocol::H2] {
        let mut connection = https::Connection::open(server.address, identity.verifying()?, protocol).await?;
        for asset in Asset::ALL {
            let exchange = plain(server, asset);
            let answer = connection.request(Method::GET, exchange.path, &exchange.headers()).await?;
            let offer = offer(asset, files.content(asset), answer.status.as_u16(), &answer.headers, &answer.body)
                .with_context(|| format!("{} over {protocol:?}", asset.path()))?;
            if let Some(tag) = &offer.tag {
                let again = Exchange { tag: Some(tag.clone()), ..exchange };
                let answer = connection.request(Method::GET, again.path, &again.headers()).await?;
                ensure!(answer.status == 304, "{} with its own tag: {}", asset.path(), answer.status);
            }
            offers.files.insert(asset, offer);
        }
    }
    if matches!(server.name, Name::Difusor | Name::Caddy) {
        offers.http3 = check_http3(server, files, identity).await?;
    }
    Ok(offers)
}

/// Whether it speaks HTTP/3; fails if it does and gives other files.
async fn check_http3(server: &Server, files: &Files, identity: &Identity) -> anyhow::Result<bool> {
    let mut tls = identity.verifying()?;
    tls.alpn_protocols = vec![Protocol::H3.alpn().to_vec()];
    let endpoint = http3::endpoint(tls)?;
    let Ok(reader) = http3::Reader::open(&endpoint, server.address).await else { return Ok(false) };
    for asset in Asset::ALL {
        let (status, headers, body) = reader.whole(&plain(server, asset)).await?;
        offer(asset, files.content(asset), status, &headers, &body)
            .with_context(|| format!("{} over HTTP/3", asset.path()))?;
    }
    Ok(true)
}

/// What an answer offers, if it is the file.
pub(crate) fn offer(
    asset: Asset,
    content: &[u8],
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> anyhow::Result<Offer> {
    ensure!(status == 200, "status {status}");
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if asset.is_text() {
        ensure!(text(header::CONTENT_ENCODING) == Some("gzip"), "not as gzip");
        let mut plain = Vec::new();
        GzDecoder::new(body).read_to_end(&mut plain)?;
        ensure!(plain == content, "other bytes under the gzip");
    } else {
        ensure!(text(header::CONTENT_ENCODING).is_none(), "encoded");
        ensure!(body == content, "other bytes");
    }
    Ok(Offer { body: body.len() as u64, tag: text(header::ETAG).map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn only_the_file_itself_passes() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(b"page").unwrap();
        let body = gzip.finish().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, "\"x\"".parse().unwrap());
        assert!(offer(Asset::Page, b"page", 200, &headers, b"page").is_err(), "plain");
        assert_eq!(offer(Asset::Archive, b"page", 200, &headers, b"page").unwrap().body, 4);
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        let tag = Some("\"x\"".to_owned());
        let expected = Offer { body: body.len() as u64, tag };
        assert_eq!(offer(Asset::Page, b"page", 200, &headers, &body).unwrap(), expected);
        assert!(offer(Asset::Page, b"other", 200, &headers, &body).is_err());
        assert!(offer(Asset::Page, b"page", 404, &headers, &body).is_err());
        assert!(offer(Asset::Archive, b"page", 200, &headers, &body).is_err());
    }
}

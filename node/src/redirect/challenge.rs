//! Challenges of a certificate authority (RFC 8555 section 8.3), answered with the files that an ACME client leaves.

use std::{fs, io::Read as _, path::Path};

use http::StatusCode;
use tokio::task::spawn_blocking;

use super::answer::whole;

const PREFIX: &str = "/.well-known/acme-challenge/";

/// A key authorisation is a token and a digest; longer files are something else.
const MAX_CONTENT: u64 = 4096;

/// Long enough for any: 128 bits take 22 characters.
const MAX_TOKEN: usize = 256;

/// The name of a challenge in the alphabet of base64url, so no path can be made with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token(String);

impl Token {
    /// The token that a path asks for; the inner error is a path that looks like one and has none. `None` for other
    /// paths.
    pub(super) fn of_path(path: &str) -> Option<Result<Self, ()>> {
        let token = path.strip_prefix(PREFIX)?;
        let fits = (1..=MAX_TOKEN).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        Some(if fits { Ok(Self(token.into())) } else { Err(()) })
    }
}

/// The whole answer; 404 if there is no such file.
pub(super) async fn answer(webroot: Option<&Path>, token: Option<Token>, content: bool) -> Vec<u8> {
    let path =
        webroot.zip(token).map(|(webroot, Token(token))| webroot.join(PREFIX.trim_start_matches('/')).join(token));
    let found = match path {
        Some(path) => spawn_blocking(move || read(&path)).await.ok().flatten(),
        None => None,
    };
    match found {
        Some(found) => whole(StatusCode::OK, "application/octet-stream", &found, content, ""),
        None => whole(StatusCode::NOT_FOUND, "text/plain", b"404 Not Found\n", content, ""),
    }
}

/// A small regular file; `None` if it is none.
fn read(path: &Path) -> Option<Vec<u8>> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut content = Vec::new();
    fs::File::open(path).ok()?.take(MAX_CONTENT + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= MAX_CONTENT).then_some(content)
}

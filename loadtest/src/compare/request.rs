//! What a driver asks for, and what it must get.

use anyhow::ensure;

/// One request, again and again, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// `localhost:8443`.
    pub(crate) authority: String,
    /// `/page.html`.
    pub(crate) path: &'static str,
    /// Whether gzip is accepted.
    pub(crate) gzip: bool,
    /// Tag of what the client has already.
    pub(crate) tag: Option<String>,
    /// Status of the answer.
    pub(crate) status: u16,
    /// Length of its body, as sent.
    pub(crate) body: u64,
}

impl Exchange {
    /// The request's headers, but for those that name its target.
    pub(crate) fn headers(&self) -> Vec<(&'static str, &str)> {
        let gzip = self.gzip.then_some(("accept-encoding", "gzip"));
        let tag = self.tag.as_deref().map(|tag| ("if-none-match", tag));
        gzip.into_iter().chain(tag).collect()
    }

    /// The request as HTTP/1.1 sends it.
    pub(crate) fn http1(&self) -> Vec<u8> {
        let mut text = format!("GET {} HTTP/1.1\r\nHost: {}\r\n", self.path, self.authority);
        for (name, value) in self.headers() {
            text.extend([name, ": ", value, "\r\n"]);
        }
        (text + "\r\n").into_bytes()
    }

    /// The address as other programs want it.
    pub(crate) fn url(&self) -> String {
        format!("https://{}{}", self.authority, self.path)
    }

    /// Fails if an answer was another one.
    pub(crate) fn verify(&self, status: u16, body: u64) -> anyhow::Result<()> {
        ensure!(status == self.status, "the server answered {status}, not {}", self.status);
        ensure!(body == self.body, "the body has {body} bytes, not {}", self.body);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) fn sample(body: u64) -> Exchange {
    Exchange { authority: "localhost:1".into(), path: "/a", gzip: true, tag: None, status: 200, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_carry_what_they_need() {
        let plain = Exchange { gzip: false, ..sample(5) };
        assert_eq!(plain.http1(), b"GET /a HTTP/1.1\r\nHost: localhost:1\r\n\r\n");
        let storm = Exchange { tag: Some("\"x\"".into()), status: 304, ..sample(0) };
        let expected = "GET /a HTTP/1.1\r\nHost: localhost:1\r\naccept-encoding: gzip\r\nif-none-match: \"x\"\r\n\r\n";
        assert_eq!(storm.http1(), expected.as_bytes());
        assert_eq!(storm.url(), "https://localhost:1/a");
        assert!(storm.verify(304, 0).is_ok() && storm.verify(200, 0).is_err() && storm.verify(304, 1).is_err());
    }
}

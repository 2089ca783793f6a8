//! Connections to the node, as visitors have them: TLS over TCP with HTTP/1.1 or HTTP/2, and QUIC with HTTP/3.
//!
//! What is here knows nothing of right and wrong: it sends one request at a time on each [`Line`], and gives what comes.

mod dial;

use std::time::Duration;

use anyhow::anyhow;
use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};

pub(super) use dial::{Dialer, Manner, Opened};

use super::judge::Asked;

/// What a slow reader reads at once.
const SLICE: usize = 16 << 10;

/// Which protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    H1,
    H2,
    H3,
}

impl Protocol {
    pub(super) const ALL: [Self; 3] = [Self::H1, Self::H2, Self::H3];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::H1 => "HTTP/1.1",
            Self::H2 => "HTTP/2",
            Self::H3 => "HTTP/3",
        }
    }

    /// Its place in [`Self::ALL`].
    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// The connection had ended in order before the request was sent.
    Unsent,
    /// The answer did not come, or not whole.
    Broken(String),
}

impl Lost {
    fn broken(error: impl std::fmt::Display) -> Self {
        Self::Broken(error.to_string())
    }

    fn hyper(error: &hyper::Error) -> Self {
        if error.is_canceled() {
            return Self::Unsent;
        }
        let mut told = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            told = format!("{told}: {error}");
            source = error.source();
        }
        Self::Broken(told)
    }
}

/// Sends requests on a connection, one at a time.
pub(super) enum Line {
    H1(http1::SendRequest<Empty<Bytes>>),
    H2(http2::SendRequest<Empty<Bytes>>),
    H3(h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>),
}

/// An answer whose body is still to come.
pub(super) struct Coming {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    body: Body,
}

enum Body {
    Hyper(Incoming),
    H3(Box<h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>>),
}

impl Line {
    /// Another one on the same connection, if the protocol can do several requests at once.
    pub(super) fn another(&self) -> Option<Self> {
        match self {
            Self::H1(_) => None,
            Self::H2(sender) => Some(Self::H2(sender.clone())),
            Self::H3(sender) => Some(Self::H3(sender.clone())),
        }
    }

    /// Sends a request, and waits for the head of its answer.
    pub(super) async fn send(&mut self, asked: &Asked, authority: &str) -> Result<Coming, Lost> {
        let site = format!("https://{authority}");
        match self {
            Self::H1(sender) => {
                let request = asked.request("", authority, Empty::new()).map_err(Lost::broken)?;
                sender.ready().await.map_err(|_| Lost::Unsent)?;
                Ok(Coming::hyper(sender.send_request(request).await.map_err(|error| Lost::hyper(&error))?))
            }
            Self::H2(sender) => {
                let request = asked.request(&site, authority, Empty::new()).map_err(Lost::broken)?;
                sender.ready().await.map_err(|_| Lost::Unsent)?;
                Ok(Coming::hyper(sender.send_request(request).await.map_err(|error| Lost::hyper(&error))?))
            }
            Self::H3(sender) => {
                let request: Request<()> = asked.request(&site, authority, ()).map_err(Lost::broken)?;
                let mut stream = sender.send_request(request).await.map_err(Lost::broken)?;
                // A server that needs no more of a request may say so before the end of it is there (RFC 9114 section 4.1).
                // Its answer is whole nevertheless, and if the connection is lost, reading tells.
                let _ = stream.finish().await;
                let (parts, ()) = stream.recv_response().await.map_err(Lost::broken)?.into_parts();
                let body = Body::H3(Box::new(stream));
                Ok(Coming { status: parts.status.as_u16(), headers: parts.headers, body })
            }
        }
    }
}

impl Coming {
    fn hyper(answer: http::Response<Incoming>) -> Self {
        let (parts, body) = answer.into_parts();
        Self { status: parts.status.as_u16(), headers: parts.headers, body: Body::Hyper(body) }
    }

    /// The body to its end; with a pause after each [`SLICE`] of it, if one is given.
    pub(super) async fn body(mut self, pause: Option<Duration>) -> Result<Bytes, Lost> {
        let Some(first) = self.body.piece().await? else { return Ok(Bytes::new()) };
        // Most bodies are one piece.
        let Some(mut next) = self.body.piece().await? else { return Ok(first) };
        let mut joined = BytesMut::from(first);
        let mut paused = 0;
        loop {
            joined.extend_from_slice(&next);
            if let Some(pause) = pause
                && joined.len() >= paused + SLICE
            {
                paused = joined.len();
                tokio::time::sleep(pause).await;
            }
            match self.body.piece().await? {
                Some(piece) => next = piece,
                None => return Ok(joined.freeze()),
            }
        }
    }
}

impl Body {
    async fn piece(&mut self) -> Result<Option<Bytes>, Lost> {
        match self {
            Self::Hyper(body) => loop {
                match body.frame().await {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(Lost::Broken(format!("the body: {:#}", anyhow!(error)))),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => return Ok(Some(data)),
                        Err(_trailers) => {}
                    },
                }
            },
            Self::H3(stream) => {
                let piece = stream.recv_data().await.map_err(|error| Lost::Broken(format!("the body: {error}")))?;
                Ok(piece.map(|mut piece| piece.copy_to_bytes(piece.remaining())))
            }
        }
    }
}

//! From a request to its response: the one place where the pure answer meets the connection.
//!
//! Counts what is sent, and keeps the connection's pulse.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::pulse::Pulse;
use crate::{body::Body, respond::respond, serving::Serving};

/// What the requests of one connection share.
#[derive(Debug)]
struct Desk {
    serving: Arc<Serving>,
    pulse: Arc<Pulse>,
}

/// A body that tells the desk what is taken of it.
struct Counted {
    body: Body,
    desk: Arc<Desk>,
}

/// The application of one connection. Every address leads to the snapshot.
pub(super) fn router(serving: Arc<Serving>, pulse: Arc<Pulse>) -> Router {
    let desk = Arc::new(Desk { serving, pulse });
    let fallback = move |request: Request| {
        let response = answer(&desk, &request);
        async move { response }
    };
    // Without a state to wait for, the route is made now and not with each request.
    Router::new().fallback(fallback).with_state(())
}

fn answer(desk: &Arc<Desk>, request: &Request) -> Response {
    desk.pulse.beat(Instant::now());
    let plan = desk.serving.with(|site| respond(site, request.method(), request.uri().path(), request.headers()));
    desk.serving.counters.answered(plan.status);
    let body = Counted { body: plan.body.map_or(Body::Empty, Body::from), desk: Arc::clone(desk) };
    let mut response = axum::body::Body::new(body).into_response();
    *response.status_mut() = plan.status;
    *response.headers_mut() = plan.headers;
    response
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                this.desk.pulse.beat(Instant::now());
                this.desk.serving.counters.sent(frame.data_ref().map_or(0, |bytes| bytes.len() as u64));
            }
            Some(Err(error)) => tracing::error!(%error, "a response broke off: its pack cannot be read"),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

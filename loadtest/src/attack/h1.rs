//! Floods of requests that are valid, or nearly, over HTTP/1.1 and HTTP/2.

use std::rc::Rc;

use super::h2;
use super::strike::{Strike, crowd};
use crate::compare::files::Asset;

/// Requests that are written at once, and on one connection.
const BATCH: usize = 100;
const STAY: usize = 10;

fn get(strike: &Strike, path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", strike.authority)
}

/// A hundred requests at once on each of 16 connections from 4 sources, and again.
pub(super) async fn pipeline(strike: Rc<Strike>) {
    crowd(&strike, 16, |strike, n| async move {
        let mut tls = strike.tls(strike.source(n % 4), b"http/1.1", None).await?;
        let (batch, mut room) = (get(&strike, Asset::Page.path(), "").repeat(BATCH), vec![0; 64 << 10]);
        loop {
            strike.asked(BATCH as u64);
            strike.send(&mut tls, batch.as_bytes()).await?;
            strike.answers(&mut tls, BATCH, &mut room).await?;
        }
    })
    .await;
}

fn page(_: &Strike) -> String {
    Asset::Page.path().to_owned()
}

/// The page, as fast as one source can ask.
pub(super) async fn get_one(strike: Rc<Strike>) {
    h2::requests(strike, 8, 1, 50, &[], page).await;
}

/// The page, from thousands of sources, each with a connection of its own for ten requests.
pub(super) async fn get_many(strike: Rc<Strike>) {
    let sources = strike.some(4000);
    crowd(&strike, 64, move |strike, _| async move {
        let source = usize::try_from(strike.random() % sources as u64)?;
        let mut tls = strike.tls(strike.source(source), b"http/1.1", None).await?;
        let (batch, mut room) = (get(&strike, Asset::Page.path(), "").repeat(STAY), vec![0; 64 << 10]);
        strike.asked(STAY as u64);
        strike.send(&mut tls, batch.as_bytes()).await?;
        strike.answers(&mut tls, STAY, &mut room).await
    })
    .await;
}

/// The page with a query that nobody had before.
pub(super) async fn query(strike: Rc<Strike>) {
    let path = |strike: &Strike| format!("{}?v={:x}", Asset::Page.path(), strike.random());
    h2::requests(strike, 16, 16, 50, &[], path).await;
}

/// Paths that there are not.
pub(super) async fn paths(strike: Rc<Strike>) {
    let path = |strike: &Strike| format!("/{:x}/{:x}.html", strike.random() % 256, strike.random());
    h2::requests(strike, 16, 16, 50, &[], path).await;
}

fn archive(_: &Strike) -> String {
    Asset::Archive.path().to_owned()
}

/// The largest file, 32 times at once, by one source.
pub(super) async fn bulk_one(strike: Rc<Strike>) {
    h2::requests(strike, 16, 1, 2, &[], archive).await;
}

/// The same by 64 sources.
pub(super) async fn bulk_many(strike: Rc<Strike>) {
    h2::requests(strike, 64, 64, 1, &[], archive).await;
}

/// Many small ranges of the largest file in each request, some of which overlap.
pub(super) async fn ranges(strike: Rc<Strike>) {
    const FIELD: &[(&str, &str)] = &[(
        "range",
        "bytes=0-0,2-2,4-4,6-6,8-8,0-,1-,2-,3-,4-,5-,6-,7-,8-,9-,100-90000,200-90000,300-90000,-1,-2,-3,-4,-5,-6,-7,-8",
    )];
    h2::requests(strike, 16, 16, 20, FIELD, archive).await;
}

/// Heads of 64 kB and more, whole and without an end, over HTTP/1.1 and HTTP/2.
pub(super) async fn large_heads(strike: Rc<Strike>) {
    let old = crowd(&strike, 16, |strike, n| async move {
        let mut tls = strike.tls(strike.source(n % 4), b"http/1.1", None).await?;
        let fields = match n % 3 {
            0 => format!("X-Large: {}\r\n", "h".repeat(70_000)),
            1 => format!("X-Large: {}\r\n", "h".repeat(6000)).repeat(12),
            _ => "a: b\r\n".repeat(12_000),
        };
        let ask = get(&strike, Asset::Page.path(), &fields);
        strike.asked(1);
        strike.send(&mut tls, ask.as_bytes()).await?;
        strike.answers(&mut tls, 1, &mut vec![0; 4096]).await
    });
    tokio::join!(old, h2::large_heads(Rc::clone(&strike), 16));
}

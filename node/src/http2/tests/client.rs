//! A client that others wrote, over a stream of bytes.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinSet,
};

use super::*;
use crate::engine::State;

/// Drives the engine until the connection ends. Gives what is left of it.
async fn serve(mut stream: DuplexStream, budget: usize) -> Http2 {
    let (mut engine, mut site) = (Http2::new(Http2Limits::default()), Site::default());
    let (mut input, mut out) = (BytesMut::new(), Outbox::default());
    loop {
        engine.receive(&mut input, &mut site);
        loop {
            engine.transmit(&mut out, budget);
            if out.is_empty() {
                break;
            }
            for piece in out.pieces() {
                if stream.write_all(piece).await.is_err() {
                    return engine;
                }
            }
            out.clear();
        }
        if engine.state() == State::Finished || !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
            return engine;
        }
    }
}

/// From nothing to three megabytes, small ones most often.
fn length(nth: usize) -> usize {
    match nth % 250 {
        0 => 3_000_000,
        1..10 => nth * 7919 % 300_000,
        10..40 => nth * 7919 % 40_000,
        other => (other - 40) * 7 % 1500,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_answers_are_whole() {
    // Windows of a stream and of the connection, and how much is sent at once.
    for (nth, (window, all, budget)) in
        [(700, 65_535, 1), (16_384, 65_535, 16_384), (100_000, 150_000, 65_536), (1 << 24, 1 << 25, 1 << 20)]
            .into_iter()
            .enumerate()
    {
        let (near, far) = tokio::io::duplex(50_000);
        let server = tokio::spawn(serve(far, budget));
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(window)
            .initial_connection_window_size(all)
            .enable_push(false)
            .initial_max_send_streams(100);
        let (client, connection) = builder.handshake::<_, Bytes>(near).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut tasks = JoinSet::new();
        for request in nth * 250..(nth + 1) * 250 {
            let client = client.clone();
            tasks.spawn(async move {
                let length = length(request);
                let uri = format!("https://a.example/{length}?nth={request}");
                let method = if request % 50 == 7 { "POST" } else { "GET" };
                let asked = http::Request::builder().method(method).uri(uri);
                let asked =
                    asked.header("priority", format!("u={}, i=?{}", request % 8, request % 2)).body(()).unwrap();
                let (answer, mut upload) = client.ready().await.unwrap().send_request(asked, method == "GET").unwrap();
                if method == "POST" {
                    upload.send_data(Bytes::from_static(b"a=b"), true).unwrap();
                }
                let answer = answer.await.unwrap();
                assert_eq!(answer.headers()["content-length"], length.to_string());
                let (mut body, mut whole) = (answer.into_body(), Vec::new());
                while let Some(piece) = body.data().await {
                    let piece = piece.unwrap();
                    whole.extend_from_slice(&piece);
                    body.flow_control().release_capacity(piece.len()).unwrap();
                }
                assert!(whole == content(length), "{} of {length} bytes", whole.len());
            });
        }
        let all = async { while tasks.join_next().await.transpose().unwrap().is_some() {} };
        tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
        let engine = server.await.unwrap();
        assert_eq!((engine.requests(), engine.abuse(), engine.state()), (250, None, State::Finished));
    }
}

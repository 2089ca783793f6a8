//! What clients that do not behave get.

use std::time::Duration;

use bytes::Buf;
use h3::error::Code;

use super::fixture::{Client, Server, closed_with, get, pattern, soon};
use crate::http3::{Http3Limits, limits::CANCELLED, qpack};

const BLINK: Duration = Duration::from_millis(100);

fn start(limits: Http3Limits) -> Server {
    Server::start(limits, Duration::ZERO)
}

/// The bytes of an answer to bytes that may be no request.
async fn told(quic: &quinn::Connection, bytes: &[u8]) -> Vec<u8> {
    let (mut send, mut receive) = quic.open_bi().await.unwrap();
    // One that is refused early is told to stop.
    let _ = send.write_all(bytes).await;
    let _ = send.finish();
    soon(receive.read_to_end(10_000)).await.unwrap()
}

/// A request as bytes: these fields in a HEADERS frame.
fn request<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let usual = [(":method", "GET"), (":scheme", "https"), (":authority", "site.example"), (":path", "/bytes/1")];
    let mut section = vec![0, 0];
    for (name, value) in usual.into_iter().chain(fields) {
        qpack::encode(name, value, &mut section);
    }
    let len = u32::try_from(section.len()).unwrap();
    [&[1][..], &(0x8000_0000 | len).to_be_bytes(), &section].concat()
}

/// More than a field section, in one field and in many: more of what counts than of bytes.
#[tokio::test]
async fn a_head_that_is_too_large() {
    let server = Server::usual();
    let quic = server.dial(quinn::TransportConfig::default()).await.unwrap();
    let large = "a".repeat(33_000);
    for fields in [vec![("cookie", large.as_str())], vec![("cookie", "1"); 1000]] {
        let answer = told(&quic, &request(fields)).await;
        assert!(answer.ends_with(b"HeadTooLarge"), "{answer:?}");
    }
    let answer = told(&quic, &request([("cookie", &large[..30_000])])).await;
    assert!(answer.ends_with(&[0, 1, 0]), "a file of one byte: {answer:?}");
}

/// A request that has ended is not stopped; one that may go on is.
#[tokio::test]
async fn only_what_goes_on_is_stopped() {
    let server = Server::usual();
    let quic = server.dial(quinn::TransportConfig::default()).await.unwrap();
    for _ in 0..10 {
        assert!(told(&quic, &request([])).await.ends_with(&[0, 1, 0]));
    }
    assert_eq!(quic.stats().frame_rx.stop_sending, 0);
    let (mut send, mut receive) = quic.open_bi().await.unwrap();
    send.write_all(&request([])).await.unwrap();
    assert!(soon(receive.read_to_end(10_000)).await.unwrap().ends_with(&[0, 1, 0]));
    let stopped = soon(send.stopped()).await.unwrap();
    assert_eq!(stopped, Some(quinn::VarInt::from_u32(0x100)));
}

#[tokio::test]
async fn a_head_that_never_ends() {
    let server = start(Http3Limits { head: BLINK, ..Http3Limits::default() });
    let quic = server.dial(quinn::TransportConfig::default()).await.unwrap();
    let (mut send, mut receive) = quic.open_bi().await.unwrap();
    // HEADERS of ten bytes, of which one is sent.
    send.write_all(&[1, 10, 0]).await.unwrap();
    let answer = soon(receive.read_to_end(10_000)).await.unwrap();
    assert!(answer.ends_with(b"Slow"), "{answer:?}");
    assert_eq!(closed_with(&quic).await, Code::H3_NO_ERROR.value());
    assert_eq!(server.count("overdue"), 1);
}

#[tokio::test]
async fn a_connection_for_nothing() {
    let server = start(Http3Limits { first_request: BLINK, ..Http3Limits::default() });
    let quic = server.dial(quinn::TransportConfig::default()).await.unwrap();
    assert_eq!(closed_with(&quic).await, Code::H3_NO_ERROR.value());
    assert_eq!(server.count("silent"), 1);
}

/// Signs of life are not requests.
#[tokio::test]
async fn a_connection_that_is_kept_for_nothing() {
    let idle = Duration::from_millis(500);
    let server = start(Http3Limits { idle, ..Http3Limits::default() });
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(BLINK));
    let client = Client::over(server.dial(transport).await.unwrap()).await;
    assert_eq!(client.get("/bytes/1").await.status(), 200);
    let closed = client.closed().await;
    assert!(closed.is_h3_no_error(), "{closed}");
    assert_eq!(server.count("silent"), 0);
}

#[tokio::test]
async fn a_client_that_stops_reading() {
    let server = start(Http3Limits { stall: 3 * BLINK, ..Http3Limits::default() });
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(50_000_u32.into()).keep_alive_interval(Some(BLINK));
    let client = Client::over(server.dial(transport).await.unwrap()).await;
    let mut stream = client.ask(get("/bytes/20000000")).await;
    assert_eq!(soon(stream.recv_response()).await.unwrap().status(), 200);
    assert_eq!(closed_with(&client.quic).await, Code::H3_EXCESSIVE_LOAD.value());
    server.counts("cut_off", 1).await;
    assert_eq!(server.count("silent"), 1);
}

/// The same with an answer that the server could hand over to QUIC as a whole.
#[tokio::test]
async fn a_client_that_does_not_read_at_all() {
    let server = start(Http3Limits { stall: 3 * BLINK, ..Http3Limits::default() });
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(1000_u32.into()).keep_alive_interval(Some(BLINK));
    let client = Client::over(server.dial(transport).await.unwrap()).await;
    let _stream = client.ask(get("/bytes/30000")).await;
    assert_eq!(closed_with(&client.quic).await, Code::H3_EXCESSIVE_LOAD.value());
    server.counts("cut_off", 1).await;
}

/// Slow is not stalled: this takes several times as long as a client may take nothing.
#[tokio::test]
async fn a_slow_reader_gets_everything() {
    let server = start(Http3Limits { stall: 10 * BLINK, ..Http3Limits::default() });
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(100_000_u32.into());
    let client = Client::over(server.dial(transport).await.unwrap()).await;
    let mut stream = client.ask(get("/bytes/1000000")).await;
    soon(stream.recv_response()).await.unwrap();
    let mut body = Vec::new();
    let mut pauses = 0;
    while let Some(mut piece) = soon(stream.recv_data()).await.unwrap() {
        body.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
        if body.len() > (pauses + 1) * 100_000 {
            pauses += 1;
            tokio::time::sleep(2 * BLINK).await;
        }
    }
    assert!(body == pattern(1_000_000) && pauses >= 9, "{} bytes, {pauses} pauses", body.len());
}

/// A frame that says it is large is not waited for.
#[tokio::test]
async fn a_frame_without_end() {
    let server = Server::usual();
    let quic = server.dial(quinn::TransportConfig::default()).await.unwrap();
    for kind in [1, 0x21] {
        // A gigabyte of HEADERS, or of something reserved.
        let mut bytes = vec![kind, 0x80 | 0x3f, 0xff, 0xff, 0xff];
        bytes.extend_from_slice(&pattern(60_000));
        let answer = told(&quic, &bytes).await;
        assert!(answer.ends_with(b"HeadTooLarge"), "{answer:?}");
    }
}

/// Many unfinished heads are refused before they are many megabytes.
#[tokio::test]
async fn many_heads_without_end() {
    let server = start(Http3Limits { head: 10 * BLINK, ..Http3Limits::default() });
    let quic = server.dial(quinn::TransportConfig::default()).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..90 {
        let (mut send, receive) = quic.open_bi().await.unwrap();
        // Refused ones are told to stop while they write.
        let _ = send.write_all(&[&[1, 0x80, 0, 0x80, 0], pattern(30_000).as_ref()].concat()).await;
        streams.push((send, receive));
    }
    let mut refused = 0;
    for (_, receive) in &mut streams {
        let answer = soon(receive.read_to_end(10_000)).await.unwrap();
        refused += usize::from(answer.ends_with(b"HeadTooLarge"));
    }
    // Four of them fit.
    assert_eq!(refused, 86);
}

#[tokio::test]
async fn a_control_stream_without_end() {
    let server = Server::usual();
    let quic = server.dial(quinn::TransportConfig::default()).await.unwrap();
    let mut control = quic.open_uni().await.unwrap();
    // The type of the stream, empty SETTINGS, and a gigabyte of something reserved.
    let _ = control.write_all(&[0, 4, 0, 0x21, 0x80 | 0x3f, 0xff, 0xff, 0xff]).await;
    let _ = soon(control.write_all(&pattern(500_000))).await;
    assert_eq!(closed_with(&quic).await, Code::H3_EXCESSIVE_LOAD.value());
    server.counts("violations", 1).await;
}

#[tokio::test]
async fn a_request_that_is_none() {
    let server = Server::usual();
    let quic = server.dial(quinn::TransportConfig::default()).await.unwrap();
    let (mut send, _receive) = quic.open_bi().await.unwrap();
    // DATA before HEADERS.
    send.write_all(&[0, 1, 7]).await.unwrap();
    assert_eq!(closed_with(&quic).await, Code::H3_FRAME_UNEXPECTED.value());
    server.counts("violations", 1).await;
}

/// What is no field section at all, and what has no pseudo-header fields.
#[tokio::test]
async fn a_head_that_is_none() {
    let server = Server::usual();
    let quic = server.dial(quinn::TransportConfig::default()).await.unwrap();
    // A section with one field, `accept-ranges: bytes`.
    let answer = told(&quic, &[1, 3, 0, 0, 0xe0]).await;
    assert!(answer.ends_with(b"Malformed"), "{answer:?}");
    // A reference to a dynamic table that does not exist.
    let (mut send, _receive) = quic.open_bi().await.unwrap();
    send.write_all(&[1, 3, 0, 0, 0x80]).await.unwrap();
    assert_eq!(closed_with(&quic).await, Code::QPACK_DECOMPRESSION_FAILED.value());
}

#[tokio::test]
async fn an_answer_that_is_not_wanted() {
    let server = Server::usual();
    let client = server.client().await;
    let mut stream = client.ask(get("/bytes/20000000")).await;
    soon(stream.recv_response()).await.unwrap();
    drop(stream);
    server.counts("resets", 1).await;
    assert_eq!((client.get("/bytes/1").await.status().as_u16(), server.count("cut_off")), (200, 0));
    // The same with the whole connection.
    let _stream = client.ask(get("/bytes/20000000")).await;
    server.counts("requests", 3).await;
    client.quic.close(0_u32.into(), b"");
    server.counts("resets", 2).await;
    assert_eq!(server.count("cut_off"), 0);
}

#[tokio::test]
async fn many_answers_that_are_not_wanted() {
    let server = Server::usual();
    let client = server.client().await;
    let mut asked = 0;
    while let Ok(stream) = soon(client.sender().send_request(get("/bytes/9000000"))).await {
        drop(stream);
        asked += 1;
    }
    assert_eq!(closed_with(&client.quic).await, Code::H3_EXCESSIVE_LOAD.value());
    assert!(asked > CANCELLED, "{asked}");
    assert_eq!(server.count("violations"), 1);
}

#[tokio::test]
async fn addresses_are_proven_under_load() {
    let server = start(Http3Limits { unproven_handshakes: 0, ..Http3Limits::default() });
    let client = server.client().await;
    assert_eq!(client.get("/bytes/1").await.status(), 200);
    assert_eq!((server.count("retries"), server.count("connections")), (1, 1));
}

#[tokio::test]
async fn one_source_does_not_take_all_places() {
    let server = start(Http3Limits { connections: 40, ..Http3Limits::default() });
    let mut held = Vec::new();
    for _ in 0..30 {
        held.push(server.dial(quinn::TransportConfig::default()).await.unwrap());
    }
    let all_are_met = async {
        while server.count("crowded") < 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(all_are_met).await;
    let told = held.iter().filter_map(quinn::Connection::close_reason);
    // H3_EXCESSIVE_LOAD (RFC 9114 section 8.1).
    let is_told = |error: &quinn::ConnectionError| matches!(error, quinn::ConnectionError::ApplicationClosed(close) if close.error_code.into_inner() == 0x107);
    assert!(told.filter(is_told).count() > 0);
    assert_eq!((server.count("crowded"), server.count("connections")), (10, 20));
}

#[tokio::test]
async fn there_is_an_end_of_room() {
    let server = start(Http3Limits { connections: 1, ..Http3Limits::default() });
    let client = server.client().await;
    let refused = server.dial(quinn::TransportConfig::default()).await.unwrap_err();
    assert!(matches!(refused, quinn::ConnectionError::ConnectionClosed(_)), "{refused}");
    assert_eq!(server.count("refused"), 1);
    assert_eq!(client.get("/bytes/1").await.status(), 200);
    client.quic.close(0_u32.into(), b"");
    // The room is free once the server has heard of it.
    soon(async { while server.dial(quinn::TransportConfig::default()).await.is_err() {} }).await;
}

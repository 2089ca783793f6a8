//! What clients that behave get.

use futures_util::future::join_all;
use http::{Method, Request};

use super::fixture::{Answer, Server, get, pattern, soon};
use crate::{fields::request::TARGET, http3::limits::STREAMS};

#[tokio::test]
async fn a_small_file() {
    let server = Server::usual();
    let client = server.client().await;
    let answer = client.get("/bytes/10000").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.field("content-length"), Some("10000"));
    assert_eq!(answer.field("etag"), Some("\"a: b\""));
    assert_eq!(answer.field("accept-ranges"), Some("bytes"));
    assert_eq!(answer.field("difusor-cut"), Some("1"));
    assert_eq!(answer.body, pattern(10_000));
    assert_eq!((server.count("connections"), server.count("requests")), (1, 1));
}

#[tokio::test]
async fn a_large_file() {
    let server = Server::usual();
    let client = server.client().await;
    let answer = client.get("/bytes/20000000").await;
    assert!(answer.body == pattern(20_000_000), "{} bytes", answer.body.len());
    assert_eq!(server.handed.load(std::sync::atomic::Ordering::Relaxed), 20_000_000);
}

#[tokio::test]
async fn sizes_around_those_of_frames_and_pieces() {
    let server = Server::usual();
    let client = server.client().await;
    for len in [0, 1, 63, 64, 1023, 1024, 16_383, 16_384, 131_071, 131_072, 131_073, 262_144] {
        let answer = client.get(&format!("/bytes/{len}")).await;
        assert!(answer.body == pattern(len), "{len}: {} bytes", answer.body.len());
    }
}

#[tokio::test]
async fn heads_without_bodies() {
    let server = Server::usual();
    let client = server.client().await;
    let head = client.answer(Request::head("https://site.example/bytes/10000").body(()).unwrap()).await;
    assert_eq!((head.status().as_u16(), head.field("content-length")), (200, Some("10000")));
    assert!(head.body.is_empty());
    for status in [204, 304] {
        let answer = client.get(&format!("/status/{status}")).await;
        assert_eq!((answer.status().as_u16(), answer.body.len()), (status, 0));
    }
}

#[tokio::test]
async fn every_status_arrives() {
    let server = Server::usual();
    let client = server.client().await;
    for status in [200, 206, 301, 302, 308, 400, 403, 404, 405, 412, 416, 421, 425, 431, 500, 503] {
        let answer = client.get(&format!("/status/{status}")).await;
        assert_eq!((answer.status().as_u16(), answer.body.as_slice()), (status, b"some words".as_slice()));
    }
    assert_eq!(client.get("/nowhere").await.status(), 404);
}

#[tokio::test]
async fn more_requests_at_once_than_streams() {
    let server = Server::usual();
    let client = server.client().await;
    let asked = (0..3 * STREAMS).map(|number| {
        let mut send = client.sender();
        async move {
            let len = 20_000 + number as usize;
            let mut stream = send.send_request(get(&format!("/bytes/{len}"))).await.unwrap();
            stream.finish().await.unwrap();
            assert!(Answer::read(stream).await.body == pattern(len), "{len}");
        }
    });
    soon(join_all(asked)).await;
    server.counts("requests", u64::from(3 * STREAMS)).await;
    assert_eq!((server.count("cut_off"), server.count("resets")), (0, 0));
}

#[tokio::test]
async fn connections_do_not_wait_for_each_other() {
    let server = Server::usual();
    let asked = (0..20).map(|_| async {
        let client = server.client().await;
        assert!(client.get("/bytes/50000").await.body == pattern(50_000));
    });
    soon(join_all(asked)).await;
    assert_eq!(server.count("connections"), 20);
}

#[tokio::test]
async fn a_target_without_end() {
    let server = Server::usual();
    let client = server.client().await;
    let answer = client.get(&format!("/{}", "a".repeat(TARGET))).await;
    assert_eq!((answer.status().as_u16(), answer.body.as_slice()), (414, b"TargetTooLong".as_slice()));
    assert_eq!(client.get("/bytes/1").await.status(), 200);
}

#[tokio::test]
async fn a_field_of_another_protocol() {
    let server = Server::usual();
    let client = server.client().await;
    let request = Request::get("https://site.example/").header("connection", "close").body(()).unwrap();
    let answer = client.answer(request).await;
    assert_eq!((answer.status().as_u16(), answer.body.as_slice()), (400, b"Malformed".as_slice()));
}

#[tokio::test]
async fn an_upload_is_answered_and_not_read() {
    let server = Server::usual();
    let client = server.client().await;
    let request = Request::post("https://site.example/bytes/1").body(()).unwrap();
    let mut stream = soon(client.sender().send_request(request)).await.unwrap();
    let told = soon(async {
        loop {
            if stream.send_data(pattern(50_000)).await.is_err() {
                return true;
            }
        }
    });
    assert!(told.await, "the client is told to stop");
    let answer = soon(stream.recv_response()).await.unwrap();
    assert_eq!(answer.status(), 405);
    assert_eq!(client.get("/bytes/1").await.status(), 200);
}

#[tokio::test]
async fn methods_that_a_site_has_no_use_for() {
    let server = Server::usual();
    let client = server.client().await;
    for method in [Method::DELETE, Method::PUT, Method::TRACE] {
        let request = Request::builder().method(method).uri("https://site.example/").body(()).unwrap();
        assert_eq!(client.answer(request).await.status(), 405);
    }
}

/// Others on the connection do not notice, and no one takes a part for the whole.
#[tokio::test]
async fn a_bug_is_no_answer() {
    let server = Server::usual();
    let client = server.client().await;
    let mut stream = client.ask(get("/panic")).await;
    let error = soon(stream.recv_response()).await.unwrap_err();
    assert!(error.to_string().contains("H3_INTERNAL_ERROR"), "{error}");
    assert_eq!(client.get("/bytes/1").await.status(), 200);
    assert_eq!(server.count("cut_off"), 1);
}

#[tokio::test]
async fn what_a_rule_holds_comes_later_and_holds_no_other_answer() {
    let server = Server::usual();
    let client = server.client().await;
    let begun = std::time::Instant::now();
    let held = client.ask(get("/held")).await;
    server.holds().await;
    assert_eq!(client.get("/bytes/1").await.status(), 200);
    assert_eq!(soon(Answer::read(held)).await.status(), 404);
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(server.rules.held(), 0);
}

#[tokio::test]
async fn a_rule_ends_the_connection_without_an_answer() {
    let server = Server::usual();
    let client = server.client().await;
    assert_eq!(client.get("/bytes/1").await.status(), 200);
    let _stream = client.ask(get("/closed")).await;
    let closed = soon(client.closed()).await;
    assert!(closed.is_h3_no_error(), "{closed}");
    assert_eq!(server.count("violations"), 0);
}

//! How serving ends.

use std::time::Duration;

use h3::error::StreamError;

use super::fixture::{self, Answer, Client, Server, get, pattern, soon};
use crate::http3::{Drained, Http3Limits};

const GRACE: Duration = Duration::from_secs(10);

fn start(grace: Duration) -> Server {
    Server::start(Http3Limits::default(), grace)
}

#[tokio::test]
async fn what_is_under_way_is_finished() {
    let server = start(GRACE);
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(100_000_u32.into());
    let client = Client::over(server.dial(transport).await.unwrap()).await;
    // Flow control holds it until the client reads.
    let stream = client.ask(get("/bytes/20000000")).await;
    server.counts("requests", 1).await;
    server.drain.cancel();
    let refused = server.dial(quinn::TransportConfig::default()).await.unwrap_err();
    assert!(matches!(refused, quinn::ConnectionError::ConnectionClosed(_)), "{refused}");
    // The client is told to ask elsewhere, and asks here until it knows.
    let told = async {
        loop {
            match client.sender().send_request(get("/status/404")).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(2)).await,
                Err(error) => break error,
            }
        }
    };
    let told = soon(told).await;
    assert!(matches!(told, StreamError::RemoteClosing { .. }), "{told}");
    let answer = soon(Answer::read(stream)).await;
    assert!(answer.body == pattern(20_000_000), "{} bytes", answer.body.len());
    let closed = client.closed().await;
    assert!(closed.is_h3_no_error(), "{closed}");
    assert_eq!(server.count("cut_off"), 0);
    assert_eq!(server.end().await, Drained { finished: 1, cut: 0 });
}

/// What the server has handed over is under way until the client has it: this takes six round trips, and the server
/// hands over everything in the first one.
#[tokio::test]
async fn what_is_handed_over_is_not_delivered() {
    let server = start(GRACE);
    let line = fixture::long_line(server.address, Duration::from_millis(100)).await;
    let client = Client::over(server.dial_by(line, quinn::TransportConfig::default()).await.unwrap()).await;
    let stream = client.ask(get("/bytes/1000000")).await;
    server.counts("requests", 1).await;
    server.drain.cancel();
    assert!(soon(Answer::read(stream)).await.body == pattern(1_000_000));
    assert_eq!(server.count("cut_off"), 0);
    assert_eq!(server.end().await, Drained { finished: 1, cut: 0 });
}

#[tokio::test]
async fn what_is_not_finished_in_time_is_cut() {
    let server = start(Duration::from_millis(300));
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(100_000_u32.into());
    let client = Client::over(server.dial(transport).await.unwrap()).await;
    let mut stream = client.ask(get("/bytes/20000000")).await;
    soon(stream.recv_response()).await.unwrap();
    let idle = server.client().await;
    assert_eq!(idle.get("/bytes/1").await.status(), 200);
    assert_eq!(server.end().await, Drained { finished: 1, cut: 1 });
    let closed = client.closed().await;
    assert!(closed.is_h3_no_error(), "{closed}");
}

/// A request that was sent before the client could know is answered, or refused in a way that it may ask again.
#[tokio::test]
async fn requests_on_their_way_are_answered() {
    let server = start(GRACE);
    let client = server.client().await;
    assert_eq!(client.get("/bytes/1").await.status(), 200);
    server.drain.cancel();
    let mut answered = 0;
    loop {
        let Ok(mut stream) = soon(client.sender().send_request(get("/bytes/5000"))).await else { break };
        let _ = stream.finish().await;
        match soon(stream.recv_response()).await {
            Ok(_) => answered += 1,
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("H3_REQUEST_REJECTED") || text.contains("H3_NO_ERROR"), "{text}");
                break;
            }
        }
    }
    let counted = server.count("requests");
    assert!(counted > answered, "{answered} answers, {counted} requests");
    assert_eq!(server.end().await, Drained { finished: 1, cut: 0 });
}

/// Two readers of the same packets would lose half of them each.
#[tokio::test]
async fn an_address_is_bound_once() {
    let server = start(GRACE);
    let taken = std::net::UdpSocket::bind(server.address).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn nobody_to_wait_for() {
    let server = start(GRACE);
    assert_eq!(server.end().await, Drained::default());
}

#[tokio::test]
async fn what_a_rule_holds_is_not_waited_for() {
    let server = start(GRACE);
    let client = server.client().await;
    let held = client.ask(get("/long")).await;
    server.holds().await;
    server.drain.cancel();
    assert_eq!(soon(Answer::read(held)).await.status(), 404);
    assert!(client.closed().await.is_h3_no_error());
    assert_eq!(server.end().await, Drained { finished: 1, cut: 0 });
}

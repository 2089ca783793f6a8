//! The operator's rules over real sockets: answers that are held, connections that are ended, rules that change.

use std::fs;

use tokio::time::Instant;

use super::*;
use crate::admission::rules::book::Rulebook;

const RULES: &str = r#"
held = 2
rule = [
    { name = "pit", paths = ["/pit"], action = { tarpit = "1 s" } },
    { name = "long", paths = ["/long"], action = { tarpit = "30 s" } },
    { name = "out", user_agents = ["evil*"], action = "close" },
]"#;

fn start(text: &str) -> (Running, Arc<Rulebook>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.toml");
    fs::write(&path, text).unwrap();
    let book = Arc::new(Rulebook::open(&path).unwrap());
    let running = Running::ruled(Limits::default(), GRACE, None, Some(Arc::clone(&book)));
    let fixture = Fixture::new();
    running.serving.flip(Arc::new(fixture.site(&fixture.cut(1, &[("index.html", b"page")]))));
    (running, book, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_comes_later_and_holds_nobody_else() {
    let (running, book, _folder) = start(RULES);
    let held = || book.status().held;
    for mut client in [running.h1().await, running.h2().await] {
        let begun = Instant::now();
        let (answer, ()) = tokio::join!(client.get("/pit"), async {
            until("the answer is held", || held() == 1).await;
            assert_eq!(running.h1().await.get("/").await.status, 200);
        });
        assert_eq!(answer.status, 403);
        // Threads look at the clock a few times a second.
        assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
        until("its place is free again", || held() == 0).await;
        // The connection goes on.
        assert_eq!(client.get("/").await.status, 200);
    }
    // Beyond what may be held, the answer comes at once; those that are held come when the node ends.
    let (mut one, mut other) = (running.h1().await, running.h2().await);
    let one = tokio::spawn(async move { one.get("/long").await.status });
    let other = tokio::spawn(async move { other.get("/long").await.status });
    until("two are held", || held() == 2).await;
    assert_eq!(running.h1().await.get("/long").await.status, 403);
    running.cancel.cancel();
    assert_eq!((one.await.unwrap().as_u16(), other.await.unwrap().as_u16()), (403, 403));
    let drained = timeout(PATIENCE, running.done).await.unwrap().unwrap();
    assert_eq!(drained.cut, 0);
    assert_eq!(held(), 0);
    let counts: Vec<(String, String, u64)> = book.status().counts;
    let count =
        |rule: &str, what: &str| counts.iter().find(|(name, outcome, _)| name == rule && outcome == what).unwrap().2;
    assert_eq!((count("pit", "held"), count("long", "held"), count("long", "denied")), (2, 2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_closed_gets_no_answer() {
    let (running, book, _folder) = start(RULES);
    for mut client in [running.h1().await, running.h2().await] {
        assert_eq!(client.get("/").await.status, 200);
        client.begin(Method::GET, "/", &[("user-agent", "Evil/1")]).await.unwrap_err();
    }
    assert_eq!(running.h1().await.get("/").await.status, 200);
    assert!(book.status().counts.contains(&("out".into(), "closed".into(), 2)));
    until("the connections are counted out", || running.totals().open() <= 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_change_under_connections_that_stay() {
    let (running, book, folder) = start("");
    let cancel = CancellationToken::new();
    let watching = tokio::spawn(Arc::clone(&book).watch(Duration::from_millis(20), cancel.clone()));
    let mut client = running.h2().await;
    for (text, status) in [
        ("rule = [{ name = \"none\", action = \"deny\" }]", 403),
        ("rule = [{ name = \"none\", action = \"allow\" }]", 200),
        ("rule = [{ name = \"none\", action = { throttle = { a_second = 1, at_once = 1 } } }]", 429),
    ] {
        fs::write(folder.path().join("rules.toml"), text).unwrap();
        let changed = async {
            while client.get("/").await.status != status {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, changed).await.unwrap();
    }
    fs::write(folder.path().join("rules.toml"), "rule = 1").unwrap();
    until("a bad file shows", || book.status().error.is_some()).await;
    assert_eq!(book.status().counts.first().map(|(name, ..)| name.as_str()), Some("none"));
    cancel.cancel();
    timeout(PATIENCE, watching).await.unwrap().unwrap();
}

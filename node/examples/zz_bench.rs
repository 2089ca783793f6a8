#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing
)]
use difusor_node::{
    certificate::tls_config,
    listener::*,
    serving::Serving,
    site::{Site, SiteError, SiteOptions},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
#[path = "../src/site/fixture.rs"]
mod fixture;
use fixture::*;
#[tokio::main]
async fn main() {
    let f = Fixture::new();
    let page = noise(1, 300);
    let big: Vec<u8> = {
        let mut b = noise(2, 40_000);
        b.truncate(1 << 20);
        b
    };
    let huge: Vec<u8> = noise(3, 1_500_000);
    let many: Vec<(String, Vec<u8>)> = (0..2000).map(|i| (format!("d/{i}.json"), noise(i, 60))).collect();
    let mut files: Vec<(&str, &[u8])> = vec![("index.html", &page[..10_000]), ("big.csv", &big), ("huge.csv", &huge)];
    for (n, b) in &many {
        files.push((n, b));
    }
    let cut = f.cut(1, &files);
    let t = Instant::now();
    let site = f.site(&cut);
    println!("build cold {:?}, memory {}", t.elapsed(), site.memory());
    let t = Instant::now();
    let again = f.build(&cut, &f.options(), Some(&site)).unwrap();
    println!("build again {:?}", t.elapsed());
    drop(again);
    let h = http::HeaderMap::new();
    let t = Instant::now();
    for _ in 0..1_000_000 {
        std::hint::black_box(difusor_node::respond::respond(
            Some(&site),
            &http::Method::GET,
            "/d/77.json",
            std::hint::black_box(&h),
        ));
    }
    println!("respond {:?}", t.elapsed() / 1_000_000);
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = tls_config(vec![made.cert.der().clone()], key).unwrap();
    let l = Listener::bind(
        &ListenerConfig { bind: vec!["127.0.0.1:18443".parse().unwrap()], limits: Limits::default() },
        tls,
    )
    .unwrap();
    let s = Arc::new(Serving::default());
    s.flip(Arc::new(site));
    let c = tokio_util::sync::CancellationToken::new();
    let c2 = c.clone();
    let secs: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(secs)).await;
        c2.cancel();
    });
    let d = l.run(Arc::clone(&s), c, Duration::from_secs(1)).await;
    println!("{d:?} {:?}", s.counters.read());
}

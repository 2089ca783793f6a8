//! Windows go from threads to the reader and back, and nothing is lost.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::*;

fn asked(meter: &Meter, number: u32) -> Asked<'static> {
    Asked { visitor: meter.mark(IpAddr::V4(number.into())), path: None, status: 200, conditional: false, bytes: 1 }
}

#[test]
fn threads_and_the_reader_lose_nothing() {
    let insight = Insight::new(3);
    let over = AtomicBool::new(false);
    let mut seen = 0;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let insight = &insight;
                scope.spawn(move || {
                    let meter = insight.meter(thread);
                    for number in 0..50_000 {
                        meter.note(&asked(&meter, number));
                        // A second for every hundred requests.
                        meter.tick(u64::from(number) * 10);
                    }
                    // The reader has to take what is left.
                    let patience = Instant::now() + Duration::from_secs(20);
                    for tick in 0.. {
                        meter.tick(1_000_000 + tick * 1_000);
                        if meter.window.borrow().sums.requests() == 0 {
                            break;
                        }
                        assert!(Instant::now() < patience, "nobody takes what is left");
                        std::thread::yield_now();
                    }
                })
            })
            .collect();
        let over = &over;
        let insight = &insight;
        let reader = scope.spawn(move || {
            let mut seen = 0;
            while !over.load(Relaxed) {
                insight.collect(|window| seen += window.sums.requests());
                std::thread::yield_now();
            }
            insight.collect(|window| seen += window.sums.requests());
            seen
        });
        // The reader ends even if a thread has failed.
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        over.store(true, Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
        seen = reader.join().unwrap();
    });
    assert_eq!(seen, 150_000);
}

/// A reader that does not come costs nothing but what it would have seen sooner.
#[test]
fn a_late_reader_finds_it_all() {
    let insight = Insight::new(1);
    let meter = insight.meter(0);
    for second in 1..=100_u32 {
        meter.note(&asked(&meter, second));
        meter.tick(u64::from(second) * 1_000);
    }
    let mut seen = Vec::new();
    for second in 101..103 {
        insight.collect(|window| seen.push(window.sums.requests()));
        meter.tick(second * 1_000);
    }
    assert_eq!(seen, [1, 99]);
    // A thread that there is no exchange for counts for itself.
    let beyond = insight.meter(7);
    beyond.note(&asked(&beyond, 1));
    beyond.tick(1_000);
}

//! What one request costs before and beside its answer: the budgets of its source, and the note for the verdict.
//!
//! `cargo bench -p difusor-node --bench admission`. The tables are filled by ten million different sources first, so that
//! they are full and out of the caches, as in a flood; then visitors come whom the tables do not know by chance either. Prints
//! the median time of each part, and the memory of all of it. Rules have a place in [`verdict`]; without any, they cost nothing.

#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a bench prints, and its macros have no comments"
)]

use std::{
    hash::{BuildHasher as _, RandomState},
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use difusor_node::{
    admission::budgets::{Budgets, BudgetsConfig},
    insight::{
        Insight, Meter,
        ends::Ends,
        reader::{Memory, Reading},
        window::Asked,
    },
};

/// Sources that came before.
const BEFORE: u32 = 10_000_000;

/// Requests that one measurement goes through, so that no table has any of them in a cache.
const REQUESTS: u32 = 1 << 20;

/// A country's visitors: an odd factor spreads numbers over all addresses, each once.
fn source(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(number.wrapping_mul(2_654_435_761)))
}

struct Tables {
    budgets: Budgets,
    meter: Meter,
    keys: RandomState,
    now: Instant,
    second: u64,
}

impl Tables {
    /// The whole verdict on one request: may it be answered, what is charged for the answer, and the note of it.
    fn verdict(&self, visitor: IpAddr, path: &[u8], hash: u64) -> bool {
        // Rules of the operator come first; with none, there is nothing to look at.
        let is_in = self.budgets.ask(visitor, self.now).is_ok();
        if is_in {
            self.budgets.give(visitor, 8_000, self.now);
        }
        self.note(visitor, path, hash, if is_in { 200 } else { 429 });
        is_in
    }

    fn note(&self, visitor: IpAddr, path: &[u8], hash: u64, status: u16) {
        let visitor = self.meter.mark(visitor);
        self.meter.note(&Asked { visitor, path: Some((hash, path)), status, conditional: false, bytes: 8_000 });
    }

    /// A second is over for the thread.
    fn tick(&mut self) {
        self.second += 1;
        self.meter.tick(self.second * 1_000);
    }
}

fn admission(criterion: &mut Criterion) {
    let insight = Insight::new(1);
    let budgets = Budgets::new(&BudgetsConfig::default()).unwrap_or_else(|error| panic!("{error}"));
    let keys = insight.keys();
    let mut tables = Tables { budgets, meter: insight.meter(0), keys, now: Instant::now(), second: 1 };
    let mut memory = Memory::default();
    let mut read = |second: u64| {
        let (ends, since_flip) = (Ends::default(), Some(1.0));
        memory.read(&insight, Reading { seconds: 1.0, ends, open: 0, since_flip, now_ms: second * 1_000 });
    };
    let paths: Vec<String> = (0..1_400).map(|number| format!("/data/district-{number}.json")).collect();
    let paths: Vec<(u64, &[u8])> =
        paths.iter().map(|path| (tables.keys.hash_one(path.as_bytes()), path.as_bytes())).collect();
    let path = |number: u32| paths[usize::try_from(number).unwrap_or(0) % paths.len()];

    let started = Instant::now();
    for number in 0..BEFORE {
        let (hash, bytes) = path(number);
        tables.verdict(source(number), bytes, hash);
        if number.is_multiple_of(100_000) {
            tables.now += Duration::from_secs(1);
            tables.tick();
            read(tables.second);
        }
    }
    let each = started.elapsed().as_nanos() / u128::from(BEFORE);
    println!("{BEFORE} sources went through in {:.1} s, {each} ns each", started.elapsed().as_secs_f64());
    let (of_budgets, of_windows, of_reader) = (tables.budgets.memory(), insight.memory(), memory.memory());
    println!(
        "memory: budgets {of_budgets} bytes, windows of one thread {of_windows} bytes, reader {of_reader} bytes; \
         with eight threads {:.1} MiB in all",
        (of_budgets + 8 * of_windows + of_reader) as f64 / f64::from(1 << 20)
    );

    let mut group = criterion.benchmark_group("admission");
    group.throughput(Throughput::Elements(1));
    let mut number = BEFORE;
    let mut next = move || {
        number = BEFORE + number.wrapping_add(1) % REQUESTS;
        number
    };
    group.bench_function("empty: a visitor and a path", |bencher| {
        bencher.iter(|| {
            let number = next();
            black_box((source(number), path(number)))
        });
    });
    group.bench_function("note", |bencher| {
        bencher.iter(|| {
            let number = next();
            let (hash, bytes) = path(number);
            tables.note(source(number), bytes, hash, 200);
        });
    });
    group.bench_function("budgets: ask and give", |bencher| {
        bencher.iter(|| {
            let number = next();
            let visitor = source(number);
            let is_in = tables.budgets.ask(visitor, tables.now).is_ok();
            tables.budgets.give(visitor, 8_000, tables.now);
            black_box(is_in)
        });
    });
    group.bench_function("the whole verdict", |bencher| {
        bencher.iter(|| {
            let number = next();
            let (hash, bytes) = path(number);
            black_box(tables.verdict(source(number), bytes, hash))
        });
    });
    group.bench_function("the whole verdict, one source", |bencher| {
        let (hash, bytes) = path(0);
        bencher.iter(|| black_box(tables.verdict(source(7), bytes, hash)));
    });
    group.sample_size(10).measurement_time(Duration::from_secs(1));
    group.bench_function("a reading of ten busy seconds", |bencher| {
        bencher.iter_batched(
            || {
                let mut memory = Memory::default();
                for _ in 0..11 {
                    for number in 0..3_000 {
                        let (hash, bytes) = path(number);
                        tables.note(source(number), bytes, hash, 200);
                    }
                    tables.tick();
                    let (ends, second) = (Ends::default(), tables.second);
                    let reading = Reading { seconds: 1.0, ends, open: 0, since_flip: None, now_ms: second * 1_000 };
                    memory.read(&insight, reading);
                }
                (memory, tables.second)
            },
            |(mut memory, second)| {
                let reading =
                    Reading { seconds: 1.0, ends: Ends::default(), open: 0, since_flip: None, now_ms: second * 1_000 };
                memory.read(&insight, reading)
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = admission
}
criterion_main!(benches);

//! A night of flips and crowds, and floods of every kind over it, through the same windows and the same reader as in a
//! node. Only the clock is made: a second is a reading.

mod floods;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use super::*;
use crate::insight::{
    Insight, Meter,
    ends::Ends,
    history::History,
    reader::{Memory, Reading},
    report::Report,
    window::Asked,
};

/// From one flip to the next, seconds.
const CADENCE: u64 = 300;

/// Milliseconds at which a night begins.
const BEGINS: u64 = 1_800_000_000_000;

/// A night, second by second.
pub(super) struct Night {
    insight: Arc<Insight>,
    meter: Meter,
    memory: Memory,
    /// Seconds since its beginning, at which there is a flip.
    pub(super) at: u64,
    pub(super) ends: Ends,
    dice: u64,
    /// Every verdict that stood, and from when.
    pub(super) stood: Vec<(u64, Verdict)>,
}

impl Night {
    pub(super) fn new() -> Self {
        let insight = Insight::new(1);
        let meter = insight.meter(0);
        let stood = vec![(0, Verdict::Quiet)];
        Self { insight, meter, memory: Memory::default(), at: 0, ends: Ends::default(), dice: 0x9e37_79b9, stood }
    }

    /// A number below `most`: the same in every run.
    pub(super) fn draw(&mut self, most: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.dice >> 33) % most
    }

    /// One request, of which everything is taken.
    pub(super) fn ask(&mut self, visitor: IpAddr, path: &str, status: u16, bytes: u64) {
        self.promise(visitor, path, status, bytes);
        self.ends.handed += bytes;
    }

    /// One request, of which nothing is taken.
    pub(super) fn promise(&mut self, visitor: IpAddr, path: &str, status: u16, bytes: u64) {
        use std::hash::BuildHasher as _;
        let hash = self.insight.keys.hash_one(path.as_bytes());
        let path = (!matches!(status, 400 | 429)).then_some((hash, path.as_bytes()));
        let visitor = self.meter.mark(visitor);
        self.meter.note(&Asked { visitor, path, status, conditional: status == 304, bytes });
    }

    pub(super) fn trouble(&mut self, visitor: IpAddr) {
        self.meter.trouble(visitor);
    }

    /// Someone of a country: some hundred thousand people, in some two thousand networks.
    pub(super) fn person(&mut self) -> IpAddr {
        let number = self.draw(100_000);
        IpAddr::V4(Ipv4Addr::from(0xbe00_0000 + u32::try_from(number * 5).unwrap()))
    }

    /// Someone looks at the results: opens a connection now and then, loads a page with its parts, or polls.
    fn visit(&mut self, visitor: IpAddr) {
        if self.draw(10) < 3 {
            self.ends.opened += 1;
            self.ends.handshakes += 1;
            self.ends.closed += 1;
            for part in ["/", "/app.js", "/app.css", "/logo.svg", "/fonts/a.woff2", "/data/national.json"] {
                self.ask(visitor, part, 200, 8_000);
            }
            let page = self.draw(300);
            self.ask(visitor, &format!("/data/district-{page}.json"), 200, 20_000);
            if self.draw(20) == 0 {
                self.ask(visitor, "/favicon.ico", 404, 500);
            }
        } else {
            let status = if self.draw(3) == 0 { 200 } else { 304 };
            self.ask(visitor, "/data/national.json", status, if status == 200 { 8_000 } else { 0 });
        }
    }

    /// So many people come in this second. After a flip, a crowd of this size, which goes within two minutes.
    pub(super) fn people(&mut self, calm: u64, crowd: u64) {
        let since = self.at % CADENCE;
        let more = if since < 120 { crowd * (120 - since) / 120 } else { 0 };
        for _ in 0..calm + more {
            let person = self.person();
            self.visit(person);
        }
    }

    /// The second is over: the report of it.
    pub(super) fn second(&mut self) -> Arc<Report> {
        let now_ms = BEGINS + self.at * 1_000;
        self.meter.tick(now_ms);
        let since_flip = Some((self.at % CADENCE) as f64);
        let reading = Reading { seconds: 1.0, ends: self.ends, open: 1_000, since_flip, now_ms };
        self.memory.read(&self.insight, reading);
        self.at += 1;
        let report = self.insight.report();
        if self.stood.last().unwrap().1 != report.verdict {
            self.stood.push((self.at, report.verdict));
        }
        report
    }

    /// Half an hour or so of an evening on which everything is as it should be.
    pub(super) fn calm() -> Self {
        let mut night = Self::new();
        for _ in 0..2 * CADENCE + 200 {
            night.people(30, 0);
            night.second();
        }
        assert!(night.stood.len() == 1, "{:?}", night.stood);
        night
    }

    /// So many seconds of this, beside what is usual; the last report.
    pub(super) fn with(&mut self, seconds: u64, calm: u64, crowd: u64, mut more: impl FnMut(&mut Self)) -> Arc<Report> {
        let mut last = None;
        for _ in 0..seconds {
            self.people(calm, crowd);
            more(self);
            last = Some(self.second());
        }
        last.unwrap()
    }
}

/// Six flips, each with a crowd twenty times as large as what is usual: demand each time, never an attack, and it is over
/// before the next.
#[test]
fn a_night_of_crowds_is_demand() {
    let mut night = Night::calm();
    night.with(CADENCE - night.at % CADENCE, 30, 0, |_| {});
    let begin = night.at;
    let mut seen = Vec::new();
    for _ in 0..4 * CADENCE {
        let report = night.with(1, 30, 600, |_| {});
        if report.verdict == Verdict::Demand {
            seen.push(report);
        }
    }
    let stood: Vec<_> = night.stood.iter().filter(|(at, _)| *at > begin).collect();
    assert!(stood.iter().all(|(_, verdict)| !verdict.is_attack()), "{stood:?}");
    let demands = stood.iter().filter(|(_, verdict)| *verdict == Verdict::Demand).map(|(at, _)| (at - begin) % CADENCE);
    let demands: Vec<u64> = demands.collect();
    assert_eq!(demands.len(), 4, "{stood:?}");
    assert!(demands.iter().all(|since| *since <= 15), "it is seen within seconds of the flip: {demands:?}");
    let first = &seen[5];
    assert!(first.words.starts_with("Demand: "), "{}", first.words);
    assert!(first.words.contains("s after the flip; nobody has more than"), "{}", first.words);
    assert!(first.offenders.is_empty() && first.estimates.after_flip > 0.5, "{first:?}");
    assert!(first.estimates.top_path < 0.8, "{first:?}");
    // The people of the last flip are there again at the next.
    assert!(seen.last().unwrap().estimates.returning.unwrap() > 0.2, "{:?}", seen.last());
}

/// Thousands behind one address of a carrier: most of all requests, and still people.
#[test]
fn a_carrier_with_thousands_behind_it_is_demand() {
    let mut night = Night::calm();
    night.with(CADENCE - night.at % CADENCE, 30, 0, |_| {});
    let carrier = IpAddr::V4(Ipv4Addr::new(100, 64, 1, 1));
    let report = night.with(40, 30, 0, |night| (0..800).for_each(|_| night.visit(carrier)));
    assert_eq!(report.verdict, Verdict::Demand, "{}", report.words);
    assert!(report.words.contains("as a carrier does with many people behind it"), "{}", report.words);
    assert!(report.offenders.is_empty() && !report.words.contains("100.64"), "{}", report.words);
    assert!(report.estimates.top_source > 0.8);
    assert!(night.stood.iter().all(|(_, verdict)| !verdict.is_attack()), "{:?}", night.stood);
    // The same address, with no flip and asking for what is not there and more than it may: no carrier does that.
    let report = night.with(40, 30, 0, |night| {
        for number in 0..2_000 {
            night.ask(carrier, "/", if number % 10 == 0 { 200 } else { 429 }, 300);
        }
    });
    assert_eq!((report.verdict, &report.kinds[..]), (Verdict::Attack, &[Kind::OneSource][..]), "{}", report.words);
    assert_eq!(report.offenders[0].who, "100.64.1.1");
}

/// The same crowd on a node that has just started: nobody knows what is usual, and it says so.
#[test]
fn a_young_node_claims_nothing() {
    let mut night = Night::new();
    let report = night.with(30, 500, 0, |_| {});
    assert_eq!(report.verdict, Verdict::Quiet);
    assert!(report.words.contains("not known yet"), "{}", report.words);
}

/// Each sketch has its size, and nothing else grows with those who come. In a process of its own: other tests that run beside
/// it have memory, too.
#[test]
fn ten_million_sources_take_no_more_memory_than_ten_thousand() {
    let name = format!("{}::ten_million_sources_alone", module_path!().split_once("::").unwrap().1);
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let done = alone.args(["--exact", "--ignored", "--nocapture", &name]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    println!("{said}");
    assert!(done.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
#[ignore = "the test before it runs it"]
fn ten_million_sources_alone() {
    let mut night = Night::new();
    let mut number = 0_u32;
    let mut pour = |night: &mut Night, seconds: u32, each: u32| {
        for _ in 0..seconds {
            for _ in 0..each {
                number += 1;
                let visitor = IpAddr::V4(Ipv4Addr::from(number.wrapping_mul(2_654_435_761)));
                night.ask(visitor, if number.is_multiple_of(2) { "/" } else { "/x" }, 200, 10);
            }
            night.second();
        }
    };
    pour(&mut night, 80, 10_000);
    let resident = difusor_proto::process::resident().0;
    let before = night.memory.memory() + night.insight.memory();
    pour(&mut night, 20, 500_000);
    let after = night.memory.memory() + night.insight.memory();
    let grown = difusor_proto::process::resident().0.saturating_sub(resident);
    println!("sketches: {before} bytes before, {after} after 10,000,000 sources; the process grew by {grown}");
    assert!(after < before + (1 << 20) && after < 4 << 20, "{before}, then {after}");
    assert!(grown < 64 << 20, "{grown}");
    let estimate = night.insight.report().estimates.sources;
    assert!((estimate / 5e6 - 1.0).abs() < 0.08, "{estimate} of five millions in ten seconds");
}

/// A baseline that an attack cannot teach.
#[test]
fn what_is_usual_is_learnt_slowly_under_attack() {
    let levels = |learn| {
        let mut history = History::default();
        let mut usual = Baseline::default();
        for second in 0..400 {
            let second = super::super::history::Second::new(1.0, Ends { opened: second, ..Ends::default() }, None);
            usual = history.push(second, 0, learn).1;
        }
        usual
    };
    let (fast, slow) = (levels(1.0), levels(0.1));
    assert!((fast.seconds - 390.0).abs() < 2.0 && (slow.seconds - 39.0).abs() < 1.0, "{fast:?} {slow:?}");
}

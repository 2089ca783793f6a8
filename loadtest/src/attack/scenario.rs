//! The attacks, by name. Names are stable: CI and records speak of them.

use std::pin::Pin;
use std::rc::Rc;

use super::strike::Strike;
use super::{h1, h2, h3, slow, smuggling};

type Run = fn(Rc<Strike>) -> Pin<Box<dyn Future<Output = ()>>>;

/// An attack.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Over QUIC, which Debian's nginx does not speak.
    pub(super) quic: bool,
    pub(super) run: Run,
}

macro_rules! tcp {
    ($name:literal, $run:path, $about:literal) => {
        Scenario { name: $name, about: $about, quic: false, run: |strike| Box::pin($run(strike)) }
    };
}

macro_rules! quic {
    ($name:literal, $run:path, $about:literal) => {
        Scenario { name: $name, about: $about, quic: true, run: |strike| Box::pin($run(strike)) }
    };
}

/// All of them.
pub(super) const ALL: &[Scenario] = &[
    tcp!("slow-head", slow::head, "5000 connections whose heads never end (slowloris)"),
    tcp!("slow-body", slow::body, "5000 connections whose bodies never end"),
    tcp!("slow-read", slow::read, "2000 connections that take 16 bytes a second of the largest file"),
    tcp!("idle-tcp", slow::idle, "5000 connections that say nothing"),
    tcp!("handshake-flood", slow::handshakes, "whole TLS handshakes from 8 sources"),
    tcp!("tls-garbage", slow::garbage, "bytes that are no TLS from 8 sources"),
    tcp!("h2-rapid-reset", h2::rapid_reset, "requests that are reset at once (CVE-2023-44487)"),
    tcp!("h2-made-you-reset", h2::made_you_reset, "requests that the server is made to reset (CVE-2025-8671)"),
    tcp!("h2-continuation", h2::continuation, "heads that go on and on (CVE-2024-27316)"),
    tcp!("h2-hpack-bomb", h2::hpack_bomb, "heads that are small until they are decoded (CVE-2016-6581)"),
    tcp!("h2-settings-flood", h2::settings_flood, "SETTINGS whose answers nobody reads (CVE-2019-9515)"),
    tcp!("h2-ping-flood", h2::ping_flood, "PING whose answers nobody reads (CVE-2019-9512)"),
    tcp!("h2-zero-window", slow::zero_window, "1000 connections with 100 answers each that may not be sent"),
    tcp!("h1-smuggling", smuggling::forms, "requests whose end is ambiguous, and another behind them"),
    tcp!("h1-pipeline-flood", h1::pipeline, "a hundred requests at once on 16 connections from 4 sources"),
    tcp!("get-flood-one", h1::get_one, "a page, as fast as one source can ask"),
    tcp!("get-flood-many", h1::get_many, "a page, by 4000 sources"),
    tcp!("query-bust", h1::query, "a page with queries that nobody had before, by 16 sources"),
    tcp!("random-path", h1::paths, "paths that there are not, by 16 sources"),
    tcp!("bulk-flood-one", h1::bulk_one, "the largest file, 32 times at once by one source"),
    tcp!("bulk-flood-many", h1::bulk_many, "the largest file by 64 sources"),
    tcp!("range-flood", h1::ranges, "many overlapping ranges of the largest file, by 16 sources"),
    tcp!("large-heads", h1::large_heads, "heads of 64 kB and more"),
    quic!("quic-initial-flood", h3::initials, "Initials from 500 addresses that nobody follows up"),
    quic!("h3-rapid-reset", h3::rapid_reset, "requests that are given up at once"),
    quic!("h3-qpack", h3::qpack, "tables that should fill, references to nothing, sections that swell"),
    quic!("h3-zero-window", h3::zero_window, "500 connections with answers that may not be sent"),
];

/// The one that is called so.
pub(super) fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for scenario in ALL {
            assert_eq!(ALL.iter().filter(|other| other.name == scenario.name).count(), 1, "{}", scenario.name);
            assert_eq!(named(scenario.name).map(|found| found.about), Some(scenario.about));
        }
        assert!(named("no-such").is_none());
    }
}

//! What was measured of each cut, and the limit that it is held against.

use std::time::Duration;

use difusor_link::LinkSpec;
use difusor_local::report::CutReport;
use serde::Serialize;

use super::{Deltas, Shape};

/// A setting and its cuts.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    pub(super) shape: Shape,
    pub(super) deltas: Deltas,
    pub(super) cuts: Vec<Cut>,
}

/// One cut. Milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Cut {
    pub(super) label: String,
    pub(super) package_bytes: u64,
    /// From the last byte of the package to served by the last node.
    pub(super) served_ms: f64,
    /// What the links ask for.
    pub(super) limit_ms: f64,
    /// Bytes that came to the node that got the most.
    pub(super) received: u64,
    pub(super) phases: Phases,
    pub(super) cpu: Cpu,
}

/// Where the time went, on the node that was staged last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Phases {
    pub(super) ingest: f64,
    pub(super) delta: f64,
    pub(super) transfer: f64,
    pub(super) decoding: f64,
    pub(super) flip: f64,
}

impl Phases {
    /// Their names and values, in order.
    pub(super) fn all(self) -> [f64; 5] {
        [self.ingest, self.delta, self.transfer, self.decoding, self.flip]
    }
}

/// CPU time from the package to served everywhere, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Cpu {
    pub(super) coordinator: f64,
    /// All nodes together.
    pub(super) nodes: f64,
    /// The links, and the looking from outside.
    pub(super) links: f64,
}

impl Cpu {
    /// The least time that all of this takes on so many cores.
    pub(super) fn least(self, cores: usize) -> f64 {
        (self.coordinator + self.nodes + self.links) / cores.max(1) as f64
    }
}

impl Cut {
    /// From what the mesh reports; `links` in the order of its nodes.
    pub(super) fn new(report: &CutReport, links: &[LinkSpec], cpu: Cpu) -> Self {
        let limits = report.nodes.iter().zip(links).map(|(node, link)| limit(node.received_bytes, link));
        let last = report.nodes.iter().max_by(|a, b| a.staged_ms.total_cmp(&b.staged_ms));
        let phases = last.map(|node| {
            let ready = node.ready_ms.unwrap_or(report.ingest_ms);
            let arrived = node.arrived_ms.unwrap_or(node.staged_ms).min(node.staged_ms);
            Phases {
                ingest: report.ingest_ms,
                delta: ready - report.ingest_ms,
                transfer: arrived - ready,
                decoding: node.staged_ms - arrived,
                flip: report.served_everywhere_ms - node.staged_ms,
            }
        });
        Self {
            label: report.label.to_string(),
            package_bytes: report.package_bytes,
            served_ms: report.served_everywhere_ms,
            limit_ms: limits.max().unwrap_or_default().as_secs_f64() * 1e3,
            received: report.nodes.iter().map(|node| node.received_bytes).max().unwrap_or(0),
            phases: phases.unwrap_or_default(),
            cpu,
        }
    }
}

/// The least time for so many bytes over a link: the line, and two round trips.
fn limit(bytes: u64, link: &LinkSpec) -> Duration {
    let line = link.rate.map_or(0.0, |rate| bytes as f64 * 8.0 / rate as f64);
    Duration::from_secs_f64(line) + 4 * link.delay
}

#[cfg(test)]
mod tests {
    use difusor_local::report::NodeReport;

    use super::*;

    #[test]
    fn phases_add_up_and_the_slowest_link_is_the_limit() {
        let node = |name: &str, staged_ms, arrived_ms| NodeReport {
            node: name.parse().unwrap(),
            zone: name.parse().unwrap(),
            delta_bytes: 1,
            received_bytes: 1_250_000,
            ready_ms: Some(900.0),
            arrived_ms: Some(arrived_ms),
            staged_ms,
            flip_ms: Some(2_300.0),
            flipped_ms: 2_300.0,
            served_ms: 2_302.0,
        };
        let report = CutReport {
            seq: 2,
            label: "20240602_2000".parse().unwrap(),
            package_bytes: 40_000_000,
            plain_bytes: 1,
            entries: 1,
            ingest_ms: 400.0,
            durable_ms: None,
            served_everywhere_ms: 2_302.0,
            skew_us: 0,
            nodes: vec![node("a", 2_000.0, 1_300.0), node("b", 1_900.0, 1_200.0)],
        };
        let link = |rtt| LinkSpec::wan(50_000_000, Duration::from_millis(rtt), 0.0);
        let cut = Cut::new(&report, &[link(150), link(80)], Cpu::default());
        assert_eq!(cut.phases.all(), [400.0, 500.0, 400.0, 700.0, 302.0]);
        assert!((cut.phases.all().iter().sum::<f64>() - cut.served_ms).abs() < 1e-9);
        // 1.25 MB are 200 ms of this line.
        assert!((cut.limit_ms - 500.0).abs() < 1e-6, "{}", cut.limit_ms);
        assert_eq!(Cpu { coordinator: 1.0, nodes: 2.0, links: 1.0 }.least(2), 2.0);
    }
}

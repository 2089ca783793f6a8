//! What a run measured, as `--json` writes it. Milliseconds count from the last byte of a package at the coordinator.

use difusor_proto::{CutLabel, NodeId, Zone};
use serde::{Deserialize, Serialize};

/// A whole run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The mesh.
    pub mesh: MeshReport,
    /// Its cuts, in order.
    pub cuts: Vec<CutReport>,
    /// Memory at its highest.
    pub memory: MemoryReport,
}

/// Who took part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshReport {
    /// Names of the nodes.
    pub nodes: Vec<NodeId>,
}

/// One cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CutReport {
    /// Its number.
    pub seq: u64,
    /// Its label.
    pub label: CutLabel,
    /// Bytes of the zip.
    pub package_bytes: u64,
    /// Bytes of all files, plain.
    pub plain_bytes: u64,
    /// Files.
    pub entries: usize,
    /// Until the manifest was signed.
    pub ingest_ms: f64,
    /// Until it was on the coordinator's disk.
    pub durable_ms: Option<f64>,
    /// Until the last node served it, seen from outside.
    pub served_everywhere_ms: f64,
    /// Between the first node that flipped and the last, microseconds.
    pub skew_us: u64,
    /// Each node.
    pub nodes: Vec<NodeReport>,
}

/// One node with one cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its name.
    pub node: NodeId,
    /// Its zone.
    pub zone: Zone,
    /// Coded bytes of its delta.
    pub delta_bytes: u64,
    /// Bytes that came: manifest and blobs.
    pub received_bytes: u64,
    /// Until its delta was made.
    #[serde(default)]
    pub ready_ms: Option<f64>,
    /// Until its machine had acknowledged all of it.
    #[serde(default)]
    pub arrived_ms: Option<f64>,
    /// Until the coordinator heard that it was verified and on its disk.
    pub staged_ms: f64,
    /// Until the instant of the flip.
    #[serde(default)]
    pub flip_ms: Option<f64>,
    /// Until it flipped.
    pub flipped_ms: f64,
    /// Until it was seen over HTTPS.
    pub served_ms: f64,
}

/// Resident memory at its highest, bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// The coordinator's.
    pub coordinator_peak_rss: u64,
    /// The nodes'.
    pub nodes: Vec<NodeMemory>,
}

/// One node's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeMemory {
    /// Its name.
    pub node: NodeId,
    /// The highest it was.
    pub peak_rss: u64,
}

/// Resident memory of a process at its highest, bytes; 0 if the system does not say.
pub fn peak_rss(pid: Option<u32>) -> u64 {
    let status = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok()).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

//! What the coordinator knows of its nodes and of the last cuts, for the console, the API and the local mesh.

use std::collections::{BTreeMap, VecDeque};

use difusor_proto::{
    CutKey, NodeId, Zone,
    store::Scrubbed,
    wire::{Health, Report},
};
use serde::{Deserialize, Serialize};

/// Cuts shown with their nodes. Older ones are in the history, without.
const SHOWN: usize = 24;

/// A node that flips later than this after the instant was not ready for it.
const TOGETHER_US: u64 = 2_000_000;

/// Everything, as one document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// The cut that is served.
    pub current: Option<CutKey>,
    /// The cut that is being rolled out.
    pub target: Option<CutKey>,
    /// Serial of the last flip.
    pub serial: u64,
    /// Every enrolled node, by name.
    pub nodes: BTreeMap<NodeId, NodeView>,
    /// The last cuts, oldest first.
    pub cuts: VecDeque<CutView>,
    /// Connections and messages that were refused since start, by reason.
    pub refused: BTreeMap<String, u64>,
    /// How the reading of the archive is going, which packs are damaged, and how full the disk is.
    #[serde(default)]
    pub scrub: Scrubbed,
    /// Copies of the archive in other places.
    #[serde(default)]
    pub replicas: Vec<ReplicaView>,
    /// Resident memory of the coordinator, and the highest it was; bytes.
    pub rss: u64,
    /// The highest it was.
    pub peak_rss: u64,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its zone.
    pub zone: Zone,
    /// True while its connection is up.
    pub connected: bool,
    /// Version of its software, once it said hello.
    pub software: Option<String>,
    /// Where it serves the public.
    pub public: Vec<String>,
    /// The newest cut it has staged.
    pub staged: Option<CutKey>,
    /// The cut it serves.
    pub serves: Option<CutKey>,
    /// Its last report.
    pub report: Option<Report>,
    /// How it is, by its own word, and whom it would send no visitors to; none from nodes of an older version.
    #[serde(default)]
    pub health: Option<Health>,
    /// True if the operator wants visitors elsewhere.
    #[serde(default)]
    pub drained: bool,
}

/// Copies of the archive in one place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplicaView {
    /// Where they are.
    pub to: String,
    /// Packs that are there, and verified.
    pub held: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that are not.
    pub missing: u64,
    /// Their bytes.
    pub missing_bytes: u64,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
    /// Since when it is complete or not, and fails or not; Unix milliseconds.
    pub since_ms: u64,
}

/// One cut on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CutView {
    /// Which.
    pub cut: CutKey,
    /// Bytes of the package.
    pub package_bytes: u64,
    /// Bytes of all files, plain.
    pub plain_bytes: u64,
    /// Files.
    pub entries: usize,
    /// When the last byte of the package was here, Unix microseconds.
    pub received_us: u64,
    /// Microseconds from then until the manifest was signed.
    pub ingest_us: u64,
    /// Microseconds from then until it was on this disk.
    pub durable_us: Option<u64>,
    /// The instant of its flip, Unix microseconds.
    pub flip_at_us: Option<u64>,
    /// Between the first node that flipped and the last, microseconds, on one clock.
    pub skew_us: Option<u64>,
    /// The same, as it was seen from outside.
    #[serde(default)]
    pub seen_skew_us: Option<u64>,
    /// Each node's progress.
    pub nodes: BTreeMap<NodeId, Progress>,
}

/// How far one node is with one cut.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Coded bytes of its delta.
    pub delta_bytes: u64,
    /// Blobs in it.
    pub items: u64,
    /// Coded bytes handed to the connection so far.
    pub sent_bytes: u64,
    /// Of which other node it was told to have the cut, if of one.
    #[serde(default)]
    pub source: Option<NodeId>,
    /// Bytes that it says came.
    pub received_bytes: Option<u64>,
    /// When its delta was made, Unix microseconds of our clock.
    #[serde(default)]
    pub ready_us: Option<u64>,
    /// When its machine had acknowledged all of that; half a round trip after it came. Of the first stream, if more
    /// was asked for.
    #[serde(default)]
    pub arrived_us: Option<u64>,
    /// When it had staged, Unix microseconds of our clock.
    pub staged_us: Option<u64>,
    /// Microseconds from the head of the delta to the last fsync, by its own clock.
    #[serde(default)]
    pub staging_us: Option<u64>,
    /// When it flipped, Unix microseconds of our clock, as it measured.
    pub flipped_us: Option<u64>,
    /// When its public address was seen to serve it, Unix microseconds of our clock, and by how much that can be off.
    #[serde(default)]
    pub seen: Option<Seen>,
    /// Why that was not seen.
    #[serde(default)]
    pub unseen: Option<String>,
    /// Why it could not take the cut.
    pub refused: Option<String>,
}

/// When something changed, as seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Most likely then, Unix microseconds.
    pub at_us: u64,
    /// By so much it can be off either way, microseconds.
    pub blur_us: u64,
}

impl CutView {
    /// Between the first and the last of the nodes that did something together, microseconds: one that came late and caught
    /// up did not flip with the others.
    fn apart(&self, when: impl Fn(&Progress) -> Option<u64>) -> Option<u64> {
        let together = |at: &u64| self.flip_at_us.is_none_or(|instant| *at <= instant.saturating_add(TOGETHER_US));
        let times = || self.nodes.values().filter_map(&when).filter(together);
        times().max().zip(times().min()).map(|(last, first)| last - first)
    }
}

impl ReplicaView {
    /// Changes it. `since_ms` moves when it begins or ceases to be complete, or to fail.
    pub fn change(&mut self, now_ms: u64, change: impl FnOnce(&mut Self)) {
        let state = |seen: &Self| (seen.missing == 0, seen.last_error.is_some());
        let before = state(self);
        change(self);
        if self.since_ms == 0 || state(self) != before {
            self.since_ms = now_ms;
        }
    }
}

impl Fleet {
    /// Begins to show a cut.
    pub fn begin(&mut self, view: CutView) {
        self.cuts.push_back(view);
        while self.cuts.len() > SHOWN {
            self.cuts.pop_front();
        }
    }

    /// The newest view of a cut, if it is still shown.
    pub fn cut(&mut self, cut: &CutKey) -> Option<&mut CutView> {
        self.cuts.iter_mut().rev().find(|view| view.cut == *cut)
    }

    /// A node's progress with a cut that is still shown.
    pub fn progress(&mut self, cut: &CutKey, node: &NodeId) -> Option<&mut Progress> {
        self.cut(cut).map(|view| view.nodes.entry(node.clone()).or_default())
    }

    /// The copies at a place, from now on shown.
    pub fn replica(&mut self, to: &str) -> &mut ReplicaView {
        if !self.replicas.iter().any(|seen| seen.to == to) {
            self.replicas.push(ReplicaView { to: to.into(), ..ReplicaView::default() });
        }
        let last = self.replicas.len().saturating_sub(1);
        let at = self.replicas.iter().position(|seen| seen.to == to).unwrap_or(last);
        // It was found, or pushed.
        #[expect(clippy::indexing_slicing, reason = "there is one at least, and `at` is below their number")]
        &mut self.replicas[at]
    }

    /// Notes that a node serves a cut since `at_us`.
    pub fn flipped(&mut self, node: &NodeId, cut: &CutKey, at_us: u64) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.serves = Some(*cut);
        }
        let Some(view) = self.cut(cut) else { return };
        view.nodes.entry(node.clone()).or_default().flipped_us.get_or_insert(at_us);
        view.skew_us = view.apart(|progress| progress.flipped_us);
    }

    /// Notes that a node was seen to serve a cut.
    pub fn seen(&mut self, node: &NodeId, cut: &CutKey, seen: Seen) {
        let Some(view) = self.cut(cut) else { return };
        view.nodes.entry(node.clone()).or_default().seen.get_or_insert(seen);
        view.seen_skew_us = view.apart(|progress| Some(progress.seen?.at_us));
    }

    /// Counts a refusal.
    pub fn refuse(&mut self, reason: &str) {
        let count = self.refused.entry(reason.to_owned()).or_default();
        *count = count.saturating_add(1);
    }
}

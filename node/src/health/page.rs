//! The health of this node as anyone may read it: `/.well-known/difusor/health`, and `/health` where the site has no such
//! file.
//!
//! For balancers and for the health checks of DNS providers: 200 if visitors may be sent here, 503 if not, and why. It
//! tells nothing of other nodes.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;

use super::Health;
use crate::block::Block;

/// The answer to whoever asks.
#[derive(Debug)]
pub struct Document {
    /// 200 or 503.
    pub status: u16,
    /// Its fields, but for those of the moment.
    pub fields: Block,
    /// JSON.
    pub body: Bytes,
}

impl Document {
    /// The answer that says this.
    pub fn of(health: &Health) -> Self {
        let mut body = serde_json::to_vec(health).unwrap_or_default();
        body.push(b'\n');
        let length = body.len().to_string();
        let fields = Block::new([
            ("content-type", "application/json"),
            ("content-length", length.as_str()),
            ("access-control-allow-origin", "*"),
            ("x-content-type-options", "nosniff"),
        ]);
        Self { status: if health.is_fit() { 200 } else { 503 }, fields, body: body.into() }
    }
}

/// Where the health stands, for all threads.
#[derive(Debug)]
pub struct Board {
    health: ArcSwap<Health>,
    document: ArcSwap<Document>,
}

impl Default for Board {
    fn default() -> Self {
        let health = Health::default();
        let document = ArcSwap::from_pointee(Document::of(&health));
        Self { health: ArcSwap::from_pointee(health), document }
    }
}

impl Board {
    /// How the node is.
    pub fn health(&self) -> Arc<Health> {
        self.health.load_full()
    }

    /// The answer to whoever asks.
    pub fn document(&self) -> Arc<Document> {
        self.document.load_full()
    }

    /// Shows another health.
    pub fn show(&self, health: Health) {
        if **self.health.load() != health {
            self.document.store(Arc::new(Document::of(&health)));
            self.health.store(Arc::new(health));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Reason, *};

    #[test]
    fn whoever_may_be_sent_visitors_says_200() {
        let board = Board::default();
        assert_eq!(
            (board.document().status, &*board.document().body),
            (200, &b"{\"state\":\"ready\",\"reasons\":[]}\n"[..])
        );
        let health = Health { state: Reason::Behind.condition(), reasons: vec![Reason::Behind] };
        board.show(health.clone());
        assert_eq!((board.document().status, &*board.health()), (503, &health));
        assert_eq!(&*board.document().body, b"{\"state\":\"sick\",\"reasons\":[\"behind\"]}\n");
    }
}

//! What the rows are to reach, and whether they do.

use super::pairs::Kind;
use super::report::Row;

/// Part of the package that a next cut of a national night may take.
const PART: f64 = 0.035;

/// Times the best peer's bytes.
const HALF: f64 = 0.5;

/// Times the bytes of the same cut with its tables plain.
const NESTED: f64 = 1.3;

/// A goal with the figure that was measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Goal {
    pub(super) what: String,
    pub(super) limit: f64,
    pub(super) measured: f64,
}

impl Goal {
    pub(super) fn is_met(&self) -> bool {
        self.measured <= self.limit
    }
}

/// Every goal that the rows have figures for.
pub(super) fn of(rows: &[Row]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for row in rows {
        let Some(ours) = row.difusor.as_ref().map(|ours| ours.bytes as f64) else { continue };
        let name = &row.name;
        if matches!(row.kind, Kind::Plain | Kind::Nested) {
            let measured = ours / row.package as f64;
            goals.push(Goal { what: format!("{name}: part of the package"), limit: PART, measured });
        }
        if let Some((peer, best)) = row.best() {
            let what = format!("{name}: times the best peer, {}", peer.name());
            goals.push(Goal { what, limit: HALF, measured: ours / best as f64 });
        }
        let plain = rows.iter().find(|plain| {
            row.kind == Kind::Nested
                && plain.kind == Kind::Plain
                && name.strip_prefix("nested") == plain.name.strip_prefix("plain")
        });
        if let Some(plain) = plain.and_then(|plain| plain.difusor.as_ref()) {
            let measured = ours / plain.bytes as f64;
            goals.push(Goal { what: format!("{name}: times the plain one"), limit: NESTED, measured });
        }
    }
    goals
}

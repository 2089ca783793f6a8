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
pub(super) struct Goal<'a> {
    pub(super) row: &'a Row,
    /// What the figure is.
    pub(super) what: &'static str,
    pub(super) limit: f64,
    pub(super) measured: f64,
}

impl Goal<'_> {
    pub(super) fn is_met(&self) -> bool {
        self.measured <= self.limit
    }
}

/// Every goal that the rows have figures for.
pub(super) fn of(rows: &[Row]) -> Vec<Goal<'_>> {
    let mut goals = Vec::new();
    for row in rows {
        let Some(ours) = row.difusor.as_ref().map(|ours| ours.bytes as f64) else { continue };
        let mut goal = |what, limit, measured| goals.push(Goal { row, what, limit, measured });
        if matches!(row.kind, Kind::Plain | Kind::Nested) {
            goal("part of the package", PART, ours / row.package.max(1) as f64);
        }
        if let Some((_, best)) = row.best() {
            goal("times the best peer", HALF, ours / best.max(1) as f64);
        }
        let is_plain = |other: &&Row| {
            other.kind == Kind::Plain && other.name.strip_prefix("plain") == row.name.strip_prefix("nested")
        };
        let plain = rows.iter().find(is_plain).filter(|_| row.kind == Kind::Nested);
        if let Some(plain) = plain.and_then(|plain| plain.difusor.as_ref()) {
            goal("times the plain one", NESTED, ours / plain.bytes.max(1) as f64);
        }
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::row;
    use super::*;

    #[test]
    fn what_is_met_and_what_is_missed() {
        let rows = [
            row("plain, peak", Kind::Plain, 3_000, 5_000),
            row("nested, peak", Kind::Nested, 3_600, 90_000),
            row("nested, late", Kind::Nested, 3_000, 6_000),
            row("rows shuffled", Kind::Shuffled, 30_000, 60_001),
        ];
        let goals = of(&rows);
        let told: Vec<_> = goals.iter().map(|goal| (goal.row.name.as_str(), goal.what, goal.is_met())).collect();
        let expected = [
            ("plain, peak", "part of the package", true),
            ("plain, peak", "times the best peer", false),
            ("nested, peak", "part of the package", false),
            ("nested, peak", "times the best peer", true),
            ("nested, peak", "times the plain one", true),
            ("nested, late", "part of the package", true),
            ("nested, late", "times the best peer", true),
            ("rows shuffled", "times the best peer", true),
        ];
        assert_eq!(told, expected);
    }
}

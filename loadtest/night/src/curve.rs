//! When tally sheets arrive: an S-curve over the night.
//!
//! Of most sheets, the share that has arrived at the point `x` of the night (0 start, 1 end) is `1 - (1 - x^2)^8`: slow
//! at first, steepest near a quarter. The others, from far away, come evenly until the end. The inverse needs square
//! roots alone, which every machine computes alike; `powf` would not be so.

/// Part of the night that lies before the first cut.
const LEAD: f64 = 0.04;

/// Share of the sheets that never arrive.
const LOST: f64 = 0.015;

/// Share of the sheets that come from far away, and the point of the night from which on they do.
const FAR: f64 = 0.16;
const FAR_FROM: f64 = 0.25;

/// The second, counted from the first cut of a night that lasts `span` seconds, at which the sheet that drew `chance`
/// (in `[0, 1)`) is published. Negative: before the first cut. `None`: never.
pub(crate) fn arrival(chance: f64, span: i64) -> Option<i64> {
    if chance >= 1.0 - LOST {
        return None;
    }
    let share = chance / (1.0 - LOST);
    let point = if share < FAR {
        FAR_FROM + (1.0 - FAR_FROM) * (share / FAR)
    } else {
        let near = (share - FAR) / (1.0 - FAR);
        (1.0 - (1.0 - near).sqrt().sqrt().sqrt()).sqrt()
    };
    let seconds = ((LEAD + 1.0) * point - LEAD) * span as f64;
    #[expect(clippy::cast_possible_truncation, reason = "|seconds| is at most the span, and `as` saturates")]
    Some(seconds.floor() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share_at(second: i64) -> f64 {
        let draws = 10_000;
        let arrived = (0..draws).filter(|k| {
            let chance = (f64::from(*k) + 0.5) / f64::from(draws);
            arrival(chance, 1_000).is_some_and(|at| at <= second)
        });
        arrived.count() as f64 / f64::from(draws)
    }

    #[test]
    fn arrives_along_an_s() {
        let [first, early, quarter, middle, last] = [0, 100, 250, 500, 1_000].map(share_at);
        assert!((0.005..0.03).contains(&first), "{first}");
        assert!((0.08..0.20).contains(&early), "{early}");
        assert!((0.35..0.50).contains(&quarter), "{quarter}");
        assert!((0.80..0.88).contains(&middle), "{middle}");
        assert!((last - (1.0 - LOST)).abs() < 0.001, "{last}");
    }
}

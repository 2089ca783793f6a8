//! The fields of answers that depend on the time: `Date`, and how long caches may keep what they get.
//!
//! Made anew once a second for each thread, not for each request. Lifetimes of results follow from the cuts that came so
//! far: long after a cut, short when the next one is due. They vary a little from connection to connection, so that the
//! caches of a country do not all come back in the same second (RFC 9111 section 4.2 leaves the lifetime to the origin).

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};

use crate::{block::Block, policy::Fresh};

/// How many lifetimes there are to vary between.
const VARIANTS: u64 = 8;

/// How long an address that nothing is at may be taken for that. The next cut may bring something; but a flood of such
/// requests is worth keeping the answer for a moment.
const MISSING: &str = "public, max-age=5";

/// How caches may treat an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Until about the next cut.
    Results,
    /// For ever: the name changes with the bytes (RFC 8246).
    Hashed,
    /// Keep, and ask each time: proofs.
    Proof,
    /// For a moment: there is nothing.
    Missing,
    /// Not at all: errors.
    Never,
}

/// When cuts were flipped to, as far as it is known.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// Since the last flip.
    pub since: Duration,
    /// The usual time from flip to flip; `None` before there were two.
    pub interval: Option<Duration>,
}

impl Cadence {
    /// From the times of the last flips, oldest first, and the time now, all Unix milliseconds.
    ///
    /// The middle one of the gaps: neither a re-issue at once nor a pause of hours says much about the next.
    pub fn of(flips: &[u64], now: u64) -> Self {
        let mut gaps: Vec<u64> = flips.windows(2).filter_map(|pair| pair.last()?.checked_sub(*pair.first()?)).collect();
        gaps.sort_unstable();
        let since = flips.last().map_or(0, |last| now.saturating_sub(*last));
        let interval = gaps.get(gaps.len() / 2).map(|gap| Duration::from_millis(*gap));
        Self { since: Duration::from_millis(since), interval }
    }
}

/// The lifetime of results: half of the time until the next cut is expected, within bounds.
///
/// Half, because what arrives just before its end is on average used for another half of it.
pub fn lifetime(cadence: &Cadence, fresh: &Fresh) -> Duration {
    let left = match cadence.interval {
        Some(interval) => interval.saturating_sub(cadence.since),
        None => fresh.most.0,
    };
    (left / 2).clamp(fresh.least.0, fresh.most.0)
}

/// The fields for one second.
#[derive(Debug)]
pub struct Tick {
    /// Unix milliseconds.
    pub now: u64,
    results: Vec<Block>,
    hashed: Block,
    proof: Block,
    missing: Block,
    never: Block,
}

impl Tick {
    /// The fields at `now`, Unix milliseconds.
    pub fn new(now: u64, cadence: &Cadence, fresh: &Fresh) -> Self {
        let date = http_date(now);
        let block = |cache: &str| Block::new([("date", date.as_str()), ("cache-control", cache)]);
        let life = lifetime(cadence, fresh).as_millis();
        let revalidate = fresh.while_revalidate.0.as_secs();
        let error = fresh.if_error.0.as_secs();
        let results = (0..VARIANTS).map(|variant| {
            // From four fifths of it to the whole, within the bounds.
            let part = u128::from(80 + 20 * variant / (VARIANTS - 1).max(1));
            let seconds = (life * part / 100_000).max(u128::from(fresh.least.0.as_secs())).max(1);
            block(&format!("public, max-age={seconds}, stale-while-revalidate={revalidate}, stale-if-error={error}"))
        });
        Self {
            now,
            results: results.collect(),
            hashed: block("public, max-age=31536000, immutable"),
            proof: block("no-cache"),
            missing: block(MISSING),
            never: block("no-store"),
        }
    }

    /// The fields of an answer of this class; `seed` decides between the lifetimes.
    pub fn block(&self, class: Class, seed: u64) -> &Block {
        match class {
            Class::Results => {
                let variant = usize::try_from(seed % VARIANTS).unwrap_or_default();
                self.results.get(variant).unwrap_or(&self.never)
            }
            Class::Hashed => &self.hashed,
            Class::Proof => &self.proof,
            Class::Missing => &self.missing,
            Class::Never => &self.never,
        }
    }
}

/// A date as HTTP writes it (RFC 9110 section 5.6.7), from Unix milliseconds.
pub fn http_date(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 GMT".into())
}

/// What class a file's name makes it; only scripts, styles, fonts and images are told apart by their names, since data
/// may carry digits that only look like a hash.
pub(crate) fn class(path: &str, media: &str) -> Class {
    let is_asset = matches!(media, "text/css" | "text/javascript" | "application/wasm")
        || media.starts_with("font/")
        || media.starts_with("image/");
    let name = path.rsplit('/').next().unwrap_or_default();
    if is_asset && name.split(['.', '-', '_']).any(is_hash) { Class::Hashed } else { Class::Results }
}

/// What build tools put into names: eight characters or more, digits and letters of hex both, or sixteen of either.
fn is_hash(part: &str) -> bool {
    let is_hex = part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let both = part.bytes().any(|byte| byte.is_ascii_digit()) && part.bytes().any(|byte| byte.is_ascii_lowercase());
    is_hex && part.len() >= 8 && (both || part.len() >= 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    #[test]
    fn cadence_is_the_middle_gap() {
        assert_eq!(Cadence::of(&[], 5), Cadence::default());
        assert_eq!(Cadence::of(&[10], 15), Cadence { since: Duration::from_millis(5), interval: None });
        let flips = [0, 4 * MINUTE, 9 * MINUTE, 9 * MINUTE + 1000, 100 * MINUTE];
        let cadence = Cadence::of(&flips, 101 * MINUTE);
        assert_eq!(cadence, Cadence { since: Duration::from_secs(60), interval: Some(Duration::from_secs(300)) });
        // A clock that went back.
        assert_eq!(Cadence::of(&[10, 5], 0), Cadence::default());
    }

    #[test]
    fn lifetimes_shrink_towards_the_next_cut() {
        let fresh = Fresh::default();
        let life = |since| {
            let interval = Some(Duration::from_secs(240));
            lifetime(&Cadence { since: Duration::from_secs(since), interval }, &fresh).as_secs()
        };
        assert_eq!([0, 179, 200, 220, 239, 240, 10_000].map(life), [30, 30, 20, 10, 5, 5, 5]);
        assert_eq!(lifetime(&Cadence::default(), &fresh).as_secs(), 15);
    }

    #[test]
    fn every_class_has_its_fields() {
        let tick = Tick::new(1_623_030_000_123, &Cadence::default(), &Fresh::default());
        let cache = |class, seed| {
            let fields: Vec<_> = tick.block(class, seed).fields().collect();
            assert_eq!(fields[0], ("date", "Mon, 07 Jun 2021 01:40:00 GMT"));
            fields[1].1.to_owned()
        };
        assert_eq!(cache(Class::Results, 7), "public, max-age=15, stale-while-revalidate=15, stale-if-error=86400");
        assert!(cache(Class::Results, 8).contains("max-age=12,"));
        assert_eq!(cache(Class::Hashed, 0), "public, max-age=31536000, immutable");
        assert_eq!(cache(Class::Proof, 0), "no-cache");
        assert_eq!(cache(Class::Missing, 0), "public, max-age=5");
        assert_eq!(cache(Class::Never, 0), "no-store");
    }

    #[test]
    fn hashed_names() {
        for (path, media, hashed) in [
            ("main.0a1b2c3d4e5f6a7b.js", "text/javascript", true),
            ("assets/styles-1f2e3d4c.css", "text/css", true),
            ("fonts/roboto.deadbeefdeadbeef.woff2", "font/woff2", true),
            ("main.js", "text/javascript", false),
            ("jquery-3.6.0.min.js", "text/javascript", false),
            ("foto_20210606.png", "image/png", false),
            ("deadbeef.js", "text/javascript", false),
            ("data.0a1b2c3d4e5f6a7b.json", "application/json", false),
            ("0a1b2c3d4e5f6a7b/main.js", "text/javascript", false),
        ] {
            assert_eq!(class(path, media) == Class::Hashed, hashed, "{path}");
        }
    }
}

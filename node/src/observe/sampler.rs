//! Which requests are looked at more closely.
//!
//! One step of a small generator for each request, of the worker's own: no clock, no lock, nothing shared. Requests
//! that failed are logged beyond the sample, but no more than so many a second: whoever makes errors on purpose must
//! not fill a disk with them.

use std::time::Instant;

use serde::Deserialize;

use super::access::{AccessConfig, Destination};

/// Of so many requests one is timed, whether or not it is logged.
const TIMED: Share = Share(ALL.0 / 64);

const ALL: Share = Share(1 << 32);

/// A part of all requests, from none to all. In a configuration, a number from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "f64")]
pub struct Share(u64);

/// A number that is no share.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{0} is no share: write a number from 0 (none) to 1 (all)")]
pub struct ShareError(f64);

impl Share {
    /// No request.
    pub const NONE: Self = Self(0);

    /// One in a hundred.
    pub const HUNDREDTH: Self = Self((ALL.0 + 50) / 100);
}

impl TryFrom<f64> for Share {
    type Error = ShareError;

    fn try_from(share: f64) -> Result<Self, ShareError> {
        if !(0.0..=1.0).contains(&share) {
            return Err(ShareError(share));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded just above")]
        let share = (share * ALL.0 as f64).round() as u64;
        Ok(Self(share))
    }
}

/// What fell to a request before it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Take the time, and tell it to [`super::Tally::head_took`].
    pub timed: bool,
    /// It goes into the log, so it is timed, too.
    logged: bool,
}

/// Decides for one worker.
#[derive(Debug)]
pub struct Sampler {
    state: u64,
    share: Share,
    errors: Errors,
}

impl Sampler {
    /// For one of so many workers. Workers with different seeds decide independently.
    pub fn new(config: &AccessConfig, workers: usize, seed: u64) -> Self {
        let (share, errors) = match config.to {
            Destination::Off => (Share::NONE, 0),
            _ => (config.sample, config.errors),
        };
        let rate = f64::from(errors) / workers.max(1) as f64;
        // A worker may log one error at least, however small its part is.
        let room = if errors == 0 { 0.0 } else { rate.max(1.0) };
        Self { state: seed, share, errors: Errors { rate, room, left: room, counted: None } }
    }

    /// For every request, as early as it is known.
    pub fn draw(&mut self) -> Draw {
        // SplitMix64 (Steele, Lea, Flood 2014); the upper half, which is the better one.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = (z ^ (z >> 31)) >> 32;
        let logged = drawn < self.share.0;
        Draw { timed: logged || drawn < TIMED.0, logged }
    }

    /// True if a request that was answered goes into the log. The clock is only asked for failures.
    pub fn wants(&mut self, draw: Draw, status: u16, now: impl FnOnce() -> Instant) -> bool {
        draw.logged || (status >= 400 && self.errors.room > 0.0 && self.errors.take(now()))
    }
}

/// A bucket of records of failures that refills with time.
#[derive(Debug)]
struct Errors {
    /// A second.
    rate: f64,
    room: f64,
    left: f64,
    counted: Option<Instant>,
}

impl Errors {
    fn take(&mut self, now: Instant) -> bool {
        let since = self.counted.replace(now).map(|counted| now.saturating_duration_since(counted));
        self.left = (self.left + since.unwrap_or_default().as_secs_f64() * self.rate).min(self.room);
        let some = self.left >= 1.0;
        if some {
            self.left -= 1.0;
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sampler(sample: f64, errors: u32, workers: usize) -> Sampler {
        let sample = Share::try_from(sample).unwrap();
        Sampler::new(&AccessConfig { to: Destination::Stdout, sample, errors, ..Default::default() }, workers, 7)
    }

    #[test]
    fn shares_are_kept() {
        assert_eq!(Share::try_from(0.01), Ok(Share::HUNDREDTH));
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Share::try_from(wrong).unwrap_err().to_string().contains("from 0 (none) to 1 (all)"));
        }
        for (share, least, most) in [(0.0, 0, 0), (0.01, 850, 1150), (0.5, 49_000, 51_000), (1.0, 100_000, 100_000)] {
            let mut sampler = sampler(share, 0, 1);
            let draws: Vec<Draw> = (0..100_000).map(|_| sampler.draw()).collect();
            let logged = draws.iter().filter(|draw| draw.logged).count();
            let timed = draws.iter().filter(|draw| draw.timed).count();
            assert!((least..=most).contains(&logged), "{share}: {logged}");
            assert!(timed >= logged.max(1350), "{share}: {timed}");
            assert!(draws.iter().all(|draw| draw.timed || !draw.logged));
        }
    }

    #[test]
    fn failures_are_logged_at_a_rate() {
        let mut sampler = sampler(0.0, 10, 2);
        let start = Instant::now();
        let mut wants = |status: u16, ms: u64| {
            let draw = sampler.draw();
            sampler.wants(draw, status, || start + Duration::from_millis(ms))
        };
        assert!(!wants(200, 0) && !wants(304, 0));
        assert_eq!((0..100).filter(|_| wants(404, 0)).count(), 5);
        assert!(!wants(500, 199));
        assert!(wants(500, 400));
        assert_eq!((0..100).filter(|_| wants(503, 3_600_000)).count(), 5);
        // Time that goes back gives nothing.
        assert!(!wants(500, 0));
    }

    #[test]
    fn without_a_log_only_times_are_taken() {
        let config = AccessConfig { to: Destination::Off, sample: ALL, errors: 100, ..Default::default() };
        let mut sampler = Sampler::new(&config, 1, 0);
        let draws: Vec<Draw> = (0..1000).map(|_| sampler.draw()).collect();
        assert!(draws.iter().any(|draw| draw.timed));
        for draw in draws {
            assert!(!sampler.wants(draw, 503, || panic!("no need for the time")));
        }
    }

    #[test]
    fn many_workers_still_log_some_failures() {
        let mut sampler = sampler(0.0, 1, 64);
        let draw = Draw { timed: false, logged: false };
        assert!(sampler.wants(draw, 404, Instant::now));
    }
}

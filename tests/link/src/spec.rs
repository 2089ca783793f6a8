//! What a link is like.

use std::time::Duration;

/// Bytes of IPv4 and UDP headers, which take their share of the line as on a real one.
pub const HEADER: u64 = 28;

/// Bytes under way in one direction at most, queue and delay together.
pub const MAX_BACKLOG: u64 = 256 << 20;

/// Room for one burst of a sender with segmentation offload: a shorter queue would drop half of every burst.
const LEAST_QUEUE: u64 = 64 << 10;

/// One path, alike in both directions. The default is a perfect one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LinkSpec {
    /// Bits a second in each direction, headers included; `None` is unlimited.
    pub rate: Option<u64>,
    /// Time from the end of the queue to the other side: half a round trip.
    pub delay: Duration,
    /// Probability, 0 to 1, that a datagram is lost in one direction.
    pub loss: f64,
    /// Bytes that wait at most, in each direction, before new ones are dropped; `None` is one bandwidth-delay product.
    pub queue: Option<u64>,
    /// Chooses which datagrams are lost.
    pub seed: u64,
}

impl LinkSpec {
    /// A wide-area path: bits a second, round trip, probability of loss in each direction.
    pub fn wan(rate: u64, round_trip: Duration, loss: f64) -> Self {
        Self { rate: Some(rate), delay: round_trip / 2, loss, ..Self::default() }
    }

    /// Bytes that may wait; `None` if there is no rate, so nothing ever waits.
    pub fn queue_bytes(&self) -> Option<u64> {
        let rate = self.rate?;
        let product = u128::from(rate).saturating_mul(2 * self.delay.as_nanos()) / 8 / NANOS;
        Some(self.queue.unwrap_or(u64::try_from(product).unwrap_or(u64::MAX).max(LEAST_QUEUE)).min(MAX_BACKLOG))
    }

    /// How long a datagram with `bytes` of payload takes the line.
    pub(crate) fn line_time(&self, bytes: u64) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let nanos = u128::from(bytes + HEADER) * 8 * NANOS / u128::from(rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(LONGEST)
    }

    /// Bytes the line carries in `time`.
    pub(crate) fn line_bytes(&self, time: Duration) -> u64 {
        let bits = u128::from(self.rate.unwrap_or(0)) * time.as_nanos() / NANOS;
        u64::try_from(bits / 8).unwrap_or(u64::MAX)
    }
}

const NANOS: u128 = 1_000_000_000;

/// Keeps sums of instants representable on a line of almost no rate.
const LONGEST: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues() {
        let wan = LinkSpec::wan(50_000_000, Duration::from_millis(150), 0.0);
        assert_eq!(wan.queue_bytes(), Some(937_500));
        assert_eq!(LinkSpec { queue: Some(9), ..wan.clone() }.queue_bytes(), Some(9));
        assert_eq!(LinkSpec { delay: Duration::ZERO, ..wan }.queue_bytes(), Some(LEAST_QUEUE));
        assert_eq!(LinkSpec::default().queue_bytes(), None);
    }

    #[test]
    fn time_on_the_line() {
        let spec = LinkSpec::wan(8_000_000, Duration::ZERO, 0.0);
        assert_eq!(spec.line_time(1_000 - HEADER), Duration::from_millis(1));
        assert_eq!(spec.line_bytes(Duration::from_millis(1)), 1_000);
        assert_eq!(LinkSpec::default().line_time(1_000), Duration::ZERO);
        assert_eq!(LinkSpec { rate: Some(0), ..LinkSpec::default() }.line_time(1_000), LONGEST);
    }
}

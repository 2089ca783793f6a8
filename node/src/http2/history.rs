//! Which streams there were: enough to tell a late frame from a wrong one, in a few words whatever the client does.
//!
//! RFC 9113 section 5.1 wants frames on a stream ignored that this side reset, and the connection ended for frames on
//! one that both sides closed. Neither keeps a stream alive; two bits for each of the last streams do.

/// The last streams of a connection.
#[derive(Debug, Default)]
pub(super) struct History {
    last: u32,
    /// Bit n is the stream n before the last: opened, or skipped.
    opened: u128,
    /// Reset by this side while the client may still have been sending on it.
    cut: u128,
}

/// What a stream is that is not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    /// It has not been opened yet.
    Idle,
    /// Never opened, though a later one was.
    Skipped,
    /// Closed by both sides, or by the client.
    Closed,
    /// Reset by this side, or so old that nobody knows.
    Cut,
}

impl History {
    /// The last stream that was opened; 0 before the first.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// A client's stream with an id above the last is opened.
    pub(super) fn open(&mut self, id: u32) {
        let steps = id.saturating_sub(self.last).div_ceil(2);
        self.opened = self.opened.checked_shl(steps).unwrap_or(0) | 1;
        self.cut = self.cut.checked_shl(steps).unwrap_or(0);
        self.last = id;
    }

    /// This side resets a stream.
    pub(super) fn cut(&mut self, id: u32) {
        self.cut |= self.bit(id);
    }

    /// The client resets a stream: nothing can be late on it.
    pub(super) fn closed(&mut self, id: u32) {
        self.cut &= !self.bit(id);
    }

    /// What `id` is, which is not open.
    pub(super) fn of(&self, id: u32) -> Past {
        let bit = self.bit(id);
        match () {
            () if id > self.last || id.is_multiple_of(2) => Past::Idle,
            () if bit == 0 || self.cut & bit != 0 => Past::Cut,
            () if self.opened & bit != 0 => Past::Closed,
            () => Past::Skipped,
        }
    }

    /// The bit of a stream; none if it is too old.
    fn bit(&self, id: u32) -> u128 {
        1_u128.checked_shl(self.last.saturating_sub(id) / 2).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_known_as_far_as_it_is_kept() {
        let mut history = History::default();
        assert_eq!(history.of(1), Past::Idle);
        history.open(1);
        history.open(7);
        history.cut(1);
        for (id, past) in [
            (0, Past::Idle),
            (1, Past::Cut),
            (2, Past::Idle),
            (3, Past::Skipped),
            (5, Past::Skipped),
            (7, Past::Closed),
            (9, Past::Idle),
        ] {
            assert_eq!(history.of(id), past, "{id}");
        }
        history.closed(1);
        assert_eq!(history.of(1), Past::Closed);
        history.open(7 + 2 * 127);
        assert_eq!((history.of(7), history.of(5), history.of(9)), (Past::Closed, Past::Cut, Past::Skipped));
        history.open(0x7fff_ffff);
        assert_eq!((history.of(7), history.last()), (Past::Cut, 0x7fff_ffff));
    }
}

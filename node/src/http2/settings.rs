//! Settings: what this side says, and what the client may say (RFC 9113 section 6.5).

use super::frame::{Code, PAYLOAD, WINDOW, WINDOW_MAX};

/// What the table for a client's fields may be: the size before anyone says otherwise, so that it needs not be said.
pub(super) const TABLE: usize = 4096;

mod id {
    pub(super) const HEADER_TABLE_SIZE: u16 = 1;
    pub(super) const ENABLE_PUSH: u16 = 2;
    pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(super) const MAX_FRAME_SIZE: u16 = 5;
    pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;
    /// RFC 9218 section 2.1.
    pub(super) const NO_RFC7540_PRIORITIES: u16 = 9;
}

/// The payload of this side's frame.
pub(super) fn own(streams: u32, list: u32) -> Vec<u8> {
    let settings =
        [(id::MAX_CONCURRENT_STREAMS, streams), (id::MAX_HEADER_LIST_SIZE, list), (id::NO_RFC7540_PRIORITIES, 1)];
    settings.iter().flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes())).collect()
}

/// What matters of the client's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// The window of each stream at its beginning.
    pub(super) window: i64,
    /// The largest payload that it reads.
    pub(super) payload: usize,
    /// True if its table for fields is smaller than it was, which the next block must acknowledge (RFC 7541
    /// section 4.2).
    pub(super) small_table: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { window: WINDOW, payload: PAYLOAD, small_table: false }
    }
}

impl Settings {
    /// Applies the payload of a frame, in order.
    ///
    /// # Errors
    ///
    /// The code of the error of the connection, if a value is none.
    pub(super) fn apply(&mut self, payload: &[u8]) -> Result<(), Code> {
        let (settings, []) = payload.as_chunks::<6>() else { return Err(Code::FrameSize) };
        for &[a, b, c, d, e, f] in settings {
            let value = u32::from_be_bytes([c, d, e, f]);
            match u16::from_be_bytes([a, b]) {
                id::HEADER_TABLE_SIZE => self.small_table |= (value as usize) < TABLE,
                id::ENABLE_PUSH | id::NO_RFC7540_PRIORITIES if value > 1 => return Err(Code::Protocol),
                id::INITIAL_WINDOW_SIZE if i64::from(value) > WINDOW_MAX => return Err(Code::FlowControl),
                id::INITIAL_WINDOW_SIZE => self.window = i64::from(value),
                id::MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => return Err(Code::Protocol),
                id::MAX_FRAME_SIZE => self.payload = value as usize,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked() {
        for (id, value, result) in [
            (1, 4096, Ok(Settings::default())),
            (1, 0, Ok(Settings { small_table: true, ..Settings::default() })),
            (2, 1, Ok(Settings::default())),
            (2, 2, Err(Code::Protocol)),
            (3, 0, Ok(Settings::default())),
            (4, 0x7fff_ffff, Ok(Settings { window: WINDOW_MAX, ..Settings::default() })),
            (4, 0x8000_0000, Err(Code::FlowControl)),
            (5, 16_383, Err(Code::Protocol)),
            (5, 16_384, Ok(Settings::default())),
            (5, 16_777_215, Ok(Settings { payload: 16_777_215, ..Settings::default() })),
            (5, 16_777_216, Err(Code::Protocol)),
            (9, 2, Err(Code::Protocol)),
            (0xff, u32::MAX, Ok(Settings::default())),
        ] {
            let payload = [&u16::to_be_bytes(id)[..], &u32::to_be_bytes(value)].concat();
            let mut settings = Settings::default();
            assert_eq!(settings.apply(&payload).map(|()| settings), result, "{id} = {value}");
            assert_eq!(settings.apply(&payload[1..]), Err(Code::FrameSize));
        }
    }
}

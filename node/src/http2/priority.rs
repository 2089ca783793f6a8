//! What a client says about when it needs an answer (RFC 9218).
//!
//! The dictionary is read leniently: a member that is not known, or out of its range, says nothing (RFC 9218
//! section 4). What is no dictionary at all says nothing either.

use crate::body::{USUAL, Urgency};

/// The last urgency (RFC 9218 section 4.1).
const LEAST: Urgency = 7;

/// How many urgencies there are.
pub(super) const LEVELS: usize = LEAST as usize + 1;

/// How soon, and whether a part is of use before the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Priority {
    /// 0 first, 7 last.
    pub(super) urgency: Urgency,
    /// True if answers shall share the line.
    pub(super) incremental: bool,
}

impl Priority {
    /// This urgency, or the last one.
    pub(super) fn usual(urgency: Urgency) -> Self {
        Self { urgency: urgency.min(LEAST), incremental: false }
    }

    /// The value of a field or of PRIORITY_UPDATE. What is not said is as RFC 9218 section 4 has it.
    pub(super) fn parse(value: &[u8]) -> Self {
        let mut priority = Self::usual(USUAL);
        for member in value.split(|&byte| byte == b',') {
            // Parameters of a member say nothing here.
            let member = member.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
            match member {
                [b'u', b'=', digit @ b'0'..=b'7'] => priority.urgency = digit - b'0',
                b"i" | b"i=?1" => priority.incremental = true,
                b"i=?0" => priority.incremental = false,
                _ => {}
            }
        }
        priority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionaries_are_read_leniently() {
        for (value, urgency, incremental) in [
            ("", 3, false),
            ("u=0", 0, false),
            ("u=7, i", 7, true),
            ("i", 3, true),
            ("i=?1,u=5", 5, true),
            (" u=1 ;a=b ,\ti=?1;c", 1, true),
            ("i, i=?0", 3, false),
            ("u=1, u=2", 2, false),
            ("u=8", 3, false),
            ("u=-1", 3, false),
            ("u=1.5", 3, false),
            ("U=1, i=1, x=\"u=2\"", 3, false),
            (",,;;==", 3, false),
        ] {
            assert_eq!(Priority::parse(value.as_bytes()), Priority { urgency, incremental }, "{value}");
        }
    }
}

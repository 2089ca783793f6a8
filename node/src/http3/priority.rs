//! How soon an answer is needed (RFC 9218): what the client says, else what the answer says of itself.
//!
//! Only the urgency counts. Answers of the same urgency share the connection evenly, whether they are `i` or not.

use crate::{
    body::{USUAL, Urgency},
    head::Lines,
};

/// The urgency in the `priority` field of a request; `None` if it says none, or says it wrongly (RFC 9218 section 4.1:
/// what is out of range is ignored). The last one counts (RFC 8941 section 3.2).
pub(super) fn asked(lines: &Lines<'_>) -> Option<Urgency> {
    let members = lines.iter().flat_map(|line| line.split(|byte| *byte == b','));
    let urgencies = members.filter_map(|member| {
        let item = member.split(|byte| *byte == b';').next()?.trim_ascii();
        item.strip_prefix(b"u=")
    });
    match urgencies.last()? {
        [digit @ b'0'..=b'7'] => Some(digit - b'0'),
        _ => None,
    }
}

/// The order of sending in QUIC: more is sooner, and 0 is what streams have anyway.
pub(super) fn order(urgency: Urgency) -> i32 {
    i32::from(USUAL) - i32::from(urgency)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&'static str]) -> Option<Urgency> {
        let mut all = Lines::default();
        lines.iter().for_each(|line| all.push(line.as_bytes()));
        asked(&all)
    }

    #[test]
    fn urgency_is_read_as_browsers_write_it() {
        assert_eq!(said(&["u=1, i"]), Some(1));
        assert_eq!(said(&["i, u=5"]), Some(5));
        assert_eq!(said(&["u=0;x=1"]), Some(0));
        assert_eq!(said(&["u=1", "u=2"]), Some(2));
        assert_eq!(said(&["i"]), None);
        assert_eq!(said(&[]), None);
    }

    #[test]
    fn what_is_no_urgency_is_ignored() {
        for wrong in ["u=8", "u=-1", "u", "u=", "u=1.0", "U=1", "u = 1", "\u{0}"] {
            assert_eq!(said(&[wrong]), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_urgent_is_sent_first() {
        assert!(order(0) > order(1) && order(USUAL) == 0 && order(7) < order(USUAL));
    }
}

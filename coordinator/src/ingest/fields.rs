//! Numbers of zip structures: little-endian, at a place that may lie outside the bytes (APPNOTE 6.3.10, section 4).

/// Signature of a local header.
pub(super) const LOCAL: &[u8; 4] = b"PK\x03\x04";
/// Signature of a record of the central directory.
pub(super) const RECORD: &[u8; 4] = b"PK\x01\x02";
/// Signature of the end record.
pub(super) const END: &[u8; 4] = b"PK\x05\x06";

/// `len` bytes from `at`; `None` if they are not all there.
pub(super) fn slice(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

/// True if `bytes` has `signature` at `at`.
pub(super) fn has(bytes: &[u8], at: usize, signature: &[u8; 4]) -> bool {
    array(bytes, at).as_ref() == Some(signature)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    slice(bytes, at, N)?.try_into().ok()
}

/// Two bytes.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// Four bytes.
pub(super) fn long(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// Eight bytes.
pub(super) fn quad(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// The body of the first extra field of this kind (section 4.5.1); `None` if there is none or the fields do not add up.
pub(super) fn extra(fields: &[u8], kind: u16) -> Option<&[u8]> {
    let mut at = 0_usize;
    loop {
        let len = usize::from(word(fields, at.checked_add(2)?)?);
        let body = slice(fields, at.checked_add(4)?, len)?;
        if word(fields, at)? == kind {
            return Some(body);
        }
        at = at.checked_add(4 + len)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_outside() {
        assert_eq!(word(b"\x01\x02\x03", 1), Some(0x0302));
        assert_eq!(long(b"\x01\x02\x03", 0), None);
        assert_eq!(quad(b"", usize::MAX), None);
        assert!(!has(END, 1, END));
    }

    #[test]
    fn extra_fields_are_found_by_kind() {
        let fields = b"\x07\x00\x01\x00x\x01\x00\x02\x00yz";
        assert_eq!(extra(fields, 1), Some(&b"yz"[..]));
        assert_eq!(extra(fields, 2), None);
        assert_eq!(extra(b"\x01\x00\xff\xff", 1), None);
    }
}

//! Writes numbers, hexadecimal and percentages into byte buffers, without going through the formatter.

/// Appends `number` in decimal, with at least `width` digits.
pub(crate) fn push_padded(out: &mut Vec<u8>, mut number: u64, width: usize) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 && used >= width {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// Appends `number` in decimal.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    push_padded(out, number, 1);
}

/// Appends `bytes` in lower-case hexadecimal.
pub(crate) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend([byte >> 4, byte & 15].map(|nibble| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble }));
    }
}

/// Appends `part / whole` as a percentage with four decimals, cut off, not rounded; zero if there is no whole.
pub(crate) fn push_percent(out: &mut Vec<u8>, part: u64, whole: u64) {
    let scaled = (part * 1_000_000).checked_div(whole).unwrap_or(0);
    push_number(out, scaled / 10_000);
    out.push(b'.');
    push_padded(out, scaled % 10_000, 4);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers() {
        assert_eq!(written(|out| push_number(out, 0)), "0");
        assert_eq!(written(|out| push_number(out, u64::MAX)), u64::MAX.to_string());
        assert_eq!(written(|out| push_padded(out, 7, 3)), "007");
        assert_eq!(written(|out| push_padded(out, 12_345, 3)), "12345");
        assert_eq!(written(|out| push_hex(out, &[0, 0x9a, 0xff])), "009aff");
        assert_eq!(written(|out| push_percent(out, 1, 3)), "33.3333");
        assert_eq!(written(|out| push_percent(out, 5, 0)), "0.0000");
    }
}
